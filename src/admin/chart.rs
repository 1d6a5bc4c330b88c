//! Small charts as lines of SVG: drawn here for whoever has no script, and carried on by the page's script.
//!
//! A chart is as wide as it has samples and 100 high; the script reads the values back from the points.

use super::rates::{SAMPLES_MAX, Sample};

/// The samples of a row's chart: a minute.
const ROW_SAMPLES: usize = 60;

/// Above and below the lines, so that their strokes are seen whole.
const EDGE: u64 = 3;

/// The height of the highest value.
const RISE: u64 = 100 - 2 * EDGE;

/// What is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    /// Requests a second, and errors.
    Load,
    /// The median of response times, and what 99 of 100 stay below.
    Time,
}

/// A chart, ready for the templates.
pub(super) struct Chart {
    /// Whose it is, as in the events; `total` for all together.
    pub(super) key: String,
    /// `load` or `time`.
    pub(super) kind: &'static str,
    pub(super) label: String,
    /// How many samples fit.
    pub(super) width: usize,
    /// The value at the top.
    pub(super) top: u64,
    /// The points of the two lines.
    pub(super) first: String,
    pub(super) second: String,
}

impl Chart {
    /// The chart of everything together.
    pub(super) fn of_total(what: What, samples: &[Sample]) -> Self {
        Self::new(what, "total".to_owned(), "all requests", SAMPLES_MAX, samples)
    }

    /// The chart of one row.
    pub(super) fn of_row(what: What, key: String, whose: &str, samples: &[Sample]) -> Self {
        Self::new(what, key, whose, ROW_SAMPLES, samples)
    }

    fn new(what: What, key: String, whose: &str, width: usize, samples: &[Sample]) -> Self {
        let samples = &samples[samples.len().saturating_sub(width)..];
        let values: Vec<[Option<u64>; 2]> = samples
            .iter()
            .map(|sample| match what {
                What::Load => [Some(sample.rate), Some(sample.errors)],
                What::Time => [sample.p50_us, sample.p99_us],
            })
            .collect();
        let least = match what {
            What::Load => 1,
            What::Time => 1_000,
        };
        let top = values.iter().flatten().flatten().max().map_or(least, |&top| top.max(least));
        // A red line along the bottom would alarm about nothing.
        let has_errors = what == What::Time || values.iter().any(|value| value[1] > Some(0));
        let line = |of: usize| points(values.iter().map(|value| value[of]), width, top);
        let minutes = width / 60;
        let (kind, measure) = match what {
            What::Load => ("load", "Requests and errors per second"),
            What::Time => ("time", "Response times, median and 99 of 100"),
        };
        let span = if minutes == 1 { "minute".to_owned() } else { format!("{minutes} minutes") };
        let label = format!("{measure}, {whose}, the last {span}");
        let second = if has_errors { line(1) } else { String::new() };
        Self { key, kind, label, width, top, first: line(0), second }
    }
}

/// The last value stands at the right edge. What is not known is left out.
fn points(values: impl ExactSizeIterator<Item = Option<u64>>, width: usize, top: u64) -> String {
    let start = width - values.len();
    let point = |(place, value): (usize, Option<u64>)| {
        let y = 100 - EDGE - value?.min(top) * RISE / top;
        Some(format!("{},{y}", start + place))
    };
    values.enumerate().filter_map(point).collect::<Vec<_>>().join(" ")
}

/// A response time for people: `0.4 ms`, `120 ms`, `1.2 s`. `assets/app.js` does the same.
pub(super) fn time(us: Option<u64>) -> String {
    let tenths = |value: u64| format!("{}.{}", value / 10, value % 10);
    match us {
        None => "–".to_owned(),
        Some(us @ 0..10_000) => format!("{} ms", tenths(us / 100)),
        Some(us @ 10_000..1_000_000) => format!("{} ms", us / 1_000),
        Some(us) => format!("{} s", tenths(us / 100_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_the_right_and_unknown_values_are_left_out() {
        let sample = |rate, p50_us| Sample { rate, errors: 0, p50_us, p99_us: None };
        let mut samples = [sample(0, None), sample(4, Some(2_000)), sample(2, None)];
        let key = || "f:docker.web".to_owned();
        assert_eq!(Chart::of_row(What::Load, key(), "web", &samples).second, "", "no error at all");
        samples[1].errors = 2;
        let load = Chart::of_row(What::Load, key(), "web", &samples);
        assert_eq!((load.first.as_str(), load.top), ("57,97 58,3 59,50", 4));
        assert_eq!(load.second, "57,97 58,50 59,97");
        assert_eq!(load.label, "Requests and errors per second, web, the last minute");
        let time = Chart::of_total(What::Time, &samples);
        assert_eq!((time.first.as_str(), time.second.as_str()), ("118,3", ""));
        assert_eq!(Chart::of_total(What::Load, &[]).first, "");
    }

    #[test]
    fn times_are_short() {
        let check = |us, text: &str| assert_eq!(time(us), text);
        check(None, "–");
        check(Some(420), "0.4 ms");
        check(Some(9_999), "9.9 ms");
        check(Some(120_400), "120 ms");
        check(Some(1_250_000), "1.2 s");
    }
}
