//! One task that knows all that can happen, and does it in batches: plan once, compile once, publish once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::secrets::{self, UserFiles};
use super::{Phase, ProviderStatus, Source, State, View, kept_bodies};
use crate::config::{Config, Server};
use crate::live::slot_of;
use crate::model::{BackendId, Problem, ProviderName, Severity, Snapshot};
use crate::plan::{Input, Planner};
use crate::settings::Defaults;
use crate::table::{Table, compile_after};
use crate::tls;

/// All that can happen.
#[derive(Debug)]
pub enum Event {
    /// A provider answered.
    Snapshot {
        /// Who.
        provider: ProviderName,
        /// What it said.
        snapshot: Snapshot,
        /// When it was known that there is news.
        since: Instant,
    },
    /// A file that steps need says something new, or cannot be read any more.
    Files {
        /// When that was seen.
        since: Instant,
    },
    /// Whether bodies can be kept that are too long for memory has changed, or is known now.
    KeptBodies {
        /// When that was tried.
        since: Instant,
        /// Why they cannot.
        why: Option<String>,
    },
    /// A provider answers, and does not tell of changes.
    Deaf {
        /// Who.
        provider: ProviderName,
        /// Why; none: it tells of them again.
        error: Option<String>,
    },
    /// A provider could not be asked.
    Lost {
        /// Who.
        provider: ProviderName,
        /// Why.
        error: String,
        /// When it is asked again, about.
        retry_in: Duration,
    },
}

/// Events that wait while the loop is at work; more make the providers wait.
const EVENTS_MAX: usize = 64;

/// How long to wait for what comes together with the first event of a batch, while much is happening.
const QUIET: Duration = Duration::from_millis(2);

/// News after a rest this long is worked on at once: most news comes alone.
const REST: Duration = Duration::from_millis(50);

/// The control loop, and what it remembers between two batches.
pub struct Control {
    state: Arc<State>,
    sources: BTreeMap<ProviderName, Source>,
    revision: u64,
    planner: Planner,
    user_files: UserFiles,
    /// Why bodies cannot be kept that are too long for memory.
    no_room: Option<String>,
}

impl Control {
    /// A loop for these providers: each with whom it asks, and how its labels are read.
    pub fn new(
        state: Arc<State>,
        providers: impl IntoIterator<Item = (ProviderName, String, Defaults)>,
    ) -> Self {
        let source = |(name, endpoint, defaults): (ProviderName, String, Defaults)| {
            let status = ProviderStatus::new(endpoint);
            (name, Source { snapshot: None, defaults: Arc::new(defaults), status })
        };
        let sources = providers.into_iter().map(source).collect();
        let planner = Planner::of(&state.settings);
        let user_files = UserFiles::default();
        Self { state, sources, revision: 0, planner, user_files, no_room: None }
    }

    /// The queue for what happens, and its other end for [`Control::run`].
    pub fn queue() -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
        mpsc::channel(EVENTS_MAX)
    }

    /// Works until every sender is gone.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        self.publish_status();
        let mut batch = Vec::new();
        let mut last_work: Option<Instant> = None;
        while events.recv_many(&mut batch, EVENTS_MAX).await > 0 {
            if last_work.is_some_and(|last| last.elapsed() < REST) {
                tokio::time::sleep(QUIET).await;
            }
            while let Ok(event) = events.try_recv() {
                batch.push(event);
                if batch.len() > 2 * EVENTS_MAX {
                    break;
                }
            }
            self.work(batch.drain(..));
            last_work = Some(Instant::now());
        }
    }

    /// Takes in what happened, and publishes what follows. Plain work, without waiting.
    pub fn work(&mut self, batch: impl Iterator<Item = Event>) {
        let mut earliest: Option<Instant> = None;
        let mut changed = BTreeSet::new();
        for event in batch {
            let provider = match &event {
                Event::Snapshot { provider, .. } => Some(*provider),
                Event::Files { .. }
                | Event::KeptBodies { .. }
                | Event::Deaf { .. }
                | Event::Lost { .. } => None,
            };
            if let Some(since) = self.take_in(event) {
                changed.extend(provider);
                earliest = Some(earliest.map_or(since, |earliest| earliest.min(since)));
            }
        }
        match earliest {
            Some(since) => self.plan_and_publish(since, &changed),
            None => self.publish_status(),
        }
        // Once its routes are in force.
        if self.sources.values().any(|source| source.snapshot.is_some()) {
            self.state.enter(Phase::Ready);
        }
    }

    /// Returns when the news came, where the routes may have to change.
    fn take_in(&mut self, event: Event) -> Option<Instant> {
        match event {
            Event::Snapshot { provider, snapshot, since } => {
                let source = self.sources.get_mut(&provider)?;
                source.status.answers += 1;
                source.status.last_answer = Some((Instant::now(), SystemTime::now()));
                if source.status.error.take().is_some() {
                    info!(%provider, "the provider answers again");
                }
                let is_known = source.snapshot.as_deref() == Some(&snapshot);
                if is_known {
                    return None;
                }
                source.snapshot = Some(Arc::new(snapshot));
                Some(since)
            }
            Event::Files { since } => Some(since),
            Event::KeptBodies { since, why } => {
                self.no_room = why;
                // Before the first answer there is nobody to tell.
                self.sources.values().any(|source| source.snapshot.is_some()).then_some(since)
            }
            Event::Deaf { provider, error } => {
                let source = self.sources.get_mut(&provider)?;
                match &error {
                    Some(error) if source.status.deaf.as_ref() != Some(error) => {
                        warn!(%provider, error, "the provider answers, but does not tell of changes: it is asked every ten seconds or so")
                    }
                    None if source.status.deaf.is_some() => {
                        info!(%provider, "the provider tells of changes again")
                    }
                    _ => {}
                }
                source.status.deaf = error;
                None
            }
            Event::Lost { provider, error, retry_in } => {
                let source = self.sources.get_mut(&provider)?;
                source.status.deaf = None;
                source.status.failures += 1;
                source.status.last_failure = Some(SystemTime::now());
                let retry_in_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                // Once is news, the same again is not.
                if source.status.error.as_ref() == Some(&error) {
                    debug!(%provider, error, retry_in_ms, "still no answer");
                } else {
                    match source.status.answers {
                        0 => {
                            warn!(%provider, error, retry_in_ms, "the provider does not answer; Herder waits for it")
                        }
                        _ => {
                            warn!(%provider, error, retry_in_ms, "the provider is lost; its routes stay")
                        }
                    }
                }
                source.status.error = Some(error);
                None
            }
        }
    }

    /// Works out the routes after news that came at `since`, of these providers.
    fn plan_and_publish(&mut self, since: Instant, changed: &BTreeSet<ProviderName>) {
        let before = self.state.view();
        let inputs = self.sources.iter().filter_map(|(&provider, source)| {
            let snapshot = source.snapshot.as_deref()?;
            Some(Input { provider, snapshot, defaults: &source.defaults })
        });
        let inputs: Vec<Input<'_>> = inputs.collect();
        let (config, mut problems) = self.planner.plan(&inputs, &before.table.config);
        let guarded = secrets::guarded(&config.frontends);
        // Held until the table holds them.
        let _files = secrets::prepare(&guarded, &self.state.live);
        problems.extend(self.user_files.problems(&self.planner, &guarded, &self.state.live));
        let no_room = self.no_room.as_deref();
        problems.extend(no_room.into_iter().flat_map(|why| kept_bodies::problems(&config, why)));
        problems.sort();
        problems.dedup();
        let is_partial = self.sources.values().any(|source| source.snapshot.is_none());
        let is_same = config == *before.table.config
            && *problems == *before.table.problems
            && is_partial == before.table.is_partial;
        if is_same {
            self.publish_status();
            return;
        }
        self.revision += 1;
        let live = &self.state.live;
        let entrypoints = (&*self.state.settings).into();
        let (config, problems) = (Arc::new(config), problems.into());
        let mut table =
            compile_after(&before.table, self.revision, config, problems, live, entrypoints);
        table.is_partial = is_partial;
        let took = since.elapsed();
        for (_, source) in self.sources.iter_mut().filter(|(name, _)| changed.contains(name)) {
            source.status.last_change = Some(took);
        }
        if table.has_https() {
            // Here, not while a worker shakes hands for the first time.
            let _ = tls::roots();
        }
        let table = Arc::new(table);
        self.publish(Arc::clone(&table));
        let took_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.state.live.propagation.count(slot_of(took_us));
        report(changed, &before.table, &table, took);
        drop(before);
        self.state.live.sweep();
    }

    fn publish_status(&self) {
        self.publish(Arc::clone(&self.state.view().table));
    }

    fn publish(&self, table: Arc<Table>) {
        let view = View { table, sources: self.sources.clone(), ..View::default() };
        self.state.publish(view);
    }
}

/// Tells the log what came, went and changed, asked for by whom.
fn report(by: &BTreeSet<ProviderName>, before: &Table, after: &Table, took: Duration) {
    let added = Listed::beyond(&after.config, &before.config);
    let removed = Listed::beyond(&before.config, &after.config);
    let frontends = Differing::of(&before.config.frontends, &after.config.frontends);
    let backends = Differing::of(&before.config.backends, &after.config.backends);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    // Where a file of users changed, nobody of them.
    let by = by.iter().map(|provider| provider.as_str()).collect::<Vec<_>>().join(",");
    let server = |sign: char| {
        move |(id, server): &(&BackendId, &Server)| format!("{sign}{id} {}", server.url())
    };
    let mut what = frontends.signed();
    what.extend(added.first.iter().map(server('+')));
    what.extend(removed.first.iter().map(server('-')));
    what.extend(backends.changed.iter().map(|id| format!("~{id}")));
    let more = if what.len() > WHAT_MAX { " …" } else { "" };
    what.truncate(WHAT_MAX);
    info!(
        by = (!by.is_empty()).then_some(by),
        revision = after.revision,
        frontends = after.config.frontends.len(),
        servers = after.config.backends.values().map(|b| b.servers.len()).sum::<usize>(),
        problems = after.problems.len(),
        frontends_added = frontends.added.len(),
        frontends_removed = frontends.removed.len(),
        frontends_changed = frontends.changed.len(),
        backends_changed = backends.changed.len(),
        added = added.count,
        removed = removed.count,
        what = format!("{}{more}", what.join(", ")),
        took_ms,
        "published routes"
    );
    for (id, server) in added.first {
        debug!(server = format!("{id} {}", server.url()), "server added");
    }
    for (id, server) in removed.first {
        debug!(server = format!("{id} {}", server.url()), "server removed");
    }
    let known: BTreeSet<&Problem> = before.problems.iter().collect();
    let fresh = after.problems.iter().filter(|problem| !known.contains(problem));
    let (notes, fresh): (Vec<_>, Vec<_>) =
        fresh.partition(|problem| problem.severity == Severity::Note);
    for problem in fresh.iter().take(LINES_MAX) {
        warn!(problem = %problem, "problem");
    }
    let more = fresh.len().saturating_sub(LINES_MAX);
    if more > 0 {
        warn!(more, "further problems have no line here: all are at /api/problems");
    }
    for problem in notes.iter().take(LINES_MAX) {
        debug!(problem = %problem, "note");
    }
}

/// What tells two maps apart.
struct Differing<'c, Id> {
    added: Vec<&'c Id>,
    removed: Vec<&'c Id>,
    changed: Vec<&'c Id>,
}

impl<'c, Id: Ord + std::fmt::Display> Differing<'c, Id> {
    fn of<T: PartialEq>(before: &'c BTreeMap<Id, Arc<T>>, after: &'c BTreeMap<Id, Arc<T>>) -> Self {
        let mut differing = Self { added: Vec::new(), removed: Vec::new(), changed: Vec::new() };
        let mut old = before.iter().peekable();
        // Both are in order: none is looked for. What nothing touched is the same thing in both, which is seen at once.
        for (id, new) in after {
            while let Some((gone, _)) = old.next_if(|(old, _)| *old < id) {
                differing.removed.push(gone);
            }
            match old.next_if(|(old, _)| *old == id) {
                None => differing.added.push(id),
                Some((_, old)) if Arc::ptr_eq(old, new) || old == new => {}
                Some(_) => differing.changed.push(id),
            }
        }
        differing.removed.extend(old.map(|(id, _)| id));
        differing
    }

    /// The first of all of them, each with a sign that says what became of it.
    fn signed(&self) -> Vec<String> {
        let all = [('+', &self.added), ('-', &self.removed), ('~', &self.changed)].into_iter();
        let signed = all.flat_map(|(sign, ids)| ids.iter().map(move |id| format!("{sign}{id}")));
        // One more tells that there are more.
        signed.take(WHAT_MAX + 1).collect()
    }
}

/// So many of what came, went or changed are named in the line about it.
const WHAT_MAX: usize = 3;

/// Servers that one config has and another one has not.
#[derive(Default)]
struct Listed<'c> {
    count: usize,
    /// Those that the log names.
    first: Vec<(&'c BackendId, &'c Server)>,
}

impl<'c> Listed<'c> {
    /// What `config` has beyond `other`.
    fn beyond(config: &'c Config, other: &Config) -> Self {
        let mut listed = Self::default();
        let mut others = other.backends.iter().peekable();
        for (id, backend) in &config.backends {
            // Both are in order: none is looked for.
            while others.next_if(|(other, _)| *other < id).is_some() {}
            let other = others.next_if(|(other, _)| *other <= id).map(|(_, other)| other);
            if other.is_some_and(|other| Arc::ptr_eq(other, backend)) {
                continue;
            }
            // As its URL tells it apart: where it has a name, its address may change.
            let place = |server: &Server| {
                let ip = server.host.is_none().then(|| server.addr.ip());
                (server.scheme, server.host.clone(), ip, server.addr.port())
            };
            let known = other.iter().flat_map(|other| other.servers.values().map(place));
            let mut known: HashSet<_> = known.collect();
            for server in backend.servers.values().filter(|server| known.insert(place(server))) {
                listed.count += 1;
                if listed.first.len() < LINES_MAX {
                    listed.first.push((id, server));
                }
            }
        }
        listed
    }
}

/// One change writes at most this many lines of each sort; the page has them all.
const LINES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_and_changed_is_told_apart() {
        let map = |all: &[(&str, u32)]| -> BTreeMap<String, Arc<u32>> {
            all.iter().map(|(id, value)| ((*id).to_owned(), Arc::new(*value))).collect()
        };
        let check = |before: &[(&str, u32)], after: &[(&str, u32)], told: &[&str]| {
            assert_eq!(Differing::of(&map(before), &map(after)).signed(), told);
        };
        check(&[], &[], &[]);
        check(&[("a", 1), ("c", 1)], &[("a", 1), ("b", 1), ("c", 2)], &["+b", "~c"]);
        check(&[("a", 1), ("b", 1), ("c", 1)], &[("b", 1)], &["-a", "-c"]);
        let many = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)];
        check(&[], &many, &["+a", "+b", "+c", "+d"]);
    }
}
