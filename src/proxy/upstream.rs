//! Connections to servers: taken from the worker's own pool, or dialled; given back when an answer has ended.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::body::{ClientBody, ClientBroke, TooSlow};
use super::error::Error;
use super::worker::{self, Clock};
use crate::config::Scheme;
use crate::settings::Limits;

/// Where a connection leads.
type Place = (Scheme, SocketAddr);

/// One worker's connections to servers.
pub(super) struct Upstreams {
    idle: Mutex<HashMap<Place, Vec<Idle>>>,
    tls: Arc<ClientConfig>,
    limits: Limits,
    clock: Clock,
}

struct Idle {
    sender: SendRequest<ClientBody>,
    since_ms: u64,
}

/// Why a request was not answered, and whether another server may have it.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The request, where not a byte of it was sent.
    pub(super) unsent: Option<Request<ClientBody>>,
    /// Whether the server refused the connection, or did not take it in time.
    pub(super) is_refusal: bool,
}

impl Upstreams {
    pub(super) fn new(tls: Arc<ClientConfig>, limits: Limits, clock: Clock) -> Self {
        Self { idle: Mutex::default(), tls, limits, clock }
    }

    /// Sends a request to one server and waits for the head of its answer.
    ///
    /// One that has no body and may be repeated is sent once more when a kept-alive connection turns out to be
    /// dead (RFC 9112, section 9.3.1).
    pub(super) async fn send(
        self: &Arc<Self>,
        place: Place,
        mut request: Request<ClientBody>,
        may_repeat: bool,
        progress: &AtomicU64,
    ) -> Result<Response<Incoming>, Failure> {
        while let Some(sender) = self.take(place) {
            let spare = may_repeat.then(|| without_body(&request));
            match self.ask(place, sender, request, progress).await {
                Err(Failure { unsent: Some(back), .. }) => request = back,
                Err(failure) => match (failure.error, spare) {
                    (Error::Unreachable(_), Some(spare)) => {
                        request = spare;
                        break;
                    }
                    (error, _) => return Err(Failure { error, ..failure }),
                },
                Ok(response) => return Ok(response),
            }
        }
        match timeout(self.limits.connect_timeout, self.dial(place)).await {
            Ok(Ok(sender)) => self.ask(place, sender, request, progress).await,
            Ok(Err(reason)) => {
                let error = Error::Unreachable(reason);
                Err(Failure { error, unsent: Some(request), is_refusal: true })
            }
            Err(_) => {
                let error = Error::SlowServer("it did not take the connection");
                Err(Failure { error, unsent: Some(request), is_refusal: true })
            }
        }
    }

    /// Sends on one connection. It goes back to the pool when the answer has ended.
    async fn ask(
        self: &Arc<Self>,
        place: Place,
        mut sender: SendRequest<ClientBody>,
        request: Request<ClientBody>,
        progress: &AtomicU64,
    ) -> Result<Response<Incoming>, Failure> {
        let mut answer = std::pin::pin!(sender.try_send_request(request));
        let result = loop {
            let before = progress.load(Relaxed);
            match timeout(self.limits.response_timeout, answer.as_mut()).await {
                Ok(result) => break result,
                // The client is still sending: the server need not answer yet.
                Err(_) if progress.load(Relaxed) > before => {}
                Err(_) => {
                    let error = Error::SlowServer("no answer in time");
                    return Err(Failure { error, unsent: None, is_refusal: false });
                }
            }
        };
        match result {
            Ok(response) => {
                self.keep(place, sender);
                Ok(response)
            }
            Err(mut failed) => {
                let unsent = failed.take_message();
                let error = explain(failed.error());
                Err(Failure { error, unsent, is_refusal: false })
            }
        }
    }

    /// A kept-alive connection that is still good, the youngest first.
    fn take(&self, place: Place) -> Option<SendRequest<ClientBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(&place)?;
        let oldest = self.oldest_ms();
        while let Some(Idle { sender, since_ms }) = connections.pop() {
            if since_ms >= oldest && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Waits, in a task of its own, until the connection is free, and puts it into the pool.
    fn keep(self: &Arc<Self>, place: Place, mut sender: SendRequest<ClientBody>) {
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            if sender.ready().await.is_err() {
                return;
            }
            let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let connections = idle.entry(place).or_default();
            if connections.len() < pool.limits.upstream_idle_max {
                connections.push(Idle { sender, since_ms: pool.clock.now_ms() });
            }
        });
    }

    /// Closes what has idled for too long or died. Called now and then by the worker.
    pub(super) fn sweep(&self) {
        let oldest = self.oldest_ms();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, connections| {
            connections.retain(|idle| idle.since_ms >= oldest && !idle.sender.is_closed());
            !connections.is_empty()
        });
    }

    fn oldest_ms(&self) -> u64 {
        self.clock.now_ms().saturating_sub(as_ms(self.limits.upstream_idle_timeout))
    }

    async fn dial(&self, (scheme, addr): Place) -> Result<SendRequest<ClientBody>, String> {
        let stream = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
        worker::tune(&stream);
        match scheme {
            Scheme::Http => self.handshake(TokioIo::new(stream)).await,
            Scheme::Https => {
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                let name = ServerName::IpAddress(addr.ip().into());
                let stream = connector.connect(name, stream).await;
                self.handshake(TokioIo::new(stream.map_err(|error| error.to_string())?)).await
            }
        }
    }

    async fn handshake<S>(&self, io: S) -> Result<SendRequest<ClientBody>, String>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(self.limits.head_bytes_max.max(HYPER_BUFFER_MIN))
            .max_headers(self.limits.header_lines_max)
            .preserve_header_case(false)
            .handshake(io)
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            // What breaks a connection comes back through its sender.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

/// The same request once more.
fn without_body(request: &Request<ClientBody>) -> Request<ClientBody> {
    let mut copy = Request::new(ClientBody::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// hyper panics below this.
pub(super) const HYPER_BUFFER_MIN: usize = 8_192;

/// Whose fault a broken exchange is.
fn explain(error: &hyper::Error) -> Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<TooSlow>() {
            return Error::SlowClient;
        }
        if cause.is::<ClientBroke>() {
            return Error::BadRequest("the body cannot be read");
        }
        source = cause.source();
    }
    if error.is_parse() || error.is_parse_too_large() {
        return Error::BadAnswer(error.to_string());
    }
    Error::Unreachable(error.to_string())
}

fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
