//! Lets in whoever comes from an address of the list.
//!
//! The address is that of the connection. Where the one that a proxy before us tells is to count, it does only if that proxy
//! is trusted: everybody else can write what he likes.

use ipnet::IpNet;

use crate::middleware::{Answer, Flow, Handler};
use crate::model::{Exchange, network};

/// Who may pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowList {
    networks: Vec<IpNet>,
    uses_forwarded: bool,
}

impl AllowList {
    /// Addresses and networks; `uses_forwarded`: the address that a trusted proxy tells counts.
    ///
    /// # Errors
    /// Which of them is neither, or that there are none: the end of a sentence.
    pub fn new(sources: &[String], uses_forwarded: bool) -> Result<Self, String> {
        let read = |text: &String| {
            let text = text.trim();
            network(text).ok_or_else(|| {
                format!("names \"{text}\", which is neither an address nor a network")
            })
        };
        let networks = sources.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        match networks.is_empty() {
            true => Err("names nobody".to_owned()),
            false => Ok(Self { networks, uses_forwarded }),
        }
    }
}

impl Handler for AllowList {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let ip = match self.uses_forwarded {
            // What cannot be read is nobody's address.
            true => exchange.told_ip(),
            false => Some(exchange.sender.ip),
        };
        let ip = ip.map(|ip| ip.to_canonical());
        match ip.is_some_and(|ip| self.networks.iter().any(|network| network.contains(&ip))) {
            true => Flow::Continue,
            false => Flow::Answer(Answer::new(403).because("the address is in no allow list")),
        }
    }

    fn describe(&self) -> String {
        let networks: Vec<String> = self.networks.iter().map(IpNet::to_string).collect();
        format!("only from {}", networks.join(", "))
    }

    fn leaves_traces(&self) -> bool {
        // `explain` asks on behalf of nobody.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::auth::tests::Lines;

    #[track_caller]
    fn check(list: &AllowList, ip: &str, forwarded: &[&str], is_trusted: bool, passes: bool) {
        let lines = forwarded.iter().map(|line| ("X-Forwarded-For", (*line).to_owned()));
        let lines = Lines(lines.collect());
        let mut exchange = Exchange::new("http", "GET", "a", "/", &lines);
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        exchange.trusted = &trusted;
        exchange.sender.ip = ip.parse().expect("an address");
        exchange.sender.is_trusted = is_trusted;
        let flow = list.on_request(&mut exchange);
        assert_eq!(matches!(flow, Flow::Continue), passes, "{ip} {forwarded:?}: {flow:?}");
    }

    fn list(uses_forwarded: bool) -> AllowList {
        let sources = ["192.168.0.0/16", "10.0.0.7", "2001:db8::/32"].map(str::to_owned);
        AllowList::new(&sources, uses_forwarded).expect("a good list")
    }

    #[test]
    fn the_connection_counts() {
        let list = list(false);
        check(&list, "192.168.3.4", &[], false, true);
        check(&list, "::ffff:192.168.3.4", &[], false, true);
        check(&list, "2001:db8::1", &[], false, true);
        check(&list, "10.0.0.7", &[], false, true);
        check(&list, "10.0.0.8", &[], false, false);
        check(&list, "10.0.0.8", &["192.168.0.1"], true, false);
    }

    #[test]
    fn what_is_forwarded_counts_from_trusted_proxies_alone() {
        let list = list(true);
        check(&list, "10.0.0.8", &["192.168.0.1"], true, true);
        check(&list, "10.0.0.8", &["192.168.0.1"], false, false);
        check(&list, "192.168.0.1", &["1.1.1.1"], false, true);
        check(&list, "192.168.0.1", &["1.1.1.1"], true, false);
        // The client wrote the first one itself; two trusted proxies stand behind it.
        check(&list, "10.0.0.8", &["192.168.0.1, 1.1.1.1, 10.0.0.3"], true, false);
        check(&list, "10.0.0.8", &["1.1.1.1", "192.168.0.1", "10.0.0.3"], true, true);
        check(&list, "10.0.0.8", &["192.168.0.1:5000"], true, true);
        check(&list, "10.0.0.8", &["[2001:db8::1]:5000"], true, true);
        check(&list, "10.0.0.8", &["192.168.0.1, unknown"], true, false);
        check(&list, "10.0.0.8", &["192.168.0.1,"], true, false);
        check(&list, "10.0.0.8", &[""], true, false);
        // It tells nobody: the proxy itself asks.
        check(&list, "10.0.0.7", &[], true, true);
    }

    #[test]
    fn a_bad_list_is_explained() {
        for (sources, word) in
            [(&["10.0.0.0/33"][..], "10.0.0.0/33"), (&["x"][..], "\"x\""), (&[][..], "nobody")]
        {
            let sources: Vec<String> = sources.iter().map(|s| (*s).to_owned()).collect();
            assert!(AllowList::new(&sources, false).expect_err("a bad one").contains(word));
        }
    }
}
