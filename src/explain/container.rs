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
    let frontends = cx.frontends(&reading.fragment);
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

    fn explain(
        &self,
        place: Option<usize>,
        frontends: &[(&FrontendId, &'a Frontend)],
    ) -> Explanation {
        let instance = place.map(|place| &self.service.instances[place]);
        let subject = instance.map_or_else(|| self.service.full_name(), |i| i.name.to_string());
        let mut steps = self.trace.of(place);
        let mut serving = Vec::<&Frontend>::new();
        for frontend in frontends.iter().filter_map(|(_, frontend)| self.serving(frontend)) {
            if !serving.iter().any(|other| std::ptr::eq(*other, frontend)) {
                serving.push(frontend);
            }
        }
        let ways = instance.map(|instance| self.ways(instance, &serving)).unwrap_or_default();
        steps.extend(frontends.iter().filter_map(|(id, frontend)| self.shadow_step(id, frontend)));
        steps.extend(self.unreachable_step(frontends));
        let is_stopped = steps.iter().any(|step| step.outcome == Outcome::Stop);
        let is_routed = !ways.is_empty() && !is_stopped;
        if is_routed {
            steps.push(live_step(self.table.revision, &serving));
        }
        let verdict = verdict(is_routed, &steps, &ways, instance.is_some());
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

    /// The frontend that takes the requests this one asks for: itself, or another one that leads to the same servers.
    fn serving(&self, frontend: &'a Frontend) -> Option<&'a Frontend> {
        match &frontend.shadowed_by {
            None => Some(frontend),
            Some(_) => self.same_way(frontend),
        }
    }

    /// The frontend that has what this one asks for, where it does the same with it.
    fn same_way(&self, frontend: &Frontend) -> Option<&'a Frontend> {
        let winner = self.table.config.frontends.get(frontend.shadowed_by.as_ref()?)?;
        let is_same = frontend.does_as(winner) && winner.shadowed_by.is_none();
        is_same.then_some(&**winner)
    }

    /// By which rules this instance gets requests, and where: one entry for each of its servers in the table in force.
    fn ways(&self, instance: &Instance, serving: &[&'a Frontend]) -> Vec<(Vec<&'a str>, String)> {
        let mut ways = Vec::<(Vec<&str>, String)>::new();
        for frontend in serving {
            let servers = self.table.config.backends[&frontend.backend].servers.values();
            let mut own = servers.filter(|server| *server.origin.service == *instance.name);
            let (Some(url), rule) = (own.next().map(Server::url), frontend.rule.text()) else {
                continue;
            };
            match ways.iter_mut().find(|(_, to)| *to == url) {
                Some((rules, _)) => rules.push(rule),
                None => ways.push((vec![rule], url)),
            }
        }
        ways
    }

    fn shadow_step(&self, id: &FrontendId, frontend: &Frontend) -> Option<Step> {
        let winner = &frontend.shadowed_by.as_ref()?.name;
        let rule = frontend.rule.text();
        let (outcome, what, why) = match self.same_way(frontend) {
            Some(_) => (
                Outcome::Note,
                "rule",
                format!("{rule} is served by {winner}, which leads to the same servers."),
            ),
            None => (
                Outcome::Stop,
                "conflict",
                format!("{rule} ({}) belongs to {winner} already, which keeps it.", id.name),
            ),
        };
        Some(Step { outcome, what: what.to_owned(), why })
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

fn live_step(revision: u64, serving: &[&Frontend]) -> Step {
    let rules: Vec<&str> = serving.iter().map(|frontend| frontend.rule.text()).collect();
    let rules = rules.join(" and ");
    let why = match revision {
        0 => format!("By these settings it is in force: {rules}."),
        _ => format!("In force, in table {revision}: {rules}."),
    };
    Step { outcome: Outcome::Pass, what: "route".to_owned(), why }
}

/// One sentence: the routes, or the first reason against them.
fn verdict(
    is_routed: bool,
    steps: &[Step],
    ways: &[(Vec<&str>, String)],
    has_instance: bool,
) -> String {
    let stop = steps.iter().find(|step| step.outcome == Outcome::Stop);
    match stop {
        _ if is_routed => {
            let clause = |(rules, url): &(Vec<&str>, String)| {
                let verb = if rules.len() == 1 { "goes" } else { "go" };
                format!("{} {verb} to {url}", rules.join(" and "))
            };
            let clauses: Vec<String> = ways.iter().map(clause).collect();
            format!("Routed: {}.", clauses.join("; "))
        }
        Some(step) => format!("Not routed. {}", step.why),
        None if !has_instance => "Not routed. It has no container.".to_owned(),
        _ => "Not routed yet: the table in force is older than this news.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::live::Live;
    use crate::model::Snapshot;
    use crate::plan::{Input, plan};
    use crate::settings::HostTemplate;
    use crate::table::{EntryPoints, compile};

    fn replica(number: u8, labels: &[(&str, &str)]) -> Arc<Service> {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let mut service = Service::running("web", Some("shop"), labels);
        let instance = &mut service.instances[0];
        (service.id, service.age_order) = (format!("id-{number}").into(), Some(number.into()));
        instance.name = format!("shop_web_{number}").into();
        instance.addresses[0].ip = [10, 0, 0, number].into();
        Arc::new(service)
    }

    fn explained(services: Vec<Arc<Service>>) -> Vec<Explanation> {
        let defaults = Defaults {
            domain: Some("local".to_owned()),
            exposed_by_default: true,
            serve_unchecked: true,
            run_health_checks: false,
            constraints: Vec::new(),
            host_template: HostTemplate::default(),
            network: None,
        };
        let provider = ProviderName::Docker;
        let snapshot = Snapshot { services, ..Snapshot::default() };
        let input = Input { provider, snapshot: &snapshot, defaults: &defaults };
        let (config, problems) = plan(&[input], &Config::default());
        let (config, live) = (Arc::new(config), Live::default());
        let table = compile(1, config, problems.into(), &live, EntryPoints::default());
        let explain = |one: &Arc<Service>| service(provider, &defaults, one, &table);
        snapshot.services.iter().flat_map(explain).collect()
    }

    #[test]
    fn another_rule_that_leads_to_the_same_servers_is_a_route() {
        let both = ("traefik.frontend.rule", "Host:old.t,new.t");
        let old = ("traefik.frontend.rule", "Host:old.t");
        let all = explained(vec![replica(1, &[both]), replica(2, &[both]), replica(3, &[old])]);
        let last = &all[2];
        assert!(last.is_routed, "{last:?}");
        assert_eq!(last.verdict, "Routed: Host:old.t,new.t goes to http://10.0.0.3:80.");
        assert!(last.steps.iter().any(|step| step.outcome == Outcome::Note), "{last:?}");
    }

    #[test]
    fn each_segment_has_its_own_clause() {
        let labels = [
            ("traefik.a.frontend.rule", "Host:a.t"),
            ("traefik.a.port", "80"),
            ("traefik.b.frontend.rule", "Host:b.t"),
            ("traefik.b.port", "81"),
            ("traefik.c.frontend.rule", "Host:c.t"),
            ("traefik.c.port", "81"),
        ];
        let all = explained(vec![replica(1, &labels)]);
        let expected = "Routed: Host:a.t goes to http://10.0.0.1:80; \
                        Host:b.t and Host:c.t go to http://10.0.0.1:81.";
        assert_eq!(all[0].verdict, expected);
    }
}
