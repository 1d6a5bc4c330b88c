//! Tables swapped under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::harness::proxy::{Serving, config, settings};
use crate::harness::raw::Origin;

const A: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
const B: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb";

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_swaps_lose_and_misroute_nothing() {
    let (a, b) = (Origin::start(A, false).await, Origin::start(B, false).await);
    let more = Origin::start(A, false).await;
    let serving =
        Serving::start(settings(), &[("Host:a.test", &[a.addr]), ("Host:b.test", &[b.addr])]);
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = ["a", "b", "a", "b"]
        .map(|name| {
            let (done, count, addr) = (Arc::clone(&done), Arc::clone(&count), serving.addr);
            tokio::spawn(async move {
                let client = reqwest::Client::builder().no_proxy().build().expect("a client");
                while !done.load(Relaxed) {
                    let request = client.get(format!("http://{addr}/"));
                    let answer = request.header("host", format!("{name}.test")).send().await;
                    let body = answer.expect("an answer").text().await.expect("a body");
                    assert_eq!(body, name);
                    count.fetch_add(1, Relaxed);
                }
            })
        })
        .into();
    for swap in 0..1_000 {
        let servers = [a.addr, more.addr];
        let servers = if swap % 2 == 0 { &servers[..] } else { &servers[..1] };
        let extra = format!("Host:extra-{swap}.test");
        serving.publish(config(&[
            ("Host:a.test", servers),
            ("Host:b.test", &[b.addr]),
            (&extra, &[a.addr]),
        ]));
        // As many swaps as there are requests, one after another.
        if swap % 10 == 0 {
            let before = count.load(Relaxed);
            let count = &count;
            crate::harness::eventually(
                "requests go on",
                || async move { count.load(Relaxed) > before },
            )
            .await;
        }
    }
    done.store(true, Relaxed);
    for client in clients {
        client.await.expect("no request was lost or misrouted");
    }
    assert!(count.load(Relaxed) > 100);
}
