//! Spans in OTLP's JSON (opentelemetry-proto, `ExportTraceServiceRequest`): ids in hex, times and 64-bit numbers as text.

use serde_json::{Map, Value, json};

use super::span::{Attribute, Span};

/// A status of OTLP: it failed.
const STATUS_ERROR: u8 = 2;

/// What is sent for a batch.
pub(super) fn request(service: &str, spans: &[Span]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [text("service.name", service), text("service.version", version)];
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "herder", "version": version }, "spans": spans }],
        }],
    })
}

/// How many spans a collector took out of a batch that it took.
pub(super) fn rejected(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0);
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn span(span: &Span) -> Value {
    let mut told = Map::new();
    let mut put = |key: &str, value: Value| _ = told.insert(key.to_owned(), value);
    put("traceId", span.trace.to_string().into());
    put("spanId", span.id.to_string().into());
    if let Some(above) = span.above {
        put("parentSpanId", above.to_string().into());
    }
    if let Some(state) = &span.state {
        put("traceState", state.as_str().into());
    }
    put("name", span.name.into());
    put("kind", (span.kind as u8).into());
    put("startTimeUnixNano", span.began.to_string().into());
    put("endTimeUnixNano", span.ended.to_string().into());
    let attributes = span.attributes.iter().map(|(key, value)| match value {
        Attribute::Text(value) => text(key, value),
        Attribute::Number(value) => {
            json!({ "key": key, "value": { "intValue": value.to_string() } })
        }
    });
    put("attributes", attributes.collect());
    if let Some(error) = &span.error {
        put("status", json!({ "code": STATUS_ERROR, "message": error }));
    }
    Value::Object(told)
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_may_take_a_part() {
        assert_eq!(rejected(b"{\"partialSuccess\":{\"rejectedSpans\":\"3\"}}"), 3);
        assert_eq!(rejected(b"{\"partialSuccess\":{\"rejectedSpans\":4}}"), 4);
        for none in [&b"{}"[..], b"", b"nonsense", b"{\"partialSuccess\":{}}"] {
            assert_eq!(rejected(none), 0);
        }
    }
}
