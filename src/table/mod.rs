//! Where does this request go? The running form of a config: one immutable value, one swap.

mod chain;
mod compile;
mod guards;
mod handling;
mod headers;
mod index;
pub mod plain;
mod published;
mod running;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub use chain::{auth_step, entry_chain};
pub use compile::{EntryPoints, compile, compile_after};
pub use guards::of_entry as auth_of_entry;
pub use handling::{Buffering, Handling, Kept, Page, RETRIES_MAX, Timeouts};
pub use published::{Published, Reader};
pub use running::{Route, RunningBackend, RunningServer, Tried};

use crate::config::{Config, Scheme};
use crate::model::{Exchange, Problem};

/// Routes with the config and the problems they were made from, so that page and routes never disagree.
pub struct Table {
    /// Counts the tables of this process; 0 is the empty one before the first.
    pub revision: u64,
    /// What was asked for.
    pub config: Arc<Config>,
    /// What was wrong with it.
    pub problems: Arc<[Problem]>,
    /// Whether a provider has not said yet what it has: whoever has no route here may be known to it.
    pub is_partial: bool,
    /// The shortest of the waits that backends have of their own.
    pub shortest_wait: Option<Duration>,
    routes: Box<[Arc<Route>]>,
    /// The entry points at which somebody listens; none where that is not known.
    opened: Option<Box<[String]>>,
    /// In the order of the config, those without a route too.
    backends: Box<[Arc<RunningBackend>]>,
    index: Arc<index::Index>,
}

impl Table {
    /// The route that takes this request: of all that match, the one of the highest priority.
    pub fn lookup(&self, exchange: &Exchange<'_>) -> Option<&Arc<Route>> {
        let found = self.index.lookup(&self.routes, exchange);
        debug_assert_eq!(
            found.map(|route| &route.id),
            plain::lookup(&self.routes, exchange).map(|route| &route.id),
            "the index and the plain matcher agree"
        );
        found
    }

    /// All backends, in the order of their names.
    pub fn backends(&self) -> &[Arc<RunningBackend>] {
        &self.backends
    }

    /// Those that requests can reach, each once: a frontend leads to them, or has a page of theirs in the place of errors.
    pub fn reachable_backends(&self) -> impl Iterator<Item = &Arc<RunningBackend>> {
        let mut seen = HashSet::new();
        let all = self.routes.iter().flat_map(|route| {
            std::iter::once(&route.backend).chain(route.pages.iter().map(|page| &page.backend))
        });
        all.filter(move |backend| seen.insert(Arc::as_ptr(backend)))
    }

    /// Whether a server is spoken to over https.
    pub fn has_https(&self) -> bool {
        let mut servers = self.backends.iter().flat_map(|backend| backend.servers());
        servers.any(|server| server.scheme == Scheme::Https)
    }

    /// Whether somebody listens at one of these entry points.
    pub fn is_reachable(&self, entrypoints: &[String]) -> bool {
        self.opened.as_ref().is_none_or(|opened| entrypoints.iter().any(|n| opened.contains(n)))
    }

    /// All routes, in the order in which they are asked.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

impl Default for Table {
    /// The empty table before the first: nobody has said anything yet.
    fn default() -> Self {
        Self {
            revision: 0,
            config: Arc::default(),
            problems: Arc::default(),
            is_partial: true,
            shortest_wait: None,
            routes: Box::default(),
            opened: None,
            backends: Box::default(),
            index: Arc::new(index::Index::new(&[])),
        }
    }
}
