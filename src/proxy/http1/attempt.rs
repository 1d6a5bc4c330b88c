//! One try at one server.

use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::answer::Then;
use super::connection::Waited;
use super::course::{After, Course};
use super::exchange::attempts_max;
use super::parse::Version;
use super::record;
use super::relay::Relay;
use super::request::Facts;
use super::tally::{By, CLIENT_LEFT, Fault};
use super::timer::Timer;
use super::transfer::{Again, End, Extent, Failure, Special, Transfer, Whole};
use super::tunnel::{self, Patience};
use crate::balance::sticky;
use crate::config::Scheme;
use crate::live::ServerLive;
use crate::model::has_no_means;
use crate::proxy::error::Error;
use crate::proxy::upstream::{IdleOnes, Place, Risk, Upstream};
use crate::proxy::worker::{Worker, as_ms};
use crate::table::{Route, RunningServer};

/// An answer that has lasted for so long is a stream: that it breaks off says no more than the end of a tunnel.
const STREAM_MS: u64 = 60_000;

/// A client that was waited for no longer than this has not made its server give up: what servers bound, how long a write may take
/// or a whole answer, they bound in seconds. All waits of an answer count together, for who takes it slowly piece by piece holds
/// its server up like one that stalls.
const HELD_UP_MS_MAX: u32 = 1_000;

/// A request on its way to one server.
pub(super) struct Attempt<'t> {
    pub(super) route: &'t Arc<Route>,
    pub(super) server: &'t RunningServer,
    pub(super) facts: Facts,
    /// Whether the answer tells the client to come back to this server.
    pub(super) sets_cookie: bool,
    pub(super) body: Relay,
    /// How much of the inbox is this request's.
    pub(super) used: usize,
    /// Whether all of the request had come before it was sent on.
    pub(super) has_come: bool,
    /// The method, where an expression decides what is sent again.
    pub(super) method: Box<str>,
}

/// How a try ended that reached the client.
pub(super) struct Ran {
    pub(super) after: After,
    /// The status that the client was told; none where it left before.
    pub(super) status: Option<u16>,
    /// What is odd about it; nothing where the server answered.
    pub(super) odd: Option<Box<Odd>>,
    /// Whether the time it took is the server's: the client did not hold it up for long.
    pub(super) is_timed: bool,
}

impl Ran {
    /// Whether the answer broke off, and the server is to blame.
    pub(super) fn broke(&self) -> bool {
        self.odd.as_deref().is_some_and(|odd| matches!(odd, Odd::Broke(_)))
    }

    /// Whether both sides speak another protocol from now on.
    pub(super) fn is_switched(&self) -> bool {
        self.odd.as_deref().is_some_and(|odd| matches!(odd, Odd::Switched(_)))
    }
}

/// How a try ended besides well.
pub(super) enum Odd {
    /// The server speaks another protocol from now on.
    Switched(Switched),
    /// Its answer broke off.
    Broke(Error),
    /// It says nothing of the server: the end of an old stream, or the client's doing.
    Nothing,
}

/// A connection to a server that changed its protocol. It needs nothing of the table that it was made by: it may stay for days.
pub(super) struct Switched {
    upstream: Upstream,
    /// How much of the inbox was the request's.
    used: usize,
    _under_way: UnderWay<Arc<ServerLive>>,
}

/// A server did not answer.
pub(super) struct Failed {
    pub(super) error: Error,
    /// Whether another one may be asked.
    pub(super) may_go_on: bool,
    /// Whether this one got nothing of the request.
    pub(super) is_unsent: bool,
}

/// Why there is no connection to a server.
enum NoConnection {
    /// The client left meanwhile.
    Gone,
    /// It could not be made.
    Failed(Error),
}

/// Whether a request can be sent a second time.
#[derive(Clone, Copy)]
struct Repeats {
    /// Its body was kept.
    is_stored: bool,
    /// As it is: it is idempotent and has no body on its way (RFC 9110, section 9.2.2).
    may_resend: bool,
    /// As it is, or from the start of what was kept.
    may_repeat: bool,
}

impl Course<'_> {
    /// Sends the request to one server, and its answer to the client.
    pub(super) async fn run(&mut self, attempt: &mut Attempt<'_>) -> Result<Ran, Failed> {
        let worker = self.worker;
        let repeats = self.repeats(attempt);
        let mut under_way = UnderWay::begin(&*attempt.server.live);
        let timer = attempt.is_timed().then(|| Timer::start(under_way.server, &worker.clock));
        let idle = worker.pool.to(&attempt.place());
        let mut may_be_pooled = true;
        loop {
            // What is in this block takes no room while the answer is waited for.
            let (mut upstream, is_reused) = {
                let pooled = may_be_pooled.then(|| self.pooled(&idle, repeats)).flatten();
                match pooled {
                    Some(upstream) => (upstream, true),
                    None => match Box::pin(self.dial(attempt)).await {
                        Ok(upstream) => (upstream, false),
                        Err(NoConnection::Gone) => return Ok(self.gone(attempt, None)),
                        Err(NoConnection::Failed(error)) => {
                            if error.is_servers() {
                                under_way.fail();
                                under_way.server.refused(worker.clock.now_ms());
                            }
                            return Err(Failed { error, may_go_on: true, is_unsent: true });
                        }
                    },
                }
            };
            let (end, status, wants_again, held_up_ms) = {
                let by = (&mut upstream, is_reused);
                let mut transfer = self.transfer(attempt, repeats, by, timer.as_ref());
                transfer.begin();
                let end = poll_fn(|cx| transfer.poll(cx)).await;
                transfer.note_moved();
                let wants_again = end.is_err() && transfer.wants_again_after_failure();
                (end, transfer.status(), wants_again, transfer.held_up_ms())
            };
            match end {
                Ok(End::Switched) => {
                    self.answered(attempt.by(), 101);
                    let live = Arc::clone(&attempt.server.live);
                    let (used, _under_way) = (attempt.used, under_way.held_by(live));
                    return Ok(Ran {
                        after: After::Close,
                        status: Some(101),
                        odd: Some(Box::new(Odd::Switched(Switched { upstream, used, _under_way }))),
                        is_timed: false,
                    });
                }
                Ok(End::Answered(whole)) => {
                    worker.pool.keep(&idle, upstream, whole.reuse, &worker.clock);
                    return Ok(self.ended(attempt, &whole, held_up_ms, &mut under_way));
                }
                // A kept-alive connection turned out to be dead (RFC 9112, section 9.3.1).
                Err(Failure::NoAnswer { is_unsent, is_dead: true, .. })
                    if repeats.may_resend || (is_unsent && !repeats.is_stored) =>
                {
                    may_be_pooled = false;
                }
                Err(Failure::NoAnswer { error, is_unsent, is_dead }) => {
                    if is_dead {
                        // It was a fresh one: what can be sent again has been, above.
                        idle.closed_a_fresh_one(worker.clock.now_ms());
                    }
                    under_way.fail();
                    let may_go_on = is_unsent || repeats.may_repeat || wants_again;
                    return Err(Failed { error, may_go_on, is_unsent });
                }
                Err(Failure::Refused(error)) => {
                    let is_bad = matches!(error, Error::Replaced(500..) | Error::Again(500..));
                    if error.is_servers() || is_bad {
                        under_way.fail();
                    }
                    // Nothing of an answer has gone out.
                    let may_go_on = match error {
                        Error::Again(_) => true,
                        // Asked again it would be as long.
                        Error::Replaced(_) | Error::TooLong => false,
                        _ => error.is_servers() && repeats.may_repeat,
                    };
                    return Err(Failed { error, may_go_on, is_unsent: false });
                }
                Err(Failure::Cut(error)) => {
                    let ran = self.cut(attempt, status.unwrap_or(502), error, held_up_ms);
                    if ran.broke() {
                        under_way.fail();
                    }
                    return Ok(ran);
                }
                Err(Failure::Gone) => return Ok(self.gone(attempt, status)),
            }
        }
    }

    /// Whether this try's request can be sent a second time.
    fn repeats(&self, attempt: &Attempt<'_>) -> Repeats {
        let is_stored = self.collected.is_some() && self.page.is_none();
        let may_resend = attempt.facts.is_idempotent && attempt.body.is_done();
        let may_repeat = may_resend || (attempt.facts.is_idempotent && is_stored);
        Repeats { is_stored, may_resend, may_repeat }
    }

    /// A connection to the server that is open already.
    fn pooled(&self, idle: &IdleOnes, repeats: Repeats) -> Option<Upstream> {
        let risk = if repeats.may_resend { Risk::Repeatable } else { Risk::Once };
        let Worker { pool, clock, .. } = self.worker;
        pool.take(idle, risk, clock.now_ms())
    }

    /// What moves the bytes of one try.
    fn transfer<'x>(
        &'x mut self,
        attempt: &'x mut Attempt<'_>,
        repeats: Repeats,
        upstream: (&'x mut Upstream, bool),
        timer: Option<&'x Timer<'x>>,
    ) -> Transfer<'x> {
        let Attempt { route, server, ref facts, .. } = *attempt;
        let backend = &route.backend;
        let cookie = backend.sticky().filter(|_| attempt.sets_cookie);
        let cookie = cookie.map(|sticky| sticky::set_cookie(sticky, &server.cookie_value));
        let handling = backend.handling().filter(|_| self.page.is_none());
        let timeouts = handling.map(|handling| handling.timeouts).unwrap_or_default();
        let buffering = handling.and_then(|handling| handling.buffering.as_ref());
        let limits = &self.worker.limits;
        let response_ms = timeouts.response.map_or(limits.response_ms, as_ms);
        let body_ms = timeouts.body.map_or(limits.body_ms, as_ms);
        // A body that was kept stays this request's, whatever the table in force says by now.
        let is_plain = buffering.is_none()
            && route.pages.is_empty()
            && self.page.is_none()
            && !repeats.is_stored;
        let special = if is_plain {
            None
        } else {
            let retry = buffering.and_then(|buffering| buffering.retry.as_ref());
            // Without a try left, what the server says is the answer.
            let is_last = self.sent >= attempts_max(self.worker, route);
            let may_repeat = !is_last && (repeats.is_stored || attempt.body.is_done());
            let retry = retry.filter(|_| may_repeat);
            let (attempts, method) = (self.sent, &*attempt.method);
            let store = self.collected.as_mut().filter(|_| repeats.is_stored);
            Some(Box::new(Special {
                store: store.map(|collected| &mut collected.store),
                pages: if self.page.is_none() { &route.pages } else { &[] },
                shown: self.page.map(|page| page.status),
                hold: buffering.and_then(|buffering| buffering.answers),
                retry: retry.map(|expression| Again { expression, attempts, method, backend }),
            }))
        };
        let followers = self.changes.as_mut().map(|changes| &mut *changes.followers);
        let mut transfer = Transfer::new(
            self.worker,
            self.client,
            facts,
            (response_ms, body_ms),
            upstream,
            &mut attempt.body,
            &mut self.out,
        );
        transfer.cookie = cookie.map(Into::into);
        transfer.followers = followers.unwrap_or_default();
        transfer.special = special;
        transfer.record = self.record.as_deref_mut();
        transfer.timer = timer;
        transfer
    }

    /// The answer went out whole.
    fn ended(
        &mut self,
        attempt: &Attempt<'_>,
        whole: &Whole,
        held_up_ms: u32,
        under_way: &mut UnderWay<&ServerLive>,
    ) -> Ran {
        let Whole { status, then, is_complete, .. } = *whole;
        self.answered(attempt.by(), status);
        if status >= 500 && self.page.is_none() {
            under_way.fail();
            self.failed(Some(attempt.route), &attempt.fault(status, None));
        }
        let is_complete = is_complete && self.page.is_none_or(|page| page.is_complete);
        let after = match (then, is_complete) {
            (Then::KeepAlive, true) => After::Again,
            (Then::Close, true) if !self.would_reset(attempt, whole) => After::Close,
            _ => After::Linger,
        };
        let is_held_up = held_up_ms > 0 && self.is_held_up(held_up_ms);
        Ran { after, status: Some(status), odd: None, is_timed: attempt.has_come && !is_held_up }
    }

    /// Whether a client that was waited for held its server up for long. What it did is no time of the server's.
    #[cold]
    fn is_held_up(&mut self, held_up_ms: u32) -> bool {
        self.tally.held_up(held_up_ms);
        held_up_ms > HELD_UP_MS_MAX
    }

    /// Whether closing the client's connection after this answer may reset it, and take from it what it has not got yet: it has
    /// sent more, or may do so while it still reads.
    fn would_reset(&self, attempt: &Attempt<'_>, whole: &Whole) -> bool {
        let has_next = whole.has_next || self.client.inbox.len() > attempt.used;
        has_next
            || match whole.extent {
                Extent::Segment => false,
                Extent::Flight => self.client.has_more(),
                Extent::Large => true,
            }
    }

    /// Joins both sides until they have ended.
    pub(super) async fn tunnel(&mut self, switched: Switched) {
        let Switched { mut upstream, used, _under_way } = switched;
        let early = self.client.inbox.split_off(used);
        let mut note = |up, down| record::tunnelled(&mut self.record, up, down);
        self.client.look = None;
        self.client.socket.probe();
        if let Ok(stream) = self.client.socket.watched() {
            let Worker { buffers, clock, limits, .. } = self.worker;
            let (deadline, silence_ms) = (&self.client.deadline, limits.body_ms);
            // What cannot be asked is as good as broken.
            let has_broken = |client: &TcpStream| !matches!(client.take_error(), Ok(None));
            let patience = Patience { clock, deadline, silence_ms, has_broken };
            // However it ends, it has ended: both sides are closed here.
            let _ = tunnel::join(stream, &mut upstream, early, buffers, patience, &mut note).await;
        }
        record::tried(&mut self.record, None);
    }

    /// The answer broke off after its head had gone out. A client that was waited for long may be why: servers do not wait for ever.
    #[cold]
    fn cut(&mut self, attempt: &Attempt<'_>, status: u16, error: Error, held_up_ms: u32) -> Ran {
        self.answered(attempt.by(), status);
        self.failed(Some(attempt.route), &attempt.fault(status, Some(&error)));
        record::failed(&mut self.record, &error);
        let (route, server) = (attempt.route, attempt.server);
        tracing::debug!(frontend = %route.id, server = %server.name, %error, "answer cut");
        if attempt.facts.version == Version::Http10 {
            self.client.reset_at_end();
        }
        let is_held_up = self.is_held_up(held_up_ms);
        let odd = match error.is_servers() && !is_held_up && !self.is_old_stream() {
            true => Odd::Broke(error),
            false => Odd::Nothing,
        };
        let (after, odd) = (After::Close, Some(Box::new(odd)));
        Ran { after, status: Some(status), odd, is_timed: false }
    }

    /// Whether an answer that ends now has lasted for so long that its end says nothing of its server.
    fn is_old_stream(&self) -> bool {
        self.tally.asked_ms_ago(self.worker) > STREAM_MS
    }

    /// The client left, with this status or before it had any.
    #[cold]
    fn gone(&mut self, attempt: &Attempt<'_>, status: Option<u16>) -> Ran {
        match status {
            Some(status) => self.answered(attempt.by(), status),
            None => {
                // How long a client had patience is no time of its server's, which may not even have been asked.
                self.answered(By::Us(Some(attempt.route)), CLIENT_LEFT);
                self.failed(Some(attempt.route), &attempt.fault(CLIENT_LEFT, None));
            }
        }
        record::failed(&mut self.record, &"the client left");
        let says_nothing = status.is_none() || self.is_old_stream();
        let odd = says_nothing.then(|| Box::new(Odd::Nothing));
        Ran { after: After::Close, status: None, odd, is_timed: false }
    }

    /// Connects to a server.
    async fn dial(&mut self, attempt: &Attempt<'_>) -> Result<Upstream, NoConnection> {
        let (worker, client) = (self.worker, &mut *self.client);
        let handling = attempt.route.backend.handling().filter(|_| self.page.is_none());
        let wait = handling.and_then(|handling| handling.timeouts.connect);
        let limit_ms = wait.map_or(worker.limits.connect_ms, as_ms);
        let looks = attempt.body.is_done();
        let place = attempt.place();
        let made = client.wait_for(worker, limit_ms, looks, worker.pool.dial(&place)).await;
        match made {
            Ok(Ok(upstream)) => Ok(upstream),
            Ok(Err(error)) => Err(NoConnection::Failed(match has_no_means(&error) {
                true => Error::NoMeans(error.to_string()),
                false => Error::Unreachable(error.to_string()),
            })),
            Err(Waited::ForNobody) => Err(NoConnection::Gone),
            Err(Waited::TooLong) => {
                let slow = Error::SlowServer("it did not take the connection");
                Err(NoConnection::Failed(slow))
            }
        }
    }
}

impl<'t> Attempt<'t> {
    fn place(&self) -> Place {
        let RunningServer { scheme, addr, host, .. } = self.server;
        let host = host.as_ref().filter(|_| *scheme == Scheme::Https).cloned();
        Place { addr: *addr, scheme: *scheme, host }
    }

    fn by(&self) -> By<'t> {
        By::Server(self.route, self.server)
    }

    fn fault<'f>(&'f self, status: u16, error: Option<&'f Error>) -> Fault<'f> {
        Fault { status, error, server: Some(&self.server.name) }
    }

    /// Whether its time tells the method how fast the server is.
    fn is_timed(&self) -> bool {
        self.route.backend.is_timed() && self.body.is_done()
    }
}

/// Counts one request as under way at a server, until it is dropped.
struct UnderWay<S: Deref<Target = ServerLive>> {
    server: S,
    is_failed: bool,
}

impl<S: Deref<Target = ServerLive>> UnderWay<S> {
    fn begin(server: S) -> Self {
        server.begin();
        Self { server, is_failed: false }
    }

    /// It went wrong: a connection that broke, or a 5xx answer.
    fn fail(&mut self) {
        self.is_failed = true;
    }
}

impl UnderWay<&ServerLive> {
    /// The same, of the same server, for longer than the table is held that knows it.
    fn held_by(self, server: Arc<ServerLive>) -> UnderWay<Arc<ServerLive>> {
        let is_failed = self.is_failed;
        // It has not ended. A reference takes nothing along that would be lost.
        std::mem::forget(self);
        UnderWay { server, is_failed }
    }
}

impl<S: Deref<Target = ServerLive>> Drop for UnderWay<S> {
    fn drop(&mut self) {
        self.server.end(self.is_failed);
    }
}
