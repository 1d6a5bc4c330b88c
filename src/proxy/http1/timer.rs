//! How long a server takes until its answer begins.

use std::cell::Cell;

use crate::live::ServerLive;
use crate::proxy::clock::Clock;

/// Times one request at one server, from the try's beginning to the head of the answer.
///
/// The head alone counts: how long a body takes is up to its length and to whoever reads it, and a stream or an upgrade may
/// last for days. For the same reason only requests are timed that had come whole when they were sent on.
pub(super) struct Timer<'t> {
    server: &'t ServerLive,
    clock: &'t Clock,
    began_us: u64,
    is_answered: Cell<bool>,
}

impl<'t> Timer<'t> {
    pub(super) fn start(server: &'t ServerLive, clock: &'t Clock) -> Self {
        Self { server, clock, began_us: clock.now_us(), is_answered: Cell::new(false) }
    }

    /// The head of the answer is there. One that says that something went wrong is not praised for being fast.
    pub(super) fn answered(&self, status: u16) {
        if self.is_answered.replace(true) {
            return;
        }
        let (took_us, now_ms) = (self.took_us(), self.clock.now_ms());
        match status < 500 {
            true => self.server.answered_after(took_us, now_ms),
            false => self.server.waited_for(took_us, now_ms),
        }
    }

    fn took_us(&self) -> u64 {
        self.clock.now_us().saturating_sub(self.began_us)
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if !self.is_answered.get() {
            // It failed, or the client left before: it would have taken so long at least.
            self.server.waited_for(self.took_us(), self.clock.now_ms());
        }
    }
}
