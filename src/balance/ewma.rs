//! Least time: who will most likely answer first.
//!
//! For each server, the time its answers took (peak-EWMA: up at once, down slowly, as in Finagle) times the requests it
//! would then have under way. What was measured a while ago says less and less: a slow server is asked again now and
//! then, and one that was never asked is found out about without all requests running there.

use super::{Candidate, Moment, least};

/// A server that always fails counts as one that takes so much longer: failing fast is not being fast.
const FAILURE_US: f64 = 1_000_000.0;

/// Whom nobody knows is taken to be so much of the best one: fast enough to be asked, and not so fast that it is asked
/// twice before it has answered, unless the best one is busy too.
const GUESS: f64 = 0.6;

/// The one that promises to answer first, by weight; of several such the first, or any.
pub(crate) fn soonest<'s>(
    servers: impl Iterator<Item = Candidate<'s>> + Clone,
    Moment { now_ms, random }: Moment,
) -> Option<usize> {
    let felt_us = |server: &Candidate<'_>| {
        let measured = server.live.response(now_ms)?;
        Some((measured.peak_us + server.live.failure_ratio() * FAILURE_US, measured))
    };
    let best_us = servers.clone().filter_map(|server| Some(felt_us(&server)?.0)).reduce(f64::min);
    let guess_us = best_us.map_or(1.0, |best_us| best_us * GUESS);
    let promised = servers.map(|server| {
        let us = match felt_us(&server) {
            None => guess_us,
            Some((us, measured)) => guess_us + (us - guess_us) * measured.worth(),
        };
        let active = server.live.active() as f64 + 1.0;
        (server.index, us.max(1.0) * active / server.weight)
    });
    least(promised, random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{candidates, servers};
    use crate::live::ServerLive;

    const NOW_MS: u64 = 1_000_000;
    const NOW: Moment = Moment { now_ms: NOW_MS, random: || 0 };

    /// What a server has done: the time of its last answer, how long ago that was, and the requests under way.
    #[derive(Clone, Copy)]
    struct Did(Option<(u64, u64)>, u64);

    fn of(live: &ServerLive, Did(answer, active): Did) {
        if let Some((us, ago_ms)) = answer {
            live.answered_after(us, NOW_MS - ago_ms);
        }
        (0..active).for_each(|_| live.begin());
    }

    #[track_caller]
    fn check(weights: &[u32], did: &[Did], expected: Option<usize>) {
        let servers = servers(weights);
        servers.iter().zip(did).for_each(|((_, live), &did)| of(live, did));
        assert_eq!(soonest(candidates(&servers), NOW), expected);
    }

    #[test]
    fn the_fastest_until_it_has_too_much_to_do() {
        check(&[1, 1], &[Did(Some((50_000, 0)), 0), Did(Some((10_000, 0)), 0)], Some(1));
        check(&[1, 1], &[Did(Some((50_000, 0)), 0), Did(Some((10_000, 0)), 3)], Some(1));
        check(&[1, 1], &[Did(Some((50_000, 0)), 0), Did(Some((10_000, 0)), 5)], Some(0));
        check(&[1, 2], &[Did(Some((10_000, 0)), 1), Did(Some((10_000, 0)), 2)], Some(1));
    }

    #[test]
    fn nobody_was_measured() {
        check(&[1, 1], &[Did(None, 1), Did(None, 0)], Some(1));
        check(&[1, 1], &[Did(None, 0), Did(None, 0)], Some(0));
        check(&[0], &[Did(None, 0)], None);
        check(&[], &[], None);
    }

    #[test]
    fn a_new_one_is_found_out_about_without_a_stampede() {
        check(&[1, 1], &[Did(Some((10_000, 0)), 0), Did(None, 0)], Some(1));
        check(&[1, 1], &[Did(Some((10_000, 0)), 0), Did(None, 1)], Some(0));
        check(&[1, 1], &[Did(Some((10_000, 0)), 9), Did(None, 20)], Some(0));
    }

    #[test]
    fn a_slow_one_is_asked_again_after_a_while() {
        check(&[1, 1], &[Did(Some((10_000, 0)), 0), Did(Some((90_000, 5_000)), 0)], Some(0));
        check(&[1, 1], &[Did(Some((10_000, 0)), 0), Did(Some((90_000, 60_000)), 0)], Some(1));
    }

    #[test]
    fn one_that_fails_fast_is_not_fast() {
        let servers = servers(&[1, 1]);
        of(&servers[0].1, Did(Some((20_000, 0)), 0));
        for _ in 0..8 {
            servers[1].1.begin();
            servers[1].1.waited_for(100, NOW_MS);
            servers[1].1.end(true);
        }
        assert_eq!(soonest(candidates(&servers), NOW), Some(0));
    }
}
