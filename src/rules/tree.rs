//! The tree that every rule language is read into.

use regex::bytes::Regex;

use crate::model::Exchange;
use crate::rules::{PathPattern, Template};

/// A rule: all of its matchers must match.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    text: Box<str>,
    matchers: Box<[Matcher]>,
    /// The length of the text as its owner wrote it, in bytes.
    written_len: usize,
}

/// One term of a rule. Of hosts, paths and methods any value may match; of headers and query parameters all must.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Matcher {
    /// The host is one of these, each made comparable (`model::comparable_host`).
    Host(Vec<String>),
    /// The host matches one of these.
    HostRegexp(Vec<Template>),
    /// The path is one of these.
    Path(Vec<PathPattern>),
    /// The path starts with one of these.
    PathPrefix(Vec<PathPattern>),
    /// The method is one of these, in upper case.
    Method(Vec<String>),
    /// Each of these header lines is there.
    Headers(Vec<HeaderTest<String>>),
    /// A line of each of these names fits its expression somewhere.
    HeadersRegexp(Vec<HeaderTest<Expression>>),
    /// Each of these parameters is in the query; of one that comes twice, the first counts.
    Query(Vec<Template>),
}

/// What a header line of this name must be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderTest<T> {
    /// In lower case.
    pub name: String,
    /// The value; an empty text asks for the line only.
    pub value: T,
}

/// An expression for header values, which need not be UTF-8.
#[derive(Clone, Debug)]
pub struct Expression(pub Regex);

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Expression {}

impl Rule {
    /// A rule from its matchers and the text its owner knows it by.
    pub fn new(text: impl Into<Box<str>>, matchers: Vec<Matcher>) -> Self {
        let text = text.into();
        Self { written_len: text.len(), text, matchers: matchers.into() }
    }

    /// A rule from its matchers, which make its text.
    pub fn of(matchers: Vec<Matcher>) -> Self {
        let text: Vec<String> = matchers.iter().map(Matcher::describe).collect();
        Self::new(text.join(";"), matchers)
    }

    /// What is left of it: some of its values were lost. It goes as far up as it did with them.
    #[must_use]
    pub fn left_with(&self, matchers: Vec<Matcher>) -> Self {
        Self { written_len: self.written_len, ..Self::of(matchers) }
    }

    /// Gives back the room for more hosts than it has.
    pub(crate) fn shrink_to_fit(&mut self) {
        for matcher in &mut self.matchers {
            if let Matcher::Host(hosts) = matcher {
                hosts.shrink_to_fit();
            }
        }
    }

    /// As its owner would write it: `Host:web.local;PathPrefix:/api`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The length of what its owner wrote, in bytes: of two rules the longer one goes first.
    pub fn written_len(&self) -> usize {
        self.written_len
    }

    /// The terms, all of which must match.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether this request is taken.
    pub fn matches(&self, exchange: &Exchange<'_>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(exchange))
    }

    /// The two terms of one sort that no request can both fit (`Host:a;Host:b`), where there are such.
    pub fn contradiction(&self) -> Option<(&Matcher, &Matcher)> {
        let excludes = |a: &Matcher, b: &Matcher| match (a, b) {
            (Matcher::Host(a), Matcher::Host(b)) | (Matcher::Method(a), Matcher::Method(b)) => {
                !a.iter().any(|word| b.contains(word))
            }
            _ => false,
        };
        let pairs = self.matchers.iter().enumerate().flat_map(|(place, first)| {
            self.matchers.iter().skip(place + 1).map(move |second| (first, second))
        });
        pairs.into_iter().find(|(first, second)| excludes(first, second))
    }

    /// The hosts this rule is bound to, where a `Host` term binds it: what the index files it under.
    pub fn hosts(&self) -> Option<&[String]> {
        self.matchers.iter().find_map(|matcher| match matcher {
            Matcher::Host(hosts) => Some(hosts.as_slice()),
            _ => None,
        })
    }

    /// The host patterns it is bound to, where a `HostRegexp` term binds it.
    pub fn host_patterns(&self) -> Option<&[Template]> {
        self.matchers.iter().find_map(|matcher| match matcher {
            Matcher::HostRegexp(patterns) => Some(patterns.as_slice()),
            _ => None,
        })
    }

    /// The paths or beginnings of paths it is bound to, where a `Path` or `PathPrefix` term binds it.
    pub fn paths(&self) -> Option<&[PathPattern]> {
        self.matchers.iter().find_map(|matcher| match matcher {
            Matcher::Path(paths) | Matcher::PathPrefix(paths) => Some(paths.as_slice()),
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
            Self::Path(paths) => {
                let plain = exchange.plain_path();
                paths.iter().any(|path| path.is_whole(plain))
            }
            Self::PathPrefix(prefixes) => {
                let plain = exchange.plain_path();
                prefixes.iter().any(|prefix| prefix.prefix_len(plain).is_some())
            }
            Self::Method(methods) => methods.iter().any(|method| *method == exchange.method),
            Self::Headers(tests) => tests.iter().all(|test| {
                let wanted = test.value.as_bytes();
                let is_wanted = |value: &[u8]| wanted.is_empty() || value == wanted;
                exchange.head.has_line(&test.name, &mut |value| is_wanted(value))
            }),
            Self::HeadersRegexp(tests) => tests.iter().all(|test| {
                exchange.head.has_line(&test.name, &mut |value| test.value.0.is_match(value))
            }),
            Self::Query(parameters) => parameters.iter().all(|parameter| {
                let key = parameter.text().split('=').next().unwrap_or_default();
                let value = exchange.query_value(key);
                value.is_some_and(|value| parameter.matches(&format!("{key}={value}")))
            }),
        }
    }

    /// `Host:a,b`, for `explain`.
    pub fn describe(&self) -> String {
        let (name, values) = self.words();
        format!("{name}:{}", values.join(","))
    }

    /// What it asks for, however it is spelled: values that come twice, or in another order, ask for the same. None where it asks
    /// for nothing, as `PathPrefix:/` does: every path begins so.
    pub fn meaning(&self) -> Option<String> {
        let (name, mut values) = self.words();
        match self {
            Self::PathPrefix(_) if values.iter().any(|path| path == "/") => return None,
            // A slash more or less at the end does not matter: see `PathPattern::is_whole`.
            Self::Path(_) => values.iter_mut().for_each(|path| {
                path.truncate(path.strip_suffix('/').unwrap_or(path).len());
            }),
            _ => {}
        }
        values.sort_unstable();
        values.dedup();
        Some(format!("{name}:{}", values.join(",")))
    }

    /// Its name and its values as they are written; of header lines each with what it must be like.
    fn words(&self) -> (&'static str, Vec<String>) {
        fn owned<'v>(values: impl Iterator<Item = &'v str>) -> Vec<String> {
            values.map(str::to_owned).collect()
        }
        match self {
            Self::Host(hosts) => ("Host", hosts.clone()),
            Self::HostRegexp(patterns) => {
                ("HostRegexp", owned(patterns.iter().map(Template::text)))
            }
            Self::Path(paths) => ("Path", owned(paths.iter().map(PathPattern::text))),
            Self::PathPrefix(paths) => ("PathPrefix", owned(paths.iter().map(PathPattern::text))),
            Self::Method(methods) => ("Method", methods.clone()),
            Self::Headers(tests) => {
                let pairs = tests.iter().map(|test| format!("{},{}", test.name, test.value));
                ("Headers", pairs.collect())
            }
            Self::HeadersRegexp(tests) => {
                let pair = |test: &HeaderTest<Expression>| {
                    format!("{},{}", test.name, test.value.0.as_str())
                };
                ("HeadersRegexp", tests.iter().map(pair).collect())
            }
            Self::Query(parameters) => ("Query", owned(parameters.iter().map(Template::text))),
        }
    }
}
