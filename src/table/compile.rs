//! From what is asked for to what runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Table;
use super::chain::{Parts, chain};
use super::handling::{Handling, Page};
use super::index::Index;
use super::running::{Route, RunningBackend, RunningServer};
use crate::balance::{Schedule, sticky};
use crate::config::{Backend, Config, ErrorPage, Frontend};
use crate::live::Live;
use crate::model::{BackendId, FrontendId, Problem};

/// Makes a table. Servers, backends and frontends that were there before keep their state in `live`.
///
/// `default_entrypoints` serve the frontends that name none.
///
/// # Panics
/// When a frontend's backend is not in the config: the plan puts every one there.
pub fn compile(
    revision: u64,
    config: Arc<Config>,
    problems: Arc<[Problem]>,
    live: &Live,
    default_entrypoints: &[String],
) -> Table {
    let backends: BTreeMap<&BackendId, Arc<RunningBackend>> = config
        .backends
        .iter()
        .map(|(id, b)| (id, Arc::new(running_backend(id, b, live))))
        .collect();
    let default_entrypoints: Arc<[String]> = default_entrypoints.into();
    let serving = config.frontends.iter().filter(|(_, f)| f.shadowed_by.is_none());
    let mut routes: Vec<Arc<Route>> = serving
        .map(|(id, frontend)| {
            let entrypoints = match frontend.entrypoints.is_empty() {
                true => Arc::clone(&default_entrypoints),
                false => frontend.entrypoints.as_slice().into(),
            };
            let backend = backends.get(&frontend.backend);
            let backend = Arc::clone(backend.expect("the plan gives every frontend its backend"));
            let parts = Parts { id, frontend, backend: &config.backends[&frontend.backend], live };
            Arc::new(Route {
                id: id.clone(),
                entrypoints,
                frontend: Arc::clone(frontend),
                chain: chain(&parts),
                priority: frontend.effective_priority(),
                is_by_host: frontend.rule.hosts().is_some() && frontend.rule.matchers().len() == 1,
                pages: pages(id, frontend, &backends),
                backend,
                live: live.frontend(id),
            })
        })
        .collect();
    // Equal priorities: the names decide, so that equal configs compile alike.
    routes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id)));
    let index = Index::new(&routes);
    Table { revision, config, problems, routes: routes.into(), index }
}

fn running_backend(id: &BackendId, backend: &Backend, live: &Live) -> RunningBackend {
    let servers = backend.servers.iter().map(|(name, server)| {
        let key = (id.clone(), server.scheme, server.addr);
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
            live: live.server(key),
        }
    });
    let servers: Box<[RunningServer]> = servers.collect();
    let weights: Vec<u32> = servers.iter().map(|server| server.weight).collect();
    RunningBackend {
        id: id.clone(),
        method: backend.method,
        sticky: backend.sticky.clone(),
        servers,
        schedule: Schedule::new(&weights),
        live: live.backend(id),
        handling: Handling::of(backend),
    }
}

/// The pages in the place of errors. One whose backend is not there was reported by the plan, and is left out.
fn pages(
    id: &FrontendId,
    frontend: &Frontend,
    backends: &BTreeMap<&BackendId, Arc<RunningBackend>>,
) -> Box<[Page]> {
    let wishes = frontend.wishes.iter().flat_map(|wishes| wishes.errors.values());
    let page = |page: &ErrorPage| {
        let backend = backends.get(&BackendId::new(id.provider, page.backend.as_str()))?;
        Some(Page::new(page, Arc::clone(backend)))
    };
    wishes.filter_map(page).collect()
}
