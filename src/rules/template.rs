//! Text with variables in gorilla/mux's notation, as Traefik 1.7's rules take it: `/users/{id:[0-9]+}`.
//!
//! The notation: `{name:regexp}` is a variable that must fit its expression, `{name}` one that fits whatever a part of
//! a host, path or query can be, everything else stands for itself. Rules follow gorilla/mux as Traefik 1.7 ships it
//! (regexp.go, `newRouteRegexp`).

use regex::{Regex, RegexBuilder, bytes};

/// How much memory one compiled expression may take, in bytes, and how much for what it remembers of the texts that were held
/// against it, on each thread: neither a label nor its clients can exhaust the machine.
const EXPRESSION_BYTES_MAX: usize = 256 * 1024;

/// What the text is about: it decides what `{name}` stands for and where the text must end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sort {
    /// A whole host; `{name}` has no dot.
    Host,
    /// A whole path, with or without a slash at its end; `{name}` has no slash.
    Path,
    /// The beginning of a path; `{name}` has no slash.
    Prefix,
    /// A parameter of the query and its value, `key=value`; `{name}` has no `?` and no `&`.
    Query,
}

/// A text with variables, compiled.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    regex: Regex,
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// A sentence without a full stop that says what is wrong with it.
    pub fn parse(text: &str, sort: Sort) -> Result<Self, String> {
        let body = match sort {
            Sort::Path => to_regex(text.strip_suffix('/').unwrap_or(text), sort)?,
            Sort::Host | Sort::Prefix | Sort::Query => to_regex(text, sort)?,
        };
        let end = match sort {
            Sort::Host | Sort::Query => "$",
            Sort::Path => "/?$",
            Sort::Prefix => "",
        };
        let source = format!("^(?:{body}){end}");
        // `.` takes a line's end as well: a path with `%0a` in it must not lead around a guard of `{any:.*}`.
        let regex = expression_with(&source, |builder| {
            builder.case_insensitive(sort == Sort::Host).dot_matches_new_line(true)
        })?;
        if regex.captures_len() > 1 {
            return Err("it has a group of its own; write (?:…) instead of (…)".to_owned());
        }
        Ok(Self { text: text.to_owned(), regex })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it fits.
    pub fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// How many bytes of the value fit, counted from its beginning.
    pub fn matched_len(&self, value: &str) -> Option<usize> {
        self.regex.find(value).map(|found| found.end())
    }

    /// What every value that fits begins with.
    pub fn literal_start(&self) -> &str {
        self.text.split('{').next().unwrap_or_default()
    }

    /// What every host that fits ends with, in lower case: of letters that are not ASCII some are others in lower case.
    pub fn literal_end(&self) -> String {
        let end = self.text.rsplit(|c: char| c == '}' || !c.is_ascii()).next();
        end.unwrap_or_default().to_ascii_lowercase()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Template {}

/// Compiles an expression of Go's sort: those of labels and files.
///
/// # Errors
/// A sentence without a full stop that says what is wrong with it.
pub fn expression(text: &str) -> Result<Regex, String> {
    expression_with(text, |builder| builder)
}

/// The same for bytes that may be no text: the values of header lines.
pub(super) fn bytes_expression(text: &str) -> Result<bytes::Regex, String> {
    let mut builder = bytes::RegexBuilder::new(&super::re2::translated(text));
    builder.size_limit(EXPRESSION_BYTES_MAX).dfa_size_limit(EXPRESSION_BYTES_MAX);
    builder.build().map_err(|error| explain(&error))
}

fn expression_with(
    text: &str,
    set: impl FnOnce(&mut RegexBuilder) -> &mut RegexBuilder,
) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(&super::re2::translated(text));
    builder.size_limit(EXPRESSION_BYTES_MAX).dfa_size_limit(EXPRESSION_BYTES_MAX);
    set(&mut builder).build().map_err(|error| explain(&error))
}

/// `{name:regexp}` becomes `(?:regexp)`, `{name}` what its sort says, the rest stands for itself.
fn to_regex(text: &str, sort: Sort) -> Result<String, String> {
    if text.is_empty() && sort != Sort::Path {
        return Err("it is empty".to_owned());
    }
    let any = match sort {
        Sort::Host => "[^.]+",
        Sort::Path | Sort::Prefix => "[^/]+",
        Sort::Query => "[^?&]*",
    };
    let mut regex = String::new();
    for piece in pieces(text)? {
        let inside = match piece {
            Piece::Literal(literal) => {
                regex.push_str(&regex::escape(literal));
                continue;
            }
            Piece::Variable(inside) => inside,
        };
        let (name, pattern) = inside.split_once(':').unwrap_or((inside, any));
        if name.is_empty() {
            return Err(format!("\"{{{inside}}}\" has no name"));
        }
        if pattern.is_empty() {
            return Err(format!("\"{{{inside}}}\" has no expression"));
        }
        // Alone, so that what is wrong with it is not taken for what is around it.
        expression(pattern)?;
        regex.push_str(&format!("(?:{pattern})"));
    }
    // gorilla/mux: a parameter without a value may have any.
    if sort == Sort::Query && text.split_once('=').is_none_or(|(_, value)| value.is_empty()) {
        regex.push_str(any);
    }
    Ok(regex)
}

/// How many variables a text has. Braces of their expressions are none, and neither is what cannot be read.
pub(super) fn variables(text: &str) -> usize {
    let pieces = pieces(text).unwrap_or_default();
    pieces.iter().filter(|piece| matches!(piece, Piece::Variable(_))).count()
}

/// A piece of a text with variables.
enum Piece<'t> {
    /// It stands for itself.
    Literal(&'t str),
    /// What is between the braces of a variable.
    Variable(&'t str),
}

/// Takes a text apart. `{name:[0-9]{2}}` is one variable, whose expression has braces of its own.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    let between = |start, end| text.get(start..end).unwrap_or_default();
    for (at, brace) in text.match_indices(['{', '}']) {
        match (brace, depth) {
            ("{", 0) => {
                pieces.push(Piece::Literal(between(start, at)));
                start = at + 1;
                depth = 1;
            }
            ("{", _) => depth += 1,
            (_, 0) => return Err("a \"}\" has no \"{\" before it".to_owned()),
            (_, 1) => {
                pieces.push(Piece::Variable(between(start, at)));
                start = at + 1;
                depth = 0;
            }
            (_, _) => depth -= 1,
        }
    }
    if depth > 0 {
        return Err("a \"{\" has no \"}\" after it".to_owned());
    }
    pieces.push(Piece::Literal(between(start, text.len())));
    Ok(pieces)
}

/// The regex crate's errors draw a picture over several lines; its last line says it in words.
fn explain(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or(&text).trim_start_matches("error: ");
    match last.contains("look-around") || last.contains("backreferences") {
        true => {
            format!("{last} (it would cost time without bound; Go's expressions have none either)")
        }
        false => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(sort: Sort, text: &str, value: &str, expected: bool) {
        assert_eq!(Template::parse(text, sort).expect(text).matches(value), expected, "{value}");
    }

    #[test]
    fn a_host_is_matched_whole() {
        let check = |text, host, expected| check(Sort::Host, text, host, expected);
        check("{sub:[a-z]+}.example.com", "www.example.com", true);
        check("{sub:[a-z]+}.example.com", "WWW.example.com", true);
        check("{sub:[a-z]+}.example.com", "www1.example.com", false);
        check("{sub:[a-z]+}.example.com", "evil.www.example.com", false);
        check("{sub:a|b}.example.com", "b.example.com", true);
        check("{sub}.example.com", "a-1.example.com", true);
        check("{sub}.example.com", "a.b.example.com", false);
        check("www{n:[0-9]{2}}.local", "www12.local", true);
        check("a.local", "axlocal", false);
    }

    #[test]
    fn paths_prefixes_and_queries() {
        check(Sort::Path, "/users/{id:[0-9]+}", "/users/7", true);
        check(Sort::Path, "/users/{id:[0-9]+}", "/users/7/", true);
        check(Sort::Path, "/users/{id:[0-9]+}", "/users/7/x", false);
        check(Sort::Path, "/{any}/x", "/a/b/x", false);
        check(Sort::Prefix, "/users/{id:[0-9]+}", "/users/7/x", true);
        check(Sort::Prefix, "/users/{id:[0-9]+}", "/users/x", false);
        check(Sort::Query, "page={n:[0-9]+}", "page=12", true);
        check(Sort::Query, "page={n:[0-9]+}", "page=x", false);
        check(Sort::Query, "page=", "page=anything", true);
    }

    #[test]
    fn expressions_are_those_of_go() {
        assert!(expression(r"^\w$").is_ok_and(|regex| !regex.is_match("\u{e9}")));
        let bytes = bytes_expression(r"^\w\d$").expect("a good one");
        assert!(bytes.is_match(b"a1") && !bytes.is_match("a\u{664}".as_bytes()));
        check(Sort::Path, r"/{id:\d+}", "/42", true);
        check(Sort::Path, r"/{id:\d+}", "/\u{664}", false);
    }

    #[test]
    fn braces_of_an_expression_are_no_variables() {
        for (text, count) in
            [("", 0), ("/a", 0), ("{a}", 1), ("/{a:[0-9]{2}}/{b:x{1,2}y{3}}-{c}", 3), ("{a", 0)]
        {
            assert_eq!(variables(text), count, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (bad, word) in [
            ("", "empty"),
            ("{a", "no \"}\""),
            ("a}", "no \"{\""),
            ("{a:}", "no expression"),
            ("{:a}", "no name"),
            ("{a:(}", "unclosed group"),
            ("{a:b)|(?:c}", "unopened group"),
            ("{a:(b)}", "(?:…)"),
            ("{a:(?=x)}", "look-around"),
            ("{a:[0-9]{1000}{1000}{1000}}", "size limit"),
        ] {
            let why = Template::parse(bad, Sort::Host).expect_err(bad);
            assert!(why.contains(word), "{bad}: {why}");
        }
    }

    /// Literals and variables, some of which may stand for nothing.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a",
            "B",
            ".t",
            "/",
            "\u{17f}",
            "{x}",
            "{x:a?}",
            "{x:.*}",
            "{x:a|.b}",
            "{x:[a/]{1,2}}",
            "{x:(?i)A}",
        ]);
        prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// The index looks for a host by its end and for a path by its beginning: whatever fits has these.
        #[test]
        fn what_fits_begins_and_ends_as_the_text_does(
            text in text(),
            value in "[abBtsS./]{0,6}",
            sort in prop::sample::select(vec![Sort::Host, Sort::Path, Sort::Prefix]),
        ) {
            let template = Template::parse(&text, sort).expect("a good one");
            if template.matches(&value) {
                let (start, end) = (template.literal_start(), template.literal_end());
                match sort {
                    Sort::Host => prop_assert!(value.to_lowercase().ends_with(&end)),
                    _ => prop_assert!(value.starts_with(start.strip_suffix('/').unwrap_or(start))),
                }
                let len = template.matched_len(&value).unwrap_or_default();
                prop_assert!(value.is_char_boundary(len) && (sort == Sort::Prefix || len == value.len()));
            }
        }
    }
}
