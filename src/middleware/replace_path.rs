//! Puts another path in the place of the one that was asked for, which is told to the server in `X-Replaced-Path`.

use percent_encoding::percent_decode_str;
use regex::Regex;

use crate::middleware::{Answer, Flow, Handler, sendable};
use crate::model::{Exchange, has_dot_segments};
use crate::rules::expression;

/// `path: "/index.html"` gives every request that path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplacePath {
    /// The path in place of every other; the query stays.
    pub path: String,
}

/// `^/v1/(.*)` with `/v2/$1` turns `/v1/users` into `/v2/users`. A path in which nothing fits stays as it is.
#[derive(Clone, Debug)]
pub struct ReplacePathRegex {
    regex: Regex,
    replacement: String,
}

impl ReplacePathRegex {
    /// An expression and what is put in the place of everything it finds: `$1` and `${name}` are its groups.
    ///
    /// # Errors
    /// A sentence without a full stop that says what is wrong with the expression.
    pub fn parse(regex: &str, replacement: &str) -> Result<Self, String> {
        if replacement.matches('$').count() > REFERENCES_MAX {
            return Err(format!("its replacement has more than {REFERENCES_MAX} references"));
        }
        Ok(Self { regex: expression(regex)?, replacement: replacement.to_owned() })
    }
}

/// A longer path is none: an expression may find something at each letter.
const PATH_BYTES_MAX: usize = 64 * 1024;

/// Each may be the whole path: without a bound, one path becomes a thousand.
const REFERENCES_MAX: usize = 16;

impl PartialEq for ReplacePathRegex {
    fn eq(&self, other: &Self) -> bool {
        (self.regex.as_str(), &self.replacement) == (other.regex.as_str(), &other.replacement)
    }
}

impl Eq for ReplacePathRegex {}

/// What is made of a path would be longer than any path.
struct TooLong;

impl ReplacePathRegex {
    /// The path with the replacement in the place of all that is found; nothing where nothing is.
    fn replaced(&self, path: &str) -> Option<Result<String, TooLong>> {
        let (mut replaced, mut end, mut has_any) = (String::new(), 0, false);
        for found in self.regex.captures_iter(path) {
            let whole = found.get(0)?;
            replaced.push_str(path.get(end..whole.start())?);
            found.expand(&self.replacement, &mut replaced);
            (end, has_any) = (whole.end(), true);
            if replaced.len() > PATH_BYTES_MAX {
                return Some(Err(TooLong));
            }
        }
        replaced.push_str(path.get(end..)?);
        has_any.then_some(Ok(replaced))
    }
}

impl Handler for ReplacePath {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        replace(exchange, &self.path);
        Flow::Continue
    }

    fn describe(&self) -> String {
        format!("replace path with {}", self.path)
    }
}

impl Handler for ReplacePathRegex {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        // A path with doubled slashes matches rules as the one without: it does not go around this step either.
        let decoded = exchange.decoded_path();
        let replaced = self.replaced(&decoded).or_else(|| self.replaced(exchange.plain_path()));
        match replaced {
            // Expressions are held against text: what is none would reach the server as other bytes than were asked for.
            Some(_) if percent_decode_str(&exchange.path).decode_utf8().is_err() => {
                let why = "the path that is to be replaced is not UTF-8";
                return Flow::Answer(Answer::new(400).because(why));
            }
            Some(Ok(path)) if has_dot_segments(&path) => {
                let why = "the path that replaces it would lead upwards";
                return Flow::Answer(Answer::new(400).because(why));
            }
            Some(Ok(path)) => replace(exchange, &path),
            Some(Err(TooLong)) => {
                return Flow::Answer(
                    Answer::new(414).because("the path that replaces it is too long"),
                );
            }
            None => {}
        }
        Flow::Continue
    }

    fn describe(&self) -> String {
        format!("replace path {} with {}", self.regex, self.replacement)
    }
}

fn replace(exchange: &mut Exchange<'_>, path: &str) {
    let before = exchange.path.as_ref().to_owned();
    exchange.change().added.push(("X-Replaced-Path".into(), before));
    // What is put in its place is a plain path: a percent sign in it is one.
    exchange.replace_path(sendable(&path.replace('%', "%25")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: &dyn Handler, path: &str, expected: &str, told: Option<&str>) {
        let mut exchange = Exchange::new("http", "GET", "web.local", path, &());
        step.on_request(&mut exchange);
        assert_eq!(exchange.path, expected);
        assert_eq!(exchange.change().added.first().map(|(_, path)| path.as_str()), told);
    }

    #[test]
    fn a_path_takes_the_place_of_every_other() {
        let step = ReplacePath { path: "/index.html".to_owned() };
        check(&step, "/a%20b?x=1", "/index.html", Some("/a%20b"));
    }

    #[test]
    fn groups_are_put_in() {
        let step = ReplacePathRegex::parse("^/v1/(.*)", "/v2/$1").expect("a good one");
        check(&step, "/v1/users", "/v2/users", Some("/v1/users"));
        check(&step, "/v3/users", "/v3/users", None);
        // However it is spelled.
        check(&step, "/%761/a%20b%25", "/v2/a%20b%25", Some("/%761/a%20b%25"));
        check(&step, "/v1/http://a//b", "/v2/http://a//b", Some("/v1/http://a//b"));
        check(&step, "//v1/users", "/v2/users", Some("/v1/users"));
        check(&step, "/%2fv1/users", "/v2/users", Some("/%2fv1/users"));
        let step = ReplacePathRegex::parse("^/(?P<who>[a-z]+)$", "/u ${who}").expect("a good one");
        check(&step, "/bob", "/u%20bob", Some("/bob"));
        assert!(ReplacePathRegex::parse("(?=x)", "").is_err());
        let step = ReplacePathRegex::parse("^/v1(.*)", "/v2/$1").expect("a good one");
        let mut exchange = Exchange::new("http", "GET", "web.local", "/v1../admin", &());
        let flow = step.on_request(&mut exchange);
        assert!(matches!(flow, Flow::Answer(answer) if answer.status == 400));
        let mut exchange = Exchange::new("http", "GET", "web.local", "/v1/%ff", &());
        let flow = step.on_request(&mut exchange);
        assert!(matches!(flow, Flow::Answer(answer) if answer.status == 400));
        check(&step, "/v3/%ff", "/v3/%ff", None);
        check(&step, "/v1/%EF%BF%BD", "/v2//%EF%BF%BD", Some("/v1/%EF%BF%BD"));
        let step = ReplacePathRegex::parse("x*", &"y".repeat(10_000)).expect("a good one");
        let mut exchange = Exchange::new("http", "GET", "web.local", "/aaaaaaaaaaaaaaa", &());
        assert!(
            matches!(step.on_request(&mut exchange), Flow::Answer(answer) if answer.status == 414)
        );
    }
}
