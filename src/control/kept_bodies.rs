//! Whether bodies can be kept that are too long for memory: their directory is tried at the start, beside everything else, for
//! who asks for them shall hear of it before the first request fails.

use std::future::pending;
use std::io::Write as _;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Event;
use crate::config::Config;
use crate::model::Problem;

/// How often a directory is tried again that cannot be written: somebody may mend it.
const PERIOD: Duration = Duration::from_secs(30);

/// Tries the directory until it can be written. News is an event.
pub async fn watch(events: mpsc::Sender<Event>) {
    let mut known = None;
    loop {
        let since = Instant::now();
        // The disk may be slow, or gone.
        let Ok(tried) = tokio::task::spawn_blocking(tried).await else { return };
        let why = tried.err();
        if why != known {
            known.clone_from(&why);
            if events.send(Event::KeptBodies { since, why }).await.is_err() {
                return;
            }
        }
        if known.is_none() {
            return pending().await;
        }
        sleep(PERIOD).await;
    }
}

/// Writes what a body would be written to.
fn tried() -> Result<(), String> {
    let written = tempfile::tempfile().and_then(|mut file| file.write_all(b"?"));
    written.map_err(|error| format!("no file in {}: {error}", std::env::temp_dir().display()))
}

/// What the owners of backends are told that keep bodies, where these cannot be written.
pub(super) fn problems<'a>(config: &'a Config, why: &'a str) -> impl Iterator<Item = Problem> + 'a {
    let keeps_bodies = |wishes: &crate::config::BackendWishes| wishes.buffering.is_some();
    let keeping = config
        .backends
        .values()
        .filter(move |backend| backend.wishes.as_deref().is_some_and(keeps_bodies));
    keeping.map(move |backend| {
        let what = format!("Bodies that are too long for memory cannot be kept: {why}. They get 500.");
        Problem::warning(&backend.origin, what).hint(
            "Give Herder a /tmp that it can write (docker run --tmpfs /tmp, or -v /tmp), or set TMPDIR to such a directory.",
        )
    })
}
