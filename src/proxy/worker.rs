//! One worker: a thread with a runtime, a listening socket and connections to servers of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};
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
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, addr)) = listener.accept() {
            let permit = Arc::clone(&connections).try_acquire_owned();
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let (Ok(permit), Ok(stream)) = (permit, stream) {
                take(&worker, stream, addr, permit, &stop);
            }
        }
    }
    sweeper.abort();
    worker.tasks.close();
    let Stop::By(deadline) = *stop.borrow() else { return 0 };
    tokio::select! {
        () = worker.tasks.wait() => 0,
        () = sleep_until(deadline.into()) => worker.tasks.len(),
        // Nobody waits for us any more.
        _ = stop.wait_for(|_| false) => worker.tasks.len(),
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
        match listener.accept().await {
            Ok((stream, addr)) => {
                // Asked for after accepting: a permit that waits for a connection here would be missed elsewhere.
                let permit = Arc::clone(connections).acquire_owned().await;
                take(worker, stream, addr, permit.expect("nobody closes the semaphore"), stop);
            }
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
    addr: SocketAddr,
    permit: OwnedSemaphorePermit,
    stop: &watch::Receiver<Stop>,
) {
    tune(&stream);
    worker.state.live.totals.connection_opened();
    let state = Arc::clone(&worker.state);
    let client = Arc::new(Client { addr, pace: Arc::default(), state, _permit: permit });
    worker.tasks.spawn(connection(Arc::clone(worker), stream, client, stop.clone()));
}

/// A client's open connection. Counted until the last who needs it has dropped it: a joined upgrade outlives HTTP.
pub(super) struct Client {
    pub(super) addr: SocketAddr,
    pub(super) pace: Arc<Pace>,
    state: Arc<State>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.state.live.totals.connection_closed();
    }
}

/// Speaks HTTP on one connection until either side has enough.
async fn connection(
    worker: Arc<Worker>,
    stream: TcpStream,
    client: Arc<Client>,
    mut stop: watch::Receiver<Stop>,
) {
    let limits: &Limits = &worker.state.settings.limits;
    let pace = Arc::clone(&client.pace);
    let io = TokioIo::new(ClientIo::new(stream, Arc::clone(&pace), worker.clock));
    let service = service_fn(|request| serve(Arc::clone(&worker), Arc::clone(&client), request));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout.max(limits.head_timeout))
        .max_buf_size(limits.head_bytes_max.max(HYPER_BUFFER_MIN))
        .max_headers(limits.header_lines_max)
        .serve_connection(io, service)
        .with_upgrades();
    let mut is_draining = false;
    let is_slow = loop {
        tokio::select! {
            biased;
            // Whoever ends a connection, and how, is the client's business.
            _ = Pin::new(&mut connection) => break false,
            () = told_to_stop(&mut stop, &pace), if !is_draining => {
                is_draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = sleep(look_interval(limits)) => {
                let now_ms = worker.clock.now_ms();
                if pace.is_blocked(now_ms, limits.body_timeout) {
                    return;
                }
                if pace.is_head_slow(now_ms, limits.head_timeout) {
                    break true;
                }
            }
        }
    };
    // Nothing is left of a connection that was upgraded.
    let Some(parts) = connection.into_parts() else { return };
    let stream = parts.io.into_inner().into_stream();
    if is_slow {
        // It fits into the kernel's buffer, or the client does not read anyway.
        let _ = stream.try_write(SLOW_HEAD_ANSWER);
    }
    if !is_draining {
        linger(stream).await;
    }
}

/// hyper has no answer of its own for a head that takes too long.
const SLOW_HEAD_ANSWER: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Resolves when this connection shall take no further request.
///
/// One that idles waits a little: its next request may have arrived, and not been read.
async fn told_to_stop(stop: &mut watch::Receiver<Stop>, pace: &Pace) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop != Stop::No).await;
    if !pace.in_request() {
        sleep(LAST_REQUEST_WAIT).await;
    }
}

/// How long an idle connection is given at a stop, for a request that is already on its way.
const LAST_REQUEST_WAIT: Duration = Duration::from_millis(50);

/// Reads, and throws away, what a client still sends after our last word: the kernel would answer it with a reset, and
/// the client might lose that word (RFC 9112, section 9.6).
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut waste = [0; 4096];
    let read = async { while matches!(stream.read(&mut waste).await, Ok(1..)) {} };
    // Whether the client closes in time or not, we do.
    let _ = timeout(LINGER_MAX, read).await;
}

/// How long we wait for a client to close its side after ours.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// How often a connection's pace is looked at: often enough to cut it off soon after a limit.
fn look_interval(limits: &Limits) -> Duration {
    (limits.head_timeout.min(limits.body_timeout) / 4).max(Duration::from_millis(50))
}

/// When the kernel asks a silent peer whether it is still there: a joined upgrade may be silent for long.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What every connection gets, to clients and to servers. A socket that does not take it works without.
pub(super) fn tune(stream: &TcpStream) {
    // Without it small pieces wait for the other side's acknowledgement.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
}

/// Our host name, for `X-Forwarded-Server`.
fn own_name() -> HeaderValue {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match HeaderValue::from_str(name.trim()) {
        Ok(name) if !name.is_empty() => name,
        _ => HeaderValue::from_static("herder"),
    }
}
