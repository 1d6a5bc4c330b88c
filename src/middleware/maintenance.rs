//! Answers in the place of servers that are being worked on.
//!
//! Everybody gets 503, and is told when to come again; those who do the work may pass.

use ipnet::IpNet;

use crate::middleware::{Answer, Flow, Handler};
use crate::model::Exchange;

/// `traefik.frontend.maintenance: 10m`, `traefik.frontend.maintenanceExcept: 10.0.0.0/8`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Maintenance {
    /// When it is worth to come again, in seconds.
    pub retry_after_s: u64,
    /// Who may pass.
    pub except: Vec<IpNet>,
}

impl Maintenance {
    /// When it is worth to come again where nobody says, in seconds.
    pub const RETRY_AFTER_S: u64 = 60;
}

/// What people see.
const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>Maintenance</title>\
    <body style=\"font:1.1em system-ui,sans-serif;margin:20vh auto;max-width:30em;padding:0 1em\">\
    <h1>Maintenance</h1><p>This service is being worked on. Please come again in a while.</p></body></html>\n";

impl Handler for Maintenance {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        // Of whom nobody knows who it is, it is not known that it may pass.
        let ip = exchange.told_ip().map(|ip| ip.to_canonical());
        if ip.is_some_and(|ip| self.except.iter().any(|network| network.contains(&ip))) {
            return Flow::Continue;
        }
        let mut answer = Answer::new(503)
            .because("it is in maintenance")
            .line("Content-Type", "text/html; charset=utf-8")
            .line("Cache-Control", "no-store")
            .line("Retry-After", self.retry_after_s.to_string());
        answer.body = Some(PAGE.as_bytes().to_vec());
        Flow::Answer(answer)
    }

    fn describe(&self) -> String {
        let networks: Vec<String> = self.except.iter().map(IpNet::to_string).collect();
        match networks.is_empty() {
            true => "maintenance".to_owned(),
            false => format!("maintenance, except for {}", networks.join(", ")),
        }
    }

    fn acts(&self, _: u64) -> Option<String> {
        Some("in maintenance: answers 503".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::testing::Line;
    use crate::model::network;

    #[track_caller]
    fn check(except: &[&str], ip: &str, passes: bool) {
        let except = except.iter().map(|text| network(text).expect("a network")).collect();
        let step = Maintenance { retry_after_s: 600, except };
        let mut exchange = Exchange::new("http", "GET", "web.local", "/", &());
        exchange.sender.ip = ip.parse().expect("an address");
        match step.on_request(&mut exchange) {
            Flow::Continue => assert!(passes, "{ip} passes"),
            Flow::Answer(answer) => {
                assert!(!passes, "{ip} does not pass");
                assert_eq!(answer.status, 503);
                assert!(answer.lines.contains(&("Retry-After".into(), "600".to_owned())));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn those_who_do_the_work_pass() {
        check(&[], "10.0.0.1", false);
        check(&["10.0.0.0/8", "2001:db8::/32"], "10.0.0.1", true);
        check(&["10.0.0.0/8", "2001:db8::/32"], "::ffff:10.0.0.1", true);
        check(&["10.0.0.0/8", "2001:db8::/32"], "2001:db8::1", true);
        check(&["10.0.0.0/8", "2001:db8::/32"], "192.0.2.1", false);
        check(&["192.0.2.1"], "192.0.2.1", true);
    }

    #[test]
    fn nobody_passes_whom_a_trusted_proxy_does_not_tell() {
        let proxy = network("10.0.0.1").expect("a network");
        let step = Maintenance { retry_after_s: 600, except: vec![proxy] };
        for (told, passes) in [("10.0.0.1", true), ("unknown", false), ("192.0.2.1", false)] {
            let lines = Line("x-forwarded-for", told);
            let mut exchange = Exchange::new("http", "GET", "web.local", "/", &lines);
            exchange.sender.ip = proxy.addr();
            exchange.sender.is_trusted = true;
            assert_eq!(matches!(step.on_request(&mut exchange), Flow::Continue), passes, "{told}");
        }
    }
}
