//! Takes a prefix off the path before the server sees it.
//!
//! The prefix is told to the server in `X-Forwarded-Prefix`, so that it can still write full links.
//! Of several prefixes the longest wins, as in Traefik 1.7.

use crate::middleware::{Flow, Handler};
use crate::model::Exchange;
use crate::rules::PathPattern;

/// `prefixes: ["/api"]` turns `/api/users` into `/users`, `["/{tenant}"]` turns `/blue/users` into `/users`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StripPrefix {
    /// What is taken off; see [`PathPattern::prefix`].
    pub prefixes: Vec<PathPattern>,
}

impl Handler for StripPrefix {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let path = exchange.plain_path();
        let fitting = self.prefixes.iter().filter_map(|prefix| prefix.prefix_len(path)).max();
        let Some(len) = fitting else {
            return Flow::Continue;
        };
        let prefix = super::sendable(path.get(..len).unwrap_or(path));
        exchange.strip(len);
        exchange.change().added.push(("X-Forwarded-Prefix".into(), prefix));
        Flow::Continue
    }

    fn describe(&self) -> String {
        let prefixes: Vec<&str> = self.prefixes.iter().map(PathPattern::text).collect();
        format!("strip prefix {}", prefixes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path that is left, and the prefix that is told.
    fn stripped(prefixes: &[&str], path: &str) -> (String, Option<String>) {
        let prefixes = prefixes.iter().map(|p| PathPattern::prefix(p).expect("a path"));
        let strip = StripPrefix { prefixes: prefixes.collect() };
        let mut exchange = Exchange::new("http", "GET", "web.local", path, &());
        assert!(matches!(strip.on_request(&mut exchange), Flow::Continue));
        let prefix = exchange.change().added.pop().map(|(_, prefix)| prefix);
        (exchange.path.into_owned(), prefix)
    }

    #[track_caller]
    fn check(prefixes: &[&str], path: &str, expected: &str, prefix: &str) {
        assert_eq!(stripped(prefixes, path), (expected.to_owned(), Some(prefix.to_owned())));
    }

    #[test]
    fn takes_the_prefix_and_keeps_a_leading_slash() {
        check(&["/api"], "/api/users", "/users", "/api");
        check(&["/api"], "/api", "/", "/api");
        check(&["/a", "/a/b"], "/a/b/c", "/c", "/a/b");
        check(&["/api/"], "/api/users", "/users", "/api/");
        check(&["/{tenant}"], "/blue/users", "/users", "/blue");
        check(&["/api"], "/%61pi/a%20b", "/a%20b", "/api");
    }

    #[test]
    fn leaves_other_paths_alone() {
        assert_eq!(stripped(&["/api"], "/other"), ("/other".to_owned(), None));
        assert_eq!(stripped(&[], "/api"), ("/api".to_owned(), None));
    }
}
