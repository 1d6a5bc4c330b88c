//! Smooth weighted round robin: each server gets its share, spread as evenly as the weights allow.

use smallvec::SmallVec;

/// A round has at most this many turns; larger weights are scaled down to fit, none of them to nothing.
const TURNS_MAX: u64 = 4_096;

/// One whole round, worked out once when a table is compiled: the turn of each server by index.
///
/// With the round written down, a choice is one atomic addition, whichever worker asks; the workers share one
/// round, so that three requests on three connections meet three servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Schedule {
    /// Most backends have one server, and ask for no memory then.
    turns: SmallVec<[u32; 2]>,
}

impl Schedule {
    /// The round for these weights. A weight of 0 gets no turn.
    pub fn new(weights: &[u32]) -> Self {
        let weights = scaled(weights);
        let total: i64 = weights.iter().sum();
        let mut credit = vec![0_i64; weights.len()];
        let mut turns = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
        // nginx's smooth algorithm: everyone earns its weight, the richest is served and pays the total.
        for _ in 0..total {
            for (credit, weight) in credit.iter_mut().zip(&weights) {
                *credit += weight;
            }
            let mut richest = 0;
            for (index, value) in credit.iter().enumerate() {
                if *value > credit[richest] {
                    richest = index;
                }
            }
            credit[richest] -= total;
            turns.push(u32::try_from(richest).expect("a backend has fewer than 2^32 servers"));
        }
        Self { turns: SmallVec::from_slice(&turns) }
    }

    /// Whose turn this is; nobody's where nobody has one. Turns are counted on from round to round.
    pub fn at(&self, turn: usize) -> Option<usize> {
        let place = turn.checked_rem(self.turns.len())?;
        self.turns.get(place).map(|&index| index as usize)
    }

    /// How many turns a round has.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether nobody has a turn.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

/// The weights divided by their common divisor, and scaled down where a round would be too long.
fn scaled(weights: &[u32]) -> Vec<i64> {
    let divisor = u64::from(weights.iter().copied().fold(0, greatest_common_divisor).max(1));
    let total: u64 = weights.iter().map(|&w| u64::from(w) / divisor).sum();
    let scale = |weight: u32| {
        let weight = u64::from(weight) / divisor;
        match total > TURNS_MAX && weight > 0 {
            true => (weight * TURNS_MAX / total).max(1),
            false => weight,
        }
    };
    weights.iter().map(|&w| i64::try_from(scale(w)).unwrap_or(i64::MAX)).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A round that begins at this turn.
    fn round(schedule: &Schedule, first: usize) -> Vec<usize> {
        (first..first + schedule.len()).filter_map(|turn| schedule.at(turn)).collect()
    }

    #[track_caller]
    fn check(weights: &[u32], expected: &[usize]) {
        assert_eq!(round(&Schedule::new(weights), 0), expected);
    }

    #[test]
    fn spreads_the_turns() {
        check(&[1, 1, 1], &[0, 1, 2]);
        check(&[5, 5], &[0, 1]);
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[1, 0], &[0]);
        check(&[0, 0], &[]);
        check(&[], &[]);
    }

    #[test]
    fn begins_anywhere() {
        let schedule = Schedule::new(&[1, 1, 1]);
        assert_eq!(round(&schedule, 4), [1, 2, 0]);
        assert_eq!(Schedule::new(&[]).at(7), None);
    }

    #[test]
    fn a_huge_weight_leaves_a_turn_for_the_small_one() {
        let schedule = Schedule::new(&[u32::MAX, 1]);
        assert!(schedule.len() <= 4_097);
        assert_eq!(round(&schedule, 0).into_iter().filter(|&index| index == 1).count(), 1);
    }

    proptest! {
        #[test]
        fn everyone_gets_exactly_its_share(weights in prop::collection::vec(0_u32..20, 0..12), factor in 1_u32..3_000) {
            let scaled: Vec<u32> = weights.iter().map(|weight| weight * factor).collect();
            let schedule = Schedule::new(&scaled);
            let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
            for (index, weight) in weights.iter().enumerate() {
                let turns = round(&schedule, 3).into_iter().filter(|&turn| turn == index).count();
                prop_assert_eq!(turns, (weight / divisor) as usize);
            }
        }

        /// However large weights are, a round is bounded, and who has a weight has a turn, and no fewer than who has less.
        #[test]
        fn large_weights_keep_their_order(weights in prop::collection::vec(prop_oneof![0_u32..4, any::<u32>()], 0..12)) {
            let schedule = Schedule::new(&weights);
            prop_assert!(schedule.len() as u64 <= TURNS_MAX + weights.len() as u64);
            let turns = |index| round(&schedule, 0).into_iter().filter(|&turn| turn == index).count();
            let mut all: Vec<(u32, usize)> = weights.iter().copied().zip((0..).map(turns)).collect();
            prop_assert!(all.iter().all(|(weight, turns)| (*weight > 0) == (*turns > 0)));
            all.sort_unstable();
            prop_assert!(all.is_sorted_by_key(|(_, turns)| *turns), "{:?}", all);
        }
    }
}
