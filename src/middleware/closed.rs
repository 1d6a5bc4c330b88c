//! Lets nobody in: stands where protection was asked for that cannot be read, or is not there.

use crate::middleware::{Answer, Flow, Handler};
use crate::model::Exchange;

/// Answers 503.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Closed {
    /// What was asked for, for the page: `traefik.frontend.auth.basic`.
    pub reason: String,
}

impl Handler for Closed {
    fn on_request(&self, _: &mut Exchange<'_>) -> Flow {
        Flow::Answer(Answer::new(503).because(self.describe()))
    }

    fn describe(&self) -> String {
        format!("closed, because of {}", self.reason)
    }

    fn acts(&self, _: u64) -> Option<String> {
        Some("closed: answers 503".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_in() {
        let mut exchange = Exchange::new("http", "GET", "web.local", "/", &());
        let flow = Closed { reason: "auth".to_owned() }.on_request(&mut exchange);
        assert!(matches!(flow, Flow::Answer(answer) if answer.status == 503));
    }
}
