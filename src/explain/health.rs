//! What its checks and its requests say of a container that is routed.

use super::Explanation;
use crate::live::Condition;
use crate::model::{Outcome, Step};
use crate::table::{RunningServer, Table};

/// Adds how the servers of this container are doing; where none gets requests, the verdict says so. `now_ms` is the
/// proxy's monotonic clock.
pub fn add_health(table: &Table, now_ms: u64, explanation: &mut Explanation) {
    if !explanation.is_routed {
        return;
    }
    let (mut steps, mut stopped) = (Vec::new(), None);
    for route in table.routes() {
        let Some(backend) = table.config.backends.get(route.backend.id()) else { continue };
        let own = backend.servers.iter().filter(|(_, s)| *s.origin.service == *explanation.subject);
        for (name, _) in own {
            let running = route.backend.servers().iter().find(|server| server.name == *name);
            let Some(running) = running else { continue };
            let why = in_words(running, now_ms);
            let outcome = match running.live.condition(now_ms) {
                Condition::Unchecked => continue,
                Condition::Up => Outcome::Pass,
                Condition::Unknown | Condition::Down | Condition::Ejected => {
                    stopped.get_or_insert_with(|| why.clone());
                    Outcome::Note
                }
            };
            let step = Step { outcome, what: "health check".to_owned(), why };
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    explanation.steps.extend(steps);
    if let Some(why) = stopped {
        explanation.verdict = format!("Routed, but left alone now. {why}");
    }
}

/// One sentence: how a server is doing, and why.
fn in_words(server: &RunningServer, now_ms: u64) -> String {
    let reason = server.live.health.reason();
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let url = server.url();
    match server.live.condition(now_ms) {
        Condition::Unchecked => format!("{url} is not checked."),
        Condition::Unknown => format!("{url} has not passed its check yet{reason}."),
        Condition::Up => format!("{url} passes its check{reason}."),
        Condition::Down => format!("{url} fails its check{reason}."),
        Condition::Ejected => format!("{url} is left alone for a while{reason}."),
    }
}

/// What to say of servers that get nothing because of their checks: ` (2 fail their checks)`.
pub(super) fn aside(servers: &[RunningServer]) -> String {
    let count = |condition: Condition| {
        servers.iter().filter(|server| server.live.health.condition() == condition).count()
    };
    match (count(Condition::Down), count(Condition::Unknown)) {
        (0, 0) => String::new(),
        (down, 0) => format!(" ({down} of them down by their checks)"),
        (0, unknown) => format!(" ({unknown} of them not checked yet)"),
        (down, unknown) => {
            format!(" ({down} of them down by their checks, {unknown} not checked yet)")
        }
    }
}
