//! A request before it is sent: read, looked up, led through its chain, and written for the server that was picked.

use std::borrow::Cow;
use std::sync::Arc;

use super::attempt::Attempt;
use super::chunked::BadChunk;
use super::collect::Wanted;
use super::connection::Client;
use super::course::{After, Course, Need, PageOf, Refusal, Stage, Stop};
use super::framing::Length;
use super::parse::{self, Lines};
use super::record;
use super::relay::{Relay, Sink};
use super::request::{Facts, Hop, Request};
use crate::balance::{Moment, sticky};
use crate::config::Sticky;
use crate::middleware::{Flow, Handler, Reply};
use crate::model::{Changes, Exchange, Sender, has_doubtful_dots};
use crate::proxy::error::Error;
use crate::proxy::worker::{WayIn, Worker, as_ms};
use crate::table::{Kept, Page, Route, RunningServer, Table, Tried};
use crate::telemetry::Record;

/// Where the chain let a request go.
enum Led {
    /// To its server.
    Through,
    /// Nowhere: a step answers it.
    Answered(Error),
    /// To a step that wants to know something first.
    Waiting(usize, Need),
}

impl Course<'_> {
    /// Reads the request, finds its route, leads it through its chain, picks a server, writes what that one gets to `out`, and
    /// puts the try where it is to stay. Asked again, it goes on where it stopped, and picks a server that was not tried.
    ///
    /// What a try needs of the table is `held`: an answer may last for days, and whole tables would last with it.
    pub(super) fn prepare<'h>(
        &mut self,
        table: &Table,
        held: &'h mut Option<Arc<Route>>,
        tried: &mut Tried,
        attempt: &mut Option<Attempt<'h>>,
    ) -> Result<(), Box<Stop>> {
        let worker = self.worker;
        self.out.clear();
        let span = self.tally.span();
        let client = &*self.client;
        let (way_in, inbox) = (&*client.way_in, &*client.inbox);
        let (head, mut lines) = (&inbox[span.start..span.end], Lines::new());
        let head = parse::request(head, &mut lines, worker.limits.head_lines);
        let head = head.map_err(|error| unread(error, inbox, span.start))?;
        let mut read = Request::read(head);
        // It stays where it was read: it is large.
        let request = match &mut read {
            Ok(request) => request,
            Err(error) => {
                let error = std::mem::replace(error, Error::Unknown);
                return Err(unread(error, inbox, span.start));
            }
        };
        // Rules and steps look at what the client asked for, in the place of a page too.
        let method = request.method;
        match (&self.page, &self.collected) {
            (Some(page), _) => request.ask_for_page(page.is_complete),
            (None, Some(collected)) => request.have_collected(collected.store.len()),
            (None, None) => {}
        }
        let (facts, end) = (request.facts, span.start + request.head_len());
        let refused = |error, route: Option<&Arc<Route>>, used, is_complete| {
            refusal(error, route, &facts, end + used, is_complete)
        };

        let mut exchange = exchange_of(client, request, method, self.tally.began_ms());
        let route = table.lookup(&exchange).map(|route| &*held.insert(Arc::clone(route)));
        let next_step = match self.stage {
            // Whoever has it prepared again says where it goes on.
            Stage::Fresh => Some((0, None)),
            _ => next_step(&mut self.stage, &mut self.changes, &mut self.record, route),
        };
        exchange.take_up(self.changes.take());
        self.tally.begin(way_in, request, route.map(|route| &**route));
        record::arrived(&mut self.record, &mut exchange, route);
        let has_waited = matches!(next_step, Some((_, Some(_))));
        let led = match next_step {
            None => Led::Through,
            Some((at, reply)) => lead(&mut exchange, way_in, route, at, reply),
        };
        if let Led::Waiting(step, need) = led {
            self.changes = exchange.take_changes();
            route.into_iter().for_each(|route| self.tally.stays_with(route));
            return Err(Box::new(Stop::Wait(step, need)));
        }
        if has_waited && matches!(led, Led::Through) && worker.table().revision != table.revision {
            match route {
                Some(route) => {
                    self.changes = exchange.take_changes();
                    self.stage = Stage::Through(Some(Arc::clone(route)));
                    return Err(Box::new(Stop::Outdated));
                }
                None if !self.has_started_over => {
                    // Its host may have come meanwhile: it goes through all steps, whatever those of a new frontend are.
                    self.has_started_over = true;
                    self.stage = Stage::Fresh;
                    self.record.iter_mut().for_each(|record| record.starts_over());
                    return Err(Box::new(Stop::Outdated));
                }
                None => {}
            }
        }
        let buffering = route.and_then(|route| route.backend.handling()?.buffering.as_ref());
        if let (Some(buffering), Some(route), Led::Through, None) =
            (buffering, route, &led, &self.collected)
            && facts.length != Length::None
        {
            self.changes = exchange.take_changes();
            self.tally.stays_with(route);
            self.stage = Stage::Through(Some(Arc::clone(route)));
            let wanted = wanted(worker, route, end, buffering.requests, &facts);
            return Err(Box::new(Stop::Collect(wanted, Arc::clone(route), facts)));
        }

        let page = self.page.and_then(|asked| turn_to_page(&mut exchange, route?, asked));
        if self.page.is_some() && page.is_none() {
            // It has gone meanwhile: the server of the frontend itself is not to be asked in its place.
            self.changes = exchange.take_changes();
            return Err(refused(Error::NoServer, route, 0, true));
        }
        let backend = page.map(|page| &page.backend).or(route.map(|route| &route.backend));
        let moment = Moment { now_ms: worker.clock.now_ms(), random: || fastrand::u64(..) };
        let server = match led {
            Led::Through => backend.and_then(|backend| backend.pick(&exchange, moment, tried)),
            _ => None,
        };
        let mut sets_cookie = false;
        if let (Some(route), Some(server)) = (route, server) {
            if let Some(record) = &mut self.record {
                record.asks(&mut exchange, server, page.is_some());
            }
            write(request, &exchange, client, route, server, &mut self.out);
            let sticky = backend.and_then(|backend| backend.sticky()).filter(|_| page.is_none());
            sets_cookie = sticky.is_some_and(|sticky| !knows(&exchange, sticky, server));
        }
        // Looked at first: most have none, and what was there before would be asked whether it has to be dropped.
        if let Some(changes) = exchange.take_changes() {
            self.changes = Some(changes);
        }
        let mut body = body_of(&facts);
        let (used, has_come) = match (self.page, &mut self.collected) {
            (Some(page), _) => (page.used - end, page.is_complete),
            (None, Some(collected)) => {
                collected.store.rewind();
                (collected.used - end, true)
            }
            (None, None) => {
                let rest = &inbox[end..];
                let used = body.feed(rest, &mut self.out);
                let bad =
                    |bad: BadChunk| refused(Error::BadRequest(bad.0), route, rest.len(), false);
                (used.map_err(bad)?, body.is_done())
            }
        };
        let (Led::Through, Some(route), Some(server)) = (&led, route, server) else {
            let error = match (led, route) {
                (Led::Answered(error), _) => error,
                (_, None) if table.is_partial => Error::Starting,
                (_, None) => Error::Unknown,
                (_, Some(_)) => Error::NoServer,
            };
            return Err(refused(error, route, used, has_come));
        };
        let is_choosy = buffering.is_some_and(|buffering| buffering.retry.is_some());
        let method = if is_choosy { method.into() } else { Box::default() };
        let used = end + used;
        *attempt =
            Some(Attempt { route, server, facts, sets_cookie, body, used, has_come, method });
        Ok(())
    }
}

/// A request as rules and steps see it.
#[inline(always)]
fn exchange_of<'e>(
    client: &'e Client,
    request: &'e Request<'e, 'e>,
    method: &'e str,
    began_ms: u64,
) -> Exchange<'e> {
    let (way_in, target, peer) = (&*client.way_in, &request.target, client.peer());
    let query = target.query().strip_prefix('?').unwrap_or_default();
    let path = (target.path(), query);
    let mut exchange =
        Exchange::of_host(&way_in.name, method, target.host.clone(), path, &request.lines);
    exchange.authority = target.authority;
    exchange.trusted = way_in.forwarder.trusted();
    exchange.sender = Sender {
        ip: peer.ip(),
        port: peer.port(),
        is_trusted: client.address().is_trusted(),
        is_tls: false,
        now_ms: began_ms,
        random: || fastrand::u64(..),
    };
    exchange
}

/// How the body that begins at `start` is to be read whole.
#[cold]
fn wanted(worker: &Worker, route: &Route, start: usize, kept: Kept, facts: &Facts) -> Wanted {
    let Facts { length, expects, .. } = *facts;
    let timeout = route.backend.handling().and_then(|handling| handling.timeouts.body);
    let body_ms = timeout.map_or(worker.limits.body_ms, as_ms);
    Wanted { start, length, expects, kept, body_ms }
}

/// Has a request ask for the page that is wanted, if the route in force has it.
fn turn_to_page<'t>(
    exchange: &mut Exchange<'_>,
    route: &'t Route,
    asked: PageOf,
) -> Option<&'t Page> {
    let page = route.pages.get(asked.place).filter(|page| page.is_for(asked.status))?;
    let (path, query) = page.target(asked.status);
    exchange.replace_path(path);
    exchange.change().query = Some(query);
    Some(page)
}

/// Writes the head that the server gets.
#[inline(always)]
fn write(
    request: &Request<'_, '_>,
    exchange: &Exchange<'_>,
    client: &Client,
    route: &Route,
    server: &RunningServer,
    out: &mut Vec<u8>,
) {
    let own_host;
    let host = match host_for(exchange, route) {
        Some(host) => host,
        None => {
            own_host = server.authority();
            &own_host
        }
    };
    let hop = Hop { forwarder: &client.way_in.forwarder, client: client.address(), host };
    request.write(exchange, &hop, out);
}

/// Whether the client comes back to this server already.
fn knows(exchange: &Exchange<'_>, sticky: &Sticky, server: &RunningServer) -> bool {
    let is_own = |value: &str| *value == *server.cookie_value;
    sticky::look_up(exchange.head, &sticky.cookie, is_own) == Some(true)
}

/// The body as it goes to the server, without what may follow its chunks: servers that make header lines of it would see what no
/// step has seen, and others leave it for the beginning of the next request (RFC 9112, section 7.1.2 lets us).
fn body_of(facts: &Facts) -> Relay {
    let sink = if facts.length == Length::Chunked { Sink::Chunked } else { Sink::Plain };
    Relay::new(facts.length, sink)
}

/// The step at which a request goes on that has waited, or was sent before; none where it is past all of them.
#[cold]
fn next_step(
    stage: &mut Stage,
    changes: &mut Option<Box<Changes>>,
    record: &mut Option<Box<Record>>,
    route: Option<&Arc<Route>>,
) -> Option<(usize, Option<Reply>)> {
    match std::mem::replace(stage, Stage::Through(None)) {
        Stage::Fresh => Some((0, None)),
        Stage::Told(told) => Some((told.0, Some(told.1))),
        Stage::Through(Some(went)) if !route.is_some_and(|route| went.has_chain_of(route)) => {
            // The host has got other steps meanwhile, which have not seen it. What the old ones made of it is nobody's.
            *changes = None;
            record.iter_mut().for_each(|record| record.starts_over());
            Some((0, None))
        }
        Stage::Through(_) => None,
    }
}

/// Leads a request through the steps of its entry point and of its frontend, from this one on, which may have wanted to know
/// something.
fn lead(
    exchange: &mut Exchange<'_>,
    way_in: &WayIn,
    route: Option<&Arc<Route>>,
    mut at: usize,
    mut reply: Option<Reply>,
) -> Led {
    let chain = route.map(|route| &*route.chain).unwrap_or_default();
    let step_at = |at: usize| -> Option<&Arc<dyn Handler>> {
        let of_entry = way_in.chain.len();
        if at < of_entry { way_in.chain.get(at) } else { chain.get(at - of_entry) }
    };
    while let Some(step) = step_at(at) {
        let flow = match reply.take() {
            None => step.on_request(exchange),
            Some(reply) => step.on_reply(exchange, reply),
        };
        match flow {
            Flow::Continue => at += 1,
            Flow::Answer(answer) => return Led::Answered(Error::AnsweredHere(answer)),
            Flow::Ask(ask) => return Led::Waiting(at, Need::Ask(exchange.client_ip(), ask)),
            Flow::Work(work) => {
                return Led::Waiting(at, Need::Work(exchange.client_ip(), work));
            }
        }
    }
    match &exchange.path {
        // What the door refuses is not let in by what a step makes of it (`/foo..%2fa` without `/foo`).
        Cow::Owned(path) if has_doubtful_dots(path) => Led::Answered(Error::BadRequest(
            "the path that the steps made holds dots that servers read in different ways",
        )),
        _ => Led::Through,
    }
}

/// The host that the server sees: the one that a step gave it, or the client's. None: its own address, where the frontend
/// wants that or nobody named a host.
fn host_for<'e>(exchange: &'e Exchange<'_>, route: &Route) -> Option<&'e str> {
    let given = exchange.changes().and_then(|changes| changes.host.as_deref());
    let passes = route.frontend.pass_host_header && !exchange.authority.is_empty();
    given.or(passes.then_some(exchange.authority))
}

/// No server gets it. `used` is how much of the inbox is its own.
#[cold]
fn refusal(
    error: Error,
    route: Option<&Arc<Route>>,
    facts: &Facts,
    used: usize,
    is_complete: bool,
) -> Box<Stop> {
    Box::new(Stop::Refused(Refusal {
        is_timed: is_complete,
        after: After::refusal(&error, facts, is_complete),
        error,
        route: route.cloned(),
        server: None,
        is_head: facts.is_head,
        used,
    }))
}

/// What cannot be read is refused, and whatever else came with it is not trusted.
#[cold]
fn unread(error: Error, inbox: &[u8], start: usize) -> Box<Stop> {
    let (route, server, used) = (None, None, inbox.len());
    let after = After::Linger;
    // It has no body in its answer, however little else of it can be read.
    let (is_head, is_timed) = (inbox[start..].starts_with(b"HEAD "), false);
    Box::new(Stop::Refused(Refusal { error, route, server, is_head, after, used, is_timed }))
}
