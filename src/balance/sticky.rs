//! A cookie that brings a client back to the server it had.
//!
//! Its value is a digest of what makes the server the same server, so that it holds across restarts and
//! between several Herders, and names no address in clear.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::config::{CookieScope, Sticky};
use crate::live::ServerKey;
use crate::model::Head;

/// The cookie value that stands for this server: 16 hexadecimal digits.
pub fn value(server: &ServerKey) -> String {
    let (backend, scheme, addr) = server;
    let digest = Sha256::digest(format!("{backend} {} {addr}", scheme.as_str()));
    digest.iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// What is made of the value of the cookie of this name; none where the request has no such cookie. A proxy that speaks HTTP/2
/// may have left the cookies in several lines (RFC 9113, section 8.2.3): the first that has it counts.
pub fn look_up<T>(head: &dyn Head, name: &str, read: impl FnOnce(&str) -> T) -> Option<T> {
    let (mut found, mut read) = (None, Some(read));
    head.has_line("cookie", &mut |line| {
        let Some(value) = find(line, name) else { return false };
        found = read.take().map(|read| read(value));
        true
    });
    found
}

/// The value of the cookie of this name in a `Cookie` header line (RFC 6265, section 4.2.1).
fn find<'c>(cookie_header: &'c [u8], name: &str) -> Option<&'c str> {
    let pairs = cookie_header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    // Another cookie may hold any bytes: who set it knows them.
    let value = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    Some(std::str::from_utf8(value.into_iter().next()?).ok()?.trim_matches('"'))
}

/// The `Set-Cookie` value that makes a client come back: for the whole host.
pub fn set_cookie(sticky: &Sticky, value: &str) -> String {
    let CookieScope { is_secure, is_http_only, same_site } = sticky.scope;
    let http_only = if is_http_only { "; HttpOnly" } else { "" };
    let secure = if is_secure { "; Secure" } else { "" };
    let (name, same_site) = (&sticky.cookie, same_site.as_str());
    format!("{name}={value}; Path=/{http_only}{secure}; SameSite={same_site}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SameSite, Scheme};
    use crate::model::{BackendId, ProviderName};

    #[test]
    fn finds_its_cookie_among_others() {
        assert_eq!(find(b"a=1; sticky=abc; b=2", "sticky"), Some("abc"));
        assert_eq!(find(b"sticky=\"abc\"", "sticky"), Some("abc"));
        assert_eq!(find(b"xsticky=abc", "sticky"), None);
        assert_eq!(find(b"\xff", "sticky"), None);
        assert_eq!(find(b"name=Jos\xe9;sticky=abc", "sticky"), Some("abc"));
        assert_eq!(find(b"sticky=\xe9; sticky=abc", "sticky"), None);
    }

    #[test]
    fn the_cookie_says_to_whom_it_is_shown() {
        let line = |scope| {
            let cookie = "c".to_owned();
            let sticky = Sticky { cookie, is_named_by_us: false, is_deprecated: false, scope };
            set_cookie(&sticky, "v")
        };
        assert_eq!(line(CookieScope::default()), "c=v; Path=/; HttpOnly; SameSite=Lax");
        let open = CookieScope { is_secure: true, is_http_only: false, same_site: SameSite::None };
        assert_eq!(line(open), "c=v; Path=/; Secure; SameSite=None");
    }

    #[test]
    fn the_value_names_the_server_without_its_address() {
        let id = BackendId::new(ProviderName::Docker, "web");
        let key = |addr: &str| (id.clone(), Scheme::Http, addr.parse().expect("an address"));
        let one = value(&key("10.0.0.1:80"));
        assert_eq!(one.len(), 16);
        assert_ne!(one, value(&key("10.0.0.2:80")));
        assert!(!one.contains("10.0"));
        // In another backend it is another server.
        let (_, scheme, addr) = key("10.0.0.1:80");
        assert_ne!(one, value(&(BackendId::new(ProviderName::Docker, "api"), scheme, addr)));
    }
}
