//! `herder demo`, the first minute of a newcomer.

use std::collections::BTreeSet;

use crate::harness::eventually;
use crate::harness::herder::Herder;

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_take_turns_and_a_signal_ends_it() {
    let mut herder = Herder::start(&["demo"]);
    let host = "web-test.proxy-test.local";
    eventually("the demo serves", || async { herder.get(host, "/").await.status == 200 }).await;
    let mut names = BTreeSet::new();
    for _ in 0..3 {
        let answer = herder.get(host, "/").await;
        names.insert(answer.headers["real-server"].to_str().expect("text").to_owned());
        assert!(
            answer.body.contains("X-Forwarded-Host: web-test.proxy-test.local"),
            "{}",
            answer.body
        );
    }
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(herder.get("other.local", "/").await.status, 404);
    let page = herder.admin("/").await.body;
    assert!(page.contains("Host:web-test.proxy-test.local"), "{page}");
    herder.signal("TERM");
    assert_eq!(herder.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_fails_now_and_then_and_nobody_notices() {
    let herder = Herder::start(&["demo"]);
    let host = "web-test.proxy-test.local";
    eventually("the demo serves", || async { herder.get(host, "/").await.status == 200 }).await;
    let servers = || async {
        let api = herder.admin("/api").await.json();
        let backend = &api["rancher"]["backends"]["backend-web-test-proxy-test"];
        assert_eq!(herder.get(host, "/").await.status, 200);
        backend["servers"].as_object().map_or(0, serde_json::Map::len)
    };
    eventually("one leaves", || async { servers().await == 2 }).await;
    let explained = herder.admin("/api/explain").await.body;
    assert!(explained.contains("unhealthy"), "{explained}");
    eventually("it comes back", || async { servers().await == 3 }).await;
}
