//! Traces, told to a collector of the test's own over HTTP.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use herder::settings::{Ratio, Settings, Tracing};
use serde_json::{Value, json};

use crate::harness::eventually;
use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, settings};
use crate::harness::raw::{OK, Origin, exchange};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A collector: takes what comes, after it refused so many batches.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Value>>>,
    lines: Arc<Mutex<HeaderMap>>,
    refusals: Arc<AtomicUsize>,
}

impl Collector {
    async fn start(refusals: usize) -> (Self, SocketAddr) {
        let collector = Self { refusals: Arc::new(refusals.into()), ..Self::default() };
        let app = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, app).await });
        (collector, addr)
    }

    /// The spans, once there are so many.
    async fn spans(&self, count: usize) -> Vec<Value> {
        let spans = || self.spans.lock().expect("not poisoned").clone();
        eventually("the spans are told", || async { spans().len() >= count }).await;
        spans()
    }
}

async fn take(
    State(collector): State<Collector>,
    lines: HeaderMap,
    Json(request): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let is_refused = collector.refusals.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
    if is_refused.is_ok() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({})));
    }
    *collector.lines.lock().expect("not poisoned") = lines;
    let resource = &request["resourceSpans"][0];
    assert_eq!(attribute(&resource["resource"], "service.name"), "edge");
    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans").clone();
    collector.spans.lock().expect("not poisoned").extend(spans);
    (StatusCode::OK, Json(json!({"partialSuccess": {}})))
}

fn attribute(holder: &Value, name: &str) -> Value {
    let all = holder["attributes"].as_array().cloned().unwrap_or_default();
    let value = all.iter().find(|one| one["key"] == name).map(|one| one["value"].clone());
    let value = value.unwrap_or_default();
    [&value["stringValue"], &value["intValue"]]
        .into_iter()
        .find(|v| !v.is_null())
        .cloned()
        .unwrap_or_default()
}

fn tracing(collector: SocketAddr, ratio: &str) -> Settings {
    let mut settings = settings();
    settings.observe.tracing = Some(Tracing {
        endpoint: format!("http://{collector}/v1/traces"),
        service: "edge".to_owned(),
        ratio: ratio.parse::<Ratio>().expect("a ratio"),
        lines: vec![("X-Key".parse().expect("a name"), "secret".to_owned())],
    });
    settings
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

async fn ask(addr: SocketAddr, host: &str, lines: &str) {
    let request =
        format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\n{lines}Connection: close\r\n\r\n");
    exchange(addr, request.as_bytes()).await;
}

/// The value of the line that a server got.
fn told(origin: &Origin) -> String {
    let text = origin.text();
    let line = text.lines().find_map(|line| line.strip_prefix("traceparent: "));
    line.unwrap_or_else(|| panic!("no traceparent in {text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_through() {
    let (collector, addr) = Collector::start(0).await;
    let origin = Origin::start(OK, false).await;
    let servers = [origin.addr];
    let serving = Serving::start(tracing(addr, "1"), &[("Host:a.test", &servers)]);
    let lines =
        format!("traceparent: 00-{TRACE}-{SPAN}-00\r\ntracestate: v=1\r\nUser-Agent: me\r\n");
    ask(serving.addr, "a.test", &lines).await;
    let spans = collector.spans(2).await;
    let of_kind = |kind: u64| spans.iter().find(|span| span["kind"] == kind).expect("a span");
    let (server, client) = (of_kind(2), of_kind(3));
    assert_eq!((&server["traceId"], &server["parentSpanId"]), (&json!(TRACE), &json!(SPAN)));
    assert_eq!((&client["traceId"], &client["parentSpanId"]), (&json!(TRACE), &server["spanId"]));
    assert_eq!((&server["name"], &server["traceState"]), (&json!("GET"), &json!("v=1")));
    for (name, expected) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/a"),
        ("url.query", "b=c"),
        ("url.scheme", "http"),
        ("server.address", "a.test"),
        ("server.port", "80"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "me"),
        ("herder.frontend", "docker/frontend-0"),
    ] {
        assert_eq!(attribute(server, name), expected, "{name} of {server:#}");
    }
    assert_eq!(attribute(client, "url.full"), format!("http://{}/a?b=c", origin.addr));
    assert_eq!(attribute(client, "server.port"), origin.addr.port().to_string());
    assert!(server.get("status").is_none() && client.get("status").is_none());
    let nanos = |span: &Value, key: &str| -> u128 {
        span[key].as_str().expect("text").parse().expect("a number")
    };
    assert!(nanos(server, "startTimeUnixNano") <= nanos(client, "startTimeUnixNano"));
    assert!(nanos(client, "endTimeUnixNano") <= nanos(server, "endTimeUnixNano"));
    // The server is told of our span, and that it is kept: a stranger's word on that does not count.
    let id = client["spanId"].as_str().expect("an id");
    assert_eq!(told(&origin), format!("00-{TRACE}-{id}-01"));
    assert!(origin.text().contains("tracestate: v=1\r\n"));
    assert_eq!(collector.lines.lock().expect("not poisoned")["x-key"], "secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_is_a_span_and_failures_say_why() {
    let (collector, addr) = Collector::start(0).await;
    let origin = Origin::start(OK, false).await;
    let (both, dead) = ([nobody(), origin.addr], [nobody()]);
    let routes: &[(&str, &[SocketAddr])] = &[("Host:both.test", &both), ("Host:dead.test", &dead)];
    let serving = Serving::start(tracing(addr, "1"), routes);
    ask(serving.addr, "both.test", "").await;
    ask(serving.addr, "both.test", "").await;
    // A request each, a try that answered each, and one that did not.
    let spans = collector.spans(5).await;
    let tries: Vec<_> = spans.iter().filter(|span| span["kind"] == 3).collect();
    let failed: Vec<_> = tries.iter().filter(|span| span["status"]["code"] == 2).collect();
    assert_eq!((tries.len(), failed.len()), (3, 1), "{spans:#?}");
    assert_eq!(attribute(failed[0], "error.type"), "server unreachable");
    let again = tries.iter().filter(|span| attribute(span, "http.request.resend_count") == "1");
    assert_eq!(again.count(), 1);
    let requests = spans.iter().filter(|span| span["kind"] == 2);
    assert!(requests.into_iter().all(|span| span.get("status").is_none()), "both were answered");
    ask(serving.addr, "dead.test", "").await;
    let spans = collector.spans(7).await;
    let is_dead = |span: &&Value| attribute(span, "server.address") == "dead.test";
    let request = spans.iter().find(is_dead).expect("its span");
    assert_eq!(request["status"]["code"], 2, "{request:#}");
    assert_eq!(attribute(request, "error.type"), "502");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_passed_on_and_not_told() {
    let (collector, addr) = Collector::start(0).await;
    let origin = Origin::start(OK, false).await;
    let servers = [origin.addr];
    let serving = Serving::start(tracing(addr, "0"), &[("Host:a.test", &servers)]);
    ask(serving.addr, "a.test", "tracestate: v=1\r\n").await;
    let line = told(&origin);
    assert!(line.starts_with("00-") && line.ends_with("-00"), "{line}");
    assert!(!origin.text().contains("tracestate"), "it belongs to no trace");
    serving.running.drain(Duration::from_secs(5)).await;
    assert_eq!(collector.spans.lock().expect("not poisoned").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_busy_is_asked_again() {
    let (collector, addr) = Collector::start(1).await;
    let serving = Serving::start(tracing(addr, "1"), &[]);
    ask(serving.addr, "a.test", "").await;
    let spans = collector.spans(1).await;
    assert_eq!(attribute(&spans[0], "http.response.status_code"), "404");
    assert!(spans[0].get("parentSpanId").is_none());
    let telling = &serving.state.live.telling;
    eventually("it is counted", || async { telling.spans.count() == 1 }).await;
    assert_eq!(telling.spans_dropped.count(), 0);
}

/// A collector that wants nothing, and then everything.
#[tokio::test(flavor = "multi_thread")]
async fn that_traces_are_told_again_is_said_with_how_many_were_lost() {
    let asked = Arc::new(AtomicUsize::new(0));
    let take = move || {
        let is_first = asked.fetch_add(1, Relaxed) == 0;
        async move { if is_first { StatusCode::BAD_REQUEST } else { StatusCode::OK } }
    };
    let app = Router::new().route("/v1/traces", post(take));
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let endpoint = format!("http://{}", collector.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(collector, app).await });
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, "").expect("written");
    let rules = format!("--file.filename={}", rules.display());
    let endpoint = format!("--tracing.otlp.endpoint={endpoint}");
    let herder = Herder::start(&["run", &rules, &endpoint]);
    herder.get("nobody", "/").await;
    eventually("it fails", || async { herder.log().contains("cannot tell traces") }).await;
    herder.get("nobody", "/").await;
    eventually("it is well", || async { herder.log().contains("traces are told again") }).await;
    let log = herder.log();
    let told = log.lines().find(|line| line.contains("told again")).expect("it is said");
    let told: Value = serde_json::from_str(told).expect("JSON");
    assert_eq!(told["lost"], 1, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_costs_spans_and_no_request() {
    let origin = Origin::start(OK, false).await;
    let servers = [origin.addr];
    let serving = Serving::start(tracing(nobody(), "1"), &[("Host:a.test", &servers)]);
    for _ in 0..20 {
        let answer =
            exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let live = Arc::clone(&serving.state.live);
    serving.running.drain(Duration::from_secs(5)).await;
    assert_eq!((live.telling.spans.count(), live.telling.spans_dropped.count()), (0, 40));
}
