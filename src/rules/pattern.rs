//! Host patterns in gorilla/mux's notation, as Traefik 1.7's `HostRegexp` takes them.

use regex::{Regex, RegexBuilder};

/// How much memory one compiled pattern may take, in bytes: a label cannot exhaust the machine.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// A host with variables: `{sub:[a-z]+}.example.com`. `{sub}` alone stands for one or more characters that are
/// not a dot. Always matches the whole host, without regard to case.
#[derive(Clone, Debug)]
pub struct HostPattern {
    text: String,
    regex: Regex,
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence without a full stop that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let body = to_regex(text)?;
        let regex = RegexBuilder::new(&format!("^(?:{body})$"))
            .case_insensitive(true)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| explain(&error))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole host fits.
    pub fn matches(&self, host: &str) -> bool {
        self.regex.is_match(host)
    }
}

impl PartialEq for HostPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for HostPattern {}

/// `{name:regexp}` becomes `(?:regexp)`, `{name}` becomes `[^.]+`, the rest stands for itself.
fn to_regex(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut regex = String::new();
    let mut literal = String::new();
    let mut variable: Option<String> = None;
    let mut depth = 0_usize;
    for c in text.chars() {
        match (c, &mut variable) {
            ('{', None) => {
                regex.push_str(&regex::escape(&std::mem::take(&mut literal)));
                variable = Some(String::new());
            }
            ('}', None) => return Err("a \"}\" has no \"{\" before it".to_owned()),
            ('}', Some(inside)) if depth == 0 => {
                match inside.split_once(':') {
                    Some((_, pattern)) if !pattern.is_empty() => {
                        regex.push_str(&format!("(?:{pattern})"));
                    }
                    Some(_) => return Err(format!("\"{{{inside}}}\" has no expression")),
                    None => regex.push_str("[^.]+"),
                }
                variable = None;
            }
            (_, None) => literal.push(c),
            (_, Some(inside)) => {
                // `{name:[0-9]{2}}` has braces of its own.
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                inside.push(c);
            }
        }
    }
    if variable.is_some() {
        return Err("a \"{\" has no \"}\" after it".to_owned());
    }
    regex.push_str(&regex::escape(&literal));
    Ok(regex)
}

/// The regex crate's errors draw a picture over several lines; its last line says it in words.
fn explain(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or(&text);
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, host: &str, expected: bool) {
        assert_eq!(HostPattern::parse(pattern).expect(pattern).matches(host), expected);
    }

    #[test]
    fn matches_the_whole_host() {
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
    fn says_what_is_wrong() {
        for bad in ["", "{a", "a}", "{a:}", "{a:(}", "{a:(?=x)}", "{a:[0-9]{1000}{1000}{1000}}"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
