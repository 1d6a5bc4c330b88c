//! How a server is asked whether it is well: what labels, files and Rancher ask for, made sense of.
//!
//! A setting that cannot be read costs itself only: its default counts, and its owner is told.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{HeaderLines, HealthCheck, Scheme};
use crate::middleware::check_host;
use crate::model::{LineOwner, origin_form};
use crate::settings::{CHECK_INTERVAL_MAX, CHECK_INTERVAL_MIN, duration};

/// A check as it runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// What is asked.
    pub question: Question,
    /// Where, if not at the server's own port.
    pub port: Option<u16>,
    /// How, if not as requests are sent.
    pub scheme: Option<Scheme>,
    /// The time between two checks; none: as the settings say.
    pub interval: Option<Duration>,
    /// A whole check, from the connection to the head of the answer.
    pub timeout: Duration,
    /// Passes in a row that bring a server back.
    pub rise: u8,
    /// Failures in a row that take a server out.
    pub fall: u8,
}

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// Nothing: a connection is enough.
    Connect,
    /// A request over HTTP.
    Http(Box<Request>),
}

/// A request, and the answers that are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Path and query, as they are sent.
    pub target: String,
    /// Whether it is sent as HTTP/1.0.
    pub is_http10: bool,
    /// The `Host`, where it is not the server's own.
    pub host: Option<String>,
    /// Further lines.
    pub headers: HeaderLines,
    /// The statuses that are wanted.
    pub statuses: Vec<RangeInclusive<u16>>,
}

/// A setting of a check that cannot be used; its default counts instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidCheck {
    /// `interval`, as the label ends.
    pub setting: &'static str,
    /// Why, in words that follow on the setting's name.
    pub why: String,
    /// What to do.
    pub hint: &'static str,
}

/// How long a check may take where nobody says (Traefik 1.7, healthcheck.go).
const TIMEOUT: Duration = Duration::from_secs(5);

/// The answers that are wanted where nobody says: 2xx and 3xx, as in Traefik 1.7.
const WELL: RangeInclusive<u16> = 200..=399;

/// More in a row than this is a slip.
const COUNT_MAX: i64 = 100;

impl Check {
    /// The check that is asked for, where one is, and what of it cannot be used.
    pub fn of(wish: &HealthCheck) -> (Option<Self>, Vec<InvalidCheck>) {
        let mut reader = Reader { invalid: Vec::new() };
        let check = reader.check(wish);
        (check, reader.invalid)
    }

    /// `GET /health`, `connection`: what is asked, in the words of events.
    pub fn name(&self) -> String {
        match &self.question {
            Question::Connect => "connection".to_owned(),
            Question::Http(request) => format!("{} {}", request.method, request.target),
        }
    }
}

impl Request {
    /// The request as it goes over the wire, for a server whose own `Host` is this.
    pub fn write(&self, own_host: &str) -> String {
        let host = self.host.as_deref().unwrap_or(own_host);
        let Self { method, target, .. } = self;
        let version = if self.is_http10 { "1.0" } else { "1.1" };
        let mut text = format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\n");
        let is_said = |name: &str| self.headers.keys().any(|key| key.eq_ignore_ascii_case(name));
        if !is_said("user-agent") {
            text.push_str("User-Agent: Herder\r\n");
        }
        text.push_str("Connection: close\r\n");
        for (name, value) in &self.headers {
            // The check writes those itself.
            if !LineOwner::is_engine(name) {
                // Writing to a string cannot fail.
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        text.push_str("\r\n");
        text
    }

    /// Whether this is an answer of a server that is well.
    pub fn wants(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }

    /// `200-399`, `200, 204`.
    pub fn wanted(&self) -> String {
        let ranges = self.statuses.iter().map(|range| match (range.start(), range.end()) {
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from}-{to}"),
        });
        ranges.collect::<Vec<_>>().join(", ")
    }
}

struct Reader {
    invalid: Vec<InvalidCheck>,
}

impl Reader {
    fn complain(&mut self, setting: &'static str, why: impl Into<String>, hint: &'static str) {
        self.invalid.push(InvalidCheck { setting, why: why.into(), hint });
    }

    fn check(&mut self, wish: &HealthCheck) -> Option<Check> {
        let question = match (wish.is_connect, wish.path.is_empty()) {
            (true, _) => Question::Connect,
            (false, true) => return None,
            (false, false) => Question::Http(Box::new(self.request(wish))),
        };
        Some(Check {
            question,
            port: self.port(wish.port),
            scheme: self.scheme(&wish.scheme),
            interval: self.time("interval", &wish.interval),
            timeout: self.time("timeout", &wish.timeout).unwrap_or(TIMEOUT),
            rise: self.count("rise", wish.rise),
            fall: self.count("fall", wish.fall),
        })
    }

    fn request(&mut self, wish: &HealthCheck) -> Request {
        let statuses = wish.status.iter().filter_map(|text| self.statuses(text)).collect();
        let statuses: Vec<_> = statuses;
        Request {
            method: match wish.method.as_str() {
                "" => "GET".to_owned(),
                method => method.to_owned(),
            },
            target: origin_form(&wish.path),
            is_http10: wish.is_http10,
            host: self.host(&wish.hostname),
            headers: wish.headers.clone(),
            statuses: if statuses.is_empty() { vec![WELL] } else { statuses },
        }
    }

    fn host(&mut self, host: &str) -> Option<String> {
        let is_good = check_host(host).is_ok();
        if !host.is_empty() && !is_good {
            let why = format!("\"{host}\" is not a host; the server's own is used");
            self.complain("hostname", why, "Write a.example.com.");
        }
        is_good.then(|| host.to_owned())
    }

    fn port(&mut self, port: i64) -> Option<u16> {
        let read = u16::try_from(port).ok();
        if read.is_none() {
            self.complain(
                "port",
                format!("\"{port}\" is not a port; the server's own is asked"),
                "Write a number from 1 to 65535.",
            );
        }
        read.filter(|port| *port > 0)
    }

    fn scheme(&mut self, scheme: &str) -> Option<Scheme> {
        match scheme {
            "" => None,
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            other => {
                let why = format!("\"{other}\" is not served; the server's own is used");
                self.complain("scheme", why, "Write http or https.");
                None
            }
        }
    }

    fn time(&mut self, setting: &'static str, text: &str) -> Option<Duration> {
        if text.is_empty() {
            return None;
        }
        let read =
            duration(text).ok().filter(|time| *time <= CHECK_INTERVAL_MAX && !time.is_zero());
        match read {
            None => {
                let why = format!("\"{text}\" is no time that can be used; the default counts");
                self.complain(setting, why, "Write 10s, 500ms, at most 24h.");
                None
            }
            Some(time) if setting == "interval" && time < CHECK_INTERVAL_MIN => {
                let why = format!("\"{text}\" is too short; 100ms counts");
                self.complain(setting, why, "Write 100ms or more.");
                Some(CHECK_INTERVAL_MIN)
            }
            Some(time) => Some(time),
        }
    }

    /// How often in a row; 0 was not said.
    fn count(&mut self, setting: &'static str, count: i64) -> u8 {
        match u8::try_from(count) {
            Ok(0) => 1,
            Ok(read) if count <= COUNT_MAX => read,
            _ => {
                let why = format!("\"{count}\" is no count that can be used; 1 counts");
                self.complain(setting, why, "Write a number from 1 to 100.");
                1
            }
        }
    }

    /// `204`, `200-299`.
    fn statuses(&mut self, text: &str) -> Option<RangeInclusive<u16>> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let status =
            |text: &str| text.trim().parse::<u16>().ok().filter(|s| (100..=599).contains(s));
        let range = status(from).zip(status(to)).filter(|(from, to)| from <= to);
        if range.is_none() {
            let why = format!("\"{text}\" is no status of an answer; it is left out");
            self.complain("status", why, "Write 204 or 200-299.");
        }
        range.map(|(from, to)| from..=to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> HealthCheck {
        HealthCheck { path: "/health".to_owned(), ..HealthCheck::default() }
    }

    #[track_caller]
    fn check(wish: &HealthCheck, invalid: &[&str]) -> Check {
        let (check, found) = Check::of(wish);
        let settings: Vec<&str> = found.iter().map(|invalid| invalid.setting).collect();
        assert_eq!(settings, invalid);
        check.expect("a check is asked for")
    }

    #[test]
    fn what_is_not_said_is_as_in_traefik() {
        let read = check(&wish(), &[]);
        assert_eq!((read.interval, read.timeout), (None, Duration::from_secs(5)));
        assert_eq!((read.rise, read.fall, read.port, read.scheme), (1, 1, None, None));
        let Question::Http(request) = &read.question else { panic!("{read:?}") };
        for (status, is_well) in [(199, false), (200, true), (399, true), (400, false)] {
            assert_eq!(request.wants(status), is_well, "{status}");
        }
        let own =
            "GET /health HTTP/1.1\r\nHost: a:80\r\nUser-Agent: Herder\r\nConnection: close\r\n\r\n";
        assert_eq!(request.write("a:80"), own);
        assert_eq!(Check::of(&HealthCheck { port: 80, ..HealthCheck::default() }), (None, vec![]));
    }

    #[test]
    fn everything_said_arrives() {
        let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let wish = HealthCheck {
            path: "a b?c=d".to_owned(),
            scheme: "https".to_owned(),
            port: 8443,
            interval: "2s".to_owned(),
            timeout: "500ms".to_owned(),
            rise: 2,
            fall: 3,
            status: vec!["204".to_owned(), "300-399".to_owned()],
            hostname: "well.example.com".to_owned(),
            headers: [line("X-A", "1"), line("User-Agent", "me"), line("Host", "no")].into(),
            ..HealthCheck::default()
        };
        let read = check(&wish, &[]);
        assert_eq!((read.rise, read.fall, read.port), (2, 3, Some(8443)));
        assert_eq!(read.scheme, Some(Scheme::Https));
        assert_eq!(read.interval, Some(Duration::from_secs(2)));
        let Question::Http(request) = &read.question else { panic!("{read:?}") };
        assert_eq!(request.wanted(), "204, 300-399");
        assert_eq!(
            request.write("own"),
            "GET /a%20b?c=d HTTP/1.1\r\nHost: well.example.com\r\nConnection: close\r\n\
             User-Agent: me\r\nX-A: 1\r\n\r\n"
        );
    }

    #[test]
    fn a_host_writes_no_request_of_its_own() {
        for hostname in ["x\r\n\r\nPOST /evil HTTP/1.1", "a b", "me@a.test", "a/b"] {
            let wish = HealthCheck { hostname: hostname.to_owned(), ..wish() };
            let read = check(&wish, &["hostname"]);
            let Question::Http(request) = &read.question else { panic!("{read:?}") };
            assert!(request.write("own").contains("\r\nHost: own\r\n"), "{hostname}");
        }
    }

    #[test]
    fn what_cannot_be_used_costs_itself_only() {
        let wish = HealthCheck {
            port: 70_000,
            scheme: "tcp".to_owned(),
            interval: "1ms".to_owned(),
            timeout: "never".to_owned(),
            rise: -1,
            fall: 101,
            status: vec!["600".to_owned(), "299-200".to_owned()],
            ..wish()
        };
        let all = ["status", "status", "port", "scheme", "interval", "timeout", "rise", "fall"];
        let read = check(&wish, &all);
        assert_eq!((read.rise, read.fall, read.interval), (1, 1, Some(CHECK_INTERVAL_MIN)));
    }

    #[test]
    fn a_connection_asks_for_nothing_more() {
        let wish = HealthCheck { is_connect: true, ..HealthCheck::default() };
        let read = check(&wish, &[]);
        assert_eq!((read.name().as_str(), read.question), ("connection", Question::Connect));
    }
}
