//! The head of an answer, and those of the interim ones before it.

use std::task::Context;

use super::super::answer::{Answer, Edits, Then};
use super::super::framing::Length;
use super::super::head::{Scan, Side};
use super::super::parse::{self, Lines};
use super::super::record;
use super::{Again, Down, Failure, HalfHead, Hold, Special, Transfer};
use crate::model::Response;
use crate::proxy::error::Error;
use crate::proxy::store::Store;
use crate::proxy::upstream::Reuse;

/// Interim answers (100, 103) that come before one answer.
const INTERIM_MAX: u8 = 32;

impl Transfer<'_> {
    /// Reads the head of an answer, or what there is of it.
    pub(super) fn head(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        write: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match self.half_head.take() {
            None => self.heads(cx, bytes, write),
            Some(mut half) => {
                half.bytes.extend_from_slice(bytes);
                // One that comes in many pieces is read when its end has come: each byte is looked at once.
                if half.scan.advance(&half.bytes, Side::Server).map_err(Failure::Refused)?.is_none()
                {
                    return self.wait_for_head(half, write);
                }
                self.heads(cx, &half.bytes, write)
            }
        }
    }

    /// The rest of a head is to come.
    fn wait_for_head(&mut self, half: Box<HalfHead>, write: &[u8]) -> Result<(), Failure> {
        if half.bytes.len() > self.worker.limits.head_bytes {
            return Err(Failure::Refused(Error::BadAnswer("its head is too large")));
        }
        self.half_head = Some(half);
        self.to_client.extend_from_slice(write);
        Ok(())
    }

    /// Reads a head, and what interim ones stand before it.
    fn heads(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        write: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut rest = bytes;
        loop {
            let mut lines = Lines::new();
            let lines_max = self.worker.limits.head_lines;
            let head = parse::answer(rest, &mut lines, lines_max).map_err(Failure::Refused)?;
            let Some(head) = head else {
                let mut half = Box::new(HalfHead { bytes: rest.to_vec(), scan: Scan::default() });
                if half.scan.advance(rest, Side::Server).map_err(Failure::Refused)?.is_some() {
                    return Err(Failure::Refused(Error::BadAnswer("its head cannot be read")));
                }
                return self.wait_for_head(half, write);
            };
            if head.bytes.len() > self.worker.limits.head_bytes {
                return Err(Failure::Refused(Error::BadAnswer("its head is too large")));
            }
            let after = &rest[head.bytes.len()..];
            let mut answer = Answer::read(head, self.facts).map_err(Failure::Refused)?;
            if !answer.is_interim() {
                if self.is_farewell(&answer) {
                    let error =
                        Error::Unreachable("it took leave before it read the request".into());
                    return Err(Failure::NoAnswer { error, is_unsent: false, is_dead: true });
                }
                if let Some(error) = self.unwanted(answer.status) {
                    return Err(Failure::Refused(error));
                }
                if self.is_empty_page(&answer) {
                    return Err(Failure::Refused(Error::BadAnswer("the page is empty")));
                }
                answer.show_as(self.shown());
                self.begin_answer(&answer, write);
                let begun = self.body(cx, after, write);
                if let Err(Failure::Cut(error) | Failure::Refused(error)) = begun {
                    // Nothing of it has gone out.
                    self.down = None;
                    return Err(Failure::Refused(error));
                }
                return begun;
            }
            if answer.status == 101 {
                return self.switch(&answer, after, write);
            }
            answer.write_interim(self.facts, !self.followers.is_empty(), write);
            self.interims += 1;
            if self.interims > INTERIM_MAX {
                return Err(Failure::Refused(Error::BadAnswer("too many interim answers")));
            }
            if after.is_empty() {
                self.to_client.extend_from_slice(write);
                return Ok(());
            }
            rest = after;
        }
    }

    /// Passes on the head after which both sides speak another protocol, and what follows it.
    fn switch(
        &mut self,
        answer: &Answer<'_, '_>,
        after: &[u8],
        write: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let protocol = answer.switched_to(self.offered()).map_err(Failure::Refused)?;
        if !self.is_up_done() {
            // RFC 9110, section 7.8: not in the middle of a request, which its client may have left there.
            return Err(Failure::Refused(Error::Early));
        }
        if let Some(timer) = self.timer {
            timer.answered(101);
        }
        let edits = self.edits(answer);
        let edits = edits.as_ref();
        record::answered(&mut self.record, 101, true, &answer.lines, edits);
        if let Some(record) = &mut self.record {
            record.tunnelled(0, after.len() as u64);
        }
        answer.write_switch(protocol, self.cookie.as_deref(), edits, write);
        self.to_client.extend_from_slice(write);
        self.to_client.extend_from_slice(after);
        self.switches = true;
        Ok(())
    }

    /// What the steps of the chain make of a head; nothing where none wants to see it.
    fn edits(&mut self, answer: &Answer<'_, '_>) -> Option<Edits> {
        (!self.followers.is_empty())
            .then(|| Edits::of(Response::new(answer.status, true, &answer.lines), self.followers))
    }

    /// The protocols that the request asks to change to.
    fn offered(&self) -> &[u8] {
        let inbox = &*self.client.inbox;
        // An empty line may stand before the head, see `Scan`.
        let head = inbox.strip_prefix(b"\r\n").unwrap_or(inbox);
        self.facts.upgrade.map(|names| names.in_head(head)).unwrap_or_default()
    }

    /// Whether the server takes leave of a connection that idled for too long, while a request that can be sent again is on its way
    /// (RFC 9110, section 15.5.9). Over a new connection it would be the answer.
    fn is_farewell(&self, answer: &Answer<'_, '_>) -> bool {
        answer.status == 408
            && self.is_reused
            && self.interims == 0
            && answer.reuse() == Reuse::Never
            && self.facts.is_idempotent
            && matches!(self.facts.length, Length::None | Length::Known(0))
    }

    /// Why an answer of this status does not go to the client.
    fn unwanted(&self, status: u16) -> Option<Error> {
        let Special { retry, shown, pages, .. } = &**self.special.as_ref()?;
        // Where too many were sent again already, what the server says is the answer.
        let may_again = |again: &Again<'_>| again.backend.may_retry(self.worker.clock.now_ms());
        if retry.filter(|again| again.wants(Some(status))).as_ref().is_some_and(may_again) {
            return Some(Error::Again(status));
        }
        let has_page = shown.is_none() && pages.iter().any(|page| page.is_for(status));
        has_page.then_some(Error::Replaced(status))
    }

    /// Whether it is a page that has no body to show: its status would not fit the one that the client is told.
    fn is_empty_page(&self, answer: &Answer<'_, '_>) -> bool {
        self.shown().is_some() && matches!(answer.status, 204 | 205 | 304)
    }

    fn begin_answer(&mut self, answer: &Answer<'_, '_>, write: &mut Vec<u8>) {
        if let Some(timer) = self.timer {
            timer.answered(answer.status);
        }
        let edits = self.edits(answer);
        let edits = edits.as_ref();
        record::answered(&mut self.record, answer.status, true, &answer.lines, edits);
        let is_stopping = self.worker.is_draining() || !self.is_up_done();
        let then = if is_stopping { Then::Close } else { answer.then(self.facts, edits) };
        let clock = &self.worker.clock;
        let body = answer.write(self.facts, then, self.cookie.as_deref(), edits, clock, write);
        let reuse = answer.reuse();
        let hold = self.special.as_ref().and_then(|special| special.hold);
        self.hold = hold.map(|kept| {
            Box::new(Hold {
                store: Store::new(&self.worker.reserve, kept.memory_bytes),
                bytes_max: kept.bytes_max,
                is_whole: false,
            })
        });
        self.down = Some(Down { body, status: answer.status, then, reuse });
    }
}
