//! From what is asked for about redirects and header lines to the steps that do it.

use std::sync::Arc;

use crate::config::{HeadersWish, Redirect as RedirectWish};
use crate::middleware::{Closed, Cors, Handler, Headers, Redirect, Secure, Target};
use crate::model::LineName;
use crate::settings::{EntryPoint, EntryRedirect};

/// Where clients are sent. To an entry point that is not there nobody is, and nobody comes in: they were to come another way.
pub(super) fn redirect(wish: &RedirectWish, all: &[EntryPoint]) -> Option<Arc<dyn Handler>> {
    let RedirectWish { entry_point, regex, replacement, permanent } = wish;
    let step = match (entry_point.as_str(), regex.as_str()) {
        ("", "") => return None,
        ("", regex) => Redirect::to_url(regex, replacement, *permanent).ok(),
        (name, _) => {
            let target = all.iter().find(|entrypoint| entrypoint.name == name).map(target);
            target.map(|target| Redirect::to_entrypoint(target, *permanent))
        }
    };
    Some(match step {
        Some(step) => Arc::new(step),
        None => Arc::new(Closed { reason: "a redirect that leads nowhere".to_owned() }),
    })
}

/// The same for all clients of an entry point.
pub(super) fn entry_redirect(wish: &EntryRedirect, all: &[EntryPoint]) -> Option<Arc<dyn Handler>> {
    let EntryRedirect { entry_point, regex, replacement, permanent } = wish.clone();
    redirect(&RedirectWish { entry_point, regex, replacement, permanent }, all)
}

fn target(entrypoint: &EntryPoint) -> Target {
    let EntryPoint { name, listen, is_tls, .. } = entrypoint;
    Target { name: name.clone(), is_tls: *is_tls, port: listen.port }
}

/// Lines of the user's choice.
pub(super) fn custom(wish: &HeadersWish) -> Option<Arc<dyn Handler>> {
    let HeadersWish { custom_request_headers, custom_response_headers, .. } = wish;
    let is_any = !custom_request_headers.is_empty() || !custom_response_headers.is_empty();
    is_any.then(|| Arc::new(Headers::new(custom_request_headers, custom_response_headers)) as _)
}

/// What makes a site safer.
pub(super) fn secure(wish: &HeadersWish) -> Option<Arc<dyn Handler>> {
    let lower = |name: &String| name.to_ascii_lowercase();
    let ssl_proxy_headers = wish.ssl_proxy_headers.iter();
    let step = Secure {
        allowed_hosts: wish.allowed_hosts.clone(),
        hosts_proxy_headers: wish.hosts_proxy_headers.iter().map(lower).collect(),
        ssl_proxy_headers: ssl_proxy_headers.map(|(n, v)| (lower(n), v.clone())).collect(),
        ssl_redirect: wish.ssl_redirect,
        ssl_temporary_redirect: wish.ssl_temporary_redirect,
        ssl_host: wish.ssl_host.clone(),
        ssl_force_host: wish.ssl_force_host,
        lines: lines(wish, false),
        https_lines: lines(wish, true),
        is_development: wish.is_development,
    };
    (!step.is_idle()).then(|| Arc::new(step) as _)
}

/// The lines that are asked for by other names, as Traefik 1.7 writes them (unrolled/secure).
fn lines(wish: &HeadersWish, is_https: bool) -> Arc<[(LineName, String)]> {
    let is_live = !wish.is_development;
    let own_or = |own: &str, flag: bool, usual: &str| match (own, flag) {
        ("", true) => usual.to_owned(),
        (own, _) => own.to_owned(),
    };
    let sts = || {
        let subdomains = if wish.sts_include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if wish.sts_preload { "; preload" } else { "" };
        format!("max-age={}{subdomains}{preload}", wish.sts_seconds)
    };
    let has_sts = wish.sts_seconds != 0 && (is_https || wish.force_sts_header) && is_live;
    let has_pin = is_https && is_live;
    let lines = [
        ("Strict-Transport-Security", if has_sts { sts() } else { String::new() }),
        ("X-Frame-Options", own_or(&wish.custom_frame_options_value, wish.frame_deny, "DENY")),
        ("X-Content-Type-Options", own_or("", wish.content_type_nosniff, "nosniff")),
        (
            "X-XSS-Protection",
            own_or(&wish.custom_browser_xss_value, wish.browser_xss_filter, "1; mode=block"),
        ),
        ("Public-Key-Pins", if has_pin { wish.public_key.clone() } else { String::new() }),
        ("Content-Security-Policy", wish.content_security_policy.clone()),
        ("Referrer-Policy", wish.referrer_policy.clone()),
    ];
    let said = lines.into_iter().filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| (LineName::Borrowed(name), value)).collect()
}

/// Which other sites may use this one.
pub(super) fn cors(wish: &HeadersWish) -> Option<Arc<dyn Handler>> {
    let step = Cors {
        origins: wish.access_control_allow_origin.clone(),
        methods: wish.access_control_allow_methods.clone(),
        headers: wish.access_control_allow_headers.clone(),
        expose: wish.access_control_expose_headers.clone(),
        credentials: wish.access_control_allow_credentials,
        max_age_s: wish.access_control_max_age,
    };
    // Without a site that may, the rest says nothing.
    (!step.origins.is_empty()).then(|| Arc::new(step) as _)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wish: &HeadersWish, is_https: bool, expected: &[&str]) {
        let said = lines(wish, is_https);
        let said: Vec<String> =
            said.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn names_become_lines() {
        let all = HeadersWish {
            sts_seconds: 31,
            sts_include_subdomains: true,
            sts_preload: true,
            frame_deny: true,
            content_type_nosniff: true,
            browser_xss_filter: true,
            public_key: "pin".to_owned(),
            content_security_policy: "default-src 'self'".to_owned(),
            referrer_policy: "no-referrer".to_owned(),
            ..HeadersWish::default()
        };
        let in_any_case = [
            "X-Frame-Options: DENY",
            "X-Content-Type-Options: nosniff",
            "X-XSS-Protection: 1; mode=block",
            "Content-Security-Policy: default-src 'self'",
            "Referrer-Policy: no-referrer",
        ];
        let sts = "Strict-Transport-Security: max-age=31; includeSubDomains; preload";
        check(&all, false, &in_any_case);
        let [frame, nosniff, xss, policy, referrer] = in_any_case;
        let https = [sts, frame, nosniff, xss, "Public-Key-Pins: pin", policy, referrer];
        check(&all, true, &https);
        check(&HeadersWish { is_development: true, ..all.clone() }, true, &in_any_case);
        let forced = HeadersWish { force_sts_header: true, ..all.clone() };
        check(&forced, false, &[sts, frame, nosniff, xss, policy, referrer]);
        let own = HeadersWish {
            custom_frame_options_value: "SAMEORIGIN".to_owned(),
            custom_browser_xss_value: "0".to_owned(),
            frame_deny: true,
            ..HeadersWish::default()
        };
        check(&own, false, &["X-Frame-Options: SAMEORIGIN", "X-XSS-Protection: 0"]);
    }

    #[test]
    fn what_asks_for_nothing_is_no_step() {
        let idle = HeadersWish {
            ssl_proxy_headers: [("X-A".to_owned(), "b".to_owned())].into(),
            access_control_allow_credentials: true,
            ..HeadersWish::default()
        };
        assert!(custom(&idle).is_none() && secure(&idle).is_none() && cors(&idle).is_none());
        assert!(redirect(&RedirectWish::default(), &[]).is_none());
    }

    #[test]
    fn a_redirect_that_leads_nowhere_lets_nobody_in() {
        let to = |name: &str| RedirectWish { entry_point: name.to_owned(), ..Default::default() };
        let https: EntryPoint = "Name:https Address::443 TLS".parse().expect("an entry point");
        let described = |wish: &RedirectWish| {
            redirect(wish, std::slice::from_ref(&https)).map(|step| step.describe())
        };
        assert_eq!(described(&to("https")).as_deref(), Some("send to entry point https"));
        let nowhere = Some("closed, because of a redirect that leads nowhere");
        assert_eq!(described(&to("htps")).as_deref(), nowhere);
        let wish = RedirectWish { regex: "(".to_owned(), ..Default::default() };
        assert_eq!(described(&wish).as_deref(), nowhere);
    }
}
