//! The fast way to a route: a few hashes of host and path, then only the routes that can match.
//!
//! [`plain`](super::plain) is the obvious slow way; the two are held against each other in tests and in every
//! debug build.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::running::Route;
use crate::model::Exchange;

/// Places in the table's list of routes, ascending: the list is in the order in which routes are asked. Most hosts have
/// one, and ask for no memory of their own then.
type Places = SmallVec<[u32; 2]>;

/// Which routes may take a request. Each route is filed under the first of these that its rule binds: whole hosts,
/// the ends of host patterns, the beginnings of paths.
pub(super) struct Index {
    by_host: HashMap<Box<str>, Shelf, RandomState>,
    /// `.example.com` for `HostRegexp:{sub}.example.com`.
    by_host_end: Affixes<Shelf>,
    any_host: Shelf,
}

/// Routes that the host does not tell apart.
struct Shelf {
    /// So few that looking at each is the fastest, or those that no path binds.
    others: Places,
    by_path_start: Option<Box<Affixes<Places>>>,
}

/// Values by the beginnings or ends of texts. A search hashes one part of the text for each length there is: that is
/// as many as people have thought of, not as many as there are texts.
struct Affixes<T> {
    values: HashMap<Box<str>, T, RandomState>,
    /// Ascending.
    lengths: Box<[usize]>,
}

/// Of longer texts only this much is filed, in bytes: so there are never more lengths than this.
const AFFIX_BYTES_MAX: usize = 64;

/// Up to this many routes of one host are looked at one by one.
const FEW: usize = 8;

impl Index {
    pub(super) fn new(routes: &[Arc<Route>]) -> Self {
        let mut by_host: HashMap<Box<str>, Places, RandomState> = HashMap::default();
        let mut by_host_end: HashMap<Box<str>, Places, RandomState> = HashMap::default();
        let mut any_host = Places::new();
        // `Host:a,a` names one host twice.
        let file = |places: &mut Places, place: u32| {
            if places.last() != Some(&place) {
                places.push(place);
            }
        };
        for (place, route) in (0_u32..).zip(routes) {
            let rule = &route.frontend.rule;
            if let Some(hosts) = rule.hosts() {
                for host in hosts {
                    file(by_host.entry(host.as_str().into()).or_default(), place);
                }
            } else if let Some(patterns) = rule.host_patterns() {
                for pattern in patterns {
                    let end = pattern.literal_end();
                    let from = end.len().saturating_sub(AFFIX_BYTES_MAX);
                    match end.get(from..) {
                        None | Some("") => file(&mut any_host, place),
                        Some(end) => file(by_host_end.entry(end.into()).or_default(), place),
                    }
                }
            } else {
                any_host.push(place);
            }
        }
        let shelves = |map: HashMap<Box<str>, Places, RandomState>| {
            map.into_iter().map(|(key, places)| (key, Shelf::new(places, routes))).collect()
        };
        Self {
            by_host: shelves(by_host),
            by_host_end: Affixes::new(shelves(by_host_end)),
            any_host: Shelf::new(any_host, routes),
        }
    }

    /// The first of the routes that takes this request. Neither allocates nor locks.
    pub(super) fn lookup<'r>(
        &self,
        routes: &'r [Arc<Route>],
        exchange: &Exchange<'_>,
    ) -> Option<&'r Arc<Route>> {
        let mut search = Search { routes, exchange, best: u32::MAX };
        if let Some(shelf) = self.by_host.get(&*exchange.host) {
            search.shelf(shelf, Route::takes_from_host);
        }
        if !self.by_host_end.lengths.is_empty() {
            for shelf in self.by_host_end.ends_of(&exchange.host) {
                search.shelf(shelf, Route::takes);
            }
        }
        if !self.any_host.is_empty() {
            search.shelf(&self.any_host, Route::takes);
        }
        routes.get(search.best as usize)
    }
}

impl Shelf {
    fn new(mut places: Places, routes: &[Arc<Route>]) -> Self {
        if places.len() <= FEW {
            places.shrink_to_fit();
            return Self { others: places, by_path_start: None };
        }
        let mut others = Places::new();
        let mut by_path_start: HashMap<Box<str>, Places, RandomState> = HashMap::default();
        for place in places {
            let paths = routes[place as usize].frontend.rule.paths();
            let cut = |start: &'_ str| start.floor_char_boundary(AFFIX_BYTES_MAX);
            let starts = paths.iter().copied().flatten().map(|path| path.literal_start());
            let starts = starts.map(|start| start.split_at(cut(start)).0);
            let starts: BTreeSet<&str> = starts.collect();
            if starts.is_empty() || starts.contains("") {
                others.push(place);
                continue;
            }
            for start in starts {
                by_path_start.entry(start.into()).or_default().push(place);
            }
        }
        others.shrink_to_fit();
        by_path_start.values_mut().for_each(Places::shrink_to_fit);
        Self { others, by_path_start: Some(Box::new(Affixes::new(by_path_start))) }
    }

    fn is_empty(&self) -> bool {
        self.others.is_empty() && self.by_path_start.is_none()
    }
}

impl<T> Affixes<T> {
    fn new(values: HashMap<Box<str>, T, RandomState>) -> Self {
        let lengths: BTreeSet<usize> = values.keys().map(|key| key.len()).collect();
        Self { values, lengths: lengths.into_iter().collect() }
    }

    fn starts_of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a T> {
        let lengths = self.lengths.iter().take_while(move |&&len| len <= text.len());
        lengths.filter_map(move |&len| self.values.get(text.get(..len)?))
    }

    fn ends_of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a T> {
        let starts = self.lengths.iter().map_while(move |&len| text.len().checked_sub(len));
        starts.filter_map(move |start| self.values.get(text.get(start..)?))
    }
}

/// The search for the first route that takes a request.
struct Search<'s> {
    routes: &'s [Arc<Route>],
    exchange: &'s Exchange<'s>,
    /// Only what is asked before the best one so far can still win.
    best: u32,
}

impl Search<'_> {
    fn shelf(&mut self, shelf: &Shelf, takes: impl Fn(&Route, &Exchange<'_>) -> bool + Copy) {
        self.places(&shelf.others, takes);
        if let Some(by_path_start) = &shelf.by_path_start {
            for places in by_path_start.starts_of(self.exchange.plain_path()) {
                self.places(places, takes);
            }
        }
    }

    fn places(&mut self, places: &[u32], takes: impl Fn(&Route, &Exchange<'_>) -> bool) {
        for &place in places {
            if place >= self.best {
                return;
            }
            if takes(&self.routes[place as usize], self.exchange) {
                self.best = place;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::config::{Backend, Config, Frontend, Method, Scheme, Server};
    use crate::live::Live;
    use crate::model::{BackendId, Exchange, FrontendId, Origin, ProviderName};
    use crate::rules::{Rule, v1};
    use crate::table::{EntryPoints, Table, compile_after, plain};

    /// A frontend: its rule, its priority, the entry points it names, and whether anybody may serve it.
    type Asked = (Rule, Option<i64>, &'static [&'static str], bool);

    /// Rules over few hosts and paths, so that many of them meet.
    fn asked() -> impl Strategy<Value = Asked> {
        let hosts = [
            "Host:a.t",
            "Host:b.t",
            "Host:a.t,b.t",
            "Host:b.t,b.t,c.t",
            "Host:a.t,b.t;Host:b.t,c.t",
            "Host:b.t;HostRegexp:{x:[abc]}.t",
            "HostRegexp:{x:[ab]}.t",
            "HostRegexp:{x}.t",
            "HostRegexp:a.{x}",
            "HostRegexp:{x}.T,b.t",
            "HostRegexp:{x:.*};HostRegexp:a.t,{x:b}.t",
            "HostRegexp:{x}.\u{17f}t,{x}.\u{212a}",
            "",
        ];
        let paths = [
            "Path:/",
            "PathPrefix:/p",
            "PathPrefixStrip:/p/q",
            "PathPrefix:/",
            "Path:/p,/p/q",
            "Path:/p/",
            "PathPrefix:/p/",
            "PathPrefix:/p//q",
            "PathPrefix:/p;PathPrefix:/p/q/r,/other",
            "Path:/{n:p};PathPrefix:/",
            "PathPrefix:/p/{n:[qx]}",
            "PathPrefix:/p/{n:q?}",
            "PathPrefix:/{n}/q,/other",
            "Path:/{n:[a-z]*}",
            "Path:/p/{n}/",
            "PathPrefix:/éééééééééééééééééééééééééééééééééééééééé/x",
            "Method:GET",
            "Method:POST;PathPrefix:/p",
        ];
        // Each is read once.
        let rule = |text: &str| v1::parse(text).expect("a good rule").rule;
        let rules = hosts.iter().flat_map(|host| paths.map(|path| rule(&format!("{host};{path}"))));
        let rule = prop::sample::select(rules.collect::<Vec<_>>());
        let names: Vec<&[&str]> = vec![&[], &["http"], &["https"], &["https", "http"], &["none"]];
        let (priority, names) = (prop::option::of(-2_i64..4), prop::sample::select(names));
        (rule, priority, names, prop::bool::weighted(0.8))
    }

    fn config(all: &[Asked]) -> Config {
        let provider = ProviderName::Docker;
        let origin = Origin::new(provider, "s");
        let mut config = Config::default();
        for serves in [true, false] {
            let server = Server {
                scheme: Scheme::Http,
                addr: ([10, 0, 0, 1], 80).into(),
                host: None,
                weight: 1,
                is_weight_said: true,
                origin: origin.clone(),
            };
            let value = Backend {
                method: Method::Wrr,
                sticky: None,
                slow_start: std::time::Duration::ZERO,
                servers: serves.then(|| ("s".into(), server)).into_iter().collect(),
                wishes: None,
                mark: None,
                origin: origin.clone(),
            };
            config.backends.insert(backend(serves), Arc::new(value));
        }
        for (place, asked) in all.iter().enumerate() {
            config.frontends.insert(id(place), Arc::new(frontend(asked, &origin)));
        }
        config
    }

    fn backend(serves: bool) -> BackendId {
        BackendId::new(ProviderName::Docker, serves.to_string())
    }

    fn id(place: usize) -> FrontendId {
        FrontendId::new(ProviderName::Docker, format!("f{place}"))
    }

    fn frontend((rule, priority, names, serves): &Asked, origin: &Origin) -> Frontend {
        Frontend {
            entrypoints: names.iter().map(|name| (*name).to_owned()).collect(),
            rule: rule.clone(),
            priority: *priority,
            chain: Box::default(),
            pass_host_header: true,
            wishes: None,
            backend: backend(*serves),
            origin: origin.clone(),
            age_order: None,
            shadowed_by: None,
            routes: Box::default(),
        }
    }

    /// What `docs/rules.md` says, with neither routes nor their order.
    fn first_of<'c>(config: &'c Config, exchange: &Exchange<'_>) -> Option<&'c FrontendId> {
        let takes = |(_, f): &(&FrontendId, &Arc<Frontend>)| {
            let default = f.entrypoints.is_empty() && exchange.entrypoint == "http";
            let is_at = default || f.entrypoints.iter().any(|name| name == exchange.entrypoint);
            is_at && f.rule.matches(exchange)
        };
        let rank = |(id, f): &(&'c FrontendId, &Arc<Frontend>)| {
            let by_length = f.rule.text().len() as i64;
            let priority = f.priority.filter(|&priority| priority > 0).unwrap_or(by_length);
            (f.backend != backend(true), std::cmp::Reverse(priority), *id)
        };
        config.frontends.iter().filter(takes).min_by_key(rank).map(|(id, _)| id)
    }

    proptest! {
        /// Of a table and of one after it, of which some frontends are other ones.
        #[test]
        fn the_index_finds_whoever_goes_first(
            all in prop::collection::vec(asked(), 0..32),
            others in prop::collection::vec((any::<prop::sample::Index>(), asked()), 0..3),
            entrypoint in prop::sample::select(vec!["http", "https"]),
            method in prop::sample::select(vec!["GET", "POST"]),
            host in prop::sample::select(vec!["a.t", "B.T:80", "c.t.", "x.t", "a.b", "a.st", "a.k", "none", ""]),
            path in prop::sample::select(vec![
                "/", "/p", "/p/q", "/p/q/r", "/other", "/%70/", "/p/", "", "//p", "/x/../p/./q", "/p/%2e%2e", "*",
            ]),
        ) {
            let entrypoints = EntryPoints { all: &[], default: &["http".to_owned()] };
            let (live, mut table, mut config) = (Live::default(), Table::default(), config(&all));
            let exchange = Exchange::new(entrypoint, method, host, path, &());
            for revision in [1, 2] {
                let asked = Arc::new(config.clone());
                table = compile_after(&table, revision, asked, Arc::from([]), &live, entrypoints);
                let fast = table.index.lookup(table.routes(), &exchange).map(|route| &route.id);
                let slow = plain::lookup(table.routes(), &exchange).map(|route| &route.id);
                prop_assert_eq!(fast, slow);
                prop_assert_eq!(slow, first_of(&config, &exchange));
                for (place, other) in others.iter().filter(|_| !all.is_empty()) {
                    let other = frontend(other, &Origin::new(ProviderName::Docker, "s"));
                    config.frontends.insert(id(place.index(all.len())), Arc::new(other));
                }
            }
        }
    }
}
