//! The access log, over real sockets and into real files, pipes and full disks.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use herder::config::{ErrorPage, FrontendWishes};
use herder::settings::{AccessLog, LineFormat, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::docker::{Container, Volume, herder_image};
use crate::harness::herder::Herder;
use crate::harness::proxy::{Serving, config, edited, settings};
use crate::harness::raw::{Origin, exchange, head, read};
use crate::harness::{PATIENCE, eventually};

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-From: origin\r\nSet-Cookie: a=b\r\n\r\nok";

fn logging(path: &Path, format: LineFormat) -> Settings {
    let path = Some(path.to_owned());
    let mut settings = settings();
    settings.observe.access_log = Some(AccessLog { path, format, ..AccessLog::default() });
    settings
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

async fn get(addr: SocketAddr, host: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(addr, request.as_bytes()).await
}

/// The lines of a log, once there are so many.
async fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    let is_there = || async { read().lines().count() >= count && read().ends_with('\n') };
    eventually("the lines are written", is_there).await;
    read().lines().map(str::to_owned).collect()
}

async fn objects(path: &Path, count: usize) -> Vec<Value> {
    let lines = lines(path, count).await;
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_traefiks_common_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log/access.log");
    let origin = Origin::start(OK, false).await;
    let servers = [origin.addr];
    let serving = Serving::start(logging(&path, LineFormat::Common), &[("Host:a.test", &servers)]);
    let request = "GET /x?y=z HTTP/1.1\r\nHost: a.test\r\nUser-Agent: me \"too\"\r\nConnection: close\r\n\r\n";
    exchange(serving.addr, request.as_bytes()).await;
    get(serving.addr, "b.test", "/").await;
    let lines = lines(&path, 2).await;
    let shape = format!(
        r#"^127\.0\.0\.1 - - \[\d\d/\w{{3}}/\d{{4}}:\d\d:\d\d:\d\d \+0000\] "GET /x\?y=z HTTP/1\.1" 200 2 "-" "me \\"too\\"" 1 "0" "http://{}" \d+ms$"#,
        origin.addr
    );
    assert!(regex::Regex::new(&shape).expect("a pattern").is_match(&lines[0]), "{}", lines[0]);
    assert!(
        lines[1].contains(r#""GET / HTTP/1.1" 404 19 "-" "-" 2 "backend not found" - "#),
        "{}",
        lines[1]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_a_line_however_it_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let origin = Origin::start(OK, false).await;
    let short = Origin::start(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", true).await;
    let (dead, good, cut) = ([nobody()], [origin.addr], [short.addr]);
    let both = [nobody(), origin.addr];
    let mut settings = logging(&path, LineFormat::Json);
    settings.limits.head_bytes_max = 2_000;
    let routes: &[(&str, &[SocketAddr])] = &[
        ("Host:good.test", &good),
        ("Host:dead.test", &dead),
        ("Host:both.test", &both),
        ("Host:cut.test", &cut),
        ("Host:empty.test", &[]),
    ];
    let serving = Serving::start(settings, routes);
    let addr = serving.addr;
    let post = "POST /p HTTP/1.1\r\nHost: good.test:80\r\nAuthorization: Basic eA==\r\n\
                Content-Length: 5\r\nConnection: close\r\n\r\nhello";
    exchange(addr, post.as_bytes()).await;
    get(addr, "unknown.test", "/").await;
    get(addr, "empty.test", "/").await;
    get(addr, "dead.test", "/").await;
    get(addr, "cut.test", "/").await;
    exchange(addr, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    let large = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(3_000));
    exchange(addr, large.as_bytes()).await;
    let seen = objects(&path, 7).await;
    let of = |status: u16, host: &str| {
        let is_it = |line: &&Value| {
            line["DownstreamStatus"] == status && line["RequestHost"].as_str().unwrap_or("") == host
        };
        seen.iter().find(is_it).unwrap_or_else(|| panic!("no {status} of {host} in {seen:#?}"))
    };
    let good = of(200, "good.test");
    for (name, expected) in [
        ("RequestMethod", json!("POST")),
        ("RequestContentSize", json!(5)),
        ("OriginStatus", json!(200)),
        ("OriginContentSize", json!(2)),
        ("DownstreamContentSize", json!(2)),
        ("BackendURL", json!(format!("http://{}", origin.addr))),
        ("BackendName", json!("backend-0")),
        ("RequestPort", json!("80")),
        ("RetryAttempts", json!(0)),
        ("request_Authorization", json!("REDACTED")),
        ("origin_X-From", json!("origin")),
        ("downstream_X-From", json!("origin")),
        ("downstream_Set-Cookie", json!("REDACTED")),
    ] {
        assert_eq!(good[name], expected, "{name} of {good:#}");
    }
    let (took, origin_took) = (good["Duration"].as_u64(), good["OriginDuration"].as_u64());
    assert!(origin_took > Some(0) && took >= origin_took, "{good:#}");
    assert_eq!(of(404, "unknown.test")["Error"], "no frontend takes it");
    assert_eq!(of(503, "empty.test")["Error"], "no healthy server");
    assert_eq!(of(503, "empty.test")["FrontendName"], "4");
    let dead = of(502, "dead.test");
    assert!(dead["Error"].as_str().expect("why").starts_with("server unreachable"), "{dead:#}");
    assert_eq!(dead["OriginStatus"], 0);
    assert_eq!(of(200, "cut.test")["Error"], "bad answer: its body ended early");
    assert_eq!(of(400, "")["Error"], "bad request: there are several Host lines");
    assert_eq!(of(431, "")["Error"], "the request's head is too large");
    // One of the two refuses, and comes last for a moment after it did.
    get(addr, "both.test", "/").await;
    get(addr, "both.test", "/").await;
    let seen = objects(&path, 9).await;
    let both: Vec<_> = seen.iter().filter(|line| line["RequestHost"] == "both.test").collect();
    let retries: u64 = both.iter().filter_map(|line| line["RetryAttempts"].as_u64()).sum();
    assert_eq!(retries, 1, "{both:#?}");
    assert!(both.iter().all(|line| line["OriginStatus"] == 200 && line.get("Error").is_none()));
    let counts: std::collections::BTreeSet<_> =
        seen.iter().filter_map(|line| line["RequestCount"].as_u64()).collect();
    assert_eq!(counts, (1..=9).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_an_answer_is_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let servers = [silent.local_addr().expect("an address")];
    let serving = Serving::start(logging(&path, LineFormat::Json), &[("Host:a.test", &servers)]);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
    let (mut taken, _) = silent.accept().await.expect("a request");
    head(&mut taken).await;
    drop(client);
    let line = &objects(&path, 1).await[0];
    assert_eq!((&line["DownstreamStatus"], &line["OriginStatus"]), (&json!(499), &json!(0)));
    assert_eq!(line["Error"], "the client left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_one_line_at_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    // It speaks the other protocol until the client goes.
    let switching = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::start(switching, false).await;
    let servers = [origin.addr];
    let serving = Serving::start(logging(&path, LineFormat::Json), &[("Host:a.test", &servers)]);
    let mut client = TcpStream::connect(serving.addr).await.expect("connected");
    let request = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("sent");
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.write_all(b"hello").await.expect("sent");
    let mut echo = vec![0; switching.len()];
    client.read_exact(&mut echo).await.expect("the other protocol");
    assert!(!path.exists() || fs::read(&path).expect("a file").is_empty(), "it has not ended");
    drop(client);
    let line = &objects(&path, 1).await[0];
    assert_eq!(line["RequestContentSize"], 5);
    assert_eq!(line["OriginContentSize"], switching.len());
    assert_eq!(line["DownstreamContentSize"], switching.len());
    assert_eq!((&line["DownstreamStatus"], &line["OriginStatus"]), (&json!(101), &json!(101)));
    assert_eq!(line["RequestPath"], "/ws");
}

/// What is under way when the time to finish is over has a line, however far it has come.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_at_a_stop_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let half = Origin::start(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", false).await;
    let switching = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switching = Origin::start(switching, false).await;
    let servers = [silent.local_addr().expect("an address"), half.addr, switching.addr];
    let routes: Vec<(&str, &[SocketAddr])> =
        ["Host:silent.test", "Host:half.test", "Host:switching.test"]
            .into_iter()
            .zip(servers.chunks(1))
            .collect();
    let serving = Serving::start(logging(&path, LineFormat::Json), &routes);
    let ask = async |host: &str| {
        let mut client = TcpStream::connect(serving.addr).await.expect("connected");
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let request = format!("GET /cut HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n");
        client.write_all(request.as_bytes()).await.expect("sent");
        client
    };
    let (mut waits, mut reads, mut speaks) =
        (ask("silent.test").await, ask("half.test").await, ask("switching.test").await);
    let (mut taken, _) = silent.accept().await.expect("a request");
    head(&mut taken).await;
    head(&mut reads).await;
    head(&mut speaks).await;
    assert_eq!(serving.running.drain(Duration::ZERO).await, 3);
    for client in [&mut waits, &mut reads, &mut speaks] {
        let _ = client.read_to_end(&mut Vec::new()).await;
    }
    let lines = objects(&path, 3).await;
    for (host, status) in [("silent.test", 503), ("half.test", 200), ("switching.test", 101)] {
        let line = lines.iter().find(|line| line["RequestHost"] == host);
        let line = line.unwrap_or_else(|| panic!("no line of {host} in {lines:#?}"));
        assert_eq!(line["DownstreamStatus"], status, "{host}");
        assert_eq!(line["Error"], "the time to finish before the stop was over", "{host}");
        assert_eq!(line["RequestPath"], "/cut", "{host}");
        assert!(line["BackendURL"].is_string(), "{line:#}");
    }
    assert_eq!(lines.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_place_of_an_error_is_no_retry() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let broken = Origin::start(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false).await;
    let pages = Origin::start(OK, false).await;
    let serving = Serving::start(logging(&path, LineFormat::Json), &[]);
    let (broken, pages) = ([broken.addr], [pages.addr]);
    let page = ErrorPage {
        status: vec!["500-599".to_owned()],
        backend: "backend-1".to_owned(),
        query: "/{status}.html".to_owned(),
    };
    let wishes =
        FrontendWishes { errors: [("all".to_owned(), page)].into(), ..FrontendWishes::default() };
    let routes: &[(&str, &[SocketAddr])] = &[("Host:a.test", &broken), ("Host:pages.test", &pages)];
    serving.publish(edited(config(routes), |frontend, _| {
        frontend.wishes = Some(Box::new(wishes.clone()));
    }));
    let answer = get(serving.addr, "a.test", "/").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.ends_with("ok"), "{answer}");
    let line = &objects(&path, 1).await[0];
    assert_eq!((&line["RetryAttempts"], &line["DownstreamStatus"]), (&json!(0), &json!(500)));
    assert_eq!(line["BackendURL"], format!("http://{}", pages[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_fields_say_what_is_logged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let origin = Origin::start(OK, false).await;
    let mut settings = logging(&path, LineFormat::Json);
    let log = settings.observe.access_log.as_mut().expect("wanted");
    log.filters.statuses = vec!["400-499".parse().expect("a range")];
    log.fields.keeps = false;
    log.fields.names.insert("DownstreamStatus".parse().expect("a field"), true);
    log.fields.lines = "drop".parse().expect("a mode");
    let servers = [origin.addr];
    let serving = Serving::start(settings, &[("Host:a.test", &servers)]);
    get(serving.addr, "a.test", "/").await;
    get(serving.addr, "b.test", "/").await;
    serving.running.drain(PATIENCE).await;
    let lines = objects(&path, 1).await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let keys: Vec<_> = lines[0].as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["DownstreamStatus", "level", "msg", "time"]);
}

/// Sends requests on one connection, and reads each answer to its end.
async fn ask_often(addr: SocketAddr, times: usize) {
    let mut client = TcpStream::connect(addr).await.expect("connected");
    for number in 0..times {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("sent");
        let answer = tokio::time::timeout(PATIENCE, head(&mut client)).await.expect("in time");
        assert!(answer.starts_with("HTTP/1.1 204 "), "{number}: {answer}");
    }
}

const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_lines_and_no_request() {
    let origin = Origin::start(EMPTY, false).await;
    let mut settings = logging(Path::new("/dev/full"), LineFormat::Common);
    settings.observe.access_log.as_mut().expect("wanted").waiting_max = 20;
    let servers = [origin.addr];
    let serving = Serving::start(settings, &[("Host:a.test", &servers)]);
    ask_often(serving.addr, 200).await;
    let live = std::sync::Arc::clone(&serving.state.live);
    // One batch is tried again and again, another one waits, the rest is lost.
    eventually("lines are dropped", || async { live.telling.lines_dropped.count() >= 160 }).await;
    eventually("the failure is told", || async { live.telling.log_failures.count() > 0 }).await;
    ask_often(serving.addr, 10).await;
    serving.running.drain(Duration::from_secs(5)).await;
    assert_eq!((live.telling.lines.count(), live.telling.lines_dropped.count()), (0, 210));
}

/// Herder in a container, beside a server, and with its access log on a small file system of the engine's.
struct Cramped {
    herder: Container,
    /// Sees the same files.
    shell: Container,
    _web: Container,
    addr: SocketAddr,
    admin: SocketAddr,
    asked: AtomicU64,
    // Goes after its containers.
    _volume: Volume,
}

impl Cramped {
    fn start(size: &str) -> Self {
        let volume = Volume::in_memory("log", size);
        let mount = format!("{}:/log", volume.name);
        let shell = Container::stubborn("log-shell", &["--volume", &mount]);
        let web = Container::run("log-web", herder_image(), &[], &["web-test"]);
        const IP: &str = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let rules = RULES.replace("SERVER", &format!("{}:8080", web.inspect(IP)));
        shell.exec(&["sh", "-c", "printf %s \"$0\" > /log/rules.toml", &rules]);
        let command = [
            "run",
            "--http=:8080",
            "--admin=:8000",
            "--file.filename=/log/rules.toml",
            "--accessLog.filePath=/log/access.log",
            "--accessLog.format=json",
            "--accessLog.bufferingSize=20",
        ];
        let herder = Container::run("log", herder_image(), &["--volume", &mount], &command);
        let ip = herder.inspect(IP).parse().expect("an address");
        let (addr, admin) = (SocketAddr::new(ip, 8080), SocketAddr::new(ip, 8000));
        Self { herder, shell, _web: web, addr, admin, asked: AtomicU64::new(0), _volume: volume }
    }

    /// Sends a request, which is answered whatever the file system does.
    async fn ask(&self) {
        let answer = get(self.addr, "a", "/").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        self.asked.fetch_add(1, Relaxed);
    }

    /// What the metric of the access log with this name says.
    async fn told(&self, name: &str) -> u64 {
        let metrics = get(self.admin, "a", "/metrics").await;
        let name = format!("herder_access_log_{name}_total ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
    }

    /// Sends requests until the file system has no room and lines are lost. A file system that is full already is tried
    /// again after a second only: what ends this is a time, not a number of requests.
    async fn fill(&self) {
        let (failures, dropped) = (self.told("failures").await, self.told("dropped").await);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for _ in 0..20 {
                self.ask().await;
            }
            let (now, lost) = (self.told("failures").await, self.told("dropped").await);
            if now > failures && lost > dropped {
                return;
            }
        }
        panic!("no line was lost: {}", self.shell.exec(&["df", "/log"]));
    }

    /// Looks through the log: nothing in it is half a line, but what is just being written.
    fn has_whole_lines(&self) {
        let text = self.shell.exec(&["sh", "-c", "cat /log/access.log; echo END"]);
        let (whole, _) = text.rsplit_once('\n').expect("lines");
        assert!(!whole.is_empty());
        for line in whole.lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(line["DownstreamStatus"], 200);
        }
    }

    /// Waits until lines are written again.
    async fn goes_on(&self) {
        let before = self.told("lines").await;
        eventually("lines are written again", || async {
            self.ask().await;
            self.told("lines").await > before
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_without_room_costs_lines_and_no_request() {
    let cramped = Cramped::start("64k");
    eventually("it serves", || async {
        // The entry points are bound before the admin side is.
        TcpStream::connect(cramped.admin).await.is_ok()
            && get(cramped.admin, "a", "/api").await.contains("\"one\"")
    })
    .await;
    cramped.shell.exec(&["sh", "-c", "head -c 24576 /dev/zero > /log/ballast"]);
    cramped.fill().await;
    // Somebody else makes room: the line that was half written is gone on with.
    cramped.shell.exec(&["rm", "/log/ballast"]);
    cramped.goes_on().await;
    cramped.has_whole_lines();
    cramped.fill().await;
    // The file is emptied under its writer's hands, as logrotate's copytruncate does.
    cramped.shell.exec(&["sh", "-c", ": > /log/access.log"]);
    cramped.goes_on().await;
    cramped.fill().await;
    // It is removed, and has room again once Herder has let go of it.
    cramped.shell.exec(&["rm", "/log/access.log"]);
    cramped.herder.tell("kill", &["--signal", "USR1"]);
    cramped.goes_on().await;
    let asked = cramped.asked.load(Relaxed);
    eventually("each line was written or counted as lost", || async {
        cramped.told("lines").await + cramped.told("dropped").await == asked
    })
    .await;
    cramped.has_whole_lines();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_nobody_reads_costs_lines_and_no_request() {
    const REQUESTS: u64 = 600;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let origin = Origin::start(EMPTY, false).await;
    let mut settings = logging(&path, LineFormat::Json);
    settings.observe.access_log.as_mut().expect("wanted").waiting_max = 50;
    let servers = [origin.addr];
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag");
    let mut open = fs::OpenOptions::new();
    let mut pipe = open.read(true).custom_flags(nonblock).open(&path).expect("a reader");
    let serving = Serving::start(settings, &[("Host:a.test", &servers)]);
    // A pipe holds 64 KiB: some 60 lines.
    ask_often(serving.addr, REQUESTS as usize).await;
    let telling = &serving.state.live.telling;
    assert!(telling.lines_dropped.count() > 0, "{telling:?}");
    assert_eq!(telling.log_failures.count(), 0, "a stall is no failure");
    // The reader goes on, and finds whole lines.
    let mut text = Vec::new();
    for _ in 0..500 {
        let _ = pipe.read_to_end(&mut text);
        let is_over = telling.lines.count() + telling.lines_dropped.count() == REQUESTS;
        if is_over
            && text.iter().filter(|byte| **byte == b'\n').count() as u64 == telling.lines.count()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(telling.lines.count() + telling.lines_dropped.count(), REQUESTS, "{telling:?}");
    let text = String::from_utf8(text).expect("text");
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a whole line");
        assert_eq!(line["DownstreamStatus"], 204);
    }
    assert_eq!(text.lines().count() as u64, telling.lines.count());
    // What comes from now on is written again.
    let before = telling.lines.count();
    ask_often(serving.addr, 1).await;
    eventually("it is written", || async { telling.lines.count() == before + 1 }).await;
}

const RULES: &str = r#"
[backends.one.servers.one]
url = "http://SERVER"
[frontends.one]
backend = "one"
[frontends.one.routes.any]
rule = "PathPrefix:/"
"#;

/// The whole program: the file is moved, a signal has it opened anew, and a stop writes what waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_is_opened_anew_at_a_signal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let origin = Origin::start(OK, false).await;
    let rules = dir.path().join("rules.toml");
    fs::write(&rules, RULES.replace("SERVER", &origin.addr.to_string())).expect("written");
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let (rules, log) = (flag("file.filename", &rules), flag("accessLog.filePath", &path));
    let mut herder = Herder::start(&["run", &rules, &log, "--requestId"]);
    eventually("it serves", || async { herder.get("a", "/").await.status == 200 }).await;
    fs::rename(&path, &moved).expect("moved");
    let answer = herder.get("a", "/before").await;
    assert!(answer.headers.contains_key("x-request-id"), "{:?}", answer.headers);
    let has = |path: &Path, word: &str| fs::read_to_string(path).unwrap_or_default().contains(word);
    eventually("the old file goes on", || async { has(&moved, "/before") }).await;
    assert!(!path.exists());
    herder.signal("USR1");
    eventually("the new file is there", || async { path.exists() }).await;
    for number in 0..20 {
        herder.get("a", &format!("/after-{number}")).await;
    }
    let metrics = herder.admin("/metrics").await.body;
    assert!(metrics.contains("herder_access_log_dropped_total 0"), "{metrics}");
    let health = herder.admin("/health").await.json();
    assert_eq!(health["access_log"]["dropped"], 0, "{health}");
    herder.signal("TERM");
    assert!(herder.wait().success());
    let text = fs::read_to_string(&path).expect("the new file");
    assert!((0..20).all(|number| text.contains(&format!("/after-{number} "))), "{text}");
    assert!(!has(&moved, "/after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn that_lines_are_written_again_is_told_with_how_many_were_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    // A file where a folder is wanted.
    let folder = dir.path().join("log");
    fs::write(&folder, "").expect("written");
    let rules = dir.path().join("rules.toml");
    fs::write(&rules, "").expect("written");
    let rules = format!("--file.filename={}", rules.display());
    let log = format!("--accessLog.filePath={}", folder.join("access.log").display());
    let herder = Herder::start(&["run", &rules, &log, "--accessLog.bufferingSize=2"]);
    eventually("the failure is told", || async {
        herder.log().contains("cannot write the access log")
    })
    .await;
    // Two wait, and as many may be in the writer's hands.
    for _ in 0..10 {
        herder.get("nobody", "/").await;
    }
    fs::remove_file(&folder).expect("removed");
    eventually("it is told", || async { herder.log().contains("the access log is written again") })
        .await;
    let log = herder.log();
    let told = log.lines().find(|line| line.contains("written again")).expect("it is told");
    let told: Value = serde_json::from_str(told).expect("JSON");
    let lost = told["lost"].as_u64().expect("a number");
    assert!((5..=10).contains(&lost), "{told}");
}

/// A grace may be long, and a file be moved in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_moved_is_opened_anew_before_a_stop_is_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let server = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let rules = dir.path().join("rules.toml");
    let addr = server.local_addr().expect("an address");
    fs::write(&rules, RULES.replace("SERVER", &addr.to_string())).expect("written");
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let (rules, log) = (flag("file.filename", &rules), flag("accessLog.filePath", &path));
    let mut herder = Herder::start(&["run", &rules, &log, "--lifeCycle.graceTimeOut=60s"]);
    eventually("it is routed", || async {
        herder.admin("/api/providers").await.body.contains("PathPrefix")
    })
    .await;
    let request = tokio::spawn(herder.get("a", "/late"));
    let (mut server, _) = server.accept().await.expect("the request arrives");
    herder.signal("TERM");
    eventually("it drains", || async { herder.log().contains("draining") }).await;
    fs::rename(&path, &moved).expect("moved");
    herder.signal("USR1");
    eventually("the new file is there", || async { path.exists() }).await;
    server.write_all(OK).await.expect("sent");
    assert_eq!(request.await.expect("no panic").status, 200);
    assert!(herder.wait().success());
    assert!(fs::read_to_string(&path).expect("the new file").contains("/late"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_told_to_all_and_believed_from_the_trusted_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nx-request-id: mine-1\r\n\
        X_Request_Id: mine-2\r\nx.request.id: mine-3\r\n\r\n";
    for is_trusted in [false, true] {
        let path = dir.path().join(format!("access-{is_trusted}.log"));
        let origin = Origin::start(OK, false).await;
        let mut settings = logging(&path, LineFormat::Json);
        settings.observe.request_id = Some("X-Request-Id".parse().expect("a name"));
        if is_trusted {
            settings.trusted_ips = vec!["127.0.0.0/8".parse().expect("a network")];
        }
        let servers = [origin.addr];
        let serving = Serving::start(settings, &[("Host:a.test", &servers)]);
        let mut client = TcpStream::connect(serving.addr).await.expect("connected");
        client.write_all(request).await.expect("sent");
        let answer = read(&mut client).await;
        let id = objects(&path, 1).await[0]["RequestId"].as_str().expect("an id").to_owned();
        assert_eq!(id == "mine-1", is_trusted, "{id}");
        assert!(answer.contains(&format!("\r\nX-Request-Id: {id}\r\n")), "{answer}");
        let sent = origin.text();
        assert!(sent.contains(&format!("X-Request-Id: {id}\r\n")), "{sent}");
        assert_eq!(sent.to_lowercase().matches("x-request-id").count(), 1, "{sent}");
        assert!(!sent.contains("mine-2") && !sent.contains("mine-3"), "{sent}");
        // Our own answers have one, too.
        let unknown = get(serving.addr, "b.test", "/").await;
        assert!(unknown.contains("\r\nX-Request-Id: "), "{unknown}");
    }
}
