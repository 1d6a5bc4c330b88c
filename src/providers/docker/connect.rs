//! Connections to the daemon: unix socket, TCP, TCP with TLS.
//!
//! bollard negotiates the API version and reads events; its answers to list and inspect are strict (one unknown
//! word fails the whole list) and unbounded, so those two are asked here, over the same transport, as bytes.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::model::port_of;
use crate::providers::Error;
use crate::settings::{DockerSettings, DockerTls};
use crate::tls::{self, Identity, Pem, Trust};

/// For a connection to the daemon, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// From a request to the head of the answer, for what bollard asks: the version, the opening of the events.
const HEAD_TIMEOUT_S: u64 = 10;

/// A daemon on another host that vanished without a word is noticed after about three of these.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Older daemons have neither the health checks nor the event filters we rely on.
const API_OLDEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 24 };

/// The error text of a daemon is quoted up to here.
const REASON_CHARS_MAX: usize = 300;

/// A daemon we agreed on an API version with.
pub(super) struct Api {
    /// For the version and the events.
    pub(super) client: bollard::Docker,
    /// For everything else.
    pub(super) transport: Transport,
}

impl Api {
    /// Agrees on the newest API version that both sides speak.
    ///
    /// # Errors
    /// When nobody answers within [`HEAD_TIMEOUT_S`], or the daemon is older than API 1.24.
    pub(super) async fn connect(transport: &Transport) -> Result<Self, Error> {
        let sender = transport.clone();
        let client = bollard::Docker::connect_with_custom_transport(
            move |request: BollardRequest| sender.clone().send_for_bollard(request),
            Some("http://docker"),
            HEAD_TIMEOUT_S,
            API_DEFAULT_VERSION,
        );
        let client = client.map_err(|error| transport.error(error))?;
        let limit = Duration::from_secs(HEAD_TIMEOUT_S);
        let agreed = timeout(limit, client.negotiate_version()).await;
        let client = agreed.map_err(|_| transport.too_slow("/version", limit))?;
        let client = client.map_err(|error| transport.error(error))?;
        transport.check_version(&client.client_version())?;
        Ok(Self { client, transport: transport.clone() })
    }

    /// The daemon's own version: `20.10.24`.
    pub(super) async fn version(&self) -> Result<String, Error> {
        let version = self.client.version().await.map_err(|e| self.transport.error(e))?;
        Ok(version.version.unwrap_or_else(|| "unknown".to_owned()))
    }

    /// What the daemon answers to a GET of this path; none when it says 404.
    ///
    /// # Errors
    /// When the answer does not come, is longer than `bytes_max`, takes longer than `limit`, or is an error.
    pub(super) async fn get(
        &self,
        path: &str,
        bytes_max: usize,
        limit: Duration,
    ) -> Result<Option<Bytes>, Error> {
        let version = self.client.client_version();
        let path = format!("/v{version}{path}");
        let answer = timeout(limit, self.transport.get(&path, bytes_max)).await;
        answer.unwrap_or_else(|_| Err(self.transport.too_slow(&path, limit)))
    }
}

/// Opens one connection a request, as Docker's own clients may: the pauses between our requests are long.
#[derive(Clone)]
pub(super) struct Transport(Arc<Inner>);

struct Inner {
    endpoint: String,
    target: Target,
    /// The daemon's clock as its last answer told it, in seconds since 1970; 0 before the first.
    clock_s: AtomicI64,
    /// The other end of the last connection, where that was another machine.
    remote: Mutex<Option<IpAddr>>,
}

enum Target {
    Unix(PathBuf),
    Tcp { host: String, port: u16, tls: Option<(TlsConnector, ServerName<'static>)> },
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type BollardAnswer =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, bollard::errors::Error>> + Send>>;

impl Transport {
    /// Whether it leads to a socket of this machine.
    pub(super) fn is_socket(&self) -> bool {
        matches!(self.0.target, Target::Unix(_))
    }

    /// Reads the endpoint and the certificates; connects to nothing.
    ///
    /// # Errors
    /// When the endpoint is not one, or a certificate file cannot be read.
    pub(super) fn new(settings: &DockerSettings) -> Result<Self, Error> {
        let endpoint = endpoint(settings);
        let target = target(&settings.endpoint, settings.tls.as_ref());
        let target =
            target.map_err(|reason| Error::Unreachable { endpoint: endpoint.clone(), reason })?;
        let inner =
            Inner { endpoint, target, clock_s: AtomicI64::new(0), remote: Mutex::new(None) };
        Ok(Self(Arc::new(inner)))
    }

    /// The daemon's address, where it is asked over the network and is not on this host.
    pub(super) fn remote_host(&self) -> Option<IpAddr> {
        *self.0.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The daemon's clock as its last answer told it, in seconds since 1970; ours before that.
    pub(super) fn daemon_clock_s(&self) -> i64 {
        let ours = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        match self.0.clock_s.load(Ordering::Relaxed) {
            0 => i64::try_from(ours()).unwrap_or(0),
            theirs => theirs,
        }
    }

    /// Our own error, if bollard carried one, else its own in our words.
    pub(super) fn error(&self, error: bollard::errors::Error) -> Error {
        use bollard::errors::Error as Theirs;
        match error {
            Theirs::IOError { err } => match err.downcast::<Error>() {
                Ok(ours) => ours,
                Err(err) => self.unreachable(err.to_string()),
            },
            Theirs::DockerResponseServerError { status_code, message } => {
                self.refused(status_code, &message)
            }
            Theirs::RequestTimeoutError => {
                self.too_slow("the request", Duration::from_secs(HEAD_TIMEOUT_S))
            }
            Theirs::HyperResponseError { err } => self.unreachable(words(&err)),
            other => self.bad_answer(other.to_string()),
        }
    }

    /// An answer that cannot be used.
    pub(super) fn bad_answer(&self, reason: impl Into<String>) -> Error {
        Error::BadAnswer { endpoint: self.0.endpoint.clone(), reason: reason.into() }
    }

    /// Nobody there, or no longer.
    pub(super) fn unreachable(&self, reason: impl Into<String>) -> Error {
        Error::Unreachable { endpoint: self.0.endpoint.clone(), reason: reason.into() }
    }

    fn too_slow(&self, what: &str, limit: Duration) -> Error {
        let reason = format!("{what} took longer than {} s", limit.as_secs());
        Error::Limit { endpoint: self.0.endpoint.clone(), reason }
    }

    fn refused(&self, status: u16, message: &str) -> Error {
        let message: String = message.trim().chars().take(REASON_CHARS_MAX).collect();
        let hint = match status {
            401 | 403 => {
                "; where a socket proxy stands between, let it pass /version, /containers and /events"
            }
            _ => "",
        };
        self.bad_answer(format!("status {status}: {message}{hint}"))
    }

    fn check_version(&self, agreed: &ClientVersion) -> Result<(), Error> {
        if *agreed >= API_OLDEST {
            return Ok(());
        }
        Err(self.bad_answer(format!(
            "the daemon speaks API {agreed}, and Herder needs {API_OLDEST} or newer (Docker 1.12); \
             update Docker"
        )))
    }

    async fn get(&self, path: &str, bytes_max: usize) -> Result<Option<Bytes>, Error> {
        let uri: Uri = path.parse().map_err(|_| self.bad_answer(format!("no path: {path}")))?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = uri;
        let answer = self.send(request).await?;
        let status = answer.status();
        let body = self.collect(answer.into_body(), path, bytes_max).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(self.refused(status.as_u16(), &String::from_utf8_lossy(&body)));
        }
        Ok(Some(body))
    }

    async fn collect(
        &self,
        mut body: Incoming,
        path: &str,
        bytes_max: usize,
    ) -> Result<Bytes, Error> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.unreachable(words(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > bytes_max {
                let reason = format!("the answer to {path} has more than {bytes_max} bytes");
                return Err(Error::Limit { endpoint: self.0.endpoint.clone(), reason });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    fn send_for_bollard(self, request: BollardRequest) -> BollardAnswer {
        Box::pin(async move {
            let answer = self.send(request).await;
            answer.map_err(|error| io::Error::other(error).into())
        })
    }

    /// Sends one request on a connection of its own, which ends with the answer's body.
    async fn send<B>(&self, mut request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.address(&mut request);
        let stream = timeout(CONNECT_TIMEOUT, self.open()).await;
        let stream = stream.map_err(|_| self.too_slow("connecting", CONNECT_TIMEOUT))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.unreachable(words(&e)))?;
        // It ends by itself: with the answer's body, or when whoever reads that lets go of it.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| self.unreachable(words(&error)))?;
        self.note_clock(&answer);
        Ok(answer)
    }

    /// Makes the request one for this daemon: origin form, a Host, our name.
    fn address<B>(&self, request: &mut Request<B>) {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        let host = match &self.0.target {
            Target::Unix(_) => "docker".to_owned(),
            Target::Tcp { host, port, .. } => format!("{host}:{port}"),
        };
        let host = HeaderValue::try_from(host);
        request
            .headers_mut()
            .insert(header::HOST, host.unwrap_or(HeaderValue::from_static("docker")));
        let name = concat!("herder/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(name));
    }

    async fn open(&self) -> Result<Box<dyn Stream>, Error> {
        match &self.0.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                Ok(Box::new(stream.map_err(|e| self.unreachable(socket_words(path, &e)))?))
            }
            Target::Tcp { host, port, tls } => {
                let stream = self.open_tcp(host, *port).await;
                let stream = stream.map_err(|error| self.unreachable(error.to_string()))?;
                let Some((connector, name)) = tls else { return Ok(Box::new(stream)) };
                let stream = connector.connect(name.clone(), stream).await;
                Ok(Box::new(stream.map_err(|e| self.unreachable(format!("TLS: {e}")))?))
            }
        }
    }

    async fn open_tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive.with_retries(2))?;
        let (near, far) = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
        // A machine that speaks to itself does so from the very address it speaks to.
        let remote = Some(far.to_canonical()).filter(|ip| near != far && !ip.is_loopback());
        *self.0.remote.lock().unwrap_or_else(PoisonError::into_inner) = remote;
        Ok(stream)
    }

    fn note_clock<B>(&self, answer: &Response<B>) {
        let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok());
        if let Some(date) = date {
            self.0.clock_s.store(date.timestamp(), Ordering::Relaxed);
        }
    }
}

/// The endpoint as it may be shown: without a name and a password in it, of which we make no use.
pub fn endpoint(settings: &DockerSettings) -> String {
    let endpoint = &settings.endpoint;
    // What stands before the last @ may be one, whatever the rest is: nothing but a host and a port belongs there.
    match endpoint.rsplit_once('@') {
        Some((before, host)) if !endpoint.starts_with('/') && !endpoint.starts_with("unix://") => {
            let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
            format!("{}***@{host}", scheme.unwrap_or_default())
        }
        _ => endpoint.clone(),
    }
}

/// Where an endpoint leads.
fn target(endpoint: &str, tls: Option<&DockerTls>) -> Result<Target, String> {
    let wrong = || {
        "this is not an endpoint; write unix:///var/run/docker.sock or tcp://host:2375".to_owned()
    };
    if let Some(path) = endpoint.strip_prefix("unix://") {
        return if path.starts_with('/') { Ok(Target::Unix(path.into())) } else { Err(wrong()) };
    }
    if endpoint.starts_with('/') {
        return Ok(Target::Unix(endpoint.into()));
    }
    let (scheme, rest) = endpoint.split_once("://").ok_or_else(wrong)?;
    let is_tls = match scheme {
        "tcp" => tls.is_some(),
        "http" => false,
        "https" => true,
        _ => return Err(wrong()),
    };
    let authority: http::uri::Authority =
        rest.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let host = authority.host().to_owned();
    let port = port_of(&authority)?.unwrap_or(if is_tls { 2376 } else { 2375 });
    let tls = match (is_tls, tls) {
        (false, _) => None,
        (true, None) => return Err("https needs the certificates ca, cert and key".to_owned()),
        (true, Some(files)) => Some(connector(files, &host)?),
    };
    Ok(Target::Tcp { host, port, tls })
}

/// TLS as `docker --tlsverify` has it: the daemon's certificate from this authority, and ours shown.
fn connector(files: &DockerTls, host: &str) -> Result<(TlsConnector, ServerName<'static>), String> {
    let (ca, ca_text) = read("certificate", &files.ca)?;
    let (certificate, certificate_text) = read("certificate", &files.cert)?;
    let (key, key_text) = read("key", &files.key)?;
    let trust = Trust::in_these(Pem { name: &ca, text: &ca_text })?;
    let identity = Identity::new(
        Pem { name: &certificate, text: &certificate_text },
        Pem { name: &key, text: &key_text },
    )?;
    let config = tls::client(trust, Some(identity));
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare)
        .map_err(|_| format!("\"{host}\" is not a name a certificate can be for"))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// What a file is called, and what it says.
fn read(what: &str, file: &Path) -> Result<(String, Vec<u8>), String> {
    let name = format!("the {what} {}", file.display());
    match std::fs::read(file) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(format!("cannot read {name}: {error}")),
    }
}

/// What a refused socket means, and what to do about it.
fn socket_words(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such socket; is Docker running here, and the socket mounted into this container?"
                .to_owned()
        }
        io::ErrorKind::ConnectionRefused => {
            "nobody listens on this socket; is the Docker daemon running?".to_owned()
        }
        io::ErrorKind::PermissionDenied => match std::fs::metadata(path) {
            Ok(meta) => format!(
                "permission denied; let Herder run with the group of the socket (docker run \
                 --group-add {gid}, or usermod --append --groups {gid} USER), or put a socket \
                 proxy between",
                gid = meta.gid()
            ),
            Err(_) => "permission denied on the way to the socket; let Herder enter its folder, \
                       or put a socket proxy between"
                .to_owned(),
        },
        _ => error.to_string(),
    }
}

/// An error with its causes: hyper's own words alone say little.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(endpoint: &str, expected: &str) {
        let found = match target(endpoint, None) {
            Ok(Target::Unix(path)) => path.display().to_string(),
            Ok(Target::Tcp { host, port, tls }) => format!("{host} {port} {}", tls.is_some()),
            Err(reason) => reason,
        };
        assert!(found.contains(expected), "{endpoint}: {found}");
    }

    #[test]
    fn an_endpoint_is_a_socket_or_a_host() {
        check("unix:///var/run/docker.sock", "/var/run/docker.sock");
        check("/run/podman/podman.sock", "/run/podman/podman.sock");
        check("tcp://docker.example", "docker.example 2375 false");
        check("tcp://10.0.0.1:4243/", "10.0.0.1 4243 false");
        check("http://[fd00::2]:2375", "[fd00::2] 2375 false");
    }

    #[test]
    fn a_password_is_not_shown() {
        for (written, shown) in [
            ("tcp://u:secret@host:2375", "tcp://***@host:2375"),
            ("tcp://u:sec/r@et@host", "tcp://***@host"),
            ("u:secret@host", "***@host"),
            ("tcp://host:2375", "tcp://host:2375"),
            ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
            ("/run/a@b.sock", "/run/a@b.sock"),
        ] {
            let settings = crate::providers::docker::tests::settings(written);
            assert_eq!(endpoint(&settings), shown);
            if let Ok(transport) = Transport::new(&settings) {
                let error = transport.unreachable("nobody").to_string();
                assert!(!error.contains("secret"), "{error}");
            }
        }
    }

    #[test]
    fn anything_else_says_what_would_be_right() {
        for endpoint in
            ["", "docker", "unix://", "ssh://host", "tcp://", "tcp://a b", "npipe:////x"]
        {
            check(endpoint, "write unix:///var/run/docker.sock");
        }
        check("https://host:2376", "certificates");
        check("tcp://host:99999", "\"99999\" is not a port");
        check("tcp://host:http", "\"http\" is not a port");
    }

    #[test]
    fn a_missing_certificate_is_named() {
        let files =
            DockerTls { ca: "/no/ca.pem".into(), cert: "/no/c".into(), key: "/no/k".into() };
        let reason = target("tcp://host", Some(&files)).err().expect("no such file");
        assert!(reason.contains("/no/ca.pem"), "{reason}");
    }

    #[test]
    fn a_daemon_older_than_docker_1_12_is_refused() {
        let settings = crate::providers::docker::tests::settings("unix:///nowhere");
        let transport = Transport::new(&settings).expect("an endpoint");
        let version = |minor_version| ClientVersion { major_version: 1, minor_version };
        let error = transport.check_version(&version(23)).expect_err("too old").to_string();
        assert!(error.contains("API 1.23") && error.contains("1.24"), "{error}");
        transport.check_version(&version(24)).expect("old enough");
    }
}
