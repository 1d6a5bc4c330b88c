//! From what is asked for to what runs.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Table;
use super::chain::{Parts, chain};
use super::handling::{Handling, Page};
use super::index::Index;
use super::running::{Route, RunningBackend, RunningServer};
use crate::balance::{Schedule, seed, sticky};
use crate::config::{Backend, Check, Config, ErrorPage, Frontend, Method, Scheme};
use crate::live::{Live, ServerLive};
use crate::model::{BackendId, FrontendId, Problem};
use crate::settings::{EntryPoint, Settings};

/// The entry points that a table is made for.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryPoints<'a> {
    /// All there are: clients can be sent to them.
    pub all: &'a [EntryPoint],
    /// Those that serve the frontends that name none.
    pub default: &'a [String],
}

impl<'a> From<&'a Settings> for EntryPoints<'a> {
    fn from(settings: &'a Settings) -> Self {
        Self { all: &settings.entrypoints, default: &settings.default_entrypoints }
    }
}

/// Makes a table after the empty one.
///
/// # Panics
/// When a frontend's backend is not in the config: the plan puts every one there.
pub fn compile(
    revision: u64,
    config: Arc<Config>,
    problems: Arc<[Problem]>,
    live: &Live,
    entrypoints: EntryPoints<'_>,
) -> Table {
    compile_after(&Table::default(), revision, config, problems, live, entrypoints)
}

/// Makes a table after another one that was made of the same `live` and entry points. Servers, backends and frontends that
/// were there before keep their state; what shares its frontend and backend with that table in memory runs on as it is, so
/// that one change among thousands costs little more than itself.
///
/// # Panics
/// As [`compile`].
pub fn compile_after(
    before: &Table,
    revision: u64,
    config: Arc<Config>,
    problems: Arc<[Problem]>,
    live: &Live,
    entrypoints: EntryPoints<'_>,
) -> Table {
    let known = Known::of(before);
    let same = |(id, backend): (&BackendId, &Arc<Backend>)| {
        known.backends.get(&Arc::as_ptr(backend)).copied().filter(|running| running.id() == id)
    };
    // Those that run on as they are, by their place in memory.
    let mut kept = HashSet::with_capacity_and_hasher(before.backends.len(), RandomState::default());
    kept.extend(config.backends.iter().filter_map(|asked| same(asked).map(Arc::as_ptr)));
    depart(before, &config, &kept, live);
    let backends: Vec<Arc<RunningBackend>> = config
        .backends
        .iter()
        .map(|(id, backend)| match same((id, backend)) {
            Some(running) => {
                running.servers().iter().for_each(|server| server.live.listed(revision));
                Arc::clone(running)
            }
            None => Arc::new(running_backend(revision, id, backend, live)),
        })
        .collect();
    let by_id = ById(&backends);
    let default_entrypoints: Arc<[String]> = entrypoints.default.into();
    let serving = config.frontends.iter().filter(|(_, f)| f.shadowed_by.is_none());
    let mut routes: Vec<Arc<Route>> = serving
        .map(|(id, frontend)| {
            let pages = pages(id, frontend, by_id);
            let is_same = |route: &&&Arc<Route>| {
                let old = route.pages.iter().map(|page| &page.backend);
                let same = |(old, new): (&Arc<_>, &Page)| Arc::ptr_eq(old, &new.backend);
                kept.contains(&Arc::as_ptr(&route.backend))
                    && route.pages.len() == pages.len()
                    && old.zip(&pages).all(same)
            };
            let old = known.routes.get(&Arc::as_ptr(frontend)).filter(|route| route.id == *id);
            if let Some(route) = old.filter(is_same) {
                return Arc::clone(route);
            }
            let backend = by_id.get(&frontend.backend);
            let backend = backend.expect("the plan gives every frontend its backend");
            let served_at = match frontend.entrypoints.is_empty() {
                true => Arc::clone(&default_entrypoints),
                false => (&*frontend.entrypoints).into(),
            };
            let asked = &config.backends[&frontend.backend];
            let parts = Parts { id, frontend, backend: asked, live, entrypoints: entrypoints.all };
            Arc::new(Route {
                id: id.clone(),
                entrypoints: served_at,
                frontend: Arc::clone(frontend),
                chain: chain(&parts),
                is_by_host: frontend.rule.hosts().is_some() && frontend.rule.matchers().len() == 1,
                pages: pages.into(),
                backend: Arc::clone(backend),
                live: old.map_or_else(|| live.frontends.arrive(id), |old| Arc::clone(&old.live)),
            })
        })
        .collect();
    // Equal priorities: the names decide, so that equal configs compile alike. They are in this order already.
    routes.sort_by_key(|route| Reverse(route.priority()));
    // Places in the list are the same where its rules are, one for one.
    let has_same_rule = |(a, b): (&Arc<Route>, &Arc<Route>)| {
        Arc::ptr_eq(a, b) || a.frontend.rule == b.frontend.rule
    };
    let is_same = routes.len() == before.routes.len()
        && routes.iter().zip(&*before.routes).all(has_same_rule);
    let index = match is_same {
        true => Arc::clone(&before.index),
        false => Arc::new(Index::new(&routes)),
    };
    let waits = backends.iter().filter_map(|backend| backend.handling()?.timeouts.shortest());
    Table {
        revision,
        config,
        problems,
        shortest_wait: waits.min(),
        routes: routes.into(),
        opened: (!entrypoints.all.is_empty()).then(|| opened(entrypoints.all)),
        backends: backends.into(),
        index,
    }
}

fn opened(all: &[EntryPoint]) -> Box<[String]> {
    let opened = all.iter().filter(|entrypoint| entrypoint.shut.is_none());
    opened.map(|entrypoint| entrypoint.name.clone()).collect()
}

/// Has everybody leave who is not there any more, or is made anew: who comes takes his state up again.
fn depart(
    before: &Table,
    config: &Config,
    kept: &HashSet<*const RunningBackend, RandomState>,
    live: &Live,
) {
    for backend in before.backends.iter().filter(|old| !kept.contains(&Arc::as_ptr(old))) {
        live.backends.depart(backend.id.clone(), &backend.live);
        for server in &backend.servers {
            live.servers.depart((backend.id.clone(), server.scheme, server.addr), &server.live);
        }
    }
    let mut asked = HashSet::with_capacity_and_hasher(before.routes.len(), RandomState::default());
    if !before.routes.is_empty() {
        asked.extend(config.frontends.values().map(Arc::as_ptr));
    }
    for route in before.routes.iter().filter(|old| !asked.contains(&Arc::as_ptr(&old.frontend))) {
        live.frontends.depart(route.id.clone(), &route.live);
    }
}

/// Backends as they run, in the order of their names.
#[derive(Clone, Copy)]
struct ById<'t>(&'t [Arc<RunningBackend>]);

impl<'t> ById<'t> {
    fn get(self, id: &BackendId) -> Option<&'t Arc<RunningBackend>> {
        let place = self.0.binary_search_by(|backend| backend.id().cmp(id)).ok()?;
        self.0.get(place)
    }
}

/// What ran before, by the place in memory of what was asked for. The table before holds on to it, so that no place is
/// anybody else's meanwhile.
struct Known<'t> {
    backends: HashMap<*const Backend, &'t Arc<RunningBackend>, RandomState>,
    routes: HashMap<*const Frontend, &'t Arc<Route>, RandomState>,
}

impl<'t> Known<'t> {
    fn of(table: &'t Table) -> Self {
        let asked = table.config.backends.values().map(Arc::as_ptr);
        let routes = table.routes.iter().map(|route| (Arc::as_ptr(&route.frontend), route));
        Self { backends: asked.zip(&*table.backends).collect(), routes: routes.collect() }
    }
}

fn running_backend(
    revision: u64,
    id: &BackendId,
    backend: &Backend,
    live: &Live,
) -> RunningBackend {
    let wish = backend.wishes.as_ref().and_then(|wishes| wishes.health_check.as_ref());
    let check = wish.and_then(|wish| Check::of(wish).0).map(Arc::new);
    // Two names for one place are one server.
    let mut states: HashMap<(Scheme, SocketAddr), Arc<ServerLive>, RandomState> =
        HashMap::default();
    let servers = backend.servers.iter().map(|(name, server)| {
        let key = (id.clone(), server.scheme, server.addr);
        let state = states.entry((key.1, key.2)).or_insert_with(|| live.servers.arrive(&key));
        // A digest costs more than the rest of a server, so only who needs one has one.
        let seed = if matches!(backend.method, Method::Hash(_)) { seed(&key) } else { 0 };
        RunningServer {
            name: Arc::clone(name),
            scheme: server.scheme,
            addr: server.addr,
            host: server.host.clone(),
            weight: server.weight,
            cookie_value: match backend.sticky {
                Some(_) => sticky::value(&key).into(),
                None => Box::default(),
            },
            seed,
            live: held(Arc::clone(state), check.is_some()),
        }
    });
    let servers: Box<[RunningServer]> = servers.collect();
    servers.iter().for_each(|server| server.live.listed(revision));
    let weights: Vec<u32> = servers.iter().map(|server| server.weight).collect();
    RunningBackend {
        id: id.clone(),
        method: backend.method.clone(),
        sticky: backend.sticky.clone(),
        slow_start_ms: u64::try_from(backend.slow_start.as_millis()).unwrap_or(u64::MAX),
        servers,
        schedule: Schedule::new(&weights),
        live: live.backends.arrive(id),
        handling: Handling::of(backend),
        check,
    }
}

/// The pages in the place of errors. One whose backend is not there was reported by the plan, and is left out.
fn pages(id: &FrontendId, frontend: &Frontend, backends: ById<'_>) -> Vec<Page> {
    let wishes = frontend.wishes.iter().flat_map(|wishes| wishes.errors.values());
    let wishes = wishes.filter(|page| !page.query.is_empty());
    let page = |page: &ErrorPage| {
        let backend = backends.get(&BackendId::new(id.provider, page.backend.as_str()))?;
        Some(Page::new(page, Arc::clone(backend)))
    };
    wishes.filter_map(page).collect()
}

/// A server's state, which from now on knows whether it is checked.
fn held(server: Arc<ServerLive>, is_checked: bool) -> Arc<ServerLive> {
    server.health.hold(is_checked);
    server
}
