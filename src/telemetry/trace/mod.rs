//! Traces: a span for each request and one for each try at a server, told to a collector.

//!
//! OTLP over HTTP in JSON, by hand: a request of five fields does not pay for the crates that bring protobuf along, and
//! their queue does not tell what it lost.

mod context;
mod export;
mod otlp;
mod span;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use context::{Parent, SpanId, TraceId};
use export::Exporter;
use span::Span;

use super::access_log::Entry;
use super::outbox::Outbox;
use crate::live::Live;
use crate::model::Exchange;
use crate::settings::{Ratio, Tracing};

/// Spans that may wait to be sent. One takes about a kilobyte.
const WAITING_MAX: usize = 8_192;

/// So many spans are sent at once rather than waited with for more.
const ENOUGH: usize = 512;

/// For the thread to count what it could not tell when its time was over.
const COUNTING: Duration = Duration::from_millis(500);

/// Tells traces to a collector.
pub(super) struct Tracer {
    spans: Arc<Outbox<Vec<Span>>>,
    live: Arc<Live>,
}

impl Tracer {
    /// Starts the thread that tells.
    ///
    /// # Errors
    /// Where the system has none left.
    pub(super) fn start(settings: Tracing, live: Arc<Live>) -> io::Result<Self> {
        let spans = Arc::new(Outbox::new(WAITING_MAX, ENOUGH));
        let exporter = Exporter {
            settings,
            spans: Arc::clone(&spans),
            live: Arc::clone(&live),
            fails_since: None,
        };
        let thread = std::thread::Builder::new().name("traces".to_owned());
        thread.spawn(move || exporter.run())?;
        Ok(Self { spans, live })
    }

    /// A request has ended; its spans are told where it is sampled.
    pub(super) fn tell(&self, entry: &Entry<'_>) {
        let Some(tracked) = entry.record.tracked.filter(|tracked| tracked.here.is_sampled) else {
            return;
        };
        for span in span::of(entry, &tracked) {
            let is_put = self.spans.put(|waiting| {
                waiting.push(span);
                true
            });
            if !is_put {
                self.live.telling.spans_dropped.add(1);
            }
        }
    }

    /// Has it tell what waits, until then at most.
    pub(super) fn stop(&self, by: Instant) {
        self.spans.stop(by);
    }

    /// Waits until it has stopped, and counted what is lost. Tells whether it has.
    pub(super) fn wait(&self, by: Instant) -> bool {
        self.spans.wait(by + COUNTING)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.spans.stop(Instant::now());
    }
}

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
