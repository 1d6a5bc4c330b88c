//! The fast way to a route: one hash of the host, then only the routes that can match it.
//!
//! [`plain`](super::plain) is the obvious slow way; the two are held against each other in tests and in every
//! debug build.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::running::Route;
use crate::model::Exchange;

/// Places in the table's list of routes, ascending: the list is in the order in which routes are asked.
type Places = Box<[u32]>;

/// Which routes may take a request, by its host.
pub(super) struct Index {
    by_host: HashMap<Box<str>, Places, RandomState>,
    /// Routes that no `Host` term binds: patterns, and rules on the path alone.
    any_host: Places,
}

impl Index {
    pub(super) fn new(routes: &[Arc<Route>]) -> Self {
        let mut by_host: HashMap<Box<str>, Vec<u32>, RandomState> = HashMap::default();
        let mut any_host = Vec::new();
        for (place, route) in (0_u32..).zip(routes) {
            match route.frontend.rule.hosts() {
                None => any_host.push(place),
                Some(hosts) => {
                    for host in hosts {
                        let places = by_host.entry(host.as_str().into()).or_default();
                        // `Host:a,a` names one host twice.
                        if places.last() != Some(&place) {
                            places.push(place);
                        }
                    }
                }
            }
        }
        let by_host = by_host.into_iter().map(|(host, places)| (host, places.into())).collect();
        Self { by_host, any_host: any_host.into() }
    }

    /// The first of the routes that takes this request. Neither allocates nor locks.
    pub(super) fn lookup<'r>(
        &self,
        routes: &'r [Arc<Route>],
        exchange: &Exchange<'_>,
    ) -> Option<&'r Arc<Route>> {
        let bound = self.by_host.get(&*exchange.host).map_or(&[][..], |places| places);
        let first = |places: &[u32]| {
            places.iter().copied().find(|&place| routes[place as usize].takes(exchange))
        };
        let best_bound = first(bound);
        // Only what is asked before the best one so far can still win.
        let limit = best_bound.unwrap_or(u32::MAX);
        let ahead = self.any_host.partition_point(|&place| place < limit);
        let best = first(&self.any_host[..ahead]).or(best_bound)?;
        Some(&routes[best as usize])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::config::{Backend, Config, Frontend, Method, Servers};
    use crate::live::Live;
    use crate::model::{BackendId, Exchange, FrontendId, Origin, ProviderName};
    use crate::rules::v1;
    use crate::table::{Table, compile, plain};

    /// Rules over few hosts and paths, so that many of them meet.
    fn rule() -> impl Strategy<Value = (String, Option<i64>)> {
        let host = prop::sample::select(vec![
            "Host:a.t",
            "Host:b.t",
            "Host:a.t,b.t",
            "Host:b.t,b.t,c.t",
            "HostRegexp:{x:[ab]}.t",
            "HostRegexp:{x}.t",
            "",
        ]);
        let path = prop::sample::select(vec![
            "Path:/",
            "PathPrefix:/p",
            "PathPrefixStrip:/p/q",
            "PathPrefix:/",
            "Path:/p,/p/q",
        ]);
        let priority = prop::option::of(-2_i64..4);
        (host, path, priority)
            .prop_map(|(host, path, priority)| (format!("{host};{path}"), priority))
    }

    fn table(rules: &[(String, Option<i64>)]) -> Table {
        let provider = ProviderName::Docker;
        let (backend, origin) = (BackendId::new(provider, "b"), Origin::new(provider, "s"));
        let mut config = Config::default();
        for (place, (text, priority)) in rules.iter().enumerate() {
            let v1::Reading { rule, chain } = v1::parse(text).expect("a good rule");
            let frontend = Frontend {
                entrypoints: Vec::new(),
                rule,
                priority: *priority,
                chain,
                pass_host_header: true,
                backend: backend.clone(),
                origin: origin.clone(),
                age_order: None,
                shadowed_by: None,
            };
            let id = FrontendId::new(provider, format!("f{place}"));
            config.frontends.insert(id, Arc::new(frontend));
        }
        let (servers, method) = (Servers::new(), Method::Wrr);
        let value = Backend { method, sticky: None, servers, origin };
        config.backends.insert(backend, Arc::new(value));
        compile(1, Arc::new(config), Arc::from([]), &Live::default(), &["http".to_owned()])
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_the_plain_matcher(
            rules in prop::collection::vec(rule(), 0..12),
            host in prop::sample::select(vec!["a.t", "B.T:80", "c.t.", "x.t", "none", ""]),
            path in prop::sample::select(vec!["/", "/p", "/p/q", "/p/q/r", "/other", ""]),
        ) {
            let table = table(&rules);
            let exchange = Exchange::new("http", host, path, &());
            let fast = table.lookup(&exchange).map(|route| &route.id);
            let slow = plain::lookup(table.routes(), &exchange).map(|route| &route.id);
            prop_assert_eq!(fast, slow);
        }
    }
}
