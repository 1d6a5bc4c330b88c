//! What labels and files ask for besides a rule, a port and a method. Checked when it is read, shown on the page and in
//! the API. `table::chain` makes steps of it, `table::handling` what the engine does itself, `config::check` the checks.
//!
//! Serialised as Traefik 1.7's API prints it (types/types.go): what is not asked for is left out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::model::carries_secrets;

/// Header lines by name.
pub type HeaderLines = BTreeMap<String, String>;

/// Prints header lines without the values of those that carry secrets: whoever may read the page need not be trusted
/// with them.
fn without_secrets<S: Serializer>(lines: &HeaderLines, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = |(name, value): (&String, &String)| {
        let is_secret = carries_secrets(name) && !value.is_empty();
        (name.clone(), if is_secret { HIDDEN.to_owned() } else { value.clone() })
    };
    serializer.collect_map(lines.iter().map(shown))
}

/// Prints a URL without the password in it.
fn without_password<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hide_password(url))
}

/// A URL without the name and the password in it; one whose scheme was forgotten, too.
pub fn hide_password(url: &str) -> Cow<'_, str> {
    let has_scheme = url.contains("://");
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) if has_scheme => format!("{scheme}://{HIDDEN}@{host}{path}").into(),
        // Without a colon it is no more than a word with an `@` in it.
        Some((user, host)) if user.contains(':') => format!("{HIDDEN}@{host}{path}").into(),
        _ => url.into(),
    }
}

/// What is shown in the place of a secret.
const HIDDEN: &str = "***";

/// What is acted on.
const ACTED_ON: &[&str] =
    &["auth", "compress", "errors", "headers", "maintenance", "ratelimit", "redirect", "whiteList"];

impl FrontendWishes {
    /// What is asked for and not acted on yet, in the words of the API: `passTLSCert`.
    pub fn not_acted_on(&self) -> Vec<String> {
        let mut names = names_of(self);
        names.retain(|name| !ACTED_ON.contains(&name.as_str()));
        names
    }
}

/// The keys of what is not left out.
fn names_of(wishes: &impl Serialize) -> Vec<String> {
    let value = serde_json::to_value(wishes).unwrap_or_default();
    value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a frontend asks for besides its rule.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendWishes {
    /// Its servers get the client's certificate (Traefik 1.6).
    #[serde(rename = "passTLSCert", skip_serializing_if = "is_default")]
    pub pass_tls_cert: bool,
    /// What its servers get of the client's certificate.
    #[serde(rename = "passTLSClientCert", skip_serializing_if = "is_default")]
    pub pass_tls_client_cert: Option<ClientCertWish>,
    /// Who may pass.
    #[serde(skip_serializing_if = "is_default")]
    pub white_list: Option<AllowList>,
    /// Header lines that are added, taken away or asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub headers: Option<HeadersWish>,
    /// Pages that stand in for errors.
    #[serde(skip_serializing_if = "is_default")]
    pub errors: BTreeMap<String, ErrorPage>,
    /// How many requests may come.
    #[serde(rename = "ratelimit", skip_serializing_if = "is_default")]
    pub rate_limit: Option<RateLimit>,
    /// Where clients are sent.
    #[serde(skip_serializing_if = "is_default")]
    pub redirect: Option<Redirect>,
    /// Whether answers are compressed.
    #[serde(skip_serializing_if = "is_default")]
    pub compress: bool,
    /// Who is asked for a name.
    #[serde(skip_serializing_if = "is_default")]
    pub auth: Option<Auth>,
    /// Its servers are being worked on. 1.7 has no such thing.
    #[serde(skip_serializing_if = "is_default")]
    pub maintenance: Option<MaintenanceWish>,
}

/// Servers are being worked on.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWish {
    /// How long it may take: `10m`; nothing where nobody knows.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_after: String,
    /// Addresses and networks that may pass.
    #[serde(skip_serializing_if = "is_default")]
    pub except: Vec<String>,
}

/// What a backend asks for besides its servers and its method.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendWishes {
    /// When its servers are left alone.
    #[serde(skip_serializing_if = "is_default")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How many requests may be under way.
    #[serde(skip_serializing_if = "is_default")]
    pub max_conn: Option<MaxConn>,
    /// How its servers are asked whether they are well.
    #[serde(skip_serializing_if = "is_default")]
    pub health_check: Option<HealthCheck>,
    /// How bodies are kept.
    #[serde(skip_serializing_if = "is_default")]
    pub buffering: Option<Buffering>,
    /// How answers are passed on.
    #[serde(rename = "forwardingResponse", skip_serializing_if = "is_default")]
    pub response_forwarding: Option<ResponseForwarding>,
    /// How long is waited for its servers, and how often a request is tried. Not in Traefik 1.7.
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: Option<TimeoutsWish>,
}

/// How long is waited for a backend's servers, and how often a request is tried.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutsWish {
    /// For a connection.
    #[serde(skip_serializing_if = "is_default")]
    pub connect: String,
    /// For the head of an answer.
    #[serde(skip_serializing_if = "is_default")]
    pub response: String,
    /// Between two pieces of a body.
    #[serde(skip_serializing_if = "is_default")]
    pub body: String,
    /// How often a request is tried.
    #[serde(skip_serializing_if = "is_default")]
    pub attempts: i64,
}

/// What servers get of a client's certificate.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertWish {
    /// The whole of it, in PEM.
    pub pem: bool,
    /// Parts of it.
    #[serde(skip_serializing_if = "is_default")]
    pub infos: Option<CertInfos>,
}

/// Parts of a certificate.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertInfos {
    /// When it ends.
    pub not_after: bool,
    /// When it begins.
    pub not_before: bool,
    /// Of whose it is.
    #[serde(skip_serializing_if = "is_default")]
    pub subject: Option<DnParts>,
    /// Of who signed it.
    #[serde(skip_serializing_if = "is_default")]
    pub issuer: Option<DnParts>,
    /// Its further names.
    pub sans: bool,
}

/// Parts of a distinguished name (RFC 4519, section 2).
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnParts {
    /// `C`.
    pub country: bool,
    /// `ST`.
    pub province: bool,
    /// `L`.
    pub locality: bool,
    /// `O`.
    pub organization: bool,
    /// `CN`.
    pub common_name: bool,
    /// `serialNumber`.
    pub serial_number: bool,
    /// `DC`.
    pub domain_component: bool,
}

/// Who may pass.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowList {
    /// Addresses and networks.
    #[serde(skip_serializing_if = "is_default")]
    pub source_range: Vec<String>,
    /// Whether the client's address is taken from `X-Forwarded-For`.
    #[serde(skip_serializing_if = "is_default")]
    pub use_x_forwarded_for: bool,
}

/// A page that stands in for errors.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorPage {
    /// Statuses: `500-599`.
    #[serde(skip_serializing_if = "is_default")]
    pub status: Vec<String>,
    /// Where the page is.
    #[serde(skip_serializing_if = "is_default")]
    pub backend: String,
    /// Its path.
    #[serde(skip_serializing_if = "is_default")]
    pub query: String,
}

/// How many requests may come.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// The limits, by name.
    #[serde(skip_serializing_if = "is_default")]
    pub rateset: BTreeMap<String, Rate>,
    /// What is counted by.
    #[serde(skip_serializing_if = "is_default")]
    pub extractor_func: String,
}

/// One limit.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// Nanoseconds over which is counted.
    #[serde(skip_serializing_if = "is_default")]
    pub period: i64,
    /// Requests in that time.
    #[serde(skip_serializing_if = "is_default")]
    pub average: i64,
    /// Requests at once.
    #[serde(skip_serializing_if = "is_default")]
    pub burst: i64,
}

/// Where clients are sent.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// To this entry point.
    #[serde(skip_serializing_if = "is_default")]
    pub entry_point: String,
    /// Or, where this fits the URL,
    #[serde(skip_serializing_if = "is_default")]
    pub regex: String,
    /// to this one.
    #[serde(skip_serializing_if = "is_default")]
    pub replacement: String,
    /// For good (301) rather than for now (302).
    #[serde(skip_serializing_if = "is_default")]
    pub permanent: bool,
}

/// Who is asked for a name.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// RFC 7617.
    #[serde(skip_serializing_if = "is_default")]
    pub basic: Option<UsersAuth>,
    /// RFC 7616.
    #[serde(skip_serializing_if = "is_default")]
    pub digest: Option<UsersAuth>,
    /// Another server is asked.
    #[serde(skip_serializing_if = "is_default")]
    pub forward: Option<ForwardAuth>,
    /// The line in which servers get the name.
    #[serde(skip_serializing_if = "is_default")]
    pub header_field: String,
}

/// Users and their secrets.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsersAuth {
    /// `NAME:HASH`; never printed.
    #[serde(skip)]
    pub users: Vec<String>,
    /// A file of them.
    #[serde(skip_serializing_if = "is_default")]
    pub users_file: String,
    /// Whether servers do not see `Authorization`.
    #[serde(skip_serializing_if = "is_default")]
    pub remove_header: bool,
}

/// Another server is asked.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardAuth {
    /// Its URL.
    #[serde(skip_serializing_if = "is_default", serialize_with = "without_password")]
    pub address: String,
    /// How it is spoken to.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: Option<ClientTls>,
    /// Whether `X-Forwarded-*` of the client is believed.
    #[serde(skip_serializing_if = "is_default")]
    pub trust_forward_header: bool,
    /// Lines of its answer that the servers get.
    #[serde(skip_serializing_if = "is_default")]
    pub auth_response_headers: Vec<String>,
}

/// TLS where we are the client.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// Who signed the server's certificate.
    #[serde(skip_serializing_if = "is_default")]
    pub ca: String,
    /// Whether it may show none.
    #[serde(skip_serializing_if = "is_default")]
    pub ca_optional: bool,
    /// Our certificate.
    #[serde(skip_serializing_if = "is_default")]
    pub cert: String,
    /// Its key; never printed.
    #[serde(skip)]
    pub key: String,
    /// Whether its certificate is left unchecked.
    #[serde(skip_serializing_if = "is_default")]
    pub insecure_skip_verify: bool,
}

/// Header lines that are added, taken away or asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadersWish {
    /// Lines that servers get.
    #[serde(skip_serializing_if = "is_default", serialize_with = "without_secrets")]
    pub custom_request_headers: HeaderLines,
    /// Lines that clients get.
    #[serde(skip_serializing_if = "is_default", serialize_with = "without_secrets")]
    pub custom_response_headers: HeaderLines,
    /// Hosts that are answered.
    #[serde(skip_serializing_if = "is_default")]
    pub allowed_hosts: Vec<String>,
    /// Lines that may hold the host.
    #[serde(skip_serializing_if = "is_default")]
    pub hosts_proxy_headers: Vec<String>,
    /// Clients are sent to https.
    #[serde(skip_serializing_if = "is_default")]
    pub ssl_redirect: bool,
    /// They are sent for now (302).
    #[serde(skip_serializing_if = "is_default")]
    pub ssl_temporary_redirect: bool,
    /// To this host.
    #[serde(skip_serializing_if = "is_default")]
    pub ssl_host: String,
    /// Lines by which a proxy before us says https.
    #[serde(skip_serializing_if = "is_default", serialize_with = "without_secrets")]
    pub ssl_proxy_headers: HeaderLines,
    /// To that host in any case.
    #[serde(skip_serializing_if = "is_default")]
    pub ssl_force_host: bool,
    /// `max-age` of `Strict-Transport-Security`, in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub sts_seconds: i64,
    /// `includeSubDomains` of it.
    #[serde(skip_serializing_if = "is_default")]
    pub sts_include_subdomains: bool,
    /// `preload` of it.
    #[serde(skip_serializing_if = "is_default")]
    pub sts_preload: bool,
    /// It is sent over http too.
    #[serde(rename = "forceSTSHeader", skip_serializing_if = "is_default")]
    pub force_sts_header: bool,
    /// `X-Frame-Options: DENY`.
    #[serde(skip_serializing_if = "is_default")]
    pub frame_deny: bool,
    /// `X-Frame-Options`.
    #[serde(skip_serializing_if = "is_default")]
    pub custom_frame_options_value: String,
    /// `X-Content-Type-Options: nosniff`.
    #[serde(skip_serializing_if = "is_default")]
    pub content_type_nosniff: bool,
    /// `X-XSS-Protection: 1; mode=block`.
    #[serde(skip_serializing_if = "is_default")]
    pub browser_xss_filter: bool,
    /// `X-XSS-Protection`.
    #[serde(rename = "customBrowserXSSValue", skip_serializing_if = "is_default")]
    pub custom_browser_xss_value: String,
    /// `Content-Security-Policy`.
    #[serde(skip_serializing_if = "is_default")]
    pub content_security_policy: String,
    /// `Public-Key-Pins`.
    #[serde(skip_serializing_if = "is_default")]
    pub public_key: String,
    /// `Referrer-Policy`.
    #[serde(skip_serializing_if = "is_default")]
    pub referrer_policy: String,
    /// Neither hosts, https nor keys are minded.
    #[serde(skip_serializing_if = "is_default")]
    pub is_development: bool,
    /// Sites whose scripts may read the answers.
    #[serde(skip_serializing_if = "is_default")]
    pub access_control_allow_origin: Vec<String>,
    /// Methods that they may use.
    #[serde(skip_serializing_if = "is_default")]
    pub access_control_allow_methods: Vec<String>,
    /// Lines that they may send.
    #[serde(skip_serializing_if = "is_default")]
    pub access_control_allow_headers: Vec<String>,
    /// Lines that they may read.
    #[serde(skip_serializing_if = "is_default")]
    pub access_control_expose_headers: Vec<String>,
    /// Whether they may act as the user who is logged in.
    #[serde(skip_serializing_if = "is_default")]
    pub access_control_allow_credentials: bool,
    /// How long a browser may remember it, in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub access_control_max_age: Option<i64>,
}

/// When servers are left alone.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// `NetworkErrorRatio() > 0.5`.
    #[serde(skip_serializing_if = "is_default")]
    pub expression: String,
}

/// How many requests may be under way.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MaxConn {
    /// So many.
    #[serde(skip_serializing_if = "is_default")]
    pub amount: i64,
    /// Counted by this.
    #[serde(skip_serializing_if = "is_default")]
    pub extractor_func: String,
}

/// How servers are asked whether they are well.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// `http` or `https`; the server's own where empty.
    #[serde(skip_serializing_if = "is_default")]
    pub scheme: String,
    /// The path.
    #[serde(skip_serializing_if = "is_default")]
    pub path: String,
    /// The port; the server's own where 0.
    #[serde(skip_serializing_if = "is_default")]
    pub port: i64,
    /// The time between two questions.
    #[serde(skip_serializing_if = "is_default")]
    pub interval: String,
    /// The `Host`.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: String,
    /// Header lines.
    #[serde(skip_serializing_if = "is_default", serialize_with = "without_secrets")]
    pub headers: HeaderLines,
    /// How long one may take (ours).
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: String,
    /// Passes in a row that bring a server back; 0 was not said (ours).
    #[serde(skip_serializing_if = "is_default")]
    pub rise: i64,
    /// Failures in a row that take a server out; 0 was not said (ours).
    #[serde(skip_serializing_if = "is_default")]
    pub fall: i64,
    /// The statuses of a server that is well: `200-299` (ours).
    #[serde(skip_serializing_if = "is_default")]
    pub status: Vec<String>,
    /// The method; `GET` where empty (Rancher's request line).
    #[serde(skip_serializing_if = "is_default")]
    pub method: String,
    /// Whether it is asked over HTTP/1.0 (Rancher's request line).
    #[serde(rename = "http10", skip_serializing_if = "is_default")]
    pub is_http10: bool,
    /// Whether a connection is enough (Rancher's check without a request line).
    #[serde(rename = "connect", skip_serializing_if = "is_default")]
    pub is_connect: bool,
}

/// How bodies are kept; sizes in bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Buffering {
    /// The largest request.
    #[serde(skip_serializing_if = "is_default")]
    pub max_request_body_bytes: i64,
    /// What of it is kept in memory.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_request_body_bytes: i64,
    /// The largest answer.
    #[serde(skip_serializing_if = "is_default")]
    pub max_response_body_bytes: i64,
    /// What of it is kept in memory.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_response_body_bytes: i64,
    /// When a request is sent again.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_expression: String,
}

/// How answers are passed on.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseForwarding {
    /// How often what has come is passed on.
    #[serde(skip_serializing_if = "is_default")]
    pub flush_interval: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("http://me:secret@host:80/a@b?c", "http://***@host:80/a@b?c"),
            ("http://host/a@b", "http://host/a@b"),
            ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("no url", "no url"),
            ("me:secret@host/a", "***@host/a"),
            ("tcp://me:se@cret@[::1]:2375", "tcp://***@[::1]:2375"),
            ("who@host", "who@host"),
        ] {
            assert_eq!(hide_password(url), shown);
        }
    }
}
