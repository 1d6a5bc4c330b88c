//! One request: where it goes, who gets it, and what is done when that fails.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use super::attempt::{Attempt, Failed, Odd, Ran};
use super::collect::{NotRead, Wanted, collect};
use super::connection::Client;
use super::course::{After, Course, Done, Need, Refusal, Stage, Stop};
use super::head::Span;
use super::luck;
use super::record;
use super::request::Facts;
use crate::model::Ended;
use crate::proxy::buffers::Buffers;
use crate::proxy::clock::{Deadline, us_as_ms};
use crate::proxy::error::Error;
use crate::proxy::worker::Worker;
use crate::table::{RETRIES_MAX, Route, Tried};

/// Before servers that did not answer are asked once more.
const AGAIN_PAUSE: Duration = Duration::from_millis(100);

/// Servers that one request finds shut before it gives up.
const DIALS_MAX: u32 = 16;

/// Answers one request. Every failure becomes an answer, and every answer is counted; one that had begun and is cut off at a stop is
/// told to the access log only. Gives the client back.
pub(super) async fn exchange<'c>(
    worker: &'c Worker,
    client: &'c mut Client,
    span: Span,
) -> (After, &'c mut Client) {
    let deadline = client.deadline.clone();
    client.is_answered = false;
    let mut course = Course::new(worker, client, span);
    let done = {
        // Made where it stays: it is most of what an exchange is.
        let answer = pin!(course.answer());
        until_cut(worker, &deadline, answer).await
    };
    let done = done.unwrap_or_else(|| course.cut_off());
    course.end(&done);
    (done.after, course.client)
}

/// What comes of a future; none where the worker stops meanwhile and waits no longer. Whoever waits is woken then by way of
/// the connection's deadline.
fn until_cut<T>(
    worker: &Worker,
    deadline: &Deadline,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Option<T>> {
    poll_fn(move |cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if worker.is_cutting() => Poll::Ready(None),
        Poll::Pending => {
            deadline.watch(cx);
            Poll::Pending
        }
    })
}

/// What was tried for one request so far.
#[derive(Default)]
struct Trials {
    tried: Tried,
    /// How often it may still be sent, once that is known.
    attempts: Option<u32>,
    /// How many servers were shut.
    dials: u32,
    /// How often it was sent again.
    retries: u32,
    /// How the last try failed.
    failed: Option<Box<Refusal>>,
    has_paused: bool,
    has_waited: bool,
    /// Another table is in force than the one that it was prepared with.
    is_outdated: bool,
}

impl Course<'_> {
    /// Has a server answer, or answers for them.
    async fn answer(&mut self) -> Done {
        match self.forward().await {
            Ok(done) => done,
            Err(refusal) => Box::pin(self.stand_in(&refusal)).await,
        }
    }

    /// Asks one server after another until one answers.
    ///
    /// Each is picked from the table in force then: a server that has left meanwhile is not asked. The steps of the chain are gone
    /// through once, and anew where they have changed.
    pub(super) async fn forward(&mut self) -> Result<Done, Box<Refusal>> {
        let worker = self.worker;
        let mut trials = Trials { has_waited: self.page.is_some(), ..Trials::default() };
        let mut table = worker.table();
        loop {
            if trials.is_outdated || matches!(self.stage, Stage::Through(Some(_))) {
                table = worker.table();
                trials.is_outdated = false;
            }
            let (mut held, mut attempt) = (None, None);
            // What a `match` looks at would take its room for as long as an arm waits.
            let stop = self.prepare(&table, &mut held, &mut trials.tried, &mut attempt).err();
            if let Some(stop) = stop
                && let Some(done) = Box::pin(self.wait(*stop, &mut trials)).await?
            {
                return Ok(done);
            }
            let Some(attempt) = &mut attempt else { continue };
            drop(table);
            trials.failed = None;
            let is_asked_again = self.sent > 0 || trials.dials > 0;
            if trials.has_waited || is_asked_again {
                self.tally.asks(worker);
            }
            if is_asked_again && self.page.is_none() {
                self.tally.asks_again(attempt.route);
            }
            self.sent += 1;
            let run = self.run(attempt).await;
            self.note(attempt, &run);
            match run {
                Ok(ran) => {
                    let done = trials.won(attempt, &ran);
                    if let Some(odd) = ran.odd
                        && let Odd::Switched(switched) = *odd
                    {
                        // It needs nothing of its route.
                        drop(held);
                        Box::pin(self.tunnel(switched)).await;
                    }
                    return Ok(done);
                }
                Err(failed) => {
                    self.tally.stays_with(attempt.route);
                    self.sent -= u32::from(failed.is_unsent);
                    let refusal = trials.lost(worker, attempt, failed)?;
                    self.stage = Stage::Through(Some(Arc::clone(attempt.route)));
                    trials.failed = Some(refusal);
                    table = worker.table();
                }
            }
        }
    }

    /// Tells those who want to know how a try ended.
    fn note(&mut self, attempt: &Attempt<'_>, run: &Result<Ran, Failed>) {
        if self.record.is_some() {
            record::received(&mut self.record, &attempt.body);
            if !run.as_ref().is_ok_and(Ran::is_switched) {
                let error = run.as_ref().map_err(|failed| &failed.error).err();
                record::tried(&mut self.record, error);
            }
        }
        if self.page.is_none() {
            let asked_ms = self.tally.asked_ms();
            luck::note(self.worker, attempt.route, attempt.server, asked_ms, run);
        }
    }

    /// Does what the request waits for, or gives up. Some: it has ended.
    async fn wait(
        &mut self,
        stop: Stop,
        trials: &mut Trials,
    ) -> Result<Option<Done>, Box<Refusal>> {
        let last = trials.failed.take();
        let refusal = match stop {
            Stop::Wait(step, need) => {
                trials.has_waited = true;
                return Ok(self.learn(step, need).await);
            }
            Stop::Collect(wanted, route, facts) => {
                trials.has_waited = true;
                return self.collect(wanted, route, &facts).await;
            }
            Stop::Outdated => {
                trials.is_outdated = true;
                return Ok(None);
            }
            Stop::Refused(refusal) => refusal,
        };
        let Some(last) = last else { return Err(Box::new(refusal)) };
        if matches!(refusal.error, Error::AnsweredHere(_)) {
            // The steps that its frontend has by now.
            return Err(Box::new(refusal));
        }
        if matches!(last.error, Error::Again(_)) && trials.tried.count() > 0 {
            // They answer, only not well: they may be asked again.
            self.stage = Stage::Through(last.route.clone());
            (trials.tried, trials.failed) = (Tried::default(), Some(last));
            return Ok(None);
        }
        // All were asked. One that is just starting, or whose address has just moved to it, may answer in a moment.
        // The only one, when it was too slow, would only take the same time again.
        let is_worth_it = trials.tried.count() > 1 || !matches!(last.error, Error::SlowServer(_));
        if trials.attempts == Some(0) || trials.has_paused || !is_worth_it {
            // Nobody is left: what went wrong with the others is the better reason.
            return Err(last);
        }
        sleep(AGAIN_PAUSE).await;
        self.stage = Stage::Through(last.route.clone());
        (trials.tried, trials.failed) = (Tried::default(), Some(last));
        trials.has_paused = true;
        Ok(None)
    }

    /// Finds out what a step wants to know. Some: the client left meanwhile.
    async fn learn(&mut self, step: usize, need: Need) -> Option<Done> {
        let worker = self.worker;
        let reply = async {
            match need {
                Need::Ask(client, ask) => worker.asker.ask(client, *ask).await,
                Need::Work(client, work) => worker.desk.work(client, work).await,
            }
        };
        // Both have bounds of their own. Nobody works for a client that has left.
        match self.client.wait_for(worker, u64::MAX, true, reply).await {
            Ok(reply) => {
                self.stage = Stage::Told(Box::new((step, reply)));
                None
            }
            Err(_) => Some(self.left()),
        }
    }

    /// Reads the body whole. Some: the client left meanwhile.
    async fn collect(
        &mut self,
        wanted: Wanted,
        route: Arc<Route>,
        facts: &Facts,
    ) -> Result<Option<Done>, Box<Refusal>> {
        match collect(self.worker, self.client, wanted).await {
            Ok(collected) => {
                self.collected = Some(Box::new(collected));
                Ok(None)
            }
            Err(NotRead::Refused(error)) => {
                let (after, route, server) = (After::Linger, Some(route), None);
                let (is_head, used) = (facts.is_head, self.client.inbox.len());
                let is_timed = false;
                Err(Box::new(Refusal { error, route, server, is_head, after, used, is_timed }))
            }
            Err(NotRead::Gone) => Ok(Some(self.left())),
        }
    }

    /// The request has ended: whoever followed it is told, and its memory goes back.
    fn end(&mut self, done: &Done) {
        let (worker, span) = (self.worker, self.tally.span());
        let Done { status, used, is_network_error, is_timed, .. } = *done;
        if let Some(changes) = self.changes.as_mut().filter(|changes| !changes.followers.is_empty())
        {
            let now_us = worker.clock.now_us();
            let (took_us, now_ms) = (self.tally.took_us(now_us), us_as_ms(now_us));
            let ended = Ended { status, is_network_error, is_timed, took_us, now_ms };
            changes.followers.iter_mut().rev().for_each(|follower| follower.on_end(&ended));
        }
        if let Some(record) = &self.record {
            let user = self.changes.as_ref().and_then(|changes| changes.user.as_deref());
            record::end(worker, self.client, span, record, (status, user));
        }
        worker.buffers.give_back(&mut self.out);
        // Most requests come alone.
        let inbox = &mut self.client.inbox;
        if used >= inbox.len() {
            worker.buffers.give_back(inbox);
        } else {
            inbox.drain(..used);
            Buffers::trim(inbox);
        }
    }
}

impl Trials {
    /// A try reached the client.
    fn won(&self, attempt: &Attempt<'_>, ran: &Ran) -> Done {
        let Ran { after, status, is_timed, .. } = *ran;
        let is_network_error = ran.broke();
        if self.retries > 0 && status.is_some_and(|status| !is_in_vain(attempt, status)) {
            attempt.route.backend.retried_well(self.retries.into());
        }
        Done { after, used: attempt.used, status, is_network_error, is_timed }
    }

    /// A try failed. Tells what the client is told where no other one does better; an error where no other one is made.
    #[cold]
    fn lost(
        &mut self,
        worker: &Worker,
        attempt: &Attempt<'_>,
        failed: Failed,
    ) -> Result<Box<Refusal>, Box<Refusal>> {
        let Failed { error, may_go_on, is_unsent } = failed;
        let (route, server) = (attempt.route, attempt.server);
        let left = self.attempts.get_or_insert_with(|| attempts_max(worker, route));
        // A connection that was refused costs nobody anything; what was sent counts.
        if is_unsent {
            self.dials += 1;
        } else {
            *left = left.saturating_sub(1);
        }
        let may_go_on = may_go_on && *left > 0 && self.dials < DIALS_MAX;
        let is_complete = attempt.has_come || attempt.body.is_done();
        let refusal = Box::new(Refusal {
            after: After::refusal(&error, &attempt.facts, is_complete),
            error,
            route: Some(Arc::clone(route)),
            server: Some(Arc::clone(&server.name)),
            is_head: attempt.facts.is_head,
            used: attempt.used,
            is_timed: attempt.has_come,
        });
        // What the expression holds of was counted before its answer was thrown away.
        let is_counted = is_unsent || matches!(refusal.error, Error::Again(_));
        if !may_go_on || !(is_counted || route.backend.may_retry(worker.clock.now_ms())) {
            return Err(refusal);
        }
        self.retries += u32::from(!is_unsent);
        tracing::debug!(
            frontend = %route.id, server = %server.name, error = %refusal.error,
            "no answer; another server is asked"
        );
        Ok(refusal)
    }
}

/// Whether the last answer is one after which the request would be sent again, had it been the first.
#[cold]
fn is_in_vain(attempt: &Attempt<'_>, status: u16) -> bool {
    let handling = attempt.route.backend.handling();
    let expression = handling.and_then(|handling| handling.buffering.as_ref()?.retry.as_ref());
    expression.is_some_and(|retry| retry.holds(1, false, Some(status), &attempt.method))
}

/// How often a request of this frontend may be sent.
pub(super) fn attempts_max(worker: &Worker, route: &Route) -> u32 {
    let handling = route.backend.handling();
    let own = handling.and_then(|handling| handling.attempts_max);
    let has_expression = handling.and_then(|handling| handling.buffering.as_ref()?.retry.as_ref());
    let usual = worker.state.settings.limits.attempts_max;
    let max = own.unwrap_or(if has_expression.is_some() { RETRIES_MAX } else { usual });
    u32::try_from(max).unwrap_or(u32::MAX).max(1)
}
