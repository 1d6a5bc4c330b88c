//! Which server is next. Plain functions: the time and the random number come in.
//!
//! One file for each method. The backend hands it those that may be chosen, in the order in which ties fall.

mod drr;
mod ewma;
mod hash;
mod least_conn;
mod p2c;
pub mod sticky;
mod wrr;

pub use wrr::Schedule;

pub(crate) use drr::draw;
pub(crate) use ewma::soonest;
pub(crate) use hash::{key_of, owner, seed};
pub(crate) use least_conn::fewest;
pub(crate) use p2c::lighter;

use crate::live::ServerLive;

/// What a choice may depend on, besides the servers themselves.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The proxy's monotonic clock, in milliseconds.
    pub now_ms: u64,
    /// Where random numbers come from: few choices need one.
    pub random: fn() -> u64,
}

/// A server that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'s> {
    /// Its place in the backend.
    pub(crate) index: usize,
    /// Its share, more than 0: what was asked for, less while it starts slowly.
    pub(crate) weight: f64,
    /// What `hash` knows it by.
    pub(crate) seed: u64,
    /// How it is doing.
    pub(crate) live: &'s ServerLive,
}

/// The one with the least. Of several such the very first, whose turn it is; where that one has more, any of them: were it
/// the next in order, whoever stands behind a busy server would have twice its share.
fn least(servers: impl Iterator<Item = (usize, f64)>, random: fn() -> u64) -> Option<usize> {
    let (mut found, mut least, mut ties) = (None, f64::INFINITY, 0.0);
    let mut first = None;
    for (index, value) in servers {
        first = first.or(Some(index));
        if found.is_none() || value < least {
            (found, least, ties) = (Some(index), value, 1.0);
        } else if value == least && found != first {
            ties += 1.0;
            if unit(random()) * ties < 1.0 {
                found = Some(index);
            }
        }
    }
    found
}

/// One of these by chance and weight; none where there is none. `random` is spread over the whole range of u64.
pub(crate) fn by_weight<'s>(
    servers: impl Iterator<Item = Candidate<'s>> + Clone,
    random: u64,
) -> Option<usize> {
    by_share(servers, |server| server.weight, random)
}

/// The same by something else than its weight.
fn by_share<'s>(
    servers: impl Iterator<Item = Candidate<'s>> + Clone,
    share: impl Fn(&Candidate<'s>) -> f64,
    random: u64,
) -> Option<usize> {
    let total: f64 = servers.clone().map(|server| share(&server)).sum();
    let mut point = unit(random) * total;
    let mut last = None;
    for server in servers {
        last = Some(server.index);
        point -= share(&server);
        if point < 0.0 {
            break;
        }
    }
    last
}

/// A random number from 0.0 (included) to 1.0 (not).
pub(crate) fn unit(random: u64) -> f64 {
    // 53 bits are what an f64 holds exactly.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each has the least, in hundredths.
    #[track_caller]
    fn check(values: &[f64], expected: &[usize]) {
        fastrand::seed(7);
        let mut counts = vec![0; values.len()];
        for _ in 0..10_000 {
            let servers = values.iter().copied().enumerate();
            counts[least(servers, || fastrand::u64(..)).expect("somebody")] += 1;
        }
        let shares: Vec<usize> = counts.iter().map(|count: &usize| (count + 50) / 100).collect();
        let is_near = |(share, expected): (&usize, &usize)| share.abs_diff(*expected) <= 2;
        assert!(shares.iter().zip(expected).all(is_near), "{values:?}: {shares:?}");
    }

    #[test]
    fn ties_are_the_first_ones_or_anyones() {
        check(&[1.0, 1.0, 1.0], &[100, 0, 0]);
        check(&[2.0, 1.0, 1.0, 1.0], &[0, 33, 33, 33]);
        check(&[2.0, 1.0, 3.0, 1.0], &[0, 50, 0, 50]);
        check(&[3.0, 2.0, 1.0], &[0, 0, 100]);
        check(&[f64::INFINITY], &[100]);
        assert_eq!(least(std::iter::empty(), || 0), None);
    }
}

/// Servers for the tests of the methods.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// One for each weight, without a request so far.
    pub(crate) fn servers(weights: &[u32]) -> Vec<(u32, ServerLive)> {
        weights.iter().map(|&weight| (weight, ServerLive::default())).collect()
    }

    /// As the backend hands them over.
    pub(crate) fn candidates(
        servers: &[(u32, ServerLive)],
    ) -> impl Iterator<Item = Candidate<'_>> + Clone {
        let willing = servers.iter().enumerate().filter(|(_, (weight, _))| *weight > 0);
        willing.map(|(index, (weight, live))| {
            let seed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Candidate { index, weight: f64::from(*weight), seed, live }
        })
    }
}
