//! What every dialect needs: values out of labels, problems, and the steps on the way.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::balancing::{self, Balancing, InvalidBalancing, Said};
use super::values::{
    IDLE_PAGE_HINT, Misfit, Raw, Values, backend_misfits, boolean, frontend_misfits, idle_pages,
    unfit,
};
use crate::config::guards::{InvalidGuard, invalid_guards};
use crate::config::{Backend, Fragment, Frontend, FrontendWishes, Method, Scheme};
use crate::dialects::Reading;
use crate::dialects::labels::{self, Known, Label, Support, is_ours, known, near};
use crate::model::{
    BackendId, FrontendId, Origin, Outcome, Problem, ProviderName, Scope, Service, Severity, Trace,
    digest, slips,
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
    /// The segment that is being read: its labels go before those of the service as a whole.
    pub(super) segment: Option<&'a str>,
    problems: Vec<Problem>,
    fragment: Fragment,
}

/// Each is a frontend and a backend of its own.
const SEGMENTS_MAX: usize = 32;

/// What a service or one of its segments asks for besides a rule, a port and a method.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) frontend: Values,
    pub(super) backend: Values,
    /// The first label that was to protect, or to send clients elsewhere, and cannot be read: nobody may come in.
    pub(super) protection: Option<String>,
    /// The labels that protect and can be read.
    pub(super) guards: Vec<String>,
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
        let origin = Origin::new(provider, service.full_name());
        let (problems, fragment) = (Vec::new(), Fragment::default());
        Self { provider, service, defaults, origin, trace, segment: None, problems, fragment }
    }

    pub(super) fn finish(mut self) -> Reading {
        // A reading is remembered for as long as its service is there: it keeps no room for more.
        self.fragment.frontends.shrink_to_fit();
        self.fragment.backends.shrink_to_fit();
        self.fragment.refused.shrink_to_fit();
        self.problems.shrink_to_fit();
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
        let value =
            |key: &str| self.service.labels.get(key).map(|v| v.trim()).filter(|v| !v.is_empty());
        let own = self.segment.and_then(|_| value(&self.segment_key(key)?));
        own.or_else(|| value(key))
    }

    /// `traefik.port` as it was written: in the segment `web`, `traefik.web.port` where there is one.
    pub(super) fn written(&self, key: &str) -> String {
        self.of_segment(key).unwrap_or_else(|| key.to_owned())
    }

    /// The segment's own label in the place of this one, where there is one.
    fn of_segment(&self, key: &str) -> Option<String> {
        self.segment_key(key).filter(|own| self.service.labels.contains_key(own.as_str()))
    }

    /// Who can mend what stands in a label.
    pub(super) fn at(&self, key: &str) -> Origin {
        self.origin.label(self.written(key))
    }

    /// `traefik.web.port`, for the label `traefik.port` of the segment `web`.
    fn segment_key(&self, key: &str) -> Option<String> {
        let key = format!("traefik.{}.{}", self.segment?, key.strip_prefix("traefik.")?);
        labels::segment(&key)
            .is_some_and(|(segment, _)| Some(segment) == self.segment)
            .then_some(key)
    }

    /// The segments in which it is served: none is the service as a whole. Too many are a problem, and left out.
    pub(super) fn segments(&mut self) -> Vec<Option<&'a str>> {
        let of_key = |key: &'a Arc<str>| match known(key) {
            Known::Segment(segment, _) | Known::UnknownInSegment(segment, _) => Some(segment),
            _ => None,
        };
        let keys = self.service.labels.keys().filter(|key| key.starts_with("traefik."));
        let mut segments: BTreeSet<&str> = keys.filter_map(of_key).collect();
        if let Some(&first) = segments.iter().nth(SEGMENTS_MAX) {
            let what = format!(
                "It has {} segments, and a service has up to {SEGMENTS_MAX}: {first} and those behind it are left out.",
                segments.len()
            );
            let problem = Problem::error(&self.origin, what);
            self.problem(problem.hint("Each is a part of the labels' names: traefik.PART.port."));
            segments.split_off(first);
        }
        match segments.is_empty() {
            true => vec![None],
            false => segments.into_iter().map(Some).collect(),
        }
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
            let key = self.written(key);
            let shown = quoted(value);
            let what = format!("{key} {shown} is neither true nor false; it is left out.");
            let hint = truth_hint(value);
            self.problem(Problem::error(&self.origin.label(key), what).hint(hint));
        }
        truth
    }

    /// A number within bounds; an unreadable one is a problem, and counts as missing.
    pub(super) fn number(&mut self, key: &'static str, min: i64, max: i64) -> Option<i64> {
        let value = self.label(key)?;
        let number = value.parse().ok().filter(|n| (min..=max).contains(n));
        if number.is_none() {
            let key = self.written(key);
            let what = format!(
                "{key} {} is not a whole number from {min} to {max}; it is left out.",
                quoted(value)
            );
            self.problem(Problem::error(&self.origin.label(key), what));
        }
        number
    }

    /// What `traefik.enable` says, or what goes without it, and because of what.
    pub(super) fn enabled(&mut self, fallback: bool, because: &str) -> Enabled {
        let by_default = if fallback { Enabled::Service } else { Enabled::No };
        let key = "traefik.enable";
        let Some(value) = self.service.labels.get(key).map(|value| value.trim()) else {
            let (outcome, word) = match fallback {
                true => (Outcome::Pass, "routed"),
                false => (Outcome::Stop, "not routed"),
            };
            self.step(outcome, key, || {
                format!("There is no label; without one a service is {word} here ({because}).")
            });
            if !fallback {
                self.report_slips_of(key);
            }
            return by_default;
        };
        let enabled = match value {
            "stack" if self.provider == ProviderName::Rancher => Enabled::Stack,
            value if is_no(value) => Enabled::No,
            _ => match boolean(value) {
                Some(true) => Enabled::Service,
                Some(false) => Enabled::No,
                None => {
                    // A list of Compose keeps quotation marks. Whoever writes false in them does not want it routed.
                    let is_no = is_no(unquoted(value)) || boolean(unquoted(value)) == Some(false);
                    let (enabled, word) = match (is_no, fallback) {
                        (true, _) => (Enabled::No, "this is not routed"),
                        (false, true) => (by_default, "as without it, this is routed"),
                        (false, false) => (by_default, "as without it, this is not routed"),
                    };
                    let shown = quoted(value);
                    let what = format!("{key} {shown} is neither true nor false; {word}.");
                    let hint = truth_hint(value);
                    self.problem(Problem::error(&self.origin.label(key), what).hint(hint));
                    enabled
                }
            },
        };
        let (outcome, word) = match enabled {
            Enabled::No => (Outcome::Stop, "not to be routed"),
            Enabled::Service => (Outcome::Pass, "to be routed"),
            Enabled::Stack => (Outcome::Pass, "to be routed at its stack's name"),
        };
        self.step(outcome, key, || format!("{}: it is {word}.", quoted(value)));
        if enabled == Enabled::No {
            // It may be the image that says so, and its container's word misspelled.
            self.report_slips_of(key);
        }
        enabled
    }

    /// Tells what is made of this service's name from what is made of another one's that is spelled alike.
    pub(super) fn mark(&self) -> NonZeroU32 {
        let stack = self.service.stack.as_deref().unwrap_or_default();
        // No name has a line's end in it.
        let both = self.service.name.bytes().chain(*b"\n").chain(stack.bytes());
        NonZeroU32::new(digest(both)).unwrap_or(NonZeroU32::MIN)
    }

    /// How old it counts when two claim one rule. What does not run has no seniority: a container that was
    /// replaced and not removed must not keep its rule from the one that runs.
    pub(super) fn age_order(&self) -> Option<i64> {
        self.service.age_order.filter(|_| !self.service.is_down())
    }

    /// Whether its owner labelled it for us at all.
    pub(super) fn is_labelled(&self) -> bool {
        self.service.labels.keys().any(|key| is_ours(key))
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
            None => Scheme::Http,
            Some(word) if word.eq_ignore_ascii_case("http") => Scheme::Http,
            Some(word) if word.eq_ignore_ascii_case("https") => Scheme::Https,
            Some(other) => {
                let key = self.written(key);
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

    /// How load is shared among the servers of this backend.
    pub(super) fn balancing(
        &mut self,
        backend: &str,
        fallback: Method,
        is_sticky: bool,
    ) -> Balancing {
        const FAMILY: &str = "backend.loadbalancer.";
        let key_of = |key: &str| format!("traefik.{FAMILY}{key}");
        let is_any = self.service.labels.keys().any(|key| key.contains(FAMILY));
        let keys = balancing::KEYS.iter().filter(|_| is_any);
        let said: Said<'_> =
            keys.filter_map(|key| Some((*key, self.label(&key_of(key))?))).collect();
        let (balancing, invalid) = balancing::read(&said, backend, fallback, is_sticky);
        for InvalidBalancing { key, severity, what, hint } in invalid {
            let key = key_of(key);
            let problem = Problem::new(severity, &self.at(&key), format!("{key} {what}"));
            self.problem(problem.hint(hint));
        }
        balancing
    }

    /// The entry points it is served at; none stands for the default ones.
    pub(super) fn entrypoints(&self) -> Vec<String> {
        self.list("traefik.frontend.entryPoints").into_iter().map(str::to_owned).collect()
    }

    /// Whether the tags of `traefik.tags` are what the provider's constraints ask for.
    pub(super) fn fits_constraints(&mut self) -> bool {
        let tags = self.list("traefik.tags");
        let Some(failed) = self.defaults.constraints.iter().find(|c| !c.fits(&tags)) else {
            return true;
        };
        let said = if tags.is_empty() { "none".to_owned() } else { tags.join(", ") };
        let why =
            format!("Its tags ({said}) do not fit the constraint {failed}: it is not routed here.");
        self.step(Outcome::Stop, "traefik.tags", || why);
        false
    }

    /// Reports the labels that were probably meant to be this one: of a service that is not routed, nothing else is told.
    fn report_slips_of(&mut self, meant: &'static str) {
        let is_slip =
            |key: &&Arc<str>| matches!(known(key), Known::Unknown) && near(key) == Some(meant);
        for key in self.service.labels.keys().filter(is_slip) {
            let origin = self.origin.label(Arc::clone(key));
            let what = format!("{key} is not a label we know.");
            self.problem(hinted(Problem::warning(&origin, what), Some(meant)));
        }
    }

    /// Reports the labels that nobody knows, that cannot be read, or that are known and not acted on yet.
    pub(super) fn report_other_labels(&mut self) {
        let labels = self.service.labels.iter().filter(|(key, _)| is_ours(key));
        for (key, value) in labels {
            let origin = self.origin.label(Arc::clone(key));
            let known = known(key);
            let problem = match known {
                Known::Label(label) | Known::Segment(_, label) => {
                    match not_yet(&origin, key, value, label) {
                        Some(problem) => problem,
                        None => continue,
                    }
                }
                Known::V2 => {
                    let what = format!("{key} is a label of Traefik 2 or 3, not acted on yet.");
                    Problem::warning(&origin, what)
                }
                Known::UnknownInSegment(..) | Known::Unknown if protects(key, known) => {
                    let what = format!(
                        "{key} is not a label we know. It was to protect, so its frontend stays closed."
                    );
                    Problem::error(&origin, what).hint("Mend the label.")
                }
                Known::UnknownInSegment(segment, rest) => {
                    let what = format!("{key} is not a label we know of the segment {segment}.");
                    let near = near(&format!("traefik.{rest}"))
                        .map(|near| near.replacen("traefik.", &format!("traefik.{segment}."), 1));
                    hinted(Problem::warning(&origin, what), near.as_deref())
                }
                Known::Unknown => hinted(
                    Problem::warning(&origin, format!("{key} is not a label we know.")),
                    near(key),
                ),
            };
            self.problem(problem);
        }
    }

    /// What the service, or the segment that is being read, asks for besides a rule, a port and a method.
    pub(super) fn wanted(&mut self) -> Wanted {
        let mut wanted = Wanted::default();
        let labels = self.service.labels.iter().filter(|(key, _)| is_ours(key));
        for (key, value) in labels {
            let (segment, known) = (tail(key).0, known(key));
            let is_mine = segment.is_none_or(|segment| Some(segment) == self.segment);
            let is_guard = is_mine && protects(key, known);
            let (path, label) = match known {
                // One of the segment's own stands in its place.
                Known::Label(_) if self.of_segment(key).is_some() => continue,
                Known::Label(label) => (key.strip_prefix("traefik."), label),
                Known::Segment(segment, label) if Some(segment) == self.segment => {
                    (labels::segment(key).map(|(_, rest)| rest), label)
                }
                _ if is_guard => {
                    // One that nobody knows was to keep strangers out all the same.
                    wanted.protection.get_or_insert_with(|| key.as_ref().to_owned());
                    continue;
                }
                _ => continue,
            };
            if !label.is_wish() {
                continue;
            }
            if is_guard {
                wanted.guards.push(key.as_ref().to_owned());
            }
            let raw = || Raw::Text(value.trim().to_owned());
            // What does not fit was reported with the other labels.
            let added = match path
                .map(|path| (path.strip_prefix("frontend."), path.strip_prefix("backend.")))
            {
                Some((Some(path), _)) => wanted.frontend.add(path, label, raw()),
                Some((_, Some(path))) => wanted.backend.add(path, label, raw()),
                _ => Ok(()),
            };
            let is_empty_guard = is_guard && value.trim().is_empty();
            if is_empty_guard || (label.closes() && added.is_err()) {
                wanted.protection.get_or_insert_with(|| key.as_ref().to_owned());
            }
        }
        for (path, misfit) in frontend_misfits(&wanted.frontend) {
            self.report_misfit(&format!("traefik.frontend.{path}"), &misfit);
        }
        for (path, what) in idle_pages(&wanted.frontend) {
            let key = self.written(&format!("traefik.frontend.{path}"));
            let problem = Problem::note(&self.origin.label(&*key), format!("{key} {what}"));
            self.problem_once(problem.hint(IDLE_PAGE_HINT));
        }
        for (path, misfit) in backend_misfits(&wanted.backend) {
            self.report_misfit(&format!("traefik.backend.{path}"), &misfit);
        }
        wanted
    }

    /// Reports what is wrong with a family of labels, or with one of them.
    pub(super) fn report_misfit(&mut self, key: &str, misfit: &Misfit) {
        let is_own = |own: &String| self.service.labels.keys().any(|key| key.starts_with(own));
        let key = self.segment_key(key).filter(is_own).unwrap_or_else(|| key.to_owned());
        let what = format!("{key}: {}; it is left out.", misfit.why);
        let problem = Problem::error(&self.origin.label(key), what).hint(misfit.hint);
        self.problem_once(problem);
    }

    /// Tells what the service says as a whole, which is read once for each of its segments.
    pub(super) fn problem_once(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problem(problem);
        }
    }

    /// A guard of a segment, where the dialect knows no segments: nobody may come in.
    pub(super) fn segments_guard(&mut self) -> Option<String> {
        let mut keys = self.service.labels.keys();
        let key = keys.find(|key| matches!(tail(key), (Some(_), rest) if guards(rest)))?;
        let what = format!("{key} is of a segment, which labels of rancher-tools have not.");
        let problem = Problem::error(&self.origin.label(Arc::clone(key)), what);
        let key = key.to_string();
        self.problem(problem.hint("Its frontend stays closed. Say it without the segment."));
        Some(key)
    }

    /// The label because of which nobody may come in, if there is one: a guard that cannot be read, or that nothing can be
    /// done with. What is wrong with guards that were read is reported.
    pub(super) fn closing_label(
        &mut self,
        wanted: &Wanted,
        wishes: &FrontendWishes,
    ) -> Option<String> {
        let mut closing = wanted.protection.clone();
        let key_of = |key: &str| {
            let written = self.written(&format!("traefik.frontend.{key}"));
            // The older word for the same.
            let old = match key {
                "auth.basic.users" => "frontend.auth.basic",
                "whiteList.sourceRange" => "frontend.whitelistSourceRange",
                _ => return written,
            };
            let said = wanted.guards.iter().find(|guard| tail(guard).1 == old);
            said.filter(|_| !wanted.guards.contains(&written)).cloned().unwrap_or(written)
        };
        let mut problems = Vec::new();
        for InvalidGuard { key, what, hint, closes } in invalid_guards(wishes) {
            let key = key_of(key);
            let follows = if closes { " Its frontend stays closed." } else { "" };
            let what = format!("{key} {what}.{follows}");
            problems.push(Problem::error(&self.origin.label(key.as_str()), what).hint(hint));
            if closes {
                closing.get_or_insert(key);
            }
        }
        for key in &wanted.guards {
            if closing.is_some() {
                break;
            }
            let is_auth = tail(key).1.starts_with("frontend.auth.");
            let is_asked =
                if is_auth { wishes.auth.is_some() } else { wishes.white_list.is_some() };
            if !is_asked {
                let what = format!("{key} alone keeps nobody out. Its frontend stays closed.");
                let hint = "Say who may pass: users, an address to ask, or a sourceRange.";
                problems.push(Problem::error(&self.origin.label(key.as_str()), what).hint(hint));
                closing.get_or_insert_with(|| key.clone());
            }
        }
        problems.into_iter().for_each(|problem| self.problem(problem));
        closing
    }

    pub(super) fn frontend(&mut self, id: FrontendId, frontend: Frontend) {
        self.step(Outcome::Pass, "rule", || {
            format!("{} leads to backend {}.", frontend.rule.text(), frontend.backend.name)
        });
        self.fragment.frontends.push((id, Arc::new(frontend)));
    }

    /// A frontend that is not served: its rule cannot be read.
    pub(super) fn refuse(&mut self, id: FrontendId, frontend: Frontend) {
        self.fragment.refused.push((id, Arc::new(frontend)));
    }

    pub(super) fn backend(&mut self, id: BackendId, backend: Backend) {
        self.fragment.backends.push((id, Arc::new(backend)));
    }
}

/// The segment of a key and what it says there; the whole of it where there is none.
fn tail(key: &str) -> (Option<&str>, &str) {
    match labels::segment(key) {
        Some((segment, rest)) => (Some(segment), rest),
        None => (None, key.get(labels::OURS.len()..).filter(|_| is_ours(key)).unwrap_or(key)),
    }
}

/// Whether a label keeps strangers out, or was meant to.
fn protects(key: &str, known: Known<'_>) -> bool {
    match known {
        // Who is called by name is no slip of another one.
        Known::Label(label) | Known::Segment(_, label) => label.is_guard(),
        Known::V2 => false,
        Known::UnknownInSegment(..) | Known::Unknown => guards(tail(key).1),
    }
}

/// Whether what is said there was to keep strangers out, slips of the fingers included. A segment may stand before it.
fn guards(tail: &str) -> bool {
    let mut words = tail.split('.');
    let (first, second, third) = (words.next(), words.next(), words.next());
    let is_frontend = |word: Option<&str>| {
        let word = word.unwrap_or_default();
        word.eq_ignore_ascii_case("frontend")
            || slips("frontend", word).is_some_and(|slips| slips <= 2)
    };
    let guards = |word: Option<&str>| word.is_some_and(is_guard);
    (is_frontend(first) && guards(second)) || (is_frontend(second) && guards(third))
}

/// Whether a key of a frontend keeps strangers out, or is so near to one that does that it was meant to.
pub(super) fn is_guard(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let is_near = |guard: &&str| slips(guard, &key).is_some_and(|slips| slips <= 2);
    // Two letters make `auth` of it, and it is a word of its own.
    key != "path" && GUARDS.iter().any(is_near)
}

/// The keys of a frontend that keep strangers out.
const GUARDS: &[&str] = &["auth", "basicauth", "whitelist", "whitelistsourcerange"];

/// What is wrong with a label's value, or that nobody acts on it yet; nothing where all is well.
fn not_yet(origin: &Origin, key: &str, value: &str, label: &'static Label) -> Option<Problem> {
    let is_served = label.support == Support::Served;
    let is_protection = label.is_guard();
    if is_served && !is_protection && !label.is_wish() {
        // Its reader says what is wrong with it.
        return None;
    }
    let value = value.trim();
    if value.is_empty() && !is_protection {
        return None;
    }
    let misfit = Values::default().add("", label, Raw::Text(value.to_owned())).err();
    let empty = || Misfit { why: "is empty".to_owned(), hint: "Write a value." };
    let misfit = misfit.or_else(|| value.is_empty().then(empty));
    if let Some(misfit) = misfit {
        return Some(Problem::error(origin, unfit(key, label, &misfit)).hint(misfit.hint));
    }
    let what = || format!("{key} is known ({}), and not acted on yet.", label.meaning);
    (!is_served && !is_protection).then(|| Problem::warning(origin, what()))
}

fn hinted(problem: Problem, near: Option<&str>) -> Problem {
    match near {
        Some(near) => problem.hint(format!("Did you mean {near}?")),
        None => problem,
    }
}

/// A weight above this would make the round too long to be smooth.
pub(super) const WEIGHT_MAX: i64 = 65_535;

/// A name as part of a host: in lower case, `_` and `/` become `-`, as in Traefik 1.7 (provider/docker).
fn host_label(name: &str) -> String {
    name.trim_matches('/').to_lowercase().replace(['_', '/'], "-")
}

/// Letters and digits stay, whatever is between them becomes one `-` (Traefik 1.7, provider.go, `Normalize`).
pub(super) fn normalized(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// Whether this is no in YAML's words. Whoever writes them does not want it routed.
fn is_no(value: &str) -> bool {
    matches!(value, "no" | "off" | "No" | "Off" | "NO" | "OFF")
}

/// What to write in the place of a value that is neither true nor false.
fn truth_hint(value: &str) -> &'static str {
    match boolean(unquoted(value)) {
        Some(_) => "Write it without the quotation marks.",
        None => "Write true or false.",
    }
}

/// The value in quotation marks: its own, where it has them.
pub(super) fn quoted(value: &str) -> Cow<'_, str> {
    match value.len() > 1 && value.starts_with('"') && value.ends_with('"') {
        true => Cow::Borrowed(value),
        false => Cow::Owned(format!("\"{value}\"")),
    }
}

fn unquoted(value: &str) -> &str {
    value.trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::labels::LABELS;

    /// Labels are told apart by name, what nobody knows by how near it is to a name: both must agree.
    #[test]
    fn the_guards_are_those_of_the_table() {
        for label in LABELS {
            let key = label.key.replace('*', "any");
            assert_eq!(label.is_guard(), guards(tail(&key).1), "{key}");
        }
    }
}
