//! HTTP to the metadata service, with a bound on every answer's size and time.

use std::time::Duration;

use reqwest::header::{ACCEPT, LOCATION};
use reqwest::{StatusCode, Url};
use serde_json::Value;
use tokio::time::timeout;

use super::http::{Http, shown};
use crate::providers::Error;
use crate::settings::RancherSettings;

/// What a long poll may take over the time that was asked for: the server wakes its waiters every 5 s or so.
const POLL_GRACE: Duration = Duration::from_secs(15);

/// One metadata service at one API version.
pub(super) struct Metadata {
    http: Http,
    url: Url,
    version: String,
}

impl Metadata {
    pub(super) fn new(settings: &RancherSettings) -> Result<Self, Error> {
        let RancherSettings { url, version, answers, .. } = settings;
        let (http, url) = Http::new(url, "http://rancher-metadata.rancher.internal", answers)?;
        Ok(Self { http, url, version: version.clone() })
    }

    /// The version of everything, which changes with every change.
    pub(super) async fn version(&self) -> Result<String, Error> {
        let answer = self.ask("version", &[], self.http.limits.timeout).await?;
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
        self.ask(path, &[], self.http.limits.timeout).await
    }

    /// That a subtree is not what it should be.
    pub(super) fn bad_json(&self, path: &str, error: &serde_json::Error, body: &[u8]) -> Error {
        self.http.bad_json(path, error, body)
    }

    pub(super) fn bad_answer(&self, reason: impl Into<String>) -> Error {
        self.http.bad_answer(reason)
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
        self.http.within(limit, path, self.exchange(path, query)).await
    }

    async fn exchange(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let mut url = self.url.clone();
        let base = self.url.path().trim_end_matches('/');
        url.set_path(&format!("{base}/{}/{path}", self.version));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.client.get(url).header(ACCEPT, "application/json");
        let response = request.send().await.map_err(|error| self.http.unreachable(&error))?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = shown(to.unwrap_or("nowhere"));
            return Err(self.bad_answer(format!(
                "{status} to {to}, which is not followed; is this the metadata service?"
            )));
        }
        let body = self.http.body(response).await?;
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

    /// The versions the server offers, as the end of a sentence; nothing where it does not say.
    async fn versions(&self) -> String {
        let request = self.http.client.get(self.url.clone()).send();
        let Ok(Ok(response)) = timeout(Duration::from_secs(5), request).await else {
            return String::new();
        };
        match self.http.body(response).await {
            Ok(body) => {
                let text = String::from_utf8_lossy(&body);
                let versions: Vec<&str> = text.split_whitespace().take(20).collect();
                format!("; it has {}", shown(&versions.join(", ")))
            }
            Err(_) => String::new(),
        }
    }
}
