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

/// The most where nobody answers at a socket of this machine: asking there costs nothing, and nobody else comes back with us.
const PAUSE_MAX_NEAR: Duration = Duration::from_secs(1);

/// Who has kept telling of news for so long is well again, however long the last pause was.
const HEALTHY: Duration = Duration::from_secs(1);

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
    let mut pause = Pause::default();
    let mut is_deaf = false;
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
                let tells = matches!(next, Ok(Depth::News)) || waits.elapsed() > HEALTHY;
                if tells {
                    pause = Pause::default();
                }
                if tells && std::mem::take(&mut is_deaf) {
                    let heard = Event::Deaf { provider: name, error: None };
                    if events.send(heard).await.is_err() {
                        return;
                    }
                }
                next.map_err(|error| match error {
                    // It is not to be asked for everything again and again, nor is it lost.
                    Error::BadAnswer { .. } if !tells => Failure::Deaf(error),
                    error => Failure::Lost(error, PAUSE_MAX),
                })
            }
            Ok(Err(error)) => {
                let max = pause_max(&error, provider.is_near());
                Err(Failure::Lost(error, max))
            }
            Err(_) => {
                let error = Error::Limit {
                    endpoint: name.to_string(),
                    reason: format!("no whole answer within {} s", FETCH_TIMEOUT.as_secs()),
                };
                Err(Failure::Lost(error, PAUSE_MAX))
            }
        };
        depth = match result {
            Ok(depth) => depth,
            Err(failure) => {
                is_deaf = matches!(failure, Failure::Deaf(_));
                let (event, retry_in) = match failure {
                    Failure::Deaf(error) => {
                        let error = Some(error.to_string());
                        (Event::Deaf { provider: name, error }, pause.next(PAUSE_MAX))
                    }
                    Failure::Lost(error, max) => {
                        let (error, retry_in) = (error.to_string(), pause.next(max));
                        (Event::Lost { provider: name, error, retry_in }, retry_in)
                    }
                };
                if events.send(event).await.is_err() {
                    return;
                }
                // Everybody who lost the same daemon shall not come back in the same moment.
                sleep(retry_in.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                Depth::Everything
            }
        };
    }
}

/// Why there is nothing to wait for.
enum Failure {
    /// It answers, and refuses to tell of news.
    Deaf(Error),
    /// It cannot be asked; the longest pause before it is asked again.
    Lost(Error, Duration),
}

fn pause_max(error: &Error, is_near: bool) -> Duration {
    match error {
        Error::Unreachable { .. } if is_near => PAUSE_MAX_NEAR,
        _ => PAUSE_MAX,
    }
}

/// The time before the next question.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSE_MIN)
    }
}

impl Pause {
    /// Twice as long as the last one, and so long at most.
    fn next(&mut self, max: Duration) -> Duration {
        let pause = self.0.min(max);
        self.0 = pause * 2;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_at_a_socket_of_this_machine_is_asked_again_soon() {
        let endpoint = String::new;
        let nobody = Error::Unreachable { endpoint: endpoint(), reason: String::new() };
        let refuses = Error::BadAnswer { endpoint: endpoint(), reason: String::new() };
        for (error, is_near, expected) in [
            (&nobody, true, [100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000, 1_000]),
            (&nobody, false, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]),
            (&refuses, true, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]),
        ] {
            let (mut pause, max) = (Pause::default(), pause_max(error, is_near));
            let pauses = expected.map(|_| pause.next(max).as_millis());
            assert_eq!(pauses, expected, "{error:?} {is_near}");
        }
    }
}
