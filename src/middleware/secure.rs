//! What makes a site safer in browsers: https only, hosts that are known, and the header lines that say so.
//!
//! The rules and words are those of Traefik 1.7's `headers` (unrolled/secure). What a proxy before us says about the client
//! (`hostsProxyHeaders`, `SSLProxyHeaders`) is believed of trusted addresses only; 1.7 believes everybody.

use std::sync::Arc;

use crate::middleware::redirect::path_and_query;
use crate::middleware::{Answer, Flow, Handler};
use crate::model::{Exchange, Follower, LineName, Response, comparable_host};

/// What a user asks for, in Traefik 1.7's words.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Secure {
    /// Hosts that are answered, any where there is none.
    pub allowed_hosts: Vec<String>,
    /// Lines in which a proxy before us says what host the client asked for, in lower case.
    pub hosts_proxy_headers: Vec<String>,
    /// Lines, in lower case, and what they say where the client speaks https with a proxy before us.
    pub ssl_proxy_headers: Vec<(String, String)>,
    /// Clients are sent to https.
    pub ssl_redirect: bool,
    /// For now, rather than for good.
    pub ssl_temporary_redirect: bool,
    /// To this host; to their own where it is empty.
    pub ssl_host: String,
    /// To that host in any case.
    pub ssl_force_host: bool,
    /// The lines that clients get over http, each in the place of the server's own of its name.
    pub lines: Arc<[(LineName, String)]>,
    /// Those over https.
    pub https_lines: Arc<[(LineName, String)]>,
    /// Neither hosts nor redirects to https are minded, save a forced host.
    pub is_development: bool,
}

impl Secure {
    /// Whether anything is asked for.
    pub fn is_idle(&self) -> bool {
        let has_lines = !self.lines.is_empty() || !self.https_lines.is_empty();
        self.allowed_hosts.is_empty() && !self.ssl_redirect && !self.ssl_force_host && !has_lines
    }

    /// The host that the client asked for, with its port.
    fn host<'e>(&self, exchange: &'e Exchange<'_>) -> &'e str {
        let mut hosts = self.hosts_proxy_headers.iter().filter_map(|name| told(exchange, name));
        // What cannot be a host is none: it would lead a redirect elsewhere.
        let is_host = |host: &&str| {
            let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
            !host.is_empty() && host.bytes().all(is_part)
        };
        hosts.find(is_host).unwrap_or(exchange.authority)
    }

    fn is_https(&self, exchange: &Exchange<'_>) -> bool {
        let mut lines = self.ssl_proxy_headers.iter();
        exchange.is_https()
            || lines.any(|(name, value)| told(exchange, name) == Some(value.as_str()))
    }

    fn is_allowed(&self, host: &str) -> bool {
        // 1.7 holds them against each other with their ports. One without a port means any.
        let mut allowed = self.allowed_hosts.iter();
        let plain = comparable_host(host);
        self.is_development
            || self.allowed_hosts.is_empty()
            || allowed.any(|a| a.eq_ignore_ascii_case(host) || a.eq_ignore_ascii_case(&plain))
    }

    /// The host to which a client is sent; none where it is right here.
    fn wanted_host<'a>(&'a self, host: &'a str, is_https: bool) -> Option<&'a str> {
        if self.ssl_redirect && !is_https && !self.is_development {
            // Where http came in at a port of its own, https does not.
            let own = without_port(host);
            return Some(if self.ssl_host.is_empty() { own } else { &self.ssl_host });
        }
        let is_forced = self.ssl_force_host && !self.ssl_host.is_empty();
        (is_forced && !self.ssl_host.eq_ignore_ascii_case(host)).then_some(&*self.ssl_host)
    }
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

/// What a line (lower case) says that a step before set, or that a trusted client sent.
fn told<'e>(exchange: &'e Exchange<'_>, name: &str) -> Option<&'e str> {
    if let Some(changes) = exchange.changes() {
        let mut added = changes.added.iter();
        if let Some((_, value)) = added.find(|(added, _)| added.eq_ignore_ascii_case(name)) {
            return Some(value);
        }
        if changes.is_removed(name) {
            return None;
        }
    }
    exchange.line(name).filter(|_| exchange.sender.is_trusted)
}

impl Handler for Secure {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let host = self.host(exchange);
        if !self.is_allowed(host) {
            // As 1.7 answers it.
            let answer = Answer::new(500)
                .because("the host is none of allowedHosts")
                .line("Content-Type", "text/plain; charset=utf-8")
                .line("X-Content-Type-Options", "nosniff");
            return Flow::Answer(Box::new(Answer {
                body: Some(b"Bad Host\n".to_vec()),
                ..*answer
            }));
        }
        let is_https = self.is_https(exchange);
        match self.wanted_host(host, is_https) {
            // A client of HTTP/1.0 that names no host cannot be sent anywhere.
            Some("") => {
                return Flow::Answer(
                    Answer::new(400).because("it names no host to send it to over https"),
                );
            }
            Some(host) => {
                let location = format!("https://{host}{}", path_and_query(exchange));
                let status = if self.ssl_temporary_redirect { 307 } else { 301 };
                return Flow::Answer(Answer::new(status).line("Location", location));
            }
            None => {}
        }
        let lines = if is_https { &self.https_lines } else { &self.lines };
        if !lines.is_empty() {
            exchange.follow(OnResponse(Arc::clone(lines)));
        }
        Flow::Continue
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if !self.allowed_hosts.is_empty() {
            parts.push(format!("only hosts {}", self.allowed_hosts.join(", ")));
        }
        if self.ssl_redirect || self.ssl_force_host {
            parts.push(match self.ssl_host.as_str() {
                "" => "send to https".to_owned(),
                host => format!("send to https://{host}"),
            });
        }
        // Over https there are all of them.
        let names: Vec<&str> = self.https_lines.iter().map(|(name, _)| name.as_ref()).collect();
        if !names.is_empty() {
            parts.push(names.join(", "));
        }
        parts.join("; ")
    }
}

/// The lines of one answer.
struct OnResponse(Arc<[(LineName, String)]>);

impl Follower for OnResponse {
    fn on_response(&mut self, response: &mut Response<'_>) {
        for (name, value) in self.0.iter() {
            response.set_line(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::Line;
    use crate::model::Sender;

    fn secure() -> Secure {
        let line = |value: &str| Arc::from([("X-Over".into(), value.to_owned())]);
        Secure { lines: line("http"), https_lines: line("https"), ..Secure::default() }
    }

    /// A client that sends one line besides its host.
    #[track_caller]
    fn check(secure: &Secure, host: &str, line: Line, is_trusted: bool, expected: &str) {
        let mut exchange = Exchange::new("http", "GET", host, "/x?y=1", &line);
        exchange.sender = Sender { is_trusted, ..Sender::default() };
        exchange.replace_path("/what/a/rule/made/of/it".to_owned());
        let said = match secure.on_request(&mut exchange) {
            Flow::Answer(answer) => {
                let (_, first) = answer.lines.first().cloned().unwrap_or_default();
                let body = String::from_utf8(answer.body.unwrap_or_default()).expect("text");
                format!("{} {}", answer.status, if body.is_empty() { &first } else { body.trim() })
            }
            _ => {
                let mut response = Response::new(200, true, &());
                response.add_line("X-Over", "the server's");
                for follower in &mut exchange.change().followers {
                    follower.on_response(&mut response);
                }
                let line = response.line("x-over").unwrap_or_default();
                format!("over {}", String::from_utf8_lossy(line))
            }
        };
        assert_eq!(said, expected, "{host} {line:?}");
    }

    const NONE: Line = Line("x-none", "");
    const HTTPS: Line = Line("x-forwarded-proto", "https");

    #[test]
    fn who_speaks_https_is_told_by_whom_we_trust() {
        check(&secure(), "a.test", NONE, false, "over http");
        check(&secure(), "a.test", HTTPS, false, "over http");
        check(&secure(), "a.test", HTTPS, true, "over https");
        let ssl_proxy_headers = vec![("front-end-https".to_owned(), "on".to_owned())];
        let by_line = Secure { ssl_proxy_headers, ..secure() };
        check(&by_line, "a.test", Line("front-end-https", "on"), true, "over https");
        check(&by_line, "a.test", Line("front-end-https", "off"), true, "over http");
        check(&by_line, "a.test", Line("front-end-https", "on"), false, "over http");
    }

    #[test]
    fn clients_are_sent_to_https() {
        let to_https = Secure { ssl_redirect: true, ..secure() };
        check(&to_https, "a.test", NONE, false, "301 https://a.test/x?y=1");
        check(&to_https, "a.test:8080", NONE, false, "301 https://a.test/x?y=1");
        check(&to_https, "[::1]:80", NONE, false, "301 https://[::1]/x?y=1");
        check(&to_https, "a.test", HTTPS, true, "over https");
        check(&to_https, "", NONE, false, "400 ");
        let for_now = Secure { ssl_temporary_redirect: true, ..to_https.clone() };
        check(&for_now, "a.test", NONE, false, "307 https://a.test/x?y=1");
        let elsewhere = Secure { ssl_host: "b.test".to_owned(), ..to_https.clone() };
        check(&elsewhere, "a.test", NONE, false, "301 https://b.test/x?y=1");
        check(&elsewhere, "a.test", HTTPS, true, "over https");
        let forced = Secure { ssl_force_host: true, ..elsewhere };
        check(&forced, "a.test", HTTPS, true, "301 https://b.test/x?y=1");
        check(&forced, "B.test", HTTPS, true, "over https");
        let at_home = Secure { is_development: true, ..to_https };
        check(&at_home, "a.test", NONE, false, "over http");
    }

    #[test]
    fn only_known_hosts_are_answered() {
        let allowed_hosts = vec!["a.test".to_owned(), "b.test:81".to_owned()];
        let only = Secure { allowed_hosts, ..secure() };
        check(&only, "A.test", NONE, false, "over http");
        check(&only, "a.test:8080", NONE, false, "over http");
        check(&only, "b.test:81", NONE, false, "over http");
        check(&only, "b.test", NONE, false, "500 Bad Host");
        check(&only, "a.test.evil.test", NONE, false, "500 Bad Host");
        check(&only, "", NONE, false, "500 Bad Host");
        let told = Secure { hosts_proxy_headers: vec!["x-host".to_owned()], ..only.clone() };
        check(&told, "inside", Line("x-host", "a.test"), true, "over http");
        check(&told, "inside", Line("x-host", "a.test"), false, "500 Bad Host");
        check(&told, "a.test", Line("x-host", "evil.test"), true, "500 Bad Host");
        check(&Secure { is_development: true, ..only }, "c.test", NONE, false, "over http");
    }

    #[test]
    fn a_step_before_may_say_it() {
        let to_https = Secure { ssl_redirect: true, ..secure() };
        let ssl_proxy_headers = vec![("x-proto".to_owned(), "https".to_owned())];
        let to_https = Secure { ssl_proxy_headers, ..to_https };
        let mut exchange = Exchange::new("http", "GET", "a.test", "/", &());
        exchange.change().set_line("X-Proto", "https");
        assert!(matches!(to_https.on_request(&mut exchange), Flow::Continue));
    }
}
