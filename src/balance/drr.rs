//! Dynamic round robin: weights that follow how well each server answers.
//!
//! A server whose answers fail more often than those of the best one gets less, down to a sixteenth of its
//! weight: enough to notice that it has recovered.

/// What a failing server keeps of its weight.
const SHARE_MIN: f64 = 1.0 / 16.0;

/// Draws one of the servers, given each one's weight and moving failure ratio (0.0 to 1.0).
///
/// Returns none where all weights are 0 or the list is empty. `random` is spread over the whole range of u64.
pub(crate) fn draw(
    servers: impl Iterator<Item = (u32, f64)> + Clone,
    random: u64,
) -> Option<usize> {
    let best = servers.clone().filter(|s| s.0 > 0).map(|(_, ratio)| ratio).fold(1.0, f64::min);
    let share = |(weight, ratio): (u32, f64)| {
        f64::from(weight) * (1.0 - (ratio - best).max(0.0)).max(SHARE_MIN)
    };
    let total: f64 = servers.clone().map(share).sum();
    if total <= 0.0 {
        return None;
    }
    // 53 bits are what an f64 holds exactly.
    let mut point = (random >> 11) as f64 / (1_u64 << 53) as f64 * total;
    let mut last = None;
    for (index, server) in servers.enumerate().filter(|(_, s)| s.0 > 0) {
        last = Some(index);
        point -= share(server);
        if point < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shares(servers: &[(u32, f64)]) -> Vec<usize> {
        let mut counts = vec![0; servers.len()];
        let step = u64::MAX / 1_000;
        for i in 0..1_000 {
            counts[draw(servers.iter().copied(), i * step + step / 2).expect("somebody")] += 1;
        }
        counts
    }

    #[test]
    fn healthy_servers_share_by_weight() {
        assert_eq!(shares(&[(1, 0.0), (3, 0.0)]), [250, 750]);
        assert_eq!(shares(&[(1, 0.0), (0, 0.0)]), [1_000, 0]);
    }

    #[test]
    fn a_failing_one_keeps_a_little() {
        assert_eq!(shares(&[(1, 0.0), (1, 1.0)]), [941, 59]);
    }

    #[test]
    fn when_all_fail_alike_all_share_alike() {
        assert_eq!(shares(&[(1, 0.8), (1, 0.8)]), [500, 500]);
    }

    #[test]
    fn nobody_to_draw() {
        assert_eq!(draw([].into_iter(), 1), None);
        assert_eq!(draw([(0, 0.0)].into_iter(), 1), None);
    }
}
