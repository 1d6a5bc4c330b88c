//! What was fixed at start: ports, providers, defaults, limits. As meant (`meant` says how); how it is typed is `typed`'s.

mod buckets;
pub mod catalog;
mod constraint;
mod entry_auth;
mod entrypoint;
mod host_template;
mod listen;
mod meant;
mod observe;
mod time;
pub mod traefik;
mod typed;
mod typed_observe;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use buckets::{BUCKETS_MAX, Buckets};
pub use constraint::Constraint;
pub use entry_auth::{EntryAuth, EntryForward, EntryUsers};
pub use entrypoint::{EntryKeys, EntryPoint, EntryRedirect, Sources, Trust};
pub use host_template::{HostParts, HostTemplate};
pub use listen::Listen;
pub use meant::Conflict;
pub use observe::{
    AccessLog, Field, Fields, Filters, LineFormat, LineName, Mode, Observe, Ratio, StatusRange,
    Tracing, WAITING_LINES,
};
pub use time::{CHECK_INTERVAL_MAX, CHECK_INTERVAL_MIN, duration, go_duration};
pub use typed::{Admin, AdminMethod, Typed};
pub use typed_observe::TypedObserve;

/// Everything fixed at start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Where requests come in.
    pub entrypoints: Vec<EntryPoint>,
    /// The entry points of frontends that name none.
    pub default_entrypoints: Vec<String>,
    /// Where the admin page and the API are; none switches them off.
    pub admin: Option<Listen>,
    /// Who may see them: everybody who gets there, where nothing is said.
    pub admin_auth: Option<Box<EntryAuth>>,
    /// How often everything is asked anew, at the latest.
    pub refresh: Refresh,
    /// Settings of the file provider, where it is used.
    pub file: Option<FileSettings>,
    /// Settings of the Docker provider, where it is used.
    pub docker: Option<DockerSettings>,
    /// Settings of the Rancher provider, where it is used.
    pub rancher: Option<RancherSettings>,
    /// What was said of providers that are not used, a sentence for each: nobody reads it.
    pub unread: Vec<String>,
    /// The proxy's limits and time-outs.
    pub limits: Limits,
    /// Clients whose own `X-Forwarded-*` headers are believed.
    pub trusted_ips: Vec<IpNet>,
    /// Whether the certificates of servers spoken to over https are left unchecked.
    pub insecure_skip_verify: bool,
    /// Between two health checks of a server whose label does not say.
    pub health_interval: Duration,
    /// After a stop signal: how long requests under way may take before they are cut off.
    pub grace: Duration,
    /// How many workers carry requests; one per core unless set.
    pub workers: usize,
    /// What is measured and told.
    pub metrics: MetricsSettings,
    /// What is told about each request.
    pub observe: Observe,
}

/// What is measured and told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MetricsSettings {
    /// The buckets of Prometheus's histograms.
    pub buckets: Buckets,
    /// Whether each server has series of its own.
    pub has_servers: bool,
    /// How many errors `/health` tells of.
    pub recent_errors: usize,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { buckets: Buckets::default(), has_servers: true, recent_errors: 10 }
    }
}

/// The entry point there is where none is named.
pub const HTTP_ENTRYPOINT: &str = "http";

impl Settings {
    /// The entry points that are opened.
    pub fn open_entrypoints(&self) -> impl Iterator<Item = &EntryPoint> {
        self.entrypoints.iter().filter(|entrypoint| entrypoint.shut.is_none())
    }

    /// What is not acted on, a sentence for each.
    pub fn left_out(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for entrypoint in &self.entrypoints {
            if let Some(why) = entrypoint.shut {
                lines.push(format!("The entry point {entrypoint} is not opened: {why}."));
            }
            for why in &entrypoint.later {
                lines.push(format!(
                    "The entry point {entrypoint} asks for more than is there: {why}."
                ));
            }
        }
        let is_known = |name: &&String| self.entrypoints.iter().any(|e| e.name == **name);
        for entrypoint in &self.entrypoints {
            let name = entrypoint.redirect.as_ref().map(|redirect| &redirect.entry_point);
            if let Some(name) = name.filter(|name| !name.is_empty() && !is_known(name)) {
                lines.push(format!(
                    "The entry point {entrypoint} sends its clients to \"{name}\", which is no entry point: they get 503."
                ));
            }
        }
        let is_shut =
            |name: &str| self.entrypoints.iter().any(|e| e.name == name && e.shut.is_some());
        for entrypoint in self.entrypoints.iter().filter(|entrypoint| entrypoint.shut.is_none()) {
            let name = entrypoint.redirect.as_ref().map(|redirect| &*redirect.entry_point);
            if let Some(name) = name.filter(|name| is_shut(name)) {
                lines.push(format!(
                    "The entry point {entrypoint} sends its clients to \"{name}\", which is not opened: nobody answers them there."
                ));
            }
        }
        for name in self.default_entrypoints.iter().filter(|name| !is_known(name)) {
            lines.push(format!("defaultEntryPoints names \"{name}\", which is no entry point."));
        }
        let log = self.observe.access_log.iter();
        for why in log.flat_map(|log| &log.fields.unknown) {
            lines.push(format!("accessLog.fields.names: {why}"));
        }
        lines.extend(self.unread.iter().cloned());
        lines
    }
}

/// How often everything is asked anew.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refresh {
    /// After this time.
    Every(Duration),
    /// At the times of this cron expression with seconds, in UTC; checked when it was read.
    Cron(String),
}

impl Default for Refresh {
    fn default() -> Self {
        Self::Every(Duration::from_secs(60))
    }
}

/// How labels are read where they leave something open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Defaults {
    /// The domain of services without `traefik.domain`; none: their host has no domain part.
    pub domain: Option<String>,
    /// Whether services without `traefik.enable` are routed (Traefik 1.7: `exposedByDefault`, true).
    pub exposed_by_default: bool,
    /// Whether an instance without a health check gets requests (Docker: yes, Rancher: no).
    pub serve_unchecked: bool,
    /// Whether Rancher's own health checks are run by us too, where no label says.
    pub run_health_checks: bool,
    /// Only services whose tags fit all of these are routed.
    pub constraints: Vec<Constraint>,
    /// The host of a service.
    pub host_template: HostTemplate,
    /// The network to reach containers by, where no label names one (Docker).
    pub network: Option<String>,
}

/// Settings of the file provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileSettings {
    /// What is read.
    pub source: FileSource,
    /// Whether it is read again when it changes.
    pub watch: bool,
}

/// Where rules are written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FileSource {
    /// In the settings file itself.
    Main(PathBuf),
    /// In a file of their own.
    File(PathBuf),
    /// In all files of a directory and what is below it.
    Directory(PathBuf),
}

impl FileSettings {
    /// How labels are read: a file has none.
    pub fn defaults() -> Defaults {
        Defaults {
            domain: None,
            exposed_by_default: false,
            serve_unchecked: true,
            run_health_checks: false,
            constraints: Vec::new(),
            host_template: HostTemplate::default(),
            network: None,
        }
    }
}

/// Settings of the Docker provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DockerSettings {
    /// `unix:///var/run/docker.sock`, `tcp://host:2375`; with `tls`, `tcp://host:2376`.
    pub endpoint: String,
    /// Certificates for a daemon that speaks TLS.
    pub tls: Option<DockerTls>,
    /// How labels are read.
    pub defaults: Defaults,
}

/// Certificate files for a Docker daemon that speaks TLS, in PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DockerTls {
    /// The authority that signed the daemon's certificate.
    pub ca: std::path::PathBuf,
    /// Our certificate.
    pub cert: std::path::PathBuf,
    /// Its key.
    pub key: std::path::PathBuf,
}

/// Settings of the Rancher provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RancherSettings {
    /// `http://rancher-metadata.rancher.internal`, without version and path.
    pub url: String,
    /// The API version: `2016-07-29`, `latest` …
    pub version: String,
    /// Whether to wait for changes (long poll) besides the refresh.
    pub long_poll: bool,
    /// Rancher's API, where it is asked instead of the metadata service.
    pub api: Option<RancherApi>,
    /// The bounds of one answer.
    pub answers: AnswerLimits,
    /// How labels are read.
    pub defaults: Defaults,
}

/// Rancher's API and the keys for it.
#[derive(Clone, Eq, PartialEq)]
pub struct RancherApi {
    /// `http://rancher.example.com:8080/v2-beta/projects/1a5`; the version may be missing.
    pub endpoint: String,
    /// The key's name; empty: nobody asks for one.
    pub access_key: String,
    /// The key itself.
    pub secret_key: String,
}

impl std::fmt::Debug for RancherApi {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RancherApi").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The bounds of one answer of an orchestrator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnswerLimits {
    /// Its size. A thousand services with three containers each are about 5 MiB.
    pub bytes_max: usize,
    /// From the question to its end, however it drips.
    pub timeout: Duration,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self { bytes_max: 64 * 1024 * 1024, timeout: Duration::from_secs(30) }
    }
}

/// The proxy's bounds. Each has a name in the docs (`docs/limits.md`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Client connections open at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// A request head, in bytes.
    pub head_bytes_max: usize,
    /// Header lines of one head; 256 at most.
    pub header_lines_max: usize,
    /// From a connection's first byte (or the last answer) to the end of a request head.
    pub head_timeout: Duration,
    /// A kept-alive client connection without a request.
    pub idle_timeout: Duration,
    /// The longest pause between two pieces of a body, in either direction.
    pub body_timeout: Duration,
    /// For a connection to a server.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the server's answer.
    pub response_timeout: Duration,
    /// Kept-alive connections to one server, for each worker.
    pub upstream_idle_max: usize,
    /// How long a kept-alive connection to a server may idle.
    pub upstream_idle_timeout: Duration,
    /// How often one request may be tried, at one server after another.
    pub attempts_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            head_bytes_max: 64 * 1024,
            header_lines_max: 128,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(180),
            body_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(60),
            upstream_idle_max: 256,
            upstream_idle_timeout: Duration::from_secs(60),
            attempts_max: 3,
        }
    }
}
