//! The labels of Traefik 1.7's Docker and Rancher providers.

use super::Reading;
use super::balancing::Balancing;
use super::labels::RANCHER_TOOLS_OWN;
use super::reader::{Enabled, Reader, normalized};
use super::servers::{ServerNames, Wish};
use super::values::{backend_wishes, frontend_wishes};
use crate::config::{Backend, BackendWishes, Frontend, FrontendWishes, Method};
use crate::middleware::{Closed, Middleware};
use crate::model::{BackendId, FrontendId, Outcome, Problem, ProviderName};
use crate::rules::{Matcher, Rule, v1};

/// Reads a service: a frontend and a backend for each of its segments, or for itself where it has none.
pub(super) fn read(mut reader: Reader<'_>) -> Reading {
    if reader.enabled(reader.defaults.exposed_by_default, "exposedByDefault") == Enabled::No {
        return reader.finish();
    }
    if !reader.fits_constraints() {
        return reader.finish();
    }
    if reader.service.is_down() && !reader.is_labelled() {
        reader.step(Outcome::Stop, "state", || {
            "It does not run, and no label says that it should be known all the same.".to_owned()
        });
        return reader.finish();
    }
    reader.report_other_labels();
    report_rancher_tools(&mut reader);
    for segment in reader.segments() {
        reader.segment = segment;
        if let Some(segment) = segment {
            let why = format!("{segment}: its labels go before those of the whole service.");
            reader.step(Outcome::Pass, "segment", || why);
        }
        read_segment(&mut reader);
    }
    reader.finish()
}

/// Tells of labels that mean something without the rule beside them. `traefik.acme` is told of in any case.
fn report_rancher_tools(reader: &mut Reader<'_>) {
    for &key in RANCHER_TOOLS_OWN.iter().filter(|&&key| key != "traefik.acme") {
        if reader.service.labels.contains_key(key) {
            let what = format!("{key} is not acted on beside traefik.frontend.rule.");
            let problem = Problem::warning(&reader.origin.label(key), what);
            reader.problem(problem.hint("Say it in the rule, or take the rule away."));
        }
    }
    if reader.provider == ProviderName::Rancher {
        // Whoever comes from the sidekick has these beside a rule, too.
        return;
    }
    for (key, meant) in [
        ("traefik.priority", "traefik.frontend.priority"),
        ("traefik.sticky", "traefik.backend.loadbalancer.stickiness"),
    ] {
        if reader.service.labels.contains_key(key) {
            let what = format!("{key} is a label of rancher-tools, and not acted on here.");
            let problem = Problem::warning(&reader.origin.label(key), what);
            reader.problem(problem.hint(format!("Did you mean {meant}?")));
        }
    }
}

fn read_segment(reader: &mut Reader<'_>) {
    let (v1::Reading { rule, mut chain }, is_refused) = match rule(reader) {
        Routing::Rule(reading) => (reading, false),
        Routing::Unreadable(text) => {
            (v1::Reading { rule: Rule::new(text, Vec::new()), chain: Vec::new() }, true)
        }
        Routing::Nothing => return,
    };
    let wanted = reader.wanted();
    let mut wishes = frontend_wishes(&wanted.frontend);
    if let Some(label) = reader.closing_label(&wanted, &wishes) {
        reader.step(Outcome::Stop, "protection", || {
            format!("{label} asks for what cannot be done, so nobody comes in.")
        });
        chain.insert(0, Middleware::Closed(Closed { reason: label }));
    }
    let names = names(reader, &rule);
    let backend = BackendId::new(reader.provider, format!("backend-{}", names.backend));
    let is_rancher = reader.provider == ProviderName::Rancher;
    let mut priority = reader.number("traefik.frontend.priority", i64::MIN, i64::MAX);
    if priority.is_none() && is_rancher {
        priority = reader.number("traefik.priority", 1, i64::MAX);
    }
    if let Some(priority @ ..0) = priority {
        let key = "traefik.frontend.priority";
        let (what, hint) = negative_priority(&reader.written(key), priority);
        let problem = Problem::warning(&reader.at(key), what);
        reader.problem_once(problem.hint(hint));
    }
    for page in wishes.errors.values_mut() {
        // As 1.7's templates have it: a label knows a backend by the name that another label gave it.
        page.backend = format!("backend-{}", page.backend);
    }
    let frontend = Frontend {
        entrypoints: reader.entrypoints().into(),
        priority,
        chain: chain.into(),
        pass_host_header: reader.boolean("traefik.frontend.passHostHeader").unwrap_or(true),
        wishes: Some(Box::new(wishes)).filter(|wishes| **wishes != FrontendWishes::default()),
        backend: backend.clone(),
        origin: reader.origin.clone(),
        age_order: reader.age_order(),
        shadowed_by: None,
        routes: Box::default(),
        rule,
    };
    let name = format!("frontend-{}", names.frontend);
    let id = FrontendId::new(reader.provider, name);
    match is_refused {
        true => reader.refuse(id, frontend),
        false => reader.frontend(id, frontend),
    }

    let mut wishes = backend_wishes(&wanted.backend);
    wishes.health_check = reader.health_check(wishes.health_check);
    let wish = Wish {
        is_checked: wishes.health_check.is_some(),
        scheme: reader.scheme(),
        weight: reader.weight(1),
        port: reader.port(None),
        names: match reader.provider {
            ProviderName::Rancher => ServerNames::Container,
            _ => ServerNames::Hashed,
        },
    };
    let servers = reader.servers(wish);
    let is_sticky = is_rancher && reader.boolean("traefik.sticky") == Some(true);
    let Balancing { method, slow_start, sticky } =
        reader.balancing(&names.backend, Method::Wrr, is_sticky);
    let value = Backend {
        servers,
        method,
        slow_start,
        sticky,
        wishes: Some(Box::new(wishes)).filter(|wishes| **wishes != BackendWishes::default()),
        mark: names.is_made_up.then(|| reader.mark()),
        origin: reader.origin.clone(),
    };
    if !is_refused {
        reader.backend(backend, value);
    }
}

/// What is wrong with a rule that no request can fit, and what to write instead. `key` is what says it.
pub(super) fn unmatchable(key: &str, text: &str, rule: &Rule) -> Option<(String, String)> {
    let (first, second) = rule.contradiction()?;
    let (first, second) = (first.describe(), second.describe());
    let what =
        format!("{key} \"{text}\": no request fits both {first} and {second}; nobody reaches it.");
    let values = second.split_once(':').map_or("", |(_, values)| values);
    Some((what, format!("Write {first},{values} where one of them is enough.")))
}

/// What is wrong with a priority below 0, and what to write instead. `key` is what says it.
pub(super) fn negative_priority(key: &str, priority: i64) -> (String, &'static str) {
    let what = format!(
        "{key} {priority} is as if nothing was said: how long its rule is decides who goes first."
    );
    (what, "Write 1 for a frontend that goes last, or leave it out.")
}

/// What becomes of the requests that a service asks for.
enum Routing<'a> {
    /// They are its own.
    Rule(v1::Reading),
    /// Its owner wrote a rule that cannot be read.
    Unreadable(&'a str),
    /// Nothing is to be routed.
    Nothing,
}

/// `traefik.frontend.rule`, else the hosts of service, stack and domain.
fn rule<'a>(reader: &mut Reader<'a>) -> Routing<'a> {
    let key = "traefik.frontend.rule";
    if let Some(text) = reader.label(key) {
        return match v1::parse(text) {
            Ok(reading) => {
                if let Some((what, hint)) = unmatchable(&reader.written(key), text, &reading.rule) {
                    let problem = Problem::warning(&reader.origin.label(key), what);
                    reader.problem(problem.hint(hint));
                }
                Routing::Rule(reading)
            }
            Err(why) => {
                let key = reader.written(key);
                let what = format!("{key} \"{text}\" cannot be read: {why}; it is not routed.");
                reader.step(Outcome::Stop, &key, || what.clone());
                reader.problem(Problem::error(&reader.origin.label(key), what));
                Routing::Unreadable(text)
            }
        };
    }
    let domains = reader.domains();
    let is_bare = reader.provider == ProviderName::Docker && reader.service.stack.is_none();
    if is_bare && domains == [""] {
        let why = "It has neither a domain nor a Compose project to make a host of. Give it the label \
                   traefik.domain or traefik.frontend.rule, or Herder a domain (docker.domain).";
        reader.step(Outcome::Stop, "traefik.domain", || why.to_owned());
        if reader.is_labelled() {
            let label = reader.origin.label("traefik.domain");
            let what = "It has neither a domain nor a Compose project to make a host of; it is not routed.";
            let hint =
                "Add the label traefik.domain or traefik.frontend.rule, or set docker.domain.";
            reader.problem(Problem::error(&label, what).hint(hint));
        }
        return Routing::Nothing;
    }
    let stack = reader.service.stack.as_deref().unwrap_or_default();
    let mut hosts = reader.hosts(&reader.service.name, stack, &domains);
    hosts.dedup();
    if hosts.is_empty() {
        reader.step(Outcome::Stop, "rule", || "No host is left to route by.".to_owned());
        return Routing::Nothing;
    }
    let rule = Rule::new(format!("Host:{}", hosts.join(",")), vec![Matcher::Host(hosts)]);
    Routing::Rule(v1::Reading { rule, chain: Vec::new() })
}

/// How Traefik 1.7's templates name a frontend and its backend (provider/docker/config.go, provider/rancher/config.go).
struct Names {
    frontend: String,
    backend: String,
    /// Whether the backend's is made of the service's name, not chosen.
    is_made_up: bool,
}

fn names(reader: &Reader<'_>, rule: &Rule) -> Names {
    let service = &reader.service.name;
    let whole = match &reader.service.stack {
        Some(stack) => format!("{service}-{stack}"),
        None => service.to_string(),
    };
    let label = reader.label("traefik.backend");
    let is_rancher = reader.provider == ProviderName::Rancher;
    let Some(segment) = reader.segment else {
        let backend = normalized(label.unwrap_or(&whole));
        // Docker's end in a number there that moves when containers come and go; ours have none.
        let is_made_up = label.is_none();
        return Names { frontend: normalized(rule.text()), backend, is_made_up };
    };
    let backend = normalized(&match (label, is_rancher) {
        (Some(label), _) => format!("{whole}-{label}"),
        (None, true) => format!("{whole}-{whole}-{segment}"),
        (None, false) => format!("{whole}-{segment}"),
    });
    let frontend = match is_rancher {
        true => backend.clone(),
        false => normalized(&format!("{segment}-{backend}")),
    };
    Names { frontend, backend, is_made_up: true }
}
