//! Traces: a span for each request and one for each try at a server, told to a collector.

mod context;

pub(super) use context::{Parent, SpanId, TraceId};

use crate::model::Exchange;
use crate::settings::Ratio;

/// A request's place in a trace, while it is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracked {
    /// The trace, our own span in it, and whether it is kept.
    pub(super) here: Parent,
    /// The client's span, where it told one.
    pub(super) above: Option<SpanId>,
}

impl Tracked {
    /// The trace of a request that has just come: the client's, where it is in one. Whether it is kept is decided by whom
    /// we trust, else by us: a stranger must not be able to have everything kept.
    pub(super) fn of(exchange: &Exchange<'_>, ratio: Ratio) -> Self {
        let above = exchange.head.header("traceparent").and_then(Parent::read);
        let told = above.filter(|_| exchange.sender.is_trusted).map(|above| above.is_sampled);
        let is_sampled = told.unwrap_or_else(|| ratio.takes(fastrand::u64(..)));
        let trace = above.map_or_else(TraceId::random, |above| above.trace);
        let here = Parent { trace, span: SpanId::random(), is_sampled };
        Self { here, above: above.map(|above| above.span) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Head, Sender};

    struct Line(&'static str);

    impl Head for Line {
        fn header(&self, name: &str) -> Option<&[u8]> {
            (name == "traceparent").then_some(self.0.as_bytes())
        }

        fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.header(name).is_some_and(test)
        }

        fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
            see("traceparent", self.0.as_bytes());
        }
    }

    #[track_caller]
    fn check(line: &'static str, is_trusted: bool, ratio: &str, is_sampled: bool, continues: bool) {
        let head = Line(line);
        let mut exchange = Exchange::new("http", "GET", "a.t", "/", &head);
        exchange.sender = Sender { is_trusted, ..Sender::default() };
        let tracked = Tracked::of(&exchange, ratio.parse().expect("a ratio"));
        assert_eq!(tracked.here.is_sampled, is_sampled, "{line}");
        assert_eq!(tracked.above.is_some(), continues, "{line}");
        let trace = tracked.here.trace.to_string();
        assert_eq!(trace == "0af7651916cd43dd8448eb211c80319c", continues, "{line}");
    }

    #[test]
    fn a_trace_goes_on_and_only_the_trusted_decide_what_is_kept() {
        let (yes, no) = (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        );
        check(yes, true, "0", true, true);
        check(no, true, "1", false, true);
        check(yes, false, "0", false, true);
        check(no, false, "1", true, true);
        check("nonsense", true, "1", true, false);
    }
}
