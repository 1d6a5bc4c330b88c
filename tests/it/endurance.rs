//! What waits, over real sockets: slow clients and servers, places that are taken, files that run out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::harness::eventually;
use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, serving, settings};
use crate::harness::raw::{OK, exchange, head, origin, read, saying, taken};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_waits_for_whoever_reads_it() {
    // Neither side of either direction reads: what is on its way stays within the buffers of kernel and proxy.
    let silent = origin(|_, stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let serving = serving(silent);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n")
        .await
        .expect("sent");
    assert!(taken(&mut client).await < 64 << 20);

    let flood = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&flood);
    let addr = origin(move |_, mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            stream.write_all(answer).await.expect("sent");
            counted.store(taken(&mut stream).await.max(1), Relaxed);
        }
    })
    .await;
    let serving = self::serving(addr);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
    eventually("the server comes to a halt", || async { flood.load(Relaxed) > 0 }).await;
    assert!(flood.load(Relaxed) < 64 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn further_connections_wait_for_a_place() {
    let mut settings = settings();
    settings.limits.connections_max = 2;
    let serving = Serving::start(settings, &[("Host:a.test", &[saying(OK).await])]);
    let first = TcpStream::connect(serving.addr).await.expect("connected");
    let _second = TcpStream::connect(serving.addr).await.expect("connected");
    eventually("both are open", || async { serving.state.live.totals.open_connections() == 2 })
        .await;
    let mut third = TcpStream::connect(serving.addr).await.expect("the kernel's queue takes it");
    third
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    let early = timeout(Duration::from_millis(300), third.readable()).await;
    assert!(early.is_err(), "there is no place yet");
    drop(first);
    assert!(read(&mut third).await.starts_with("HTTP/1.1 200 "));
}

/// Whoever connects and says nothing has a place until somebody else wants it.
#[tokio::test(flavor = "multi_thread")]
async fn the_silent_make_room_where_all_places_are_taken() {
    let mut settings = settings();
    settings.limits.connections_max = 20;
    let serving = Serving::start(settings, &[("Host:a.test", &[saying(OK).await])]);
    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(TcpStream::connect(serving.addr).await.expect("the kernel's queue takes it"));
    }
    let mut busy = crowd.remove(0);
    let half =
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\no";
    busy.write_all(half).await.expect("sent");
    let answer =
        exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert!(answer.await.starts_with("HTTP/1.1 200 "), "before the silent have had their time");
    busy.write_all(b"k").await.expect("whoever is in a request stays");
    assert!(read(&mut busy).await.starts_with("HTTP/1.1 200 "));
}

/// A byte now and then is no silence, and keeps nobody else out for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_make_room_where_all_places_are_taken() {
    let mut settings = settings();
    settings.limits.connections_max = 4;
    let patient = origin(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let (quick, patient) = (saying(OK).await, patient.await);
    let routes: [(&str, &[SocketAddr]); 2] =
        [("Host:a.test", &[quick]), ("Host:patient.test", &[patient])];
    let serving = Serving::start(settings, &routes);
    let drip = |addr: SocketAddr, host: &'static str| async move {
        let mut stream = TcpStream::connect(addr).await.expect("connected");
        let ask = format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("sent");
        while stream.write_all(b"1\r\na\r\n").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
    };
    for host in ["patient.test", "a.test"] {
        let dripping: Vec<_> = (0..4).map(|_| tokio::spawn(drip(serving.addr, host))).collect();
        let open = || serving.state.live.totals.open_connections();
        eventually("all places are taken", || async { open() == 4 }).await;
        let get = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let answer = exchange(serving.addr, get).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        dripping.into_iter().for_each(|task| task.abort());
        eventually("they have left", || async { open() == 0 }).await;
    }
}

/// What a kernel takes at once is no pace: whoever reads nothing of a large answer, or sends no more of a large body, has had his five
/// seconds soon.
#[tokio::test(flavor = "multi_thread")]
async fn a_good_start_keeps_no_place() {
    let mut settings = settings();
    settings.limits.connections_max = 4;
    let large = origin(|_, mut stream| async move {
        head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
        let _ = stream.write_all(answer).await;
        taken(&mut stream).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let (quick, large) = (saying(OK).await, large.await);
    let routes: [(&str, &[SocketAddr]); 2] =
        [("Host:a.test", &[quick]), ("Host:large.test", &[large])];
    let serving = Serving::start(settings, &routes);
    let mut crowd = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: large.test\r\n\r\n").await.expect("sent");
        crowd.push(stream);
    }
    let open = || serving.state.live.totals.open_connections();
    eventually("all places are taken", || async { open() == 4 }).await;
    let get = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    // At the first look they have been quick, at the second one they have not.
    let answer = exchange(serving.addr, get).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_cut_off_and_a_slow_sender_is_told() {
    let mut settings = settings();
    settings.limits.body_timeout = Duration::from_millis(300);
    let addr = origin(|_, mut stream| async move {
        head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
        let _ = stream.write_all(answer).await;
        taken(&mut stream).await;
    })
    .await;
    let serving = Serving::start(settings.clone(), &[("Host:a.test", &[addr])]);
    let mut reader = TcpStream::connect(serving.addr).await.expect("connected");
    reader.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
    let open = || serving.state.live.totals.open_connections();
    eventually("it is under way", || async { open() == 1 }).await;
    eventually("it is cut off", || async { open() == 0 }).await;
    let silent = origin(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let serving = Serving::start(settings, &[("Host:a.test", &[silent])]);
    let request = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf";
    let answer = exchange(serving.addr, request).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

/// The time for an answer's head is one for all of it; what drips would hold its client for hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_no_answer() {
    let addr = origin(|_, mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Drip: ").await;
        while stream.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut settings = settings();
    settings.limits.response_timeout = Duration::from_millis(500);
    let serving = Serving::start(settings, &[("Host:a.test", &[addr])]);
    let answer = exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let failed = serving.state.live.failures.last(1);
    assert!(failed[0].why.contains("did not come whole in time"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_told_and_thousands_of_them_stop_nobody() {
    let mut settings = settings();
    settings.limits.head_timeout = Duration::from_millis(1_500);
    let serving = Serving::start(settings, &[("Host:a.test", &[saying(OK).await])]);
    let mut slow = Vec::new();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(serving.addr).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.te").await.expect("sent");
        slow.push(stream);
    }
    let answer = exchange(serving.addr, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let told = read(slow.last_mut().expect("one")).await;
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
}

/// The system has no file left for another connection: those that are open go on, and when some have left, others
/// come in. The admin side is not starved either.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_files_end_nothing() {
    let herder = Herder::start_with_files(100, &["demo"]);
    let host = "web-test.proxy-test.local";
    eventually("the demo serves", || async { herder.get(host, "/").await.status == 200 }).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(herder.http).await.expect("the kernel's queue takes it"));
    }
    assert!(herder.log().contains("the system grants few open files"), "{}", herder.log());
    let full = r#"<div class="number bad"><span class="value" data-stat="connections">36</span><span class="name">of 36 connections<"#;
    eventually("the page says that it is full", || async {
        herder.admin("/").await.body.contains(full)
    })
    .await;
    assert_eq!(herder.log().matches("all places for clients are taken").count(), 1);
    let metrics = herder.admin("/metrics").await.body;
    assert!(metrics.contains("herder_connections_max 36\n"), "{metrics}");
    assert!(!metrics.contains("herder_connections_waited_total 0\n"), "{metrics}");
    assert_eq!(herder.admin("/ping").await.status, 200, "the crowd does not take the last files");
    eventually("who asks is served beside the crowd", || async {
        herder.get(host, "/").await.status == 200
    })
    .await;
    drop(crowd);
    eventually("it serves again", || async { herder.get(host, "/").await.status == 200 }).await;
}
