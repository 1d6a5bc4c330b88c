//! The whole of Herder around given settings: bind, supervise, serve, drain. `run` and `demo` are this.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{discover, files};
use crate::admin;
use crate::control::guards::Invalid;
use crate::control::{Phase, State, View, probe, schedule};
use crate::proxy::Proxy;
use crate::settings::Settings;
use crate::table::{auth_step, entry_chain};

/// Where everything is, once all ports are bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
}

/// Binds all ports first, then starts everything, tells `on_bound` where, and runs until a stop signal and until
/// what was under way then has ended. Another signal ends it at once, unless it is the [echo](ECHO) of the first. What is wrong with
/// guards of the settings, and lets somebody in all the same, is told.
pub(super) async fn serve(
    mut settings: Settings,
    guards: Vec<Invalid>,
    mut signals: Signals,
    on_bound: impl FnOnce(Addresses),
) -> anyhow::Result<ExitCode> {
    settings.limits.connections_max = files::connections_max(settings.limits.connections_max);
    let proxy = Proxy::bind(&settings)?;
    let admin = settings.admin.map(admin::bind).transpose()?;
    let schedule = schedule::start(&settings.refresh).await.map_err(|why| anyhow!(why))?;
    let first = proxy.local_addrs().first().map(|(_, addr)| *addr);
    let addresses = Addresses {
        http: first.ok_or_else(|| anyhow!("there is no entry point"))?,
        admin: admin.as_ref().map(admin::Bound::local_addr),
    };
    for (entrypoint, addr) in proxy.local_addrs() {
        info!(entrypoint, %addr, "open");
    }
    let guards = guards.into_iter().map(|guard| guard.text);
    for line in settings.left_out().into_iter().chain(guards) {
        warn!("{line}");
    }
    info!(
        http = %addresses.http,
        admin = %addresses.admin.map_or_else(|| "off".to_owned(), |addr| addr.to_string()),
        workers = settings.workers,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );

    let settings = Arc::new(settings);
    let state = Arc::new(State::new(Arc::clone(&settings), View::default()));
    // Held until the workers hold them, so that the files they need are read before anybody asks.
    let guards: Vec<_> = settings
        .open_entrypoints()
        .map(|entrypoint| entry_chain(entrypoint, &state.settings.entrypoints, &state.live))
        .collect();
    let admin_guard = settings.admin_auth.as_ref().map(|auth| auth_step(auth, &state.live));
    let mut discovery_ended = discover::start(&state, &schedule)?;
    let (checks, mut checks_ended) = start_checks(&state)?;

    let running = proxy.start(&state)?;
    let (stop_admin, admin_stopped) = oneshot::channel::<()>();
    let admin = admin.map(|bound| {
        let stopped = async move {
            // A sender that is dropped stops it as well.
            let _ = admin_stopped.await;
        };
        tokio::spawn(bound.serve(Arc::clone(&state), admin_guard, stopped))
    });
    on_bound(addresses);

    let is_broken = loop {
        tokio::select! {
            action = signals.next() => match action {
                Action::ReopenLogs => running.logs().reopen(),
                Action::Reload => info!(
                    "SIGHUP reloads nothing: rules are read when they change, settings at the start only"
                ),
                Action::Stop => break false,
            },
            // Routes that never change again would look well: whoever watches over Herder is to start it anew.
            _ = &mut discovery_ended => {
                error!("{BROKEN_DISCOVERY}");
                break true;
            }
            // So would servers of which nobody learns any more that they are down.
            _ = &mut checks_ended => {
                error!("health checks have broken down, see the lines before: that is a bug, please tell of it");
                break true;
            }
            // Its share of the connections would be reset, or wait for ever.
            () = running.broken() => {
                error!("a worker has broken down, see the lines before: that is a bug, please tell of it");
                break true;
            }
        }
    };
    drop(guards);
    state.enter(Phase::Draining);
    info!(grace_ms = u64::try_from(settings.grace.as_millis()).unwrap_or(u64::MAX), "draining");
    let logs = running.logs();
    let cut = tokio::select! {
        cut = running.drain(settings.grace) => Some(cut),
        () = signals.stop_again(|| logs.reopen()) => None,
    };
    match cut {
        Some(0) => info!("stopped"),
        Some(cut) => warn!(cut, "stopped; the grace time was over for some requests"),
        None => warn!("stopped at once, at the second signal"),
    }
    drop((stop_admin, checks));
    if let (Some(admin), Some(_)) = (admin, cut) {
        // The page's event streams end with the process.
        let _ = tokio::time::timeout(ADMIN_GRACE, admin).await;
    }
    schedule.stop().await;
    Ok(match cut {
        _ if is_broken => ExitCode::FAILURE,
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(130),
    })
}

/// What is said where nobody discovers any more.
pub(super) const BROKEN_DISCOVERY: &str =
    "discovery has broken down, see the lines before: that is a bug, please tell of it";

/// Asks the servers whether they are well, on a thread of its own: whoever keeps the admin side busy must not make a server
/// look slow. It ends when the first of what is returned is dropped, and the second tells where it ends.
///
/// # Errors
/// Where the system has no thread or no epoll left.
fn start_checks(
    state: &Arc<State>,
) -> anyhow::Result<(oneshot::Sender<()>, oneshot::Receiver<()>)> {
    let (stop, stopped) = oneshot::channel::<()>();
    let state = Arc::clone(state);
    let ended = on_own_thread("health", move || async move {
        tokio::select! {
            () = probe::run(state) => {}
            _ = stopped => {}
        }
    })?;
    Ok((stop, ended))
}

/// Does this on a thread of its own, with a reactor of its own. What is returned ends where the work does, in whatever way: what
/// is to run for as long as the process must not end unseen.
///
/// # Errors
/// Where the system has no thread or no epoll left.
pub(super) fn on_own_thread<F: Future<Output = ()>>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (runs, ended) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Dropped at the end, whatever that is.
        let _runs: oneshot::Sender<()> = runs;
        runtime.block_on(async { work().await });
    })?;
    Ok(ended)
}

/// The admin side has nothing to finish that is worth a longer wait.
const ADMIN_GRACE: Duration = Duration::from_millis(500);

/// A stop so soon after the first is the same one told twice: `timeout` signals its child and then the group that it is in, and
/// whoever means a second one has seen first that the first takes time.
const ECHO: Duration = Duration::from_millis(200);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// SIGTERM, SIGINT; SIGHUP from a terminal that was closed.
    Stop,
    /// SIGUSR1, as in Traefik 1.7: log files were moved.
    ReopenLogs,
    /// SIGHUP, by which other daemons read their settings again.
    Reload,
}

/// The signals that are listened to, as one stream.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    hang_up: Signal,
    /// Whether somebody sits at a terminal: where that goes away, SIGHUP says so, and nobody is left to stop us.
    is_at_terminal: bool,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            reopen: listen(SignalKind::user_defined1())?,
            hang_up: listen(SignalKind::hangup())?,
            is_at_terminal: std::io::stdin().is_terminal(),
        })
    }

    pub(super) async fn next(&mut self) -> Action {
        tokio::select! {
            _ = self.terminate.recv() => Action::Stop,
            _ = self.interrupt.recv() => Action::Stop,
            _ = self.reopen.recv() => Action::ReopenLogs,
            _ = self.hang_up.recv() => if self.is_at_terminal { Action::Stop } else { Action::Reload },
        }
    }

    /// Waits for a stop.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Action::Stop {}
    }

    /// Waits for another stop than the one that has just come. Log files may be moved meanwhile.
    async fn stop_again(&mut self, reopen_logs: impl Fn()) {
        let first = Instant::now();
        loop {
            match self.next().await {
                Action::ReopenLogs => reopen_logs(),
                Action::Stop if first.elapsed() >= ECHO => return,
                Action::Stop | Action::Reload => {}
            }
        }
    }

    /// Does this, unless a stop comes before it is done. Process 1 ignores a signal that nobody waits for, and `docker stop` would
    /// take 10 s.
    pub(super) async fn unless_stopped<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<Option<T>> {
        tokio::select! {
            done = work => done.map(Some),
            () = self.stop() => {
                info!("stopped before the start");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_over_by_itself_before_docker_kills() {
        let settings = crate::settings::Typed::default().meant().expect("nothing is wrong");
        let told_by = crate::proxy::TELL_GRACE + ADMIN_GRACE + crate::telemetry::TELL_GRACE;
        assert!(settings.grace + told_by < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn work_that_breaks_down_is_noticed() {
        let mut lives = on_own_thread("lives", std::future::pending).expect("a thread");
        let breaks = on_own_thread("breaks", || async { panic!("as it is meant to") });
        let ended = tokio::time::timeout(Duration::from_secs(10), breaks.expect("a thread")).await;
        assert!(ended.expect("it is told in time").is_err(), "nobody says anything");
        assert!(lives.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    }
}
