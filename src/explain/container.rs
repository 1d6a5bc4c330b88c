//! Why a container is, or is not, routed.

use std::sync::Arc;

use crate::config::{Frontend, Server};
use crate::dialects;
use crate::model::{FrontendId, Instance, Outcome, Problem, ProviderName, Service, Step, Trace};
use crate::settings::Defaults;
use crate::table::{Route, Table};

/// Why a container is, or is not, routed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// The container, or the service where there is none.
    pub subject: String,
    /// One sentence: what becomes of it.
    pub verdict: String,
    /// Whether it gets requests.
    pub is_routed: bool,
    /// How that came about, in order.
    pub steps: Vec<Step>,
    /// What its owner can mend.
    pub problems: Vec<Problem>,
}

/// Explains every instance of a service; a service without instances is explained as a whole.
pub fn service(
    provider: ProviderName,
    defaults: &Defaults,
    service: &Service,
    table: &Table,
) -> Vec<Explanation> {
    let mut trace = Trace::on();
    let reading = dialects::read(provider, service, defaults, &mut trace);
    let cx = Context { provider, service, table, trace: &trace, problems: &reading.problems };
    let frontends: Vec<(&FrontendId, &Frontend)> = cx.frontends(&reading.fragment);
    if service.instances.is_empty() {
        return vec![cx.explain(None, &frontends)];
    }
    let places = 0..service.instances.len();
    places.map(|place| cx.explain(Some(place), &frontends)).collect()
}

struct Context<'a> {
    provider: ProviderName,
    service: &'a Service,
    table: &'a Table,
    trace: &'a Trace,
    problems: &'a [Problem],
}

impl<'a> Context<'a> {
    /// The frontends in force that this service asked for: by their own names, or, where another service has
    /// that, by the name the plan gave them.
    fn frontends(&self, wanted: &crate::config::Fragment) -> Vec<(&'a FrontendId, &'a Frontend)> {
        let all = &self.table.config.frontends;
        let found = wanted.frontends.iter().filter_map(|(id, frontend)| {
            let named = |id: &FrontendId| all.get_key_value(id);
            // Of two rules that are spelled alike the later one goes by the whole of it.
            let spelled = named(&id.of_rule(frontend.rule.text()));
            let own = || named(id).filter(|(_, f)| f.backend == frontend.backend);
            let found = spelled.or_else(own).or_else(|| named(&id.beside(&frontend.backend)))?;
            Some((found.0, &**found.1))
        });
        found.collect()
    }

    fn explain(&self, place: Option<usize>, frontends: &[(&FrontendId, &Frontend)]) -> Explanation {
        let instance = place.map(|place| &self.service.instances[place]);
        let subject = instance.map_or_else(|| self.service.full_name(), |i| i.name.to_string());
        let mut steps = self.trace.of(place);
        let server = instance.and_then(|instance| self.server(instance, frontends));
        let serving: Vec<&Frontend> =
            frontends.iter().map(|(_, f)| *f).filter(|f| f.shadowed_by.is_none()).collect();
        steps.extend(frontends.iter().filter_map(|(id, frontend)| shadow_step(id, frontend)));
        steps.extend(self.unreachable_step(frontends));
        let is_stopped = steps.iter().any(|step| step.outcome == Outcome::Stop);
        let is_routed = server.is_some() && !serving.is_empty() && !is_stopped;
        if is_routed {
            steps.push(live_step(self.table.revision, &serving));
        }
        let verdict = verdict(is_routed, &steps, server, &serving, instance.is_some());
        let mine = |problem: &&Problem| self.is_about(problem, &subject);
        let problems = self.problems.iter().chain(self.plan_problems()).filter(mine);
        let mut problems: Vec<Problem> = problems.cloned().collect();
        problems.sort();
        problems.dedup();
        Explanation { subject, verdict, is_routed, steps, problems }
    }

    /// Where nobody listens at any of the entry points at which it is served.
    fn unreachable_step(&self, frontends: &[(&FrontendId, &Frontend)]) -> Option<Step> {
        let is_mine = |route: &&Arc<Route>| frontends.iter().any(|(id, _)| **id == route.id);
        let mut routes = self.table.routes().iter().filter(is_mine).peekable();
        let names = routes.peek()?.entrypoints.join(", ");
        if routes.any(|route| self.table.is_reachable(&route.entrypoints)) {
            return None;
        }
        let why = format!("It is served at {names} alone, where nobody listens.");
        Some(Step { outcome: Outcome::Stop, what: "entryPoints".to_owned(), why })
    }

    /// The server that this instance became, in the table in force.
    fn server(
        &self,
        instance: &Instance,
        frontends: &[(&FrontendId, &Frontend)],
    ) -> Option<&'a Server> {
        let backends = frontends.iter().map(|(_, f)| &self.table.config.backends[&f.backend]);
        let mut servers = backends.flat_map(|backend| backend.servers.values());
        servers.find(|server| *server.origin.service == *instance.name)
    }

    /// Problems that only the plan sees: conflicts with other services.
    fn plan_problems(&self) -> impl Iterator<Item = &'a Problem> {
        self.table.problems.iter().filter(|problem| problem.origin.provider == self.provider)
    }

    /// Whether a problem is this container's, or its service's.
    fn is_about(&self, problem: &Problem, subject: &str) -> bool {
        *problem.origin.service == *subject || *problem.origin.service == *self.service.full_name()
    }
}

fn shadow_step(id: &FrontendId, frontend: &Frontend) -> Option<Step> {
    let winner = frontend.shadowed_by.as_ref()?;
    let why = format!(
        "{} ({}) belongs to {} already, which keeps it.",
        frontend.rule.text(),
        id.name,
        winner.name
    );
    Some(Step { outcome: Outcome::Stop, what: "conflict".to_owned(), why })
}

fn live_step(revision: u64, serving: &[&Frontend]) -> Step {
    let rules: Vec<&str> = serving.iter().map(|frontend| frontend.rule.text()).collect();
    let rules = rules.join(" and ");
    let why = match revision {
        0 => format!("By these settings it is in force: {rules}."),
        _ => format!("In force, in table {revision}: {rules}."),
    };
    Step { outcome: Outcome::Pass, what: "route".to_owned(), why }
}

/// One sentence: the route, or the first reason against it.
fn verdict(
    is_routed: bool,
    steps: &[Step],
    server: Option<&Server>,
    serving: &[&Frontend],
    has_instance: bool,
) -> String {
    let stop = steps.iter().find(|step| step.outcome == Outcome::Stop);
    match (is_routed, server, stop) {
        (true, Some(server), _) => {
            let rules: Vec<&str> = serving.iter().map(|f| f.rule.text()).collect();
            format!("Routed: {} goes to {}.", rules.join(" and "), server.url())
        }
        (_, _, Some(step)) => format!("Not routed. {}", step.why),
        (_, _, None) if !has_instance => "Not routed. It has no container.".to_owned(),
        _ => "Not routed yet: the table in force is older than this news.".to_owned(),
    }
}
