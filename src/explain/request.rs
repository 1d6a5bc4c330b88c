//! Which frontend takes a request, and why the others do not.

use std::sync::Arc;

use super::health;
use crate::explain::Asked;
use crate::middleware::{Flow, Handler};
use crate::model::{Exchange, FrontendId, Problem, slips};
use crate::table::{Route, Table, plain};

/// More losers than this tell nobody anything.
const LOSERS_MAX: usize = 20;

/// Which frontend takes a request, and why the others do not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteTest {
    /// The host as it is compared.
    pub host: String,
    /// The entry point it comes in by.
    pub entrypoint: String,
    /// Path and query, as asked.
    pub target: String,
    /// The path and query that a server would get; none where none gets it.
    pub sent: Option<String>,
    /// Who takes it.
    pub winner: Option<FrontendId>,
    /// One sentence: who answers it, and what the client gets.
    pub verdict: String,
    /// What Herder answers by itself; none where a server answers.
    pub status: Option<u16>,
    /// The servers that could get it: their names and addresses.
    pub servers: Vec<(String, String)>,
    /// The frontends that came close, and why each lost: a sentence. At most 20.
    pub losers: Vec<(FrontendId, String)>,
    /// What is wrong with those that name this host, and so may not be there. At most 20.
    pub problems: Vec<Problem>,
}

impl RouteTest {
    /// Whether what the client gets is an error.
    pub fn fails(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
    }

    /// Whether somebody takes it, and can serve it: a question for a name, or a redirect, is an answer, too.
    pub fn is_served(&self) -> bool {
        self.winner.is_some() && self.status.is_none_or(|status| status < 500)
    }
}

/// Says who takes a request. `entry` are the steps of the entry point that it comes in by, which go before all frontends.
pub fn request(table: &Table, asked: &Asked, entry: &[Arc<dyn Handler>]) -> RouteTest {
    let exchange = asked.exchange();
    let winner = plain::lookup(table.routes(), &exchange);
    let way = way(entry, winner.map(|route| &**route), asked);
    let answer = way.as_ref().err();
    let status = match (winner, answer) {
        (_, Some(answer)) => Some(answer.status),
        (None, None) => Some(if table.is_partial { 503 } else { 404 }),
        (Some(route), None) => {
            health::is_nobody_well(table, route.backend.servers()).then_some(503)
        }
    };
    let servers = winner.iter().filter(|_| answer.is_none()).flat_map(|r| r.backend.servers());
    let servers = servers.map(|server| (server.name.to_string(), server.url()));
    RouteTest {
        host: exchange.host.to_string(),
        entrypoint: asked.entrypoint.clone(),
        target: asked.target.clone(),
        sent: winner.and_then(|_| way.as_ref().ok()).cloned(),
        winner: winner.map(|route| route.id.clone()),
        verdict: verdict(table, winner, answer, (&asked.entrypoint, entry)),
        status,
        servers: servers.collect(),
        losers: losers(table, &exchange, winner),
        problems: table
            .problems
            .iter()
            .filter(|p| !exchange.host.is_empty() && p.message.contains(&*exchange.host))
            .take(LOSERS_MAX)
            .cloned()
            .collect(),
    }
}

/// What a step answers in the place of a server.
struct Instead {
    status: u16,
    /// What the client gets, in words.
    what: String,
    /// Whether a step of the entry point says so.
    is_at_entry: bool,
}

/// What the steps make of the request: the target that a server gets, or what the client gets instead.
fn way(
    entry: &[Arc<dyn Handler>],
    route: Option<&Route>,
    asked: &Asked,
) -> Result<String, Instead> {
    let mut exchange = asked.exchange();
    let own = route.map(|route| &*route.chain).unwrap_or_default();
    let all = entry.iter().chain(own).enumerate();
    for (place, step) in all.filter(|(_, step)| !step.leaves_traces()) {
        if let Flow::Answer(answer) = step.on_request(&mut exchange) {
            let what = step.describe();
            let location = answer.lines.iter().find(|(name, _)| *name == "Location");
            let to = location.map(|(_, to)| format!(" to {to}")).unwrap_or_default();
            let what = format!("{what}: the client gets {}{to}", answer.status);
            let is_at_entry = place < entry.len();
            return Err(Instead { status: answer.status, what, is_at_entry });
        }
    }
    let query = exchange.query();
    let mark = if query.is_empty() { "" } else { "?" };
    Ok(format!("{}{mark}{query}", exchange.path))
}

fn verdict(
    table: &Table,
    winner: Option<&Arc<Route>>,
    answer: Option<&Instead>,
    (entrypoint, entry): (&str, &[Arc<dyn Handler>]),
) -> String {
    if let Some(answer) = answer.filter(|answer| answer.is_at_entry) {
        return format!("The entry point {entrypoint} answers it itself: {}.", answer.what);
    }
    let Some(route) = winner else {
        let why = match table.is_partial {
            true => " so far, and a provider has not answered yet: the client gets 503",
            false => ": the client gets 404",
        };
        return format!("No frontend takes it{why}.");
    };
    if let Some(answer) = answer {
        return format!("{} takes it: {}.", route.id.name, answer.what);
    }
    let count = route.backend.servers().len();
    let aside = health::aside(table, route.backend.servers());
    let answer = match count {
        _ if health::is_nobody_well(table, route.backend.servers()) => {
            format!("has no healthy server{aside}: the client gets 503")
        }
        1 => format!("has one server{aside}"),
        _ => format!("has {count} servers{aside}"),
    };
    let (id, backend) = (&route.id.name, &route.backend.id().name);
    let chain = entry.iter().chain(&route.chain);
    let chain: Vec<String> = chain.map(|step| step.describe()).collect();
    let chain = match chain.is_empty() {
        true => String::new(),
        false => format!(", after {}", chain.join(", ")),
    };
    format!("{id} takes it{chain}; its backend {backend} {answer}.")
}

/// Those whose rule matches but who were asked later, then those for whom a single term was wrong.
fn losers(
    table: &Table,
    exchange: &Exchange<'_>,
    winner: Option<&Arc<Route>>,
) -> Vec<(FrontendId, String)> {
    let others = table.routes().iter().filter(|route| winner.is_none_or(|w| w.id != route.id));
    let mut losers: Vec<(usize, FrontendId, String)> =
        others.filter_map(|route| lost(route, exchange, winner)).collect();
    losers.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    losers.into_iter().take(LOSERS_MAX).map(|(_, id, why)| (id, why)).collect()
}

/// How far off a route is, and why it lost; none for those that have nothing to do with the request.
fn lost(
    route: &Route,
    exchange: &Exchange<'_>,
    winner: Option<&Arc<Route>>,
) -> Option<(usize, FrontendId, String)> {
    let id = route.id.clone();
    if route.takes(exchange) {
        let first = winner?;
        if route.gives_way() && !first.gives_way() {
            let first = &first.id.name;
            let why =
                format!("It matches too, but nobody there may serve: it gives way to {first}.");
            return Some((0, id, why));
        }
        let why = format!(
            "It matches too, with priority {}; {} has {} and goes first.",
            route.priority(),
            first.id.name,
            first.priority()
        );
        return Some((0, id, why));
    }
    if !route.entrypoints.iter().any(|name| name == exchange.entrypoint) {
        let fits = route.frontend.rule.matches(exchange);
        let why = format!("It is only at the entry point {}.", route.entrypoints.join(", "));
        return fits.then_some((0, id, why));
    }
    let wrong: Vec<_> =
        route.frontend.rule.matchers().iter().filter(|term| !term.matches(exchange)).collect();
    let is_near = |host: &String| {
        slips(host, &exchange.host).is_some()
            || host.split('.').next() == exchange.host.split('.').next()
    };
    let is_host_near =
        || route.frontend.rule.hosts().is_some_and(|hosts| hosts.iter().any(is_near));
    let distance = match wrong.as_slice() {
        [_] if route.frontend.rule.matchers().len() > 1 => 1,
        _ if is_host_near() => 2,
        _ => return None,
    };
    let terms: Vec<String> = wrong.iter().map(|term| term.describe()).collect();
    let verb = if terms.len() == 1 { "does" } else { "do" };
    Some((distance, id, format!("{} {verb} not match.", terms.join(" and "))))
}
