//! The tree that every rule language is read into.

use crate::model::Exchange;
use crate::rules::HostPattern;

/// A rule: all of its matchers must match.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    text: String,
    matchers: Vec<Matcher>,
}

/// One term of a rule; any of its values may match.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Matcher {
    /// The host is one of these, each made comparable (`model::comparable_host`).
    Host(Vec<String>),
    /// The host matches one of these patterns.
    HostRegexp(Vec<HostPattern>),
    /// The path is one of these.
    Path(Vec<String>),
    /// The path starts with one of these.
    PathPrefix(Vec<String>),
}

impl Rule {
    /// A rule from its matchers and the text its owner knows it by.
    pub fn new(text: impl Into<String>, matchers: Vec<Matcher>) -> Self {
        Self { text: text.into(), matchers }
    }

    /// As its owner would write it: `Host:web.local;PathPrefix:/api`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The terms, all of which must match.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether this request is taken.
    pub fn matches(&self, exchange: &Exchange<'_>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(exchange))
    }

    /// The first term that refuses this request, for `explain`.
    pub fn refused_by(&self, exchange: &Exchange<'_>) -> Option<&Matcher> {
        self.matchers.iter().find(|matcher| !matcher.matches(exchange))
    }

    /// The hosts this rule is bound to, where a `Host` term binds it: what the index files it under.
    pub fn hosts(&self) -> Option<&[String]> {
        self.matchers.iter().find_map(|matcher| match matcher {
            Matcher::Host(hosts) => Some(hosts.as_slice()),
            _ => None,
        })
    }
}

impl Matcher {
    /// Whether this term takes the request.
    pub fn matches(&self, exchange: &Exchange<'_>) -> bool {
        match self {
            Self::Host(hosts) => hosts.iter().any(|host| **host == *exchange.host),
            Self::HostRegexp(patterns) => patterns.iter().any(|p| p.matches(&exchange.host)),
            Self::Path(paths) => paths.iter().any(|path| **path == *exchange.path),
            Self::PathPrefix(prefixes) => {
                prefixes.iter().any(|prefix| exchange.path.starts_with(prefix.as_str()))
            }
        }
    }

    /// `Host:a,b`, for `explain`.
    pub fn describe(&self) -> String {
        let (name, values) = match self {
            Self::Host(hosts) => ("Host", hosts.join(",")),
            Self::HostRegexp(patterns) => {
                ("HostRegexp", patterns.iter().map(HostPattern::text).collect::<Vec<_>>().join(","))
            }
            Self::Path(paths) => ("Path", paths.join(",")),
            Self::PathPrefix(prefixes) => ("PathPrefix", prefixes.join(",")),
        };
        format!("{name}:{values}")
    }
}
