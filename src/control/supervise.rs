//! Keeps asking one provider, for ever: news when it has some, everything at each refresh and after each failure.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::Event;
use crate::providers::{Depth, Error, Provider};

/// No answer takes longer than this, the provider's own time-outs aside.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// After the first failure; doubled after each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Counts the refreshes: each change means that everything is to be asked anew.
pub type Refreshes = watch::Receiver<u64>;

/// Runs until the control loop is gone. Each answer, and each failure, becomes an event; the queue's bound makes
/// a provider wait that is faster than the loop.
pub async fn supervise(
    mut provider: impl Provider,
    events: mpsc::Sender<Event>,
    mut refreshes: Refreshes,
) {
    let name = provider.name();
    let mut depth = Depth::Everything;
    let mut pause = PAUSE_MIN;
    loop {
        let since = Instant::now();
        let result = match timeout(FETCH_TIMEOUT, provider.fetch(depth)).await {
            Ok(Ok(snapshot)) => {
                let event = Event::Snapshot { provider: name, snapshot, since };
                if events.send(event).await.is_err() {
                    return;
                }
                let waits = Instant::now();
                let next = tokio::select! {
                    changed = provider.changed() => changed.map(|()| Depth::News),
                    refresh = refreshes.changed() => match refresh {
                        Ok(()) => Ok(Depth::Everything),
                        Err(_) => return,
                    },
                };
                // One that answers, but refuses to tell of news, is not to be asked for everything again and again.
                if next.is_ok() || waits.elapsed() > pause {
                    pause = PAUSE_MIN;
                }
                next
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Limit {
                endpoint: name.to_string(),
                reason: format!("no whole answer within {} s", FETCH_TIMEOUT.as_secs()),
            }),
        };
        depth = match result {
            Ok(depth) => depth,
            Err(error) => {
                let lost =
                    Event::Lost { provider: name, error: error.to_string(), retry_in: pause };
                if events.send(lost).await.is_err() {
                    return;
                }
                // Everybody who lost the same daemon shall not come back in the same moment.
                sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(PAUSE_MAX);
                Depth::Everything
            }
        };
    }
}
