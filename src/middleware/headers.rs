//! Header lines of the user's choice, for servers and for clients.
//!
//! As in Traefik 1.7 a line takes the place of all of its name, and an empty value takes them away. Unlike there, `Host`
//! sets what the servers see as the host.

use std::sync::Arc;

use crate::middleware::auth::remove_spellings;
use crate::middleware::{Flow, Handler};
use crate::model::{Exchange, Follower, LineName, LineOwner, Response};

/// `request: [("X-Kind", "a")]` gives servers that line, `response: [("Server", "")]` takes that one from clients.
#[derive(Clone, Debug)]
pub struct Headers {
    /// What servers see as the host, where it is not the client's.
    host: Option<String>,
    request: Vec<(LineName, String)>,
    response: Arc<[(LineName, String)]>,
}

/// Whether this is a host, with or without a port.
///
/// # Errors
/// A sentence without a full stop that says what is wrong.
pub fn check_host(text: &str) -> Result<(), String> {
    match !text.contains('@') && text.parse::<http::uri::Authority>().is_ok() {
        true => Ok(()),
        false => Err(format!("\"{text}\" is not a host")),
    }
}

/// Whether this can be the value of a line.
///
/// # Errors
/// A sentence without a full stop that says what is wrong.
pub fn check_value(text: &str) -> Result<(), String> {
    match http::HeaderValue::from_str(text) {
        Ok(_) => Ok(()),
        Err(_) => Err("cannot stand in a header line".to_owned()),
    }
}

/// Whether a user may set this line on requests.
///
/// # Errors
/// A sentence without a full stop that says what is wrong.
pub fn check_request_line(name: &str, value: &str) -> Result<(), String> {
    if name.eq_ignore_ascii_case("host") {
        return check_host(value).map_err(|why| format!("what Host says, {why}"));
    }
    check_name(name, LineOwner::is_engine(name))
}

/// Whether a user may set this line on answers.
///
/// # Errors
/// A sentence without a full stop that says what is wrong.
pub fn check_response_line(name: &str) -> Result<(), String> {
    check_name(name, LineOwner::ends_here(name))
}

fn check_name(name: &str, is_ours: bool) -> Result<(), String> {
    match is_ours {
        true => Err(format!("{name} is the proxy's own to write")),
        false => Ok(()),
    }
}

impl Headers {
    /// These lines; those that may not be set are left out.
    pub fn new<'l>(
        request: impl IntoIterator<Item = (&'l String, &'l String)>,
        response: impl IntoIterator<Item = (&'l String, &'l String)>,
    ) -> Self {
        let line =
            |(name, value): (&String, &String)| (LineName::Owned(name.clone()), value.clone());
        let request = request.into_iter().filter(|(n, v)| check_request_line(n, v).is_ok());
        let (hosts, request): (Vec<_>, Vec<_>) =
            request.map(line).partition(|(name, _)| name.eq_ignore_ascii_case("host"));
        let response = response.into_iter().filter(|(n, _)| check_response_line(n).is_ok());
        let host = hosts.into_iter().map(|(_, host)| host).next();
        Self { host, request, response: response.map(line).collect() }
    }
}

impl Handler for Headers {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        if let Some(host) = &self.host {
            exchange.change().host = Some(host.clone());
        }
        for (name, value) in &self.request {
            // However the client spells it: many servers take an underscore for a hyphen.
            remove_spellings(exchange, name);
            if !value.is_empty() {
                exchange.change().set_line(name.clone(), value.clone());
            }
        }
        if !self.response.is_empty() {
            exchange.follow(OnResponse(Arc::clone(&self.response)));
        }
        Flow::Continue
    }

    fn describe(&self) -> String {
        // Values may be secrets.
        let names = |lines: &[(LineName, String)]| {
            lines.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>().join(", ")
        };
        let host = self.host.as_ref().map(|host| format!("host {host} for servers"));
        let request = (!self.request.is_empty())
            .then(|| format!("lines for servers: {}", names(&self.request)));
        let response = (!self.response.is_empty())
            .then(|| format!("lines for clients: {}", names(&self.response)));
        host.into_iter().chain(request).chain(response).collect::<Vec<_>>().join("; ")
    }
}

struct OnResponse(Arc<[(LineName, String)]>);

impl Follower for OnResponse {
    fn on_response(&mut self, response: &mut Response<'_>) {
        for (name, value) in self.0.iter() {
            match value.is_empty() {
                true => response.remove_line(name.clone()),
                false => response.set_line(name.clone(), value.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn lines(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_line_takes_the_place_of_its_like() {
        let request = lines(&[("Host", "b.test:81"), ("X-A", "1"), ("X-Gone", "")]);
        let response = lines(&[("Server", ""), ("X-B", "2")]);
        let step = Headers::new(&request, &response);
        let mut exchange = Exchange::new("http", "GET", "a.test", "/", &());
        exchange.change().added.push(("X-Gone".into(), "3".to_owned()));
        assert!(matches!(step.on_request(&mut exchange), Flow::Continue));
        let changes = exchange.change();
        assert_eq!(changes.host.as_deref(), Some("b.test:81"));
        assert_eq!(changes.added, [("X-A".into(), "1".to_owned())]);
        assert!(changes.is_removed("x-gone") && changes.is_removed("x-a"));

        let mut answer = Response::new(200, true, &());
        answer.add_line("Server", "x");
        answer.add_line("X-B", "1");
        changes.followers[0].on_response(&mut answer);
        assert_eq!((answer.line("server"), answer.line("x-b")), (None, Some(&b"2"[..])));
        assert!(!answer.has_line("x-b", |value| value == b"1"));
    }

    #[test]
    fn what_frames_a_message_is_not_the_users() {
        for name in
            ["Content-Length", "transfer-encoding", "Content_Length", "Connection", "Expect"]
        {
            assert!(check_request_line(name, "1").is_err(), "{name}");
            assert!(check_response_line(name).is_err(), "{name}");
        }
        for host in ["", "a b", "a/b", "me@a.test"] {
            assert!(check_request_line("host", host).is_err(), "{host}");
        }
        assert!(check_request_line("Host", "[::1]:81").is_ok());
        // Clients and servers may know each other as proxies; what stands in answers ends here.
        assert!(check_request_line("Proxy-Authorization", "a").is_ok());
        assert!(check_response_line("Proxy-Authenticate").is_err());
        assert_eq!(check_response_line("Strict-Transport-Security"), Ok(()));
        let step = Headers::new(&lines(&[("Content-Length", "1")]), &BTreeMap::new());
        let mut exchange = Exchange::new("http", "GET", "a.test", "/", &());
        step.on_request(&mut exchange);
        assert!(exchange.change().added.is_empty());
    }

    #[test]
    fn no_value_is_shown() {
        let step = Headers::new(&lines(&[("Authorization", "geheim")]), &lines(&[("X-A", "1")]));
        assert_eq!(step.describe(), "lines for servers: Authorization; lines for clients: X-A");
    }
}
