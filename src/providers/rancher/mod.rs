//! Rancher 1.x: its metadata service, asked over HTTP with a long poll for news, or its API, asked at each refresh.
//!
//! The version is asked first, and everything else only when it differs: `version` changes with every change of
//! anything.

mod api;
mod ask;
mod http;
mod pace;
mod parse;
mod remembered;
mod split;

use std::future::pending;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use api::Api;
use ask::Metadata;
use pace::Pace;
use parse::Unread;
use remembered::Remembered;

use crate::model::{ProviderName, Snapshot};
use crate::providers::{Depth, Error, Provider};
use crate::settings::RancherSettings;

/// How long one long poll may wait for news. The server answers at the latest after this time and its own tick.
const LONG_POLL: Duration = Duration::from_secs(30);

/// A server that says "news" without any is asked again after this pause, not at once.
const POLL_PAUSE: Duration = Duration::from_millis(200);

/// How often a version that moves while everything is read is followed.
const READS_MAX: usize = 3;

/// How long the probe of [`answers`] may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The Rancher provider.
pub struct Rancher {
    source: Source,
    long_poll: bool,
    /// What was read last, and at which version.
    last: Option<(String, Snapshot)>,
    remembered: Remembered,
    pace: Pace,
    /// The version that the last news were, where that was a moment ago.
    news: Option<String>,
}

/// Who is asked.
enum Source {
    Metadata(Metadata),
    Api(Api),
}

impl Source {
    fn new(settings: &RancherSettings) -> Result<Self, Error> {
        match &settings.api {
            None => Metadata::new(settings).map(Self::Metadata),
            Some(api) => Api::new(api, &settings.answers).map(Self::Api),
        }
    }
}

impl Rancher {
    /// A provider for this metadata service. Asks nothing yet.
    ///
    /// # Errors
    /// When the URL is not one, or no HTTP client can be made.
    pub fn new(settings: &RancherSettings) -> Result<Self, Error> {
        let source = Source::new(settings)?;
        let (long_poll, remembered) = (settings.long_poll, Remembered::default());
        Ok(Self { source, long_poll, last: None, remembered, pace: Pace::default(), news: None })
    }

    /// Reads everything. What came in one answer belongs together, whatever the version does meanwhile: it is
    /// remembered under the version before it, so that the next look sees whether it has moved.
    ///
    /// Where two answers are needed, the version tells whether they belong together: when it moves meanwhile, they are
    /// asked for again. One that moves all the time (a rollout) is taken as it was last seen.
    async fn read(
        metadata: &Metadata,
        remembered: &mut Remembered,
        mut version: String,
    ) -> Result<(String, Snapshot), Error> {
        let mut reads = 0;
        loop {
            reads += 1;
            let body = metadata.get("services").await?;
            let services = |remembered: &Remembered| {
                split::services(&body, remembered)
                    .map_err(|error| metadata.bad_json("services", &error, &body))
            };
            let unusable = |unread: Unread| metadata.bad_answer(unread.to_string());
            match parse::snapshot(services(remembered)?, None, remembered) {
                Err(Unread::ContainersByName) => {}
                read => return Ok((version, read.map_err(unusable)?)),
            }
            let told = metadata.get("containers").await?;
            let containers: Value = serde_json::from_slice(&told)
                .map_err(|error| metadata.bad_json("containers", &error, &told))?;
            let after = metadata.version().await?;
            if after == version || reads >= READS_MAX {
                let read = parse::snapshot(services(remembered)?, Some(&containers), remembered);
                return Ok((version, read.map_err(unusable)?));
            }
            version = after;
        }
    }
}

impl Provider for Rancher {
    fn name(&self) -> ProviderName {
        ProviderName::Rancher
    }

    async fn fetch(&mut self, depth: Depth) -> Result<Snapshot, Error> {
        let metadata = match &self.source {
            Source::Metadata(metadata) => metadata,
            Source::Api(api) => {
                let body = api.services().await?;
                let services = split::services(&body, &self.remembered)
                    .map_err(|error| api.bad_json(&error, &body))?;
                let snapshot = parse::snapshot(services, None, &mut self.remembered);
                let mut snapshot = snapshot.map_err(|unread| api.bad_answer(unread.to_string()))?;
                if let Some((_, earlier)) = &self.last {
                    snapshot.share(earlier);
                }
                self.last = Some((String::new(), snapshot.clone()));
                return Ok(snapshot);
            }
        };
        let version = match self.news.take() {
            Some(version) => version,
            None => metadata.version().await?,
        };
        if let (Depth::News, Some((known, snapshot))) = (depth, &self.last)
            && *known == version
        {
            return Ok(snapshot.clone());
        }
        let (version, mut snapshot) = Self::read(metadata, &mut self.remembered, version).await?;
        if let Some((_, earlier)) = &self.last {
            snapshot.share(earlier);
        }
        self.last = Some((version, snapshot.clone()));
        Ok(snapshot)
    }

    async fn changed(&mut self) -> Result<(), Error> {
        let (Source::Metadata(metadata), Some((known, _)), true) =
            (&self.source, &self.last, self.long_poll)
        else {
            return pending().await;
        };
        loop {
            let version = metadata.wait(known, LONG_POLL).await?;
            if version != *known {
                match self.pace.due(&version, Instant::now()) {
                    // Who knows what the version will be by then.
                    Some(due) => sleep_until(due).await,
                    None => self.news = Some(version),
                }
                return Ok(());
            }
            sleep(POLL_PAUSE).await;
        }
    }
}

/// The service's URL as it may be shown: without name and password.
pub fn endpoint(settings: &RancherSettings) -> String {
    match &settings.api {
        None => http::endpoint(&settings.url),
        Some(api) => api::endpoint(api),
    }
}

/// Whether a metadata service answers there, and its version.
///
/// # Errors
/// When it does not within 2 s.
pub async fn answers(settings: &RancherSettings) -> Result<String, Error> {
    let source = Source::new(settings)?;
    let asked = async {
        match &source {
            Source::Metadata(metadata) => metadata.version().await,
            Source::Api(api) => api.answers().await,
        }
    };
    match tokio::time::timeout(PROBE_TIMEOUT, asked).await {
        Ok(version) => version,
        Err(_) => Err(Error::Unreachable {
            endpoint: endpoint(settings),
            reason: format!("no answer within {} s", PROBE_TIMEOUT.as_secs()),
        }),
    }
}
