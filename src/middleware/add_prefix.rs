//! Puts a prefix before the path.

use crate::middleware::{Flow, Handler, sendable};
use crate::model::Exchange;

/// `prefix: "/shop"` turns `/cart` into `/shop/cart`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddPrefix {
    /// Put before the path as it is: `/shop` and `/cart` become `/shop/cart`, `/shop/` and `/cart` `/shop//cart`.
    pub prefix: String,
}

impl Handler for AddPrefix {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        // `OPTIONS *` asks about the whole server (RFC 9112, section 3.2.4).
        if exchange.path == "*" {
            return Flow::Continue;
        }
        let path = format!("{}{}", sendable(&self.prefix), exchange.path);
        exchange.replace_path(path);
        Flow::Continue
    }

    fn describe(&self) -> String {
        format!("add prefix {}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_before_the_path() {
        for (prefix, expected) in
            [("/shop", "/shop/c%20d"), ("shop", "/shop/c%20d"), ("/a b", "/a%20b/c%20d")]
        {
            let mut exchange = Exchange::new("http", "GET", "web.local", "/c%20d", &());
            AddPrefix { prefix: prefix.to_owned() }.on_request(&mut exchange);
            assert_eq!(exchange.path, expected);
        }
        let mut exchange = Exchange::new("http", "OPTIONS", "web.local", "*", &());
        AddPrefix { prefix: "/shop".to_owned() }.on_request(&mut exchange);
        assert_eq!(exchange.path, "*");
    }
}
