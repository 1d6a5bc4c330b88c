//! What is told about each request: the access log, the request's id, traces. As Traefik 1.7 has it where it has it
//! (types/logs.go), with OpenTelemetry in the place of the tracers of its time.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{carries_secrets, is_token, nearest};

/// What is told about each request. Nothing, unless asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Observe {
    /// A line for each request.
    pub access_log: Option<AccessLog>,
    /// The header line with the request's id.
    pub request_id: Option<LineName>,
    /// A trace of each request.
    pub tracing: Option<Tracing>,
}

/// The access log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessLog {
    /// Where it is written; none: standard output.
    pub path: Option<PathBuf>,
    /// How its lines look.
    pub format: LineFormat,
    /// How many lines may wait to be written.
    pub waiting_max: usize,
    /// Which requests are logged.
    pub filters: Filters,
    /// What is logged of each.
    pub fields: Fields,
}

/// Lines that may wait to be written, where nothing else is said. A line has a few hundred bytes.
pub const WAITING_LINES: usize = 65_536;

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            path: None,
            format: LineFormat::default(),
            waiting_max: WAITING_LINES,
            filters: Filters::default(),
            fields: Fields::default(),
        }
    }
}

/// How the lines of the access log look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum LineFormat {
    /// The common log format, with the fields that Traefik 1.7 adds to it.
    #[default]
    Common,
    /// One JSON object a line.
    Json,
}

/// Which requests are logged: those that one of these fits; all, where there is none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filters {
    /// Ranges of statuses, both ends included.
    pub statuses: Vec<StatusRange>,
    /// Those that were tried more than once.
    pub retried: bool,
    /// Those that took longer.
    pub longer_than: Option<Duration>,
}

impl Filters {
    /// Whether a request is logged.
    pub fn keep(&self, status: u16, retries: usize, took: Duration) -> bool {
        let is_empty = self.statuses.is_empty() && !self.retried && self.longer_than.is_none();
        is_empty
            || self.statuses.iter().any(|range| range.has(status))
            || (self.retried && retries > 0)
            || self.longer_than.is_some_and(|least| took > least)
    }
}

/// Statuses: `404`, `500-599`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    fn has(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl std::str::FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.trim().parse().ok().filter(|s| (100..=599).contains(s));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("\"{text}\" is no range of statuses; write 404 or 500-599")),
        }
    }
}

/// What is logged of each request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fields {
    /// Whether a field is logged of which nothing is said.
    pub keeps: bool,
    /// What is said of a field.
    pub names: BTreeMap<Field, bool>,
    /// What becomes of a header line of which nothing is said.
    pub lines: Mode,
    /// What is said of a header line; names in lower case.
    pub line_names: BTreeMap<String, Mode>,
    /// What was said of fields that there are none of, a sentence for each.
    pub unknown: Vec<String>,
}

impl Default for Fields {
    fn default() -> Self {
        let (names, line_names) = (BTreeMap::new(), BTreeMap::new());
        Self { keeps: true, names, lines: Mode::Keep, line_names, unknown: Vec::new() }
    }
}

impl Fields {
    /// Whether a field is logged.
    pub fn keep(&self, field: Field) -> bool {
        self.names.get(&field).copied().unwrap_or(self.keeps)
    }

    /// What becomes of a header line. One that carries secrets is redacted unless it is named.
    pub fn line(&self, name: &str) -> Mode {
        let name = name.to_ascii_lowercase();
        match (self.line_names.get(&name), self.lines) {
            (Some(mode), _) => *mode,
            (None, Mode::Keep) if carries_secrets(&name) => Mode::Redact,
            (None, mode) => mode,
        }
    }
}

/// What becomes of a header line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// It is logged.
    Keep,
    /// It is not.
    Drop,
    /// It is logged without its value.
    Redact,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "keep" => Ok(Self::Keep),
            "drop" => Ok(Self::Drop),
            "redact" => Ok(Self::Redact),
            _ => Err(format!("\"{text}\" is none of keep, drop and redact")),
        }
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A field of the access log: Traefik 1.7's, and some of our own.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Field {
            $($(#[$doc])* $name,)*
        }

        impl Field {
            /// All of them, in the order in which they are logged.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

fields! {
    /// When the request's head had come, in UTC.
    StartUTC,
    /// The same in the time of the place.
    StartLocal,
    /// From the request's head to the end of the answer, in nanoseconds.
    Duration,
    /// The frontend that took it.
    FrontendName,
    /// Its backend.
    BackendName,
    /// The server that was asked last, as a URL.
    BackendURL,
    /// The same without the scheme.
    BackendAddr,
    /// Where the client's connection comes from.
    ClientAddr,
    /// The client; what a trusted proxy says of it goes before the address of the connection.
    ClientHost,
    /// Its port.
    ClientPort,
    /// Who it is, where that was asked.
    ClientUsername,
    /// The host that was asked for, with its port.
    RequestAddr,
    /// The host alone.
    RequestHost,
    /// The port alone.
    RequestPort,
    /// The method.
    RequestMethod,
    /// The path, with its query.
    RequestPath,
    /// The protocol.
    RequestProtocol,
    /// Method, path and protocol.
    RequestLine,
    /// Bytes of the request's body.
    RequestContentSize,
    /// How long the server that was asked last took for its whole answer, in nanoseconds.
    OriginDuration,
    /// Bytes of that answer's body.
    OriginContentSize,
    /// The server's status; 0 where none answered.
    OriginStatus,
    /// The same in words.
    OriginStatusLine,
    /// The client's status; 499 where it left before.
    DownstreamStatus,
    /// The same in words.
    DownstreamStatusLine,
    /// Bytes of the body that the client got.
    DownstreamContentSize,
    /// How many requests there were before this one, and one.
    RequestCount,
    /// How much smaller the answer was made on its way.
    GzipRatio,
    /// The part of the duration that is not the server's.
    Overhead,
    /// How often it was tried again.
    RetryAttempts,
    /// The request's id.
    RequestId,
    /// The trace that the request belongs to.
    TraceId,
    /// Why it failed.
    Error,
}

impl std::str::FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_it = |field: &&Self| field.as_str().eq_ignore_ascii_case(text);
        Self::ALL.iter().find(is_it).copied().ok_or_else(|| {
            match nearest(text, Self::ALL.iter().map(|field| field.as_str())) {
                Some(near) => {
                    format!("\"{text}\" is no field of the access log. Did you mean {near}?")
                }
                None => format!(
                    "\"{text}\" is no field of the access log; docs/observability.md lists them"
                ),
            }
        })
    }
}

/// The name of a header line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LineName(String);

impl LineName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for LineName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match is_token(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("\"{text}\" is no name of a header line")),
        }
    }
}

/// Where traces go.
#[derive(Clone, Eq, PartialEq)]
pub struct Tracing {
    /// Where spans are sent, whole: `http://collector:4318/v1/traces`.
    pub endpoint: String,
    /// What we call ourselves.
    pub service: String,
    /// The part of the requests that is traced, where nobody trusted has decided it.
    pub ratio: Ratio,
    /// Header lines for the collector. They may hold a key.
    pub lines: Vec<(LineName, String)>,
}

impl fmt::Debug for Tracing {
    /// Without the lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Tracing");
        shown.field("endpoint", &self.endpoint).field("service", &self.service);
        shown.field("ratio", &self.ratio).finish_non_exhaustive()
    }
}

/// A part of the whole, in millionths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ratio(u32);

impl Ratio {
    const WHOLE: u32 = 1_000_000;

    /// Everything.
    pub const ALL: Self = Self(Self::WHOLE);

    /// Whether something is of this part, by a number that is spread over the whole range of u64.
    pub fn takes(self, random: u64) -> bool {
        random % u64::from(Self::WHOLE) < u64::from(self.0)
    }
}

impl std::str::FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part: Option<f64> = text.trim().parse().ok().filter(|part| (0.0..=1.0).contains(part));
        let part =
            part.ok_or_else(|| format!("\"{text}\" is not a part of 1; write 0.1 for a tenth"))?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // between 0 and a million
        Ok(Self((part * f64::from(Self::WHOLE)).round() as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_ranges() {
        let filters = |text: &str| Filters {
            statuses: text.split(',').map(|r| r.parse().expect("a range")).collect(),
            ..Filters::default()
        };
        let took = Duration::from_millis(10);
        assert!(Filters::default().keep(200, 0, took));
        assert!(filters("200,500-599").keep(200, 0, took));
        assert!(filters("200,500-599").keep(503, 0, took));
        assert!(!filters("200,500-599").keep(404, 0, took));
        for wrong in ["", "2xx", "600", "500-400", "99"] {
            assert!(wrong.parse::<StatusRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_filter_that_fits_is_enough() {
        let filters = Filters {
            statuses: vec!["500-599".parse().expect("a range")],
            retried: true,
            longer_than: Some(Duration::from_millis(10)),
        };
        assert!(!filters.keep(200, 0, Duration::from_millis(10)));
        assert!(filters.keep(200, 1, Duration::ZERO));
        assert!(filters.keep(200, 0, Duration::from_millis(11)));
    }

    #[test]
    fn what_carries_secrets_is_redacted_unless_it_is_named() {
        let mut fields = Fields::default();
        assert_eq!(fields.line("User-Agent"), Mode::Keep);
        assert_eq!(fields.line("Authorization"), Mode::Redact);
        assert_eq!(fields.line("Set-Cookie"), Mode::Redact);
        fields.line_names.insert("cookie".to_owned(), Mode::Keep);
        assert_eq!(fields.line("Cookie"), Mode::Keep);
        fields.lines = Mode::Drop;
        assert_eq!(fields.line("Authorization"), Mode::Drop);
    }

    #[test]
    fn a_slip_in_a_name_is_noticed() {
        assert_eq!("clientusername".parse(), Ok(Field::ClientUsername));
        let why = "ClientUserName1".parse::<Field>().expect_err("no field");
        assert!(why.contains("Did you mean ClientUsername?"), "{why}");
        assert!("Nonsense".parse::<Field>().expect_err("no field").contains("docs/"));
    }

    #[test]
    fn a_ratio_is_a_part_of_one() {
        let tenth: Ratio = "0.1".parse().expect("a ratio");
        assert!(tenth.takes(99_999) && !tenth.takes(100_000));
        assert!(Ratio::ALL.takes(u64::MAX));
        for wrong in ["", "-0.1", "1.1", "10%", "NaN"] {
            assert!(wrong.parse::<Ratio>().is_err(), "{wrong}");
        }
    }
}
