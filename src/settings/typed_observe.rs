//! What is told about each request, as typed: the access log with Traefik 1.7's names, the request's id, traces.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::observe::{
    AccessLog, Field, Fields, Filters, LineFormat, LineName, Mode, Observe, Ratio, StatusRange,
    Tracing, WAITING_LINES,
};
use super::time::duration;
use super::typed::list;

/// What is told about each request.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TypedObserve {
    /// Write a line for each request [default: false]
    #[arg(long = "accessLog", value_name = "BOOL", help_heading = "Logs")]
    pub access_log: Option<bool>,
    /// Where to: a file or a pipe [default: standard output]
    #[arg(long = "accessLog.filePath", value_name = "FILE", help_heading = "Logs")]
    pub access_log_path: Option<PathBuf>,
    /// How its lines look [default: common]
    #[arg(long = "accessLog.format", value_name = "FORMAT", value_enum, help_heading = "Logs")]
    pub access_log_format: Option<LineFormat>,
    /// How many lines may wait to be written; 0 for the default [default: 65536]
    #[arg(long = "accessLog.bufferingSize", value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000), help_heading = "Logs")]
    pub access_log_waiting: Option<u32>,
    /// Log requests with these statuses: `200,300-302` [default: all]
    #[arg(long = "accessLog.filters.statusCodes", value_name = "RANGES", value_parser = Statuses::parse, help_heading = "Logs")]
    pub access_log_statuses: Option<Statuses>,
    /// Log requests that were tried more than once [default: false]
    #[arg(long = "accessLog.filters.retryAttempts", value_name = "BOOL", help_heading = "Logs")]
    pub access_log_retried: Option<bool>,
    /// Log requests that took longer [default: none]
    #[arg(long = "accessLog.filters.minDuration", value_name = "TIME", value_parser = duration, help_heading = "Logs")]
    pub access_log_longer_than: Option<Duration>,
    /// Whether fields are logged of which nothing is said: keep or drop [default: keep]
    #[arg(long = "accessLog.fields.defaultMode", value_name = "MODE", help_heading = "Logs")]
    pub access_log_fields: Option<FieldMode>,
    /// Which fields are logged: `ClientUsername=drop StartLocal=drop` [default: none]
    #[arg(long = "accessLog.fields.names", value_name = "MODES", help_heading = "Logs")]
    pub access_log_field_names: Option<Named<FieldMode>>,
    /// What becomes of header lines of which nothing is said, in JSON: keep, drop or redact [default: keep]
    #[arg(
        long = "accessLog.fields.headers.defaultMode",
        value_name = "MODE",
        help_heading = "Logs"
    )]
    pub access_log_lines: Option<Mode>,
    /// What becomes of header lines: `User-Agent=redact Authorization=drop` [default: none]
    #[arg(long = "accessLog.fields.headers.names", value_name = "MODES", help_heading = "Logs")]
    pub access_log_line_names: Option<Named<Mode>>,
    /// Give each request an id, in a header line of this name; alone: `X-Request-Id` [default: false]
    #[arg(long = "requestId", value_name = "HEADER", help_heading = "Logs")]
    pub request_id: Option<RequestId>,

    /// Send traces to this collector, as OTLP over HTTP: `http://collector:4318` [default: none]
    #[arg(long = "tracing.otlp.endpoint", value_name = "URL", help_heading = "Traces")]
    pub tracing_endpoint: Option<Endpoint>,
    /// Header lines for the collector: `Authorization=Bearer abc,X-Tenant=a` [default: none]
    #[arg(
        long = "tracing.otlp.headers",
        value_name = "LINES",
        hide_env_values = true,
        help_heading = "Traces"
    )]
    pub tracing_lines: Option<Lines>,
    /// The part of the requests that is traced, where nobody trusted decided it: 0 to 1 [default: 1]
    #[arg(long = "tracing.otlp.sampleRate", value_name = "RATIO", help_heading = "Traces")]
    pub tracing_ratio: Option<Ratio>,
    /// What Herder is called in traces [default: herder]
    #[arg(long = "tracing.serviceName", value_name = "NAME", help_heading = "Traces")]
    pub tracing_service: Option<String>,
}

impl TypedObserve {
    /// As meant.
    pub(super) fn meant(&self) -> Observe {
        let request_id = self.request_id.as_ref().and_then(|RequestId(name)| name.clone());
        let tracing = self.tracing_endpoint.as_ref().map(|Endpoint(endpoint)| Tracing {
            endpoint: endpoint.clone(),
            service: self.tracing_service.clone().unwrap_or_else(|| "herder".to_owned()),
            ratio: self.tracing_ratio.unwrap_or(Ratio::ALL),
            lines: self.tracing_lines.clone().unwrap_or_default().0,
        });
        Observe { access_log: self.meant_access_log(), request_id, tracing }
    }

    /// Whoever says where or how it is written wants it.
    fn meant_access_log(&self) -> Option<AccessLog> {
        let path = self.access_log_path.clone().filter(|path| !path.as_os_str().is_empty());
        let is_wanted =
            self.access_log.unwrap_or(path.is_some() || self.access_log_format.is_some());
        let waiting = self.access_log_waiting.filter(|waiting| *waiting > 0);
        let filters = Filters {
            statuses: self.access_log_statuses.clone().unwrap_or_default().0,
            retried: self.access_log_retried.unwrap_or(false),
            longer_than: self.access_log_longer_than.filter(|least| !least.is_zero()),
        };
        let usual = Fields::default();
        let mut fields = Fields {
            keeps: self.access_log_fields.map_or(usual.keeps, |FieldMode(keeps)| keeps),
            lines: self.access_log_lines.unwrap_or(usual.lines),
            ..usual
        };
        for (name, FieldMode(keeps)) in
            self.access_log_field_names.iter().flat_map(|named| &named.0)
        {
            match name.parse::<Field>() {
                Ok(field) => _ = fields.names.insert(field, *keeps),
                Err(why) => fields.unknown.push(why),
            }
        }
        for (name, mode) in self.access_log_line_names.iter().flat_map(|named| &named.0) {
            fields.line_names.insert(name.to_ascii_lowercase(), *mode);
        }
        is_wanted.then(|| AccessLog {
            path,
            format: self.access_log_format.unwrap_or_default(),
            waiting_max: waiting.map_or(WAITING_LINES, |waiting| waiting as usize),
            filters,
            fields,
        })
    }
}

/// Ranges of statuses, with commas or semicolons between them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Statuses(Vec<StatusRange>);

impl Statuses {
    fn parse(text: &str) -> Result<Self, String> {
        list(text, &[',', ';'], str::parse).map(Self)
    }
}

/// Whether a field is logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FieldMode(bool);

impl std::str::FromStr for FieldMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(Mode::Keep) => Ok(Self(true)),
            Ok(Mode::Drop) => Ok(Self(false)),
            _ => Err(format!("\"{text}\" is neither keep nor drop")),
        }
    }
}

/// `a=keep b=drop`, with blanks or commas between them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named<M>(BTreeMap<String, M>);

impl<M: std::str::FromStr<Err = String>> std::str::FromStr for Named<M> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |part: &str| {
            let (name, mode) = part
                .split_once('=')
                .ok_or_else(|| format!("\"{part}\" says nothing about it; write {part}=drop"))?;
            let mode = mode.parse().map_err(|why| format!("{name}: {why}"))?;
            Ok((name.to_owned(), mode))
        };
        list(text, &[' ', ','], pair).map(Self)
    }
}

/// The header line with a request's id, or that there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestId(Option<LineName>);

impl std::str::FromStr for RequestId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" | "false" | "off" => Ok(Self(None)),
            "true" => "X-Request-Id".parse().map(|name| Self(Some(name))),
            name => name.parse().map(|name| Self(Some(name))),
        }
    }
}

/// Where a collector is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint(String);

impl std::str::FromStr for Endpoint {
    type Err = String;

    /// Without a path that of the specification is meant (OTLP 1.x, "OTLP/HTTP Request").
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = |why: &str| Err(format!("{why}; write http://collector:4318"));
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let Some(rest) = rest else {
            return wrong("it begins neither with http:// nor with https://");
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        match (authority, path) {
            ("", _) => wrong("it names no host"),
            (authority, _) if authority.contains('@') => {
                wrong("a name and a password go into tracing.otlp.headers")
            }
            (_, "") => Ok(Self(format!("{}/v1/traces", text.trim_end_matches('/')))),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// `name=value`, with commas between them.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Lines(Vec<(LineName, String)>);

impl std::fmt::Debug for Lines {
    /// Without the values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl std::str::FromStr for Lines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |part: &str| {
            // Not the value: it may be a key.
            let (name, value) =
                part.split_once('=').ok_or("a line has no \"=\"; write name=value")?;
            Ok((name.trim().parse()?, value.trim().to_owned()))
        };
        list(text, &[','], pair).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_unless_it_is_asked_for() {
        assert_eq!(TypedObserve::default().meant(), Observe::default());
        let path = Some("access.log".into());
        let typed = TypedObserve { access_log_path: path.clone(), ..TypedObserve::default() };
        assert_eq!(typed.meant().access_log.expect("wanted").path, path);
        let typed = TypedObserve { access_log: Some(false), ..typed };
        assert_eq!(typed.meant().access_log, None);
    }

    #[test]
    fn names_are_read_as_traefik_reads_them() {
        let typed = TypedObserve {
            access_log: Some(true),
            access_log_field_names: Some(
                "ClientUsername=drop Hostname=drop".parse().expect("modes"),
            ),
            access_log_line_names: Some(
                "User-Agent=redact,Authorization=drop".parse().expect("modes"),
            ),
            ..TypedObserve::default()
        };
        let fields = typed.meant().access_log.expect("wanted").fields;
        assert!(!fields.keep(Field::ClientUsername) && fields.keep(Field::Duration));
        assert_eq!(
            (fields.line("user-agent"), fields.line("authorization")),
            (Mode::Redact, Mode::Drop)
        );
        assert!(fields.unknown[0].contains("Hostname"), "{:?}", fields.unknown);
        assert!(
            "User-Agent".parse::<Named<Mode>>().expect_err("no mode").contains("User-Agent=drop")
        );
        assert!("A=hide".parse::<Named<Mode>>().expect_err("no mode").contains("redact"));
        assert!("A=redact".parse::<Named<FieldMode>>().is_err());
    }

    #[test]
    fn a_collector_has_a_place() {
        for (text, expected) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp/traces", "https://c/otlp/traces"),
        ] {
            assert_eq!(text.parse(), Ok(Endpoint(expected.to_owned())));
        }
        for wrong in ["", "c:4318", "grpc://c:4317", "http://", "http://a:b@c"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_keep_their_values_to_themselves() {
        let lines: Lines = "Authorization=Bearer a=b, X-Tenant=c".parse().expect("lines");
        assert_eq!(lines.0[0].1, "Bearer a=b");
        assert!(!format!("{lines:?}").contains("Bearer"));
        assert!("Bearer".parse::<Lines>().is_err());
    }

    #[test]
    fn an_id_has_a_line() {
        let name =
            |text: &str| text.parse::<RequestId>().map(|id| id.0.map(|name| name.to_string()));
        assert_eq!(name("true"), Ok(Some("X-Request-Id".to_owned())));
        assert_eq!(name("X-Correlation-Id"), Ok(Some("X-Correlation-Id".to_owned())));
        assert_eq!(name("false"), Ok(None));
        assert!(name("a b").is_err());
    }
}
