//! A Rancher 1.x metadata service, as the real one answers (rancher-metadata 0.7.4), fed by the demo and by tests.
//!
//! `GET /` lists the versions, `GET /VERSION/PATH` walks a tree of answers, as text or as JSON, and
//! `GET /VERSION/version?wait=true&value=OLD&maxWait=SECONDS` waits for a change.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The versions it answers to, as the real one lists them.
pub const VERSIONS: [&str; 4] = ["2015-07-25", "2015-12-19", "2016-07-29", "latest"];

/// Connections open at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// How long the port is left alone when the system has no file left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Long polls that may wait at once; further ones are answered at once.
const WAITERS_MAX: usize = 256;

/// The longest wait, and the wait where none is named, as in the real one.
const WAIT_MAX: Duration = Duration::from_secs(60);
const WAIT_DEFAULT: Duration = Duration::from_secs(10);

/// What is answered: a tree for everybody, and trees for single clients, by their address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// For every client: `services`, `stacks`, `containers`, `hosts` …
    pub default: Value,
    /// For one client: looked into first, `self` above all.
    pub by_client: BTreeMap<IpAddr, Value>,
}

/// Bound, not yet serving.
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    handle: Handle,
}

/// Changes the answers of a running server.
#[derive(Clone)]
pub struct Handle {
    current: Arc<watch::Sender<(u64, Arc<Answers>)>>,
    waiters: Arc<Semaphore>,
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// When the port cannot be taken.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn bind(addr: SocketAddr, answers: Answers) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let addr = listener.local_addr()?;
        let current = Arc::new(watch::Sender::new((1, Arc::new(answers))));
        let waiters = Arc::new(Semaphore::new(WAITERS_MAX));
        Ok(Self { listener, addr, handle: Handle { current, waiters } })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes its answers while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `shutdown` resolves. Connections that are open then are closed.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let app = Router::new().fallback(answer).with_state(self.handle);
        let mut connections = JoinSet::new();
        let accept = async {
            loop {
                tokio::select! {
                    accepted = self.listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                        // What cannot be accepted now can be in a moment.
                        let Ok((stream, client)) = accepted else {
                            sleep(ACCEPT_PAUSE).await;
                            continue;
                        };
                        let app = app.clone().layer(Extension(ConnectInfo(client)));
                        connections.spawn(serve(stream, app));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = shutdown => {}
        }
    }
}

/// One connection, to its end, whichever way that comes.
async fn serve(stream: TcpStream, app: Router) {
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
}

impl Handle {
    /// Puts other answers into force: the version moves on, and who waits is woken.
    pub fn set(&self, answers: Answers) {
        self.current.send_modify(|current| *current = (current.0 + 1, Arc::new(answers)));
    }
}

async fn answer(
    State(handle): State<Handle>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let is_json = headers.get(header::ACCEPT).is_some_and(|accept| {
        accept.to_str().is_ok_and(|accept| accept.contains("application/json"))
    });
    if method != Method::GET && method != Method::HEAD {
        return failure(is_json, StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    }
    let mut path = uri.path().split('/').filter(|part| !part.is_empty());
    let Some(version) = path.next() else {
        return tree(is_json, &json!(VERSIONS));
    };
    if !VERSIONS.contains(&version) {
        return failure(is_json, StatusCode::NOT_FOUND, "Invalid version");
    }
    let decoded = |part| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let path: Vec<String> = path.map(decoded).collect();
    if path == ["version"] {
        let version = version_of(&handle, &query).await;
        return tree(is_json, &json!(version.to_string()));
    }
    let answers = Arc::clone(&handle.current.borrow().1);
    match find(&answers, client.ip(), &path) {
        Some(mut value) => {
            // The version stands beside the other keys, and moves on its own.
            if let (Value::Object(map), true) = (&mut value, path.is_empty()) {
                let version = handle.current.borrow().0;
                map.insert("version".to_owned(), json!(version.to_string()));
            }
            tree(is_json, &value)
        }
        None => failure(is_json, StatusCode::NOT_FOUND, "Not found"),
    }
}

/// The version now, or, where that is asked for, as soon as it differs.
async fn version_of(handle: &Handle, query: &HashMap<String, String>) -> u64 {
    let mut current = handle.current.subscribe();
    let is_wait = query.get("wait").is_some_and(|wait| wait == "true");
    let known = query.get("value").cloned().unwrap_or_default();
    if is_wait && let Ok(_permit) = handle.waiters.try_acquire() {
        let seconds = query.get("maxWait").and_then(|seconds| seconds.parse().ok());
        let limit = seconds.map_or(WAIT_DEFAULT, Duration::from_secs).min(WAIT_MAX);
        let differs = current.wait_for(|(version, _)| version.to_string() != known);
        // Time over is an answer too: the version as it was.
        let _ = timeout(limit, differs).await;
    }
    current.borrow().0
}

/// Walks the client's own tree, and where that has not the path's first key, everybody's.
fn find(answers: &Answers, client: IpAddr, path: &[String]) -> Option<Value> {
    let own = answers.by_client.get(&client);
    let first = path.first();
    let tree = match (own, first) {
        (Some(own), Some(first)) if own.get(first).is_some() => own,
        (Some(own), None) => own,
        _ => &answers.default,
    };
    path.iter().try_fold(tree, |value, key| child(value, key)).cloned()
}

/// A key of a map; of a list the place, or the entry of that name.
fn child<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(key),
        Value::Array(list) => {
            let by_name =
                || list.iter().find(|e| e.get("name").and_then(Value::as_str) == Some(key));
            key.parse().ok().and_then(|place: usize| list.get(place)).or_else(by_name)
        }
        _ => None,
    }
}

fn tree(is_json: bool, value: &Value) -> Response {
    if is_json {
        return ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], as_text(value)).into_response()
}

/// A map lists its keys, a list its entries by place and name, a leaf prints its value.
fn as_text(value: &Value) -> String {
    let holds_more = |value: &Value| matches!(value, Value::Object(_) | Value::Array(_));
    let mut text = String::new();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let mark = if holds_more(value) { "/" } else { "" };
                let _ = writeln!(text, "{key}{mark}");
            }
        }
        Value::Array(list) => {
            for (place, entry) in list.iter().enumerate() {
                let _ = match (entry, entry.get("name").and_then(Value::as_str)) {
                    (_, Some(name)) => writeln!(text, "{place}={name}"),
                    (Value::String(leaf), None) => writeln!(text, "{leaf}"),
                    (entry, None) if holds_more(entry) => writeln!(text, "{place}/"),
                    (entry, None) => writeln!(text, "{entry}"),
                };
            }
        }
        Value::String(leaf) => text.push_str(leaf),
        Value::Null => {}
        leaf => text = leaf.to_string(),
    }
    text
}

fn failure(is_json: bool, status: StatusCode, message: &str) -> Response {
    match is_json {
        true => {
            let body = json!({"code": status.as_u16(), "message": message, "type": "error"});
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, body.to_string()).into_response()
        }
        false => {
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (status, kind, message.to_owned()).into_response()
        }
    }
}
