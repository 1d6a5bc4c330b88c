//! One worker: a thread with a runtime, a listening socket and connections to servers of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::Stop;
use super::client_io::{ClientIo, Pace};
use super::forwarded::Forwarder;
use super::http::serve;
use super::upstream::{HYPER_BUFFER_MIN, Upstreams};
use crate::control::State;
use crate::settings::Limits;
use crate::table::{Reader, Table};

/// What all workers share.
pub(super) struct Shared {
    pub(super) state: Arc<State>,
    /// A permit for each client connection.
    pub(super) connections: Arc<Semaphore>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) stop: watch::Receiver<Stop>,
}

/// What one worker's requests need.
pub(super) struct Worker {
    pub(super) state: Arc<State>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) forwarder: Forwarder,
    pub(super) clock: Clock,
    /// Connections and joined upgrades under way.
    pub(super) tasks: TaskTracker,
    /// Only this worker's thread ever asks for it.
    reader: Mutex<Reader>,
}

/// A monotonic clock in milliseconds; it starts at 1, so that 0 can mean never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Worker {
    /// The table in force, to be kept until the end of one request.
    #[allow(clippy::redundant_allocation)] // see `table::Reader`
    pub(super) fn table(&self) -> Arc<Arc<Table>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).table()
    }
}

/// How long to leave the listener alone when the system has no file left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often idle connections to servers are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Works until it is told to stop, and until what was under way then has ended. Returns how many were cut off.
pub(super) fn run(listener: std::net::TcpListener, shared: Shared) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has an epoll for each worker");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener);
        let listener = listener.expect("the socket is in non-blocking mode: entrypoint.rs");
        work(listener, shared).await
    })
}

async fn work(listener: TcpListener, shared: Shared) -> usize {
    let Shared { state, connections, tls, mut stop } = shared;
    let clock = Clock::start();
    let limits = state.settings.limits.clone();
    let worker = Arc::new(Worker {
        upstreams: Arc::new(Upstreams::new(tls, limits, clock)),
        forwarder: Forwarder {
            trusted: state.settings.trusted_ips.clone(),
            server_name: own_name(),
        },
        clock,
        tasks: TaskTracker::new(),
        reader: Mutex::new(state.published.reader()),
        state,
    });
    let sweeper = tokio::spawn(sweep(Arc::clone(&worker.upstreams)));
    let told = stop.clone();
    let accept = accept_all(&worker, &listener, &connections, &told);
    tokio::select! {
        () = accept => {}
        _ = stop.wait_for(|stop| *stop != Stop::No) => {}
    }
    // Whoever has connected already is served: a socket that closes with connections waiting resets them.
    while let Some(Ok((stream, client))) = now_or_never(listener.accept()).await {
        if let Ok(permit) = Arc::clone(&connections).try_acquire_owned() {
            take(&worker, stream, client, permit, &stop);
        }
    }
    drop(listener);
    sweeper.abort();
    worker.tasks.close();
    let Stop::By(deadline) = *stop.borrow() else { return 0 };
    match timeout_at(deadline.into(), worker.tasks.wait()).await {
        Ok(()) => 0,
        Err(_) => worker.tasks.len(),
    }
}

async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = std::future::ready(()) => None,
    }
}

async fn sweep(upstreams: Arc<Upstreams>) {
    let mut tick = interval(SWEEP_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        upstreams.sweep();
    }
}

/// Takes connections for ever. Where too many are open, further ones wait in the kernel's queue.
async fn accept_all(
    worker: &Arc<Worker>,
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
    stop: &watch::Receiver<Stop>,
) {
    loop {
        let permit = Arc::clone(connections).acquire_owned().await;
        let permit = permit.expect("nobody closes the semaphore");
        match listener.accept().await {
            Ok((stream, client)) => take(worker, stream, client, permit, stop),
            Err(error) => {
                // EMFILE, ENFILE, ENOBUFS: the connection stays in the queue; asking again at once would spin.
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection in a task of its own: what happens there, a panic even, ends that connection only.
fn take(
    worker: &Arc<Worker>,
    stream: TcpStream,
    client: SocketAddr,
    permit: OwnedSemaphorePermit,
    stop: &watch::Receiver<Stop>,
) {
    let open = Open::count(&worker.state, permit);
    // Without it small answers wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let connection = connection(Arc::clone(worker), stream, client, stop.clone());
    worker.tasks.spawn(async move {
        connection.await;
        drop(open);
    });
}

async fn connection(
    worker: Arc<Worker>,
    stream: TcpStream,
    client: SocketAddr,
    mut stop: watch::Receiver<Stop>,
) {
    let limits: &Limits = &worker.state.settings.limits;
    let pace = Arc::new(Pace::default());
    let io = TokioIo::new(ClientIo::new(stream, Arc::clone(&pace), worker.clock));
    let service = service_fn(|request| {
        pace.request_begins();
        let (worker, pace) = (Arc::clone(&worker), Arc::clone(&pace));
        async move {
            let response = serve(worker, client, request).await;
            pace.request_ends();
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout.max(limits.head_timeout))
        .max_buf_size(limits.head_bytes_max.max(HYPER_BUFFER_MIN))
        .max_headers(limits.header_lines_max)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut is_draining = false;
    loop {
        let look = worker_look(limits);
        tokio::select! {
            // Whoever ends a connection, and how, is the client's business.
            _ = connection.as_mut() => return,
            _ = stop.wait_for(|stop| *stop != Stop::No), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until((Instant::now() + look).into()) => {
                if pace.is_too_slow(worker.clock.now_ms(), limits.head_timeout, limits.body_timeout) {
                    return;
                }
            }
        }
    }
}

/// How often a connection's pace is looked at: often enough to cut it off soon after a limit.
fn worker_look(limits: &Limits) -> Duration {
    (limits.head_timeout.min(limits.body_timeout) / 4).max(Duration::from_millis(50))
}

/// Counts a connection as open until it is dropped.
struct Open {
    state: Arc<State>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn count(state: &Arc<State>, permit: OwnedSemaphorePermit) -> Self {
        state.live.totals.connection_opened();
        Self { state: Arc::clone(state), _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.state.live.totals.connection_closed();
    }
}

/// Our host name, for `X-Forwarded-Server`.
fn own_name() -> HeaderValue {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match HeaderValue::from_str(name.trim()) {
        Ok(name) if !name.is_empty() => name,
        _ => HeaderValue::from_static("herder"),
    }
}
