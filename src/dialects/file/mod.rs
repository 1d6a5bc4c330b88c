//! The `[frontends]` and `[backends]` of Traefik 1.x's rule files.
//!
//! Their keys are those of the labels, below other names: `frontends.shop.headers.frameDeny` is
//! `traefik.frontend.headers.frameDeny`. So both are checked by one table and read into the same wishes.

mod leaves;
mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use servers::server_hosts;

use leaves::raw;

use super::Reading;
use super::balancing::{self, Balancing, InvalidBalancing, Said};
use super::health::problem_of;
use super::reader::is_guard;
use super::v1::{negative_priority, unmatchable};
use super::values::{
    IDLE_PAGE_HINT, Misfit, Raw, backend_misfits, backend_wishes, boolean, frontend_misfits,
    frontend_wishes, idle_pages, name_of, split_list,
};
use crate::config::guards::{InvalidGuard, invalid_guards};
use crate::config::{Backend, BackendWishes, Check, Frontend, FrontendWishes, Method};
use crate::document::{Double, Entry, Node, Place, Table};
use crate::middleware::{Closed, Middleware};
use crate::model::{BackendId, Document, FrontendId, Origin, Problem, ProviderName, slips};
use crate::rules::{Rule, v1};

/// Reads a file.
pub(crate) fn read(document: &Document) -> Reading {
    let mut reader = FileReader { document, reading: Reading::default() };
    reader.top();
    reader.reading
}

struct FileReader<'d> {
    document: &'d Document,
    reading: Reading,
}

impl<'d> FileReader<'d> {
    fn origin(&self, place: Place) -> Origin {
        Origin::new(ProviderName::File, format!("{}:{place}", self.document.name))
    }

    fn error(&mut self, place: Place, what: impl Into<String>, hint: &str) {
        let problem = Problem::error(&self.origin(place), what);
        self.reading.problems.push(if hint.is_empty() { problem } else { problem.hint(hint) });
    }

    fn top(&mut self) {
        let tree = &self.document.tree;
        for entry in tree.entries() {
            let is_rules =
                ["frontends", "backends"].contains(&entry.key.to_ascii_lowercase().as_str());
            if is_rules || self.document.is_main {
                continue;
            }
            let place = entry.node.place;
            if entry.key.eq_ignore_ascii_case("tls") {
                let what = "tls is known (certificates), and not acted on yet.";
                self.reading.problems.push(Problem::warning(&self.origin(place), what));
                continue;
            }
            self.unknown(place, &entry.key, ["frontends", "backends", "tls"].into_iter());
        }
        for Double { path, place, why } in tree.doubles() {
            let top = path.split('.').next().unwrap_or_default();
            let is_rules = ["frontends", "backends"].iter().any(|r| r.eq_ignore_ascii_case(top));
            // The others are settings, which are told where they are read.
            if is_rules || !self.document.is_main {
                self.error(place, format!("{path} is left out: {why}."), "Write another name.");
            }
        }
        for (name, place, table) in self.tables("backends") {
            self.backend(&name, place, table);
        }
        for (name, place, table) in self.tables("frontends") {
            self.frontend(&name, place, table);
        }
    }

    /// The tables below `backends` or `frontends`, by name.
    fn tables(&mut self, key: &str) -> Vec<(String, Place, &'d Table)> {
        let document = self.document;
        let Some(node) = document.tree.get(key) else { return Vec::new() };
        let Some(table) = node.as_table() else {
            self.error(
                node.place,
                format!("{key} is {}; it is left out.", node.sort()),
                "Write a table for each.",
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for entry in table.entries() {
            match entry.node.as_table() {
                Some(table) => tables.push((entry.key.clone(), entry.node.place, table)),
                None => {
                    let what =
                        format!("{key}.{} is {}; it is left out.", entry.key, entry.node.sort());
                    self.error(entry.node.place, what, "Write a table.");
                }
            }
        }
        tables
    }

    fn unknown<'k>(&mut self, place: Place, key: &str, known: impl Iterator<Item = &'k str>) {
        let last = |key: &'k str| key.rsplit('.').next().unwrap_or_default();
        let slips = |known: &'k str| slips(last(known), key.rsplit('.').next().unwrap_or_default());
        let near = known.filter_map(|known| Some((slips(known)?, known)));
        let near = near.min_by_key(|(slips, _)| *slips).map(|(_, near)| near);
        let problem = Problem::warning(&self.origin(place), format!("{key} is not a key we know."));
        self.reading.problems.push(match near {
            Some(near) => problem.hint(format!("Did you mean {near}?")),
            None => problem,
        });
    }

    /// A plain value of a key, or a problem where it is something else.
    fn text<'t>(&mut self, name: &str, table: &'t Table, key: &str) -> Option<(Place, &'t str)> {
        let node = table.get(key)?;
        match node.as_text() {
            Some(text) => Some((node.place, text.trim())).filter(|(_, text)| !text.is_empty()),
            None => {
                let what = format!("{name}.{key} is {}; it is left out.", node.sort());
                self.error(node.place, what, "Write one value.");
                None
            }
        }
    }

    fn flag(&mut self, name: &str, table: &Table, key: &str) -> Option<bool> {
        let (place, text) = self.text(name, table, key)?;
        let truth = boolean(text);
        if truth.is_none() {
            let what =
                format!("{name}.{key} \"{text}\" is neither true nor false; it is left out.");
            self.error(place, what, "Write true or false.");
        }
        truth
    }

    fn backend(&mut self, key: &str, place: Place, table: &Table) {
        let name = format!("backends.{key}");
        let (values, _) = self.values(&name, table, "backend", &["servers", "loadBalancer"]);
        self.report_misfits(&["backends", key], backend_misfits(&values));
        let Balancing { method, slow_start, sticky } = self.balancing(&name, key, table);
        let wishes = backend_wishes(&values);
        if let Some(wish) = &wishes.health_check {
            for invalid in Check::of(wish).1 {
                let path = format!("healthcheck.{}", invalid.setting);
                let (key, place) = self.key(&["backends", key], &path);
                let problem = problem_of(&self.origin(place), &key, &invalid);
                self.reading.problems.push(problem);
            }
        }
        let servers = self.servers(&name, table);
        if table.get("servers").is_none_or(|node| node.as_table().is_some_and(Table::is_empty)) {
            let what = format!("{name} has no servers: what is sent there is answered with 503.");
            let hint =
                format!("Write [{name}.servers.ANY] and below it url = \"http://10.0.0.1:80\".");
            let problem = Problem::warning(&self.origin(place), what);
            self.reading.problems.push(problem.hint(hint));
        }
        let backend = Backend {
            mark: None,
            method,
            slow_start,
            sticky,
            servers,
            wishes: Some(Box::new(wishes)).filter(|wishes| **wishes != BackendWishes::default()),
            origin: self.origin(place),
        };
        self.reading
            .fragment
            .backends
            .push((BackendId::new(ProviderName::File, key), Arc::new(backend)));
    }

    /// Reports what is wrong with values together, each as near to them as can be.
    fn report_misfits(&mut self, table: &[&str], misfits: Vec<(String, Misfit)>) {
        for (path, Misfit { why, hint }) in misfits {
            let (shown, place) = self.key(table, &path);
            self.error(place, format!("{shown}: {why}; it is left out."), hint);
        }
    }

    /// A key below a table: as it was written, where it was, as near as can be.
    fn key(&self, table: &[&str], path: &str) -> (String, Place) {
        let path: Vec<String> = path.split('.').map(name_of).collect();
        let keys = table.iter().copied().chain(path.iter().map(String::as_str));
        let (written, place) = self.document.tree.follow(keys);
        (written.join("."), place.unwrap_or_default())
    }

    /// How load is shared among the servers of this backend.
    fn balancing(&mut self, name: &str, key: &str, table: &Table) -> Balancing {
        let name = format!("{name}.loadBalancer");
        let (mut said, mut places) = (Said::new(), BTreeMap::new());
        if let Some(node) = table.get("loadBalancer") {
            self.said_of_balancing(&name, "", node, &mut said, &mut places);
        }
        let (balancing, invalid) = balancing::read(&said, key, Method::Wrr, false);
        for InvalidBalancing { key, severity, what, hint } in invalid {
            let origin = self.origin(places.get(key).copied().unwrap_or_default());
            let problem = Problem::new(severity, &origin, format!("{name}.{key} {what}"));
            self.reading.problems.push(problem.hint(hint));
        }
        balancing
    }

    /// What stands in the table `loadBalancer`, or with the prefix `stickiness.` in the one within it.
    fn said_of_balancing<'t>(
        &mut self,
        name: &str,
        prefix: &str,
        node: &'t Node,
        said: &mut Said<'t>,
        places: &mut BTreeMap<&'static str, Place>,
    ) {
        let Some(table) = node.as_table() else {
            let what = format!("{name} is {}; it is left out.", node.sort());
            return self.error(node.place, what, "Write a table.");
        };
        let known =
            balancing::KEYS.iter().filter_map(|key| Some((*key, key.strip_prefix(prefix)?)));
        let known: Vec<_> = known.filter(|(_, own)| !own.contains('.')).collect();
        for entry in table.entries() {
            let found = known.iter().find(|(_, own)| own.eq_ignore_ascii_case(&entry.key));
            let Some(&(key, own)) = found else {
                let names = known.iter().map(|(_, own)| *own);
                self.unknown(entry.node.place, &format!("{name}.{}", entry.key), names);
                continue;
            };
            places.insert(key, entry.node.place);
            // `stickiness` is a flag, or a table that says that it is wanted, and how.
            if key == "stickiness" && entry.node.as_table().is_some() {
                said.insert(key, "true");
                let name = format!("{name}.{key}");
                self.said_of_balancing(&name, "stickiness.", &entry.node, said, places);
            } else if let Some((_, text)) = self.text(name, table, own) {
                said.insert(key, text);
            }
        }
    }

    /// Reads a frontend. All that is wrong with it is told, also where it cannot be served.
    fn frontend(&mut self, key: &str, place: Place, table: &Table) {
        let name = format!("frontends.{key}");
        let own = ["backend", "routes", "priority", "entryPoints", "passHostHeader"];
        let (values, protection) = self.values(&name, table, "frontend", &own);
        let routes = self.routes(&name, place, table);
        let backend = self.text(&name, table, "backend").map(|(_, backend)| backend);
        if backend.is_none() {
            let what = format!("{name} names no backend; it is not served.");
            self.error(place, what, "Write backend = \"NAME\".");
        }
        let wishes = frontend_wishes(&values);
        let protection = protection.or_else(|| self.closing_key(key, table, &wishes));
        let priority = self.priority(&name, table);
        self.report_misfits(&["frontends", key], frontend_misfits(&values));
        for (path, what) in idle_pages(&values) {
            let (shown, place) = self.key(&["frontends", key], &path);
            let problem = Problem::note(&self.origin(place), format!("{shown} {what}"));
            self.reading.problems.push(problem.hint(IDLE_PAGE_HINT));
        }
        let entrypoints = self.entrypoints(&name, table);
        let is_served = routes.is_some() && backend.is_some() && entrypoints.is_some();
        let Routes { rule, mut chain, routes } = routes.unwrap_or_default();
        if let Some(reason) = protection {
            chain.insert(0, Middleware::Closed(Closed { reason }));
        }
        let frontend = Frontend {
            entrypoints: entrypoints.unwrap_or_default().into(),
            priority,
            chain: chain.into(),
            // Unlike a label's, a file's default is false (Traefik 1.7, types.Frontend).
            pass_host_header: self.flag(&name, table, "passHostHeader").unwrap_or(false),
            wishes: Some(Box::new(wishes)).filter(|wishes| **wishes != FrontendWishes::default()),
            backend: BackendId::new(ProviderName::File, backend.unwrap_or_default()),
            origin: self.origin(place),
            age_order: Some(0),
            shadowed_by: None,
            routes: routes.into(),
            rule,
        };
        let fragment = &mut self.reading.fragment;
        let those = if is_served { &mut fragment.frontends } else { &mut fragment.refused };
        those.push((FrontendId::new(ProviderName::File, key), Arc::new(frontend)));
    }

    fn priority(&mut self, name: &str, table: &Table) -> Option<i64> {
        let (place, text) = self.text(name, table, "priority")?;
        let number = text.parse().ok();
        if number.is_none() {
            let what = format!("{name}.priority \"{text}\" is not a whole number; it is left out.");
            self.error(place, what, "");
        }
        if let Some(priority @ ..0) = number {
            let (what, hint) = negative_priority(&format!("{name}.priority"), priority);
            let problem = Problem::warning(&self.origin(place), what);
            self.reading.problems.push(problem.hint(hint));
        }
        number
    }

    /// The guard because of which nobody may come in, if there is one: nothing can be done with it. What is wrong with
    /// guards is reported.
    fn closing_key(
        &mut self,
        frontend: &str,
        table: &Table,
        wishes: &FrontendWishes,
    ) -> Option<String> {
        let mut closing = None;
        for InvalidGuard { key, what, hint, closes } in invalid_guards(wishes) {
            let (key, place) = self.key(&["frontends", frontend], key);
            let follows = if closes { " Its frontend stays closed." } else { "" };
            self.error(place, format!("{key} {what}.{follows}"), hint);
            if closes {
                closing.get_or_insert(key);
            }
        }
        // Whatever stands there: what was to protect must not be open because it says too little.
        let says_nothing = |entry: &&Entry| {
            let key = entry.key.to_ascii_lowercase();
            let is_auth = ["auth", "basicauth"].contains(&key.as_str());
            let is_asked =
                if is_auth { wishes.auth.is_some() } else { wishes.white_list.is_some() };
            is_guard(&key) && !is_asked
        };
        let guard = table.entries().find(says_nothing).filter(|_| closing.is_none());
        if let Some(guard) = guard {
            let key = format!("frontends.{frontend}.{}", guard.key);
            let what = format!("{key} alone keeps nobody out. Its frontend stays closed.");
            let hint = "Say who may pass: users, an address to ask, or a sourceRange.";
            self.error(guard.node.place, what, hint);
            closing = Some(key);
        }
        closing
    }

    /// The entry points that are named; nothing where they cannot be read: the default ones may be open to more people.
    fn entrypoints(&mut self, name: &str, table: &Table) -> Option<Vec<String>> {
        let Some(node) = table.get("entryPoints") else { return Some(Vec::new()) };
        match raw(node) {
            Some(Raw::List(list)) => Some(list),
            Some(Raw::Text(text)) => Some(split_list(&text)),
            _ => {
                let what = format!(
                    "{name}.entryPoints is not a list of names; the frontend is not served."
                );
                self.error(node.place, what, "Write entryPoints = [\"http\"].");
                None
            }
        }
    }

    /// All rules of a frontend, which must all match; nothing where one of them cannot be read.
    fn routes(&mut self, name: &str, place: Place, table: &Table) -> Option<Routes> {
        let table = table.get("routes").and_then(Node::as_table).filter(|table| !table.is_empty());
        let Some(table) = table else {
            let hint =
                format!("Write [{name}.routes.ANY] and below it rule = \"Host:a.example.com\".");
            self.error(
                place,
                format!("{name} has no routes, so it would take every request; it is not served."),
                &hint,
            );
            return None;
        };
        let read: Vec<_> = table.entries().map(|entry| self.route(name, entry)).collect();
        let rules: Vec<(&str, &str, Place)> = read.into_iter().collect::<Option<_>>()?;
        // Together, so that what they do to a request happens in the order of one rule.
        let texts: Vec<&str> = rules.iter().map(|(_, text, _)| *text).collect();
        match v1::parse_all(&texts) {
            Ok(v1::Reading { rule, chain }) => {
                if let Some((key, _, place)) = rules.last()
                    && let Some((what, hint)) =
                        unmatchable(&format!("{name}.routes.{key}.rule"), rule.text(), &rule)
                {
                    let problem = Problem::warning(&self.origin(*place), what);
                    self.reading.problems.push(problem.hint(hint));
                }
                let owned = |(key, text, _): (&str, &str, Place)| (key.to_owned(), text.to_owned());
                Some(Routes { rule, chain, routes: rules.into_iter().map(owned).collect() })
            }
            Err((which, why)) => {
                for (at, (key, text, place)) in rules.into_iter().enumerate() {
                    // The first that is wrong is not all that is.
                    let own = if at == which { Some(why.clone()) } else { v1::parse(text).err() };
                    let Some(why) = own else { continue };
                    let what = format!(
                        "{name}.routes.{key}.rule \"{text}\" cannot be read: {why}; its frontend is not served."
                    );
                    self.error(place, what, "");
                }
                None
            }
        }
    }

    /// One rule: its name, its text and where that stands.
    fn route<'t>(&mut self, name: &str, entry: &'t Entry) -> Option<(&'t str, &'t str, Place)> {
        let name = format!("{name}.routes.{}", entry.key);
        let rule = entry.node.as_table().and_then(|table| self.text(&name, table, "rule"));
        let Some((place, text)) = rule else {
            let what = format!("{name} has no rule; its frontend is not served.");
            self.error(entry.node.place, what, "Write rule = \"Host:a.example.com\".");
            return None;
        };
        Some((&entry.key, text, place))
    }
}

/// What a frontend's rules come to.
struct Routes {
    rule: Rule,
    chain: Vec<Middleware>,
    /// Each by its name, as it was written.
    routes: Vec<(String, String)>,
}

impl Default for Routes {
    /// Those of a frontend whose rules cannot be read.
    fn default() -> Self {
        Self { rule: Rule::new(String::new(), Vec::new()), chain: Vec::new(), routes: Vec::new() }
    }
}
