//! How load is shared, as labels and files say it: below `traefik.backend.loadbalancer.` and `loadBalancer.`, in the same
//! words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::reader::normalized;
use super::values::boolean;
use crate::config::{CookieScope, Method, SameSite, Sticky};
use crate::model::{Severity, is_token};
use crate::settings::duration;

/// The words there are.
pub(super) const KEYS: &[&str] = &[
    "method",
    "hashKey",
    "slowStart",
    "sticky",
    "stickiness",
    "stickiness.cookieName",
    "stickiness.secure",
    "stickiness.httpOnly",
    "stickiness.sameSite",
];

/// What was said, by key.
pub(super) type Said<'a> = BTreeMap<&'static str, &'a str>;

/// What is meant.
#[derive(Debug, PartialEq)]
pub(super) struct Balancing {
    pub(super) method: Method,
    pub(super) slow_start: Duration,
    pub(super) sticky: Option<Arc<Sticky>>,
}

/// What is wrong with one of the values: a sentence that goes on after the key, and what to write.
#[derive(Debug)]
pub(super) struct InvalidBalancing {
    pub(super) key: &'static str,
    pub(super) severity: Severity,
    pub(super) what: String,
    pub(super) hint: &'static str,
}

/// Reads what was said of a backend. `is_sticky` is whether something else says that clients come back to their server.
pub(super) fn read(
    said: &Said<'_>,
    backend: &str,
    fallback: Method,
    is_sticky: bool,
) -> (Balancing, Vec<InvalidBalancing>) {
    let mut reader = Reader { said, invalid: Vec::new() };
    let method = reader.method(fallback);
    let slow_start = reader.slow_start();
    let sticky = reader.sticky(backend, is_sticky).map(Arc::new);
    (Balancing { method, slow_start, sticky }, reader.invalid)
}

struct Reader<'a> {
    said: &'a Said<'a>,
    invalid: Vec<InvalidBalancing>,
}

impl Reader<'_> {
    fn error(&mut self, key: &'static str, what: String, hint: &'static str) {
        self.invalid.push(InvalidBalancing { key, severity: Severity::Error, what, hint });
    }

    fn warning(&mut self, key: &'static str, what: String, hint: &'static str) {
        self.invalid.push(InvalidBalancing { key, severity: Severity::Warning, what, hint });
    }

    fn method(&mut self, fallback: Method) -> Method {
        let method = self.said.get("method").map(|text| (text, Method::named(text)));
        let method = match method {
            None => fallback,
            Some((_, Some(method))) => method,
            Some((text, None)) => {
                let what = format!("\"{text}\" is not served; {fallback} is used instead.");
                self.error("method", what, "Write wrr, drr, leastconn, p2c, ewma or hash.");
                fallback
            }
        };
        let Some(text) = self.said.get("hashKey") else { return method };
        let Method::Hash(by_default) = method else {
            let what = format!("does nothing where the method is {method}.");
            self.warning("hashKey", what, "Write the method hash.");
            return method;
        };
        Method::Hash(text.parse().unwrap_or_else(|why: String| {
            let what = format!("{why}; {by_default} is used instead.");
            let hint = "Write client.ip, request.host, request.header.NAME or request.cookie.NAME.";
            self.error("hashKey", what, hint);
            by_default
        }))
    }

    fn slow_start(&mut self) -> Duration {
        let Some(text) = self.said.get("slowStart") else { return Duration::ZERO };
        duration(text).unwrap_or_else(|why| {
            self.error("slowStart", format!("{why}; it is left out."), "Write 30s, 5m or 500ms.");
            Duration::ZERO
        })
    }

    fn flag(&mut self, key: &'static str) -> Option<bool> {
        let text = self.said.get(key)?;
        let truth = boolean(text);
        if truth.is_none() {
            let what = format!("\"{text}\" is neither true nor false; it is left out.");
            self.error(key, what, "Write true or false.");
        }
        truth
    }

    fn sticky(&mut self, backend: &str, is_sticky: bool) -> Option<Sticky> {
        let is_named = self.flag("stickiness") == Some(true);
        let is_deprecated = self.flag("sticky") == Some(true);
        if !is_named && !is_deprecated && !is_sticky {
            let below = |key: &&&'static str| key.starts_with("stickiness.");
            for key in self.said.keys().filter(below).copied().collect::<Vec<_>>() {
                let what = "does nothing without stickiness.".to_owned();
                self.warning(key, what, "Write stickiness = true.");
            }
            return None;
        }
        let ours = match is_deprecated && !is_named {
            // Traefik 1.7, server/server_configuration.go, `configureBackends`.
            true => "_TRAEFIK_BACKEND".to_owned(),
            false => format!("_herder_{}", normalized(backend)),
        };
        let asked = self.said.get("stickiness.cookieName").copied();
        let named = asked.filter(|name| is_token(name));
        if let (Some(name), None) = (asked, named) {
            let what = format!("\"{name}\" cannot name a cookie; {ours} is used instead.");
            self.error("stickiness.cookieName", what, "Use letters, digits, - and _.");
        }
        Some(Sticky {
            cookie: named.map_or(ours, str::to_owned),
            is_named_by_us: named.is_none(),
            is_deprecated,
            scope: self.scope(),
        })
    }

    fn scope(&mut self) -> CookieScope {
        let usual = CookieScope::default();
        let is_secure = self.flag("stickiness.secure").unwrap_or(usual.is_secure);
        let is_http_only = self.flag("stickiness.httpOnly").unwrap_or(usual.is_http_only);
        let key = "stickiness.sameSite";
        let text = self.said.get(key);
        let same_site = match text.map(|text| SameSite::named(text)) {
            None => usual.same_site,
            Some(Some(SameSite::None)) if !is_secure => {
                let what = "none needs stickiness.secure: browsers refuse the cookie without it; lax is used instead.";
                self.error(key, what.to_owned(), "Write stickiness.secure = true, or lax.");
                usual.same_site
            }
            Some(Some(same_site)) => same_site,
            Some(None) => {
                let text = text.copied().unwrap_or_default();
                let what = format!("\"{text}\" is not served; lax is used instead.");
                self.error(key, what, "Write lax, strict or none.");
                usual.same_site
            }
        };
        CookieScope { is_secure, is_http_only, same_site }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `method/seconds of slow start/Set-Cookie`, and the invalid.
    #[track_caller]
    fn check(said: &[(&'static str, &str)], expected: &str, expected_part: &str) {
        let said: Said<'_> = said.iter().copied().collect();
        assert!(said.keys().all(|key| KEYS.contains(key)), "{said:?}");
        let (balancing, invalid) = read(&said, "my.web", Method::Wrr, false);
        let sticky = balancing.sticky.as_ref();
        let cookie = sticky.map(|sticky| crate::balance::sticky::set_cookie(sticky, "v"));
        let slow_start = balancing.slow_start.as_secs();
        let cookie = cookie.map(|cookie| cookie.replace("Path=/; ", "")).unwrap_or_default();
        assert_eq!(format!("{}/{slow_start}/{cookie}", balancing.method), expected, "{said:?}");
        let text = |c: &InvalidBalancing| format!("{} {} {}", c.key, c.what, c.hint);
        let all = invalid.iter().map(text).collect::<Vec<_>>().join(" | ");
        assert_eq!(expected_part.is_empty(), all.is_empty(), "{said:?}: {all}");
        assert!(all.contains(expected_part), "{said:?}: {all}");
    }

    #[test]
    fn methods() {
        check(&[], "wrr/0/", "");
        check(&[("method", "DRR")], "drr/0/", "");
        check(&[("method", "leastconn"), ("slowStart", "1m")], "leastconn/60/", "");
        check(&[("method", "random")], "wrr/0/", "method \"random\" is not served; wrr is used");
        check(&[("slowStart", "soon")], "wrr/0/", "slowStart \"soon\" is not a time");
    }

    #[test]
    fn what_decides_where_it_hashes() {
        check(&[("method", "hash")], "hash of client.ip/0/", "");
        let by = |key| [("method", "hash"), ("hashKey", key)];
        check(&by("request.header.X-User"), "hash of request.header.x-user/0/", "");
        check(&by("user"), "hash of client.ip/0/", "hashKey \"user\" is nothing that a server");
        check(
            &[("hashKey", "client.ip")],
            "wrr/0/",
            "hashKey does nothing where the method is wrr",
        );
    }

    #[test]
    fn cookies() {
        let lax = "wrr/0/_herder_my-web=v; HttpOnly; SameSite=Lax";
        check(&[("stickiness", "true")], lax, "");
        check(&[("sticky", "true")], "wrr/0/_TRAEFIK_BACKEND=v; HttpOnly; SameSite=Lax", "");
        check(&[("stickiness", "maybe")], "wrr/0/", "stickiness \"maybe\" is neither");
        let with = |key, value| [("stickiness", "true"), (key, value)];
        check(&with("stickiness.cookieName", "c"), "wrr/0/c=v; HttpOnly; SameSite=Lax", "");
        check(&with("stickiness.cookieName", "a b"), lax, "cannot name a cookie");
        check(
            &with("stickiness.secure", "true"),
            "wrr/0/_herder_my-web=v; HttpOnly; Secure; SameSite=Lax",
            "",
        );
        check(&with("stickiness.httpOnly", "false"), "wrr/0/_herder_my-web=v; SameSite=Lax", "");
        check(
            &with("stickiness.sameSite", "Strict"),
            "wrr/0/_herder_my-web=v; HttpOnly; SameSite=Strict",
            "",
        );
        check(&with("stickiness.sameSite", "some"), lax, "Write lax, strict or none.");
        check(&with("stickiness.sameSite", "none"), lax, "none needs stickiness.secure");
        check(
            &[("stickiness", "1"), ("stickiness.sameSite", "none"), ("stickiness.secure", "1")],
            "wrr/0/_herder_my-web=v; HttpOnly; Secure; SameSite=None",
            "",
        );
        check(&[("stickiness.cookieName", "c")], "wrr/0/", "does nothing without stickiness");
    }
}
