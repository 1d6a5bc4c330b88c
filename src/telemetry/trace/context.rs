//! The place of a request in a trace, as `traceparent` tells it (W3C Trace Context, level 1).

use std::fmt;

/// A trace's id: 16 bytes, not all of them 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::telemetry) struct TraceId(u128);

/// A span's id: 8 bytes, not all of them 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::telemetry) struct SpanId(u64);

/// What a `traceparent` line says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::telemetry) struct Parent {
    /// The trace.
    pub(in crate::telemetry) trace: TraceId,
    /// The span that the request was sent in.
    pub(in crate::telemetry) span: SpanId,
    /// Whether its sender keeps what it sees of the trace.
    pub(in crate::telemetry) is_sampled: bool,
}

impl TraceId {
    /// A new one.
    pub(in crate::telemetry) fn random() -> Self {
        Self(fastrand::u128(1..))
    }
}

impl SpanId {
    /// A new one.
    pub(in crate::telemetry) fn random() -> Self {
        Self(fastrand::u64(1..))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Parent {
    /// As the line has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, is_sampled } = self;
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(*is_sampled))
    }
}

impl Parent {
    /// Reads a line. None where it is not one: the trace begins anew then (section 3.2.2.3).
    pub(in crate::telemetry) fn read(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?.trim();
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let part = parts.next()?;
            let is_good = part.len() == digits && part.bytes().all(is_hex);
            u128::from_str_radix(part, 16).ok().filter(|_| is_good)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // A later version may say more after what this one knows; 255 is none.
        let is_whole = version != 0 || parts.next().is_none();
        let span = u64::try_from(span).ok()?;
        let is_good = version != 0xff && is_whole && trace != 0 && span != 0;
        let parent = Self { trace: TraceId(trace), span: SpanId(span), is_sampled: flags & 1 == 1 };
        is_good.then_some(parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        let read = Parent::read(line.as_bytes()).map(|parent| parent.to_string());
        assert_eq!(read.as_deref(), expected, "{line}");
    }

    #[test]
    fn a_line_is_read_or_it_is_none() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        check(good, Some(good));
        check(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02",
            Some(&good.replace("-01", "-00")),
        );
        check("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-else", Some(good));
        for wrong in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            check(wrong, None);
        }
    }
}
