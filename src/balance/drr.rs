//! Dynamic round robin: weights that follow how well each server answers.
//!
//! A server whose answers fail more often than those of the best one, or take much longer, gets less: down to a
//! sixteenth of its weight, enough to notice that it has recovered. What it is measured by is kept across changes.

use super::{Candidate, by_share};
use crate::live::ServerLive;

/// What a failing or slow server keeps of its weight.
const SHARE_MIN: f64 = 1.0 / 16.0;

/// Answers that take up to so many times as long as those of the fastest server are as good: weights are to mean what
/// they say where all are well.
const SLOW_FROM: f64 = 2.0;

/// Servers that answer within this time do not differ.
const FAST_US: f64 = 2_000.0;

/// Draws one of the servers by weight and quality; none where there is none. `random` is spread over the whole range of
/// u64.
pub(crate) fn draw<'s>(
    servers: impl Iterator<Item = Candidate<'s>> + Clone,
    random: u64,
) -> Option<usize> {
    let best = Best::of(servers.clone());
    by_share(servers, |server| server.weight * best.quality(server.live), random)
}

/// How well the best one does, each way.
struct Best {
    failure_ratio: f64,
    mean_us: f64,
}

impl Best {
    fn of<'s>(servers: impl Iterator<Item = Candidate<'s>>) -> Self {
        let worst = Self { failure_ratio: 1.0, mean_us: f64::INFINITY };
        servers.fold(worst, |best, server| Self {
            failure_ratio: best.failure_ratio.min(server.live.failure_ratio()),
            mean_us: best.mean_us.min(server.live.mean_us().unwrap_or(f64::INFINITY)),
        })
    }

    /// From [`SHARE_MIN`] to 1.
    fn quality(&self, live: &ServerLive) -> f64 {
        let by_failures = 1.0 - (live.failure_ratio() - self.failure_ratio).max(0.0);
        // One that was never measured is as good as any.
        let by_time = live
            .mean_us()
            .map_or(1.0, |mean_us| (self.mean_us.max(FAST_US) * SLOW_FROM / mean_us).min(1.0));
        (by_failures * by_time).max(SHARE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{candidates, servers};

    /// What a server did: whether all failed, and how long an answer took.
    const WELL: (bool, Option<u64>) = (false, None);
    const FAILING: (bool, Option<u64>) = (true, None);
    const fn taking(us: u64) -> (bool, Option<u64>) {
        (false, Some(us))
    }

    #[track_caller]
    fn check(weights: &[u32], did: &[(bool, Option<u64>)], expected: &[usize]) {
        let servers = servers(weights);
        for ((_, live), &(fails, took_us)) in servers.iter().zip(did) {
            for now_ms in 1..200 {
                live.begin();
                took_us.into_iter().for_each(|us| live.answered_after(us, now_ms));
                live.end(fails);
            }
        }
        let mut counts = vec![0; servers.len()];
        let step = u64::MAX / 1_000;
        for i in 0..1_000 {
            counts[draw(candidates(&servers), i * step + step / 2).expect("somebody")] += 1;
        }
        assert_eq!(counts, expected, "{weights:?} {did:?}");
    }

    #[test]
    fn healthy_servers_share_by_weight() {
        check(&[1, 3], &[WELL, WELL], &[250, 750]);
        check(&[1, 0], &[WELL, WELL], &[1_000, 0]);
        check(&[1, 3], &[taking(50_000), taking(90_000)], &[250, 750]);
        check(&[1, 1], &[taking(20), taking(3_000)], &[500, 500]);
    }

    #[test]
    fn a_failing_one_keeps_a_little() {
        check(&[1, 1], &[WELL, FAILING], &[941, 59]);
    }

    #[test]
    fn a_slow_one_gets_less() {
        check(&[1, 1], &[taking(10_000), taking(40_000)], &[667, 333]);
        check(&[1, 1], &[taking(10_000), taking(4_000_000)], &[941, 59]);
        check(&[1, 1], &[taking(10_000), WELL], &[500, 500]);
    }

    #[test]
    fn when_all_do_badly_all_share_alike() {
        check(&[1, 1], &[FAILING, FAILING], &[500, 500]);
        check(&[1, 1], &[taking(900_000), taking(900_000)], &[500, 500]);
    }

    #[test]
    fn nobody_to_draw() {
        assert_eq!(draw(candidates(&servers(&[])), 1), None);
        assert_eq!(draw(candidates(&servers(&[0])), 1), None);
    }
}
