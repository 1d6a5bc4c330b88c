//! HTTP to the metadata service, with a bound on every answer's size and time.

use std::time::Duration;

use reqwest::header::{ACCEPT, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::time::timeout;

use crate::providers::{Error, roots};
use crate::settings::{AnswerLimits, RancherSettings};

/// What a long poll may take over the time that was asked for: the server wakes its waiters every 5 s or so.
const POLL_GRACE: Duration = Duration::from_secs(15);

/// Room made at once for an answer that says it is so long, in bytes.
const ANNOUNCED_MAX: usize = 16 << 20;

/// Shown of an answer that cannot be used, in characters.
const SHOWN_MAX: usize = 120;

/// One metadata service at one API version.
pub(super) struct Metadata {
    client: Client,
    url: Url,
    version: String,
    endpoint: String,
    limits: AnswerLimits,
}

impl Metadata {
    pub(super) fn new(settings: &RancherSettings) -> Result<Self, Error> {
        let RancherSettings { url, version, answers: limits, .. } = settings;
        let endpoint = endpoint(url);
        let wrong = |reason: String| Error::Unreachable { endpoint: endpoint.clone(), reason };
        let base = Url::parse(url).map_err(|error| {
            wrong(format!("{error}; write http://rancher-metadata.rancher.internal"))
        })?;
        if !["http", "https"].contains(&base.scheme()) {
            return Err(wrong("only http and https can be asked".to_owned()));
        }
        // The default client looks for the system's authorities, and an image FROM scratch has none.
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(roots::roots())
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            // It never redirects; who does is somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| wrong(explain(&error)))?;
        let (version, limits) = (version.clone(), limits.clone());
        Ok(Self { client, url: base, version, endpoint, limits })
    }

    /// The version of everything, which changes with every change.
    pub(super) async fn version(&self) -> Result<String, Error> {
        let answer = self.ask("version", &[], self.limits.timeout).await?;
        self.as_version(&answer)
    }

    /// Waits until the version differs from `known`, `limit` at most.
    pub(super) async fn wait(&self, known: &str, limit: Duration) -> Result<String, Error> {
        let seconds = limit.as_secs().to_string();
        let query = [("wait", "true"), ("value", known), ("maxWait", seconds.as_str())];
        let answer = self.ask("version", &query, limit + POLL_GRACE).await?;
        self.as_version(&answer)
    }

    /// One subtree, as text: JSON, but not looked at yet.
    pub(super) async fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.ask(path, &[], self.limits.timeout).await
    }

    /// That a subtree is not what it should be.
    pub(super) fn bad_json(&self, path: &str, error: &serde_json::Error, body: &[u8]) -> Error {
        let body = body.get(..SHOWN_MAX * 4).unwrap_or(body);
        let text = String::from_utf8_lossy(body);
        self.bad_answer(format!("/{path} is not JSON ({error}): {}", shown(&text)))
    }

    pub(super) fn bad_answer(&self, reason: impl Into<String>) -> Error {
        Error::BadAnswer { endpoint: self.endpoint.clone(), reason: reason.into() }
    }

    fn as_version(&self, body: &[u8]) -> Result<String, Error> {
        let answer =
            serde_json::from_slice(body).map_err(|error| self.bad_json("version", &error, body))?;
        match answer {
            Value::String(version) => Ok(version),
            Value::Number(version) => Ok(version.to_string()),
            other => Err(self.bad_answer(format!("its version is {}", shown(&other.to_string())))),
        }
    }

    async fn ask(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Vec<u8>, Error> {
        match timeout(limit, self.exchange(path, query)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Limit {
                endpoint: self.endpoint.clone(),
                reason: format!("no whole answer to /{path} within {limit:?}"),
            }),
        }
    }

    async fn exchange(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let mut url = self.url.clone();
        let base = self.url.path().trim_end_matches('/');
        url.set_path(&format!("{base}/{}/{path}", self.version));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.get(url).header(ACCEPT, "application/json");
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = shown(to.unwrap_or("nowhere"));
            return Err(self.bad_answer(format!(
                "{status} to {to}, which is not followed; is this the metadata service?"
            )));
        }
        let body = self.body(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body);
        if status == StatusCode::NOT_FOUND && text.contains("Invalid version") {
            let known = self.versions().await;
            return Err(self.bad_answer(format!("it has no version \"{}\"{known}", self.version)));
        }
        Err(self.bad_answer(format!("{status} for /{path}: {}", shown(&text))))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let bytes_max = self.limits.bytes_max;
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
        // What is announced is no promise.
        let mut body = Vec::with_capacity(announced.unwrap_or(0).min(bytes_max).min(ANNOUNCED_MAX));
        let ended = |error| self.bad_answer(format!("it ended early: {}", explain(&error)));
        while let Some(piece) = response.chunk().await.map_err(ended)? {
            if body.len() + piece.len() > bytes_max {
                return Err(Error::Limit {
                    endpoint: self.endpoint.clone(),
                    reason: format!("an answer of more than {bytes_max} bytes"),
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// The versions the server offers, as the end of a sentence; nothing where it does not say.
    async fn versions(&self) -> String {
        let request = self.client.get(self.url.clone()).send();
        let Ok(Ok(response)) = timeout(Duration::from_secs(5), request).await else {
            return String::new();
        };
        match self.body(response).await {
            Ok(body) => {
                let text = String::from_utf8_lossy(&body);
                let versions: Vec<&str> = text.split_whitespace().take(20).collect();
                format!("; it has {}", shown(&versions.join(", ")))
            }
            Err(_) => String::new(),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        Error::Unreachable { endpoint: self.endpoint.clone(), reason: explain(error) }
    }
}

/// The URL as it may be shown: a password in it is nobody's business.
pub(super) fn endpoint(url: &str) -> String {
    match Url::parse(url) {
        // A URL that cannot have one has none.
        Ok(mut shown) => {
            let _ = shown.set_password(None);
            let _ = shown.set_username("");
            shown.as_str().trim_end_matches('/').to_owned()
        }
        // What stands before the last @ may be one, whatever the rest is.
        Err(_) => url.rsplit_once('@').map_or(url, |(_, rest)| rest).to_owned(),
    }
}

/// The innermost cause: "connection refused" rather than "error sending request".
fn explain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The beginning of a text that somebody else wrote, on one line.
fn shown(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
