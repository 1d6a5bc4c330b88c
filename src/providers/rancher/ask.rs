//! HTTP to the metadata service, with a bound on every answer's size and time.

use std::time::Duration;

use reqwest::header::{ACCEPT, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::time::timeout;

use crate::providers::{Error, roots};

/// The largest answer, in bytes. A thousand services with three containers each are about 5 MiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// From the question to the end of the answer, however it drips.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a long poll may take over the time that was asked for: the server wakes its waiters every 5 s or so.
const POLL_GRACE: Duration = Duration::from_secs(15);

/// Shown of an answer that cannot be used, in characters.
const SHOWN_MAX: usize = 120;

/// One metadata service at one API version.
pub(super) struct Metadata {
    client: Client,
    url: Url,
    version: String,
    endpoint: String,
}

impl Metadata {
    pub(super) fn new(url: &str, version: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Unreachable { endpoint: url.to_owned(), reason };
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
        let mut shown = base.clone();
        // A password in the URL is nobody's business; a URL that cannot have one has none.
        let _ = shown.set_password(None);
        let _ = shown.set_username("");
        let endpoint = shown.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client, url: base, version: version.to_owned(), endpoint })
    }

    /// The version of everything, which changes with every change.
    pub(super) async fn version(&self) -> Result<String, Error> {
        let answer = self.ask("version", &[], ANSWER_TIMEOUT).await?;
        self.as_version(&answer)
    }

    /// Waits until the version differs from `known`, `limit` at most.
    pub(super) async fn wait(&self, known: &str, limit: Duration) -> Result<String, Error> {
        let seconds = limit.as_secs().to_string();
        let query = [("wait", "true"), ("value", known), ("maxWait", seconds.as_str())];
        let answer = self.ask("version", &query, limit + POLL_GRACE).await?;
        self.as_version(&answer)
    }

    /// One subtree.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.ask(path, &[], ANSWER_TIMEOUT).await
    }

    pub(super) fn bad_answer(&self, reason: impl Into<String>) -> Error {
        Error::BadAnswer { endpoint: self.endpoint.clone(), reason: reason.into() }
    }

    fn as_version(&self, answer: &Value) -> Result<String, Error> {
        match answer {
            Value::String(version) => Ok(version.clone()),
            Value::Number(version) => Ok(version.to_string()),
            other => Err(self.bad_answer(format!("its version is {}", shown(&other.to_string())))),
        }
    }

    async fn ask(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Value, Error> {
        match timeout(limit, self.exchange(path, query)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Limit {
                endpoint: self.endpoint.clone(),
                reason: format!("no whole answer to /{path} within {} s", limit.as_secs()),
            }),
        }
    }

    async fn exchange(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
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
        let text = String::from_utf8_lossy(&body);
        if status == StatusCode::NOT_FOUND && text.contains("Invalid version") {
            let known = self.versions().await;
            return Err(self.bad_answer(format!("it has no version \"{}\"{known}", self.version)));
        }
        if !status.is_success() {
            return Err(self.bad_answer(format!("{status} for /{path}: {}", shown(&text))));
        }
        serde_json::from_slice(&body).map_err(|error| {
            self.bad_answer(format!("/{path} is not JSON ({error}): {}", shown(&text)))
        })
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(Error::Limit {
                    endpoint: self.endpoint.clone(),
                    reason: format!("an answer of more than {ANSWER_BYTES_MAX} bytes"),
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
