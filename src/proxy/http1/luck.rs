//! What a request tells about its server: one that fails several in a row is left alone for a while.

use std::sync::Arc;

use super::attempt::{Failed, Odd, Ran};
use crate::live::{Condition, Ejected};
use crate::proxy::error::Error;
use crate::proxy::worker::Worker;
use crate::table::{Route, RunningServer};

/// Notes how a try ended that began at `asked_ms`.
///
/// What counts against a server is that it could not be reached, broke the connection, in the middle of an answer too, answered what
/// is no HTTP, or did not answer in time. What it answered whole does not: an answer of 500 may be meant. Of a tunnel counts that it began.
pub(super) fn note(
    worker: &Worker,
    route: &Route,
    server: &RunningServer,
    asked_ms: u64,
    run: &Result<Ran, Failed>,
) {
    let odd = run.as_ref().ok().and_then(|ran| ran.odd.as_deref());
    let error = match run {
        Ok(_) if let Some(Odd::Broke(error)) = odd => error,
        Ok(_) if let Some(Odd::Nothing) = odd => return,
        Ok(_) | Err(Failed { error: Error::Again(_) | Error::Replaced(_), .. }) => {
            if server.live.ejection.answered() {
                let change = (Condition::Ejected, server.live.health.condition());
                tell(worker, route, server, change, "it answers requests again".into());
            }
            return;
        }
        Err(Failed {
            error: error @ (Error::Unreachable(_) | Error::SlowServer(_) | Error::BadAnswer(_)),
            ..
        }) => error,
        Err(_) => return,
    };
    let now_ms = worker.clock.now_ms();
    let may_spare = || route.backend.may_spare(server, now_ms);
    let from = server.live.condition(now_ms);
    let ejected = server.live.ejection.failed(asked_ms, now_ms, may_spare);
    if let Some(Ejected { failures, for_ms }) = ejected {
        let seconds = for_ms / 1_000;
        let why = format!(
            "{failures} requests in a row failed, the last one: {error}; it is left alone for {seconds} s"
        );
        tell(worker, route, server, (from, Condition::Ejected), why.into());
    }
}

fn tell(
    worker: &Worker,
    route: &Route,
    server: &RunningServer,
    change: (Condition, Condition),
    reason: Arc<str>,
) {
    let backend = route.backend.id();
    server.live.health.say(Some(Arc::clone(&reason)));
    worker.state.note_health(backend, (&server.name, server.url()), change, reason);
}
