//! The labels of Traefik 1.7's Docker and Rancher providers.

use super::Reading;
use super::reader::{Enabled, Reader, normalized};
use super::servers::Wish;
use crate::config::{Frontend, Method};
use crate::model::{BackendId, FrontendId, Outcome, Problem};
use crate::rules::{Matcher, Rule, v1};

/// Reads a service: one frontend, one backend.
pub(super) fn read(mut reader: Reader<'_>) -> Reading {
    if reader.enabled(reader.defaults.exposed_by_default) == Enabled::No {
        return reader.finish();
    }
    if reader.is_down() && !reader.is_labelled() {
        reader.step(Outcome::Stop, "state", || {
            "It does not run, and no label says that it should be known all the same.".to_owned()
        });
        return reader.finish();
    }
    let is_closed = reader.report_other_labels();
    let Some(v1::Reading { rule, chain }) = rule(&mut reader) else {
        return reader.finish();
    };
    let backend_name = backend_name(&reader);
    let backend = BackendId::new(reader.provider, format!("backend-{backend_name}"));
    let priority = reader
        .number("traefik.frontend.priority", i64::MIN, i64::MAX)
        .or_else(|| reader.number("traefik.priority", i64::MIN, i64::MAX));
    let frontend = Frontend {
        entrypoints: Vec::new(),
        priority,
        chain,
        pass_host_header: reader.boolean("traefik.frontend.passHostHeader").unwrap_or(true),
        backend: backend.clone(),
        origin: reader.origin.clone(),
        age_order: reader.age_order(),
        shadowed_by: None,
        rule,
    };
    let name = format!("frontend-{}", normalized(frontend.rule.text()));
    reader.frontend(FrontendId::new(reader.provider, name), frontend);

    let wish = Wish {
        scheme: reader.scheme(),
        weight: reader.weight(1),
        port: reader.port(None),
        name_prefix: "server-",
    };
    let mut servers = reader.servers(wish);
    if is_closed {
        reader.step(Outcome::Stop, "protection", || {
            "It asks for protection that is not there yet, so it gets no request.".to_owned()
        });
        servers.clear();
    }
    let method = reader.method(Method::Wrr);
    let sticky = reader.sticky(&backend_name);
    reader.backend(backend, method, sticky, servers);
    reader.finish()
}

/// `traefik.frontend.rule`, else the hosts of service, stack and domain.
fn rule(reader: &mut Reader<'_>) -> Option<v1::Reading> {
    let key = "traefik.frontend.rule";
    if let Some(text) = reader.label(key) {
        return match v1::parse(text) {
            Ok(reading) => Some(reading),
            Err(why) => {
                let what = format!("{key} \"{text}\" cannot be read: {why}; it is not routed.");
                reader.step(Outcome::Stop, key, || what.clone());
                reader.problem(Problem::error(&reader.origin.label(key), what));
                None
            }
        };
    }
    let domains = reader.domains();
    let stack = reader.service.stack.as_deref().unwrap_or_default();
    let mut hosts = reader.hosts(&reader.service.name, stack, &domains);
    hosts.dedup();
    if hosts.is_empty() {
        reader.step(Outcome::Stop, "rule", || "No host is left to route by.".to_owned());
        return None;
    }
    let rule = Rule::new(format!("Host:{}", hosts.join(",")), vec![Matcher::Host(hosts)]);
    Some(v1::Reading { rule, chain: Vec::new() })
}

/// The label, else service and stack, as Traefik 1.7's templates name it.
fn backend_name(reader: &Reader<'_>) -> String {
    match (reader.label("traefik.backend"), &reader.service.stack) {
        (Some(name), _) => normalized(name),
        (None, Some(stack)) => normalized(&format!("{}-{stack}", reader.service.name)),
        (None, None) => normalized(&reader.service.name),
    }
}
