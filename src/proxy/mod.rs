//! The data plane: accepts, looks up, picks, sends, answers.
//!
//! One worker per core: a thread with a runtime, a listening socket and upstream connections of its own. What carries a
//! request, `http1`, stays in here; everything below sees an `Exchange`.

mod ask;
mod buffers;
mod clock;
mod desk;
mod entrypoint;
mod error;
mod forwarded;
mod http1;
mod socket;
mod spare;
mod store;
mod upstream;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tracing::{info, warn};

use crate::control::State;
use crate::settings::{EntryPoint, Settings};
use crate::telemetry::Observers;
use crate::tls;

pub use desk::{Desk, Places};
pub use entrypoint::BindError;
#[cfg(fuzzing)]
pub use http1::judge;

/// The way in.
pub struct Proxy;

/// Bound, not yet serving: what connects waits in the kernel's queue.
pub struct Bound {
    /// For each entry point a socket for each worker.
    listeners: Vec<Vec<std::net::TcpListener>>,
    addrs: Vec<(String, SocketAddr)>,
}

/// Serving. When it is dropped, everything ends at once.
pub struct Running {
    stop: watch::Sender<Stop>,
    workers: usize,
    /// Each worker says once, at its end, how many it cut off.
    ended: mpsc::Receiver<usize>,
    broken: Arc<Notify>,
    observers: Option<Arc<Observers>>,
}

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A worker has not what it needs.
    #[error(
        "cannot start {count} workers; choose fewer with --workers, or allow more open files (`ulimit -n`) and threads (`ulimit -u`)"
    )]
    Workers {
        /// How many there were to be.
        count: usize,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody can tell of requests.
    #[error("cannot start the access log or the traces; allow more threads (`ulimit -u`)")]
    Observers(#[source] io::Error),
}

/// What the workers are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stop {
    /// Go on.
    No,
    /// Take nothing new; what is under way has until then.
    By(Instant),
}

impl Proxy {
    /// Takes the ports of all entry points that are opened, each with one listening socket for each worker.
    ///
    /// # Errors
    /// When somebody else has one, or it may not be taken.
    pub fn bind(settings: &Settings) -> Result<Bound, BindError> {
        let mut bound = Bound { listeners: Vec::new(), addrs: Vec::new() };
        for EntryPoint { name, listen, .. } in settings.open_entrypoints() {
            let listeners = entrypoint::listen(*listen, settings.workers)?;
            bound.addrs.push((name.clone(), entrypoint::local_addr(*listen, &listeners)?));
            bound.listeners.push(listeners);
        }
        Ok(bound)
    }
}

/// Passwords that wait to be checked; as many are checked at once as there are workers.
const CHECKS: Places = Places { turns: 1, waiting: 256, waiting_of_one: 32 };

impl Bound {
    /// Where requests come in, by the names of the entry points.
    pub fn local_addrs(&self) -> &[(String, SocketAddr)] {
        &self.addrs
    }

    /// Starts the workers, and waits until each has what it needs.
    ///
    /// # Errors
    /// Where the system has no thread or no file left for one, or for whoever tells of requests.
    pub fn start(self, state: &Arc<State>) -> Result<Running, StartError> {
        let (stop, stopped) = watch::channel(Stop::No);
        let connections = Arc::new(Semaphore::new(state.settings.limits.connections_max));
        let waiting = Arc::new(AtomicUsize::new(0));
        let tls = tls::to_servers(&state.settings);
        let workers = self.listeners.first().map_or(0, Vec::len);
        let desk = Desk::new(Places { turns: workers, ..CHECKS });
        let reserve = Arc::default();
        let observers = Observers::start(&state.settings.observe, &state.live)
            .map_err(StartError::Observers)?;
        let fail = |source| StartError::Workers { count: workers, source };
        let broken = Arc::new(Notify::new());
        let (start, started) = std::sync::mpsc::channel();
        let (end, ended) = mpsc::channel(workers.max(1));
        let mut sockets: Vec<_> = self.listeners.into_iter().map(Vec::into_iter).collect();
        for number in 0..workers {
            let listeners: Vec<_> = sockets.iter_mut().filter_map(Iterator::next).collect();
            let shared = worker::Shared {
                state: Arc::clone(state),
                connections: Arc::clone(&connections),
                waiting: Arc::clone(&waiting),
                tls: Arc::clone(&tls),
                desk: Arc::clone(&desk),
                reserve: Arc::clone(&reserve),
                observers: observers.clone(),
                stop: stopped.clone(),
                broken: Arc::clone(&broken),
            };
            let (start, end) = (start.clone(), end.clone());
            let alarm = worker::Alarm(Arc::clone(&broken));
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    let _tells = alarm;
                    let cut = worker::run(listeners, shared, start);
                    // Nobody waits any more where the process ends at once.
                    let _ = end.try_send(cut);
                })
                .map_err(fail)?;
        }
        drop(start);
        for _ in 0..workers {
            let told = started.recv().unwrap_or_else(|_| Err(io::Error::other("one has ended")));
            told.map_err(fail)?;
        }
        Ok(Running { stop, workers, ended, broken, observers })
    }
}

/// The log files.
pub struct Logs(Option<Arc<Observers>>);

impl Logs {
    /// Opens them anew: they were moved.
    pub fn reopen(&self) {
        if let Some(observers) = &self.0 {
            info!("opening log files anew");
            observers.reopen();
        }
    }
}

/// At the end of the grace: how long a worker may take to cut off what it has. It never waits for long; should one be stuck, that
/// does not keep the process.
const WORKERS_GRACE: Duration = Duration::from_secs(1);

/// At the end: how long the lines of the last requests may take on their way to a file, and their traces to a collector.
pub const TELL_GRACE: Duration = Duration::from_millis(1_500);

impl Running {
    /// Takes nothing new and waits for what is under way, `grace` at most. Returns how many were cut off.
    pub async fn drain(mut self, grace: Duration) -> usize {
        self.stop.send_replace(Stop::By(Instant::now() + grace));
        let (mut cut, mut ended) = (0, 0);
        let all = async {
            while let Some(more) = self.ended.recv().await {
                cut += more;
                ended += 1;
            }
        };
        if tokio::time::timeout(grace + WORKERS_GRACE, all).await.is_err() {
            let stuck = self.workers.saturating_sub(ended);
            warn!(stuck, "workers do not end: that is a bug, please tell of it");
            // Of what each has, nobody knows more than that.
            cut += stuck;
        }
        if let Some(observers) = self.observers.take() {
            // It waits for threads, which a task must not.
            let _ = tokio::task::spawn_blocking(move || observers.stop(TELL_GRACE)).await;
        }
        cut
    }

    /// Waits until a worker ends that was not told to, or a part of it that it cannot do without. The others go on.
    pub async fn broken(&self) {
        self.broken.notified().await;
    }

    /// The log files, to be opened anew.
    pub fn logs(&self) -> Logs {
        Logs(self.observers.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_is_stuck_does_not_keep_the_process() {
        let (stop, _stopped) = watch::channel(Stop::No);
        let (end, ended) = mpsc::channel(2);
        end.send(3).await.expect("there is room");
        let broken = Arc::default();
        let running = Running { stop, workers: 2, ended, broken, observers: None };
        // The second one holds its sender, and says nothing.
        assert_eq!(running.drain(Duration::ZERO).await, 4);
        drop(end);
    }
}
