//! What all fragments ask for, put together: replicas end up in one backend, and names that meet by chance stay two.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::{Backend, Config, Fragment, Frontend};
use crate::middleware::Middleware;
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
    /// Names of backends that are made of those of several services, as `web-shop` of `a` and `web` of `shop-a` have one. To mix them
    /// would send requests to whoever did not ask for them.
    namesakes: HashSet<BackendId, RandomState>,
    /// The backends of what runs, from when something comes that does not until something comes that does.
    running: Option<HashSet<BackendId, RandomState>>,
    /// What keeps strangers out of backends, in the order in which it was asked for.
    guarded: Vec<Guarded>,
}

/// A backend as one service asks for it that lets nobody in unseen.
struct Guarded {
    id: BackendId,
    backend: Arc<Backend>,
    /// All that lead to it.
    frontends: Vec<Arc<Frontend>>,
}

impl Draft {
    /// An empty one for these services, with room for as much as is in this config.
    pub(super) fn new<'f>(config: &Config, services: impl Iterator<Item = &'f Fragment>) -> Self {
        let state = RandomState::default();
        Self {
            frontends: HashMap::with_capacity_and_hasher(config.frontends.len(), state.clone()),
            backends: HashMap::with_capacity_and_hasher(config.backends.len(), state),
            problems: Vec::new(),
            shared: Shared::default(),
            namesakes: namesakes(services),
            running: None,
            guarded: Vec::new(),
        }
    }

    /// Adds what one service asks for. Replicas ask for the same frontends and backends, and end up in one.
    pub(super) fn merge(&mut self, fragment: &Fragment) {
        self.running = None;
        let fragment = self.set_apart(fragment);
        self.add(&fragment);
    }

    /// The fragment with names of their own for those of its backends that others are called like by chance.
    fn set_apart<'f>(&mut self, fragment: &'f Fragment) -> Cow<'f, Fragment> {
        let mark_of = |(id, backend): &(BackendId, Arc<Backend>)| {
            backend.mark.filter(|_| self.namesakes.contains(id)).map(|mark| (id.clone(), mark))
        };
        let marks: Vec<(BackendId, NonZeroU32)> =
            fragment.backends.iter().filter_map(mark_of).collect();
        if marks.is_empty() {
            return Cow::Borrowed(fragment);
        }
        let mut fragment = fragment.clone();
        let beside = |id: &BackendId| {
            let mark = marks.iter().find(|(of, _)| of == id).map(|(_, mark)| *mark);
            mark.map(|mark| id.of_mark(mark))
        };
        for (id, backend) in &mut fragment.backends {
            if let Some(beside) = beside(id) {
                self.problems.push(namesake(id, backend, &beside));
                self.shared.backends.extend([id.clone(), beside.clone()]);
                *id = beside;
            }
        }
        for (id, frontend) in &mut fragment.frontends {
            if let Some(beside) = beside(&frontend.backend) {
                self.shared.frontends.insert(id.clone());
                Arc::make_mut(frontend).backend = beside;
            }
        }
        Cow::Owned(fragment)
    }

    fn add(&mut self, fragment: &Fragment) {
        for (id, backend) in &fragment.backends {
            match self.backends.get_mut(id) {
                None => _ = self.backends.insert(id.clone(), Arc::clone(backend)),
                Some(older) => {
                    self.shared.backends.insert(id.clone());
                    self.problems.extend(merge_backend(older, id, backend));
                }
            }
        }
        for (id, frontend) in &fragment.frontends {
            self.add_frontend(id, frontend, fragment);
        }
        self.guarded.extend(fragment.backends.iter().filter_map(|of| Guarded::of(of, fragment)));
    }

    /// Under its own name, or beside those that have it and are not the same.
    fn add_frontend(&mut self, id: &FrontendId, frontend: &Arc<Frontend>, fragment: &Fragment) {
        let mut id = Cow::Borrowed(id);
        // Each name is longer than the one before.
        while let Some(older) = self.frontends.get_mut(&*id) {
            self.shared.frontends.insert(id.clone().into_owned());
            id = match beside(older, &id, frontend) {
                Some(next) => Cow::Owned(next),
                None => {
                    self.problems.extend(join(older, &id, frontend, fragment));
                    return;
                }
            };
        }
        if let Cow::Owned(id) = &id {
            self.shared.frontends.insert(id.clone());
        }
        self.frontends.insert(id.into_owned(), Arc::clone(frontend));
    }

    /// Adds what a service asks for that does not run, after all that do. It decides nothing about a backend of theirs: a container
    /// that was replaced, and not removed, would undo what its labels have learnt since.
    pub(super) fn merge_down(&mut self, fragment: &Fragment) {
        let fragment = &*self.set_apart(fragment);
        let all = || self.backends.keys().cloned().collect();
        let running = self.running.get_or_insert_with(all);
        let (theirs, own): (Vec<_>, Vec<_>) =
            fragment.backends.iter().cloned().partition(|(id, _)| running.contains(id));
        if theirs.is_empty() {
            return self.add(fragment);
        }
        let (of_theirs, frontends): (Vec<_>, Vec<_>) =
            fragment.frontends.iter().cloned().partition(|(_, f)| running.contains(&f.backend));
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

    /// Requests go to all servers of a backend: what keeps strangers out of one container of a service keeps them out where they come by
    /// a rule that others of its containers have, too.
    fn guard_all(&mut self) {
        let Self { guarded, shared, frontends, problems, .. } = self;
        guarded.retain(|guarded| shared.backends.contains(&guarded.id));
        if guarded.is_empty() {
            return;
        }
        let ids: HashSet<&BackendId, RandomState> =
            guarded.iter().map(|guarded| &guarded.id).collect();
        let mut leading_to = HashMap::<BackendId, Vec<_>, RandomState>::default();
        for (id, frontend) in frontends.iter_mut().filter(|(_, f)| ids.contains(&f.backend)) {
            leading_to.entry(frontend.backend.clone()).or_default().push((id, frontend));
        }
        for guarded in &*guarded {
            let Some(common) = guarded.common() else { continue };
            for (id, frontend) in leading_to.get_mut(&guarded.id).into_iter().flatten() {
                // Who names a backend of another service means it.
                if frontend.origin.service == common.origin.service {
                    problems.extend(take_guards(frontend, id, &common, &guarded.backend));
                }
            }
        }
    }

    /// Puts it in the order of names. `previous` has most of them in it.
    pub(super) fn finish(mut self, previous: &Config) -> Merged {
        self.guard_all();
        let Self { frontends, backends, problems, shared, .. } = self;
        let frontends = in_order(frontends, &previous.frontends);
        let backends = in_order(backends, &previous.backends);
        let config = Config { frontends, backends, ..Config::default() };
        Merged { config, problems, shared }
    }
}

/// The names that backends of several services have by chance, whether these run or not: names that move when a container stops
/// would take its clients' cookies and its counts with them.
fn namesakes<'f>(services: impl Iterator<Item = &'f Fragment>) -> HashSet<BackendId, RandomState> {
    let mut marks = HashMap::<&BackendId, NonZeroU32, RandomState>::default();
    let mut namesakes = HashSet::default();
    for (id, backend) in services.flat_map(|fragment| &fragment.backends) {
        if let Some(mark) = backend.mark
            && *marks.entry(id).or_insert(mark) != mark
        {
            namesakes.insert(id.clone());
        }
    }
    namesakes
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

/// Adds servers to a backend that is there already. Tells what it asks for besides that it does not get.
fn merge_backend(older: &mut Arc<Backend>, id: &BackendId, backend: &Backend) -> Option<Problem> {
    let wishes = |b: &Backend| (b.method.clone(), b.sticky.clone(), b.slow_start, b.wishes.clone());
    let problem = (wishes(older) != wishes(backend)).then(|| {
        let who = container(backend);
        overruled(("backend", &id.name), who, &backend.origin, &older.origin)
    });
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
    problem
}

/// The container that a backend of one service is made of, where it has a name besides its service's.
fn container(backend: &Backend) -> Option<&str> {
    let server = backend.servers.values().next()?;
    Some(&*server.origin.service).filter(|name| *name != &*backend.origin.service)
}

/// That two containers wish for different things in one frontend or backend.
fn overruled(
    (what, name): (&str, &str),
    who: Option<&str>,
    origin: &Origin,
    older: &Origin,
) -> Problem {
    let who = who.unwrap_or("It");
    let message = format!(
        "{who} asks for other settings in {what} {name} than the older {older}, whose wish stands."
    );
    let hint = format!("Give all containers of one {what} the same labels.");
    Problem::warning(origin, message).hint(hint)
}

fn namesake(id: &BackendId, backend: &Backend, beside: &BackendId) -> Problem {
    let what = format!(
        "Another service's backend would be called {} too; this one is called {}.",
        id.name, beside.name
    );
    Problem::note(&backend.origin, what).hint("traefik.backend gives it a name of its own.")
}

/// The name of a frontend beside an older one of its own name. None where it is the same one.
fn beside(older: &Frontend, id: &FrontendId, frontend: &Frontend) -> Option<FrontendId> {
    if older.backend != frontend.backend {
        // Another service: both are shown, and the claims say who keeps the rule.
        return Some(id.beside(&frontend.backend));
    }
    // Two rules whose names are spelled alike: `shop.a.com` and `shop-a.com`.
    (older.rule != frontend.rule).then(|| id.of_rule(frontend.rule.text()))
}

/// Puts a frontend into the older one that it is the same as. What keeps strangers out of one of them keeps them out of both,
/// whose servers are the same; of all else the older one's wish stands. Tells what differs.
fn join(
    older: &mut Arc<Frontend>,
    id: &FrontendId,
    frontend: &Frontend,
    fragment: &Fragment,
) -> Option<Problem> {
    let own = fragment.backends.iter().find(|(id, _)| *id == frontend.backend);
    let who = own.and_then(|(_, backend)| container(backend));
    let guards = missing_guards(older, frontend);
    if !guards.is_empty() {
        let message = format!(
            "{} has {} in frontend {}, which the older {} lacks: it holds for all of them.",
            who.unwrap_or("It"),
            guards.join(" and "),
            id.name,
            older.origin
        );
        add_guards(Arc::make_mut(older), frontend);
        let hint = "Give all containers of one frontend the same labels.";
        return Some(Problem::warning(&frontend.origin, message).hint(hint));
    }
    let wishes = |f: &Frontend| {
        (f.priority, f.chain.clone(), f.pass_host_header, f.wishes.clone(), f.entrypoints.clone())
    };
    (wishes(older) != wishes(frontend))
        .then(|| overruled(("frontend", &id.name), who, &frontend.origin, &older.origin))
}

/// What keeps strangers out of a frontend and is not there at all in the older one.
fn missing_guards(older: &Frontend, frontend: &Frontend) -> Vec<&'static str> {
    let pairs = guards(older).into_iter().zip(guards(frontend));
    let missing = pairs.filter(|((_, in_older), (_, is_there))| *is_there && !in_older);
    missing.map(|(_, (name, _))| name).collect()
}

/// What can keep strangers out, and whether it does so here.
fn guards(frontend: &Frontend) -> [(&'static str, bool); 3] {
    [
        ("auth", has_auth(frontend)),
        ("whiteList", has_white_list(frontend)),
        ("a guard that cannot be read", is_closed(frontend)),
    ]
}

fn has_auth(frontend: &Frontend) -> bool {
    frontend.wishes.as_ref().is_some_and(|wishes| wishes.auth.is_some())
}

fn has_white_list(frontend: &Frontend) -> bool {
    frontend.wishes.as_ref().is_some_and(|wishes| wishes.white_list.is_some())
}

fn is_closed(frontend: &Frontend) -> bool {
    frontend.chain.iter().any(|step| matches!(step, Middleware::Closed(_)))
}

/// Guards a frontend by what guards all that a container of the same service asks for. Tells what it lacked.
fn take_guards(
    frontend: &mut Arc<Frontend>,
    id: &FrontendId,
    common: &Frontend,
    backend: &Backend,
) -> Option<Problem> {
    let guards = missing_guards(frontend, common);
    if guards.is_empty() {
        return None;
    }
    let message = format!(
        "{} has {}, and requests by the rule {} of other containers of its service go there, too: it holds for frontend {} as well.",
        container(backend).unwrap_or("It"),
        guards.join(" and "),
        frontend.rule.text(),
        id.name,
    );
    add_guards(Arc::make_mut(frontend), common);
    let hint = "Give all containers of one service the same labels.";
    Some(Problem::warning(&common.origin, message).hint(hint))
}

impl Guarded {
    /// None where it is open, as most are.
    fn of((id, backend): &(BackendId, Arc<Backend>), fragment: &Fragment) -> Option<Self> {
        let leading = || fragment.frontends.iter().map(|(_, f)| f).filter(|f| f.backend == *id);
        let is_guarded =
            |frontend: &Arc<Frontend>| guards(frontend).into_iter().any(|(_, is_there)| is_there);
        if !leading().any(is_guarded) {
            return None;
        }
        let frontends = leading().map(Arc::clone).collect();
        Some(Self { id: id.clone(), backend: Arc::clone(backend), frontends })
    }

    /// One of its frontends, without the guards that another one has not: its owner lets requests in without them.
    fn common(&self) -> Option<Frontend> {
        let (first, others) = self.frontends.split_first()?;
        let mut common = Frontend::clone(first);
        let in_all = |of: fn(&Frontend) -> bool| others.iter().all(|frontend| of(frontend));
        if !in_all(is_closed) {
            common.chain = Box::default();
        }
        if let Some(wishes) = &mut common.wishes {
            wishes.auth.take_if(|_| !in_all(has_auth));
            wishes.white_list.take_if(|_| !in_all(has_white_list));
        }
        Some(common)
    }
}

/// Guards the older one by what guards the other.
fn add_guards(older: &mut Frontend, frontend: &Frontend) {
    if is_closed(frontend) && !is_closed(older) {
        let closed = frontend.chain.iter().filter(|step| matches!(step, Middleware::Closed(_)));
        older.chain = closed.chain(&older.chain).cloned().collect();
    }
    let Some(theirs) = &frontend.wishes else { return };
    let own = older.wishes.get_or_insert_default();
    if own.auth.is_none() {
        own.auth.clone_from(&theirs.auth);
    }
    if own.white_list.is_none() {
        own.white_list.clone_from(&theirs.white_list);
    }
}
