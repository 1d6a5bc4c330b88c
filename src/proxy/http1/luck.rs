//! What a request tells about its server: one that fails several in a row is left alone for a while.

use std::sync::Arc;

use crate::live::{Condition, Ejected};
use crate::proxy::error::Error;
use crate::proxy::worker::Worker;
use crate::table::{Route, RunningServer};

/// Notes how a try ended: with this status (none where the client left), or with this error.
///
/// What counts against a server is that it could not be reached, broke the connection or did not answer in time. What it
/// answered does not: an answer of 500 may be meant.
pub(super) fn note(
    worker: &Worker,
    route: &Route,
    server: &RunningServer,
    ended: Result<Option<u16>, &Error>,
) {
    match ended {
        // 502 may be ours: the answer was cut.
        Ok(None | Some(502)) => {}
        Ok(Some(_)) => {
            if server.live.ejection.answered() {
                let change = (Condition::Ejected, server.live.health.condition());
                tell(worker, route, server, change, "it answers requests again".into());
            }
        }
        Err(error @ (Error::Unreachable(_) | Error::SlowServer(_))) => {
            let now_ms = worker.clock.now_ms();
            let may_spare = || route.backend.may_spare(server, now_ms);
            let from = server.live.condition(now_ms);
            if let Some(Ejected { failures, for_ms }) =
                server.live.ejection.failed(now_ms, may_spare)
            {
                let seconds = for_ms / 1_000;
                let why = format!(
                    "{failures} requests in a row failed, the last one: {error}; it is left alone for {seconds} s"
                );
                tell(worker, route, server, (from, Condition::Ejected), why.into());
            }
        }
        Err(_) => {}
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
