//! The admin side and its API over real sockets, beside the demo.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::eventually;
use crate::harness::herder::Herder;
use crate::harness::raw::exchange;

async fn demo() -> Herder {
    let herder = Herder::start(&["demo"]);
    eventually("the demo is ready", || async {
        herder.admin("/ping").await.status == 200
            && herder.admin("/api").await.body.contains("server-proxy-test-web-test-1")
    })
    .await;
    herder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_has_the_shape_of_traefik_1_7() {
    let herder = demo().await;
    let all = herder.admin("/api").await.json();
    assert_eq!(all, herder.admin("/api/providers").await.json());
    let name = "frontend-Host-web-test-proxy-test-local";
    let frontend = herder.admin(&format!("/api/providers/rancher/frontends/{name}")).await.json();
    assert_eq!(
        frontend,
        json!({
            "entryPoints": ["http"], "backend": "backend-web-test-proxy-test", "passHostHeader": true,
            "priority": 0, "basicAuth": null,
            "routes": {format!("route-{name}"): {"rule": "Host:web-test.proxy-test.local"}},
        })
    );
    let backend = "/api/providers/rancher/backends/backend-web-test-proxy-test";
    let backend = herder.admin(backend).await.json();
    assert_eq!(backend["loadBalancer"], json!({"method": "wrr"}));
    let server = &backend["servers"]["server-proxy-test-web-test-1"];
    assert_eq!(server["weight"], 1);
    assert!(server["url"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.2:")));
    for unknown in
        ["/api/providers/docker", "/api/providers/rancher/x", "/api/providers/rancher/backends/x"]
    {
        assert_eq!(herder.admin(unknown).await.status, 404, "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_carry_their_policy_and_take_reads_only() {
    let herder = demo().await;
    for path in [
        "/",
        "/fragment?q=web",
        "/explain/nobody",
        "/route?url=x/y",
        "/assets/app.js",
        "/metrics",
        "/health",
    ] {
        let answer = herder.admin(path).await;
        let policy = answer.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let request = format!(
            "{method} /api HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(herder.admin, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.to_lowercase().contains("allow: get"), "{answer}");
    }
    let metrics = herder.admin("/metrics").await.body;
    assert!(metrics.contains("herder_provider_stale{provider=\"rancher\"} 0.0"), "{metrics}");
    assert_eq!(herder.admin("/health").await.json()["total_status_code_count"]["5xx"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_and_hostile_names() {
    let herder = demo().await;
    let page = |path: &'static str| async { herder.admin(path).await.body };
    assert!(page("/?q=web-test").await.contains("Host:web-test.proxy-test.local"));
    assert!(!page("/?q=nothing-like-it").await.contains("Host:web-test.proxy-test.local"));
    for path in [
        "/?q=%3Cscript%3Ealert(1)%3C/script%3E",
        "/explain/%3Cscript%3Ealert(1)",
        "/route?url=%22%3E%3Cscript%3E",
    ] {
        let body = page(path).await;
        assert!(!body.contains("<script>"), "{path}: {body}");
    }
    let test = herder.admin("/api/explain?url=http://web-tset.proxy-test.local/x").await.json();
    assert_eq!(test["frontend"], serde_json::Value::Null);
    assert_eq!(test["losers"].as_array().map(Vec::len), Some(1), "{test}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_views_and_rates() {
    let herder = demo().await;
    let stream = TcpStream::connect(herder.admin).await.expect("connected");
    let mut stream = BufReader::new(stream);
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut seen = String::new();
    while !(seen.contains("event: view") && seen.contains("event: stats")) {
        let read = tokio::time::timeout(crate::harness::PATIENCE, stream.read_line(&mut seen));
        assert!(read.await.expect("in time").expect("readable") > 0, "{seen}");
    }
}
