//! One worker: a thread with a runtime, a listening socket, buffers and connections to servers of its own.
//!
//! Next to nothing of it is shared with other threads: how many wait for a place, the desk where passwords are checked, and
//! the memory for bodies that are kept.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::{Ipv4Net, Ipv6Net};
use rustls::ClientConfig;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::Stop;
use super::ask::Asker;
use super::buffers::Buffers;
use super::clock::Clock;
use super::desk::Desk;
use super::forwarded::Forwarder;
use super::http1::{self, Client, LINES_MAX, Rooms};
use super::socket::{Socket, accept};
use super::spare::Spare;
use super::store::Reserve;
use super::upstream::{Bounds, Pool};
use crate::control::State;
use crate::live::{EntryLive, Live};
use crate::middleware::Handler;
use crate::model::has_no_means;
use crate::settings::{self, EntryPoint, Settings, Trust};
use crate::table::{Reader, Table, entry_chain};
use crate::telemetry::Observers;

/// A listening socket, and the reactor that tells when somebody has connected.
type Listener = AsyncFd<TcpListener>;

/// What all workers share.
pub(super) struct Shared {
    pub(super) state: Arc<State>,
    /// A permit for each client connection.
    pub(super) connections: Arc<Semaphore>,
    /// How many wait for a place.
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) desk: Arc<Desk>,
    pub(super) reserve: Arc<Reserve>,
    pub(super) observers: Option<Arc<Observers>>,
    pub(super) stop: watch::Receiver<Stop>,
    /// Told where a part of a worker ends that nobody told to.
    pub(super) broken: Arc<Notify>,
}

/// Tells when it is dropped: what holds it must not end unseen, a panic included.
pub(super) struct Alarm(pub(super) Arc<Notify>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Alarm {
    /// Tells of the end of this.
    async fn at_end_of(self, work: impl Future<Output = ()>) {
        let _tells = self;
        work.await;
    }
}

/// What one worker's requests need.
pub(super) struct Worker {
    pub(super) state: Arc<State>,
    pub(super) limits: Limits,
    pub(super) pool: Pool,
    pub(super) clock: Clock,
    pub(super) buffers: Buffers,
    pub(super) asker: Asker,
    pub(super) desk: Arc<Desk>,
    /// The memory for bodies that are kept whole.
    pub(super) reserve: Arc<Reserve>,
    /// Who wants to know about requests.
    pub(super) observers: Option<Arc<Observers>>,
    /// Client connections that are open, and who waits for the last one.
    open: Cell<usize>,
    last_closed: Notify,
    /// Tasks that wait for a connection.
    spare: Spare<(Client, Open)>,
    /// Connections that keep room for their next exchange.
    pub(super) rooms: Rooms,
    reader: RefCell<Reader>,
    /// How many wait for a place, with this worker or another one.
    waiting: Arc<AtomicUsize>,
    /// When idle connections last made room, and until when they have idled that do.
    made_room_ms: Cell<u64>,
    idle_until_ms: Cell<u64>,
    is_draining: Cell<bool>,
    is_cutting: Cell<bool>,
}

/// An entry point, as its connections need it.
pub(super) struct WayIn {
    pub(super) name: String,
    pub(super) forwarder: Forwarder,
    /// What every request goes through that comes in here.
    pub(super) chain: Box<[Arc<dyn Handler>]>,
    /// What this worker counts of it.
    pub(super) live: Arc<EntryLive>,
}

impl WayIn {
    fn new(entrypoint: &EntryPoint, settings: &Settings, live: &Live) -> Self {
        let trusted = match &entrypoint.trust {
            Trust::Usual => settings.trusted_ips.clone(),
            Trust::Networks(networks) => networks.clone(),
            Trust::All => vec![Ipv4Net::default().into(), Ipv6Net::default().into()],
        };
        Self {
            name: entrypoint.name.clone(),
            forwarder: Forwarder::new(trusted, &own_name()),
            chain: entry_chain(entrypoint, &settings.entrypoints, live),
            live: live.totals.entry(&entrypoint.name),
        }
    }
}

/// The limits of one exchange, as a worker compares them.
pub(super) struct Limits {
    pub(super) head_bytes: usize,
    pub(super) head_lines: usize,
    pub(super) head_ms: u64,
    pub(super) idle_ms: u64,
    pub(super) body_ms: u64,
    pub(super) connect_ms: u64,
    pub(super) response_ms: u64,
}

impl Limits {
    fn of(limits: &settings::Limits) -> Self {
        Self {
            head_bytes: limits.head_bytes_max,
            head_lines: limits.header_lines_max.min(LINES_MAX),
            head_ms: as_ms(limits.head_timeout),
            idle_ms: as_ms(limits.idle_timeout),
            body_ms: as_ms(limits.body_timeout),
            connect_ms: as_ms(limits.connect_timeout),
            response_ms: as_ms(limits.response_timeout),
        }
    }

    /// How long the clock pauses between two ticks where this is the shortest wait of all backends: so short that a wait ends
    /// a quarter late at most, or 20 ms where that is more.
    fn tick_ms(&self, shortest_of_backends: Option<Duration>) -> u64 {
        let own = [self.head_ms, self.idle_ms, self.body_ms, self.connect_ms, self.response_ms];
        let shortest = own.into_iter().chain(shortest_of_backends.map(as_ms)).min();
        (shortest.unwrap_or(u64::MAX) / TICKS_OF_A_WAIT).clamp(TICK_MS_MIN, TICK_MS_MAX)
    }
}

/// A wait ends two ticks late at most, see [`Clock`].
const TICKS_OF_A_WAIT: u64 = 8;

/// Waking up more often costs an idle machine more than it gives.
const TICK_MS_MIN: u64 = 10;
const TICK_MS_MAX: u64 = 100;

pub(super) fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Worker {
    /// The table in force, to be kept until the end of one try.
    #[allow(clippy::redundant_allocation)] // see `table::Reader`
    pub(super) fn table(&self) -> Rc<Arc<Table>> {
        self.reader.borrow_mut().table()
    }

    /// Waits until no client connection is open.
    async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.last_closed.notified().await;
        }
    }

    /// Waits for a place, as long as idle connections make room for it.
    async fn wait_for_room<T>(&self, place: impl Future<Output = T>) -> T {
        self.waiting.fetch_add(1, Relaxed);
        let _waits = Waits(&self.waiting);
        place.await
    }

    /// Somebody waits for a place: without a word every backend would look well while clients run out of patience.
    fn note_that_all_places_are_taken(&self) {
        if self.state.live.totals.connection_waits(self.clock.now_ms()) {
            let max = self.state.settings.limits.connections_max;
            warn!(
                max,
                "all places for clients are taken, further ones wait; more with --limits.connections, and open files enough for them"
            );
        }
    }

    /// Has those connections end that have idled for a while, where somebody waits for a place: whoever connects and says nothing
    /// must not keep everybody else out.
    fn make_room(&self) {
        let now_ms = self.clock.now_ms();
        if self.waiting.load(Relaxed) == 0 || now_ms < self.made_room_ms.get() + ROOM_PAUSE_MS {
            return;
        }
        self.made_room_ms.set(now_ms);
        self.idle_until_ms.set(now_ms.saturating_sub(IDLE_MS_MIN));
        self.clock.wake_all();
    }

    /// Whether a connection that has idled since then is to make room.
    pub(super) fn is_in_the_way(&self, idle_since_ms: u64) -> bool {
        idle_since_ms < self.idle_until_ms.get()
    }

    /// Whether somebody waits for a place.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Whether a body of which so much has come or gone is to make room: somebody waits for a place, and its client is slower than
    /// anybody who means it.
    pub(super) fn is_too_slow(&self, pace: &mut Pace, bytes: u64) -> bool {
        self.is_crowded() && pace.is_too_slow(self.clock.now_ms(), bytes)
    }

    /// Whether connections end with the request they are in.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Whether requests end where they are: the time they were given is over.
    pub(super) fn is_cutting(&self) -> bool {
        self.is_cutting.get()
    }

    /// Ends all requests where they are. Tells how many connections are cut off.
    async fn cut(&self) -> usize {
        let open = self.open.get();
        self.is_cutting.set(true);
        self.clock.wake_all();
        // Whoever sends half a head does not hear of it.
        let _ = timeout(CUT_WAIT, self.all_closed()).await;
        open
    }
}

/// How long requests that are cut off have for their last words in the access log: they never wait for anybody.
const CUT_WAIT: Duration = Duration::from_millis(200);

/// How fast a body comes or goes: what is compared is how much it was when somebody last looked. What a client took before, or its
/// kernel took for it, is forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since_ms: u64,
    bytes: u64,
}

impl Pace {
    /// Of a body that begins now.
    pub(super) fn begins(clock: &Clock) -> Self {
        Self::from(clock, 0)
    }

    /// Of one that goes on now, when so much of it has come or gone.
    pub(super) fn from(clock: &Clock, bytes: u64) -> Self {
        Self { since_ms: clock.now_ms(), bytes }
    }

    /// Whether it was too slow since the last look, where that is long enough ago; then this look is the last one.
    fn is_too_slow(&mut self, now_ms: u64, bytes: u64) -> bool {
        let took_ms = now_ms.saturating_sub(self.since_ms);
        if took_ms <= SLOW_MS_MIN {
            return false;
        }
        let moved = bytes.saturating_sub(self.bytes);
        *self = Self { since_ms: now_ms, bytes };
        moved.saturating_mul(1_000) < took_ms.saturating_mul(RATE_MIN)
    }
}

/// One that waits for a place, until it is dropped.
struct Waits<'w>(&'w AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How long a connection may idle in any case, and how often those are ended that have idled for longer where all places are taken.
const IDLE_MS_MIN: u64 = 2_000;
const ROOM_PAUSE_MS: u64 = 1_000;

/// How long a body may pause in any case, and how many bytes a second have to come or go in as long a time where all places are taken.
const SLOW_MS_MIN: u64 = 5_000;
const RATE_MIN: u64 = 500;

/// How long to leave the listener alone when the system has no file left for a connection, or refuses them all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// So many connections in a row may be lost as they are accepted before the listener is left alone as well.
const FAILURES_AT_ONCE: u32 = 16;

/// How often idle connections to servers are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Works until it is told to stop, and until what was under way then has ended. Says first whether it can. Returns how many were
/// cut off.
pub(super) fn run(
    listeners: Vec<TcpListener>,
    shared: Shared,
    started: mpsc::Sender<io::Result<()>>,
) -> usize {
    let (ready, told) = match prepare(listeners) {
        Ok(ready) => (Some(ready), Ok(())),
        Err(error) => (None, Err(error)),
    };
    // Whoever started it may wait for others still.
    let _ = started.send(told);
    drop(started);
    let Some((runtime, listeners)) = ready else { return 0 };
    let cut = runtime.block_on(async move {
        let settings = Arc::clone(&shared.state.settings);
        let live = Arc::clone(&shared.state.live);
        let way_in =
            |(entrypoint, listener)| (listener, Rc::new(WayIn::new(entrypoint, &settings, &live)));
        let ways_in = settings.open_entrypoints().zip(listeners).map(way_in).collect();
        work(ways_in, shared).await
    });
    // A password that is being checked is nobody's any more: it must not hold up the end.
    runtime.shutdown_background();
    cut
}

/// What takes files of the system: a worker that lacks them would have the kernel reset its share of the connections.
fn prepare(listeners: Vec<TcpListener>) -> io::Result<(LocalRuntime, Vec<Listener>)> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let watched = |listener| {
        // What replaces it is unsafe, and asks for what a `TcpListener` does: that it keeps its file for as long as it lives.
        #[expect(deprecated)]
        AsyncFd::with_interest(listener, Interest::READABLE)
    };
    let listeners: io::Result<_> =
        runtime.block_on(async { listeners.into_iter().map(watched).collect() });
    Ok((runtime, listeners?))
}

async fn work(ways_in: Vec<(Listener, Rc<WayIn>)>, shared: Shared) -> usize {
    let Shared { state, connections, waiting, tls, desk, reserve, observers, mut stop, broken } =
        shared;
    let worker = Rc::new(Worker {
        limits: Limits::of(&state.settings.limits),
        pool: Pool::new(tls, Bounds::of(&state.settings)),
        clock: Clock::start(state.start),
        buffers: Buffers::new(),
        asker: Asker::default(),
        desk,
        reserve,
        observers,
        open: Cell::new(0),
        last_closed: Notify::new(),
        spare: Spare::new(),
        rooms: Rooms::default(),
        reader: RefCell::new(state.published.reader()),
        waiting,
        made_room_ms: Cell::new(0),
        idle_until_ms: Cell::new(0),
        is_draining: Cell::new(false),
        is_cutting: Cell::new(false),
        state,
    });
    // Without the one no wait would ever end, without the other connections to servers would gather.
    let alarm = || Alarm(Arc::clone(&broken));
    let keeper = spawn_local(alarm().at_end_of(keep_time(Rc::clone(&worker))));
    let sweeper = spawn_local(alarm().at_end_of(sweep(Rc::clone(&worker))));
    tokio::select! {
        _ = join_all(ways_in.iter().map(|way_in| accept_all(&worker, way_in, &connections))) => {}
        _ = stop.wait_for(|stop| *stop != Stop::No) => {}
    }
    worker.is_draining.set(true);
    // Whoever has connected already is served: a socket that closes with connections waiting resets them.
    for (listener, way_in) in ways_in {
        while let Ok((socket, addr)) = accept(listener.get_ref()) {
            if let Ok(permit) = Arc::clone(&connections).try_acquire_owned() {
                take(&worker, &way_in, socket, addr, permit);
            }
        }
    }
    worker.clock.wake_all();
    sweeper.abort();
    let Stop::By(deadline) = *stop.borrow() else { return 0 };
    let cut = tokio::select! {
        () = worker.all_closed() => 0,
        () = sleep_until(deadline.into()) => worker.cut().await,
        // Nobody waits for us any more.
        _ = stop.wait_for(|_| false) => worker.cut().await,
    };
    keeper.abort();
    cut
}

/// Keeps the worker's time. A table with shorter waits is noticed at the next tick.
async fn keep_time(worker: Rc<Worker>) {
    let tick_ms = || {
        worker.make_room();
        worker.limits.tick_ms(worker.table().shortest_wait)
    };
    worker.clock.run(tick_ms).await;
}

async fn sweep(worker: Rc<Worker>) {
    let mut tick = interval(SWEEP_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        worker.pool.sweep(worker.clock.now_ms());
    }
}

/// Takes connections for ever. Where too many are open, further ones wait in the kernel's queue.
async fn accept_all(
    worker: &Rc<Worker>,
    (listener, way_in): &(Listener, Rc<WayIn>),
    connections: &Arc<Semaphore>,
) {
    let mut failed = 0_u32;
    loop {
        match listener.async_io(Interest::READABLE, accept).await {
            Ok((socket, addr)) => {
                failed = 0;
                // Asked for after accepting: a permit that waits for a connection here would be missed elsewhere.
                let permit = match Arc::clone(connections).try_acquire_owned() {
                    Ok(permit) => permit,
                    Err(_) => {
                        worker.note_that_all_places_are_taken();
                        let permit = worker.wait_for_room(Arc::clone(connections).acquire_owned());
                        permit.await.expect("nobody closes the semaphore")
                    }
                };
                take(worker, way_in, socket, addr, permit);
            }
            Err(error) => {
                failed = failed.wrapping_add(1);
                match after(&error, failed) {
                    Then::Next => debug!(%error, "a connection was lost before it was accepted"),
                    Then::Pause => {
                        warn!(%error, failed, "cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    Then::MakeRoom => {
                        warn!(%error, "cannot accept a connection");
                        worker.pool.shed();
                        worker.wait_for_room(sleep(ACCEPT_PAUSE)).await;
                    }
                }
            }
        }
    }
}

/// What to do where a connection could not be accepted.
#[derive(Debug, Eq, PartialEq)]
enum Then {
    /// Take the next one.
    Next,
    /// Leave the listener alone for a while.
    Pause,
    /// The same, and idle connections make room.
    MakeRoom,
}

/// After an error, of so many in a row.
fn after(error: &io::Error, failed: u32) -> Then {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the queue; asking again at once would spin.
    if has_no_means(error) {
        return Then::MakeRoom;
    }
    // ECONNABORTED, EPERM: that one has left the queue, and those behind it are well. What comes for ever is another matter.
    if failed.is_multiple_of(FAILURES_AT_ONCE) { Then::Pause } else { Then::Next }
}

/// Serves one connection in a task that serves no other one meanwhile: what happens there, a panic even, ends that connection
/// only.
fn take(
    worker: &Rc<Worker>,
    way_in: &Rc<WayIn>,
    socket: Socket,
    addr: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let open = Open::new(Rc::clone(worker), permit);
    let client = Client::new(socket, addr, Rc::clone(way_in), worker.clock.deadline());
    if let Some((client, open)) = worker.spare.offer((client, open)) {
        spawn_local(attend(client, open));
    }
}

/// Serves one connection after another.
#[expect(clippy::manual_async_fn)] // an `async fn` keeps room for its arguments besides, which is 160 bytes for each connection
fn attend(mut client: Client, mut open: Open) -> impl Future<Output = ()> {
    async move {
        let worker = Rc::clone(&open.worker);
        loop {
            http1::serve(&worker, &mut client).await;
            // It closes before the wait.
            drop((client, open));
            match worker.spare.next().await {
                Some(next) => (client, open) = next,
                None => return,
            }
        }
    }
}

/// A client's open connection, counted until it ends.
struct Open {
    worker: Rc<Worker>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(worker: Rc<Worker>, permit: OwnedSemaphorePermit) -> Self {
        worker.state.live.totals.connection_opened();
        worker.open.set(worker.open.get() + 1);
        Self { worker, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.state.live.totals.connection_closed();
        self.worker.open.set(self.worker.open.get() - 1);
        if self.worker.open.get() == 0 {
            self.worker.last_closed.notify_waiters();
        }
    }
}

/// Our host name, for `X-Forwarded-Server`.
fn own_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    match !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => name.to_owned(),
        false => "herder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_connection_that_is_lost_costs_the_others_nothing() {
        let after = |errno: Errno, failed| after(&errno.into(), failed);
        for errno in [Errno::CONNABORTED, Errno::PERM] {
            assert_eq!(after(errno, 1), Then::Next, "{errno:?}");
            assert_eq!(after(errno, FAILURES_AT_ONCE), Then::Pause, "{errno:?}");
            assert_eq!(after(errno, FAILURES_AT_ONCE + 1), Then::Next, "{errno:?}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(after(errno, 1), Then::MakeRoom, "{errno:?}");
        }
    }

    #[test]
    fn what_was_taken_before_counts_for_nothing_now() {
        let mut pace = Pace { since_ms: 1_000, bytes: 0 };
        // So much a kernel takes at once, and then nothing more.
        let looks =
            [(2_000, false), (6_000, false), (6_001, false), (11_001, false), (11_002, true)];
        for (now_ms, is_slow) in looks {
            assert_eq!(pace.is_too_slow(now_ms, 2_500_000), is_slow, "{now_ms}");
        }
        let mut pace = Pace { since_ms: 0, bytes: 0 };
        for second in 1..60 {
            assert!(!pace.is_too_slow(second * 1_000, second * RATE_MIN), "{second}");
        }
    }

    #[test]
    fn a_part_that_breaks_down_is_noticed() {
        let (runtime, _) = prepare(Vec::new()).expect("the system has files");
        runtime.block_on(async {
            let (lives, breaks) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let alarm = |told: &Arc<Notify>| Alarm(Arc::clone(told));
            let _lives = spawn_local(alarm(&lives).at_end_of(std::future::pending()));
            spawn_local(alarm(&breaks).at_end_of(async { panic!("as it is meant to") }));
            timeout(Duration::from_secs(10), breaks.notified()).await.expect("it is told in time");
            assert!(timeout(Duration::ZERO, lives.notified()).await.is_err(), "it lives still");
        });
    }
}
