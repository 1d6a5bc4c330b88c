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
            match route.rule.hosts() {
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
