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
            let condition = running.live.condition(now_ms);
            let (outcome, why) = match condition {
                _ if running.weight == 0 => {
                    let why = format!(
                        "{}: its weight is 0, so that it gets no new client.",
                        running.url()
                    );
                    stopped.get_or_insert_with(|| why.clone());
                    (Outcome::Note, why)
                }
                Condition::Unchecked => continue,
                Condition::Up => (Outcome::Pass, in_words(running, now_ms)),
                Condition::Unknown if !is_running(table) => {
                    let why = format!(
                        "{} is checked: whether it passes, the Herder that runs knows.",
                        running.url()
                    );
                    (Outcome::Note, why)
                }
                Condition::Unknown | Condition::Down | Condition::Ejected => {
                    let why = in_words(running, now_ms);
                    stopped.get_or_insert_with(|| why.clone());
                    (Outcome::Note, why)
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

/// Whether a table is, or was, in force: where it is not, nobody has asked the servers how they are.
fn is_running(table: &Table) -> bool {
    table.revision > 0
}

/// Whether no server may serve: there is none, or their checks or weights keep all of them from it.
pub(super) fn is_nobody_well(table: &Table, servers: &[RunningServer]) -> bool {
    let may_serve = |server: &RunningServer| server.may_serve() || !is_running(table);
    !servers.iter().any(|server| server.weight > 0 && may_serve(server))
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
pub(super) fn aside(table: &Table, servers: &[RunningServer]) -> String {
    if !is_running(table) {
        return String::new();
    }
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
