//! Sends clients to another URL: that of an entry point, or what an expression makes of theirs.
//!
//! As in Traefik 1.7 (middlewares/redirect) the whole URL is looked at, as the client wrote it: what a rule took off the
//! path stays. `GET` is answered with 302 or 301, any other method with 307 or 308, so that it stays what it is.

use std::borrow::Cow;

use regex::Regex;

use crate::middleware::{Answer, Flow, Handler};
use crate::model::{Exchange, plain};
use crate::rules::expression;

/// `regex: "^http://a.test/(.*)"` and `replacement: "https://b.test/$1"`, or an entry point.
#[derive(Clone, Debug)]
pub struct Redirect {
    to: To,
    /// For good, rather than for now.
    is_permanent: bool,
}

/// Where clients are sent.
#[derive(Clone, Debug)]
enum To {
    EntryPoint(Target),
    Url { regex: Regex, replacement: String },
}

/// An entry point that clients are sent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Whether it speaks https.
    pub is_tls: bool,
    /// The port where it listens.
    pub port: u16,
}

/// A longer URL is none: an expression may find something at each letter.
const URL_BYTES_MAX: usize = 64 * 1024;

/// Each may be the whole URL: without a bound, one becomes a thousand.
const REFERENCES_MAX: usize = 16;

impl Redirect {
    /// To an entry point.
    pub fn to_entrypoint(target: Target, is_permanent: bool) -> Self {
        Self { to: To::EntryPoint(target), is_permanent }
    }

    /// To what is made of a URL by putting `replacement` in the place of all that the expression finds there: `$1` and
    /// `${name}` are its groups.
    ///
    /// # Errors
    /// A sentence without a full stop that says what is wrong.
    pub fn to_url(regex: &str, replacement: &str, is_permanent: bool) -> Result<Self, String> {
        check_replacement(replacement)?;
        let to = To::Url { regex: expression(regex)?, replacement: replacement.to_owned() };
        Ok(Self { to, is_permanent })
    }

    /// Where this client is sent; nothing where it is right here.
    fn location(&self, exchange: &Exchange<'_>) -> Result<Option<String>, u16> {
        match &self.to {
            To::EntryPoint(target) => target.location(exchange),
            To::Url { regex, replacement } => {
                let sent = url(exchange, exchange.authority, exchange.sent_path);
                let mut new = replaced(regex, replacement, &sent)?.filter(|new| *new != sent);
                let plain = url(exchange, &plain_authority(exchange), &plain(exchange.sent_path));
                if new.is_none() && plain != sent {
                    // What is spelled in another way matches the same rules: it goes around no redirect either.
                    new = replaced(regex, replacement, &plain)?.filter(|new| *new != plain);
                }
                // `$1` may be `//evil.test`, which is a host; where the replacement itself begins so, it is meant.
                let new = new.map(|new| match replacement.starts_with("//") {
                    true => sendable(&new),
                    false => sendable(&rooted(&new)),
                });
                Ok(new)
            }
        }
    }
}

/// Whether a replacement can be put in.
///
/// # Errors
/// A sentence without a full stop that says what is wrong.
pub fn check_replacement(replacement: &str) -> Result<(), String> {
    if replacement.matches('$').count() > REFERENCES_MAX {
        return Err(format!("has more than {REFERENCES_MAX} references"));
    }
    if replacement.contains("{{") {
        return Err("asks for a template of Go, which is not there".to_owned());
    }
    Ok(())
}

impl Target {
    /// The client's URL at this entry point.
    fn location(&self, exchange: &Exchange<'_>) -> Result<Option<String>, u16> {
        // A client's own word for where it came in counts for nothing; that of the proxy before us does.
        let is_believed = exchange.sender.is_tls || exchange.sender.is_trusted;
        let is_here =
            is_believed && exchange.is_https() == self.is_tls && port(exchange) == Some(self.port);
        if exchange.entrypoint == self.name || is_here {
            return Ok(None);
        }
        // A client of HTTP/1.0 that names no host cannot be sent anywhere, and must not come in by the wrong door.
        if exchange.host.is_empty() {
            return Err(400);
        }
        let (scheme, usual) = if self.is_tls { ("https", 443) } else { ("http", 80) };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        let path_and_query = path_and_query(exchange);
        Ok(Some(format!("{scheme}://{}{port}{path_and_query}", exchange.host)))
    }
}

/// The port that the client means.
fn port(exchange: &Exchange<'_>) -> Option<u16> {
    let digits = exchange.authority.rsplit_once(':').map(|(_, digits)| digits);
    // What follows the last colon of an address in brackets ends with one of them.
    match digits.filter(|digits| !digits.is_empty() && !digits.ends_with(']')) {
        Some(digits) => digits.parse().ok(),
        None => Some(if exchange.is_https() { 443 } else { 80 }),
    }
}

/// A URL with the client's scheme and query.
fn url(exchange: &Exchange<'_>, authority: &str, path: &str) -> String {
    let scheme = if exchange.is_https() { "https" } else { "http" };
    format!("{scheme}://{authority}{}", with_query(exchange, path))
}

/// The host as rules compare it, with its port where that is not the usual one.
fn plain_authority(exchange: &Exchange<'_>) -> String {
    let usual = if exchange.is_https() { 443 } else { 80 };
    match port(exchange).filter(|&port| port != usual) {
        Some(port) => format!("{}:{port}", exchange.host),
        None => exchange.host.to_string(),
    }
}

/// What follows the host, as the client wrote it.
pub(super) fn path_and_query(exchange: &Exchange<'_>) -> String {
    with_query(exchange, exchange.sent_path)
}

fn with_query(exchange: &Exchange<'_>, path: &str) -> String {
    let mark = if exchange.query.is_empty() { "" } else { "?" };
    // `OPTIONS *` asks about no path.
    let path = if path.starts_with('/') { path } else { "/" };
    format!("{path}{mark}{}", exchange.query)
}

/// The URL with the replacement in the place of all that is found; nothing where nothing is.
fn replaced(regex: &Regex, replacement: &str, url: &str) -> Result<Option<String>, u16> {
    let (mut new, mut end, mut has_any) = (String::new(), 0, false);
    for found in regex.captures_iter(url) {
        let Some(whole) = found.get(0) else { continue };
        new.push_str(url.get(end..whole.start()).unwrap_or_default());
        found.expand(replacement, &mut new);
        (end, has_any) = (whole.end(), true);
        if new.len() > URL_BYTES_MAX {
            return Err(414);
        }
    }
    new.push_str(url.get(end..).unwrap_or_default());
    Ok(has_any.then_some(new))
}

/// A URL that begins with several slashes, or what clients take for some, with one of them: what follows would be a host.
fn rooted(url: &str) -> Cow<'_, str> {
    let rest = url.trim_start_matches(['/', '\\']);
    match url.len() - rest.len() {
        0 | 1 => Cow::Borrowed(url),
        _ => Cow::Owned(format!("/{rest}")),
    }
}

/// A URL as it may stand in a header line: what cannot stand in one is percent-encoded, `%` is left alone.
fn sendable(url: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const NOT_IN_A_URL: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'\\')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    utf8_percent_encode(url, NOT_IN_A_URL).to_string()
}

impl Handler for Redirect {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let location = match self.location(exchange) {
            Ok(None) => return Flow::Continue,
            Ok(Some(location)) => location,
            Err(status) => {
                let why = "the redirect leads to no URL that can be sent";
                return Flow::Answer(Answer::new(status).because(why));
            }
        };
        let status = match (exchange.method, self.is_permanent) {
            ("GET", false) => 302,
            ("GET", true) => 301,
            (_, false) => 307,
            (_, true) => 308,
        };
        Flow::Answer(Answer::new(status).line("Location", location))
    }

    fn describe(&self) -> String {
        let how = if self.is_permanent { " for good" } else { "" };
        match &self.to {
            To::EntryPoint(target) => format!("send to entry point {}{how}", target.name),
            To::Url { regex, replacement } => format!("send {regex} to {replacement}{how}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::Line;
    use crate::model::Sender;

    /// `GET http://host/target`, by the entry point `http`; `is_told` by a proxy that is trusted and says https.
    #[track_caller]
    fn check(redirect: &Redirect, method: &str, url: &str, is_told: bool, expected: &str) {
        let (host, path) = url.split_once('/').expect("a path");
        let (path, line) = (format!("/{path}"), Line("x-forwarded-proto", "https"));
        let mut exchange = Exchange::new("http", method, host, &path, &line);
        exchange.sender = Sender { is_trusted: is_told, ..Sender::default() };
        exchange.replace_path("/what/a/rule/made/of/it".to_owned());
        let said = match redirect.on_request(&mut exchange) {
            Flow::Continue => "goes on".to_owned(),
            Flow::Answer(answer) => {
                let location = answer.lines.iter().map(|(_, value)| value.as_str()).next();
                format!("{} {}", answer.status, location.unwrap_or_default())
            }
            other => format!("{other:?}"),
        };
        assert_eq!(said, expected, "{method} {url}");
    }

    fn to(name: &str, is_tls: bool, port: u16, is_permanent: bool) -> Redirect {
        Redirect::to_entrypoint(Target { name: name.to_owned(), is_tls, port }, is_permanent)
    }

    #[test]
    fn an_entry_point_is_a_scheme_and_a_port() {
        let https = to("https", true, 443, false);
        check(&https, "GET", "a.test/x?y=1", false, "302 https://a.test/x?y=1");
        check(&https, "GET", "a.test:80/", false, "302 https://a.test/");
        check(&https, "GET", "[::1]:8080/", false, "302 https://[::1]/");
        check(&to("https", true, 8443, true), "GET", "a.test/", false, "301 https://a.test:8443/");
        check(&to("other", false, 81, false), "GET", "a.test/", false, "302 http://a.test:81/");
        check(&https, "GET", "/x", false, "400 ");
    }

    #[test]
    fn a_client_s_own_word_for_its_port_goes_around_nothing() {
        let other = to("other", false, 81, false);
        check(&other, "GET", "a.test:81/", false, "302 http://a.test:81/");
        check(&to("other", false, 80, false), "GET", "a.test/", false, "302 http://a.test/");
        let https = to("https", true, 443, false);
        check(&https, "GET", "a.test:443/", false, "302 https://a.test/");
        // The proxy before us, which took the client's TLS off, is believed.
        check(&https, "GET", "a.test/", true, "goes on");
    }

    #[test]
    fn a_method_stays_what_it_is() {
        for method in ["POST", "HEAD", "PUT"] {
            check(&to("https", true, 443, false), method, "a.test/", false, "307 https://a.test/");
            check(&to("https", true, 443, true), method, "a.test/", false, "308 https://a.test/");
        }
    }

    #[test]
    fn nobody_is_sent_in_a_circle() {
        check(&to("http", false, 80, false), "GET", "a.test/", false, "goes on");
        // A proxy before us speaks https with the client.
        check(&to("https", true, 443, false), "GET", "a.test/", true, "goes on");
        check(&to("https", true, 8443, false), "GET", "a.test:8443/", true, "goes on");
        let same = Redirect::to_url("^http://(.*)", "http://$1", false).expect("a good one");
        check(&same, "GET", "a.test/", false, "goes on");
    }

    #[test]
    fn an_expression_sees_the_whole_url() {
        let url = |regex, replacement| Redirect::to_url(regex, replacement, false).expect(regex);
        let moved = url("^https?://a.test/(.*)", "https://b.test/$1");
        check(&moved, "GET", "a.test/x?y=1", false, "302 https://b.test/x?y=1");
        check(&moved, "GET", "c.test/x", false, "goes on");
        let guarded = url("^http://a.test/admin(.*)", "https://b.test/admin$1");
        for spelled in [
            "a.test//admin/x",
            "a.test/y/../admin/x",
            "a.test/%61dmin/x",
            "A.test/admin/x",
            "a.test./admin/x",
            "a.test:80/admin/x",
            "a.test:/admin/x",
        ] {
            check(&guarded, "GET", spelled, false, "302 https://b.test/admin/x");
        }
        check(&guarded, "GET", "a.test:81/admin/x", false, "goes on");
        check(&moved, "GET", "a.test/x", true, "302 https://b.test/x");
        check(
            &url("^http://(.*)", "https://${1}"),
            "GET",
            "a.test/é",
            false,
            "302 https://a.test/%C3%A9",
        );
        // Letters belong to the name of a group, as in Go.
        check(&url("^http://(.*)$", "https://$1x"), "GET", "a.test/", false, "302 https://");
        check(
            &url("(?P<all>.*)/$", "${all}/a b\r\nX: y"),
            "GET",
            "a.test/",
            false,
            "302 http://a.test/a%20b%0D%0AX:%20y",
        );
    }

    #[test]
    fn a_path_that_begins_with_a_host_leads_to_none() {
        let url = |replacement| {
            Redirect::to_url("^http://a.test/old(.*)", replacement, false).expect("a good one")
        };
        for (sent, expected) in [
            ("a.test/old//evil.test/x", "302 /evil.test/x"),
            ("a.test/old///evil.test", "302 /evil.test"),
            ("a.test/old/\\evil.test", "302 /evil.test"),
            ("a.test/old\\/evil.test", "302 /evil.test"),
            ("a.test/old/new//x", "302 /new//x"),
            ("a.test/old/", "302 /"),
        ] {
            check(&url("$1"), "GET", sent, false, expected);
        }
        check(&url("/$1"), "GET", "a.test/old/evil.test", false, "302 /evil.test");
        check(&url("//b.test$1"), "GET", "a.test/old/x", false, "302 //b.test/x");
        check(&url("https://b.test$1"), "GET", "a.test/old//x", false, "302 https://b.test//x");
    }

    #[test]
    fn what_has_no_end_is_refused() {
        assert!(Redirect::to_url("(?=x)", "", false).is_err());
        assert!(Redirect::to_url(".", &"$0".repeat(17), false).is_err());
        assert!(Redirect::to_url(".", "{{.Request.Host}}", false).is_err());
        let long = Redirect::to_url("a*", &"y".repeat(10_000), false).expect("a good one");
        check(&long, "GET", "a.test/", false, "414 ");
    }
}
