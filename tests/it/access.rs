//! Who may pass: guards through the real proxy, asked by curl where that has an opinion of its own.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use herder::config::{
    AllowList, Auth, ClientTls, Config, ForwardAuth, FrontendWishes, Redirect, UsersAuth,
};
use herder::control::secrets;
use herder::settings::{EntryPoint, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::docker::Certificates;
use crate::harness::eventually;
use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, Watched, config, settings};
use crate::harness::raw::{OK, Origin, exchange, head};

/// All of one password: geheim.
const SHA: &str = "sha:{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk=";
const APR: &str = "apr:$apr1$salt$DfamBMSViMVDV1HMzdN/O0";
const BCRYPT: &str = "bcrypt:$2y$08$abcdefghijklmnopqrstuu/hXv6WCKcGCsKp2bXTXaszpQ.ai/tpe";
fn basic(users: &[&str]) -> Auth {
    let users = users.iter().map(|user| (*user).to_owned()).collect();
    Auth { basic: Some(UsersAuth { users, ..UsersAuth::default() }), ..Auth::default() }
}

/// A frontend `Host:a.local` with these wishes, and an open one `Host:b.local`.
fn asking(wishes: FrontendWishes, origin: SocketAddr) -> Config {
    let mut config = config(&[("Host:a.local", &[origin]), ("Host:b.local", &[origin])]);
    let first = config.frontends.values_mut().next().expect("one");
    Arc::make_mut(first).wishes = Some(Box::new(wishes));
    config
}

fn with_auth(auth: Auth, origin: SocketAddr) -> Config {
    asking(FrontendWishes { auth: Some(auth), ..FrontendWishes::default() }, origin)
}

fn serve(settings: Settings, config: Config) -> Serving {
    let serving = Serving::start(settings, &[]);
    serving.publish(config);
    serving
}

/// The status that curl gets.
fn curl(addr: SocketAddr, args: &[&str]) -> String {
    curl_at(addr, "/x?y=z", args)
}

fn curl_at(addr: SocketAddr, path: &str, args: &[&str]) -> String {
    let url = format!("http://a.local:{}{path}", addr.port());
    let resolve = format!("a.local:{}:{}", addr.port(), addr.ip());
    let output = Command::new("curl")
        .args([
            "-sS",
            "--noproxy",
            "*",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--resolve",
            &resolve,
        ])
        .args(args)
        .arg(url)
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

async fn get(addr: SocketAddr, host: &str, lines: &str) -> String {
    let request =
        format!("GET /x?y=z HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
    exchange(addr, request.as_bytes()).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn line_of(pair: &str) -> String {
    use base64::Engine as _;
    format!("Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(pair))
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_in_with_every_kind_of_hash() {
    let origin = Origin::start(OK, true).await;
    let auth = Auth { header_field: "X-Remote-User".to_owned(), ..basic(&[SHA, APR, BCRYPT]) };
    let serving = serve(settings(), with_auth(auth, origin.addr));
    for user in ["sha", "apr", "bcrypt"] {
        for _ in 0..2 {
            assert_eq!(curl(serving.addr, &["-u", &format!("{user}:geheim")]), "200", "{user}");
        }
        assert_eq!(curl(serving.addr, &["-u", &format!("{user}:falsch")]), "401", "{user}");
        assert!(origin.text().contains(&format!("X-Remote-User: {user}\r\n")), "{}", origin.text());
    }
    assert_eq!(curl(serving.addr, &["-u", "nobody:geheim"]), "401");
    assert_eq!(curl(serving.addr, &[]), "401");
    let answer = get(serving.addr, "a.local", "").await;
    assert!(answer.contains("WWW-Authenticate: Basic realm=\"traefik\"\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_being_checked_does_not_hold_up_the_end() {
    let origin = Origin::start(OK, true).await;
    let slow = "slow:$2y$14$PTVaotFJRCLQs2ddQMRewurymZC8VbVZn91k716CemqBSFA4mRMP.";
    let settings = Settings { workers: 1, ..settings() };
    let serving = serve(settings, with_auth(basic(&[slow]), origin.addr));
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let open = "GET / HTTP/1.1\r\nHost: nobody.local\r\n\r\n";
    let guarded = format!("GET / HTTP/1.1\r\nHost: a.local\r\n{}\r\n", line_of("slow:falsch"));
    client.write_all(format!("{open}{guarded}").as_bytes()).await.expect("sent");
    assert_eq!(status(&head(&mut client).await), "404");
    let since = Instant::now();
    assert_eq!(serving.running.drain(Duration::from_millis(50)).await, 1);
    let drained = since.elapsed();
    let hash = slow.split_once(':').expect("a name").1;
    assert!(!bcrypt::verify("falsch", hash).expect("a hash"));
    let checked = since.elapsed() - drained;
    assert!(drained < checked / 2, "{drained:?}, and a check takes {checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_in_by_digest() {
    let origin = Origin::start(OK, true).await;
    let md5 = "ann:traefik:a33fa372244ae206eabc680180ce41c5";
    let sha = "ann:traefik:417a514770917b708858bebcb0d70d07113f929d38efd26648af042dc59026ac";
    for (users, algorithm) in
        [(vec![md5], "MD5"), (vec![sha], "SHA-256"), (vec![md5, sha], "SHA-256")]
    {
        let users = users.into_iter().map(str::to_owned).collect();
        let digest = UsersAuth { users, remove_header: true, ..UsersAuth::default() };
        let auth = Auth { digest: Some(digest), ..Auth::default() };
        let serving = serve(settings(), with_auth(auth, origin.addr));
        let challenge = get(serving.addr, "a.local", "").await;
        let first = challenge.lines().find(|line| line.starts_with("WWW-Authenticate: Digest"));
        assert!(
            first.is_some_and(|line| line.contains(&format!("algorithm={algorithm},"))),
            "{challenge}"
        );
        assert_eq!(curl(serving.addr, &["--digest", "-u", "ann:geheim"]), "200", "{algorithm}");
        assert_eq!(curl(serving.addr, &["--digest", "-u", "ann:falsch"]), "401", "{algorithm}");
        assert_eq!(curl(serving.addr, &["--digest", "-u", "bob:geheim"]), "401", "{algorithm}");
    }
    assert!(!origin.text().to_lowercase().contains("authorization"), "{}", origin.text());
}

/// The user ann, whose password is geheim, for both algorithms.
const DIGESTS: [&str; 2] = [
    "ann:traefik:a33fa372244ae206eabc680180ce41c5",
    "ann:traefik:417a514770917b708858bebcb0d70d07113f929d38efd26648af042dc59026ac",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_point_asks_by_digest() {
    let origin = Origin::start(OK, true).await;
    for digest in DIGESTS {
        let text = format!("Name:http Address:127.0.0.1:0 Auth.Digest.Users:{digest}");
        let entrypoint: EntryPoint = text.parse().expect("a good one");
        let settings = Settings { entrypoints: vec![entrypoint], ..settings() };
        let serving = serve(settings, asking(FrontendWishes::default(), origin.addr));
        assert_eq!(curl(serving.addr, &["--digest", "-u", "ann:geheim"]), "200", "{digest}");
        for user in ["ann:falsch", "bob:geheim"] {
            assert_eq!(curl(serving.addr, &["--digest", "-u", user]), "401", "{digest} {user}");
        }
        assert_eq!(curl(serving.addr, &["-u", "ann:geheim"]), "401", "{digest}");
        // One that no frontend takes is asked as well.
        let unknown = ["-H", "Host: nobody.local", "--digest", "-u"];
        let ask = |user| curl(serving.addr, &[&unknown[..], &[user]].concat());
        assert_eq!((ask("ann:geheim"), ask("ann:falsch")), ("404".into(), "401".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_side_asks_by_digest() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, "").expect("written");
    let file = format!("--file.filename={}", rules.display());
    for digest in DIGESTS {
        let users = format!("--admin.users={digest}");
        let herder = Herder::start(&["run", &file, "--admin.auth=digest", &users]);
        for path in ["/", "/api", "/metrics"] {
            let ask = |args: &[&str]| curl_at(herder.admin, path, args);
            assert_eq!(ask(&["--digest", "-u", "ann:geheim"]), "200", "{digest} {path}");
            assert_eq!(ask(&["--digest", "-u", "ann:falsch"]), "401", "{digest} {path}");
            assert_eq!(ask(&["--digest", "-u", "bob:geheim"]), "401", "{digest} {path}");
            assert_eq!(ask(&["-u", "ann:geheim"]), "401", "{digest} {path}");
            assert_eq!(ask(&[]), "401", "{digest} {path}");
        }
    }
}

/// No spelling of a path leads around a guard, nor does the server get one that it could read as another place.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_goes_around_a_guard() {
    let origin = Origin::start(OK, true).await;
    let mut config =
        config(&[("PathPrefix:/admin", &[origin.addr]), ("PathPrefix:/", &[origin.addr])]);
    let guarded = config.frontends.values_mut().next().expect("one");
    let wishes = FrontendWishes { auth: Some(basic(&[SHA])), ..FrontendWishes::default() };
    Arc::make_mut(guarded).wishes = Some(Box::new(wishes));
    let serving = serve(settings(), config);
    let ask = async |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        exchange(serving.addr, request.as_bytes()).await
    };
    for target in [
        "/admin",
        "//admin/x",
        "/./admin",
        "/.//admin",
        "/x/../admin",
        "/%2e/admin",
        "/x/%2E%2e/admin",
        "/x/.%2e//admin",
        "/../../admin",
        "/%2fadmin",
        "/x/y/../../%61dmin",
        "http://a/./admin",
        "/public/..//admin?/../x",
    ] {
        assert_eq!(status(&ask(target).await), "401", "{target}");
    }
    for target in ["/x%2f..%2fadmin", "/..%5cadmin", "/..;/admin", "/x/..;a=b/admin", "/.\\admin"] {
        assert_eq!(status(&ask(target).await), "400", "{target}");
    }
    assert_eq!(origin.text(), "");
    // What is open reaches the server without dots, and with its slashes.
    for (target, sent) in [
        ("/admin/../open?a=/../b", "/open?a=/../b"),
        ("/a//b/./c%2e", "/a//b/c%2e"),
        ("/%6fpen/..", "/"),
        ("/.well-known/x", "/.well-known/x"),
    ] {
        assert_eq!(status(&ask(target).await), "200", "{target}");
        let seen = origin.text();
        let line = format!("GET {sent} HTTP/1.1\r\n");
        assert!(seen.contains(&line), "{target}: {seen}");
    }
}

/// What a client says of itself does not reach the servers in the place of what was found out.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_smuggles_a_name() {
    let origin = Origin::start(OK, true).await;
    let mut auth = Auth { header_field: "X-Forwarded-User".to_owned(), ..basic(&[SHA]) };
    auth.basic.as_mut().expect("some").remove_header = true;
    let serving = serve(settings(), with_auth(auth, origin.addr));
    let credentials = line_of("sha:geheim");
    for lines in [
        "X-Forwarded-User: root\r\n",
        "x_forwarded_user: root\r\n",
        "X-Forwarded_User: root\r\nX-FORWARDED-USER: root\r\n",
        "Connection: x-forwarded-user, authorization\r\nX-Forwarded-User: root\r\n",
    ] {
        let answer = get(serving.addr, "a.local", &format!("{lines}{credentials}")).await;
        assert_eq!(status(&answer), "200", "{lines}");
    }
    let seen = origin.text();
    assert!(!seen.contains("root") && !seen.contains("uthorization"), "{seen}");
    assert_eq!(seen.matches("X-Forwarded-User: sha\r\n").count(), 4, "{seen}");
    // Of two credentials none counts.
    let answer = get(serving.addr, "a.local", &format!("{credentials}{credentials}")).await;
    assert_eq!(status(&answer), "401");
    let answer = get(serving.addr, "a.local", "Connection: authorization\r\n").await;
    assert_eq!(status(&answer), "401");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_users_may_change() {
    let origin = Origin::start(OK, true).await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("users");
    let users_file = path.to_str().expect("text").to_owned();
    let auth =
        Auth { basic: Some(UsersAuth { users_file, ..UsersAuth::default() }), ..Auth::default() };
    let serving = serve(settings(), with_auth(auth, origin.addr));
    let mut watch = secrets::Watch::default();
    let look = |watch: &mut secrets::Watch| watch.look(&serving.state.live);
    let credentials = line_of("bcrypt:geheim");
    let ask = || get(serving.addr, "a.local", &credentials);
    look(&mut watch);
    assert_eq!(status(&ask().await), "503", "it is not there");
    std::fs::write(&path, format!("# ours\n{BCRYPT}\n")).expect("written");
    assert!(look(&mut watch));
    assert_eq!((status(&ask().await), status(&ask().await)), ("200", "200"));
    // Her password is remembered, and does not let her in any more.
    std::fs::write(&path, format!("{SHA}\n")).expect("written");
    assert!(look(&mut watch));
    assert_eq!(status(&ask().await), "401");
    // Back again with another password she needs that one.
    std::fs::write(&path, format!("{}\n{SHA}\n", APR.replace("apr:", "bcrypt:"))).expect("written");
    assert!(look(&mut watch));
    assert_eq!(status(&ask().await), "200", "it is the same one");
    let other = "bcrypt:$apr1$salt$Xxd1irWT9ycqoYxGFn4cb.";
    std::fs::write(&path, format!("{other}\n{SHA}\n")).expect("written");
    assert!(look(&mut watch));
    assert_eq!(status(&ask().await), "401");
    let credentials = line_of("bcrypt:password");
    assert_eq!(status(&get(serving.addr, "a.local", &credentials).await), "200");
    std::fs::remove_file(&path).expect("removed");
    assert!(look(&mut watch));
    assert_eq!(status(&ask().await), "503");
}

/// While passwords are checked, others are served, and so is whoever is known already.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_passwords_keeps_nobody_waiting() {
    let origin = Origin::start(OK, true).await;
    let serving = serve(settings(), with_auth(basic(&[BCRYPT]), origin.addr));
    let addr = serving.addr;
    let known = line_of("bcrypt:geheim");
    assert_eq!(status(&get(addr, "a.local", &known).await), "200");
    let guesses: Vec<_> = (0..50)
        .map(|guess| {
            let credentials = line_of(&format!("bcrypt:guess-{guess}"));
            tokio::spawn(async move { get(addr, "a.local", &credentials).await })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    let mut answers = 0;
    while !guesses.iter().all(tokio::task::JoinHandle::is_finished) && answers < 200 {
        for (host, lines) in [("b.local", ""), ("a.local", known.as_str())] {
            let began = Instant::now();
            let request =
                format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
            let mut stream = tokio::net::TcpStream::connect(addr).await.expect("connected");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("read");
            assert_eq!(status(&text), "200", "{text}");
            slowest = slowest.max(began.elapsed());
        }
        answers += 1;
    }
    assert!(answers > 0);
    // The fifty take far longer than this, one after another on a worker.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let mut checked = 0;
    for guess in guesses {
        match status(&guess.await.expect("no panic")) {
            "401" => checked += 1,
            // One client has so many passwords checked at most.
            status => assert_eq!(status, "503"),
        }
    }
    assert!(checked >= 32, "{checked}");
}

/// Clients have their turns one after another: however many passwords others have waiting, one more is checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_passwords_from_many_addresses_shuts_nobody_out() {
    const ADDRESSES: u8 = 16;
    const GUESSES_EACH: usize = 32;
    let origin = Origin::start(OK, true).await;
    let serving = serve(settings(), with_auth(basic(&[BCRYPT]), origin.addr));
    let addr = serving.addr;
    let refused = Arc::new(AtomicUsize::new(0));
    for guesser in 0..usize::from(ADDRESSES) * GUESSES_EACH {
        let refused = Arc::clone(&refused);
        let from = [127, 0, 1, guesser as u8 % ADDRESSES];
        tokio::spawn(async move {
            for guess in 0.. {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.bind((from, 0).into()).expect("bound");
                let Ok(mut stream) = socket.connect(addr).await else { return };
                let line = line_of(&format!("bcrypt:guess-{guesser}-{guess}"));
                let request = format!("GET / HTTP/1.1\r\nHost: a.local\r\n{line}\r\n");
                if stream.write_all(request.as_bytes()).await.is_err() {
                    return;
                }
                let answer = head(&mut stream).await;
                refused.fetch_add(usize::from(answer.starts_with("HTTP/1.1 503 ")), Relaxed);
            }
        });
    }
    eventually("all places are taken", || async { refused.load(Relaxed) > 0 }).await;
    for guess in 0..3 {
        let credentials = line_of(&format!("bcrypt:slip-{guess}"));
        assert_eq!(status(&get(addr, "a.local", &credentials).await), "401");
    }
    assert_eq!(status(&get(addr, "a.local", &line_of("bcrypt:geheim")).await), "200");
}

/// Behind a proxy that is believed, clients are those that it tells of: one who guesses takes no place of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_passwords_through_a_proxy_is_one_clients() {
    let origin = Origin::start(OK, true).await;
    let mut trusting = settings();
    trusting.trusted_ips = vec!["127.0.0.0/8".parse().expect("a network")];
    let serving = serve(trusting, with_auth(basic(&[BCRYPT]), origin.addr));
    let addr = serving.addr;
    let ask = async move |client: u8, password: String| {
        let lines = line_of(&format!("bcrypt:{password}"));
        get(addr, "a.local", &format!("X-Forwarded-For: 10.0.0.{client}\r\n{lines}")).await
    };
    let refused = Arc::new(AtomicUsize::new(0));
    for guesser in 0..48 {
        let refused = Arc::clone(&refused);
        tokio::spawn(async move {
            for guess in 0.. {
                let answer = ask(1, format!("guess-{guesser}-{guess}")).await;
                if answer.is_empty() {
                    return;
                }
                refused.fetch_add(usize::from(status(&answer) == "503"), Relaxed);
            }
        });
    }
    eventually("the places of that client are taken", || async { refused.load(Relaxed) > 0 }).await;
    for guess in 0..3 {
        assert_eq!(status(&ask(2, format!("slip-{guess}")).await), "401");
    }
    assert_eq!(status(&ask(2, "geheim".to_owned()).await), "200");
}

/// A server that is asked: it answers by the path, and keeps what it was asked.
async fn decider(answer: fn(&str) -> String) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let seen = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&all);
            tokio::spawn(async move {
                let head = crate::harness::raw::head(&mut stream).await;
                seen.lock().expect("not poisoned").push_str(&head);
                let _ = stream.write_all(answer(&head).as_bytes()).await;
            });
        }
    });
    (addr, seen)
}

/// The same over TLS.
async fn tls_decider(acceptor: TlsAcceptor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that wants another certificate, or has none, ends here.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let answer = decided(&String::from_utf8_lossy(&head));
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_decides_over_tls() {
    let origin = Origin::start(OK, true).await;
    let (ours, others) = (Certificates::make(), Certificates::make());
    let open = tls_decider(ours.server()).await;
    let strict = tls_decider(ours.acceptor()).await;
    let file = |of: &Certificates, name| of.file(name).to_str().expect("text").to_owned();
    let text = |name| std::fs::read_to_string(ours.file(name)).expect("a file");
    let with_ca = |of: &Certificates| ClientTls { ca: file(of, "ca.pem"), ..ClientTls::default() };
    let known = |of: &Certificates| ClientTls {
        cert: file(of, "client.pem"),
        key: file(of, "client.key"),
        ..with_ca(&ours)
    };
    let in_text = ClientTls {
        ca: text("ca.pem"),
        cert: text("client.pem"),
        key: text("client.key"),
        ..ClientTls::default()
    };
    let unchecked = ClientTls { insecure_skip_verify: true, ..ClientTls::default() };
    let unchecked_with_ca = ClientTls { insecure_skip_verify: true, ..with_ca(&others) };
    for (what, addr, tls, expected) in [
        ("its authority is known", open, with_ca(&ours), "200"),
        ("nobody looks", open, unchecked.clone(), "200"),
        ("nobody looks, whatever the authority", open, unchecked_with_ca, "200"),
        ("both show a certificate", strict, known(&ours), "200"),
        ("certificates in the label", strict, in_text, "200"),
        ("another authority", open, with_ca(&others), "500"),
        ("the system's authorities", open, ClientTls::default(), "500"),
        ("we show none", strict, with_ca(&ours), "500"),
        ("we show none, and nobody looks", strict, unchecked, "500"),
        ("ours is of another authority", strict, known(&others), "500"),
    ] {
        let address = format!("https://{addr}/check/it");
        let forward = ForwardAuth { address, tls: Some(tls), ..forward(addr) };
        let auth = Auth { forward: Some(forward), ..Auth::default() };
        let serving = serve(settings(), with_auth(auth, origin.addr));
        secrets::Watch::default().look(&serving.state.live);
        let lines = "Cookie: in\r\nX-Auth-User: root\r\n";
        let before = origin.text().len();
        assert_eq!(status(&get(serving.addr, "a.local", lines).await), expected, "{what}");
        let seen = origin.text().split_off(before);
        assert_eq!(seen.contains("X-Auth-User: ann\r\n"), expected == "200", "{what}: {seen}");
        assert!(!seen.contains("root"), "{what}: {seen}");
        if expected == "200" {
            // What it refuses it answers, over TLS as well.
            assert_eq!(status(&get(serving.addr, "a.local", "").await), "302", "{what}");
        }
    }
}

fn forward(addr: SocketAddr) -> ForwardAuth {
    ForwardAuth {
        address: format!("http://{addr}/check/it"),
        auth_response_headers: vec!["X-Auth-User".to_owned()],
        ..ForwardAuth::default()
    }
}

fn decided(head: &str) -> String {
    let closing = "Connection: close\r\nContent-Length:";
    if head.to_lowercase().contains("cookie: in\r\n") {
        return format!(
            "HTTP/1.1 204 No Content\r\nX-Auth-User: ann\r\nX-Other: y\r\n{closing} 0\r\n\r\n"
        );
    }
    format!(
        "HTTP/1.1 302 Found\r\nLocation: ../login\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Why: cookie\r\n{closing} 5\r\n\r\nlogin"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_decides() {
    let origin = Origin::start(OK, true).await;
    let (addr, seen) = decider(decided).await;
    let auth = Auth { forward: Some(forward(addr)), ..Auth::default() };
    let serving = serve(settings(), with_auth(auth, origin.addr));
    let answer = get(serving.addr, "a.local", "X-Auth-User: root\r\n").await;
    assert_eq!(status(&answer), "302", "{answer}");
    let lower = answer.to_lowercase();
    for line in [
        format!("location: http://{addr}/login\r\n").as_str(),
        "set-cookie: a=b\r\n",
        "set-cookie: c=d\r\n",
        "x-why: cookie\r\n",
    ] {
        assert!(lower.contains(line), "{line}: {answer}");
    }
    assert!(answer.ends_with("\r\n\r\nlogin"), "{answer}");
    assert_eq!(origin.text(), "");
    let lines = "Cookie: in\r\nX-Auth-User: root\r\nX_Auth_User: root\r\nX-Forwarded-Uri: /open\r\nX-Forwarded-For: 9.9.9.9\r\n";
    let body = format!(
        "POST /x?y=z HTTP/1.1\r\nHost: a.local\r\nConnection: close\r\nContent-Length: 4\r\n{lines}\r\nbody"
    );
    assert_eq!(status(&exchange(serving.addr, body.as_bytes()).await), "200");
    let text = origin.text();
    assert!(text.contains("X-Auth-User: ann\r\n") && text.ends_with("body"), "{text}");
    assert!(!text.contains("root") && !text.contains("X-Other"), "{text}");
    let asked = seen.lock().expect("not poisoned").to_lowercase();
    let asked = asked.rsplit("get /check/it").next().expect("a question").to_owned();
    for line in [
        "x-forwarded-method: post\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: a.local\r\n",
        "x-forwarded-uri: /x?y=z\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
    ] {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    assert!(
        !asked.contains("content-length") && !asked.contains("9.9.9.9") && !asked.contains("/open"),
        "{asked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_asked_about_meanwhile_goes_to_a_server_of_the_table_in_force() {
    let (gone, new) = (Origin::start(OK, true).await, Origin::start(OK, true).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let auth = Auth { forward: Some(forward(addr)), ..Auth::default() };
    let serving = serve(settings(), with_auth(auth.clone(), gone.addr));
    let proxy = serving.addr;
    let asking = tokio::spawn(async move { get(proxy, "a.local", "Cookie: in\r\n").await });
    let (mut decider, _) = listener.accept().await.expect("asked");
    let question = crate::harness::raw::head(&mut decider).await;
    serving.publish(with_auth(auth, new.addr));
    decider.write_all(decided(&question).as_bytes()).await.expect("answered");
    assert_eq!(status(&asking.await.expect("an answer")), "200");
    assert_eq!(gone.text(), "");
    assert!(new.text().contains("X-Auth-User: ann\r\n"), "{}", new.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_another_server_decides_is_not_under_way_for_ever() {
    let origin = Origin::start(OK, true).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    let auth = Auth { forward: Some(forward(addr)), ..Auth::default() };
    let watched = Watched::start(settings(), &[]);
    watched.serving.publish(with_auth(auth, origin.addr));
    let mut client = TcpStream::connect(watched.serving.addr).await.expect("connected");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.local\r\n\r\n").await.expect("sent");
    let (mut decider, _) = listener.accept().await.expect("asked");
    crate::harness::raw::head(&mut decider).await;
    let open =
        "traefik_backend_open_connections{method=\"GET\",protocol=\"http\",backend=\"backend-0\"}";
    let is_open = async |value: &str| {
        watched.page("/metrics").await.lines().any(|line| line == format!("{open} {value}"))
    };
    assert!(is_open("1").await);
    drop(client);
    eventually("it has ended there, too", || is_open("0")).await;
    assert_eq!(origin.text(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_passes_where_the_other_server_says_nothing() {
    let origin = Origin::start(OK, true).await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        listener.local_addr().expect("an address")
    };
    let (rude, _) = decider(|_| "nonsense\r\n\r\n".to_owned()).await;
    let (cut, _) = decider(|_| "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".to_owned()).await;
    let (long, _) = decider(|_| {
        let body = "x".repeat(1_100_000);
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    })
    .await;
    let (plain, _) = decider(decided).await;
    for (what, addr) in [("gone", gone), ("rude", rude), ("cut", cut), ("long", long)] {
        let auth = Auth { forward: Some(forward(addr)), ..Auth::default() };
        let serving = serve(settings(), with_auth(auth, origin.addr));
        assert_eq!(status(&get(serving.addr, "a.local", "Cookie: in\r\n").await), "500", "{what}");
    }
    // It does not speak TLS, and an authority that cannot be read is none.
    let tls = [
        (ClientTls { insecure_skip_verify: true, ..ClientTls::default() }, "500"),
        (ClientTls { ca: "/not/there.pem".to_owned(), ..ClientTls::default() }, "503"),
        (ClientTls { ca: "-----BEGIN nonsense".to_owned(), ..ClientTls::default() }, "500"),
    ];
    for (tls, expected) in tls {
        let address = format!("https://{plain}/");
        let forward = ForwardAuth { address, tls: Some(tls.clone()), ..ForwardAuth::default() };
        let auth = Auth { forward: Some(forward), ..Auth::default() };
        let serving = serve(settings(), with_auth(auth, origin.addr));
        assert_eq!(
            status(&get(serving.addr, "a.local", "Cookie: in\r\n").await),
            expected,
            "{tls:?}"
        );
    }
    assert_eq!(origin.text(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_list_believes_trusted_proxies_alone() {
    let origin = Origin::start(OK, true).await;
    let trusting =
        Settings { trusted_ips: vec!["127.0.0.0/8".parse().expect("a network")], ..settings() };
    let list = |range: &str, use_x_forwarded_for| FrontendWishes {
        white_list: Some(AllowList { source_range: vec![range.to_owned()], use_x_forwarded_for }),
        ..FrontendWishes::default()
    };
    let told = "X-Forwarded-For: 10.1.1.1\r\n";
    for (is_trusted, range, uses, lines, expected) in [
        (false, "127.0.0.1", false, "", "200"),
        (false, "10.0.0.0/8", false, told, "403"),
        (false, "10.0.0.0/8", true, told, "403"),
        (true, "10.0.0.0/8", true, told, "200"),
        (true, "10.0.0.0/8", false, told, "403"),
        (true, "10.0.0.0/8", true, "X-Forwarded-For: 10.1.1.1, 9.9.9.9\r\n", "403"),
        (
            true,
            "10.0.0.0/8",
            true,
            "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 10.1.1.1\r\n",
            "200",
        ),
        (true, "0.0.0.0/0", true, "X-Forwarded-For: nobody\r\n", "403"),
    ] {
        let settings = if is_trusted { trusting.clone() } else { settings() };
        let serving = serve(settings, asking(list(range, uses), origin.addr));
        let answer = get(serving.addr, "a.local", lines).await;
        assert_eq!(status(&answer), expected, "{is_trusted} {range} {uses} {lines}");
    }
}

/// Who may not come at all is neither asked for a name nor sent elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn the_allow_list_comes_first() {
    let origin = Origin::start(OK, true).await;
    let list = |range: &str| AllowList {
        source_range: vec![range.to_owned()],
        use_x_forwarded_for: false,
    };
    let redirect = Redirect {
        regex: "^http://(.*)".to_owned(),
        replacement: "https://$1".to_owned(),
        ..Redirect::default()
    };
    let auth = || Some(basic(&[SHA]));
    for (range, auth, redirect, expected) in [
        ("10.0.0.0/8", auth(), None, "403"),
        ("127.0.0.0/8", auth(), None, "401"),
        ("10.0.0.0/8", None, Some(redirect.clone()), "403"),
        ("127.0.0.0/8", None, Some(redirect), "302"),
    ] {
        let white_list = Some(list(range));
        let wishes = FrontendWishes { auth, white_list, redirect, ..FrontendWishes::default() };
        let serving = serve(settings(), asking(wishes, origin.addr));
        assert_eq!(status(&get(serving.addr, "a.local", "").await), expected, "{range}");
    }
}

/// Every request of an entry point meets its guards, one that no frontend takes too.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_point_has_guards_of_its_own() {
    let origin = Origin::start(OK, true).await;
    let guarded = |guards: &str| {
        let text = format!("Name:http Address:127.0.0.1:0 {guards}");
        let entrypoint: EntryPoint = text.parse().expect("a good one");
        Settings { entrypoints: vec![entrypoint], ..settings() }
    };
    let open = || asking(FrontendWishes::default(), origin.addr);
    let serving = serve(guarded(&format!("Auth.Basic.Users:{SHA}")), open());
    let credentials = line_of("sha:geheim");
    for host in ["b.local", "nobody.local"] {
        assert_eq!(status(&get(serving.addr, host, "").await), "401", "{host}");
    }
    assert_eq!(status(&get(serving.addr, "b.local", &credentials).await), "200");
    assert_eq!(status(&get(serving.addr, "nobody.local", &credentials).await), "404");
    let serving = serve(guarded("WhiteList.SourceRange:10.0.0.0/8"), open());
    assert_eq!(status(&get(serving.addr, "nobody.local", "").await), "403");
    let serving = serve(guarded("Auth.Basic.Users:sha:geheim"), open());
    assert_eq!(status(&get(serving.addr, "b.local", &credentials).await), "503");
}

/// The authority takes its time; meanwhile the host comes, with a password of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_while_its_entry_point_asks_is_found_and_its_guards_too() {
    let origin = Origin::start(OK, true).await;
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let authority = listener.local_addr().expect("an address");
    let (asked, word) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&go));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            head(&mut stream).await;
            count.fetch_add(1, Relaxed);
            word.acquire().await.expect("open").forget();
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
    });
    let text = format!("Name:http Address:127.0.0.1:0 Auth.Forward.Address:http://{authority}/");
    let entrypoint: EntryPoint = text.parse().expect("a good one");
    for (has_users, expected) in [(false, "200"), (true, "401")] {
        let settings = Settings { entrypoints: vec![entrypoint.clone()], ..settings() };
        let serving = Serving::start(settings, &[]);
        let before = asked.load(Relaxed);
        let addr = serving.addr;
        let asking = tokio::spawn(async move { get(addr, "a.local", "").await });
        eventually("it is asked", || async { asked.load(Relaxed) > before }).await;
        let auth = has_users.then(|| basic(&[SHA]));
        let wishes = FrontendWishes { auth, ..FrontendWishes::default() };
        serving.publish(self::asking(wishes, origin.addr));
        go.add_permits(10);
        assert_eq!(status(&asking.await.expect("an answer")), expected);
        // It may not have been asked twice.
        let left = go.available_permits();
        go.forget_permits(left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_side_asks_for_a_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("users");
    std::fs::write(&path, BCRYPT).expect("written");
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, "").expect("written");
    let file = format!("--file.filename={}", rules.display());
    let users = format!("--admin.usersFile={}", path.display());
    let herder = Herder::start(&["run", &file, &users, &format!("--admin.users={SHA}")]);
    let ask = async |path: &str, lines: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
        exchange(herder.admin, request.as_bytes()).await
    };
    for path in
        ["/", "/api", "/metrics", "/health", "/assets/app.js", "/nothing", "//ping", "/ping/"]
    {
        let answer = ask(path, "").await;
        assert_eq!(status(&answer), "401", "{path}");
        assert!(
            answer.to_lowercase().contains("www-authenticate: basic realm=\"traefik\""),
            "{answer}"
        );
        assert_eq!(status(&ask(path, &line_of("bcrypt:falsch")).await), "401", "{path}");
    }
    // Work to find out what it means, for which nobody is asked by name first.
    let dots = format!("/{}", "\\../".repeat(1_000));
    assert_eq!(status(&ask(&dots, "").await), "400");
    eventually("it is ready", || async { status(&ask("/ping", "").await) == "200" }).await;
    for pair in ["bcrypt:geheim", "sha:geheim"] {
        assert_eq!(status(&ask("/api", &line_of(pair)).await), "200", "{pair}");
    }
    std::fs::remove_file(&path).expect("removed");
    eventually("it is closed", || async {
        status(&ask("/api", &line_of("sha:geheim")).await) == "503"
    })
    .await;
    assert!(!herder.log().contains("geheim") && !herder.log().contains(BCRYPT), "{}", herder.log());
}

/// A file that labels or rules name is watched, and what is wrong with it is on the page.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_a_problem() {
    let origin = Origin::start(OK, true).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (rules, users) = (dir.path().join("rules.toml"), dir.path().join("users"));
    let text = format!(
        "[backends.b.servers.s]\nurl = \"http://{}\"\n[frontends.f]\nbackend = \"b\"\n[frontends.f.auth.basic]\n\
         usersFile = \"{}\"\n[frontends.f.routes.r]\nrule = \"Host:a.local\"\n",
        origin.addr,
        users.display()
    );
    std::fs::write(&rules, text).expect("written");
    let herder = Herder::start(&["run", &format!("--file.filename={}", rules.display())]);
    let ask = async || get(herder.http, "a.local", &line_of("sha:geheim")).await;
    let problems = async || herder.admin("/api/problems").await.body;
    eventually("it is told", || async { problems().await.contains("stays closed") }).await;
    assert_eq!(status(&ask().await), "503");
    std::fs::write(&users, format!("bob:geheim\n{SHA}\n")).expect("written");
    eventually("it is open", || async { status(&ask().await) == "200" }).await;
    eventually("its line is told", || async { problems().await.contains("Line 1 of the file") })
        .await;
    assert!(!problems().await.contains("geheim"));
}
