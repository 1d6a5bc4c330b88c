//! Takes a prefix off the path before the server sees it.
//!
//! The prefix is told to the server in `X-Forwarded-Prefix`, so that it can still write full links.
//! Of several prefixes the longest wins, as in Traefik 1.7.

use std::borrow::Cow;

use crate::middleware::{Flow, Handler};
use crate::model::Exchange;

/// `prefixes: ["/api"]` turns `/api/users` into `/users`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StripPrefix {
    /// Each with its leading slash.
    pub prefixes: Vec<String>,
}

impl Handler for StripPrefix {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let Some((prefix, rest)) = self.longest_match(&exchange.path) else {
            return Flow::Continue;
        };
        // A server wants an absolute path: "/api" alone leaves "", which means "/".
        let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        exchange.stripped_prefix = Some(prefix.to_owned());
        exchange.path = Cow::Owned(path);
        Flow::Continue
    }
}

impl StripPrefix {
    /// The longest prefix that fits, and what follows it in the path.
    fn longest_match<'p, 'x>(&'p self, path: &'x str) -> Option<(&'p str, &'x str)> {
        let fitting =
            self.prefixes.iter().filter_map(|p| Some((p.as_str(), path.strip_prefix(p.as_str())?)));
        fitting.max_by_key(|(prefix, _)| prefix.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefixes: &[&str], path: &str, expected: &str) {
        let strip = StripPrefix { prefixes: prefixes.iter().map(ToString::to_string).collect() };
        let mut exchange = Exchange::new("http", "web.local", path, &());
        assert_eq!(strip.on_request(&mut exchange), Flow::Continue);
        assert_eq!(exchange.path, expected);
    }

    #[test]
    fn takes_the_prefix_and_keeps_a_leading_slash() {
        check(&["/api"], "/api/users", "/users");
        check(&["/api"], "/api", "/");
        check(&["/a", "/a/b"], "/a/b/c", "/c");
        check(&["/api/"], "/api/users", "/users");
    }

    #[test]
    fn leaves_other_paths_alone() {
        check(&["/api"], "/other", "/other");
        check(&[], "/api", "/api");
    }

    #[test]
    fn tells_which_prefix_went() {
        let strip = StripPrefix { prefixes: vec!["/api".to_owned()] };
        let mut exchange = Exchange::new("http", "web.local", "/api/users", &());
        strip.on_request(&mut exchange);
        assert_eq!(exchange.stripped_prefix.as_deref(), Some("/api"));
    }
}
