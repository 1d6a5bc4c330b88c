//! Settings as typed: flags and `HERDER_…` variables, each optional, so that what was not said can still come
//! from the catalog's variables or the default.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::time::{check_interval, duration};
use super::{Buckets, Constraint, EntryPoint, HostTemplate, Listen, Refresh, TypedObserve};

/// What `run`, `check` and `explain` take.
///
/// A flag goes before a `HERDER_` variable, that before one of the catalog entry, that before the default.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(mut_args = as_setting)]
pub struct Typed {
    /// Where requests come in: `:8080`, `127.0.0.1:8080` [default: :8080]
    #[arg(long, value_name = "ADDRESS", help_heading = "Ports")]
    pub http: Option<Listen>,
    /// Compress the answers of the entry point `http` [default: false]
    #[arg(long = "http.compress", value_name = "BOOL", help_heading = "Ports")]
    pub http_compress: Option<bool>,
    /// An entry point, in Traefik 1.x's notation: 'Name:http Address::80'; may be repeated [default: http at --http]
    #[arg(
        long = "entryPoints",
        value_name = "ENTRYPOINT",
        value_delimiter = '\n',
        help_heading = "Ports"
    )]
    pub entrypoints: Option<Vec<EntryPoint>>,
    /// The entry points of frontends that name none, a comma-separated list [default: http]
    #[arg(
        long = "defaultEntryPoints",
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Ports"
    )]
    pub default_entrypoints: Option<Vec<String>>,
    /// Where the admin page, the API and /ping are; `off` for nowhere [default: :8000]
    #[arg(long, value_name = "ADDRESS", help_heading = "Ports")]
    pub admin: Option<Admin>,
    /// Who may see the admin side, NAME:HASH as htpasswd writes it, a comma-separated list; /ping stays open [default: everybody]
    #[arg(
        long = "admin.users",
        value_name = "USERS",
        value_delimiter = ',',
        hide_env_values = true,
        help_heading = "Ports"
    )]
    pub admin_users: Option<Vec<String>>,
    /// The same in a file, which is read again when it changes [default: none]
    #[arg(long = "admin.usersFile", value_name = "FILE", help_heading = "Ports")]
    pub admin_users_file: Option<String>,
    /// How they are asked: `basic`, or `digest` with lines NAME:traefik:HASH [default: basic]
    #[arg(long = "admin.auth", value_name = "METHOD", help_heading = "Ports")]
    pub admin_auth: Option<AdminMethod>,
    /// Everything is asked anew after this time at the latest: `60s`, `5m`, or a cron expression with seconds, in UTC [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Discovery")]
    pub refresh: Option<Refresh>,
    /// The host of a service, a handlebars template [default: {{service}}.{{stack}}.{{domain}}]
    #[arg(long = "hostTemplate", value_name = "TEMPLATE", help_heading = "Discovery")]
    pub host_template: Option<HostTemplate>,

    /// Settings are read from this file, Traefik 1.x's traefik.toml or the same in YAML [default: traefik.toml in /etc/traefik, $HOME/.traefik or here]
    #[arg(short = 'c', long = "configFile", value_name = "FILE", help_heading = "Files")]
    pub config_file: Option<PathBuf>,
    /// Refuse to start where a setting is unknown, or known and not acted on [default: false]
    #[arg(long, value_name = "BOOL", help_heading = "Files")]
    pub strict: Option<bool>,

    /// Only services whose traefik.tags fit are routed: `tag==us-*,tag!=us-test` [default: all]
    #[arg(long, value_name = "CONSTRAINTS", help_heading = "Discovery")]
    pub constraints: Option<Constraints>,

    /// Rules are read from this file, TOML or YAML [default: none]
    #[arg(long = "file.filename", value_name = "FILE", help_heading = "Files")]
    pub file_filename: Option<PathBuf>,
    /// Rules are read from all files of this directory and what is below it [default: none]
    #[arg(long = "file.directory", value_name = "DIRECTORY", help_heading = "Files")]
    pub file_directory: Option<PathBuf>,
    /// Rules are read from the settings file itself
    #[arg(long = "file.main", value_name = "FILE", hide = true)]
    pub file_main: Option<PathBuf>,
    /// Whether files are read again when they change [default: true]
    #[arg(long = "file.watch", value_name = "BOOL", help_heading = "Files")]
    pub file_watch: Option<bool>,

    /// Use Docker [default: yes where its socket answers and no provider is named]
    #[arg(long, value_name = "BOOL", help_heading = "Docker")]
    pub docker: Option<bool>,
    /// The daemon: `unix:///PATH`, `tcp://HOST:PORT` [default: unix:///var/run/docker.sock]
    #[arg(long = "docker.endpoint", value_name = "URL", help_heading = "Docker")]
    pub docker_endpoint: Option<String>,
    /// The domain of containers without traefik.domain [default: none]
    #[arg(long = "docker.domain", value_name = "DOMAIN", help_heading = "Docker")]
    pub docker_domain: Option<String>,
    /// The same as --constraints for containers alone; both have to fit [default: all]
    #[arg(long = "docker.constraints", value_name = "CONSTRAINTS", help_heading = "Docker")]
    pub docker_constraints: Option<Constraints>,
    /// Whether containers without traefik.enable are routed [default: true]
    #[arg(long = "docker.exposedByDefault", value_name = "BOOL", help_heading = "Docker")]
    pub docker_exposed_by_default: Option<bool>,
    /// Whether containers without HEALTHCHECK are routed while they run [default: true]
    #[arg(long = "docker.serveUnchecked", value_name = "BOOL", help_heading = "Docker")]
    pub docker_serve_unchecked: Option<bool>,
    /// The network to reach containers by, where no label names one [default: one that Herder shares]
    #[arg(long = "docker.network", value_name = "NAME", help_heading = "Docker")]
    pub docker_network: Option<String>,
    /// For a daemon that speaks TLS: the authority that signed its certificate, in PEM
    #[arg(long = "docker.tls.ca", value_name = "FILE", help_heading = "Docker")]
    pub docker_tls_ca: Option<PathBuf>,
    /// For a daemon that speaks TLS: our certificate, in PEM
    #[arg(long = "docker.tls.cert", value_name = "FILE", help_heading = "Docker")]
    pub docker_tls_cert: Option<PathBuf>,
    /// For a daemon that speaks TLS: the key of our certificate, in PEM
    #[arg(long = "docker.tls.key", value_name = "FILE", help_heading = "Docker")]
    pub docker_tls_key: Option<PathBuf>,

    /// Use Rancher's metadata [default: yes where it answers and no provider is named]
    #[arg(long, value_name = "BOOL", help_heading = "Rancher")]
    pub rancher: Option<bool>,
    /// The domain of services without traefik.domain [default: none]
    #[arg(long = "rancher.domain", value_name = "DOMAIN", help_heading = "Rancher")]
    pub rancher_domain: Option<String>,
    /// The same as --constraints for services of Rancher alone; both have to fit [default: all]
    #[arg(long = "rancher.constraints", value_name = "CONSTRAINTS", help_heading = "Rancher")]
    pub rancher_constraints: Option<Constraints>,
    /// Whether services without traefik.enable are routed [default: true]
    #[arg(long = "rancher.exposedByDefault", value_name = "BOOL", help_heading = "Rancher")]
    pub rancher_exposed_by_default: Option<bool>,
    /// Whether containers without a health check are routed while they run [default: false]
    #[arg(long = "rancher.serveUnchecked", value_name = "BOOL", help_heading = "Rancher")]
    pub rancher_serve_unchecked: Option<bool>,
    /// Whether the health checks that services have in Rancher are run by Herder too [default: false]
    #[arg(long = "rancher.runHealthChecks", value_name = "BOOL", help_heading = "Rancher")]
    pub rancher_run_health_checks: Option<bool>,
    /// The metadata service, without version and path [default: `http://rancher-metadata.rancher.internal`]
    #[arg(long = "rancher.metadata.url", value_name = "URL", help_heading = "Rancher")]
    pub rancher_metadata_url: Option<String>,
    /// The version of its API [default: 2016-07-29]
    #[arg(long = "rancher.metadata.version", value_name = "VERSION", help_heading = "Rancher")]
    pub rancher_metadata_version: Option<String>,
    /// Do not wait for changes, ask at each refresh only [default: false]
    #[arg(long = "rancher.metadata.intervalPoll", value_name = "BOOL", help_heading = "Rancher")]
    pub rancher_interval_poll: Option<bool>,

    /// Ask Rancher's API instead of the metadata service [default: false]
    #[arg(long = "rancher.api", value_name = "BOOL", help_heading = "Rancher")]
    pub rancher_api: Option<bool>,
    /// That API: `http://rancher:8080`, with the environment where there are several: `/v2-beta/projects/1a5` [default: none]
    #[arg(long = "rancher.api.endpoint", value_name = "URL", help_heading = "Rancher")]
    pub rancher_api_endpoint: Option<String>,
    /// The name of an API key of that environment [default: none]
    #[arg(
        long = "rancher.api.accessKey",
        value_name = "KEY",
        hide_env_values = true,
        help_heading = "Rancher"
    )]
    pub rancher_api_access_key: Option<String>,
    /// The key itself; better in the variable, for others can see a command line [default: none]
    #[arg(
        long = "rancher.api.secretKey",
        value_name = "SECRET",
        hide_env_values = true,
        help_heading = "Rancher"
    )]
    pub rancher_api_secret_key: Option<String>,

    /// Clients whose own X-Forwarded-* headers are believed, a comma-separated list of addresses or networks [default: none]
    #[arg(long = "forwardedHeaders.trustedIPs", value_name = "CIDR", value_delimiter = ',', value_parser = network, help_heading = "Requests")]
    pub trusted_ips: Option<Vec<IpNet>>,
    /// Leave the certificates of servers spoken to over https unchecked [default: false]
    #[arg(long = "insecureSkipVerify", value_name = "BOOL", help_heading = "Requests")]
    pub insecure_skip_verify: Option<bool>,
    /// After a stop signal: how long requests under way may take [default: 7s]
    #[arg(long = "lifeCycle.graceTimeOut", value_name = "TIME", value_parser = duration, help_heading = "Requests")]
    pub grace: Option<Duration>,
    /// Client connections open at once [default: 20000]
    #[arg(long = "limits.connections", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Requests")]
    pub connections_max: Option<u32>,
    /// For a connection to a server [default: 3s]
    #[arg(long = "forwardingTimeouts.dialTimeout", value_name = "TIME", value_parser = duration, help_heading = "Requests")]
    pub connect_timeout: Option<Duration>,
    /// From the end of a request to the head of the server's answer [default: 60s]
    #[arg(long = "forwardingTimeouts.responseHeaderTimeout", value_name = "TIME", value_parser = duration, help_heading = "Requests")]
    pub response_timeout: Option<Duration>,
    /// A kept-alive client connection without a request [default: 180s]
    #[arg(long = "respondingTimeouts.idleTimeout", value_name = "TIME", value_parser = duration, help_heading = "Requests")]
    pub idle_timeout: Option<Duration>,
    /// How often one request may be sent, to one server after another [default: 3]
    #[arg(long = "retry.attempts", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "Requests")]
    pub attempts_max: Option<u16>,
    /// Where the buckets of Prometheus's histograms end, in seconds [default: 0.1,0.3,1.2,5]
    #[arg(long = "metrics.prometheus.buckets", value_name = "SECONDS", help_heading = "Metrics")]
    pub metrics_buckets: Option<Buckets>,
    /// Whether each server has metrics of its own [default: true]
    #[arg(long = "metrics.servers", value_name = "BOOL", help_heading = "Metrics")]
    pub metrics_servers: Option<bool>,
    /// How many of the last errors /health tells of; 100 are kept [default: 10]
    #[arg(long = "api.statistics.recentErrors", value_name = "NUMBER", help_heading = "Metrics")]
    pub recent_errors: Option<u16>,

    /// Between two health checks of a server, where its label does not say, 100ms to 24h [default: 30s]
    #[arg(long = "healthcheck.interval", value_name = "TIME", value_parser = check_interval, help_heading = "Requests")]
    pub health_interval: Option<Duration>,
    /// How many workers carry requests [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Requests")]
    pub workers: Option<u16>,
    /// What is told about each request.
    #[command(flatten)]
    pub observe: TypedObserve,
}

/// What is said of each setting alike: it is a variable too, `--docker.tls.ca` is `HERDER_DOCKER_TLS_CA`, and one that says yes
/// or no may stand alone. What has no heading is a command's own.
fn as_setting(arg: clap::Arg) -> clap::Arg {
    let Some(long) = arg.get_long().filter(|_| arg.get_help_heading().is_some()) else {
        return arg;
    };
    let variable = format!("HERDER_{}", long.to_ascii_uppercase().replace('.', "_"));
    let may_stand_alone =
        arg.get_value_names().is_some_and(|names| ["BOOL", "HEADER"].contains(&names[0].as_str()));
    let arg = arg.env(variable);
    match may_stand_alone {
        true => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
        false => arg,
    }
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
    fn reads_networks() {
        assert_eq!(network("10.0.0.1").map(|n| n.to_string()), Ok("10.0.0.1/32".to_owned()));
        assert!(network("10.0.0.0/33").is_err());
    }
}
