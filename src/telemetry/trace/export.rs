//! The thread that tells a collector, over HTTP. It alone waits where the collector is slow or gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::{info, warn};

use super::otlp;
use super::span::Span;
use crate::live::Live;
use crate::settings::Tracing;
use crate::telemetry::outbox::Outbox;
use crate::tls::{self, Trust};

/// Spans are waited for so long after the first one, and then sent together.
const GATHER: Duration = Duration::from_secs(1);

/// One question to the collector.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often one batch is sent.
const TRIES_MAX: u32 = 5;

/// Before a batch is sent once more; doubled each time.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// An answer of the collector is read to here.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Tells a collector until it is told to stop.
pub(super) struct Exporter {
    pub(super) settings: Tracing,
    pub(super) spans: Arc<Outbox<Vec<Span>>>,
    pub(super) live: Arc<Live>,
    /// While batches are lost: how many spans had been lost when that began. That it did, and that it is over, is told once.
    pub(super) fails_since: Option<u64>,
}

/// Why a batch was not taken.
struct Untold {
    why: String,
    /// Whether it may be taken later.
    may_go_on: bool,
}

impl Exporter {
    pub(super) fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client = self.client();
        loop {
            let (batch, count, orders) = self.spans.take(GATHER);
            let told = match (&runtime, &client) {
                _ if count == 0 => Ok(0),
                (Ok(runtime), Ok(client)) => self.send(runtime, client, &batch),
                (Err(error), _) => Err(error.to_string()),
                (_, Err(why)) => Err(why.clone()),
            };
            let telling = &self.live.telling;
            match told {
                // There was nothing to tell.
                Ok(_) if count == 0 => {}
                Ok(rejected) => {
                    let rejected = rejected.min(count);
                    telling.spans.add(count - rejected);
                    telling.spans_dropped.add(rejected);
                    if let Some(before) = self.fails_since.take() {
                        let lost = telling.spans_dropped.count() - before;
                        info!(lost, "traces are told again");
                    }
                }
                Err(why) => {
                    let before = telling.spans_dropped.count();
                    telling.spans_dropped.add(count);
                    if self.fails_since.is_none() {
                        self.fails_since = Some(before);
                        warn!(
                            endpoint = self.settings.endpoint,
                            why, "cannot tell traces; they are dropped"
                        );
                    }
                }
            }
            if orders.stop_by.is_some() {
                self.spans.end();
                return;
            }
        }
    }

    fn client(&self) -> Result<reqwest::Client, String> {
        let mut lines = HeaderMap::new();
        for (name, value) in &self.settings.lines {
            let name = HeaderName::from_bytes(name.as_str().as_bytes());
            let name = name.map_err(|_| "a header line of the collector has no name")?;
            let value = HeaderValue::from_str(value);
            let mut value = value.map_err(|_| format!("the line {name} cannot be sent"))?;
            value.set_sensitive(true);
            lines.insert(name, value);
        }
        // The default client looks for the system's authorities, and an image FROM scratch has none.
        let tls = tls::client(Trust::System, None);
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        let client = client.redirect(reqwest::redirect::Policy::none());
        let client = client.default_headers(lines).timeout(TIMEOUT);
        client.build().map_err(|error| error.to_string())
    }

    /// Sends a batch, more than once where that may help. Tells how many spans the collector did not want.
    fn send(
        &self,
        runtime: &tokio::runtime::Runtime,
        client: &reqwest::Client,
        batch: &[Span],
    ) -> Result<usize, String> {
        let body = otlp::request(&self.settings.service, batch).to_string();
        let mut pause = RETRY_PAUSE;
        for tries in 1.. {
            let Untold { why, may_go_on } = match runtime.block_on(self.ask(client, body.clone())) {
                Ok(rejected) => return Ok(rejected),
                Err(untold) => untold,
            };
            if !may_go_on || tries >= TRIES_MAX || self.spans.pause(pause).is_over(Instant::now()) {
                return Err(why);
            }
            pause *= 2;
        }
        Ok(0)
    }

    async fn ask(&self, client: &reqwest::Client, body: String) -> Result<usize, Untold> {
        let gone = |error: reqwest::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let why = cause.unwrap_or_else(|| error.without_url().to_string());
            Untold { why, may_go_on: true }
        };
        let request = client.post(&self.settings.endpoint).body(body);
        let request = request.header("content-type", "application/json");
        let mut answer = request.send().await.map_err(gone)?;
        let status = answer.status();
        if !status.is_success() {
            // What OTLP calls retryable.
            let may_go_on = matches!(status.as_u16(), 429 | 502 | 503 | 504);
            return Err(Untold { why: format!("the collector answered {status}"), may_go_on });
        }
        let mut read = Vec::new();
        while let Ok(Some(piece)) = answer.chunk().await {
            if read.len() + piece.len() > ANSWER_BYTES_MAX {
                break;
            }
            read.extend_from_slice(&piece);
        }
        Ok(otlp::rejected(&read))
    }
}
