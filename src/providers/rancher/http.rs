//! HTTP with a bound on every answer's size and time.

use std::time::Duration;

use reqwest::{Client, Response, Url};
use tokio::time::timeout;

use crate::providers::Error;
use crate::settings::AnswerLimits;
use crate::tls::{self, Trust};

/// Room made at once for an answer that says it is so long, in bytes.
const ANNOUNCED_MAX: usize = 16 << 20;

/// Shown of an answer that cannot be used, in characters.
const SHOWN_MAX: usize = 120;

/// Somebody who is asked over HTTP.
pub(super) struct Http {
    pub(super) client: Client,
    /// As it may be shown.
    pub(super) endpoint: String,
    pub(super) limits: AnswerLimits,
}

impl Http {
    /// For this URL. Asks nothing yet.
    pub(super) fn new(
        url: &str,
        example: &str,
        limits: &AnswerLimits,
    ) -> Result<(Self, Url), Error> {
        let endpoint = endpoint(url);
        let wrong = |reason: String| Error::Unreachable { endpoint: endpoint.clone(), reason };
        let base = Url::parse(url).map_err(|error| wrong(format!("{error}; write {example}")))?;
        if !["http", "https"].contains(&base.scheme()) {
            return Err(wrong("only http and https can be asked".to_owned()));
        }
        // The default client looks for the system's authorities, and an image FROM scratch has none.
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client(Trust::System, None))
            // It never redirects; who does is somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| wrong(explain(&error)))?;
        Ok((Self { client, endpoint, limits: limits.clone() }, base))
    }

    pub(super) fn bad_answer(&self, reason: impl Into<String>) -> Error {
        Error::BadAnswer { endpoint: self.endpoint.clone(), reason: reason.into() }
    }

    /// That what answers at this path is not JSON, or not what it should be.
    pub(super) fn bad_json(&self, path: &str, error: &serde_json::Error, body: &[u8]) -> Error {
        let body = body.get(..SHOWN_MAX * 4).unwrap_or(body);
        let text = String::from_utf8_lossy(body);
        self.bad_answer(format!("/{path} is not JSON ({error}): {}", shown(&text)))
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Error {
        Error::Unreachable { endpoint: self.endpoint.clone(), reason: explain(error) }
    }

    /// No longer than this.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        path: &str,
        exchange: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Limit {
                endpoint: self.endpoint.clone(),
                reason: format!("no whole answer to /{path} within {limit:?}"),
            }),
        }
    }

    pub(super) async fn body(&self, mut response: Response) -> Result<Vec<u8>, Error> {
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
pub(super) fn shown(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
