//! Traefik 1.x's rule language: `Host:a.local,b.local;PathPrefixStrip:/api`.
//!
//! `;` joins matchers that must all match, `,` separates values of which one must.

use crate::middleware::{Middleware, StripPrefix};
use crate::model::comparable_host;
use crate::rules::{HostPattern, Matcher, Rule};

/// The matchers that are served.
pub const MATCHERS: &[&str] =
    &["Host", "HostRegexp", "Path", "PathStrip", "PathPrefix", "PathPrefixStrip"];

/// What a rule in this language asks for: some of its matchers change the request as well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reading {
    /// Which requests are taken.
    pub rule: Rule,
    /// What the matchers whose names end in `Strip` do to them.
    pub chain: Vec<Middleware>,
}

/// Reads a rule.
///
/// # Errors
/// A sentence without a full stop that says which term is wrong and why. A rule with one wrong term is not
/// served at all: with a term less it would take requests its owner did not mean.
pub fn parse(text: &str) -> Result<Reading, String> {
    let mut matchers = Vec::new();
    let mut stripped = Vec::new();
    for term in text.split(';').map(str::trim).filter(|term| !term.is_empty()) {
        let Some((name, values)) = term.split_once(':') else {
            return Err(format!("\"{term}\" is not of the form Matcher:value"));
        };
        let values: Vec<&str> = match name.trim() {
            // A pattern may hold commas of its own: `{n:[0-9]{1,2}}`.
            "HostRegexp" => split_outside_braces(values),
            _ => values.split(',').collect(),
        };
        let values: Vec<&str> = values.into_iter().map(str::trim).collect();
        if values.iter().any(|value| value.is_empty()) {
            return Err(format!("\"{term}\" has an empty value"));
        }
        matchers.push(matcher(name.trim(), &values)?);
        if name.trim().ends_with("Strip") {
            stripped.extend(values.iter().map(ToString::to_string));
        }
    }
    if matchers.is_empty() {
        return Err("it is empty".to_owned());
    }
    let chain = match stripped.is_empty() {
        true => Vec::new(),
        false => vec![Middleware::StripPrefix(StripPrefix { prefixes: stripped })],
    };
    Ok(Reading { rule: Rule::new(text.trim(), matchers), chain })
}

fn matcher(name: &str, values: &[&str]) -> Result<Matcher, String> {
    match name {
        "Host" => values.iter().map(|v| host(v)).collect::<Result<_, _>>().map(Matcher::Host),
        "HostRegexp" => {
            let pattern = |v: &&str| HostPattern::parse(v).map_err(|why| format!("\"{v}\": {why}"));
            values.iter().map(pattern).collect::<Result<_, _>>().map(Matcher::HostRegexp)
        }
        "Path" | "PathStrip" => {
            values.iter().map(|v| path(v)).collect::<Result<_, _>>().map(Matcher::Path)
        }
        "PathPrefix" | "PathPrefixStrip" => {
            values.iter().map(|v| path(v)).collect::<Result<_, _>>().map(Matcher::PathPrefix)
        }
        _ => {
            let known = MATCHERS.join(", ");
            Err(format!("\"{name}\" is not a matcher that is served; these are: {known}"))
        }
    }
}

/// A host name in a rule, made comparable.
///
/// # Errors
/// A sentence without a full stop: it holds what no host name can hold.
pub fn host(value: &str) -> Result<String, String> {
    let odd =
        |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']'));
    if let Some(c) = value.chars().find(|&c| odd(c)) {
        return Err(format!("\"{value}\" is not a host name: {c:?} cannot be in one"));
    }
    let host = comparable_host(value);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || name.split('.').any(str::is_empty) {
        return Err(format!("\"{value}\" is not a host name: it has an empty part"));
    }
    Ok(host.into_owned())
}

fn path(value: &str) -> Result<String, String> {
    match value.starts_with('/') {
        true => Ok(value.to_owned()),
        false => Err(format!("path \"{value}\" does not begin with a slash")),
    }
}

fn split_outside_braces(values: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    values
        .split(|c: char| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            c == ',' && depth <= 0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Exchange;

    #[track_caller]
    fn check(rule: &str, host: &str, path: &str, expected: bool) {
        let reading = parse(rule).expect(rule);
        let exchange = Exchange::new("http", host, path, &());
        assert_eq!(reading.rule.matches(&exchange), expected, "{rule} {host} {path}");
    }

    #[test]
    fn terms_must_all_match_and_one_value_of_each() {
        check("Host:a.local", "A.local:80", "/", true);
        check("Host:a.local, b.local", "b.local", "/", true);
        check("Host:a.local;PathPrefix:/api", "a.local", "/api/x", true);
        check("Host:a.local;PathPrefix:/api", "a.local", "/", false);
        check("Path:/a,/b", "any", "/b", true);
        check("Path:/a", "any", "/a/b", false);
        check("HostRegexp:{n:[0-9]{1,2}}.local,b.local", "12.local", "/", true);
    }

    #[test]
    fn strip_terms_make_a_chain() {
        let reading = parse("PathPrefixStrip:/trend").expect("a good rule");
        let strip = StripPrefix { prefixes: vec!["/trend".to_owned()] };
        assert_eq!(reading.chain, [Middleware::StripPrefix(strip)]);
        assert_eq!(reading.rule.text(), "PathPrefixStrip:/trend");
    }

    #[test]
    fn a_wrong_term_is_named() {
        for (rule, word) in [
            ("", "empty"),
            ("Host", "form"),
            ("Host:", "empty value"),
            ("Hosst:a", "Hosst"),
            ("Host:a b", "host name"),
            ("Host:a..b", "empty part"),
            ("Host:q\".local", "host name"),
            ("Path:a", "slash"),
            ("HostRegexp:{a:(}", "{a:(}"),
        ] {
            let why = parse(rule).expect_err(rule);
            assert!(why.contains(word), "{rule}: {why}");
        }
    }
}
