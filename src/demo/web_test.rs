//! A service to try routes with: every path answers who served it and what arrived there.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /health` | 200 `OK`, or 503 `FAILING` after it was switched |
//! | `POST` or `PUT /health/fail`, `/health/pass` | switches `/health`; a `GET` changes nothing (405) |
//! | anything else | `Real-Server: NAME`, the request line and its headers; HTML where the client accepts it |
//!
//! Each answer has the header `Real-Server` too. The switch is open to whoever reaches the service: it is made
//! for tests and demonstrations.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use askama::Template;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::settings::Listen;

/// Connections open at once; further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 1024;
/// A request head, in bytes; a longer one is answered with 431.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header lines of one head; more are answered with 431.
pub const HEADER_LINES_MAX: usize = 100;
/// A request body, in bytes; it is read and thrown away, and a longer one is answered with 413.
pub const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// For a request head to arrive, and for a kept-alive connection to stay idle. Longer than Herder keeps an idle
/// connection to a server (60 s), so that it is not this side that closes first.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The longest pause between two pieces of a request body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may leave what we sent unacknowledged.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// After the stop signal: how long requests under way may take. Less than the 10 s after which `docker stop` kills.
pub const GRACE: Duration = Duration::from_secs(8);

/// Connections the kernel holds while all of [`CONNECTIONS_MAX`] are taken.
const BACKLOG: i32 = 1024;
/// A rest after a failed accept: what failed (no file descriptor, no memory) needs a moment to change.
const ACCEPT_REST: Duration = Duration::from_millis(50);

const REAL_SERVER: HeaderName = HeaderName::from_static("real-server");

/// The test service, bound to its port and not yet serving.
#[derive(Debug)]
pub struct WebTest {
    listener: TcpListener,
    local_addr: SocketAddr,
    site: Arc<Site>,
}

/// Turns `/health` of one [`WebTest`] to failing and back, from inside the process.
#[derive(Clone, Debug)]
pub struct HealthSwitch(Arc<Site>);

/// What all connections share.
#[derive(Debug)]
struct Site {
    name: String,
    name_header: HeaderValue,
    failing: AtomicBool,
}

impl WebTest {
    /// Binds the address; `name` is what the pages call this server, mostly a host name.
    ///
    /// # Errors
    /// When the address cannot be bound, or the name cannot stand in a header.
    pub fn bind(listen: Listen, name: impl Into<String>) -> io::Result<Self> {
        let name = name.into();
        let name_header = HeaderValue::from_str(&name).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} cannot stand in a header"),
            )
        })?;
        let listener = listen.take(bind)?;
        let local_addr = listener.local_addr()?;
        let site = Site { name, name_header, failing: AtomicBool::new(false) };
        Ok(Self { listener, local_addr, site: Arc::new(site) })
    }

    /// Where it listens, with the port the system chose where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The switch of its `/health`.
    pub fn health_switch(&self) -> HealthSwitch {
        HealthSwitch(Arc::clone(&self.site))
    }

    /// Serves until `shutdown` resolves, then finishes what is under way, for [`GRACE`] at most.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        tokio::select! {
            () = self.accept(&mut connections, &stopped) => {}
            () = shutdown => {}
        }
        // No new connection is taken from here on, and each open one ends after its request.
        drop(self.listener);
        drop(stop);
        let finish = async { while connections.join_next().await.is_some() {} };
        if timeout(GRACE, finish).await.is_err() {
            connections.shutdown().await;
        }
    }

    /// Takes connections, for ever.
    async fn accept(&self, connections: &mut JoinSet<()>, stopped: &watch::Receiver<()>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(ACCEPT_REST).await;
                continue;
            };
            let (site, stopped) = (Arc::clone(&self.site), stopped.clone());
            connections.spawn(async move {
                serve(stream, site, stopped).await;
                drop(permit);
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

impl HealthSwitch {
    /// Makes `/health` answer 503 (`true`) or 200.
    pub fn set_failing(&self, failing: bool) {
        self.0.failing.store(failing, Ordering::Relaxed);
    }

    /// Whether `/health` answers 503.
    pub fn is_failing(&self) -> bool {
        self.0.failing.load(Ordering::Relaxed)
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// One connection, to its end.
async fn serve(stream: TcpStream, site: Arc<Site>, mut stopped: watch::Receiver<()>) {
    // Where an option cannot be set the connection still works, only less briskly.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(SEND_TIMEOUT));
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADER_LINES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // An error here is the client's: it left, or it did not speak HTTP and was told so.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let mut response = match drain(body).await {
            Err(status) => plain(status, format!("{status}\n")),
            Ok(()) => match head.uri.path() {
                "/health" => self.health(),
                "/health/fail" => self.switch(&head.method, true),
                "/health/pass" => self.switch(&head.method, false),
                _ => self.page(&head),
            },
        };
        let headers = response.headers_mut();
        headers.insert(REAL_SERVER, self.name_header.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn health(&self) -> Response<Full<Bytes>> {
        if self.failing.load(Ordering::Relaxed) {
            plain(StatusCode::SERVICE_UNAVAILABLE, "FAILING\n".to_owned())
        } else {
            plain(StatusCode::OK, "OK\n".to_owned())
        }
    }

    /// A GET must change nothing: crawlers, previews and browsers that guess ahead send it unasked.
    fn switch(&self, method: &Method, failing: bool) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::POST | Method::PUT) {
            let text = "Use POST or PUT: curl -X POST .../health/fail\n".to_owned();
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, PUT"));
            return response;
        }
        self.failing.store(failing, Ordering::Relaxed);
        let now = if failing { "fails" } else { "passes" };
        plain(StatusCode::OK, format!("/health of {} {now} from now on\n", self.name))
    }

    fn page(&self, head: &http::request::Parts) -> Response<Full<Bytes>> {
        let request = describe(head);
        if !accepts_html(&head.headers) {
            return plain(StatusCode::OK, format!("Real-Server: {}\n\n{request}", self.name));
        }
        let page = Page { name: &self.name, hue: hue(&self.name), request: &request };
        match page.render() {
            Ok(html) => text(StatusCode::OK, "text/html; charset=utf-8", html),
            Err(e) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
        }
    }
}

/// The page for people.
#[derive(Template)]
#[template(path = "web-test.html")]
struct Page<'a> {
    name: &'a str,
    hue: u32,
    request: &'a str,
}

/// Reads a body to its end and forgets it, so that the connection can carry the next request.
async fn drain(mut body: Incoming) -> Result<(), StatusCode> {
    let mut bytes = 0u64;
    loop {
        let frame =
            timeout(BODY_TIMEOUT, body.frame()).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > BODY_BYTES_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
}

/// The request line and all headers, one a line, with names as people write them: `X-Forwarded-For`.
fn describe(head: &http::request::Parts) -> String {
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {value}", title_case(name.as_str()));
    }
    text
}

fn title_case(name: &str) -> String {
    let mut at_start = true;
    let upper_first = |c: char| {
        let c = if at_start { c.to_ascii_uppercase() } else { c };
        at_start = c == '-';
        c
    };
    name.chars().map(upper_first).collect()
}

fn accepts_html(headers: &http::HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|v| v.contains("text/html")))
}

/// A colour of its own for each server, so that a reload shows at a glance who answered.
fn hue(name: &str) -> u32 {
    // FNV-1a mixes names that differ in one digit; the golden angle would need their order.
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    hash % 360
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    text(status, "text/plain; charset=utf-8", body)
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    /// A service on loopback that ends when the sender is used or dropped.
    struct Running {
        addr: SocketAddr,
        switch: HealthSwitch,
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    }

    fn start(name: &str) -> Running {
        let service =
            WebTest::bind("127.0.0.1:0".parse().expect("an address"), name).expect("bound");
        let (addr, switch) = (service.local_addr(), service.health_switch());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(service.run(async {
            let _ = stopped.await;
        }));
        Running { addr, switch, stop, task }
    }

    /// Sends bytes as they are and reads to the end.
    async fn send(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer in UTF-8");
        answer
    }

    #[track_caller]
    fn check_contains(answer: &str, wanted: &[&str]) {
        for part in wanted {
            assert!(answer.contains(part), "no {part:?} in:\n{answer}");
        }
    }

    #[tokio::test]
    async fn shows_who_served_and_what_arrived() {
        let web = start("web-1");
        let request = "POST /some/path?q=1 HTTP/1.1\r\nhost: a.local\r\nx-forwarded-for: 10.0.0.9\r\n\
                       content-length: 4\r\nconnection: close\r\n\r\nbody";
        let answer = send(web.addr, request).await;
        let wanted = [
            "HTTP/1.1 200 OK\r\n",
            "real-server: web-1\r\n",
            "content-type: text/plain; charset=utf-8\r\n",
            "Real-Server: web-1\n\nPOST /some/path?q=1 HTTP/1.1\n",
            "Host: a.local\n",
            "X-Forwarded-For: 10.0.0.9\n",
        ];
        check_contains(&answer, &wanted);
    }

    #[tokio::test]
    async fn gives_people_a_page_that_says_the_same() {
        let web = start("web-<2>");
        let request = "GET /a/b HTTP/1.0\r\naccept: text/html,*/*\r\nx-probe: <script>\r\n\r\n";
        let answer = send(web.addr, request).await;
        check_contains(
            &answer,
            &["text/html", "Real-Server: web-&#60;2&#62;", "GET /a/b HTTP/1.0"],
        );
        assert!(!answer.contains("<script>"), "a header's value got through unescaped:\n{answer}");
    }

    #[tokio::test]
    async fn health_is_switched_by_post_and_by_put_only() {
        let web = start("web-3");
        let ask = async |method: &str, path: &str| {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            send(web.addr, &head).await
        };
        check_contains(&ask("GET", "/health").await, &["200 OK", "\r\n\r\nOK\n"]);
        check_contains(&ask("GET", "/health/fail").await, &["405 Method", "allow: POST, PUT"]);
        check_contains(&ask("GET", "/health").await, &["200 OK"]);
        check_contains(&ask("POST", "/health/fail").await, &["200 OK", "fails from now on"]);
        check_contains(&ask("GET", "/health").await, &["503 Service", "FAILING\n"]);
        assert!(web.switch.is_failing());
        check_contains(&ask("GET", "/").await, &["200 OK"]);
        check_contains(&ask("PUT", "/health/pass").await, &["200 OK", "passes from now on"]);
        check_contains(&ask("GET", "/health").await, &["200 OK"]);
        web.switch.set_failing(true);
        check_contains(&ask("GET", "/health").await, &["503 Service"]);
    }

    #[tokio::test]
    async fn a_head_over_a_limit_is_refused() {
        let web = start("web-4");
        let many = "a: b\r\n".repeat(HEADER_LINES_MAX + 1);
        let answer = send(web.addr, &format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await;
        check_contains(&answer, &["431 "]);
    }

    #[tokio::test]
    async fn finishes_what_is_under_way_and_then_ends() {
        let web = start("web-5");
        let mut idle = TcpStream::connect(web.addr).await.expect("a connection");
        idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        let mut piece = [0; 512];
        assert_ne!(idle.read(&mut piece).await.expect("an answer"), 0);

        let mut busy = TcpStream::connect(web.addr).await.expect("a connection");
        // `100 Continue` shows that the request has reached its handler.
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        busy.write_all(head.as_bytes()).await.expect("sent");
        let n = busy.read(&mut piece).await.expect("an interim answer");
        assert!(piece[..n].starts_with(b"HTTP/1.1 100"));

        web.stop.send(()).expect("still serving");
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.expect("the idle connection is closed");
        busy.write_all(b"xy").await.expect("sent");
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.expect("an answer");
        check_contains(&answer, &["200 OK", "connection: close", "Real-Server: web-5"]);
        timeout(GRACE / 2, web.task).await.expect("ends by itself").expect("no panic");
        TcpStream::connect(web.addr).await.expect_err("nobody listens any more");
    }

    #[tokio::test]
    async fn a_bad_name_is_refused() {
        let error = WebTest::bind(":0".parse().expect("an address"), "a\nb").expect_err("refused");
        assert!(error.to_string().contains("cannot stand in a header"), "{error}");
    }

    #[test]
    fn names_are_shown_as_people_write_them() {
        assert_eq!(title_case("x-forwarded-for"), "X-Forwarded-For");
        assert_ne!(hue("web-test-1"), hue("web-test-2"));
    }
}
