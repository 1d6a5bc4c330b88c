//! A cookie that brings a client back to the server it had.
//!
//! Its value is a digest of what makes the server the same server, so that it holds across restarts and
//! between several Herders, and names no address in clear.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::live::ServerKey;

/// The cookie value that stands for this server: 16 hexadecimal digits.
pub fn value(server: &ServerKey) -> String {
    let (backend, scheme, addr) = server;
    let digest = Sha256::digest(format!("{backend} {} {addr}", scheme.as_str()));
    digest.iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// The value of the cookie of this name in a `Cookie` header line (RFC 6265, section 4.2.1).
pub fn find<'c>(cookie_header: &'c [u8], name: &str) -> Option<&'c str> {
    let text = std::str::from_utf8(cookie_header).ok()?;
    let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"')).next()
}

/// The `Set-Cookie` value that makes a client come back: for the whole host, hidden from scripts.
pub fn set_cookie(name: &str, value: &str) -> String {
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scheme;
    use crate::model::{BackendId, ProviderName};

    #[test]
    fn finds_its_cookie_among_others() {
        assert_eq!(find(b"a=1; sticky=abc; b=2", "sticky"), Some("abc"));
        assert_eq!(find(b"sticky=\"abc\"", "sticky"), Some("abc"));
        assert_eq!(find(b"xsticky=abc", "sticky"), None);
        assert_eq!(find(b"\xff", "sticky"), None);
    }

    #[test]
    fn the_value_names_the_server_without_its_address() {
        let id = BackendId::new(ProviderName::Docker, "web");
        let key = |addr: &str| (id.clone(), Scheme::Http, addr.parse().expect("an address"));
        let one = value(&key("10.0.0.1:80"));
        assert_eq!(one.len(), 16);
        assert_ne!(one, value(&key("10.0.0.2:80")));
        assert!(!one.contains("10.0"));
    }
}
