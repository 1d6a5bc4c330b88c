//! Puts a prefix before the path.

use crate::middleware::{Flow, Handler, sendable};
use crate::model::Exchange;

/// `prefix: "/shop"` turns `/cart` into `/shop/cart`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddPrefix {
    prefix: String,
    /// The same as it may stand in a request's first line.
    sent: String,
}

impl AddPrefix {
    /// The prefix is put before the path as it is: `/shop` and `/cart` become `/shop/cart`, `/shop/` and `/cart` `/shop//cart`.
    pub fn new(prefix: String) -> Self {
        let sent = sendable(&with_whole_escapes(&prefix));
        Self { prefix, sent }
    }
}

impl Handler for AddPrefix {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        // `OPTIONS *` asks about the whole server (RFC 9112, section 3.2.4).
        if exchange.path == "*" {
            return Flow::Continue;
        }
        let path = format!("{}{}", self.sent, exchange.path);
        exchange.replace_path(path);
        Flow::Continue
    }

    fn describe(&self) -> String {
        format!("add prefix {}", self.prefix)
    }
}

/// A prefix whose percent signs all begin an escape: one that begins none means itself, and may not stand in a request's
/// first line as it is (RFC 3986, section 2.1).
fn with_whole_escapes(prefix: &str) -> String {
    let mut parts = prefix.split('%');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.as_bytes().get(..2);
        let is_escape = digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        whole.push_str(if is_escape { "%" } else { "%25" });
        whole.push_str(part);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_before_the_path() {
        for (prefix, expected) in [
            ("/shop", "/shop/c%20d"),
            ("shop", "/shop/c%20d"),
            ("/a b", "/a%20b/c%20d"),
            ("/a%20b", "/a%20b/c%20d"),
            ("/100%", "/100%25/c%20d"),
            ("/%%41%4/%é", "/%25%41%254/%25%C3%A9/c%20d"),
        ] {
            let mut exchange = Exchange::new("http", "GET", "web.local", "/c%20d", &());
            AddPrefix::new(prefix.to_owned()).on_request(&mut exchange);
            assert_eq!(exchange.path, expected);
        }
        let mut exchange = Exchange::new("http", "OPTIONS", "web.local", "*", &());
        AddPrefix::new("/shop".to_owned()).on_request(&mut exchange);
        assert_eq!(exchange.path, "*");
    }
}
