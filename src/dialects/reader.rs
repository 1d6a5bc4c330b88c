//! What every dialect needs: values out of labels, problems, and the steps on the way.

use std::sync::Arc;

use crate::config::{Backend, Fragment, Frontend, Method, Scheme, Servers, Sticky};
use crate::dialects::Reading;
use crate::dialects::labels::{Known, Support, known};
use crate::model::{
    BackendId, FrontendId, Origin, Outcome, Problem, ProviderName, Scope, Service, Severity, State,
    Trace,
};
use crate::rules::v1;
use crate::settings::{Defaults, HostParts};

/// One service being read.
pub(super) struct Reader<'a> {
    pub(super) provider: ProviderName,
    pub(super) service: &'a Service,
    pub(super) defaults: &'a Defaults,
    pub(super) origin: Origin,
    pub(super) trace: &'a mut Trace,
    problems: Vec<Problem>,
    fragment: Fragment,
}

/// What `traefik.enable` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Enabled {
    No,
    Service,
    /// rancher-tools: at the stack's own name.
    Stack,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        provider: ProviderName,
        service: &'a Service,
        defaults: &'a Defaults,
        trace: &'a mut Trace,
    ) -> Self {
        let origin = Origin::new(provider, full_name(service));
        let (problems, fragment) = (Vec::new(), Fragment::default());
        Self { provider, service, defaults, origin, trace, problems, fragment }
    }

    pub(super) fn finish(self) -> Reading {
        Reading { fragment: self.fragment, problems: self.problems }
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn step(&mut self, outcome: Outcome, what: &str, why: impl FnOnce() -> String) {
        self.trace.step(Scope::Service, outcome, what, why);
    }

    /// A label's value without blanks around it; an empty one counts as missing.
    pub(super) fn label(&self, key: &str) -> Option<&'a str> {
        self.service.labels.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// A comma-separated list; blanks and empty entries vanish.
    pub(super) fn list(&self, key: &str) -> Vec<&'a str> {
        let values = self.label(key).unwrap_or_default().split(',');
        values.map(str::trim).filter(|value| !value.is_empty()).collect()
    }

    /// A yes or no; an unreadable one is a problem, and counts as missing.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.label(key)?;
        let truth = boolean(value);
        if truth.is_none() {
            let what = format!("{key} \"{value}\" is neither true nor false; it is left out.");
            self.problem(
                Problem::error(&self.origin.label(key), what).hint("Write true or false."),
            );
        }
        truth
    }

    /// A number within bounds; an unreadable one is a problem, and counts as missing.
    pub(super) fn number(&mut self, key: &'static str, min: i64, max: i64) -> Option<i64> {
        let value = self.label(key)?;
        let number = value.parse().ok().filter(|n| (min..=max).contains(n));
        if number.is_none() {
            let what = format!(
                "{key} \"{value}\" is not a whole number from {min} to {max}; it is left out."
            );
            self.problem(Problem::error(&self.origin.label(key), what));
        }
        number
    }

    /// What `traefik.enable` says, or the provider's default.
    pub(super) fn enabled(&mut self, fallback: bool) -> Enabled {
        let by_default = if fallback { Enabled::Service } else { Enabled::No };
        let key = "traefik.enable";
        let Some(value) = self.service.labels.get(key).map(|value| value.trim()) else {
            let (outcome, word) = match fallback {
                true => (Outcome::Pass, "routed"),
                false => (Outcome::Stop, "not routed"),
            };
            self.step(outcome, key, || {
                format!(
                    "There is no label; without one a service is {word} here (exposedByDefault)."
                )
            });
            return by_default;
        };
        let enabled = match value {
            "stack" if self.provider == ProviderName::Rancher => Enabled::Stack,
            "no" | "off" | "No" | "Off" | "NO" | "OFF" => Enabled::No,
            _ => match boolean(value) {
                Some(true) => Enabled::Service,
                Some(false) => Enabled::No,
                None => {
                    let word = if fallback { "routed" } else { "not routed" };
                    let what = format!(
                        "{key} \"{value}\" is neither true nor false; as without it, this is {word}."
                    );
                    let problem = Problem::error(&self.origin.label(key), what);
                    self.problem(problem.hint("Write true or false."));
                    by_default
                }
            },
        };
        let (outcome, word) = match enabled {
            Enabled::No => (Outcome::Stop, "not to be routed"),
            Enabled::Service => (Outcome::Pass, "to be routed"),
            Enabled::Stack => (Outcome::Pass, "to be routed at its stack's name"),
        };
        self.step(outcome, key, || format!("\"{value}\": it is {word}."));
        enabled
    }

    /// How old it counts when two claim one rule. What does not run has no seniority: a container that was
    /// replaced and not removed must not keep its rule from the one that runs.
    pub(super) fn age_order(&self) -> Option<i64> {
        self.service.age_order.filter(|_| !self.is_down())
    }

    /// Whether it has instances, and none of them runs.
    pub(super) fn is_down(&self) -> bool {
        let instances = &self.service.instances;
        !instances.is_empty() && instances.iter().all(|i| matches!(i.state, State::Down(_)))
    }

    /// Whether its owner labelled it for us at all.
    pub(super) fn is_labelled(&self) -> bool {
        self.service.labels.keys().any(|key| key.starts_with("traefik."))
    }

    /// An error for the owner of a label; where nobody labelled anything, there is nothing to mend.
    pub(super) fn left_out(&self, origin: &Origin, what: impl Into<String>) -> Problem {
        let severity = if self.is_labelled() { Severity::Error } else { Severity::Note };
        Problem::new(severity, origin, what)
    }

    /// The domains of a service: its label's list, else the provider's, else one that is empty.
    pub(super) fn domains(&self) -> Vec<&'a str> {
        let own = self.list("traefik.domain");
        if own.is_empty() { vec![self.defaults.domain.as_deref().unwrap_or_default()] } else { own }
    }

    /// The hosts that the template makes of these names, one for each domain. What cannot be a host is a
    /// problem, and is left out.
    pub(super) fn hosts(&mut self, service: &str, stack: &str, domains: &[&str]) -> Vec<String> {
        let (service, stack) = (host_label(service), host_label(stack));
        let hosts = domains.iter().map(|domain| {
            let parts = HostParts { service: &service, stack: &stack, domain };
            self.defaults.host_template.render(&parts)
        });
        let hosts: Vec<_> = hosts.collect();
        hosts.into_iter().filter_map(|host| self.host(host, "traefik.domain")).collect()
    }

    /// A host made comparable, or a problem with this label.
    pub(super) fn host(&mut self, host: Result<String, String>, label: &str) -> Option<String> {
        match host.and_then(|host| v1::host(&host)) {
            Ok(host) => Some(host),
            Err(why) => {
                let what = format!("{label}: {why}; that host is left out.");
                self.problem(Problem::error(&self.origin.label(label), what));
                None
            }
        }
    }

    /// `http` unless the label says `https`.
    pub(super) fn scheme(&mut self) -> Scheme {
        let key = "traefik.protocol";
        match self.label(key) {
            None | Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(other) => {
                let what = format!("{key} \"{other}\" is not served; http is spoken instead.");
                let problem = Problem::error(&self.origin.label(key), what);
                self.problem(problem.hint("Write http or https."));
                Scheme::Http
            }
        }
    }

    /// The share of each server.
    pub(super) fn weight(&mut self, fallback: u32) -> u32 {
        let weight = self.number("traefik.weight", 0, WEIGHT_MAX);
        weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(fallback)
    }

    /// How the next server is chosen.
    pub(super) fn method(&mut self, fallback: Method) -> Method {
        let key = "traefik.backend.loadbalancer.method";
        match self.label(key).map(str::to_ascii_lowercase).as_deref() {
            None => fallback,
            Some("wrr") => Method::Wrr,
            Some("drr") => Method::Drr,
            Some(other) => {
                let what = format!("{key} \"{other}\" is not served; {fallback} is used instead.");
                let problem = Problem::error(&self.origin.label(key), what);
                self.problem(problem.hint("Write wrr or drr."));
                fallback
            }
        }
    }

    /// Whether clients come back to their server, and by which cookie.
    pub(super) fn sticky(&mut self, backend: &str) -> Option<Sticky> {
        let keys = [
            "traefik.backend.loadbalancer.stickiness",
            "traefik.backend.loadbalancer.sticky",
            "traefik.sticky",
        ];
        if !keys.into_iter().any(|key| self.boolean(key) == Some(true)) {
            return None;
        }
        let key = "traefik.backend.loadbalancer.stickiness.cookieName";
        // RFC 6265, section 4.1.1, by way of RFC 9110's token, without the marks nobody uses.
        let is_token = |name: &&str| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!#$&'*+^`|~%".contains(&b))
        };
        let fallback = || format!("_herder_{}", normalized(backend));
        let cookie = match self.label(key) {
            None => fallback(),
            Some(name) if is_token(&name) => name.to_owned(),
            Some(name) => {
                let what = format!(
                    "{key} \"{name}\" cannot name a cookie; {} is used instead.",
                    fallback()
                );
                let problem = Problem::error(&self.origin.label(key), what);
                self.problem(problem.hint("Use letters, digits, - and _."));
                fallback()
            }
        };
        Some(Sticky { cookie })
    }

    /// Reports the labels that nobody knows, or that are known and not acted on. Returns whether one of them
    /// was to keep strangers out: then nothing may be served.
    pub(super) fn report_other_labels(&mut self) -> bool {
        let mut is_closed = false;
        let keys = self.service.labels.keys().filter(|key| key.starts_with("traefik."));
        for key in keys {
            let origin = self.origin.label(key.as_str());
            let problem = match known(key) {
                Known::Label(label) if label.support == Support::Served => continue,
                Known::Label(label) | Known::Segment(label)
                    if label.support == Support::Protects =>
                {
                    is_closed = true;
                    let what =
                        format!("{key} protects ({}), and is not acted on yet.", label.meaning);
                    let hint = "Its frontend stays closed and answers 503 until it is. Remove the \
                                label to open it to everybody.";
                    Problem::error(&origin, what).hint(hint)
                }
                Known::Label(label) => {
                    let what = format!("{key} is known ({}), and not acted on yet.", label.meaning);
                    Problem::warning(&origin, what)
                }
                Known::Segment(_) => {
                    let what = format!("{key} names a segment; segments are not acted on yet.");
                    Problem::warning(&origin, what)
                }
                Known::V2 => {
                    let what = format!("{key} is a label of Traefik 2 or 3, not acted on yet.");
                    Problem::warning(&origin, what)
                }
                Known::Unknown(near) => {
                    let problem =
                        Problem::warning(&origin, format!("{key} is not a label we know."));
                    match near {
                        Some(near) => problem.hint(format!("Did you mean {near}?")),
                        None => problem,
                    }
                }
            };
            self.step(Outcome::Note, key, || problem_text(&problem));
            self.problem(problem);
        }
        is_closed
    }

    pub(super) fn frontend(&mut self, id: FrontendId, frontend: Frontend) {
        self.step(Outcome::Pass, "rule", || {
            format!("{} leads to backend {}.", frontend.rule.text(), frontend.backend.name)
        });
        self.fragment.frontends.push((id, Arc::new(frontend)));
    }

    pub(super) fn backend(
        &mut self,
        id: BackendId,
        method: Method,
        sticky: Option<Sticky>,
        servers: Servers,
    ) {
        let origin = self.origin.clone();
        let backend = Backend { method, sticky, servers, origin };
        self.fragment.backends.push((id, Arc::new(backend)));
    }
}

/// A weight above this would make the round too long to be smooth.
const WEIGHT_MAX: i64 = 65_535;

/// `web-test.proxy-test`, or the name alone.
pub(super) fn full_name(service: &Service) -> String {
    match &service.stack {
        Some(stack) => format!("{}.{stack}", service.name),
        None => service.name.clone(),
    }
}

/// What Go's `strconv.ParseBool` takes, as Traefik 1.7 does.
fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A name as part of a host: in lower case, `_` and `/` become `-`, as in Traefik 1.7 (provider/docker).
fn host_label(name: &str) -> String {
    name.trim_matches('/').to_lowercase().replace(['_', '/'], "-")
}

/// Letters and digits stay, whatever is between them becomes one `-` (Traefik 1.7, provider.go, `Normalize`).
pub(super) fn normalized(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

fn problem_text(problem: &Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{} {hint}", problem.message),
        None => problem.message.clone(),
    }
}
