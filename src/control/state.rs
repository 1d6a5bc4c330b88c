//! One coherent view of everything, for the page, the API, `explain` and the metrics. They read only this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::watch;

use super::health::Lines;
use crate::explain::{self, Asked, Explanation, Outcome, RouteTest};
use crate::live::Live;
use crate::middleware::Handler;
use crate::middleware::auth::Key;
use crate::model::{Instance, ProviderName, Service, Snapshot};
use crate::settings::{Defaults, Settings};
use crate::table::{Published, Table};

/// What the whole process shares: written by the control loop, read by the admin side.
pub struct State {
    /// What was fixed at start.
    pub settings: Arc<Settings>,
    /// The table in force, for the workers.
    pub published: Published,
    /// What is measured.
    pub live: Arc<Live>,
    /// When the process started.
    pub started: SystemTime,
    /// The same on the monotonic clock: where the time of all workers begins.
    pub start: Instant,
    view: ArcSwap<View>,
    changes: watch::Sender<u64>,
    phase: AtomicU8,
    pub(super) health_lines: Lines,
}

/// What was true at one moment: the table with its config and problems, and the sources it was made from.
#[derive(Clone, Default)]
pub struct View {
    /// Grows with every change of anything in here.
    pub serial: u64,
    /// The table in force.
    pub table: Arc<Table>,
    /// What each provider said last, and how it is doing.
    pub sources: BTreeMap<ProviderName, Source>,
    /// When the table came into force; none for the empty one before the first.
    pub table_since: Option<SystemTime>,
}

/// One provider's last word.
#[derive(Clone)]
pub struct Source {
    /// The last snapshot; none before the first answer. It stays in force when the provider goes away.
    pub snapshot: Option<Arc<Snapshot>>,
    /// How its labels are read.
    pub defaults: Arc<Defaults>,
    /// How it is doing.
    pub status: ProviderStatus,
}

/// How a provider is doing.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// Whom we ask: `unix:///var/run/docker.sock`, a URL. Never a secret.
    pub endpoint: String,
    /// When it last answered.
    pub last_answer: Option<(Instant, SystemTime)>,
    /// Why its last answer did not come, while it does not: the routes are stale then.
    pub error: Option<String>,
    /// Why it does not tell of changes, while it answers.
    pub deaf: Option<String>,
    /// When it last did not answer, or not so that it could be read.
    pub last_failure: Option<SystemTime>,
    /// How many times it answered.
    pub answers: u64,
    /// How many times it did not.
    pub failures: u64,
    /// How long the last answer took to become routes, from the news to the swap.
    pub last_change: Option<Duration>,
}

impl ProviderStatus {
    /// The status of a provider that was not asked yet.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            last_answer: None,
            error: None,
            deaf: None,
            last_failure: None,
            answers: 0,
            failures: 0,
            last_change: None,
        }
    }

    /// How old its last answer is.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.last_answer.map(|(at, _)| now.saturating_duration_since(at))
    }

    /// Whether the routes in force may no longer be true.
    pub fn is_stale(&self) -> bool {
        self.error.is_some()
    }
}

/// The life of the process, as `/ping` tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Ports are bound; no provider has answered yet. Until all have, the table in force says that it is partial.
    Starting,
    /// Serving.
    Ready,
    /// Told to stop: what is under way finishes.
    Draining,
}

impl State {
    /// The state of a process that starts now, before any provider answered.
    pub fn new(settings: Arc<Settings>, view: View) -> Self {
        let live = Arc::new(Live::new(settings.metrics.buckets.clone(), key()));
        Self {
            settings,
            published: Published::default(),
            live,
            started: SystemTime::now(),
            start: Instant::now(),
            view: ArcSwap::from_pointee(view),
            changes: watch::Sender::new(0),
            phase: AtomicU8::new(Phase::Starting as u8),
            health_lines: Lines::default(),
        }
    }

    /// The time since the process started, in milliseconds, beginning with 1: the clock of everything in `live`.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// What is true now.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Puts a view into force, its table too, and tells those who watch. Only the control loop calls this.
    pub fn publish(&self, mut view: View) {
        let before = self.view.load();
        view.serial = before.serial + 1;
        view.table_since = match Arc::ptr_eq(&before.table, &view.table) {
            true => before.table_since,
            false => Some(SystemTime::now()),
        };
        self.published.publish(Arc::clone(&view.table));
        self.view.store(Arc::new(view));
        self.changed();
    }

    /// Tells those who watch that something changed that is not part of the view: a server's health.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Resolves at each change of the view, and of what is shown beside it; the value counts them.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Where in its life the process is.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Moves on to another phase. Nothing comes back from draining.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }
}

impl View {
    /// Every service that any provider spoke of, with its source.
    pub fn services(&self) -> impl Iterator<Item = (ProviderName, &Source, &Arc<Service>)> {
        self.sources.iter().flat_map(|(&provider, source)| {
            let services = source.snapshot.iter().flat_map(|snapshot| &snapshot.services);
            services.map(move |service| (provider, source, service))
        })
    }
    /// Why each container is, or is not, routed: all of them, in the providers' order.
    pub fn explain_all(&self) -> impl Iterator<Item = Explanation> {
        self.services().flat_map(|(provider, source, service)| {
            explain::service(provider, &source.defaults, service, &self.table)
        })
    }

    /// Who takes a request, and, where its backend has no server at all, why its containers are none. `entry` are the steps of the
    /// entry point that it comes in by.
    pub fn explain_request(&self, asked: &Asked, entry: &[Arc<dyn Handler>]) -> RouteTest {
        let mut test = explain::request(&self.table, asked, entry);
        let config = &self.table.config;
        let frontend = test.winner.as_ref().and_then(|id| config.frontends.get(id));
        let backend = frontend.and_then(|frontend| config.backends.get(&frontend.backend));
        let Some(backend) = backend.filter(|b| b.servers.is_empty() && !test.is_served()) else {
            return test;
        };
        let absent = self.explain(&backend.origin.service, 0).into_iter().filter_map(|e| {
            let stop = e.steps.into_iter().find(|step| step.outcome == Outcome::Stop)?;
            Some(format!(" {}: {}", e.subject, stop.why))
        });
        test.verdict.extend(absent.take(ABSENT_MAX));
        test
    }

    /// Why this container is, or is not, routed. `name` is a container's name, the beginning of its id (12
    /// characters at least), a service's name, or `service.stack`. `now_ms` is the proxy's monotonic clock.
    pub fn explain(&self, name: &str, now_ms: u64) -> Vec<Explanation> {
        let is_meant = |service: &Service| {
            *service.name == *name
                || service.full_name() == name
                || service.instances.iter().any(|instance| is_named(instance, name))
        };
        let meant = self.services().filter(|(_, _, service)| is_meant(service));
        let mut found: Vec<Explanation> = meant
            .flat_map(|(provider, source, service)| {
                explain::service(provider, &source.defaults, service, &self.table)
            })
            .collect();
        // Whoever names one container does not ask about its replicas.
        if found.iter().any(|explanation| explanation.subject == name) {
            found.retain(|explanation| explanation.subject == name);
        }
        for explanation in &mut found {
            explain::add_health(&self.table, now_ms, explanation);
        }
        found
    }
}

/// A key that nobody can guess, for as long as the process lives. From the kernel: what the TLS library would gather of its own
/// takes longer than the rest of the start, and most never speak TLS.
fn key() -> Key {
    let mut bytes = [0; 32];
    // Up to 256 bytes come whole (getrandom(2)).
    let filled = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(filled, Ok(bytes.len()), "the kernel has random numbers");
    Key::new(bytes)
}

/// So many containers that serve nobody are named where a URL is asked about.
const ABSENT_MAX: usize = 3;

/// A short id is what `docker ps` prints.
const SHORT_ID_LEN: usize = 12;

fn is_named(instance: &Instance, name: &str) -> bool {
    *instance.name == *name || (name.len() >= SHORT_ID_LEN && instance.id.starts_with(name))
}
