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
    let (backends, gone) = backends_after(before, revision, &config, live);
    let routes = routes_after(before, &config, ById(&backends), &gone, live, entrypoints);
    debug_assert!(
        routes.len() == config.frontends.values().filter(|f| f.shadowed_by.is_none()).count(),
        "each frontend that is served has one route"
    );
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
        is_partial: false,
        shortest_wait: waits.min(),
        routes: routes.into(),
        opened: (!entrypoints.all.is_empty()).then(|| opened(entrypoints.all)),
        backends: backends.into(),
        index,
    }
}

/// Things that do not run on, by their place in memory. The table before holds on to them, so that no place is anybody else's
/// meanwhile.
type Gone<T> = HashSet<*const T, RandomState>;

/// The backends of a config, those of the table before where they are asked for as they were; and who of that table does not
/// run on.
fn backends_after(
    before: &Table,
    revision: u64,
    config: &Config,
    live: &Live,
) -> (Vec<Arc<RunningBackend>>, Gone<RunningBackend>) {
    let mut gone = Gone::default();
    // Whoever is made anew takes his state up again: so he leaves first.
    let mut leave = |backend: &Arc<RunningBackend>| {
        gone.insert(Arc::as_ptr(backend));
        live.backends.depart(backend.id.clone(), &backend.live);
        for server in &backend.servers {
            server.live.left(revision);
            live.servers.depart((backend.id.clone(), server.scheme, server.addr), &server.live);
        }
    };
    let mut backends = Vec::with_capacity(config.backends.len());
    // Both are in the order of names.
    let mut old = before.config.backends.iter().zip(&*before.backends).peekable();
    for (id, asked) in &config.backends {
        while let Some((_, running)) = old.next_if(|((old, _), _)| *old < id) {
            leave(running);
        }
        let backend = match old.next_if(|((old, _), _)| *old <= id) {
            Some(((_, was), running)) if Arc::ptr_eq(was, asked) => Arc::clone(running),
            was => {
                was.into_iter().for_each(|(_, running)| leave(running));
                Arc::new(running_backend(revision, id, asked, live))
            }
        };
        backends.push(backend);
    }
    old.for_each(|(_, running)| leave(running));
    (backends, gone)
}

/// The routes of a config, in the order in which they are asked; those of the table before where nothing of theirs has changed.
fn routes_after(
    before: &Table,
    config: &Config,
    backends: ById<'_>,
    gone: &Gone<RunningBackend>,
    live: &Live,
    entrypoints: EntryPoints<'_>,
) -> Vec<Arc<Route>> {
    let default_entrypoints: Arc<[String]> = entrypoints.default.into();
    let made = |id: &FrontendId, frontend: &Arc<Frontend>, pages: Vec<Page>, live_of| {
        let backend = backends.get(&frontend.backend);
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
            live: live_of,
        })
    };
    let (left, came) = frontends_between(&before.config, config);
    let mut kept = Vec::with_capacity(config.frontends.len());
    let mut fresh = Vec::new();
    for route in &before.routes {
        if left.contains(&Arc::as_ptr(&route.frontend)) {
            live.frontends.depart(route.id.clone(), &route.live);
            continue;
        }
        let pages = pages(&route.id, &route.frontend, backends);
        let is_same = !gone.contains(&Arc::as_ptr(&route.backend))
            && route.pages.len() == pages.len()
            && route.pages.iter().zip(&pages).all(|(a, b)| Arc::ptr_eq(&a.backend, &b.backend));
        match is_same {
            true => kept.push(Arc::clone(route)),
            false => fresh.push(made(&route.id, &route.frontend, pages, Arc::clone(&route.live))),
        }
    }
    for (id, frontend) in came.into_iter().filter(|(_, f)| f.shadowed_by.is_none()) {
        let pages = pages(id, frontend, backends);
        fresh.push(made(id, frontend, pages, live.frontends.arrive(id)));
    }
    in_order(&kept, fresh)
}

/// The frontends of the one config that the other one has not in that very form, and the other way round.
fn frontends_between<'c>(
    before: &Config,
    after: &'c Config,
) -> (Gone<Frontend>, Vec<(&'c FrontendId, &'c Arc<Frontend>)>) {
    let (mut left, mut came) = (Gone::default(), Vec::new());
    let mut old = before.frontends.iter().peekable();
    for (id, frontend) in &after.frontends {
        while let Some((_, was)) = old.next_if(|(old, _)| *old < id) {
            left.insert(Arc::as_ptr(was));
        }
        let was = old.next_if(|(old, _)| *old <= id).map(|(_, was)| was);
        if !was.is_some_and(|was| Arc::ptr_eq(was, frontend)) {
            left.extend(was.map(Arc::as_ptr));
            came.push((id, frontend));
        }
    }
    left.extend(old.map(|(_, was)| Arc::as_ptr(was)));
    (left, came)
}

/// Routes in the order in which they are asked: those that were kept are.
fn in_order(mut kept: &[Arc<Route>], mut fresh: Vec<Arc<Route>>) -> Vec<Arc<Route>> {
    // Equal priorities: the names decide, so that equal configs compile alike.
    let order = |a: &Arc<Route>, b: &Arc<Route>| {
        let rank = |route: &Route| (route.gives_way(), Reverse(route.priority()));
        rank(a).cmp(&rank(b)).then_with(|| a.id.cmp(&b.id))
    };
    fresh.sort_by(order);
    let mut routes = Vec::with_capacity(kept.len() + fresh.len());
    for route in fresh {
        let place = kept.partition_point(|kept| order(kept, &route).is_lt());
        let (earlier, later) = kept.split_at(place);
        routes.extend_from_slice(earlier);
        routes.push(route);
        kept = later;
    }
    routes.extend_from_slice(kept);
    routes
}

fn opened(all: &[EntryPoint]) -> Box<[String]> {
    let opened = all.iter().filter(|entrypoint| entrypoint.shut.is_none());
    opened.map(|entrypoint| entrypoint.name.clone()).collect()
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
        let mut is_alias = true;
        let state = states.entry((key.1, key.2)).or_insert_with(|| {
            is_alias = false;
            live.servers.arrive(&key)
        });
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
            is_alias,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Server;
    use crate::model::{Origin, ProviderName};
    use crate::rules::v1;

    /// The priority of each frontend, and the ports and weights of the servers behind it; none: it is not there.
    type Told = Vec<Option<(i64, Vec<(u16, u32)>)>>;

    fn told() -> impl Strategy<Value = Told> {
        let servers = prop::collection::vec((1_u16..4, 1_u32..3), 0..4);
        prop::collection::vec(prop::option::weighted(0.8, (1_i64..3, servers)), 3)
    }

    /// What is asked for; what is as before is that of before, as the plan has it.
    fn config(told: &Told, before: &Config) -> Config {
        let origin = Origin::new(ProviderName::Docker, "s");
        let mut config = Config::default();
        for (number, (priority, servers)) in
            told.iter().enumerate().filter_map(|(number, told)| Some((number, told.as_ref()?)))
        {
            let server = |(place, &(port, weight)): (usize, &(u16, u32))| {
                let server = Server {
                    scheme: Scheme::Http,
                    addr: ([10, 0, 0, 1], port).into(),
                    host: None,
                    weight,
                    is_weight_said: true,
                    origin: origin.clone(),
                };
                (format!("s{place}").into(), server)
            };
            let backend = Backend {
                mark: None,
                method: Method::Wrr,
                sticky: None,
                slow_start: std::time::Duration::ZERO,
                servers: servers.iter().enumerate().map(server).collect(),
                wishes: None,
                origin: origin.clone(),
            };
            let id = BackendId::new(ProviderName::Docker, format!("b{number}"));
            let frontend = Frontend {
                entrypoints: Box::default(),
                rule: v1::parse("Host:a.t").expect("a rule").rule,
                priority: Some(*priority),
                chain: Box::default(),
                pass_host_header: true,
                wishes: None,
                backend: id.clone(),
                origin: origin.clone(),
                age_order: None,
                shadowed_by: None,
                routes: Box::default(),
            };
            let same = before.backends.get(&id).filter(|same| ***same == backend);
            config.backends.insert(id, same.map_or_else(|| Arc::new(backend), Arc::clone));
            let id = FrontendId::new(ProviderName::Docker, format!("f{number}"));
            let same = before.frontends.get(&id).filter(|same| ***same == frontend);
            config.frontends.insert(id, same.map_or_else(|| Arc::new(frontend), Arc::clone));
        }
        config
    }

    proptest! {
        /// Who is in one table and in the next keeps what was measured of it, and so does who comes back while a request holds it;
        /// who comes back later begins anew.
        #[test]
        fn who_stays_or_is_held_is_who_it_was(
            moments in prop::collection::vec((told(), any::<bool>()), 1..8),
        ) {
            let (live, mut table) = (Live::default(), Table::default());
            // Each state is known by how many requests it has seen.
            let (mut count, mut there) = (0, BTreeMap::<(BackendId, SocketAddr), u64>::new());
            let (mut held, mut holders) = (there.clone(), Vec::new());
            for (revision, (told, holds)) in (1..).zip(moments) {
                let asked = Arc::new(config(&told, &table.config));
                let next = compile_after(&table, revision, asked, Arc::from([]), &live, EntryPoints::default());
                for (old, new) in table.routes.iter().flat_map(|old| Some((old, next.routes.iter().find(|new| new.id == old.id)?))) {
                    prop_assert!(Arc::ptr_eq(&old.live, &new.live));
                    prop_assert!(Arc::ptr_eq(&old.backend.live, &new.backend.live));
                }
                table = next;
                live.sweep();
                let mut now = BTreeMap::new();
                for (backend, server) in table.backends.iter().flat_map(|b| b.servers.iter().map(move |s| (b, s))) {
                    let key = (backend.id.clone(), server.addr);
                    let expected = now.get(&key).or(there.get(&key)).or(held.get(&key)).copied();
                    prop_assert_eq!(server.live.requests(), expected.unwrap_or_default(), "{:?}", key);
                    if expected.is_none() {
                        count += 1;
                        (0..count).for_each(|_| server.live.begin());
                    }
                    now.insert(key, server.live.requests());
                }
                there = now;
                if holds {
                    held.extend(there.clone());
                    let servers = table.backends.iter().flat_map(|backend| &backend.servers);
                    holders.extend(servers.map(|server| Arc::clone(&server.live)));
                } else {
                    held.clear();
                    holders.clear();
                    live.sweep();
                }
            }
        }
    }
}
