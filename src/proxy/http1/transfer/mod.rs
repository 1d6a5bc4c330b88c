//! One request and its answer, moving between a client and a server: both ways at once, and never more than one piece
//! ahead of whoever reads.

mod down;
mod heads;
mod up;

use std::io;
use std::task::{Context, Poll};

use super::answer::Then;
use super::connection::{Client, WATCH_AFTER_MS};
use super::head::Scan;
use super::parse::Version;
use super::relay::Relay;
use super::request::Facts;
use super::timer::Timer;
use crate::model::Follower;
use crate::proxy::buffers::LargeLeft;
use crate::proxy::error::Error;
use crate::proxy::store::Store;
use crate::proxy::upstream::{Reuse, Upstream};
use crate::proxy::worker::{Pace, Worker};
use crate::rules::RetryExpression;
use crate::table::{Kept, Page, RunningBackend};
use crate::telemetry::Record;

/// One read of a body that was kept.
const STORE_READ_BYTES: usize = 64 * 1024;

/// So many of them before others have their turn: whoever takes it as fast as it is read never makes us wait.
const STORE_READS_MAX: u32 = 16;

/// Goes on once others have had their turn.
fn others_turn<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// One exchange under way. What few need is boxed: each connection that waits for an answer holds one of these.
pub(super) struct Transfer<'x> {
    worker: &'x Worker,
    client: &'x mut Client,
    facts: &'x Facts,
    /// The cookie that the answer sets.
    pub(super) cookie: Option<Box<str>>,
    /// Who wants to see the answer.
    pub(super) followers: &'x mut [Box<dyn Follower>],
    /// What the frontend and the backend ask for besides.
    pub(super) special: Option<Box<Special<'x>>>,
    /// How long the head of the answer is waited for.
    response_ms: u64,
    /// How long a pause between two pieces of a body may be.
    body_ms: u64,
    /// The answer, while it is kept until it has come whole.
    hold: Option<Box<Hold>>,
    server: &'x mut Upstream,
    up: &'x mut Relay,
    to_server: &'x mut Vec<u8>,
    sent: usize,
    /// Why the server takes no more. It may have answered before.
    server_broke: Option<io::Error>,
    down: Option<Down>,
    /// An answer's head that has not come whole.
    half_head: Option<Box<HalfHead>>,
    interims: u8,
    /// How fast its client takes and sends.
    pace: Pace,
    /// Whether other requests went over the server's connection before.
    is_reused: bool,
    /// Whether any byte of the request went out.
    has_sent: bool,
    /// Whether TLS holds nothing back of it.
    is_flushed: bool,
    /// Whether the client did not take the last piece at once.
    is_slow: bool,
    /// Whether the client is waited for to take a piece, and what counts it where that is a large one.
    is_held_up: bool,
    large_left: Option<LargeLeft<'x>>,
    /// The same where the server does not take what the client has sent.
    large_left_up: Option<LargeLeft<'x>>,
    /// How long it was waited for in all, in milliseconds. While it is: when that would have begun, had it been at one go.
    held_up_ms: u32,
    /// Whether bytes came that belong to no answer.
    has_noise: bool,
    /// The client has sent more while it waited.
    has_next: bool,
    /// Whether the client's leaving is looked for.
    watches: bool,
    switches: bool,
    /// What the client has not taken yet.
    to_client: Vec<u8>,
    taken: usize,
    /// What is noted of it, where somebody wants to know.
    pub(super) record: Option<&'x mut Record>,
    /// Told when the answer begins, where somebody wants to know how long that took.
    pub(super) timer: Option<&'x Timer<'x>>,
}

/// What is special about an exchange; about most nothing is.
pub(super) struct Special<'x> {
    /// Where the request's body is, if it was read whole before.
    pub(super) store: Option<&'x mut Store>,
    /// Pages that stand in for what the server answers.
    pub(super) pages: &'x [Page],
    /// The status that the client sees, whatever the server says: this is such a page.
    pub(super) shown: Option<u16>,
    /// How the answer is kept until it has come whole.
    pub(super) hold: Option<Kept>,
    /// After which answers the request is sent again.
    pub(super) retry: Option<Again<'x>>,
}

/// The beginning of a head.
struct HalfHead {
    bytes: Vec<u8>,
    scan: Scan,
}

/// After which answers a request is sent again.
#[derive(Clone, Copy)]
pub(super) struct Again<'x> {
    pub(super) expression: &'x RetryExpression,
    /// How often it was sent, this time included.
    pub(super) attempts: u32,
    pub(super) method: &'x str,
    /// Who says whether one more may be sent again.
    pub(super) backend: &'x RunningBackend,
}

impl Again<'_> {
    /// Whether it is sent again after this status, or after none.
    pub(super) fn wants(&self, status: Option<u16>) -> bool {
        self.expression.holds(self.attempts, status.is_none(), status, self.method)
    }
}

/// An answer that is kept until it has come whole, as the client is to get it.
struct Hold {
    store: Store,
    /// The largest body, without what frames it.
    bytes_max: u64,
    is_whole: bool,
}

/// An answer whose head went out.
struct Down {
    body: Relay,
    status: u16,
    then: Then,
    reuse: Reuse,
}

/// How an exchange ended.
pub(super) enum End {
    /// The answer went out whole.
    Answered(Whole),
    /// Both sides speak another protocol now.
    Switched,
}

/// An answer that went out whole.
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) then: Then,
    /// The request came whole, too: the next bytes are another one.
    pub(super) is_complete: bool,
    /// Whether the server's connection may carry another request.
    pub(super) reuse: Reuse,
    /// Whether more has come from the client.
    pub(super) has_next: bool,
    /// How large the answer was.
    pub(super) extent: Extent,
}

/// How much of an answer may still be on its way when it has been written. One byte of those eight that are handed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Extent {
    /// None, however little the client takes at once: it is one segment with its head.
    Segment,
    /// What the client has no room for: networks take some ten segments at once (RFC 6928).
    Flight,
    /// Any part of it.
    Large,
}

impl Extent {
    /// Of an answer whose body has so many bytes.
    fn of(body_bytes: u64) -> Self {
        match body_bytes {
            0..=1_100 => Self::Segment,
            1_101..=14_000 => Self::Flight,
            _ => Self::Large,
        }
    }
}

/// Why an exchange did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing of an answer came.
    NoAnswer {
        error: Error,
        /// Not a byte of the request went out either.
        is_unsent: bool,
        /// The connection ended without a word: as one does that was kept open for too long.
        is_dead: bool,
    },
    /// The answer cannot be passed on, and nothing of it was.
    Refused(Error),
    /// The answer broke off after its head had gone out.
    Cut(Error),
    /// The client left.
    Gone,
}

impl Hold {
    /// Keeps a piece more of an answer of whose body so much has come.
    fn push(&mut self, pieces: &[&[u8]], came: u64) -> Result<(), Error> {
        if came > self.bytes_max {
            return Err(Error::TooLong);
        }
        let mut kept = pieces.iter().map(|piece| self.store.push(piece));
        kept.try_for_each(|kept| kept).map_err(|error| Error::NotKept(error.to_string()))
    }
}

impl<'x> Transfer<'x> {
    /// `upstream` comes with whether other requests went over it before; the waits are the answer's and the body's.
    pub(super) fn new(
        worker: &'x Worker,
        client: &'x mut Client,
        facts: &'x Facts,
        (response_ms, body_ms): (u64, u64),
        (server, is_reused): (&'x mut Upstream, bool),
        up: &'x mut Relay,
        to_server: &'x mut Vec<u8>,
    ) -> Self {
        Self {
            worker,
            client,
            facts,
            cookie: None,
            followers: &mut [],
            special: None,
            response_ms,
            body_ms,
            hold: None,
            server,
            up,
            to_server,
            sent: 0,
            server_broke: None,
            down: None,
            half_head: None,
            interims: 0,
            pace: Pace::begins(&worker.clock),
            is_reused,
            has_sent: false,
            is_flushed: false,
            is_slow: false,
            is_held_up: false,
            large_left: None,
            large_left_up: None,
            held_up_ms: 0,
            has_noise: false,
            has_next: false,
            watches: false,
            switches: false,
            to_client: Vec::new(),
            taken: 0,
            record: None,
            timer: None,
        }
    }

    /// Begins the first wait.
    pub(super) fn begin(&self) {
        self.note_progress();
    }

    /// Notes how much of both bodies went through.
    #[inline(never)]
    pub(super) fn note_moved(&mut self) {
        let Some(record) = &mut self.record else { return };
        record.received(self.up.moved().0);
        if let Some(down) = &self.down {
            let (came, went) = down.body.moved();
            record.moved(came, went);
        }
    }

    /// How long the client was waited for to take pieces of the answer, all waits together.
    pub(super) fn held_up_ms(&self) -> u32 {
        match self.is_held_up {
            true => self.since_ms(self.held_up_ms),
            false => self.held_up_ms,
        }
    }

    /// The client begins to be waited for, or is so no longer.
    #[cold]
    fn hold_up(&mut self, is_held_up: bool) {
        if self.is_held_up != is_held_up {
            self.is_held_up = is_held_up;
            let left = if is_held_up { self.to_client.len() - self.taken } else { 0 };
            self.large_left = self.worker.buffers.leave(left);
            self.held_up_ms = self.since_ms(self.held_up_ms);
        }
    }

    /// How long ago this was. Exact, for many short waits make a long one; and kept small, which is enough for a month.
    fn since_ms(&self, then_ms: u32) -> u32 {
        (self.worker.clock.exact_ms() as u32).wrapping_sub(then_ms)
    }

    /// The status that the client was told, where it was told any.
    pub(super) fn status(&self) -> Option<u16> {
        self.down.as_ref().map(|down| down.status)
    }

    /// Whether the request is to be sent again where nothing of an answer came.
    pub(super) fn wants_again_after_failure(&self) -> bool {
        self.retry().is_some_and(|again| again.wants(None))
    }

    fn retry(&self) -> Option<Again<'x>> {
        self.special.as_ref()?.retry
    }

    /// Where the request's body is, if it was read whole before.
    fn store(&mut self) -> Option<&mut Store> {
        self.special.as_mut()?.store.as_deref_mut()
    }

    /// The status that the client sees, whatever the server says.
    fn shown(&self) -> Option<u16> {
        self.special.as_ref()?.shown
    }

    /// Moves what can be moved.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Failure>> {
        self.poll_both(cx).map_err(|failure| match failure {
            // An interim answer is half on its way: no other one may stand in its middle.
            Failure::Refused(error) | Failure::NoAnswer { error, .. }
                if !self.to_client.is_empty() =>
            {
                Failure::Cut(error)
            }
            failure => failure,
        })
    }

    #[inline(always)]
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Result<End, Failure>> {
        if (!self.is_up_done() || self.watches)
            && let Poll::Ready(failure) = self.poll_up(cx)
        {
            return Poll::Ready(Err(failure));
        }
        if let Poll::Ready(end) = self.poll_down(cx) {
            return Poll::Ready(end);
        }
        if self.client.deadline.is_over(&self.worker.clock) {
            let limit_ms = self.whole_limit_ms();
            if self.watches || !self.is_up_done() || limit_ms <= WATCH_AFTER_MS {
                return Poll::Ready(Err(self.too_late()));
            }
            // The wait has become a long one: from now on the client's leaving is noticed at once.
            self.watches = true;
            self.client.deadline.extend(limit_ms - WATCH_AFTER_MS);
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Failure::Gone));
            }
        }
        if self.worker.is_crowded() && self.is_in_the_way() {
            return Poll::Ready(Err(self.broke(Error::SlowClient)));
        }
        if self.worker.is_cutting() {
            self.cut_off();
        }
        self.client.deadline.watch(cx);
        Poll::Pending
    }

    /// Whether it is to make room, now that somebody waits for a place. While its server is waited for no client is slow.
    #[cold]
    fn is_in_the_way(&mut self) -> bool {
        let moved = self.moved();
        if self.is_clients_turn() {
            return self.worker.is_too_slow(&mut self.pace, moved);
        }
        self.pace = Pace::from(&self.worker.clock, moved);
        false
    }

    /// The worker stops, and waits no longer: this was its last turn.
    #[cold]
    fn cut_off(&mut self) {
        self.note_moved();
        if self.down.is_some() && self.facts.version == Version::Http10 {
            self.client.reset_at_end();
        }
    }

    /// Whether it is the client that is waited for: to send, or to take.
    fn is_clients_turn(&self) -> bool {
        let is_sending = !self.up.is_done() && self.sent == self.to_server.len();
        is_sending || self.taken < self.to_client.len()
    }

    /// How much of both bodies the client has sent and taken.
    fn moved(&self) -> u64 {
        let left = (self.to_client.len() - self.taken) as u64;
        let down = self.down.as_ref().map_or(0, |down| down.body.moved().1);
        self.up.moved().0 + down.saturating_sub(left)
    }

    /// Whether the request has gone out whole.
    fn is_up_done(&self) -> bool {
        self.up.is_done() && self.sent == self.to_server.len() && self.is_flushed
    }

    /// How long the wait may take that this exchange is in.
    fn whole_limit_ms(&self) -> u64 {
        match self.down.is_none() && self.is_up_done() {
            true => self.response_ms,
            false => self.body_ms,
        }
    }

    /// The same, or how long it is waited before the client is looked for.
    fn limit_ms(&self) -> u64 {
        match self.is_up_done() && !self.watches {
            true => self.whole_limit_ms().min(WATCH_AFTER_MS),
            false => self.whole_limit_ms(),
        }
    }

    fn note_progress(&self) {
        self.client.deadline.set(&self.worker.clock, self.limit_ms());
    }

    fn too_late(&mut self) -> Failure {
        if self.taken < self.to_client.len() {
            // What the server says meanwhile is not looked at.
            return Failure::Cut(Error::SlowClient);
        }
        if self.down.is_some() {
            return self.broke(match self.is_clients_turn() {
                true => Error::SlowClient,
                false => Error::SlowServer("its answer came to a halt"),
            });
        }
        let no_answer = |error| Failure::NoAnswer { error, is_unsent: false, is_dead: false };
        match self.sent < self.to_server.len() {
            // Nothing was read from the client meanwhile, who would say so: it may be why its server waits.
            true if !self.up.is_done() && self.client.has_left() => Failure::Gone,
            true => no_answer(Error::SlowServer("it does not take the request")),
            false if self.half_head.is_some() && self.up.is_done() => {
                no_answer(Error::SlowServer("the head of its answer did not come whole in time"))
            }
            false if self.up.is_done() => no_answer(Error::SlowServer("no answer in time")),
            false => Failure::Refused(Error::SlowClient),
        }
    }
}
