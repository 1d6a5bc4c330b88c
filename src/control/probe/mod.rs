//! Active health checks: one task asks all servers, each in its turn.
//!
//! It learns whom to ask from each published table: a server that stays keeps its place in the round, whatever else
//! changes. What it finds goes into the server's `live` state, which requests read, and into the journal. There is no task
//! and no timer for a server, only a number in a heap; so ten thousand of them cost what their questions cost.

mod ask;
mod rota;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use self::ask::{Asked, Finding};
use self::rota::{Rota, early_pause, pause, second_pause, spread};
use super::State;
use crate::config::Check;
use crate::live::{Condition, ServerKey, ServerLive, Thresholds};
use crate::model::ServerName;
use crate::table::{RunningBackend, RunningServer, Table};
use crate::tls;

/// Checks under way at once; further ones wait for their turn.
const AT_ONCE_MAX: usize = 256;

/// Turns that come within this time are taken together: fewer wake-ups.
const GRAIN_MS: u64 = 16;

/// Between two lines about checks that this machine could not make.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// Asks the servers of every table that is published, until the process ends.
pub async fn run(state: Arc<State>) {
    let mut changes = state.subscribe();
    let mut prober = Prober::new(state);
    let mut running = FuturesUnordered::new();
    prober.look();
    loop {
        let next = prober.rota.next_ms().filter(|_| running.len() < AT_ONCE_MAX);
        let wake =
            prober.start + Duration::from_millis(next.unwrap_or(0).next_multiple_of(GRAIN_MS));
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => prober.look(),
                Err(_) => return,
            },
            Some(done) = running.next(), if !running.is_empty() => prober.finish(done),
            () = sleep_until(wake), if next.is_some() => {
                while running.len() < AT_ONCE_MAX
                    && let Some(turn) = prober.take_turn()
                {
                    running.push(turn.take(Arc::clone(&prober.tls)));
                }
            }
        }
    }
}

struct Prober {
    state: Arc<State>,
    tls: Arc<ClientConfig>,
    start: Instant,
    /// The revision of the table whose servers are asked.
    revision: Option<u64>,
    /// Grows with each table that is looked at.
    stamp: u64,
    targets: HashMap<u64, Target>,
    ids: HashMap<ServerKey, u64>,
    next_id: u64,
    rota: Rota,
    complained: Option<Instant>,
}

/// A server that is asked.
struct Target {
    key: ServerKey,
    name: ServerName,
    /// Its name, where it was called by one.
    host: Option<Arc<str>>,
    live: Arc<ServerLive>,
    check: Arc<Check>,
    /// The last table that had it.
    stamp: u64,
    /// How it was doing when it was last looked at.
    condition: Condition,
    has_passed: bool,
    /// Checks since it appeared, as long as it has not passed.
    tries: u8,
}

/// A check that is about to be made.
struct Turn {
    id: u64,
    asked: Asked,
}

/// A check that was made.
struct Done {
    id: u64,
    check: Arc<Check>,
    finding: Finding,
    began: Instant,
}

impl Turn {
    async fn take(self, tls: Arc<ClientConfig>) -> Done {
        let began = Instant::now();
        let finding = ask::ask(&self.asked, &tls).await;
        Done { id: self.id, check: self.asked.check, finding, began }
    }
}

impl Prober {
    fn new(state: Arc<State>) -> Self {
        Self {
            tls: tls::to_servers(&state.settings),
            state,
            start: Instant::now(),
            revision: None,
            stamp: 0,
            targets: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            rota: Rota::default(),
            complained: None,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn interval(&self, check: &Check) -> Duration {
        check.interval.unwrap_or(self.state.settings.health_interval)
    }

    /// Looks at the table in force, if it is another one.
    fn look(&mut self) {
        let table = self.state.published.table();
        if self.revision.replace(table.revision) != Some(table.revision) {
            self.learn(&table);
        }
    }

    /// Takes in who is to be asked: those who are new get a first turn soon, those who stay keep theirs.
    fn learn(&mut self, table: &Table) {
        self.stamp += 1;
        let mut fresh = Vec::new();
        // Those with pages for errors alone, too: no frontend leads to them.
        for backend in table.backends() {
            if let Some(check) = backend.check() {
                let servers = backend.servers().iter();
                fresh.extend(servers.filter_map(|server| self.meet(backend, server, check)));
            }
        }
        let now_ms = self.now_ms();
        for &id in &fresh {
            let target = &self.targets[&id];
            let while_ms = spread(fresh.len(), self.interval(&target.check)).as_millis();
            let later_ms = u64::try_from(while_ms).unwrap_or(u64::MAX);
            self.rota.set(id, now_ms + fastrand::u64(0..=later_ms));
        }
        self.forget();
    }

    /// Notes a server of the table; its id where it needs a first turn: it is new, or is asked otherwise than before.
    fn meet(
        &mut self,
        backend: &RunningBackend,
        server: &RunningServer,
        check: &Arc<Check>,
    ) -> Option<u64> {
        let key = (backend.id().clone(), server.scheme, server.addr);
        let condition = server.live.health.condition();
        match self.ids.entry(key) {
            Entry::Occupied(known) => {
                let id = *known.get();
                let target = self.targets.get_mut(&id).expect("ids and targets go together");
                target.stamp = self.stamp;
                target.name = Arc::clone(&server.name);
                target.host.clone_from(&server.host);
                target.live = Arc::clone(&server.live);
                if target.check == *check {
                    return None;
                }
                target.check = Arc::clone(check);
                // Where the old question is under way, its end gives the new one a turn.
                self.rota.due_ms(id).map(|_| id)
            }
            Entry::Vacant(place) => {
                self.next_id += 1;
                let id = self.next_id;
                let key = place.key().clone();
                place.insert(id);
                let target = Target {
                    key,
                    name: Arc::clone(&server.name),
                    host: server.host.clone(),
                    live: Arc::clone(&server.live),
                    check: Arc::clone(check),
                    stamp: self.stamp,
                    condition,
                    has_passed: condition == Condition::Up,
                    tries: 0,
                };
                self.targets.insert(id, target);
                Some(id)
            }
        }
    }

    /// Lets go of those whom the last table has not, or has without a check.
    fn forget(&mut self) {
        let gone: Vec<u64> = self
            .targets
            .iter()
            .filter(|(_, target)| target.stamp != self.stamp)
            .map(|(&id, _)| id)
            .collect();
        for &id in &gone {
            self.rota.remove(id);
            let Some(target) = self.targets.remove(&id) else { continue };
            self.ids.remove(&target.key);
            let is_freed = target.live.health.condition() == Condition::Unchecked
                && [Condition::Down, Condition::Unknown].contains(&target.condition);
            if is_freed {
                let change = (target.condition, Condition::Unchecked);
                self.tell(&target, change, "its check was taken away".into());
            }
        }
        if !gone.is_empty() {
            // We held what the table had let go.
            self.state.live.sweep();
        }
    }

    /// Whoever is next, where it is time.
    fn take_turn(&mut self) -> Option<Turn> {
        let id = self.rota.take(self.now_ms())?;
        let target = self.targets.get(&id)?;
        let (_, scheme, mut addr) = target.key;
        addr.set_port(target.check.port.unwrap_or(addr.port()));
        let asked = Asked {
            addr,
            scheme: target.check.scheme.unwrap_or(scheme),
            name: target.host.clone(),
            check: Arc::clone(&target.check),
        };
        Some(Turn { id, asked })
    }

    /// Takes in what a check found, and sets the time of the next one.
    fn finish(&mut self, done: Done) {
        let Done { id, check, finding, began } = done;
        // It may have left meanwhile.
        let Some(target) = self.targets.get_mut(&id) else { return };
        if !Arc::ptr_eq(&check, &target.check) {
            // That was the old question: the new one goes at once.
            self.rota.set(id, self.now_ms());
            return;
        }
        let chance = fastrand::f64();
        let interval = check.interval.unwrap_or(self.state.settings.health_interval);
        let pause = match (&finding, target.has_passed) {
            (_, true) => pause(interval, chance),
            (Finding::Passed(_), false) => second_pause(interval, chance),
            (_, false) => early_pause(target.tries, interval, chance),
        };
        target.has_passed |= matches!(finding, Finding::Passed(_));
        target.tries = target.tries.saturating_add(1);
        let due = (began + pause).saturating_duration_since(self.start);
        let due_ms = u64::try_from(due.as_millis()).unwrap_or(u64::MAX).max(self.now_ms());
        self.rota.set(id, due_ms);
        self.judge(id, finding, began.elapsed());
    }

    /// Lets a finding count.
    fn judge(&mut self, id: u64, finding: Finding, took: Duration) {
        let Some(target) = self.targets.get_mut(&id) else { return };
        let (rise, fall) = (target.check.rise, target.check.fall);
        let (passed, what) = match finding {
            Finding::Passed(None) => (true, "it takes connections".to_owned()),
            Finding::Passed(Some(status)) => (true, format!("{}: {status}", target.check.name())),
            Finding::Failed(why) => (false, why),
            Finding::Unasked(why) => return self.complain(&why),
        };
        let health = &target.live.health;
        let was_failing = health.in_a_row().1 > 0;
        let change = health.checked(passed, Thresholds { rise, fall }, unix_ms(), took);
        // Up all the time: what was wrong has come to nothing.
        let is_up = health.condition() == Condition::Up;
        let is_over = passed && was_failing && is_up && change.is_none();
        let (passes, fails) = health.in_a_row();
        let (count, of) = if passed { (passes, rise) } else { (fails, fall) };
        let reason = match of {
            // It does not count towards anything.
            _ if is_over => what,
            0 | 1 => what,
            _ => format!("{what} ({} of {of})", count.min(of)),
        };
        let reason: Arc<str> = reason.into();
        // What is wrong is worth knowing while it counts; that all is well, once.
        if !passed || change.is_some() || is_over {
            health.say(Some(Arc::clone(&reason)));
        }
        let Some(change) = change else { return };
        target.condition = change.to;
        if change.to == Condition::Up {
            // Well again, or new: its share grows from little, where its backend starts slowly.
            target.live.starts_anew();
        }
        if let Some(target) = self.targets.get(&id) {
            self.tell(target, (change.from, change.to), reason);
        }
    }

    fn tell(&self, target: &Target, change: (Condition, Condition), reason: Arc<str>) {
        let (backend, scheme, addr) = &target.key;
        let url = scheme.url(*addr, target.host.as_deref());
        self.state.note_health(backend, (&target.name, url), change, reason);
    }

    /// Tells the log, now and then, that this machine is short of something: no server is to blame.
    fn complain(&mut self, why: &str) {
        if self.complained.is_none_or(|at| at.elapsed() > COMPLAINT_PAUSE) {
            self.complained = Some(Instant::now());
            warn!(why, "a health check could not be made; what is known of the servers stays");
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
