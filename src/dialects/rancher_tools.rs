//! The labels of the community catalog's Traefik on Rancher, whose sidekick wrote `rules.toml`.
//!
//! Witness: rancher-traefik's `traefik.tmpl`. Its host pattern and its hosts stand in one rule without a mark
//! between them, which Traefik cannot read; here each gets a frontend of its own, for the same backend.

use super::Reading;
use super::balancing::Balancing;
use super::labels::RANCHER_TOOLS_OWN;
use super::reader::{Enabled, Reader};
use super::servers::{ServerNames, Wish};
use super::values::{Misfit, backend_wishes, frontend_wishes};
use crate::config::{Backend, BackendWishes, Frontend, FrontendWishes, Method, Rate, RateLimit};
use crate::middleware::{Closed, Middleware, Rate as MeantRate, StripPrefix};
use crate::model::{BackendId, FrontendId, Kind, Outcome, Problem};
use crate::rules::{Matcher, PathPattern, Rule, Sort, Template};
use crate::settings::duration;

/// The dialect's own defaults.
const PORT: u16 = 80;
const WEIGHT: u32 = 5;
const PRIORITY: i64 = 5;
/// `traefik.tmpl`: what a limit is where its labels do not say.
const RATE: Rate = Rate { period: 10_000_000_000, average: 100, burst: 200 };

/// Reads a service: a frontend for its hosts, one for its host patterns, one backend.
pub(super) fn read(mut reader: Reader<'_>) -> Reading {
    let key = own_label(&reader);
    let because = format!("{key} is a label of rancher-tools");
    let enabled = reader.enabled(false, &because);
    if enabled == Enabled::No {
        let is_missing = !reader.service.labels.contains_key("traefik.enable");
        if is_missing && reader.defaults.exposed_by_default {
            let what = format!("{because}, where nothing is routed without traefik.enable.");
            let problem = Problem::warning(&reader.origin.label(key), what);
            reader.problem(problem.hint("Add traefik.enable=true, or take the label away."));
        }
        return reader.finish();
    }
    if !reader.fits_constraints() {
        return reader.finish();
    }
    reader.report_other_labels();
    let wanted = reader.wanted();
    let name = reader.service.full_name().replacen('.', "__", 1);
    let backend = BackendId::new(reader.provider, name.as_str());
    let (paths, mut chain) = paths(&mut reader);
    let mut wishes = frontend_wishes(&wanted.frontend);
    let closing = reader.closing_label(&wanted, &wishes).or_else(|| reader.segments_guard());
    if let Some(label) = closing {
        chain.insert(0, Middleware::Closed(Closed { reason: label }));
    }
    let hosts = Some(hosts(&mut reader, enabled)).filter(|hosts| !hosts.is_empty());
    let patterns = Some(patterns(&mut reader)).filter(|patterns| !patterns.is_empty());
    let priority = reader
        .number("traefik.priority", 1, i64::MAX)
        .or_else(|| reader.number("traefik.frontend.priority", 1, i64::MAX))
        .unwrap_or(PRIORITY);
    let backend_wishes = backend_wishes(&wanted.backend);
    wishes.rate_limit = rate_limit(&mut reader).or(wishes.rate_limit);
    let template = Frontend {
        entrypoints: reader.entrypoints().into(),
        rule: Rule::new("", Vec::new()),
        priority: Some(priority),
        chain: chain.into(),
        pass_host_header: reader.boolean("traefik.frontend.passHostHeader").unwrap_or(true),
        wishes: Some(Box::new(wishes)).filter(|wishes| **wishes != FrontendWishes::default()),
        backend: backend.clone(),
        origin: reader.origin.clone(),
        age_order: reader.age_order(),
        shadowed_by: None,
        routes: Box::default(),
    };
    let hosts_and_patterns =
        [("", hosts.map(Matcher::Host)), ("__regexp", patterns.map(Matcher::HostRegexp))];
    for (suffix, matcher) in hosts_and_patterns {
        let Some(matcher) = matcher else { continue };
        let matchers: Vec<Matcher> = [matcher].into_iter().chain(paths.iter().cloned()).collect();
        let rule = Rule::of(matchers);
        let id = FrontendId::new(reader.provider, format!("{name}{suffix}"));
        reader.frontend(id, Frontend { rule, ..template.clone() });
    }

    let mut wishes = backend_wishes;
    wishes.health_check = reader.health_check(wishes.health_check);
    let wish = Wish {
        is_checked: wishes.health_check.is_some(),
        scheme: reader.scheme(),
        weight: reader.weight(WEIGHT),
        port: reader.port(Some(PORT)),
        names: ServerNames::Container,
    };
    let mut servers = reader.servers(wish);
    if !has_servers(&mut reader) {
        servers.clear();
    }
    let is_sticky = reader.boolean("traefik.sticky") == Some(true);
    let Balancing { method, slow_start, sticky } = reader.balancing(&name, Method::Drr, is_sticky);
    let value = Backend {
        mark: Some(reader.mark()),
        method,
        slow_start,
        sticky,
        servers,
        wishes: Some(Box::new(wishes)).filter(|wishes| **wishes != BackendWishes::default()),
        origin: reader.origin.clone(),
    };
    reader.backend(backend, value);
    reader.finish()
}

/// The label because of which a service is read in this dialect.
fn own_label(reader: &Reader<'_>) -> &'static str {
    let mut own = RANCHER_TOOLS_OWN.iter().copied();
    own.find(|key| reader.service.labels.contains_key(*key)).unwrap_or("traefik.enable")
}

/// The limit by the client's address, where one is switched on.
fn rate_limit(reader: &mut Reader<'_>) -> Option<RateLimit> {
    if reader.boolean("traefik.ratelimit.enable") != Some(true) {
        return None;
    }
    let average = reader.number("traefik.ratelimit.average", 1, i64::MAX).unwrap_or(RATE.average);
    let burst = reader.number("traefik.ratelimit.burst", 1, i64::MAX).unwrap_or(RATE.burst);
    let key = "traefik.ratelimit.period";
    let mut rate = Rate { average, burst, ..RATE };
    if let Some(text) = reader.label(key) {
        let period = duration(text).map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        let period = period.and_then(|period| {
            MeantRate::new(period, average, burst).map(|_| period).map_err(|_| "it is 0".to_owned())
        });
        match period {
            Ok(period) => rate.period = period,
            Err(why) => {
                let hint = "Write 10s, 5m or 500ms.";
                reader.report_misfit(key, &Misfit { why: format!("\"{text}\": {why}"), hint });
            }
        }
    }
    let rateset = [("default".to_owned(), rate)].into();
    Some(RateLimit { rateset, extractor_func: "client.ip".to_owned() })
}

/// This dialect serves containers and addresses outside; other kinds keep an empty backend.
fn has_servers(reader: &mut Reader<'_>) -> bool {
    if let Kind::Other(kind) = &reader.service.kind {
        reader.step(Outcome::Stop, "kind", || format!("A {kind} has no servers in this dialect."));
        return false;
    }
    true
}

/// Service and stack (or the stack alone) and each alias at each domain, and the whole names.
fn hosts(reader: &mut Reader<'_>, enabled: Enabled) -> Vec<String> {
    let domains = reader.domains();
    let stack = reader.service.stack.as_deref().unwrap_or_default();
    let mut hosts = match enabled {
        Enabled::Stack => reader.hosts(stack, "", &domains),
        _ => reader.hosts(&reader.service.name, stack, &domains),
    };
    for alias in reader.list("traefik.alias") {
        hosts.extend(domains.iter().filter_map(|domain| {
            let name =
                if domain.is_empty() { alias.to_owned() } else { format!("{alias}.{domain}") };
            reader.host(Ok(name), "traefik.alias")
        }));
    }
    for name in reader.list("traefik.alias.fqdn") {
        hosts.extend(reader.host(Ok(name.to_owned()), "traefik.alias.fqdn"));
    }
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    hosts
}

fn patterns(reader: &mut Reader<'_>) -> Vec<Template> {
    let key = "traefik.domain.regexp";
    let mut patterns = Vec::new();
    for text in reader.list(key) {
        match Template::parse(text, Sort::Host) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => {
                let what = format!("{key} \"{text}\" cannot be read: {why}; it is left out.");
                reader.problem(Problem::error(&reader.at(key), what));
            }
        }
    }
    patterns
}

/// The path terms, and what is taken off the path.
fn paths(reader: &mut Reader<'_>) -> (Vec<Matcher>, Vec<Middleware>) {
    let mut matchers = Vec::new();
    let mut stripped = Vec::new();
    let terms = [
        ("traefik.path", Matcher::Path as fn(Vec<PathPattern>) -> Matcher),
        ("traefik.path.strip", Matcher::Path),
        ("traefik.path.prefix", Matcher::PathPrefix),
        ("traefik.path.prefix.strip", Matcher::PathPrefix),
    ];
    for (key, matcher) in terms {
        let paths: Vec<String> = reader.list(key).into_iter().map(str::to_lowercase).collect();
        let (good, bad): (Vec<_>, Vec<_>) = paths.into_iter().partition(|p| p.starts_with('/'));
        for path in bad {
            let what = format!("{key} \"{path}\" does not begin with a slash; it is left out.");
            let problem = Problem::error(&reader.at(key), what);
            reader.problem(problem.hint(format!("Did you mean /{path}?")));
        }
        let good: Vec<PathPattern> = good.into_iter().map(PathPattern::Literal).collect();
        if key.ends_with("strip") {
            stripped.extend(good.iter().cloned());
        }
        // A term whose paths are all unreadable matches nothing, rather than everything.
        if reader.label(key).is_some() {
            matchers.push(matcher(good));
        }
    }
    let chain = match stripped.is_empty() {
        true => Vec::new(),
        false => vec![Middleware::StripPrefix(StripPrefix { prefixes: stripped })],
    };
    (matchers, chain)
}
