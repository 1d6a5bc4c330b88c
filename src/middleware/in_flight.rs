//! Bounds how many requests are under way at once: Traefik 1.7's `maxconn` (vulcand/oxy, connlimit/connlimit.go).
//!
//! A request counts from here to the end of its answer, and a WebSocket as long as it is open. However it ends, also by
//! a client that leaves, whoever follows it is dropped then, and with it the count. Counts belong to the backend,
//! whichever frontend and worker a request comes by, and outlive every change of its configuration.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::window::{SECONDS, Window};
use crate::middleware::{Answer, Extractor, Flow, Handler, Keep, kept};
use crate::model::{Exchange, Follower};

/// `amount: 10` by `client.ip` lets each client have ten requests under way.
#[derive(Clone, Debug)]
pub struct InFlight {
    amount: u32,
    by: Extractor,
    counts: Arc<Counts>,
}

/// What is under way at a backend. It has as many entries as there are requests under way, at most.
#[derive(Debug)]
struct Counts {
    /// Several, so that workers seldom wait for one another.
    shards: [Mutex<HashMap<u64, u32>>; SHARDS],
    secret: RandomState,
    refused: Window,
}

const SHARDS: usize = 16;

impl InFlight {
    /// A bound for a backend, with what is under way there already.
    ///
    /// # Errors
    /// A clause without a full stop that says what is wrong with the amount.
    pub fn new(amount: i64, by: Extractor, backend: &str, keep: &dyn Keep) -> Result<Self, String> {
        Ok(Self { amount: Self::amount(amount)?, by, counts: kept(keep, backend, Counts::default) })
    }

    /// The amount as it is meant.
    ///
    /// # Errors
    /// A clause without a full stop that says what is wrong with it.
    pub fn amount(amount: i64) -> Result<u32, String> {
        match u32::try_from(amount) {
            Ok(amount @ 1..) => Ok(amount),
            _ if amount > 0 => Ok(u32::MAX),
            _ => Err(format!("{amount} is not at least 1")),
        }
    }
}

impl Handler for InFlight {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let key = self.by.key(exchange, &self.counts.secret);
        match Counts::enter(&self.counts, key, self.amount) {
            Some(place) => {
                exchange.follow(place);
                Flow::Continue
            }
            None => {
                self.counts.refused.add(exchange.sender.now_ms, 0);
                let mut answer = Answer::new(429)
                    .because("too many requests of its kind are under way")
                    .line("Content-Type", "text/plain; charset=utf-8");
                answer.body =
                    Some(format!("max connections reached: {}\n", self.amount).into_bytes());
                Flow::Answer(answer)
            }
        }
    }

    fn describe(&self) -> String {
        format!("at most {} requests under way by {}", self.amount, self.by)
    }

    fn leaves_traces(&self) -> bool {
        true
    }

    fn acts(&self, now_ms: u64) -> Option<String> {
        let refused = self.counts.refused.count(now_ms, 0);
        (refused > 0).then(|| format!("refused {refused} in the last {SECONDS} s"))
    }
}

impl Default for Counts {
    fn default() -> Self {
        let (shards, secret) = (Default::default(), RandomState::new());
        Self { shards, secret, refused: Window::new(1) }
    }
}

impl Counts {
    /// One more for this key, unless there are so many already.
    fn enter(counts: &Arc<Self>, key: u64, amount: u32) -> Option<UnderWay> {
        let mut shard = counts.shard(key);
        let count = shard.get(&key).copied().unwrap_or_default();
        if count >= amount {
            return None;
        }
        shard.insert(key, count + 1);
        Some(UnderWay { counts: Arc::clone(counts), key })
    }

    fn leave(&self, key: u64) {
        let mut shard = self.shard(key);
        match shard.get_mut(&key) {
            Some(count @ 2..) => *count -= 1,
            _ => {
                shard.remove(&key);
            }
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, u32>> {
        let shards = u64::try_from(SHARDS).expect("a few");
        let shard = usize::try_from(key % shards).expect("one of a few");
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until it is dropped.
#[derive(Debug)]
struct UnderWay {
    counts: Arc<Counts>,
    key: u64,
}

impl Follower for UnderWay {}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.counts.leave(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::shelf::Shelf;
    use crate::model::Changes;

    fn limit(amount: i64, shelf: &Shelf) -> InFlight {
        InFlight::new(amount, Extractor::ClientIp, "docker/web", shelf).expect("a good one")
    }

    /// A request from this address: it is under way as long as its changes are there.
    fn come(limit: &InFlight, ip: &str) -> Result<Box<Changes>, Box<Answer>> {
        let mut exchange = Exchange::new("http", "GET", "web.local", "/", &());
        exchange.sender.ip = ip.parse().expect("an address");
        match limit.on_request(&mut exchange) {
            Flow::Continue => Ok(exchange.take_changes().expect("somebody who counts")),
            Flow::Answer(answer) => Err(answer),
            other => panic!("{other:?}"),
        }
    }

    fn entries(limit: &InFlight) -> usize {
        let len = |shard: &Mutex<HashMap<_, _>>| shard.lock().expect("not poisoned").len();
        limit.counts.shards.iter().map(len).sum()
    }

    #[test]
    fn one_that_ends_makes_room_for_another() {
        let limit = limit(2, &Shelf::default());
        let (first, _second) = (come(&limit, "10.0.0.1"), come(&limit, "10.0.0.1"));
        let refused = come(&limit, "10.0.0.1").err().expect("refused");
        assert_eq!(refused.status, 429);
        assert_eq!(refused.body.as_deref(), Some(&b"max connections reached: 2\n"[..]));
        assert!(come(&limit, "10.0.0.2").is_ok());
        assert_eq!(limit.acts(0).as_deref(), Some("refused 1 in the last 10 s"));
        drop(first);
        assert!(come(&limit, "10.0.0.1").is_ok());
    }

    #[test]
    fn nothing_is_left_of_those_that_ended() {
        let limit = limit(10, &Shelf::default());
        let ip = |n: u32| std::net::Ipv4Addr::from_bits(n).to_string();
        let all: Vec<_> = (0..1_000).map(|n| come(&limit, &ip(n / 2))).collect();
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(entries(&limit), 500);
        drop(all);
        assert_eq!(entries(&limit), 0);
    }

    #[test]
    fn a_change_keeps_what_is_under_way() {
        let shelf = Shelf::default();
        let under_way = [(); 2].map(|()| come(&limit(2, &shelf), "10.0.0.1").expect("room"));
        assert!(come(&limit(2, &shelf), "10.0.0.1").is_err());
        let third = come(&limit(3, &shelf), "10.0.0.1").expect("more room");
        assert!(come(&limit(1, &shelf), "10.0.0.1").is_err());
        drop((under_way, third));
        assert!(come(&limit(1, &shelf), "10.0.0.1").is_ok());
    }

    #[test]
    fn an_amount_is_at_least_one() {
        assert_eq!(InFlight::amount(1), Ok(1));
        assert_eq!(InFlight::amount(i64::MAX), Ok(u32::MAX));
        assert!(InFlight::amount(0).is_err() && InFlight::amount(-1).is_err());
    }
}
