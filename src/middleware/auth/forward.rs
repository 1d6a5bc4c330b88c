//! Asks another server whether a request may pass.
//!
//! It is asked with the request's own lines and a `GET`. Where it says 2xx the request goes on, with the lines of its answer
//! that the servers are to get; whatever else it says is the client's answer. Where it says nothing, nobody passes: 500, as in
//! Traefik 1.7.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use url::Url;

use super::{FileText, TextFile, closed, remove_spellings};
use crate::middleware::{Answer, Ask, AskTls, Asked, Flow, Handler, Reply};
use crate::model::{Exchange, LineName, LineOwner, as_variable};

/// How long the other server may think, a connection to it included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Its answer may be this long: it is a page to log in at, at most.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Something in PEM: as it is, or in a file.
#[derive(Clone, Debug)]
pub enum Pem {
    /// As it is.
    Text(String),
    /// In this file.
    File(Arc<TextFile>),
}

impl Pem {
    fn now(&self) -> Arc<FileText> {
        match self {
            Self::Text(text) => Arc::new(Ok(text.as_str().into())),
            Self::File(file) => file.text(),
        }
    }
}

/// Lets in whom another server lets in.
#[derive(Debug)]
pub struct ForwardAuth {
    url: Url,
    address: Arc<str>,
    trust_forward_header: bool,
    response_headers: Vec<String>,
    /// A line that the servers take for the user's name: a client's own never reaches them.
    header_field: Option<String>,
    insecure_skip_verify: bool,
    /// Who signed its certificate, and our own certificate and key.
    pems: Vec<Pem>,
    has_ca: bool,
    /// What was made of the files' last words.
    tls: ArcSwapOption<(Vec<Arc<FileText>>, Arc<AskTls>)>,
}

impl ForwardAuth {
    /// One that asks at `address`.
    ///
    /// # Errors
    /// Why that cannot be asked: the end of a sentence.
    pub fn new(address: &str) -> Result<Self, String> {
        let url = address_of(address)?;
        Ok(Self {
            address: url.as_str().into(),
            url,
            trust_forward_header: false,
            response_headers: Vec::new(),
            header_field: None,
            insecure_skip_verify: false,
            pems: Vec::new(),
            has_ca: false,
            tls: ArcSwapOption::empty(),
        })
    }

    /// The same; a trusted client's own `X-Forwarded-*` lines are passed on where `is_trusting`, and the servers get these
    /// lines of the answer.
    ///
    /// # Errors
    /// Which line cannot be passed on: the end of a sentence.
    pub fn telling(
        mut self,
        is_trusting: bool,
        response_headers: Vec<String>,
        header_field: Option<String>,
    ) -> Result<Self, String> {
        for name in response_headers.iter().chain(&header_field) {
            check_line_name(name)?;
        }
        self.trust_forward_header = is_trusting;
        (self.response_headers, self.header_field) = (response_headers, header_field);
        Ok(self)
    }

    /// The same, with TLS as its owner wants it.
    #[must_use]
    pub fn tls(
        mut self,
        ca: Option<Pem>,
        identity: Option<(Pem, Pem)>,
        is_unchecked: bool,
    ) -> Self {
        self.has_ca = ca.is_some();
        self.pems = ca.into_iter().collect();
        self.pems.extend(identity.into_iter().flat_map(|(certificate, key)| [certificate, key]));
        self.insecure_skip_verify = is_unchecked;
        self
    }

    /// How TLS is spoken now; none where a file cannot be read.
    fn tls_now(&self) -> Option<Arc<AskTls>> {
        let is_same = |texts: &[Arc<FileText>]| {
            self.pems.iter().zip(texts).all(|(pem, text)| match pem {
                Pem::Text(_) => true,
                Pem::File(file) => Arc::ptr_eq(&file.text(), text),
            })
        };
        if let Some(known) = self.tls.load().as_deref()
            && is_same(&known.0)
        {
            return Some(Arc::clone(&known.1));
        }
        let texts: Vec<Arc<FileText>> = self.pems.iter().map(Pem::now).collect();
        let bytes: Option<Vec<Vec<u8>>> = texts
            .iter()
            .map(|text| text.as_ref().as_ref().ok().map(|text| text.as_bytes().to_vec()))
            .collect();
        let mut bytes = bytes?.into_iter();
        let ca = if self.has_ca { bytes.next() } else { None };
        let identity = bytes.next().zip(bytes.next());
        let insecure_skip_verify = self.insecure_skip_verify;
        let tls = Arc::new(AskTls { ca, identity, insecure_skip_verify });
        self.tls.store(Some(Arc::new((texts, Arc::clone(&tls)))));
        Some(tls)
    }

    /// The lines of the question: those of the request as the steps before left it, and who asks for what.
    fn lines(&self, exchange: &Exchange<'_>) -> Vec<(LineName, Vec<u8>)> {
        let is_believed = self.trust_forward_header && exchange.sender.is_trusted;
        let named = named_by_connection(exchange);
        let changes = exchange.changes();
        let mut lines: Vec<(LineName, Vec<u8>)> = Vec::new();
        let (mut believed, mut hops) = (Vec::new(), Vec::new());
        exchange.head.each_line(&mut |name, value| {
            let lower: String = name.bytes().map(as_variable).map(char::from).collect();
            if LineOwner::ends_here(name)
                || named.contains(&name.to_ascii_lowercase())
                || changes.is_some_and(|changes| changes.is_removed(name))
            {
                return;
            }
            let is_identity = LineOwner::of(name) == Some(LineOwner::Identity);
            match lower.as_str() {
                _ if is_identity && (!is_believed || !lower.eq_ignore_ascii_case(name)) => {}
                "x-forwarded-for" => hops.push(String::from_utf8_lossy(value).into_owned()),
                "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-uri"
                | "x-forwarded-method" => {
                    if !believed.iter().any(|(known, _)| *known == lower) && !value.is_empty() {
                        believed.push((lower, value.to_vec()));
                    }
                }
                _ => lines.push((name.to_owned().into(), value.to_vec())),
            }
        });
        for (name, value) in changes.iter().flat_map(|changes| &changes.added) {
            lines.push((name.clone(), value.clone().into_bytes()));
        }
        hops.push(exchange.sender.ip.to_string());
        let query = exchange.query();
        let mark = if query.is_empty() { "" } else { "?" };
        let proto = if exchange.sender.is_tls { "https" } else { "http" };
        let said = [
            ("X-Forwarded-Method", exchange.method.to_owned()),
            ("X-Forwarded-Proto", proto.to_owned()),
            ("X-Forwarded-Host", exchange.authority.to_owned()),
            ("X-Forwarded-Uri", format!("{}{mark}{query}", exchange.path)),
        ];
        for (name, own) in said {
            let told = believed.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let value = told.map_or_else(|| own.into_bytes(), |(_, value)| value.clone());
            if !value.is_empty() {
                lines.push((name.into(), value));
            }
        }
        lines.push(("X-Forwarded-For".into(), hops.join(", ").into_bytes()));
        lines
    }

    /// Lets the request go on, with what the servers are to know of the answer.
    fn admit(&self, exchange: &mut Exchange<'_>, asked: &Asked) -> Flow {
        for name in self.response_headers.iter().chain(&self.header_field) {
            remove_spellings(exchange, name);
        }
        let changes = exchange.change();
        for name in &self.response_headers {
            let lines = asked.lines.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            for (_, value) in lines {
                if let Ok(value) = std::str::from_utf8(value) {
                    changes.added.push((name.clone().into(), value.to_owned()));
                }
            }
        }
        Flow::Continue
    }

    /// What the other server said, for the client.
    fn pass_on(&self, asked: Asked) -> Flow {
        if asked.status < 300 {
            return failed(format!("it answered {}", asked.status));
        }
        let mut answer = Answer::new(asked.status).because("forward auth said so");
        let named: Vec<String> = asked
            .lines
            .iter()
            .filter(|(name, _)| name == "connection")
            .flat_map(|(_, value)| options(value))
            .collect();
        for (name, value) in &asked.lines {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            if name == "location" {
                // As Traefik 1.7: seen from the other server, for the client's own view is another one.
                let Ok(location) = self.url.join(value) else {
                    return failed("its Location cannot be read");
                };
                answer = answer.line("Location", String::from(location));
            } else if name != "date" && !LineOwner::ends_here(name) && !named.contains(name) {
                answer = answer.line(name.clone(), value);
            }
        }
        answer.body = Some(asked.body);
        Flow::Answer(answer)
    }
}

/// The other server decided nothing.
fn failed(why: impl Display) -> Flow {
    Flow::Answer(Answer::new(500).because(format!("forward auth failed: {why}")))
}

impl Handler for ForwardAuth {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let Some(tls) = self.tls_now() else {
            return closed("the TLS files of forward auth cannot be read");
        };
        Flow::Ask(Box::new(Ask {
            url: Arc::clone(&self.address),
            lines: self.lines(exchange),
            tls,
            timeout: TIMEOUT,
            body_bytes_max: ANSWER_BYTES_MAX,
        }))
    }

    fn on_reply(&self, exchange: &mut Exchange<'_>, reply: Reply) -> Flow {
        match reply {
            Reply::Asked(Ok(asked)) if (200..300).contains(&asked.status) => {
                self.admit(exchange, &asked)
            }
            Reply::Asked(Ok(asked)) => self.pass_on(asked),
            Reply::Asked(Err(why)) => failed(why),
            Reply::Worked(_) => failed("it was not asked"),
            Reply::TooBusy => closed("forward auth is asked too much at once"),
        }
    }

    fn describe(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("ask {}://{host}{port}", self.url.scheme())
    }

    fn leaves_traces(&self) -> bool {
        true
    }
}

/// An address that can be asked.
fn address_of(address: &str) -> Result<Url, String> {
    let url = Url::parse(address).map_err(|error| format!("is no URL ({error})"))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        _ => Err("is no http or https URL".to_owned()),
    }
}

/// Whether a line of this name can be told to the servers.
///
/// # Errors
/// Why not: the end of a sentence.
pub fn check_line_name(name: &str) -> Result<(), String> {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("names \"{name}\", which is not the name of a header line"));
    }
    match LineOwner::ends_here(name) {
        true => Err(format!("names {name}, which belongs to one connection")),
        false => Ok(()),
    }
}

/// The lines that belong to the client's connection alone because it says so.
fn named_by_connection(exchange: &Exchange<'_>) -> Vec<String> {
    let mut named = Vec::new();
    exchange.head.has_line("connection", &mut |value| {
        named.extend(options(value));
        false
    });
    named
}

/// The words of a `Connection` line, in lower case.
fn options(value: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let words = text.split(',').map(|word| word.trim().to_owned());
    // The servers get these whatever `Connection` says (`proxy::http1::fields`): who decides must see what they see.
    words.filter(|word| !matches!(word.as_str(), "cookie" | "authorization")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Lines;
    use super::*;

    fn auth() -> ForwardAuth {
        let auth = ForwardAuth::new("https://auth.test:8443/check/me").expect("a URL");
        let headers = vec!["X-User".to_owned(), "X-Groups".to_owned()];
        auth.telling(true, headers, None).expect("good names")
    }

    fn asked(auth: &ForwardAuth, lines: &Lines, is_trusted: bool) -> Vec<String> {
        let mut exchange = Exchange::new("http", "POST", "web.test:81", "/a?b=c", lines);
        exchange.sender.is_trusted = is_trusted;
        exchange.sender.ip = [10, 0, 0, 9].into();
        let Flow::Ask(ask) = auth.on_request(&mut exchange) else { panic!("nobody is asked") };
        let line = |(name, value): &(LineName, Vec<u8>)| {
            format!("{name}: {}", String::from_utf8_lossy(value))
        };
        ask.lines.iter().map(line).collect()
    }

    #[test]
    fn it_is_asked_with_the_request_s_lines_and_who_asks_for_what() {
        let lines = || {
            Lines(
                [
                    ("Host", "web.test:81"),
                    ("Cookie", "a=b"),
                    ("Content-Length", "5"),
                    ("Connection", "keep-alive, X-Hop"),
                    ("X-Hop", "1"),
                    ("X-Forwarded-For", "1.1.1.1"),
                    ("X-Forwarded-Uri", "/admin"),
                    ("X_Forwarded_Method", "GET"),
                    ("X-Forwarded-Host", "evil.test"),
                    ("X-Real-Ip", "1.1.1.1"),
                    ("X_Replaced-Path", "/admin"),
                    ("Proxy", "http://evil.test"),
                    ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
                ]
                .map(|(name, value)| (name, value.to_owned()))
                .into(),
            )
        };
        assert_eq!(
            asked(&auth(), &lines(), false),
            [
                "Cookie: a=b",
                "X-Forwarded-Method: POST",
                "X-Forwarded-Proto: http",
                "X-Forwarded-Host: web.test:81",
                "X-Forwarded-Uri: /a?b=c",
                "X-Forwarded-For: 10.0.0.9",
            ]
        );
        assert_eq!(
            asked(&auth(), &lines(), true),
            [
                "Cookie: a=b",
                "X-Real-Ip: 1.1.1.1",
                "X-Forwarded-Method: POST",
                "X-Forwarded-Proto: http",
                "X-Forwarded-Host: evil.test",
                "X-Forwarded-Uri: /admin",
                "X-Forwarded-For: 1.1.1.1, 10.0.0.9",
            ]
        );
    }

    #[test]
    fn what_it_says_decides() {
        let auth = auth();
        let lines = Lines(vec![("X-User", "root".to_owned()), ("x_groups", "wheel".to_owned())]);
        let mut exchange = Exchange::new("http", "GET", "a", "/", &lines);
        let answer = |status, lines: &[(&str, &str)]| {
            let line =
                |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
            let (lines, body) = (lines.iter().map(line).collect(), b"no".to_vec());
            Reply::Asked(Ok(Asked { status, lines, body }))
        };
        let flow =
            auth.on_reply(&mut exchange, answer(204, &[("x-user", "ann"), ("x-other", "y")]));
        assert!(matches!(flow, Flow::Continue));
        let changes = exchange.changes().expect("some");
        assert!(["X-User", "X-Groups", "x_groups"].iter().all(|name| changes.is_removed(name)));
        assert_eq!(changes.added, [("X-User".into(), "ann".to_owned())]);

        let said = [
            ("location", "../login?a"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "2"),
        ];
        let Flow::Answer(passed) = auth.on_reply(&mut exchange, answer(302, &said)) else {
            panic!("no answer")
        };
        let lines: Vec<String> =
            passed.lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            lines,
            ["Location: https://auth.test:8443/login?a", "set-cookie: a=b", "set-cookie: c=d"]
        );
        assert_eq!((passed.status, passed.body.as_deref()), (302, Some(&b"no"[..])));

        for (reply, status) in [
            (Reply::Asked(Err("gone".to_owned())), 500),
            (answer(101, &[]), 500),
            (Reply::TooBusy, 503),
        ] {
            let flow = auth.on_reply(&mut exchange, reply);
            assert!(matches!(flow, Flow::Answer(answer) if answer.status == status));
        }
    }

    #[test]
    fn files_of_tls_are_looked_at_again() {
        let file = Arc::new(TextFile::new("/ca.pem"));
        let auth = auth().tls(Some(Pem::File(Arc::clone(&file))), None, false);
        let mut exchange = Exchange::new("http", "GET", "a", "/", &());
        assert!(
            matches!(auth.on_request(&mut exchange), Flow::Answer(answer) if answer.status == 503)
        );
        file.put(Ok("one".into()));
        assert_eq!(auth.tls_now().and_then(|tls| tls.ca.clone()), Some(b"one".to_vec()));
        file.put(Ok("two".into()));
        assert_eq!(auth.tls_now().and_then(|tls| tls.ca.clone()), Some(b"two".to_vec()));
        assert!(Arc::ptr_eq(&auth.tls_now().expect("some"), &auth.tls_now().expect("some")));
    }

    #[test]
    fn what_cannot_be_asked_is_explained() {
        for address in ["", "auth.test", "/check", "ftp://auth.test/", "http://"] {
            assert!(ForwardAuth::new(address).is_err(), "{address}");
        }
        for name in ["Content-Length", "a b", "Connection"] {
            let auth = ForwardAuth::new("http://auth.test").expect("a URL");
            assert!(auth.telling(false, vec![name.to_owned()], None).is_err(), "{name}");
        }
    }
}
