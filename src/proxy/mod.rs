//! The data plane: accepts, looks up, picks, sends, answers.
//!
//! One worker per core: a thread with a runtime, a listening socket and upstream connections of its own. What carries a
//! request, `http1`, stays in here; everything below sees an `Exchange`.

mod buffers;
mod clock;
mod entrypoint;
mod error;
mod forwarded;
mod http1;
mod tls;
mod upstream;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};

use crate::control::State;
use crate::settings::Settings;

pub use entrypoint::BindError;
#[cfg(fuzzing)]
pub use http1::judge;

/// The way in.
pub struct Proxy;

/// Bound, not yet serving: what connects waits in the kernel's queue.
pub struct Bound {
    listeners: Vec<std::net::TcpListener>,
    addr: SocketAddr,
}

/// Serving. When it is dropped, everything ends at once.
pub struct Running {
    stop: watch::Sender<Stop>,
    /// Each worker says once, at its end, how many it cut off.
    ended: mpsc::Receiver<usize>,
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
    /// Takes the port, with one listening socket for each worker.
    ///
    /// # Errors
    /// When somebody else has it, or it may not be taken.
    pub fn bind(settings: &Settings) -> Result<Bound, BindError> {
        let listeners = entrypoint::listen(settings.http, settings.workers)?;
        let addr = entrypoint::local_addr(settings.http, &listeners)?;
        Ok(Bound { listeners, addr })
    }
}

impl Bound {
    /// Where requests come in.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts the workers.
    pub fn start(self, state: &Arc<State>) -> Running {
        let (stop, stopped) = watch::channel(Stop::No);
        let connections = Arc::new(Semaphore::new(state.settings.limits.connections_max));
        let tls = tls::client_config(state.settings.insecure_skip_verify);
        let (end, ended) = mpsc::channel(self.listeners.len());
        for (number, listener) in self.listeners.into_iter().enumerate() {
            let shared = worker::Shared {
                state: Arc::clone(state),
                connections: Arc::clone(&connections),
                tls: Arc::clone(&tls),
                stop: stopped.clone(),
            };
            let end = end.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    let cut = worker::run(listener, shared);
                    // Nobody waits any more where the process ends at once.
                    let _ = end.try_send(cut);
                })
                .expect("the system has a thread for each worker");
        }
        Running { stop, ended }
    }
}

impl Running {
    /// Takes nothing new and waits for what is under way, `grace` at most. Returns how many were cut off.
    pub async fn drain(mut self, grace: Duration) -> usize {
        self.stop.send_replace(Stop::By(Instant::now() + grace));
        let mut cut = 0;
        while let Some(more) = self.ended.recv().await {
            cut += more;
        }
        cut
    }

    /// Ends everything at once.
    pub fn cut(self) {
        drop(self);
    }
}
