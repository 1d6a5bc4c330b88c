//! What all fragments ask for, put together: replicas end up in one backend, and names that meet by chance stay two.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::{Backend, Config, Fragment, Frontend};
use crate::model::{BackendId, FrontendId, Origin, Problem};

/// What all fragments ask for.
pub(super) struct Merged {
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    pub(super) shared: Shared,
}

/// Names that several fragments use: what stands under them depends on all of these.
#[derive(Debug, Default)]
pub(super) struct Shared {
    frontends: HashSet<FrontendId, RandomState>,
    backends: HashSet<BackendId, RandomState>,
}

/// Things by name while they are gathered.
type Gathered<K, V> = HashMap<K, Arc<V>, RandomState>;

/// A config while it is gathered: found by hash, put in order at the end.
pub(super) struct Draft {
    frontends: Gathered<FrontendId, Frontend>,
    backends: Gathered<BackendId, Backend>,
    problems: Vec<Problem>,
    shared: Shared,
    /// The backends of what runs, from when something comes that does not until something comes that does.
    running: Option<HashSet<BackendId, RandomState>>,
}

impl Draft {
    /// An empty one with room for as much as is in this config.
    pub(super) fn with_room_for(config: &Config) -> Self {
        let state = RandomState::default();
        Self {
            frontends: HashMap::with_capacity_and_hasher(config.frontends.len(), state.clone()),
            backends: HashMap::with_capacity_and_hasher(config.backends.len(), state),
            problems: Vec::new(),
            shared: Shared::default(),
            running: None,
        }
    }

    /// Adds what one service asks for. Replicas ask for the same frontends and backends, and end up in one.
    pub(super) fn merge(&mut self, fragment: &Fragment) {
        self.running = None;
        self.add(fragment);
    }

    fn add(&mut self, fragment: &Fragment) {
        let namesakes = self.namesakes(fragment);
        if !namesakes.is_empty() {
            return self.add(&set_apart(fragment, &namesakes));
        }
        for (id, backend) in &fragment.backends {
            match self.backends.get_mut(id) {
                None => _ = self.backends.insert(id.clone(), Arc::clone(backend)),
                Some(older) => {
                    self.shared.backends.insert(id.clone());
                    merge_backend(older, id, backend, &mut self.problems);
                }
            }
        }
        for (id, frontend) in &fragment.frontends {
            match self.frontends.get(id) {
                None => _ = self.frontends.insert(id.clone(), Arc::clone(frontend)),
                Some(older) => {
                    let beside = beside(older, id, frontend, &mut self.problems);
                    self.shared.frontends.insert(id.clone());
                    if let Some(name) = beside {
                        self.shared.frontends.insert(name.clone());
                        self.frontends.entry(name).or_insert_with(|| Arc::clone(frontend));
                    }
                }
            }
        }
    }

    /// The backends of a fragment whose names are those of other services' by chance, as `web-shop` of `a` and `web` of `shop-a` have one,
    /// and their names beside these. To mix them would send requests to whoever did not ask for them.
    fn namesakes(&mut self, fragment: &Fragment) -> Vec<(BackendId, BackendId)> {
        let mut namesakes = Vec::new();
        for (id, backend) in &fragment.backends {
            let Some(older) = self.backends.get(id) else { continue };
            if let Some(mark) = backend.mark.filter(|_| !older.is_one_with(backend)) {
                let beside = id.of_mark(mark);
                self.problems.push(namesake(id, backend, older, &beside));
                self.shared.backends.extend([id.clone(), beside.clone()]);
                namesakes.push((id.clone(), beside));
            }
        }
        let is_set_apart = |f: &Frontend| namesakes.iter().any(|(id, _)| f.backend == *id);
        let frontends = fragment.frontends.iter().filter(|(_, f)| is_set_apart(f));
        self.shared.frontends.extend(frontends.map(|(id, _)| id.clone()));
        namesakes
    }

    /// Adds what a service asks for that does not run, after all that do. It decides nothing about a backend of theirs: a container
    /// that was replaced, and not removed, would undo what its labels have learnt since.
    pub(super) fn merge_down(&mut self, fragment: &Fragment) {
        let all = || self.backends.keys().cloned().collect();
        let running = self.running.get_or_insert_with(all);
        let backends = &self.backends;
        let is_theirs = |id: &BackendId, backend: &Backend| {
            running.contains(id) && backends.get(id).is_some_and(|one| one.is_one_with(backend))
        };
        let (theirs, own): (Vec<_>, Vec<_>) =
            fragment.backends.iter().cloned().partition(|(id, backend)| is_theirs(id, backend));
        if theirs.is_empty() {
            return self.add(fragment);
        }
        let is_of_theirs = |f: &Frontend| theirs.iter().any(|(id, _)| *id == f.backend);
        let (of_theirs, frontends): (Vec<_>, Vec<_>) =
            fragment.frontends.iter().cloned().partition(|(_, f)| is_of_theirs(f));
        // What comes of these depends on it all the same.
        self.shared.backends.extend(theirs.into_iter().map(|(id, _)| id));
        self.shared.frontends.extend(of_theirs.into_iter().map(|(id, _)| id));
        self.add(&Fragment { frontends, backends: own, refused: Vec::new() });
    }

    /// Adds what one file asks for. A name that an earlier file has is not taken twice (Traefik 1.7, provider/file).
    pub(super) fn merge_file(&mut self, fragment: &Fragment) {
        let mut twice = |what: &str, name: &str, first: &Origin, second: &Origin| {
            let what = format!(
                "There is a {what} \"{name}\" in {} already; this one is left out.",
                first.service
            );
            self.problems.push(Problem::error(second, what).hint("Give it another name."));
        };
        for (id, backend) in &fragment.backends {
            match self.backends.get(id) {
                None => _ = self.backends.insert(id.clone(), Arc::clone(backend)),
                Some(first) => {
                    self.shared.backends.insert(id.clone());
                    twice("backend", &id.name, &first.origin, &backend.origin);
                }
            }
        }
        for (id, frontend) in &fragment.frontends {
            match self.frontends.get(id) {
                None => _ = self.frontends.insert(id.clone(), Arc::clone(frontend)),
                Some(first) => {
                    self.shared.frontends.insert(id.clone());
                    twice("frontend", &id.name, &first.origin, &frontend.origin);
                }
            }
        }
    }

    /// Puts it in the order of names. `previous` has most of them in it.
    pub(super) fn finish(self, previous: &Config) -> Merged {
        let Self { frontends, backends, problems, shared, running: _ } = self;
        let frontends = in_order(frontends, &previous.frontends);
        let backends = in_order(backends, &previous.backends);
        let config = Config { frontends, backends, ..Config::default() };
        Merged { config, problems, shared }
    }
}

/// Sorts. What is there before already need not be compared with everything.
fn in_order<K: Ord + Hash, V>(
    mut gathered: Gathered<K, V>,
    previous: &BTreeMap<K, Arc<V>>,
) -> BTreeMap<K, Arc<V>> {
    let mut sorted = Vec::with_capacity(gathered.len());
    sorted.extend(previous.keys().filter_map(|id| gathered.remove_entry(id)));
    sorted.extend(gathered);
    sorted.into_iter().collect()
}

/// The config without what these fragments asked for, and with what those ask for. None where that would not be the same as
/// putting all together anew: they use a name that another one uses.
///
/// `previous` has to have what was asked for, as it was put together, with these names shared.
pub(super) fn patched<'f>(
    previous: &Config,
    shared: &Shared,
    gone: impl Iterator<Item = &'f Fragment>,
    came: impl Iterator<Item = &'f Fragment>,
) -> Option<Config> {
    let mut config = previous.clone();
    for Fragment { frontends, backends, .. } in gone {
        if frontends.iter().any(|(id, _)| shared.frontends.contains(id))
            || backends.iter().any(|(id, _)| shared.backends.contains(id))
        {
            return None;
        }
        frontends.iter().for_each(|(id, _)| _ = config.frontends.remove(id));
        backends.iter().for_each(|(id, _)| _ = config.backends.remove(id));
    }
    for Fragment { frontends, backends, .. } in came {
        for (id, frontend) in frontends {
            add(&mut config.frontends, &previous.frontends, id, frontend)?;
        }
        for (id, backend) in backends {
            add(&mut config.backends, &previous.backends, id, backend)?;
        }
    }
    Some(config)
}

/// Adds a thing: the one from before, where it is the same. None where the name is taken.
fn add<K: Clone + Ord, V: Eq>(
    things: &mut BTreeMap<K, Arc<V>>,
    earlier: &BTreeMap<K, Arc<V>>,
    id: &K,
    thing: &Arc<V>,
) -> Option<()> {
    let same = earlier.get(id).filter(|earlier| *earlier == thing).unwrap_or(thing);
    things.insert(id.clone(), Arc::clone(same)).is_none().then_some(())
}

/// Takes what is as before from the config in force: whoever compiles the two need not look inside, and what was merged
/// anew to the same end runs on.
pub(super) fn share(config: &mut Config, previous: &Config) {
    share_things(&mut config.frontends, &previous.frontends);
    share_things(&mut config.backends, &previous.backends);
}

fn share_things<K: Ord, V: Eq>(fresh: &mut BTreeMap<K, Arc<V>>, earlier: &BTreeMap<K, Arc<V>>) {
    let mut earlier = earlier.iter().peekable();
    for (id, value) in fresh {
        while let Some((old, same)) = earlier.peek() {
            match (*old).cmp(id) {
                Ordering::Less => {}
                Ordering::Equal if *same == value => *value = Arc::clone(same),
                Ordering::Equal => {}
                Ordering::Greater => break,
            }
            earlier.next();
        }
    }
}

/// Adds servers to a backend that is there already.
fn merge_backend(
    older: &mut Arc<Backend>,
    id: &BackendId,
    backend: &Backend,
    problems: &mut Vec<Problem>,
) {
    let wishes = |b: &Backend| (b.method.clone(), b.sticky.clone(), b.slow_start, b.wishes.clone());
    if wishes(older) != wishes(backend) {
        problems.push(overruled("backend", &id.name, &backend.origin, &older.origin));
    }
    let older = Arc::make_mut(older);
    for (name, server) in &backend.servers {
        let mut free = Arc::clone(name);
        let mut number = 2;
        while older.servers.contains_key(&free) {
            free = format!("{name}-{number}").into();
            number += 1;
        }
        older.servers.insert(free, server.clone());
    }
}

/// That two containers wish for different things in one frontend or backend.
/// The fragment with other names for some of its backends.
fn set_apart(fragment: &Fragment, names: &[(BackendId, BackendId)]) -> Fragment {
    let beside =
        |id: &BackendId| names.iter().find(|(from, _)| from == id).map(|(_, to)| to.clone());
    let mut fragment = fragment.clone();
    for (id, _) in &mut fragment.backends {
        if let Some(beside) = beside(id) {
            *id = beside;
        }
    }
    for (_, frontend) in &mut fragment.frontends {
        if let Some(beside) = beside(&frontend.backend) {
            Arc::make_mut(frontend).backend = beside;
        }
    }
    fragment
}

fn namesake(id: &BackendId, backend: &Backend, older: &Backend, beside: &BackendId) -> Problem {
    let what = format!(
        "Its backend would be called {} like that of {}, and is called {} instead.",
        id.name, older.origin.service, beside.name
    );
    let hint = "traefik.backend gives it another name.";
    Problem::note(&backend.origin, what).hint(hint)
}

fn overruled(what: &str, name: &str, origin: &Origin, older: &Origin) -> Problem {
    let message = format!(
        "It asks for other settings in {what} {name} than the older {older}, whose wish stands."
    );
    let hint = format!("Give all containers of one {what} the same labels.");
    Problem::warning(origin, message).hint(hint)
}

/// The name of a frontend beside an older one of its own name. None where it is the same one.
fn beside(
    older: &Frontend,
    id: &FrontendId,
    frontend: &Frontend,
    problems: &mut Vec<Problem>,
) -> Option<FrontendId> {
    if older.backend != frontend.backend {
        // Another service: both are shown, and the claims say who keeps the rule.
        return Some(id.beside(&frontend.backend));
    }
    if older.rule != frontend.rule {
        // Two rules whose names are spelled alike: `shop.a.com` and `shop-a.com`.
        return Some(id.of_rule(frontend.rule.text()));
    }
    let wishes = |f: &Frontend| {
        (f.priority, f.chain.clone(), f.pass_host_header, f.wishes.clone(), f.entrypoints.clone())
    };
    if wishes(older) != wishes(frontend) {
        problems.push(overruled("frontend", &id.name, &frontend.origin, &older.origin));
    }
    None
}
