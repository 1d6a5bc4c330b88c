//! The power of two choices: two servers are drawn, and the one with less to do gets the request.
//!
//! Nearly as even as looking at all of them, at the price of two, and without all workers running to the same one
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").

/// The one with less load of two that are drawn; the first where they have the same.
///
/// `draw` gives a server by chance, by weight, another one than it is told where there is one.
pub(crate) fn lighter(
    draw: impl Fn(Option<usize>) -> Option<usize>,
    load: impl Fn(usize) -> f64,
) -> Option<usize> {
    let one = draw(None)?;
    match draw(Some(one)) {
        Some(other) if load(other) < load(one) => Some(other),
        _ => Some(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(drawn: &[usize], loads: &[f64], expected: Option<usize>) {
        let draw = |but: Option<usize>| drawn.iter().copied().find(|&index| Some(index) != but);
        assert_eq!(lighter(draw, |index| loads[index]), expected);
    }

    #[test]
    fn the_one_with_less_to_do() {
        check(&[0, 1], &[3.0, 2.0], Some(1));
        check(&[1, 0], &[3.0, 2.0], Some(1));
        check(&[2, 0], &[1.0, 0.0, 1.0], Some(2));
        check(&[0], &[9.0], Some(0));
        check(&[], &[], None);
    }

    /// What the method is named after: far more even than chance alone.
    #[test]
    fn the_fullest_of_many_is_hardly_fuller_than_the_others() {
        let most = |choices: bool| {
            let mut random = fastrand::Rng::with_seed(7);
            let mut loads = [0.0; 100];
            for _ in 0..10_000 {
                let pair = [random.usize(..100), random.usize(..100)];
                let draw = |but: Option<usize>| match but {
                    None => Some(pair[0]),
                    Some(_) => Some(pair[1]).filter(|_| choices),
                };
                let index = lighter(draw, |index| loads[index]).expect("somebody");
                loads[index] += 1.0;
            }
            loads.into_iter().fold(0.0, f64::max)
        };
        assert!(most(true) <= 104.0, "{}", most(true));
        assert!(most(false) > 115.0, "{}", most(false));
    }
}
