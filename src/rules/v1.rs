//! Traefik 1.x's rule language: `Host:a.local,b.local;PathPrefixStrip:/api`.
//!
//! `;` joins terms that must all match, `,` separates values. Some terms change the request as well, and some do only
//! that. As in Traefik 1.7 (server/rules.go): empty terms and values are passed over; of two terms that change a path in
//! one way, the later counts. Unlike there, `;` and `,` may stand between braces: `{n:[0-9]{1,2}}`.

use crate::middleware::{
    AddPrefix, Middleware, ReplacePath, ReplacePathRegex, StripPrefix, TrailingSlash,
};
use crate::model::{comparable_host, is_token, nearest};
use crate::rules::tree::Expression;
use crate::rules::{HeaderTest, Matcher, PathPattern, Rule, Sort, Template, template};

/// A term of the language, for `--help` of every sort.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Its name, as it is written.
    pub name: &'static str,
    /// An example of it.
    pub example: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

const fn term(name: &'static str, example: &'static str, meaning: &'static str) -> Term {
    Term { name, example, meaning }
}

/// Every term there is.
pub const TERMS: &[Term] = &[
    term("Host", "Host:a.local,b.local", "the host is one of these"),
    term("HostRegexp", "HostRegexp:{sub:[a-z]+}.local", "the host fits one of these"),
    term(
        "Path",
        "Path:/a,/users/{id:[0-9]+}",
        "the path is one of these; with a slash more or less at its end, the client is sent to the one as written",
    ),
    term("PathStrip", "PathStrip:/a", "as `Path`, and it is taken off"),
    term(
        "PathStripRegex",
        "PathStripRegex:/a/{id:[0-9]+}",
        "as `Path`, and what fits is taken off",
    ),
    term("PathPrefix", "PathPrefix:/a,/users/{id}", "the path begins with one of these"),
    term("PathPrefixStrip", "PathPrefixStrip:/a", "as `PathPrefix`, and it is taken off"),
    term(
        "PathPrefixStripRegex",
        "PathPrefixStripRegex:/{tenant}",
        "as `PathPrefix`, and what fits is taken off",
    ),
    term("Method", "Method:GET,POST", "the method is one of these"),
    term(
        "Headers",
        "Headers:X-Kind,blue",
        "the header line is there with this value; pairs, all must match",
    ),
    term(
        "HeadersRegexp",
        "HeadersRegexp:X-Kind,bl.*",
        "a line of this name fits somewhere; pairs, all must match",
    ),
    term("Query", "Query:page={n:[0-9]+}", "the query has these parameters, all of them"),
    term("AddPrefix", "AddPrefix:/shop", "puts this before the path"),
    term("ReplacePath", "ReplacePath:/index.html", "puts this in the place of the path"),
    term(
        "ReplacePathRegex",
        "ReplacePathRegex:^/v1/(.*) /v2/$1",
        "puts the second in the place of what the first finds",
    ),
];

/// What a rule in this language asks for: some of its terms change the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reading {
    /// Which requests are taken.
    pub rule: Rule,
    /// What is done to them, in Traefik 1.7's order (server_configuration.go, `buildMatcherMiddlewares`).
    pub chain: Vec<Middleware>,
}

/// Reads a rule.
///
/// # Errors
/// A sentence without a full stop that says which term is wrong and why. A rule with one wrong term is not
/// served at all: with a term less it would take requests its owner did not mean.
pub fn parse(text: &str) -> Result<Reading, String> {
    parse_all(&[text]).map_err(|(_, why)| why)
}

/// Reads several rules as one: all must match, and what they do to a request is done in the order of one.
///
/// # Errors
/// Which of them is wrong, and why: see [`parse`].
pub fn parse_all(texts: &[&str]) -> Result<Reading, (usize, String)> {
    let mut parts = Parts::default();
    let mut bytes = 0;
    for (place, text) in texts.iter().enumerate() {
        bytes += text.len();
        if bytes > RULE_BYTES_MAX {
            return Err((place, format!("it is longer than {RULE_BYTES_MAX} bytes")));
        }
        parts.read_rule(text).map_err(|why| (place, why))?;
    }
    let Parts { matchers, slash, strip_regex, strip, add, replace_regex, replace, .. } = parts;
    let prefixes = |prefixes| Middleware::StripPrefix(StripPrefix { prefixes });
    let chain = [
        slash.map(|paths| Middleware::TrailingSlash(TrailingSlash { paths })),
        strip_regex.map(prefixes),
        strip.map(prefixes),
        add.map(|prefix| Middleware::AddPrefix(AddPrefix::new(prefix))),
        replace_regex.map(Middleware::ReplacePathRegex),
        replace.map(|path| Middleware::ReplacePath(ReplacePath { path })),
    ];
    let texts: Vec<&str> = texts.iter().map(|text| text.trim()).collect();
    // Thousands of rules are kept, and none of them grows.
    let mut rule = Rule::new(texts.join(";"), matchers);
    rule.shrink_to_fit();
    Ok(Reading { rule, chain: chain.into_iter().flatten().collect() })
}

/// A longer rule is none: what is compiled of it takes memory.
const RULE_BYTES_MAX: usize = 16 * 1024;

/// Each has an expression of up to 256 KiB.
const VARIABLES_MAX: usize = 64;

/// What the terms read so far ask for.
#[derive(Default)]
struct Parts {
    matchers: Vec<Matcher>,
    /// Variables, and expressions that header lines have to fit.
    expressions: usize,
    slash: Option<Vec<PathPattern>>,
    strip_regex: Option<Vec<PathPattern>>,
    strip: Option<Vec<PathPattern>>,
    add: Option<String>,
    replace_regex: Option<ReplacePathRegex>,
    replace: Option<String>,
}

impl Parts {
    fn read_rule(&mut self, text: &str) -> Result<(), String> {
        let mut is_empty = true;
        for term in split_outside_braces(text, ';') {
            let Some((name, values)) = term.split_once(':') else {
                let hint = match term.contains('`') {
                    true => "; that is a rule of Traefik 2, here it is Host:a.example.com",
                    false => "",
                };
                return Err(format!("\"{term}\" is not of the form Matcher:value{hint}"));
            };
            let values = split_outside_braces(values, ',');
            if values.is_empty() {
                return Err(format!("\"{term}\" has no value"));
            }
            self.read(name.trim(), &values)?;
            is_empty = false;
        }
        if is_empty { Err("it is empty".to_owned()) } else { Ok(()) }
    }

    fn read(&mut self, name: &str, values: &[&str]) -> Result<(), String> {
        self.expressions += match name {
            "HostRegexp"
            | "Query"
            | "Path"
            | "PathStrip"
            | "PathStripRegex"
            | "PathPrefix"
            | "PathPrefixStrip"
            | "PathPrefixStripRegex" => values.iter().map(|value| template::variables(value)).sum(),
            "HeadersRegexp" => values.len() / 2,
            _ => 0,
        };
        if self.expressions > VARIABLES_MAX {
            return Err(format!("it has more than {VARIABLES_MAX} variables"));
        }
        let whole = || values.iter().map(|v| PathPattern::whole(v)).collect::<Result<Vec<_>, _>>();
        let start = || values.iter().map(|v| PathPattern::prefix(v)).collect::<Result<Vec<_>, _>>();
        match name {
            "Path" | "PathStrip" | "PathStripRegex" => {
                let paths = whole()?;
                match name {
                    "PathStrip" => self.strip = Some(start()?),
                    "PathStripRegex" => self.strip_regex = Some(start()?),
                    _ => {}
                }
                self.slash.get_or_insert_default().extend(paths.iter().cloned());
                self.matchers.push(Matcher::Path(paths));
            }
            "PathPrefix" | "PathPrefixStrip" | "PathPrefixStripRegex" => {
                let paths = start()?;
                match name {
                    "PathPrefixStrip" => self.strip = Some(paths.clone()),
                    "PathPrefixStripRegex" => self.strip_regex = Some(paths.clone()),
                    _ => {}
                }
                self.matchers.push(Matcher::PathPrefix(paths));
            }
            "AddPrefix" => self.add = Some(only(name, values)?.to_owned()),
            "ReplacePath" => self.replace = Some(only(name, values)?.to_owned()),
            "ReplacePathRegex" => {
                // An expression may hold commas.
                let text = values.join(",");
                let Some((regex, replacement)) = text.split_once(' ') else {
                    return Err(format!(
                        "ReplacePathRegex \"{text}\" is not an expression, a space and a replacement"
                    ));
                };
                let step = ReplacePathRegex::parse(regex, replacement.trim());
                self.replace_regex = Some(step.map_err(|why| format!("\"{regex}\": {why}"))?);
            }
            _ => self.matchers.push(matcher(name, values)?),
        }
        Ok(())
    }
}

fn matcher(name: &str, values: &[&str]) -> Result<Matcher, String> {
    let templates = |sort: Sort| {
        let read = |v: &&str| Template::parse(v, sort).map_err(|why| format!("\"{v}\": {why}"));
        values.iter().map(read).collect::<Result<Vec<_>, String>>()
    };
    match name {
        "Host" => values.iter().map(|v| host(v)).collect::<Result<_, _>>().map(Matcher::Host),
        "HostRegexp" => templates(Sort::Host).map(Matcher::HostRegexp),
        "Query" => templates(Sort::Query).map(Matcher::Query),
        "Method" => values.iter().map(|v| method(v)).collect::<Result<_, _>>().map(Matcher::Method),
        "Headers" => header_tests(name, values, |value| Ok(value.to_owned())).map(Matcher::Headers),
        "HeadersRegexp" => header_tests(name, values, |value| {
            let regex = template::bytes_expression(value);
            regex.map(Expression).map_err(|why| format!("\"{value}\": {why}"))
        })
        .map(Matcher::HeadersRegexp),
        _ => {
            let names = TERMS.iter().map(|term| term.name);
            let hint = match nearest(name, names.clone()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
            };
            Err(format!("\"{name}\" is not a matcher; {hint}"))
        }
    }
}

fn header_tests<T>(
    name: &str,
    values: &[&str],
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<HeaderTest<T>>, String> {
    if values.len() > 2 * VARIABLES_MAX {
        return Err(format!("{name} has more than {VARIABLES_MAX} pairs"));
    }
    let (pairs, []) = values.as_chunks::<2>() else {
        return Err(format!(
            "{name} wants pairs of a name and a value, and has {} values",
            values.len()
        ));
    };
    let test = |[line, value]: &[&str; 2]| {
        if !is_token(line) {
            return Err(format!("\"{line}\" is not the name of a header line"));
        }
        Ok(HeaderTest { name: line.to_ascii_lowercase(), value: read(value)? })
    };
    pairs.iter().map(test).collect()
}

fn method(value: &str) -> Result<String, String> {
    match is_token(value) {
        true => Ok(value.to_ascii_uppercase()),
        false => Err(format!("\"{value}\" is not a method")),
    }
}

fn only<'v>(name: &str, values: &[&'v str]) -> Result<&'v str, String> {
    match values {
        [only] => Ok(only),
        _ => Err(format!("{name} takes one value, and has {}", values.len())),
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
        // What a client sends of a name in another script, where it is one.
        let ascii = (!value.is_ascii()).then(|| url::Host::parse(value).ok()).flatten();
        let hint = match ascii {
            Some(url::Host::Domain(ascii)) => format!("; clients send {ascii}"),
            _ => String::new(),
        };
        return Err(format!("\"{value}\" is not a host name: {c:?} cannot be in one{hint}"));
    }
    let host = comparable_host(value);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || name.split('.').any(str::is_empty) {
        return Err(format!("\"{value}\" is not a host name: it has an empty part"));
    }
    Ok(host.into_owned())
}

/// The parts between these marks, without blanks around them and without empty ones.
fn split_outside_braces(text: &str, mark: char) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = text.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == mark && depth <= 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Exchange;

    #[track_caller]
    fn check(rule: &str, host: &str, path: &str, expected: bool) {
        let reading = parse(rule).expect(rule);
        let exchange = Exchange::new("http", "GET", host, path, &());
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
    fn every_term_of_the_table_is_read() {
        for term in TERMS {
            assert!(parse(term.example).is_ok(), "{}", term.example);
            assert!(term.example.starts_with(term.name), "{}", term.name);
        }
    }

    #[test]
    fn empty_terms_and_values_are_passed_over() {
        check(";Host:a.local,,b.local,;;", "b.local", "/", true);
        check("PathPrefix: /a , ,/b", "any", "/b", true);
    }

    #[test]
    fn a_path_may_be_spelled_in_two_ways() {
        check("PathPrefix:/admin", "any", "/%61dmin/x", true);
        check("Path:/a b", "any", "/a%20b", true);
    }

    #[test]
    fn queries_must_all_match() {
        check("Query:a=1,b=2", "any", "/?b=2&a=1", true);
        check("Query:a=1,b=2", "any", "/?a=1", false);
        check("Query:a=1", "any", "/?a=10", false);
        check("Query:a=1", "any", "/?a=2&a=1", false);
        check("Query:a=", "any", "/?a=x", true);
        check("Query:a={n:[0-9]+}", "any", "/?a=12", true);
    }

    #[test]
    fn methods_and_header_lines() {
        struct Lines;
        impl crate::model::Head for Lines {
            fn header(&self, name: &str) -> Option<&[u8]> {
                (name == "x-kind").then_some(b"red")
            }
            fn each_line(&self, _: &mut dyn FnMut(&str, &[u8])) {}
            fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
                name == "x-kind" && (test(b"red") || test(b"dark blue"))
            }
        }
        for (rule, expected) in [
            ("Method:get,PUT", true),
            ("Method:PUT", false),
            ("Headers:X-Kind,red", true),
            ("Headers:X-Kind,dark blue", true),
            ("Headers:X-Kind,blue", false),
            ("Headers:X-Other,red", false),
            ("Headers:X-Kind,red,X-Other,a", false),
            ("HeadersRegexp:X-Kind,bl.e", true),
            ("HeadersRegexp:X-Kind,^bl.e", false),
        ] {
            let exchange = Exchange::new("http", "GET", "any", "/", &Lines);
            assert_eq!(parse(rule).expect(rule).rule.matches(&exchange), expected, "{rule}");
        }
    }

    /// The target a server would get, with what it is told.
    #[track_caller]
    fn check_way(rule: &str, target: &str, expected: &str, told: &[&str]) {
        let reading = parse(rule).expect(rule);
        let mut exchange = Exchange::new("http", "GET", "any", target, &());
        assert!(reading.rule.matches(&exchange), "{rule} {target}");
        for step in &reading.chain {
            let flow = step.handler().on_request(&mut exchange);
            assert!(matches!(flow, crate::middleware::Flow::Continue), "{flow:?}");
        }
        assert_eq!(exchange.path, expected, "{rule} {target}");
        let lines: Vec<String> =
            exchange.change().added.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        assert_eq!(lines, told, "{rule} {target}");
    }

    #[test]
    fn terms_that_change_the_path() {
        check_way("PathPrefixStrip:/trend", "/trend/x", "/x", &["X-Forwarded-Prefix: /trend"]);
        check_way("PathStrip:/a", "/a", "/", &["X-Forwarded-Prefix: /a"]);
        check_way("PathStripRegex:/a/{n:[0-9]+}", "/a/1", "/", &["X-Forwarded-Prefix: /a/1"]);
        check_way("PathPrefixStripRegex:/{t}/b", "/x/b/c", "/c", &["X-Forwarded-Prefix: /x/b"]);
        check_way("PathPrefix:/a;AddPrefix:/b", "/a/c", "/b/a/c", &[]);
        check_way("PathPrefixStrip:/a;AddPrefix:/b", "/a/c", "/b/c", &["X-Forwarded-Prefix: /a"]);
        check_way("ReplacePath:/x", "/a", "/x", &["X-Replaced-Path: /a"]);
        check_way("ReplacePathRegex:^/a/(.*) /b/$1", "/a/c", "/b/c", &["X-Replaced-Path: /a/c"]);
        check_way(
            "PathPrefixStrip:/a;PathPrefixStrip:/a/b",
            "/a/b/c",
            "/c",
            &["X-Forwarded-Prefix: /a/b"],
        );
        let all = "ReplacePathRegex:^/b/(.*) /r/$1;AddPrefix:/b;PathPrefixStrip:/a";
        check_way(all, "/a/c", "/r/c", &["X-Forwarded-Prefix: /a", "X-Replaced-Path: /b/c"]);
    }

    #[test]
    fn several_rules_are_read_as_one() {
        let reading =
            parse_all(&["AddPrefix:/b;HeadersRegexp:X,\\{", "PathPrefixStrip:/a;Host:a.t"]);
        let reading = reading.expect("two good ones");
        assert_eq!(reading.rule.matchers().len(), 3);
        let names: Vec<String> = reading.chain.iter().map(Middleware::describe).collect();
        assert_eq!(names, ["strip prefix /a", "add prefix /b"]);
        assert_eq!(parse_all(&["Host:a.t", "Hosst:b"]).map_err(|(place, _)| place), Err(1));
    }

    #[test]
    fn a_wrong_term_is_named() {
        for (rule, word) in [
            ("", "empty"),
            (";;", "empty"),
            ("Host", "form"),
            ("Host:", "no value"),
            ("Hosst:a", "did you mean Host?"),
            ("Something:a", "there are Host"),
            ("Host:a b", "host name"),
            ("Host:a..b", "empty part"),
            ("Host:q\".local", "host name"),
            ("Path:a", "slash"),
            ("PathPrefix:/{a:(b)}", "(?:…)"),
            ("HostRegexp:{a:(}", "{a:(}"),
            ("Headers:a", "pairs"),
            ("Headers:a b,c", "header line"),
            ("HeadersRegexp:a,(", "unclosed"),
            ("Method:G T", "method"),
            ("Host:bücher.t", "cannot be in one; clients send xn--bcher-kva.t"),
            ("ReplacePathRegex:x", "space"),
            ("ReplacePathRegex:( x", "unclosed"),
            ("AddPrefix:/a,/b", "one value"),
            (&format!("Path:/{}", "a".repeat(20_000)), "longer than"),
            (&format!("Path:/{}", "{a}".repeat(65)), "variables"),
            (&format!("Path:/{};PathPrefix:/{}", "{a}".repeat(33), "{b}".repeat(32)), "variables"),
            (&"HeadersRegexp:X,a{2};".repeat(65), "variables"),
            (&format!("ReplacePathRegex:a {}", "$0".repeat(17)), "references"),
        ] {
            let why = parse(rule).expect_err(rule);
            assert!(why.contains(word), "{rule}: {why}");
        }
    }

    #[test]
    fn only_variables_count_as_such() {
        let many = "/{v:[0-9]{10}}".repeat(64);
        for rule in [
            &format!("Path:{many};Host:a.local"),
            &format!("PathPrefixStrip:{many}"),
            &format!("HeadersRegexp:X,{}", "a{2}".repeat(65)),
            &format!("ReplacePathRegex:^/{} /b", "a{2}".repeat(65)),
        ] {
            assert!(parse(rule).is_ok(), "{rule}: {:?}", parse(rule));
        }
    }

    /// A rule of terms as people write them, with what is odd in places.
    fn rule() -> impl Strategy<Value = String> {
        let names: Vec<&str> =
            TERMS.iter().map(|term| term.name).chain(["hOsT", "X", ""]).collect();
        let values = vec![
            "a.b",
            "A.b:80",
            "{s}.b",
            "{s:[a-c]{1,2}}.B",
            "/",
            "/a",
            "/a//b/",
            "/a/{n}",
            "/{n:[^/]+|b}c",
            "a=",
            "a={n:.*}",
            "get",
            "X-A",
            "a b",
            "^/a(.*) /b$1",
            "(",
            "{",
            "}",
            "\\Qa\\E",
            "é",
            " ",
        ];
        let value = prop_oneof![
            4 => prop::sample::select(values).prop_map(str::to_owned),
            1 => "[{}a-c/.,:;=() *?|^$\\\\]{0,9}",
        ];
        let term = (prop::sample::select(names), prop::collection::vec(value, 0..4));
        let term = term.prop_map(|(name, values)| format!("{name}:{}", values.join(",")));
        prop::collection::vec(term, 0..4).prop_map(|terms| terms.join(";"))
    }

    proptest! {
        /// Whatever is written, nobody panics; what is read reads the same from its own text, and asks for the same in another order.
        #[test]
        fn any_text_is_survived(text in rule()) {
            if let Ok(reading) = parse(&text) {
                let meaning = |rule: &Rule| {
                    rule.matchers().iter().map(Matcher::meaning).collect::<BTreeSet<_>>()
                };
                let mut terms = split_outside_braces(&text, ';');
                terms.reverse();
                // One whose braces are none of a variable's may hold the next one.
                let is_whole = |term: &&str| term.matches('{').count() == term.matches('}').count();
                if terms.iter().all(is_whole) {
                    let other = parse(&terms.join(";")).expect("the same terms");
                    prop_assert_eq!(meaning(&other.rule), meaning(&reading.rule));
                }
                prop_assert_eq!(parse(reading.rule.text()), Ok(reading));
            }
        }
    }
}
