//! Settings as typed: flags and `HERDER_…` variables, each optional, so that what was not said can still come
//! from the catalog's variables or the default.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::time::{check_interval, duration, limit};
use super::{
    Buckets, Constraint, Defaults, DockerSettings, DockerTls, EntryAuth, EntryPoint, EntryUsers,
    FileSettings, FileSource, HTTP_ENTRYPOINT, HostTemplate, Limits, Listen, MetricsSettings,
    RancherApi, RancherSettings, Refresh, Settings, TypedObserve,
};

/// Between two health checks where nobody says (Traefik 1.7).
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// What `run`, `check` and `explain` take.
///
/// A flag goes before a `HERDER_` variable, that before one of the catalog entry, that before the default.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Typed {
    /// Where requests come in: `:8080`, `127.0.0.1:8080` [default: :8080]
    #[arg(long, env = "HERDER_HTTP", value_name = "ADDRESS", help_heading = "Ports")]
    pub http: Option<Listen>,
    /// Compress the answers of the entry point `http` [default: false]
    #[arg(long = "http.compress", env = "HERDER_HTTP_COMPRESS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Ports")]
    pub http_compress: Option<bool>,
    /// An entry point, in Traefik 1.x's notation: 'Name:http Address::80'; may be repeated [default: http at --http]
    #[arg(
        long = "entryPoints",
        env = "HERDER_ENTRYPOINTS",
        value_name = "ENTRYPOINT",
        value_delimiter = '\n',
        help_heading = "Ports"
    )]
    pub entrypoints: Option<Vec<EntryPoint>>,
    /// The entry points of frontends that name none, a comma-separated list [default: http]
    #[arg(
        long = "defaultEntryPoints",
        env = "HERDER_DEFAULTENTRYPOINTS",
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Ports"
    )]
    pub default_entrypoints: Option<Vec<String>>,
    /// Where the admin page, the API and /ping are; `off` for nowhere [default: :8000]
    #[arg(long, env = "HERDER_ADMIN", value_name = "ADDRESS", help_heading = "Ports")]
    pub admin: Option<Admin>,
    /// Who may see the admin side, NAME:HASH as htpasswd writes it, a comma-separated list; /ping stays open [default: everybody]
    #[arg(
        long = "admin.users",
        env = "HERDER_ADMIN_USERS",
        value_name = "USERS",
        value_delimiter = ',',
        hide_env_values = true,
        help_heading = "Ports"
    )]
    pub admin_users: Option<Vec<String>>,
    /// The same in a file, which is read again when it changes [default: none]
    #[arg(
        long = "admin.usersFile",
        env = "HERDER_ADMIN_USERSFILE",
        value_name = "FILE",
        help_heading = "Ports"
    )]
    pub admin_users_file: Option<String>,
    /// How they are asked: `basic`, or `digest` with lines NAME:traefik:HASH [default: basic]
    #[arg(
        long = "admin.auth",
        env = "HERDER_ADMIN_AUTH",
        value_name = "METHOD",
        help_heading = "Ports"
    )]
    pub admin_auth: Option<AdminMethod>,
    /// Everything is asked anew after this time at the latest: `60s`, `5m`, or a cron expression with seconds, in UTC [default: 60s]
    #[arg(long, env = "HERDER_REFRESH", value_name = "TIME", help_heading = "Discovery")]
    pub refresh: Option<Refresh>,
    /// The host of a service, a handlebars template [default: {{service}}.{{stack}}.{{domain}}]
    #[arg(
        long = "hostTemplate",
        env = "HERDER_HOSTTEMPLATE",
        value_name = "TEMPLATE",
        help_heading = "Discovery"
    )]
    pub host_template: Option<HostTemplate>,

    /// Settings are read from this file, Traefik 1.x's traefik.toml or the same in YAML [default: traefik.toml in /etc/traefik, $HOME/.traefik or here]
    #[arg(
        short = 'c',
        long = "configFile",
        env = "HERDER_CONFIGFILE",
        value_name = "FILE",
        help_heading = "Files"
    )]
    pub config_file: Option<PathBuf>,
    /// Refuse to start where a setting is unknown, or known and not acted on [default: false]
    #[arg(long, env = "HERDER_STRICT", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Files")]
    pub strict: Option<bool>,

    /// Only services whose traefik.tags fit are routed: `tag==us-*,tag!=us-test` [default: all]
    #[arg(
        long,
        env = "HERDER_CONSTRAINTS",
        value_name = "CONSTRAINTS",
        help_heading = "Discovery"
    )]
    pub constraints: Option<Constraints>,

    /// Rules are read from this file, TOML or YAML [default: none]
    #[arg(
        long = "file.filename",
        env = "HERDER_FILE_FILENAME",
        value_name = "FILE",
        help_heading = "Files"
    )]
    pub file_filename: Option<PathBuf>,
    /// Rules are read from all files of this directory and what is below it [default: none]
    #[arg(
        long = "file.directory",
        env = "HERDER_FILE_DIRECTORY",
        value_name = "DIRECTORY",
        help_heading = "Files"
    )]
    pub file_directory: Option<PathBuf>,
    /// Rules are read from the settings file itself
    #[arg(long = "file.main", value_name = "FILE", hide = true)]
    pub file_main: Option<PathBuf>,
    /// Whether files are read again when they change [default: true]
    #[arg(long = "file.watch", env = "HERDER_FILE_WATCH", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Files")]
    pub file_watch: Option<bool>,

    /// Use Docker [default: yes where its socket answers and no provider is named]
    #[arg(long, env = "HERDER_DOCKER", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Docker")]
    pub docker: Option<bool>,
    /// The daemon: `unix:///PATH`, `tcp://HOST:PORT` [default: unix:///var/run/docker.sock]
    #[arg(
        long = "docker.endpoint",
        env = "HERDER_DOCKER_ENDPOINT",
        value_name = "URL",
        help_heading = "Docker"
    )]
    pub docker_endpoint: Option<String>,
    /// The domain of containers without traefik.domain [default: none]
    #[arg(
        long = "docker.domain",
        env = "HERDER_DOCKER_DOMAIN",
        value_name = "DOMAIN",
        help_heading = "Docker"
    )]
    pub docker_domain: Option<String>,
    /// The same as --constraints for containers alone; both have to fit [default: all]
    #[arg(
        long = "docker.constraints",
        env = "HERDER_DOCKER_CONSTRAINTS",
        value_name = "CONSTRAINTS",
        help_heading = "Docker"
    )]
    pub docker_constraints: Option<Constraints>,
    /// Whether containers without traefik.enable are routed [default: true]
    #[arg(long = "docker.exposedByDefault", env = "HERDER_DOCKER_EXPOSEDBYDEFAULT", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Docker")]
    pub docker_exposed_by_default: Option<bool>,
    /// Whether containers without HEALTHCHECK are routed while they run [default: true]
    #[arg(long = "docker.serveUnchecked", env = "HERDER_DOCKER_SERVEUNCHECKED", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Docker")]
    pub docker_serve_unchecked: Option<bool>,
    /// The network to reach containers by, where no label names one [default: one that Herder shares]
    #[arg(
        long = "docker.network",
        env = "HERDER_DOCKER_NETWORK",
        value_name = "NAME",
        help_heading = "Docker"
    )]
    pub docker_network: Option<String>,
    /// For a daemon that speaks TLS: the authority that signed its certificate, in PEM
    #[arg(
        long = "docker.tls.ca",
        env = "HERDER_DOCKER_TLS_CA",
        value_name = "FILE",
        help_heading = "Docker"
    )]
    pub docker_tls_ca: Option<PathBuf>,
    /// For a daemon that speaks TLS: our certificate, in PEM
    #[arg(
        long = "docker.tls.cert",
        env = "HERDER_DOCKER_TLS_CERT",
        value_name = "FILE",
        help_heading = "Docker"
    )]
    pub docker_tls_cert: Option<PathBuf>,
    /// For a daemon that speaks TLS: the key of our certificate, in PEM
    #[arg(
        long = "docker.tls.key",
        env = "HERDER_DOCKER_TLS_KEY",
        value_name = "FILE",
        help_heading = "Docker"
    )]
    pub docker_tls_key: Option<PathBuf>,

    /// Use Rancher's metadata [default: yes where it answers and no provider is named]
    #[arg(long, env = "HERDER_RANCHER", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Rancher")]
    pub rancher: Option<bool>,
    /// The domain of services without traefik.domain [default: none]
    #[arg(
        long = "rancher.domain",
        env = "HERDER_RANCHER_DOMAIN",
        value_name = "DOMAIN",
        help_heading = "Rancher"
    )]
    pub rancher_domain: Option<String>,
    /// The same as --constraints for services of Rancher alone; both have to fit [default: all]
    #[arg(
        long = "rancher.constraints",
        env = "HERDER_RANCHER_CONSTRAINTS",
        value_name = "CONSTRAINTS",
        help_heading = "Rancher"
    )]
    pub rancher_constraints: Option<Constraints>,
    /// Whether services without traefik.enable are routed [default: true]
    #[arg(long = "rancher.exposedByDefault", env = "HERDER_RANCHER_EXPOSEDBYDEFAULT", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Rancher")]
    pub rancher_exposed_by_default: Option<bool>,
    /// Whether containers without a health check are routed while they run [default: false]
    #[arg(long = "rancher.serveUnchecked", env = "HERDER_RANCHER_SERVEUNCHECKED", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Rancher")]
    pub rancher_serve_unchecked: Option<bool>,
    /// Whether the health checks that services have in Rancher are run by Herder too [default: false]
    #[arg(long = "rancher.runHealthChecks", env = "HERDER_RANCHER_RUNHEALTHCHECKS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Rancher")]
    pub rancher_run_health_checks: Option<bool>,
    /// The metadata service, without version and path [default: `http://rancher-metadata.rancher.internal`]
    #[arg(
        long = "rancher.metadata.url",
        env = "HERDER_RANCHER_METADATA_URL",
        value_name = "URL",
        help_heading = "Rancher"
    )]
    pub rancher_metadata_url: Option<String>,
    /// The version of its API [default: 2016-07-29]
    #[arg(
        long = "rancher.metadata.version",
        env = "HERDER_RANCHER_METADATA_VERSION",
        value_name = "VERSION",
        help_heading = "Rancher"
    )]
    pub rancher_metadata_version: Option<String>,
    /// Do not wait for changes, ask at each refresh only [default: false]
    #[arg(long = "rancher.metadata.intervalPoll", env = "HERDER_RANCHER_METADATA_INTERVALPOLL", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Rancher")]
    pub rancher_interval_poll: Option<bool>,

    /// Ask Rancher's API instead of the metadata service [default: false]
    #[arg(long = "rancher.api", env = "HERDER_RANCHER_API", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Rancher")]
    pub rancher_api: Option<bool>,
    /// That API: `http://rancher:8080`, with the environment where there are several: `/v2-beta/projects/1a5` [default: none]
    #[arg(
        long = "rancher.api.endpoint",
        env = "HERDER_RANCHER_API_ENDPOINT",
        value_name = "URL",
        help_heading = "Rancher"
    )]
    pub rancher_api_endpoint: Option<String>,
    /// The name of an API key of that environment [default: none]
    #[arg(
        long = "rancher.api.accessKey",
        env = "HERDER_RANCHER_API_ACCESSKEY",
        value_name = "KEY",
        hide_env_values = true,
        help_heading = "Rancher"
    )]
    pub rancher_api_access_key: Option<String>,
    /// The key itself; better in the variable, for others can see a command line [default: none]
    #[arg(
        long = "rancher.api.secretKey",
        env = "HERDER_RANCHER_API_SECRETKEY",
        value_name = "SECRET",
        hide_env_values = true,
        help_heading = "Rancher"
    )]
    pub rancher_api_secret_key: Option<String>,

    /// Clients whose own X-Forwarded-* headers are believed, a comma-separated list of addresses or networks [default: none]
    #[arg(long = "forwardedHeaders.trustedIPs", env = "HERDER_FORWARDEDHEADERS_TRUSTEDIPS", value_name = "CIDR", value_delimiter = ',', value_parser = network, help_heading = "Requests")]
    pub trusted_ips: Option<Vec<IpNet>>,
    /// Leave the certificates of servers spoken to over https unchecked [default: false]
    #[arg(long = "insecureSkipVerify", env = "HERDER_INSECURESKIPVERIFY", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Requests")]
    pub insecure_skip_verify: Option<bool>,
    /// After a stop signal: how long requests under way may take [default: 10s]
    #[arg(long = "lifeCycle.graceTimeOut", env = "HERDER_LIFECYCLE_GRACETIMEOUT", value_name = "TIME", value_parser = duration, help_heading = "Requests")]
    pub grace: Option<Duration>,
    /// Client connections open at once [default: 20000]
    #[arg(long = "limits.connections", env = "HERDER_LIMITS_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Requests")]
    pub connections_max: Option<u32>,
    /// For a connection to a server [default: 3s]
    #[arg(long = "forwardingTimeouts.dialTimeout", env = "HERDER_FORWARDINGTIMEOUTS_DIALTIMEOUT", value_name = "TIME", value_parser = duration, help_heading = "Requests")]
    pub connect_timeout: Option<Duration>,
    /// From the end of a request to the head of the server's answer [default: 60s]
    #[arg(long = "forwardingTimeouts.responseHeaderTimeout", env = "HERDER_FORWARDINGTIMEOUTS_RESPONSEHEADERTIMEOUT", value_name = "TIME", value_parser = duration, help_heading = "Requests")]
    pub response_timeout: Option<Duration>,
    /// A kept-alive client connection without a request [default: 180s]
    #[arg(long = "respondingTimeouts.idleTimeout", env = "HERDER_RESPONDINGTIMEOUTS_IDLETIMEOUT", value_name = "TIME", value_parser = duration, help_heading = "Requests")]
    pub idle_timeout: Option<Duration>,
    /// How often one request may be sent, to one server after another [default: 3]
    #[arg(long = "retry.attempts", env = "HERDER_RETRY_ATTEMPTS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "Requests")]
    pub attempts_max: Option<u16>,
    /// Where the buckets of Prometheus's histograms end, in seconds [default: 0.1,0.3,1.2,5]
    #[arg(
        long = "metrics.prometheus.buckets",
        env = "HERDER_METRICS_PROMETHEUS_BUCKETS",
        value_name = "SECONDS",
        help_heading = "Metrics"
    )]
    pub metrics_buckets: Option<Buckets>,
    /// Whether each server has metrics of its own [default: true]
    #[arg(long = "metrics.servers", env = "HERDER_METRICS_SERVERS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, help_heading = "Metrics")]
    pub metrics_servers: Option<bool>,
    /// How many of the last errors /health tells of; 100 are kept [default: 10]
    #[arg(
        long = "api.statistics.recentErrors",
        env = "HERDER_API_STATISTICS_RECENTERRORS",
        value_name = "NUMBER",
        help_heading = "Metrics"
    )]
    pub recent_errors: Option<u16>,

    /// Between two health checks of a server, where its label does not say, 100ms to 24h [default: 30s]
    #[arg(long = "healthcheck.interval", env = "HERDER_HEALTHCHECK_INTERVAL", value_name = "TIME", value_parser = check_interval, help_heading = "Requests")]
    pub health_interval: Option<Duration>,
    /// How many workers carry requests [default: one per core]
    #[arg(long, env = "HERDER_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Requests")]
    pub workers: Option<u16>,
    /// What is told about each request.
    #[command(flatten)]
    pub observe: TypedObserve,
}

/// Constraints with commas between them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Constraints(pub Vec<Constraint>);

impl std::str::FromStr for Constraints {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Constraint::parse_list(text).map(Self)
    }
}

/// Where the admin side is, or that it is nowhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admin {
    /// Here.
    At(Listen),
    /// Nowhere.
    Off,
}

impl std::str::FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|why| format!("{why}, or off")),
        }
    }
}

/// How the users of the admin side are asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AdminMethod {
    /// RFC 7617.
    #[default]
    Basic,
    /// RFC 7616.
    Digest,
}

impl std::str::FromStr for AdminMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "basic" => Ok(Self::Basic),
            "digest" => Ok(Self::Digest),
            _ => Err(format!("\"{text}\" is neither basic nor digest")),
        }
    }
}

/// A setting that does not fit together with others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    /// The flag that says it, or the first of those that do.
    pub flag: &'static str,
    /// Why: a sentence without a full stop.
    pub why: String,
}

impl Typed {
    /// Which providers were named: none means that those which answer are used.
    pub fn names_a_provider(&self) -> bool {
        self.docker == Some(true)
            || self.rancher == Some(true)
            || self.file_filename.is_some()
            || self.file_directory.is_some()
            || self.file_main.is_some()
    }

    /// The settings as meant, see [`Self::read`].
    ///
    /// # Errors
    /// Sentences that say which settings do not fit together.
    pub fn meant(&self) -> Result<Settings, String> {
        let (settings, conflicts) = self.read();
        let why: Vec<String> = conflicts.into_iter().map(|conflict| conflict.why).collect();
        if why.is_empty() { Ok(settings) } else { Err(why.join("\n  ")) }
    }

    /// The settings as meant, and what of them does not fit together. Both providers are described; who is not used is
    /// taken out by the caller, who can ask which of them answer.
    pub fn read(&self) -> (Settings, Vec<Conflict>) {
        let mut conflicts = Vec::new();
        let usual = Limits::default();
        let limits = Limits {
            connections_max: self.connections_max.map_or(usual.connections_max, |n| n as usize),
            connect_timeout: limit(self.connect_timeout, usual.connect_timeout),
            response_timeout: limit(self.response_timeout, usual.response_timeout),
            idle_timeout: limit(self.idle_timeout, usual.idle_timeout),
            attempts_max: self.attempts_max.map_or(usual.attempts_max, usize::from),
            ..usual
        };
        let entrypoints = self.meant_entrypoints(&mut conflicts);
        let settings = Settings {
            default_entrypoints: self.meant_default_entrypoints(&entrypoints, &mut conflicts),
            entrypoints,
            admin: match self.admin.unwrap_or(Admin::At(Listen { ip: None, port: 8000 })) {
                Admin::At(listen) => Some(listen),
                Admin::Off => None,
            },
            admin_auth: self.meant_admin_auth(),
            refresh: self.refresh.clone().unwrap_or_default(),
            file: self.file_settings(&mut conflicts),
            docker: (self.docker != Some(false)).then(|| self.docker_settings(&mut conflicts)),
            rancher: (self.rancher != Some(false)).then(|| self.rancher_settings(&mut conflicts)),
            limits,
            trusted_ips: self.trusted_ips.clone().unwrap_or_default(),
            insecure_skip_verify: self.insecure_skip_verify.unwrap_or(false),
            health_interval: limit(self.health_interval, HEALTH_INTERVAL),
            grace: self.grace.unwrap_or(Duration::from_secs(10)),
            workers: self.workers.map_or_else(cores, usize::from),
            metrics: self.meant_metrics(),
            observe: self.observe.meant(),
        };
        (settings, conflicts)
    }

    /// Who may see the admin side. Whoever says that there are users wants it closed to others, even where none can be read.
    fn meant_admin_auth(&self) -> Option<Box<EntryAuth>> {
        let file = filled(self.admin_users_file.as_ref());
        if self.admin_users.is_none() && file.is_none() {
            return None;
        }
        let users = EntryUsers {
            users: self.admin_users.clone().unwrap_or_default(),
            users_file: file.unwrap_or_default(),
            remove_header: false,
        };
        Some(Box::new(match self.admin_auth.unwrap_or_default() {
            AdminMethod::Basic => EntryAuth { basic: Some(users), ..EntryAuth::default() },
            AdminMethod::Digest => EntryAuth { digest: Some(users), ..EntryAuth::default() },
        }))
    }

    fn meant_metrics(&self) -> MetricsSettings {
        let usual = MetricsSettings::default();
        MetricsSettings {
            buckets: self.metrics_buckets.clone().unwrap_or(usual.buckets),
            has_servers: self.metrics_servers.unwrap_or(usual.has_servers),
            recent_errors: self.recent_errors.map_or(usual.recent_errors, usize::from),
        }
    }

    /// The entry points that were named, with the address of `--http` for the one of that name.
    fn meant_entrypoints(&self, conflicts: &mut Vec<Conflict>) -> Vec<EntryPoint> {
        let mut meant = self.entrypoints.clone().unwrap_or_default();
        let is_http = |entrypoint: &EntryPoint| entrypoint.name == HTTP_ENTRYPOINT;
        match (meant.iter_mut().find(|e| is_http(e)), self.http) {
            (Some(http), Some(listen)) => http.listen = listen,
            (None, Some(listen)) => meant.insert(0, EntryPoint::plain(HTTP_ENTRYPOINT, listen)),
            (_, None) => {}
        }
        if meant.is_empty() {
            meant.push(EntryPoint::plain(HTTP_ENTRYPOINT, Listen { ip: None, port: 8080 }));
        }
        if let (Some(http), Some(compress)) =
            (meant.iter_mut().find(|e| is_http(e)), self.http_compress)
        {
            http.compress = compress;
        }
        for (place, entrypoint) in meant.iter().enumerate() {
            if meant[..place].iter().any(|earlier| earlier.name == entrypoint.name) {
                let why = format!("there are two entry points \"{}\"", entrypoint.name);
                conflicts.push(Conflict { flag: "entryPoints", why });
            }
        }
        if meant.iter().all(|entrypoint| entrypoint.shut.is_some()) {
            let why: Vec<String> =
                meant.iter().map(|e| format!("{e}: {}", e.shut.unwrap_or_default())).collect();
            let why = format!(
                "no entry point can be opened: {}. Give requests one that asks for none of it: \
                 --entryPoints='Name:http Address::80'",
                why.join("; ")
            );
            conflicts.push(Conflict { flag: "entryPoints", why });
        }
        meant
    }

    /// The entry points of frontends that name none. Whoever names one that is not there would get nothing served.
    fn meant_default_entrypoints(
        &self,
        all: &[EntryPoint],
        conflicts: &mut Vec<Conflict>,
    ) -> Vec<String> {
        let names = match self.default_entrypoints.as_deref() {
            None | Some([]) => return vec![HTTP_ENTRYPOINT.to_owned()],
            Some(names) => names,
        };
        let is_unknown = |name: &&String| all.iter().all(|entrypoint| entrypoint.name != **name);
        for name in names.iter().filter(is_unknown) {
            let known: Vec<&str> = all.iter().map(|entrypoint| &*entrypoint.name).collect();
            let known = known.join(", ");
            let why = format!(
                "defaultEntryPoints names \"{name}\", which is no entry point; there is {known}"
            );
            conflicts.push(Conflict { flag: "defaultEntryPoints", why });
        }
        names.to_vec()
    }

    fn file_settings(&self, conflicts: &mut Vec<Conflict>) -> Option<FileSettings> {
        let watch = self.file_watch.unwrap_or(true);
        let source = match (&self.file_filename, &self.file_directory) {
            (None, None) => FileSource::Main(self.file_main.clone()?),
            (Some(path), None) => FileSource::File(path.clone()),
            (None, Some(path)) => FileSource::Directory(path.clone()),
            (Some(path), Some(_)) => {
                let why = "--file.filename and --file.directory exclude each other".to_owned();
                conflicts.push(Conflict { flag: "file.directory", why });
                FileSource::File(path.clone())
            }
        };
        Some(FileSettings { source, watch })
    }

    fn docker_settings(&self, conflicts: &mut Vec<Conflict>) -> DockerSettings {
        let files = (&self.docker_tls_ca, &self.docker_tls_cert, &self.docker_tls_key);
        let tls = match files {
            (None, None, None) => None,
            (Some(ca), Some(cert), Some(key)) => {
                Some(DockerTls { ca: ca.clone(), cert: cert.clone(), key: key.clone() })
            }
            _ => {
                let why = "--docker.tls.ca, --docker.tls.cert and --docker.tls.key go together; one of them is missing";
                conflicts.push(Conflict { flag: "docker.tls.ca", why: why.to_owned() });
                None
            }
        };
        let endpoint = filled(self.docker_endpoint.as_ref());
        DockerSettings {
            endpoint: endpoint.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned()),
            tls,
            defaults: Defaults {
                domain: filled(self.docker_domain.as_ref()),
                exposed_by_default: self.docker_exposed_by_default.unwrap_or(true),
                serve_unchecked: self.docker_serve_unchecked.unwrap_or(true),
                run_health_checks: false,
                constraints: self.constraints_with(self.docker_constraints.as_ref()),
                host_template: self.host_template.clone().unwrap_or_default(),
                network: filled(self.docker_network.as_ref()),
            },
        }
    }

    /// Those for all providers, and those of one.
    fn constraints_with(&self, own: Option<&Constraints>) -> Vec<Constraint> {
        let all = self.constraints.iter().chain(own);
        all.flat_map(|constraints| constraints.0.iter().cloned()).collect()
    }

    fn rancher_settings(&self, conflicts: &mut Vec<Conflict>) -> RancherSettings {
        let url = filled(self.rancher_metadata_url.as_ref());
        // Traefik's `prefix` is a path: `/2016-07-29`. With a slash more, the service answers with a redirect.
        let version = self.rancher_metadata_version.as_ref();
        let version = version.map(|version| version.trim().trim_matches('/').to_owned());
        let version = filled(version.as_ref());
        let is_api = self.rancher_api == Some(true) || self.rancher_api_endpoint.is_some();
        let api = is_api.then(|| self.rancher_api_settings(conflicts)).flatten();
        RancherSettings {
            api,
            answers: super::AnswerLimits::default(),
            url: url.unwrap_or_else(|| "http://rancher-metadata.rancher.internal".to_owned()),
            version: version.unwrap_or_else(|| "2016-07-29".to_owned()),
            long_poll: !self.rancher_interval_poll.unwrap_or(false),
            defaults: Defaults {
                domain: filled(self.rancher_domain.as_ref()),
                exposed_by_default: self.rancher_exposed_by_default.unwrap_or(true),
                serve_unchecked: self.rancher_serve_unchecked.unwrap_or(false),
                run_health_checks: self.rancher_run_health_checks.unwrap_or(false),
                constraints: self.constraints_with(self.rancher_constraints.as_ref()),
                host_template: self.host_template.clone().unwrap_or_default(),
                network: None,
            },
        }
    }

    fn rancher_api_settings(&self, conflicts: &mut Vec<Conflict>) -> Option<RancherApi> {
        // Rancher hands these to a container with the label io.rancher.container.create_agent; Traefik 1.7 reads them.
        let handed = |name: &str| filled(std::env::var(name).ok().as_ref());
        let said =
            |value: &Option<String>, name: &str| filled(value.as_ref()).or_else(|| handed(name));
        let endpoint = said(&self.rancher_api_endpoint, "CATTLE_URL");
        if endpoint.is_none() {
            let why = "--rancher.api needs to know whom to ask: --rancher.api.endpoint=http://rancher:8080";
            conflicts.push(Conflict { flag: "rancher.api", why: why.to_owned() });
        }
        Some(RancherApi {
            endpoint: endpoint?,
            access_key: said(&self.rancher_api_access_key, "CATTLE_ACCESS_KEY").unwrap_or_default(),
            secret_key: said(&self.rancher_api_secret_key, "CATTLE_SECRET_KEY").unwrap_or_default(),
        })
    }
}

/// Reads each part of a list; empty ones vanish.
///
/// # Errors
/// What is wrong with the first that cannot be read.
pub(super) fn list<T, L: FromIterator<T>>(
    text: &str,
    between: &[char],
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<L, String> {
    text.split(between).map(str::trim).filter(|part| !part.is_empty()).map(read).collect()
}

/// An empty value is as good as none: a catalog entry hands over questions that were not answered.
fn filled(value: Option<&String>) -> Option<String> {
    value.map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `10.0.0.0/8`, or an address alone.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    crate::model::network(text).ok_or_else(|| {
        let text = text.trim();
        format!("\"{text}\" is neither an address nor a network; write 10.0.0.1 or 10.0.0.0/8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        let settings = Typed::default().meant().expect("the defaults fit together");
        assert_eq!(settings.entrypoints[0].to_string(), "http at :8080");
        assert_eq!(settings.admin.map(|a| a.to_string()).as_deref(), Some(":8000"));
        assert_eq!(settings.refresh, Refresh::Every(Duration::from_secs(60)));
        let rancher = settings.rancher.expect("described until it is known who answers");
        assert!(!rancher.defaults.serve_unchecked);
        assert!(settings.docker.expect("described too").defaults.serve_unchecked);
    }

    #[test]
    fn a_limit_of_zero_is_the_default() {
        let zero = Some(Duration::ZERO);
        let said = Typed {
            connect_timeout: zero,
            response_timeout: zero,
            idle_timeout: zero,
            health_interval: zero,
            ..Typed::default()
        };
        let [said, usual] = [said, Typed::default()].map(|typed| typed.meant().expect("good ones"));
        assert_eq!((said.limits, said.health_interval), (usual.limits, usual.health_interval));
        let said = Typed { idle_timeout: Some(Duration::from_secs(7)), ..Typed::default() };
        assert_eq!(said.meant().expect("good ones").limits.idle_timeout, Duration::from_secs(7));
    }

    #[test]
    fn what_is_compressed() {
        let compresses = |typed: Typed| typed.meant().expect("good ones").entrypoints[0].compress;
        assert!(!compresses(Typed::default()));
        assert!(compresses(Typed { http_compress: Some(true), ..Typed::default() }));
        let said = "Name:http Address::80 Compress:true".parse().expect("a good one");
        let entrypoints = Some(vec![said]);
        assert!(compresses(Typed { entrypoints: entrypoints.clone(), ..Typed::default() }));
        assert!(!compresses(Typed { entrypoints, http_compress: Some(false), ..Typed::default() }));
    }

    #[test]
    fn certificates_go_together() {
        let typed = Typed { docker_tls_ca: Some("ca.pem".into()), ..Typed::default() };
        assert!(typed.meant().expect_err("two are missing").contains("--docker.tls.key"));
    }

    #[test]
    fn one_conflict_hides_no_other() {
        let typed = Typed {
            docker_tls_ca: Some("ca.pem".into()),
            default_entrypoints: Some(vec!["a".to_owned(), "http".to_owned(), "b".to_owned()]),
            file_filename: Some("a".into()),
            file_directory: Some("b".into()),
            ..Typed::default()
        };
        let flags: Vec<&str> = typed.read().1.iter().map(|conflict| conflict.flag).collect();
        let expected =
            ["defaultEntryPoints", "defaultEntryPoints", "file.directory", "docker.tls.ca"];
        assert_eq!(flags, expected);
        assert_eq!(typed.meant().expect_err("four").lines().count(), 4);
    }

    #[test]
    fn a_version_of_the_metadata_may_be_a_path() {
        for (said, meant) in [
            ("/2016-07-29", "2016-07-29"),
            ("/latest/", "latest"),
            ("latest", "latest"),
            ("/", "2016-07-29"),
        ] {
            let typed =
                Typed { rancher_metadata_version: Some(said.to_owned()), ..Typed::default() };
            let rancher = typed.meant().expect("good ones").rancher.expect("described");
            assert_eq!(rancher.version, meant, "{said}");
        }
    }

    #[test]
    fn reads_networks() {
        assert_eq!(network("10.0.0.1").map(|n| n.to_string()), Ok("10.0.0.1/32".to_owned()));
        assert!(network("10.0.0.0/33").is_err());
    }
}
