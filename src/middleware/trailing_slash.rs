//! Sends a client to the path as its rule has it: with a slash at the end, or without.
//!
//! Traefik 1.7 does so for `Path` terms (gorilla/mux's `StrictSlash`, unless `keepTrailingSlash` is set): `Path:/foo`
//! takes `/foo/` too, and answers 301 with `Location: /foo`.

use crate::middleware::{Answer, Flow, Handler, sendable};
use crate::model::Exchange;
use crate::rules::PathPattern;

/// `paths: ["/foo"]` sends `/foo/` to `/foo`, `["/foo/"]` the other way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrailingSlash {
    /// Of those that fit, the first says how it should be.
    pub paths: Vec<PathPattern>,
}

impl Handler for TrailingSlash {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let path = exchange.plain_path();
        let Some(pattern) = self.paths.iter().find(|pattern| pattern.is_whole(path)) else {
            return Flow::Continue;
        };
        let location = match (pattern.text().ends_with('/'), path.ends_with('/')) {
            (true, false) => format!("{}/", exchange.path),
            (false, true) => without_slashes(&exchange.path).to_owned(),
            _ => return Flow::Continue,
        };
        // Two slashes at its beginning would make a host of the first part (RFC 3986, section 4.2).
        let location = sendable(&format!("/{}", location.trim_start_matches('/')));
        // The root has no other spelling: it would be sent to itself for ever.
        if location == *exchange.path {
            return Flow::Continue;
        }
        let mark = if exchange.query.is_empty() { "" } else { "?" };
        let location = format!("{location}{mark}{}", exchange.query);
        Flow::Answer(Answer::new(301).line("Location", location))
    }

    fn describe(&self) -> String {
        let paths: Vec<&str> = self.paths.iter().map(PathPattern::text).collect();
        format!("send to {} as written, with or without a slash at the end", paths.join(", "))
    }
}

/// A path without the slashes at its end, whether they were sent as such or as `%2F`.
fn without_slashes(path: &str) -> &str {
    let mut path = path;
    while let Some(shorter) = ["/", "%2f", "%2F"].iter().find_map(|end| path.strip_suffix(end)) {
        path = shorter;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(paths: &[&str], target: &str, expected: Option<&str>) {
        let paths = paths.iter().map(|path| PathPattern::whole(path).expect("a path")).collect();
        let mut exchange = Exchange::new("http", "GET", "web.local", target, &());
        let flow = TrailingSlash { paths }.on_request(&mut exchange);
        let location = |path: &str| Flow::Answer(Answer::new(301).line("Location", path));
        let expected = expected.map_or(Flow::Continue, location);
        assert_eq!(format!("{flow:?}"), format!("{expected:?}"), "{target}");
    }

    #[test]
    fn the_rule_says_how_it_ends() {
        check(&["/foo"], "/foo", None);
        check(&["/foo"], "/foo/?a=b", Some("/foo?a=b"));
        check(&["/foo/"], "/foo", Some("/foo/"));
        check(&["/foo"], "/foo%2f", Some("/foo"));
        check(&["/foo"], "/foo%2F//", Some("/foo"));
        check(&["/foo"], &format!("/foo{}", "/".repeat(60_000)), Some("/foo"));
        check(&["/foo"], "//foo", None);
        check(&["/a", "/{n}/"], "/b", Some("/b/"));
        check(&["/"], "/", None);
        check(&["/foo"], "/bar/", None);
    }

    #[test]
    fn nobody_is_sent_to_where_he_is() {
        check(&["/{any:.*}"], "/", None);
        check(&["/{any:.*}"], "/?a=b", None);
        check(&["/{any:.*}"], "/%2f", Some("/"));
        check(&["/{any:.*}"], "/a/", Some("/a"));
    }

    #[test]
    fn no_path_becomes_a_host() {
        check(&["/{all:.*}"], "//evil.test/", Some("/evil.test"));
        check(&["/{all:.*}"], "/\\evil.test/", Some("/evil.test"));
    }
}
