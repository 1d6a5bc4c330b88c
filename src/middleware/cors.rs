//! Which other sites may use this one by scripts: the CORS protocol of browsers (fetch.spec.whatwg.org, section 3.2).
//!
//! Questions beforehand (preflights) are answered here and never reach a server; they carry no credentials, so this stands
//! before whoever asks for a name. What a server says about it itself does not pass: one of the two has to be right.

use crate::middleware::{Answer, Flow, Handler};
use crate::model::{Exchange, Follower, Response, port_of};

/// `origins: ["https://app.test"]` lets scripts of that site read the answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cors {
    /// Sites that may, as [`origin`] writes them; `*` is all of them.
    pub origins: Vec<String>,
    /// Methods that they may use besides GET, HEAD and POST.
    pub methods: Vec<String>,
    /// Lines that they may send besides the harmless ones.
    pub headers: Vec<String>,
    /// Lines that they may read besides the harmless ones.
    pub expose: Vec<String>,
    /// Whether they may act as the user who is logged in here.
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight, in seconds.
    pub max_age_s: Option<i64>,
}

/// An origin as browsers write it: `https://app.test:8443`, without the usual port; or `*`.
///
/// # Errors
/// A sentence without a full stop that says what is wrong.
pub fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let wrong = || format!("\"{text}\" is not an origin");
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let (scheme, usual) = match uri.scheme_str() {
        Some("http") => ("http", 80),
        Some("https") => ("https", 443),
        _ => return Err(wrong()),
    };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    let port = uri.authority().map(port_of).transpose()?.flatten();
    let port = port.filter(|port| *port != usual);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let is_more = uri.path_and_query().is_some_and(|rest| !matches!(rest.as_str(), "" | "/"));
    let is_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if is_more || is_user || text.ends_with('/') {
        return Err(wrong());
    }
    Ok(format!("{scheme}://{}{port}", host.to_ascii_lowercase()))
}

/// Whether this may name a method.
///
/// # Errors
/// A sentence without a full stop that says what is wrong.
pub fn check_method(text: &str) -> Result<(), String> {
    let is_method = http::Method::from_bytes(text.as_bytes()).is_ok();
    if is_method { Ok(()) } else { Err(format!("\"{text}\" is not a method")) }
}

/// Whether this may name a header line.
///
/// # Errors
/// A sentence without a full stop that says what is wrong.
pub fn check_header_name(text: &str) -> Result<(), String> {
    let is_name = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
    if is_name { Ok(()) } else { Err(format!("\"{text}\" is not the name of a header line")) }
}

impl Cors {
    /// Whether the lists fit together.
    ///
    /// # Errors
    /// A sentence without a full stop that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let mut lists = [&self.origins, &self.methods, &self.headers, &self.expose].into_iter();
        if self.credentials && lists.any(|list| list.iter().any(|word| word == "*")) {
            let why = "\"*\" beside it would let every site act as the user; \"*\" lets nobody in";
            return Err(why.to_owned());
        }
        Ok(())
    }

    /// What `Access-Control-Allow-Origin` says to this site; nothing where it may not.
    fn allowed(&self, origin: &str) -> Option<String> {
        if self.is_for_all() {
            return Some("*".to_owned());
        }
        let is_known = self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
        is_known.then(|| origin.to_owned())
    }

    fn is_for_all(&self) -> bool {
        !self.credentials && self.origins.iter().any(|origin| origin == "*")
    }

    /// The answer to a preflight. To a site that may not it says nothing, which a browser takes for a no.
    fn preflight(&self, origin: &str) -> Box<Answer> {
        let answer = Answer::new(200)
            .line("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
        let mut answer = Box::new(Answer { body: Some(Vec::new()), ..*answer });
        let Some(allowed) = self.allowed(origin) else { return answer };
        answer = answer.line(ALLOW_ORIGIN, allowed);
        if self.credentials {
            answer = answer.line(ALLOW_CREDENTIALS, "true");
        }
        for (name, list) in [(ALLOW_METHODS, &self.methods), (ALLOW_HEADERS, &self.headers)] {
            if !list.is_empty() {
                answer = answer.line(name, list.join(", "));
            }
        }
        match self.max_age_s {
            Some(seconds) => answer.line(MAX_AGE, seconds.to_string()),
            None => answer,
        }
    }
}

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_HEADERS: &str = "Access-Control-Allow-Headers";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";
const MAX_AGE: &str = "Access-Control-Max-Age";

impl Handler for Cors {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let origin = exchange.line("origin").map(str::to_owned);
        if let Some(origin) = &origin {
            let asks = exchange.head.header("access-control-request-method").is_some();
            if exchange.method == "OPTIONS" && asks {
                return Flow::Answer(self.preflight(origin));
            }
        }
        // What all may read says so whoever asks: a store has no other answer for those that come after.
        let allowed = match (self.is_for_all(), origin) {
            (true, _) => Some("*".to_owned()),
            (false, origin) => origin.and_then(|origin| self.allowed(&origin)),
        };
        exchange.follow(OnResponse {
            // What is not told a stranger is told nobody.
            expose: match &allowed {
                Some(_) if !self.expose.is_empty() => Some(self.expose.join(", ")),
                _ => None,
            },
            credentials: self.credentials,
            varies: !self.is_for_all(),
            allowed,
        });
        Flow::Continue
    }

    fn describe(&self) -> String {
        let with = if self.credentials { " with credentials" } else { "" };
        format!("scripts of {}{with}", self.origins.join(", "))
    }
}

/// What the answer to one request says.
struct OnResponse {
    allowed: Option<String>,
    expose: Option<String>,
    credentials: bool,
    /// Whether another site gets another answer.
    varies: bool,
}

impl Follower for OnResponse {
    fn on_response(&mut self, response: &mut Response<'_>) {
        for name in
            [ALLOW_ORIGIN, ALLOW_CREDENTIALS, ALLOW_METHODS, ALLOW_HEADERS, EXPOSE_HEADERS, MAX_AGE]
        {
            response.remove_line(name);
        }
        if self.varies {
            super::vary(response, "Origin");
        }
        let Some(allowed) = &self.allowed else { return };
        response.add_line(ALLOW_ORIGIN, allowed.as_str());
        if self.credentials {
            response.add_line(ALLOW_CREDENTIALS, "true");
        }
        if let Some(expose) = &self.expose {
            response.add_line(EXPOSE_HEADERS, expose.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::Lines;

    fn cors() -> Cors {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Cors {
            origins: list(&["https://a.test", "http://b.test:81"]),
            methods: list(&["PUT", "DELETE"]),
            headers: list(&["X-A"]),
            expose: list(&["X-B", "X-C"]),
            credentials: true,
            max_age_s: Some(600),
        }
    }

    /// The lines of CORS that a client gets, without `Access-Control-`.
    #[track_caller]
    fn check(cors: &Cors, method: &str, lines: &[(&str, &str)], expected: &[&str]) {
        let lines = Lines(lines);
        let mut exchange = Exchange::new("http", method, "site.test", "/", &lines);
        let mut said: Vec<String> = match cors.on_request(&mut exchange) {
            Flow::Answer(answer) => {
                let lines = answer.lines.iter();
                [answer.status.to_string()]
                    .into_iter()
                    .chain(lines.map(|(name, value)| format!("{name}: {value}")))
                    .collect()
            }
            _ => {
                let head = Lines(&[
                    ("access-control-allow-origin", "*"),
                    ("access-control-allow-credentials", "true"),
                ]);
                let mut response = Response::new(200, true, &head);
                exchange.change().followers[0].on_response(&mut response);
                let allow = "access-control-allow-origin";
                assert!(!response.has_line(allow, |value| value == b"*" && !cors.is_for_all()));
                let added = response.added.iter();
                added.map(|(name, value)| format!("{name}: {value}")).collect()
            }
        };
        said.iter_mut().for_each(|line| *line = line.replace("Access-Control-", ""));
        said.retain(|line| !line.starts_with("Vary: Origin, "));
        assert_eq!(said, expected, "{method} {lines:?}");
    }

    #[test]
    fn a_preflight_is_answered_here() {
        let ask = |origin| [("origin", origin), ("access-control-request-method", "PUT")];
        let yes = [
            "200",
            "Allow-Origin: https://a.test",
            "Allow-Credentials: true",
            "Allow-Methods: PUT, DELETE",
            "Allow-Headers: X-A",
            "Max-Age: 600",
        ];
        check(&cors(), "OPTIONS", &ask("https://a.test"), &yes);
        check(&cors(), "OPTIONS", &ask("https://evil.test"), &["200"]);
        check(&cors(), "OPTIONS", &ask("null"), &["200"]);
        // A question about something else is the server's to answer.
        check(&cors(), "OPTIONS", &[("origin", "https://evil.test")], &["Vary: Origin"]);
    }

    #[test]
    fn an_answer_says_who_may_read_it() {
        let yes = [
            "Vary: Origin",
            "Allow-Origin: http://b.test:81",
            "Allow-Credentials: true",
            "Expose-Headers: X-B, X-C",
        ];
        check(&cors(), "GET", &[("origin", "http://b.test:81")], &yes);
        check(&cors(), "GET", &[("origin", "http://b.test")], &["Vary: Origin"]);
        check(&cors(), "GET", &[], &["Vary: Origin"]);
        let for_all = Cors { origins: vec!["*".to_owned()], ..Cors::default() };
        check(&for_all, "GET", &[("origin", "http://x.test")], &["Allow-Origin: *"]);
        // A cache gives it to the next one, who has an origin: it does not vary ("CORS protocol and HTTP caches").
        let for_all = Cors { expose: vec!["X-B".to_owned()], ..for_all };
        check(&for_all, "GET", &[], &["Allow-Origin: *", "Expose-Headers: X-B"]);
    }

    #[test]
    fn everybody_is_never_logged_in() {
        let for_all = Cors { origins: vec!["*".to_owned()], credentials: true, ..Cors::default() };
        assert!(for_all.check().is_err());
        check(&for_all, "GET", &[("origin", "http://x.test")], &["Vary: Origin"]);
        assert_eq!(cors().check(), Ok(()));
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (text, expected) in [
            ("https://A.test", Some("https://a.test")),
            ("https://a.test:443", Some("https://a.test")),
            ("http://a.test:443", Some("http://a.test:443")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("*", Some("*")),
            ("null", None),
            ("a.test", None),
            ("https://a.test/", None),
            ("https://a.test/x", None),
            ("https://me@a.test", None),
            ("ftp://a.test", None),
            ("https://a.test:99999", None),
            ("https://", None),
        ] {
            assert_eq!(origin(text).ok().as_deref(), expected, "{text}");
        }
    }
}
