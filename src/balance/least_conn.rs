//! Least connections: the server with the fewest requests under way, by weight.
//!
//! For answers that take very different times: where one server is held up, the next request goes past it.

use super::{Candidate, least};

/// The one with the fewest requests under way for its weight; of several such the first, or any.
pub(crate) fn fewest<'s>(
    servers: impl Iterator<Item = Candidate<'s>>,
    random: fn() -> u64,
) -> Option<usize> {
    // Not counting the request to come, as nginx does: where nobody has anything to do, turns decide by weight.
    let load = |server: Candidate<'_>| server.live.active() as f64 / server.weight;
    least(servers.map(|server| (server.index, load(server))), random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{candidates, servers};

    #[track_caller]
    fn check(weights: &[u32], active: &[u64], expected: Option<usize>) {
        let servers = servers(weights);
        for ((_, live), &active) in servers.iter().zip(active) {
            (0..active).for_each(|_| live.begin());
        }
        assert_eq!(fewest(candidates(&servers), || 0), expected, "{weights:?} {active:?}");
    }

    #[test]
    fn the_one_with_the_fewest_for_its_weight() {
        check(&[1, 1, 1], &[2, 1, 3], Some(1));
        check(&[1, 3], &[1, 2], Some(1));
        check(&[1, 3], &[1, 4], Some(0));
        check(&[0, 1], &[0, 9], Some(1));
    }

    #[test]
    fn the_first_of_equals() {
        check(&[1, 1], &[0, 0], Some(0));
        check(&[1, 2], &[1, 2], Some(0));
        check(&[], &[], None);
        check(&[0], &[0], None);
    }
}
