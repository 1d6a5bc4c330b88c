//! A request that somebody thinks of.

use crate::model::{Exchange, Head, has_doubtful_dots, port_of};
use crate::settings::{EntryPoint, HTTP_ENTRYPOINT, Settings};

/// A request that somebody thinks of: what `curl -X METHOD -H LINE URL` would send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// The entry point it would come in by.
    pub entrypoint: String,
    /// Its method.
    pub method: String,
    /// Its host, with a port where one was given.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Its header lines, the names in lower case.
    pub lines: Vec<(String, String)>,
}

/// The longest name (RFC 1035, section 2.3.4) with a port.
const HOST_BYTES_MAX: usize = 255 + ":65535".len();

impl Asked {
    /// Reads a URL, whose scheme may be missing, and header lines of the form `Name: value`. A `Host` line goes before
    /// the URL's own host, as with curl.
    ///
    /// # Errors
    /// A sentence without a full stop that says what cannot be read.
    pub fn parse(url: &str, method: Option<&str>, lines: &[String]) -> Result<Self, String> {
        let bad_url = || format!("\"{url}\" is not of the form http://host/path");
        let whole = url.trim();
        let whole =
            if whole.contains("://") { whole.to_owned() } else { format!("http://{whole}") };
        let uri: http::Uri = whole.parse().map_err(|_| bad_url())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(format!("{url}: https is not served yet")),
            _ => return Err(bad_url()),
        }
        let authority = uri.authority().ok_or_else(bad_url)?;
        port_of(authority).map_err(|why| format!("{url}: {why}"))?;
        // Who asks may stand before the host, and is no part of it (RFC 3986, section 3.2.1).
        let whole = authority.as_str();
        let mut host = whole.rsplit_once('@').map_or(whole, |(_, host)| host).to_owned();
        if host.is_empty() {
            return Err(bad_url());
        }
        if host.len() > HOST_BYTES_MAX {
            return Err(format!("a host has {HOST_BYTES_MAX} letters at most, its port included"));
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        if has_doubtful_dots(uri.path()) {
            return Err(format!(
                "{url} has dots in its path that servers read in different ways: the client gets 400"
            ));
        }
        let method: http::Method = method
            .unwrap_or("GET")
            .parse()
            .map_err(|_| format!("\"{}\" is not a method", method.unwrap_or_default()))?;
        let mut parsed = Vec::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                return Err(format!("the header \"{line}\" is not of the form Name: value"));
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
            match name.as_str() {
                "host" => host = value,
                _ => parsed.push((name, value)),
            }
        }
        Ok(Self {
            entrypoint: HTTP_ENTRYPOINT.to_owned(),
            method: method.to_string(),
            host,
            target,
            lines: parsed,
        })
    }

    /// The same at the open entry point that listens on the URL's port, else at the first that frontends are at by default.
    #[must_use]
    pub fn entering(self, settings: &Settings) -> Self {
        let port = self.host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let by_port = settings.open_entrypoints().find(|e| Some(e.listen.port) == port);
        let is_default = |e: &&EntryPoint| settings.default_entrypoints.contains(&e.name);
        let found = by_port.or_else(|| settings.open_entrypoints().find(is_default));
        let found = found.or_else(|| settings.open_entrypoints().next());
        let name = found.map(|entrypoint| &entrypoint.name);
        Self { entrypoint: name.cloned().unwrap_or_else(|| self.entrypoint.clone()), ..self }
    }

    /// The request as the table sees it.
    pub(super) fn exchange(&self) -> Exchange<'_> {
        Exchange::new(&self.entrypoint, &self.method, &self.host, &self.target, self)
    }
}

impl Head for Asked {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let line = self.lines.iter().find(|(own, _)| own == name);
        line.map(|(_, value)| value.as_bytes())
    }

    fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.lines.iter().any(|(own, value)| own == name && test(value.as_bytes()))
    }

    fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
        self.lines.iter().for_each(|(name, value)| see(name, value.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_curl_would_send() {
        let lines = ["X-Kind: blue".to_owned(), "host: b.local".to_owned()];
        let asked = Asked::parse("a.local/x?y=1", Some("POST"), &lines).expect("a request");
        assert_eq!((asked.host.as_str(), asked.target.as_str()), ("b.local", "/x?y=1"));
        assert_eq!((asked.method.as_str(), asked.header("x-kind")), ("POST", Some(&b"blue"[..])));
    }

    #[test]
    fn who_asks_is_no_part_of_the_host() {
        for (url, host) in [
            ("http://user:pw@plain.t/", "plain.t"),
            ("user@plain.t:81/x", "plain.t:81"),
            ("http://[::1]:81", "[::1]:81"),
        ] {
            assert_eq!(Asked::parse(url, None, &[]).expect(url).host, host);
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (url, method, line, word) in [
            ("http://", None, "", "form http"),
            ("http://user:pw@/", None, "", "form http"),
            ("a b", None, "", "form http"),
            ("a.local:99999", None, "", "\"99999\" is not a port"),
            ("a.local:abc/x", None, "", "\"abc\" is not a port"),
            ("a.local/a%2f..%2fb", None, "", "400"),
            ("a.local", Some("G T"), "", "method"),
            ("a.local", None, "X-Kind", "Name: value"),
            (&"a".repeat(300), None, "", "261 letters"),
        ] {
            let lines: Vec<String> =
                [line.to_owned()].into_iter().filter(|l| !l.is_empty()).collect();
            let why = Asked::parse(url, method, &lines).expect_err(url);
            assert!(why.contains(word), "{why}");
        }
    }
}
