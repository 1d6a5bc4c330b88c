//! What the tests stand on: real sockets, real processes, ports chosen by the system.

pub(crate) mod compose;
pub(crate) mod docker;
pub(crate) mod herder;
pub(crate) mod messages;
pub(crate) mod proxy;
pub(crate) mod raw;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the condition holds; fails with `what` when it never does.
#[track_caller]
pub(crate) fn eventually<F: Future<Output = bool>>(
    what: &str,
    condition: impl Fn() -> F,
) -> impl Future<Output = ()> {
    let what = what.to_owned();
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !condition().await {
            assert!(start.elapsed() < PATIENCE, "{caller}: it never happened: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
