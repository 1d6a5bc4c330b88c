//! Consistent hashing: the same key meets the same server, whichever worker or Herder is asked.
//!
//! Rendezvous hashing by weight (Thaler and Ravishankar): each server draws a lot for the key, and the best one has it.
//! When a server goes, only its own keys move, each to whoever came second; when one comes, it takes its share and
//! nothing else moves. There is no table to build: a change of weights, a rest or a slow start is seen at the next request.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::{Candidate, least, sticky, unit};
use crate::config::HashKey;
use crate::live::ServerKey;
use crate::model::Exchange;

/// What decides about the server, as a number; none where the request has no such line or cookie.
pub(crate) fn key_of(key: &HashKey, exchange: &Exchange<'_>) -> Option<u64> {
    let number = match key {
        HashKey::ClientIp => match exchange.client_ip().to_canonical() {
            IpAddr::V4(ip) => number(&ip.octets()),
            IpAddr::V6(ip) => number(&ip.octets()),
        },
        HashKey::Host => number(exchange.host.as_bytes()),
        HashKey::Header(name) => number(exchange.head.header(name)?),
        HashKey::Cookie(name) => {
            sticky::look_up(exchange.head, name, |value| number(value.as_bytes()))?
        }
    };
    Some(number)
}

/// What a server is known by: the same everywhere and always.
pub(crate) fn seed(server: &ServerKey) -> u64 {
    let (backend, scheme, addr) = server;
    let digest = Sha256::digest(format!("hash {backend} {} {addr}", scheme.as_str()));
    digest.iter().take(8).fold(0, |number, &byte| (number << 8) | u64::from(byte))
}

/// The server that this key belongs to.
pub(crate) fn owner<'s>(key: u64, servers: impl Iterator<Item = Candidate<'s>>) -> Option<usize> {
    // The waiting times of exponential clocks: the chance to ring first is the share of the weights.
    let wait = |server: &Candidate<'_>| {
        let lot = unit(mixed(key ^ server.seed));
        -(1.0 - lot).ln() / server.weight
    };
    // Two lots are never the same, but for one in 2^53.
    least(servers.map(|server| (server.index, wait(&server))), || 0)
}

/// FNV-1a, whose answer is the same in every version, made even.
fn number(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed(hash)
}

/// Each bit of the input moves half of the output's (the end of SplitMix64).
fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balance::testing::{candidates, servers};
    use crate::live::ServerLive;
    use crate::model::{Head, Sender};

    const KEYS: u64 = 4_000;

    /// Whom each of many keys belongs to, where some servers are left out.
    fn owners(servers: &[(u32, ServerLive)], without: &[usize]) -> Vec<Option<usize>> {
        let keys = (0..KEYS).map(|key| number(&key.to_be_bytes()));
        let left = |server: &Candidate<'_>| !without.contains(&server.index);
        keys.map(|key| owner(key, candidates(servers).filter(left))).collect()
    }

    #[test]
    fn each_has_its_share() {
        let servers = servers(&[1, 1, 2, 0]);
        let owners = owners(&servers, &[]);
        let share = |index| {
            let own = owners.iter().filter(|&&owner| owner == Some(index)).count();
            own as f64 / owners.len() as f64
        };
        for (index, expected) in [0.25, 0.25, 0.5, 0.0].into_iter().enumerate() {
            assert!((share(index) - expected).abs() < 0.03, "{index}: {}", share(index));
        }
        assert_eq!(owner(7, candidates(&[])), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn only_what_must_move_moves(weights in prop::collection::vec(1_u32..6, 2..9), gone in any::<prop::sample::Index>()) {
            let servers = servers(&weights);
            let gone = gone.index(servers.len());
            let (before, after) = (owners(&servers, &[]), owners(&servers, &[gone]));
            for (before, after) in before.into_iter().zip(after) {
                prop_assert!(before == after || before == Some(gone), "{before:?} {after:?}");
                prop_assert!(after != Some(gone));
            }
        }

        #[test]
        fn a_larger_weight_only_draws_keys_to_itself(weights in prop::collection::vec(1_u32..6, 2..9), grown in any::<prop::sample::Index>()) {
            let grown = grown.index(weights.len());
            let mut more = weights.clone();
            more[grown] += 3;
            let (before, after) = (owners(&servers(&weights), &[]), owners(&servers(&more), &[]));
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
            let moved: Vec<_> = moved.collect();
            prop_assert!(moved.iter().all(|(_, after)| **after == Some(grown)));
            let share = |weights: &[u32]| f64::from(weights[grown]) / f64::from(weights.iter().sum::<u32>());
            let expected = share(&more) - share(&weights);
            let share = moved.len() as f64 / KEYS as f64;
            prop_assert!((share - expected).abs() < 0.04, "{share} of the keys moved, not {expected}");
        }
    }

    struct Lines(&'static [(&'static str, &'static str)]);

    impl Head for Lines {
        fn header(&self, name: &str) -> Option<&[u8]> {
            self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_bytes())
        }

        fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.iter().any(|(own, value)| *own == name && test(value.as_bytes()))
        }

        fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
            self.0.iter().for_each(|(name, value)| see(name, value.as_bytes()));
        }
    }

    #[test]
    fn the_key_is_what_was_asked_for() {
        let key = |by: &str, ip: &str, host: &str, lines: &'static [(&str, &str)]| {
            let lines = Lines(lines);
            let mut exchange = Exchange::new("http", "GET", host, "/", &lines);
            exchange.sender = Sender { ip: ip.parse().expect("an address"), ..Sender::default() };
            key_of(&by.parse().expect("a key"), &exchange)
        };
        let (a, b) =
            (key("client.ip", "10.0.0.1", "a", &[]), key("client.ip", "10.0.0.2", "a", &[]));
        assert!(a.is_some() && a != b);
        assert_eq!(a, key("client.ip", "::ffff:10.0.0.1", "b", &[("x-user", "me")]));
        assert_eq!(key("request.host", "::1", "A.t:80", &[]), Some(number(b"a.t")));
        let lines = &[("x-user", "me"), ("cookie", "a=1; sid=me")];
        assert_eq!(key("request.header.X-User", "::1", "a", lines), Some(number(b"me")));
        assert_eq!(key("request.cookie.sid", "::1", "a", lines), Some(number(b"me")));
        assert_eq!(key("request.cookie.other", "::1", "a", lines), None);
        let lines = &[("cookie", "a=1"), ("cookie", "sid=me; b=2"), ("cookie", "sid=you")];
        assert_eq!(key("request.cookie.sid", "::1", "a", lines), Some(number(b"me")));
        assert_eq!(key("request.header.X-Other", "::1", "a", lines), None);
    }
}
