//! One request: where it goes, who gets it, and what is done when that fails.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::time::sleep;

use super::answer::{Edits, Then};
use super::chunked::BadChunk;
use super::collect::{Collected, NotRead, Wanted, collect};
use super::connection::Client;
use super::framing::Length;
use super::head::{self, Span, Version};
use super::luck;
use super::own::{self, Own, OwnLines};
use super::record;
use super::relay::{Relay, Sink};
use super::request::{Facts, Hop, Request};
use super::tally::{By, CLIENT_LEFT, Fault, Tally};
use super::timer::Timer;
use super::transfer::{Again, End, Failure, Special, Transfer};
use super::tunnel;
use crate::balance::{Moment, sticky};
use crate::config::Scheme;
use crate::live::ServerLive;
use crate::middleware::{Ask, Flow, Reply};
use crate::model::{Changes, Ended, Exchange, FrontendId, Response, Sender, ServerName};
use crate::proxy::error::{Error, is_ours};
use crate::proxy::upstream::{Place, Risk, Upstream};
use crate::proxy::worker::{Worker, as_ms};
use crate::table::{RETRIES_MAX, Route, RunningServer, Table, Tried};
use crate::telemetry::Record;

/// Before servers that did not answer are asked once more.
const AGAIN_PAUSE: Duration = Duration::from_millis(100);

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    /// Another request may come.
    Again,
    /// It ends.
    Close,
    /// It ends, and the client may still be sending.
    Linger,
}

/// A request on its way to one server.
struct Attempt<'t> {
    route: &'t Arc<Route>,
    server: &'t RunningServer,
    facts: Facts,
    /// Whether the answer tells the client to come back to this server.
    sets_cookie: bool,
    body: Relay,
    /// How much of the inbox is this request's.
    used: usize,
    /// Whether all of the request had come before it was sent on.
    has_come: bool,
    /// The method, where an expression decides what is sent again.
    method: Box<str>,
}

/// A request that no server answers.
struct Refusal {
    error: Error,
    route: Option<Arc<Route>>,
    /// Who was asked, where anybody was.
    server: Option<ServerName>,
    is_head: bool,
    after: After,
    used: usize,
}

/// What was decided about a request, from its head to its end: it outlives every wait and every try.
#[derive(Default)]
struct Course {
    /// What the chain made of it.
    changes: Option<Box<Changes>>,
    stage: Stage,
    /// Its body, where that was read whole.
    collected: Option<Box<Collected>>,
    /// The page that stands in for what came of it.
    page: Option<PageOf>,
    /// How often it was sent.
    sent: u32,
    tally: Tally,
    /// What is noted of it, where somebody wants to know.
    record: Option<Box<Record>>,
}

/// A page that stands in for what came of a request.
#[derive(Clone, Copy)]
struct PageOf {
    /// Its place among the pages of the route.
    place: usize,
    /// What the client sees.
    status: u16,
    /// How much of the inbox is the request's, and whether all of it has come.
    used: usize,
    is_complete: bool,
}

/// How far a request has come on its chain.
#[derive(Default)]
enum Stage {
    /// At its beginning.
    #[default]
    Fresh,
    /// At the step of this number, which wanted to know something: this is what came of it.
    Told(Box<(usize, Reply)>),
    /// Past it; this frontend's it was.
    Through(Option<FrontendId>),
}

/// Why a request does not go to a server now.
enum Stop {
    /// It never will.
    Refused(Refusal),
    /// The step of this number wants to know something first.
    Wait(usize, Need),
    /// Its body is to be read whole first.
    Collect(Wanted, Arc<Route>, Facts),
}

/// What a step wants to know.
enum Need {
    Ask(Box<Ask>),
    Work(Box<dyn FnOnce() -> bool + Send>),
}

/// How a request ended.
struct Done {
    after: After,
    /// How much of the inbox was this request's.
    used: usize,
    /// The status of the answer; none where the client left before.
    status: Option<u16>,
    is_network_error: bool,
    /// Whether the time it took says something of the servers.
    is_timed: bool,
}

impl Course {
    /// The client left before it was answered.
    #[cold]
    fn leave(&mut self, worker: &Worker, client: &Client, route: Option<&Route>) {
        let way_in = Rc::clone(&client.way_in);
        self.tally.answered(worker, &way_in, By::Us(route), CLIENT_LEFT);
        let fault = Fault { status: CLIENT_LEFT, error: None, server: None };
        self.tally.failed(worker, client, route, &fault);
        record::failed(&mut self.record, &"the client left");
    }
}

/// How a try ended that reached the client.
struct Ran {
    after: After,
    /// The status that the client was told; none where it left before.
    status: Option<u16>,
    /// Whether the server broke off.
    is_network_error: bool,
    /// Whether the time it took is the server's: the client did not hold it up.
    is_timed: bool,
}

/// A server did not answer.
struct Failed {
    error: Error,
    /// Whether another one may be asked.
    may_go_on: bool,
    /// Whether this one got nothing of the request.
    is_unsent: bool,
}

/// Answers one request. Every failure becomes an answer, and every answer is counted.
pub(super) async fn exchange(worker: &Worker, client: &mut Client, span: Span) -> After {
    let mut out = worker.buffers.take();
    let (tally, record) = (Tally::new(worker, span), record::begin(worker));
    let mut course = Course { tally, record, ..Course::default() };
    let done = match forward(worker, client, span, &mut out, &mut course).await {
        Ok(done) => done,
        Err(refusal) => {
            Box::pin(stand_in(worker, client, span, &mut out, &refusal, &mut course)).await
        }
    };
    if let Some(changes) = course.changes.as_mut().filter(|changes| !changes.followers.is_empty()) {
        let Done { status, is_network_error, is_timed, .. } = done;
        let ended_us = worker.clock.now_us();
        let (took_us, now_ms) =
            (ended_us.saturating_sub(course.tally.began_us()), as_now_ms(ended_us));
        let ended = Ended { status, is_network_error, is_timed, took_us, now_ms };
        changes.followers.iter_mut().rev().for_each(|follower| follower.on_end(&ended));
    }
    if let Some(record) = &course.record {
        let user = course.changes.as_ref().and_then(|changes| changes.user.as_deref());
        record::end(worker, client, span, record, (done.status, user));
    }
    worker.buffers.give_back(&mut out);
    // Most requests come alone.
    if done.used >= client.inbox.len() {
        worker.buffers.give_back(&mut client.inbox);
    } else {
        client.inbox.drain(..done.used);
    }
    done.after
}

/// Answers a request that no server answered: with the page that its frontend has for that, else in our own words.
async fn stand_in(
    worker: &Worker,
    client: &mut Client,
    span: Span,
    out: &mut Vec<u8>,
    refusal: &Refusal,
    course: &mut Course,
) -> Done {
    let status = own::status(&refusal.error);
    let pages = refusal.route.iter().flat_map(|route| &route.pages);
    let place = pages.into_iter().position(|page| page.is_for(status));
    // Whoever cannot be understood gets no page, and what a step answers has a meaning of its own.
    if let (Some(place), Some(route)) = (place, &refusal.route)
        && !own::ends_connection(&refusal.error)
        && !matches!(refusal.error, Error::AnsweredHere(_))
    {
        let is_complete = refusal.after != After::Linger;
        course.page = Some(PageOf { place, status, used: refusal.used, is_complete });
        course.stage = Stage::Through(Some(route.id.clone()));
        if let Ok(done) = forward(worker, client, span, out, course).await {
            let error = Some(&refusal.error);
            let fault = Fault { status, error, server: refusal.server.as_deref() };
            course.tally.failed(worker, client, Some(route), &fault);
            // Who follows the exchange learns what became of the request, not of the page.
            return Done { is_network_error: refusal.error.is_servers(), ..done };
        }
    }
    refuse(worker, client, refusal, course).await
}

/// As [`Clock::now_ms`](crate::proxy::clock::Clock::now_ms) counts.
pub(super) fn as_now_ms(now_us: u64) -> u64 {
    now_us / 1_000 + 1
}

async fn refuse(
    worker: &Worker,
    client: &mut Client,
    refusal: &Refusal,
    course: &mut Course,
) -> Done {
    let Refusal { error, after, used, is_head, .. } = refusal;
    let status = own::status(error);
    let route = refusal.route.as_deref();
    course.tally.answered(worker, &client.way_in, By::Us(route), status);
    let fault = Fault { status, error: Some(error), server: refusal.server.as_deref() };
    course.tally.failed(worker, client, route, &fault);
    if let Some(route) = route {
        match error {
            // Ours to mend.
            Error::NotKept(_) => tracing::warn!(frontend = %route.id, %error, "request failed"),
            _ => tracing::debug!(frontend = %route.id, %error, "request failed"),
        }
    }
    let then = match after {
        After::Again => Then::KeepAlive,
        After::Close | After::Linger => Then::Close,
    };
    let followers = course.changes.as_mut().map(|changes| &mut changes.followers);
    let edits = followers.filter(|followers| !followers.is_empty()).map(|followers| {
        let lines = OwnLines(error);
        Edits::of(Response::new(status, false, &lines), followers)
    });
    let own = Own { error, then, is_head: *is_head, edits: edits.as_ref() };
    record::refused(&mut course.record, &own);
    client.refuse(worker, &own).await;
    Done {
        after: *after,
        used: *used,
        status: Some(status),
        is_network_error: error.is_servers(),
        is_timed: !matches!(error, Error::Interrupted),
    }
}

/// Asks one server after another until one answers. Tells how much of the inbox was this request's.
///
/// Each is picked from the table in force then: a server that has left meanwhile is not asked.
async fn forward(
    worker: &Worker,
    client: &mut Client,
    span: Span,
    out: &mut Vec<u8>,
    course: &mut Course,
) -> Result<Done, Refusal> {
    let mut tried = Tried::default();
    let mut attempts = None;
    let (mut dials, mut retries) = (DIALS_MAX, 0);
    let (mut failed, mut has_paused) = (None::<Box<Refusal>>, false);
    let mut has_waited = course.page.is_some();
    let mut table = worker.table();
    loop {
        let begun = begin(worker, client, span, &table, &mut tried, out, course);
        let mut attempt = match (begun, failed.take()) {
            (Ok(attempt), _) => attempt,
            (Err(Stop::Wait(step, need)), _) => {
                // The table stays the same: the step belongs to it.
                let reply = Box::pin(reply_to(worker, client, need)).await;
                if reply.is_none() {
                    course.leave(worker, client, None);
                }
                let Some(reply) = reply else { return Ok(Done::gone(client.inbox.len())) };
                course.stage = Stage::Told(Box::new((step, reply)));
                has_waited = true;
                continue;
            }
            (Err(Stop::Collect(wanted, route, facts)), _) => {
                match Box::pin(collect(worker, client, wanted)).await {
                    Ok(collected) => {
                        course.collected = Some(Box::new(collected));
                        has_waited = true;
                    }
                    Err(NotRead::Refused(error)) => {
                        let (after, route) = (After::Linger, Some(route));
                        let (is_head, used) = (facts.is_head, client.inbox.len());
                        let server = None;
                        return Err(Refusal { error, route, server, is_head, after, used });
                    }
                    Err(NotRead::Gone) => {
                        course.leave(worker, client, Some(&route));
                        return Ok(Done::gone(client.inbox.len()));
                    }
                }
                continue;
            }
            (Err(Stop::Refused(refusal)), None) => return Err(refusal),
            // All were asked. One that is just starting, or whose address has just moved to it, may answer in a moment.
            // The only one, when it was too slow, would only take the same time again.
            (Err(_), Some(last))
                if attempts != Some(0)
                    && !has_paused
                    && (tried.count() > 1 || !matches!(last.error, Error::SlowServer(_))) =>
            {
                Box::pin(sleep(AGAIN_PAUSE)).await;
                // Another frontend may have the host by then: its chain has not seen the request.
                course.stage = Stage::Through(last.route.as_ref().map(|route| route.id.clone()));
                (tried, failed) = (Tried::default(), Some(last));
                has_paused = true;
                table = worker.table();
                continue;
            }
            // Nobody is left: what went wrong with the others is the better reason.
            (Err(_), Some(last)) => return Err(*last),
        };
        let left = attempts.get_or_insert_with(|| attempts_max(worker, attempt.route));
        if has_waited || course.sent > 0 {
            course.tally.asks(worker);
        }
        if course.sent > 0 && course.page.is_none() {
            course.tally.asks_again(attempt.route);
        }
        course.sent += 1;
        let run = run(worker, client, &mut attempt, out, course).await;
        let error = run.as_ref().err().map(|failed| &failed.error);
        record::tried(&mut course.record, &attempt.body, error);
        if course.page.is_none() {
            let ended = run.as_ref().map(|ran| ran.status).map_err(|failed| &failed.error);
            luck::note(worker, attempt.route, attempt.server, ended);
        }
        let Failed { error, may_go_on, is_unsent } = match run {
            Ok(Ran { after, status, is_network_error, is_timed }) => {
                if retries > 0 && status.is_some() {
                    attempt.route.backend.retried_well(retries);
                }
                let used = attempt.used;
                return Ok(Done { after, used, status, is_network_error, is_timed });
            }
            Err(failed) => failed,
        };
        // A connection that was refused costs nobody anything; what was sent counts.
        if is_unsent {
            dials -= 1;
        } else {
            *left = left.saturating_sub(1);
        }
        let is_again = matches!(error, Error::Again(_));
        let refusal = Refusal {
            after: after_refusal(
                &error,
                &attempt.facts,
                attempt.has_come || attempt.body.is_done(),
            ),
            error,
            route: Some(Arc::clone(attempt.route)),
            server: Some(Arc::clone(&attempt.server.name)),
            is_head: attempt.facts.is_head,
            used: attempt.used,
        };
        let may_go_on = may_go_on && *left > 0 && dials > 0;
        if !may_go_on || !(is_unsent || attempt.route.backend.may_retry(worker.clock.now_ms())) {
            return Err(refusal);
        }
        retries += u64::from(!is_unsent);
        tracing::debug!(
            frontend = %attempt.route.id, server = %attempt.server.name, error = %refusal.error,
            "no answer; another server is asked"
        );
        if is_again && tried.count() >= attempt.route.backend.servers().len() {
            // It answers, only not well: it may be asked again.
            tried = Tried::default();
        }
        course.stage = Stage::Through(Some(attempt.route.id.clone()));
        failed = Some(Box::new(refusal));
        table = worker.table();
    }
}

/// Servers that one request finds shut before it gives up.
const DIALS_MAX: usize = 16;

/// How often a request of this frontend may be sent.
fn attempts_max(worker: &Worker, route: &Route) -> usize {
    let handling = route.backend.handling();
    let own = handling.and_then(|handling| handling.attempts_max);
    let has_expression = handling.and_then(|handling| handling.buffering.as_ref()?.retry.as_ref());
    let usual = worker.state.settings.limits.attempts_max;
    own.unwrap_or(if has_expression.is_some() { RETRIES_MAX } else { usual }).max(1)
}

impl Done {
    /// The client left.
    fn gone(used: usize) -> Self {
        let after = After::Close;
        Self { after, used, status: None, is_network_error: false, is_timed: false }
    }
}

/// Finds out what a step wants to know. None where the client leaves: nobody works for it any longer.
async fn reply_to(worker: &Worker, client: &Client, need: Need) -> Option<Reply> {
    let reply = async {
        match need {
            Need::Ask(ask) => worker.asker.ask(*ask).await,
            Need::Work(work) => worker.asker.work(work).await,
        }
    };
    let mut reply = pin!(reply);
    let mut has_next = false;
    poll_fn(|cx| {
        if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
            return Poll::Ready(Some(reply));
        }
        let mut byte = [0];
        // The next request, or the body, is all that it can send meanwhile.
        match client.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(1..)) => has_next = true,
            Poll::Ready(_) if !has_next => return Poll::Ready(None),
            _ => {}
        }
        Poll::Pending
    })
    .await
}

/// What becomes of the connection when one of our own answers goes out.
fn after_refusal(error: &Error, facts: &Facts, is_complete: bool) -> After {
    match (own::ends_connection(error) || !is_complete, facts.is_kept_alive) {
        // What follows may still be this request.
        (true, _) => After::Linger,
        (false, true) => After::Again,
        (false, false) => After::Close,
    }
}

/// Reads the request, finds its route, picks a server, and writes what that one gets to `out`.
fn begin<'t>(
    worker: &Worker,
    client: &mut Client,
    span: Span,
    table: &'t Table,
    tried: &mut Tried,
    out: &mut Vec<u8>,
    course: &mut Course,
) -> Result<Attempt<'t>, Stop> {
    out.clear();
    let way_in = Rc::clone(&client.way_in);
    let peer = client.peer();
    let (address, inbox) = client.address_and_inbox();
    let mut slots = head::slots();
    let slots = &mut slots[..worker.limits.head_lines];
    let request = head::request(&inbox[span.start..span.end], slots).and_then(Request::read);
    let request = request.map_err(|error| {
        Stop::Refused(Refusal {
            error,
            route: None,
            server: None,
            is_head: false,
            after: After::Linger,
            used: inbox.len(),
        })
    })?;
    let method = request.method;
    let request = match (&course.page, &course.collected) {
        (Some(_), _) => request.for_page(),
        (None, Some(collected)) => request.collected(collected.store.len()),
        (None, None) => request,
    };
    let mut facts = request.facts;
    if course.page.is_some_and(|page| !page.is_complete) {
        // What the client still sends is not another request.
        facts.is_kept_alive = false;
    }
    let end = span.start + request.head_len();
    let rest = &inbox[end..];
    let refused = |error, route: Option<&Arc<Route>>, used, is_complete| {
        Stop::Refused(Refusal {
            after: after_refusal(&error, &facts, is_complete),
            error,
            route: route.cloned(),
            server: None,
            is_head: facts.is_head,
            used: end + used,
        })
    };

    let target = &request.target;
    let host = target.host.clone();
    let query = target.query().strip_prefix('?').unwrap_or_default();
    let of_host = Exchange::of_host;
    let mut exchange = of_host(&way_in.name, method, host, (target.path(), query), &request);
    exchange.authority = target.authority;
    exchange.trusted = way_in.forwarder.trusted();
    exchange.sender = Sender {
        ip: peer.ip(),
        port: peer.port(),
        is_trusted: way_in.forwarder.trusts(peer.ip()),
        is_tls: false,
        now_ms: course.tally.began_ms(),
        random: || fastrand::u64(..),
    };
    let mut route = table.lookup(&exchange);
    let moment = Moment { now_ms: worker.clock.now_ms(), random: || fastrand::u64(..) };
    let mut own_answer = None;
    let stage = std::mem::replace(&mut course.stage, Stage::Through(None));
    exchange = exchange.changed(course.changes.take());
    course.tally.begin(&way_in, &request, route.map(|route| &**route));
    record::arrived(&mut course.record, &mut exchange, route);
    let chain = route.map(|route| &*route.chain).unwrap_or_default();
    let step_at = |at: usize| {
        let of_entry = way_in.chain.len();
        if at < of_entry { way_in.chain.get(at) } else { chain.get(at - of_entry) }
    };
    let (mut at, mut reply) = match stage {
        Stage::Fresh => (0, None),
        Stage::Told(told) => (told.0, Some(told.1)),
        Stage::Through(went) => {
            // Another frontend's chain has not seen it.
            route = route.filter(|route| went.is_none_or(|went| went == route.id));
            (usize::MAX, None)
        }
    };
    while let Some(step) = step_at(at) {
        let flow = match reply.take() {
            None => step.on_request(&mut exchange),
            Some(reply) => step.on_reply(&mut exchange, reply),
        };
        let need = match flow {
            Flow::Continue => {
                at += 1;
                continue;
            }
            Flow::Answer(answer) => {
                own_answer = Some(answer);
                break;
            }
            Flow::Ask(ask) => Need::Ask(ask),
            Flow::Work(work) => Need::Work(work),
        };
        course.changes = exchange.into_changes();
        return Err(Stop::Wait(at, need));
    }
    let buffering = route.and_then(|route| route.backend.handling()?.buffering.as_ref());
    if let (Some(buffering), Some(route), None, None) =
        (buffering, route, &own_answer, &course.collected)
        && facts.length != Length::None
    {
        course.changes = exchange.into_changes();
        let (kept, expects) = (buffering.requests, facts.expects);
        let wanted = Wanted { start: end, length: facts.length, expects, kept };
        return Err(Stop::Collect(wanted, Arc::clone(route), facts));
    }
    let page = course.page.and_then(|asked| {
        let page = route?.pages.get(asked.place)?;
        page.is_for(asked.status).then_some((asked, page))
    });
    if course.page.is_some() && page.is_none() {
        // It has gone meanwhile: the server of the frontend itself is not to be asked in its place.
        course.changes = exchange.into_changes();
        return Err(refused(Error::NoServer, route, 0, true));
    }
    if let Some((PageOf { status, .. }, page)) = page {
        let (path, query) = page.target(status);
        exchange.replace_path(path);
        exchange.change().query = Some(query);
    }
    let backend = match page {
        Some((_, page)) => Some(&page.backend),
        None => route.map(|route| &route.backend),
    };
    let server = match own_answer {
        None => backend.and_then(|backend| backend.pick(&exchange, moment, tried)),
        Some(_) => None,
    };
    if let (Some(route), Some(server)) = (route, server) {
        if let Some(record) = &mut course.record {
            record.asks(&mut exchange, server);
        }
        // The server sees the host that a step gave it, the client's, or its own address where it wants that, or there is
        // none.
        let own_host;
        let given = exchange.changes().and_then(|changes| changes.host.as_deref());
        let passed = route.frontend.pass_host_header && !target.authority.is_empty();
        let host = match given.or(passed.then_some(target.authority)) {
            Some(host) => host,
            None => {
                own_host = match &server.host {
                    None => server.addr.to_string(),
                    Some(host) => format!("{host}:{}", server.addr.port()),
                };
                &own_host
            }
        };
        let hop = Hop { forwarder: &way_in.forwarder, client: address, host };
        request.write(&exchange, &hop, out);
    }
    let sticky = backend.and_then(|backend| backend.sticky()).filter(|_| page.is_none());
    let sets_cookie = sticky.zip(server).is_some_and(|(sticky, server)| {
        let line = exchange.head.header("cookie");
        let has = line.and_then(|line| sticky::find(line, &sticky.cookie));
        has != Some(&server.cookie_value)
    });
    let has_expression = buffering.is_some_and(|buffering| buffering.retry.is_some());
    let method = if has_expression { method.into() } else { Box::default() };
    course.changes = exchange.into_changes();
    let sink = if facts.length == Length::Chunked { Sink::Chunked } else { Sink::Plain };
    let mut body = Relay::new(facts.length, sink);
    if course.changes.as_ref().is_some_and(|changes| !changes.removed.is_empty()) {
        // What may not stand in the head may not come behind the body either.
        body = body.without_trailers();
    }
    let (used, has_come) = match (course.page, &mut course.collected) {
        (Some(page), _) => (page.used - end, page.is_complete),
        (None, Some(collected)) => {
            collected.store.rewind();
            (collected.used - end, true)
        }
        (None, None) => {
            let used = body.feed(rest, out);
            let bad = |bad: BadChunk| refused(Error::BadRequest(bad.0), route, rest.len(), false);
            (used.map_err(bad)?, body.is_done())
        }
    };
    if let Some(answer) = own_answer {
        return Err(refused(Error::AnsweredHere(answer), route, used, has_come));
    }
    match (route, server) {
        (None, _) => Err(refused(Error::Unknown, None, used, has_come)),
        (_, None) => Err(refused(Error::NoServer, route, used, has_come)),
        (Some(route), Some(server)) => {
            let used = end + used;
            Ok(Attempt { route, server, facts, sets_cookie, body, used, has_come, method })
        }
    }
}

/// Sends a request to one server, and its answer to the client.
async fn run(
    worker: &Worker,
    client: &mut Client,
    attempt: &mut Attempt<'_>,
    out: &mut Vec<u8>,
    course: &mut Course,
) -> Result<Ran, Failed> {
    let Attempt { route, server, facts, .. } = *attempt;
    let host = server.host.as_ref().filter(|_| server.scheme == Scheme::Https);
    let place = Place { addr: server.addr, scheme: server.scheme, host: host.cloned() };
    // Without a body on its way the request can be sent again as it is (RFC 9110, section 9.2.2); one that was kept can be
    // sent again from the start.
    let is_stored = course.collected.is_some() && course.page.is_none();
    let may_resend = facts.is_idempotent && attempt.body.is_done();
    let may_repeat = may_resend || (facts.is_idempotent && is_stored);
    let risk = if may_resend { Risk::Repeatable } else { Risk::Once };
    let cookie = route.backend.sticky().filter(|_| attempt.sets_cookie);
    let page = course.page;
    let handling = route.backend.handling().filter(|_| page.is_none());
    let timeouts = handling.map(|handling| handling.timeouts).unwrap_or_default();
    let limits = &worker.limits;
    let again = handling.and_then(|handling| handling.buffering.as_ref()?.retry.as_ref());
    let again = again.filter(|_| is_stored || attempt.body.is_done()).map(|expression| Again {
        expression,
        attempts: course.sent,
        method: &attempt.method,
    });
    let (way_in, by) = (Rc::clone(&client.way_in), By::Server(route, server));
    let failed = |status, error| Fault { status, error, server: Some(&server.name) };
    let cookie = cookie.map(|sticky| sticky::set_cookie(sticky, &server.cookie_value));
    let mut guard = Guard::begin(&server.live);
    let is_timed = route.backend.is_timed() && attempt.body.is_done();
    let timer = is_timed.then(|| Timer::start(&server.live, &worker.clock));
    let mut pooled = worker.pool.take(&place, risk, worker.clock.now_ms());
    loop {
        let is_reused = pooled.is_some();
        let upstream = match pooled.take() {
            Some(upstream) => upstream,
            None => {
                let wait_ms = timeouts.connect.map_or(limits.connect_ms, as_ms);
                match Box::pin(dial(worker, client, &place, wait_ms)).await {
                    Ok(upstream) => upstream,
                    Err(error) => {
                        if error.is_servers() {
                            guard.fail();
                            server.live.refused(worker.clock.now_ms());
                        }
                        return Err(Failed { error, may_go_on: true, is_unsent: true });
                    }
                }
            }
        };
        let special = Special {
            response_ms: timeouts.response.map_or(limits.response_ms, as_ms),
            body_ms: timeouts.body.map_or(limits.body_ms, as_ms),
            store: match is_stored {
                true => course.collected.as_mut().map(|collected| &mut collected.store),
                false => None,
            },
            pages: if page.is_none() { &route.pages } else { &[] },
            shown: page.map(|page| page.status),
            hold: handling.and_then(|handling| handling.buffering.as_ref()?.answers),
            retry: again,
        };
        let followers = course.changes.as_mut().map(|changes| &mut *changes.followers);
        let mut transfer = Transfer::new(
            worker,
            client,
            facts,
            cookie.as_deref(),
            followers.unwrap_or_default(),
            special,
            (upstream, is_reused),
            &mut attempt.body,
            out,
        );
        transfer.record = course.record.as_deref_mut();
        transfer.timer = timer.as_ref();
        let end = poll_fn(|cx| transfer.poll(cx)).await;
        transfer.note_moved();
        match end {
            Ok(End::Answered { status, then, is_complete, is_reusable, has_next }) => {
                let upstream = transfer.into_server();
                if is_reusable {
                    worker.pool.keep(&place, upstream, worker.clock.now_ms());
                }
                course.tally.answered(worker, &way_in, by, status);
                if status >= 500 && page.is_none() {
                    guard.fail();
                    course.tally.failed(worker, client, Some(route), &failed(status, None));
                }
                let is_complete = is_complete && page.is_none_or(|page| page.is_complete);
                let after = match (then, is_complete) {
                    (Then::KeepAlive, true) => After::Again,
                    (Then::Close, true) if !has_next => After::Close,
                    _ => After::Linger,
                };
                let is_timed = attempt.has_come;
                return Ok(Ran { after, status: Some(status), is_network_error: false, is_timed });
            }
            Ok(End::Switched) => {
                let mut upstream = transfer.into_server();
                course.tally.answered(worker, &way_in, by, 101);
                let early = client.inbox.split_off(attempt.used);
                // However it ends, it has ended: both sides are closed here.
                let stream = &mut client.stream;
                let _ = Box::pin(tunnel::join(stream, &mut upstream, early, &worker.buffers)).await;
                let (after, status) = (After::Close, Some(101));
                return Ok(Ran { after, status, is_network_error: false, is_timed: false });
            }
            // A kept-alive connection turned out to be dead (RFC 9112, section 9.3.1).
            Err(Failure::NoAnswer { is_unsent, is_dead: true, .. })
                if may_resend || (is_unsent && !is_stored) => {}
            Err(Failure::NoAnswer { error, is_unsent, .. }) => {
                guard.fail();
                let is_asked_for = again.is_some_and(|again| again.wants(None));
                let may_go_on = is_unsent || may_repeat || is_asked_for;
                return Err(Failed { error, may_go_on, is_unsent });
            }
            Err(Failure::Refused(error)) => {
                if error.is_servers()
                    || matches!(error, Error::Replaced(500..) | Error::Again(500..))
                {
                    guard.fail();
                }
                // Nothing of an answer has gone out.
                let may_go_on = match error {
                    Error::Again(_) => true,
                    // Asked again it would be as long.
                    Error::Replaced(_) | Error::TooLong => false,
                    _ => error.is_servers() && may_repeat,
                };
                return Err(Failed { error, may_go_on, is_unsent: false });
            }
            Err(Failure::Cut(error)) => {
                let status = transfer.status().unwrap_or(502);
                course.tally.answered(worker, &way_in, by, status);
                course.tally.failed(worker, client, Some(route), &failed(status, Some(&error)));
                if error.is_servers() {
                    guard.fail();
                }
                record::failed(&mut course.record, &error);
                tracing::debug!(frontend = %route.id, server = %server.name, %error, "answer cut");
                if facts.version == Version::Http10 {
                    // The end of the connection may be the end of the body: a reset says that it is not.
                    let _ = SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
                }
                let is_network_error = error.is_servers();
                let (after, status) = (After::Close, Some(status));
                return Ok(Ran { after, status, is_network_error, is_timed: false });
            }
            Err(Failure::Gone) => {
                let status = transfer.status();
                course.tally.answered(worker, &way_in, by, status.unwrap_or(CLIENT_LEFT));
                if status.is_none() {
                    course.tally.failed(worker, client, Some(route), &failed(CLIENT_LEFT, None));
                }
                record::failed(&mut course.record, &"the client left");
                let after = After::Close;
                return Ok(Ran { after, status: None, is_network_error: false, is_timed: false });
            }
        }
    }
}

/// Connects to a server.
async fn dial(
    worker: &Worker,
    client: &Client,
    place: &Place,
    wait_ms: u64,
) -> Result<Upstream, Error> {
    client.deadline.set(&worker.clock, wait_ms);
    let mut dial = pin!(worker.pool.dial(place));
    poll_fn(|cx| match dial.as_mut().poll(cx) {
        Poll::Ready(Ok(upstream)) => Poll::Ready(Ok(upstream)),
        Poll::Ready(Err(error)) if is_ours(&error) => {
            Poll::Ready(Err(Error::NoMeans(error.to_string())))
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(Error::Unreachable(error.to_string()))),
        Poll::Pending if client.deadline.is_over(&worker.clock) => {
            Poll::Ready(Err(Error::SlowServer("it did not take the connection")))
        }
        Poll::Pending => {
            client.deadline.watch(cx);
            Poll::Pending
        }
    })
    .await
}

/// Counts one request as under way at a server, until it is dropped.
struct Guard<'t> {
    server: &'t ServerLive,
    is_failed: bool,
}

impl<'t> Guard<'t> {
    fn begin(server: &'t ServerLive) -> Self {
        server.begin();
        Self { server, is_failed: false }
    }

    /// It went wrong: a connection that broke, or a 5xx answer.
    fn fail(&mut self) {
        self.is_failed = true;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.server.end(self.is_failed);
    }
}
