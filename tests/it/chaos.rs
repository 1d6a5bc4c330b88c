//! Servers that are killed, hang, refuse, close early and are slow, at random and under load: no GET fails while one healthy
//! server is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use herder::config::{BackendWishes, Buffering, TimeoutsWish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::messages::Reader;
use crate::harness::proxy::{Serving, config, edited, settings};

/// What a server does with its requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Well,
    /// It answers after a while, soon enough.
    Slow,
    /// It takes requests and says nothing.
    Hung,
    /// It closes the connection when a request has come.
    Rude,
    /// It closes the connection in the middle of its answer.
    Cut,
    /// Nobody listens, and what was connected is gone.
    Dead,
}

const MOODS: [Mood; 6] = [Mood::Well, Mood::Slow, Mood::Hung, Mood::Rude, Mood::Cut, Mood::Dead];

/// A server whose mood can be changed.
struct Moody {
    addr: SocketAddr,
    mood: watch::Sender<Mood>,
}

impl Moody {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let (mood, watched) = watch::channel(Mood::Well);
        tokio::spawn(Self::run(addr, listener, watched));
        Self { addr, mood }
    }

    async fn run(addr: SocketAddr, listener: TcpListener, mut mood: watch::Receiver<Mood>) {
        let mut listener = Some(listener);
        loop {
            if *mood.borrow_and_update() == Mood::Dead {
                listener = None;
                if mood.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let open = match &listener {
                Some(listener) => listener,
                // The port may still be in use by a connection that ends.
                None => match TcpListener::bind(addr).await {
                    Ok(bound) => listener.insert(bound),
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                },
            };
            tokio::select! {
                changed = mood.changed() => if changed.is_err() { return },
                accepted = open.accept() => if let Ok((stream, _)) = accepted {
                    tokio::spawn(Self::serve(stream, mood.clone()));
                }
            }
        }
    }

    async fn serve(mut stream: TcpStream, mut mood: watch::Receiver<Mood>) {
        let mut buffer = [0; 4096];
        loop {
            let read = tokio::select! {
                read = stream.read(&mut buffer) => read,
                _ = mood.wait_for(|mood| *mood == Mood::Dead) => return,
            };
            if !matches!(read, Ok(1..)) {
                return;
            }
            let now = *mood.borrow();
            let answer: &[u8] = match now {
                Mood::Rude | Mood::Dead => return,
                Mood::Hung => {
                    let _ = mood.wait_for(|mood| *mood != Mood::Hung).await;
                    return;
                }
                Mood::Slow => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                Mood::Cut => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
                Mood::Well => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            if stream.write_all(answer).await.is_err() || now == Mood::Cut {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_get_fails_while_one_healthy_server_is_left() {
    const SEED: u64 = 20_261_126;
    const CLIENTS: usize = 16;
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(Moody::start().await);
    }
    let addrs: Vec<SocketAddr> = servers.iter().map(|server| server.addr).collect();
    let wishes = BackendWishes {
        timeouts: Some(TimeoutsWish {
            response: "400ms".to_owned(),
            connect: "400ms".to_owned(),
            attempts: 10,
            ..TimeoutsWish::default()
        }),
        // An answer that breaks off can be asked for again only if nothing of it has gone out.
        buffering: Some(Buffering { max_response_body_bytes: 1_000, ..Buffering::default() }),
        ..BackendWishes::default()
    };
    let serving = Serving::start(settings(), &[]);
    serving.publish(edited(config(&[("Host:web.local", &addrs)]), |_, backend| {
        backend.wishes = Some(Box::new(wishes.clone()));
    }));
    let (done, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let failed = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (done, is_over, failed) =
                (Arc::clone(&done), Arc::clone(&is_over), Arc::clone(&failed));
            let addr = serving.addr;
            tokio::spawn(async move {
                let stream = TcpStream::connect(addr).await.expect("connected");
                let mut client = Reader::new(stream);
                let get = b"GET / HTTP/1.1\r\nHost: web.local\r\n\r\n";
                while !is_over.load(Relaxed) {
                    client.stream.write_all(get).await.expect("written");
                    let answer = client.next(true).await.expect("an answer");
                    if answer.first != "HTTP/1.1 200 OK" || answer.body != b"ok" {
                        failed.fetch_add(1, Relaxed);
                        eprintln!("{}: {:?}", answer.first, answer.body);
                    }
                    done.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..60 {
        // One of them is well at any time: before the last one may turn, the next one listens again.
        let well = random.usize(..servers.len());
        servers[well].mood.send_replace(Mood::Well);
        while TcpStream::connect(servers[well].addr).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for (_, server) in servers.iter().enumerate().filter(|(place, _)| *place != well) {
            server.mood.send_replace(MOODS[random.usize(..MOODS.len())]);
        }
        let before = done.load(Relaxed);
        // Until everybody has had some answers under these moods.
        let start = std::time::Instant::now();
        while done.load(Relaxed) < before + 200 {
            assert!(start.elapsed() < Duration::from_secs(20), "it has come to a halt");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    is_over.store(true, Relaxed);
    for client in clients {
        client.await.expect("it ended well");
    }
    let (done, failed) = (done.load(Relaxed), failed.load(Relaxed));
    eprintln!("{done} requests, {failed} failed, seed {SEED}");
    assert_eq!(failed, 0, "of {done} requests, seed {SEED}");
}
