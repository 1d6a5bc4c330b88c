//! Entry points: where requests come in.

use std::fmt;

use ipnet::IpNet;

use super::typed::network;
use super::{EntryAuth, Listen};
use crate::model::nearest;

/// Where requests come in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryPoint {
    /// As frontends name it.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
    /// Whose own `X-Forwarded-*` lines are believed here.
    pub trust: Trust,
    /// Whether it speaks TLS with its clients.
    pub is_tls: bool,
    /// Where its clients are sent.
    pub redirect: Option<EntryRedirect>,
    /// Whether its answers are compressed.
    pub compress: bool,
    /// Who is asked for a name before anything else.
    pub auth: Option<Box<EntryAuth>>,
    /// From where requests may come.
    pub sources: Option<Sources>,
    /// Why it is not opened: it asks for what is not there yet, and would let in whom it should not.
    pub shut: Option<&'static str>,
    /// What else it asks for that is not acted on yet.
    pub later: Vec<&'static str>,
}

/// Where the clients of an entry point are sent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EntryRedirect {
    /// To this entry point.
    pub entry_point: String,
    /// Or, where this fits the URL,
    pub regex: String,
    /// to this one.
    pub replacement: String,
    /// For good rather than for now.
    pub permanent: bool,
}

/// From where requests may come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sources {
    /// Addresses and networks.
    pub ranges: Vec<String>,
    /// Whether what a trusted proxy tells counts.
    pub use_x_forwarded_for: bool,
}

/// Whose own `X-Forwarded-*` lines are believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trust {
    /// Those of the settings as a whole.
    Usual,
    /// Those of these addresses.
    Networks(Vec<IpNet>),
    /// Everybody's.
    All,
}

impl EntryPoint {
    /// An entry point of which only the name and the address are said.
    pub fn plain(name: &str, listen: Listen) -> Self {
        let (name, trust) = (name.to_owned(), Trust::Usual);
        let (is_tls, redirect, compress) = (false, None, false);
        let (auth, sources, shut, later) = (None, None, None, Vec::new());
        Self { name, listen, trust, is_tls, redirect, compress, auth, sources, shut, later }
    }
}

impl EntryPoint {
    /// Whether not everybody who gets there gets in.
    pub fn is_guarded(&self) -> bool {
        self.shut.is_some() || self.auth.is_some() || self.sources.is_some()
    }

    /// An entry point of which this is said: keys as in Traefik 1.7's notation, without regard to their case
    /// (configuration/entrypoints.go).
    ///
    /// # Errors
    /// A sentence without a full stop that says what is wrong.
    fn of(said: &EntryKeys) -> Result<Self, String> {
        let (mut name, mut listen, mut trust) = (None, None, Trust::Usual);
        let (mut is_tls, mut redirect, mut compress) = (false, None::<EntryRedirect>, false);
        let (mut shut, mut later) = (None, Vec::new());
        let (mut auth, mut sources) = (EntryAuth::default(), None::<Sources>);
        for (key, value) in said.0.iter().map(|(key, value)| (key.as_str(), value.as_str())) {
            let lower = key.to_ascii_lowercase();
            match lower.split('.').collect::<Vec<_>>().as_slice() {
                ["name"] => name = Some(value.to_owned()),
                ["address"] => listen = Some(value.parse::<Listen>()?),
                ["forwardedheaders", "trustedips"] => {
                    let networks = value.split(',').map(network).collect::<Result<_, _>>()?;
                    trust = Trust::Networks(networks);
                }
                ["forwardedheaders", "insecure"] => match value {
                    "true" => trust = Trust::All,
                    "false" => {}
                    _ => return Err(format!("{key} \"{value}\" is neither true nor false")),
                },
                ["tls" | "ca", ..] => {
                    is_tls = true;
                    shut = shut.or(Some("it asks for TLS, which is not served yet"))
                }
                ["auth", below @ ..] => {
                    if !auth.set(below, value) {
                        shut = shut
                            .or(Some("it asks for authentication in a way that cannot be read"));
                    }
                }
                ["whitelist", "sourcerange"] | ["whitelistsourcerange"] => {
                    let ranges: Vec<String> = parts(value);
                    ranges.iter().try_for_each(|range| network(range).map(|_| ()))?;
                    sources.get_or_insert_default().ranges = ranges;
                }
                ["whitelist", "usexforwardedfor"] if matches!(value, "true" | "false") => {
                    sources.get_or_insert_default().use_x_forwarded_for = value == "true";
                }
                ["whitelist", ..] => {
                    shut = shut.or(Some("it asks for an allow list in a way that cannot be read"));
                }
                ["proxyprotocol", ..] => {
                    shut = shut.or(Some("it asks for the PROXY protocol, which is not there yet"));
                }
                ["redirect", rest @ ..] => {
                    let redirect = redirect.get_or_insert_default();
                    match rest {
                        ["entrypoint"] => value.clone_into(&mut redirect.entry_point),
                        ["regex"] => value.clone_into(&mut redirect.regex),
                        ["replacement"] => value.clone_into(&mut redirect.replacement),
                        ["permanent"] => redirect.permanent = truth(key, value)?,
                        _ => return Err(unknown(key)),
                    }
                }
                ["compress"] => compress = truth(key, value)?,
                ["clientipstrategy", ..] => {
                    later.push("client address strategies are not there yet")
                }
                _ => return Err(unknown(key)),
            }
        }
        later.dedup();
        let name = name.filter(|name| !name.is_empty());
        let name = name.ok_or("an entry point has no name; write Name:http Address::80")?;
        let listen = listen
            .ok_or_else(|| format!("the entry point {name} has no address; write Address::80"))?;
        if let Some(EntryRedirect { entry_point, regex, replacement, .. }) = &redirect
            && entry_point.is_empty()
            && (regex.is_empty() || replacement.is_empty())
        {
            return Err(format!(
                "the redirect of the entry point {name} leads nowhere; write Redirect.EntryPoint:https, or \
                 Redirect.Regex and Redirect.Replacement"
            ));
        }
        let auth = Some(Box::new(auth)).filter(|auth| **auth != EntryAuth::default());
        Ok(Self { name, listen, trust, is_tls, redirect, compress, auth, sources, shut, later })
    }
}

impl std::str::FromStr for EntryPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::of(&EntryKeys::read(text))
    }
}

/// What is said of an entry point, by its keys: `Address`, `Auth.Basic.Users`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryKeys(pub Vec<(String, String)>);

impl EntryKeys {
    /// Reads `Name:http Address::80 ForwardedHeaders.TrustedIPs:10.0.0.0/8`, or what [`Self::text`] wrote.
    pub fn read(text: &str) -> Self {
        let part = |part: &str| match part.split_once(':') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (part.to_owned(), "true".to_owned()),
        };
        let written = serde_json::from_str(text).ok();
        Self(written.unwrap_or_else(|| text.split_whitespace().map(part).collect()))
    }

    /// As text that loses nothing: in a file a value may have blanks and line ends, in the notation they end it.
    pub fn text(&self) -> String {
        serde_json::json!(self.0).to_string()
    }
}

impl fmt::Display for EntryKeys {
    /// In the notation, for people: without users and keys, however the key before them is misspelled.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |(key, value): &(String, String)| {
            let is_secret = key.to_ascii_lowercase().starts_with("auth");
            format!("{key}:{}", if is_secret { "***" } else { value })
        };
        f.write_str(&self.0.iter().map(part).collect::<Vec<_>>().join(" "))
    }
}

/// The parts of a list, which commas stand between.
pub(super) fn parts(value: &str) -> Vec<String> {
    value.split(',').map(|part| part.trim().to_owned()).collect()
}

/// What Traefik 1.7 takes for a truth here (configuration/entrypoints.go, `toBool`), and what it does not.
fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "enable" | "on" => Ok(true),
        "false" | "disable" | "off" => Ok(false),
        _ => Err(format!("{key} \"{value}\" is neither true nor false")),
    }
}

/// The keys of an entry point, as Traefik 1.7 writes them.
const KEYS: &[&str] = &[
    "Name",
    "Address",
    "ForwardedHeaders.TrustedIPs",
    "ForwardedHeaders.Insecure",
    "TLS",
    "Redirect.EntryPoint",
    "Redirect.Regex",
    "Redirect.Replacement",
    "Redirect.Permanent",
    "Compress",
    "WhiteList.SourceRange",
    "ProxyProtocol.TrustedIPs",
    "Auth.Basic.Users",
];

fn unknown(key: &str) -> String {
    match nearest(key, KEYS.iter().copied()) {
        Some(near) => format!("\"{key}\" is not a key of an entry point; did you mean {near}?"),
        None => format!("\"{key}\" is not a key of an entry point; there are {}", KEYS.join(", ")),
    }
}

impl fmt::Display for EntryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.listen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_of_traefik_is_read() {
        let text = "name:web Address::80 ForwardedHeaders.TrustedIPs:10.0.0.0/8,127.0.0.1 compress:true Redirect.EntryPoint:https";
        let read: EntryPoint = text.parse().expect("a good one");
        assert_eq!(read.to_string(), "web at :80");
        assert!(matches!(read.trust, Trust::Networks(ref networks) if networks.len() == 2));
        assert_eq!((read.shut, read.later.len(), read.compress), (None, 0, true));
        assert_eq!(read.redirect.map(|redirect| redirect.entry_point).as_deref(), Some("https"));
        let text = "Name:web Address::80 Redirect.Regex:^http://(.*) Redirect.Replacement:https://$1 Redirect.Permanent:on";
        let read: EntryPoint = text.parse().expect("a good one");
        let redirect = read.redirect.expect("a redirect");
        assert_eq!((&*redirect.regex, &*redirect.replacement), ("^http://(.*)", "https://$1"));
        assert!(redirect.permanent && !read.compress && !read.is_tls);
    }

    #[test]
    fn what_would_let_in_too_many_is_shut() {
        for asks in [
            "TLS",
            "TLS:a.crt,a.key",
            "TLS.MinVersion:VersionTLS12",
            "Auth.Basic.User:a:b",
            "Auth",
            "Auth.Basic",
            "Auth.Basic.RemoveHeader:perhaps",
            "Auth.Forward.TLS",
            "WhiteList",
            "WhiteList.SourceRanges:10.0.0.0/8",
            "WhiteList.UseXForwardedFor:perhaps",
            "ProxyProtocol.TrustedIPs:10.0.0.1",
        ] {
            let read: EntryPoint = format!("Name:https Address::443 {asks}").parse().expect(asks);
            assert!(read.shut.is_some(), "{asks}");
        }
    }

    #[test]
    fn guards_are_read() {
        let text = "Name:http Address::80 Auth.Basic.Users:a:{SHA}x,b:$apr1$y auth.basic.usersfile:/u \
                    Auth.HeaderField:X-User WhiteList.SourceRange:10.0.0.0/8,1.2.3.4 WhiteList.UseXForwardedFor:true";
        let read: EntryPoint = text.parse().expect("a good one");
        assert_eq!(read.shut, None);
        let auth = read.auth.expect("some");
        let basic = auth.basic.expect("some");
        assert_eq!(basic.users, ["a:{SHA}x", "b:$apr1$y"]);
        assert_eq!((basic.users_file.as_str(), auth.header_field.as_str()), ("/u", "X-User"));
        let sources = read.sources.expect("some");
        assert_eq!((sources.ranges.len(), sources.use_x_forwarded_for), (2, true));
        let text = "Name:http Address::80 Auth.Forward.Address:http://a:81/x Auth.Forward.TLS.CA:/ca.pem \
                    Auth.Forward.AuthResponseHeaders:X-A,X-B Auth.Forward.TrustForwardHeader:true";
        let read: EntryPoint = text.parse().expect("a good one");
        let forward = read.auth.and_then(|auth| auth.forward).expect("some");
        assert_eq!((forward.address.as_str(), forward.ca.as_str()), ("http://a:81/x", "/ca.pem"));
        assert!(forward.has_tls && forward.trust_forward_header);
        assert_eq!(forward.auth_response_headers, ["X-A", "X-B"]);
    }

    #[test]
    fn a_value_may_hold_what_ends_one_in_the_notation() {
        let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----";
        let keys = [
            ("Name", "http"),
            ("address", ":80"),
            ("auth.basic.usersFile", "/my secrets/users"),
            ("auth.forward.tls.ca", pem),
        ];
        let keys = EntryKeys(keys.map(|(key, value)| (key.into(), value.into())).into());
        assert_eq!(EntryKeys::read(&keys.text()), keys);
        let auth = keys.text().parse::<EntryPoint>().expect("a good one").auth.expect("some");
        assert_eq!(auth.basic.expect("some").users_file, "/my secrets/users");
        assert_eq!(auth.forward.expect("some").ca, pem);
    }

    #[test]
    fn nobodys_secret_is_shown() {
        for text in [
            "Name:http Address::80 Auth.Basic.Users:joe:geheim",
            "Name:http\tAddress::80\nauthh:geheim",
        ] {
            let shown = EntryKeys::read(text).to_string();
            assert!(shown.starts_with("Name:http Address::80 "), "{shown}");
            assert!(!shown.contains("geheim"), "{shown}");
        }
    }

    #[test]
    fn a_wrong_one_is_explained() {
        for (text, word) in [
            ("", "no name"),
            ("Address::80", "no name"),
            ("Name:http", "no address"),
            ("Name:http Address:80a", "80a"),
            ("Name:http Adress::80", "Adress"),
            ("Name:http Address::80 ForwardedHeaders.TrustedIPs:x", "\"x\""),
            ("Name:http Address::80 Redirect.Regex:x", "leads nowhere"),
            ("Name:http Address::80 Redirect.Permanent:true", "leads nowhere"),
            ("Name:http Address::80 Redirect.Entrypiont:https", "Entrypiont"),
            ("Name:http Address::80 Compress:maybe", "maybe"),
            ("Name:http Adress::80", "did you mean Address?"),
            (
                "Name:http Address::80 Redirect.Entrypiont:https",
                "did you mean Redirect.EntryPoint?",
            ),
            ("Name:http Address::80 WhiteList.SourceRange:10.0.0.0/33", "10.0.0.0/33"),
        ] {
            let why = text.parse::<EntryPoint>().expect_err(text);
            assert!(why.contains(word), "{why}");
        }
    }
}
