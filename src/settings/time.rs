//! Times as they are read and written: waits, and how often everything is asked anew.

use std::str::FromStr;
use std::time::Duration;

use chrono::Utc;
use croner::parser::{CronParser, Seconds};

use super::Refresh;

/// More than a week is a slip of the fingers.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The least time between two health checks: those that come faster do more harm than good.
pub const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The longest one.
pub const CHECK_INTERVAL_MAX: Duration = Duration::from_hours(24);

/// `60s`, `5m`, `1h`, `500ms`, `1m30s`, `1.5h`; a bare number is seconds, as in Traefik 1.7. Parts of a millisecond count as one.
///
/// # Errors
/// A sentence without a full stop that says what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let seconds = || text.parse().ok().map(Duration::from_secs);
    seconds()
        .or_else(|| parts(text))
        .filter(|time| *time <= DURATION_MAX)
        .ok_or_else(|| format!("\"{text}\" is not a time up to 7 days; write 60s, 5m, 1h or 500ms"))
}

/// The sum of numbers with units, as Go writes times (package time, `ParseDuration`).
fn parts(mut text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut all_ns = 0.0;
    loop {
        let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, rest) = text.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let letters = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, rest) = rest.split_at(letters.unwrap_or(rest.len()));
        let (_, ns) = UNITS.iter().find(|(name, _)| *name == unit)?;
        all_ns += number * *ns as f64;
        text = rest;
        if text.is_empty() {
            break;
        }
    }
    let ms = (all_ns / 1e6).ceil();
    // More than that is refused by whoever asks.
    (ms < 1e12).then(|| Duration::from_millis(ms as u64))
}

/// `39m6.885931127s`, `864.8016ms`: as Go prints a time (package time, `Duration.String`).
pub fn go_duration(time: Duration) -> String {
    let (seconds, ns) = (time.as_secs(), u64::from(time.subsec_nanos()));
    // No zeros at the end.
    let number = |whole: u64, part: u64, digits: usize| {
        let part = format!("{part:0digits$}");
        match part.trim_end_matches('0') {
            "" => whole.to_string(),
            part => format!("{whole}.{part}"),
        }
    };
    match (seconds, ns) {
        (0, 0) => "0s".to_owned(),
        (0, ..1_000) => format!("{ns}ns"),
        (0, ..1_000_000) => format!("{}µs", number(ns / 1_000, ns % 1_000, 3)),
        (0, _) => format!("{}ms", number(ns / 1_000_000, ns % 1_000_000, 6)),
        _ => {
            let rest = number(seconds % 60, ns, 9);
            match (seconds / 3_600, seconds / 60 % 60) {
                (0, 0) => format!("{rest}s"),
                (0, minutes) => format!("{minutes}m{rest}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

/// The time between two health checks. Zero says as much as nothing, see [`limit`].
pub(super) fn check_interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time > CHECK_INTERVAL_MAX => {
            Err(format!("\"{text}\" is no time that can be used; write 10s, 500ms, at most 24h"))
        }
        time if time < CHECK_INTERVAL_MIN && !time.is_zero() => {
            Err(format!("\"{text}\" is too short; write 100ms or more"))
        }
        time => Ok(time),
    }
}

/// A time that something may take. To Traefik 1.7 zero is no limit; here everything has one, and zero says as much as nothing.
pub(super) fn limit(said: Option<Duration>, usual: Duration) -> Duration {
    said.filter(|time| !time.is_zero()).unwrap_or(usual)
}

impl FromStr for Refresh {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.split_whitespace().count() >= 5 {
            return cron(text).map(|()| Self::Cron(text.to_owned()));
        }
        match duration(text) {
            Ok(time) if time >= Duration::from_secs(1) => Ok(Self::Every(time)),
            Ok(_) => Err(format!("\"{text}\" is too often; a second is the least")),
            Err(_) => Err(format!(
                "\"{text}\" is no time from a second to 7 days; write 60s, 5m or 1h, or a cron expression with seconds"
            )),
        }
    }
}

/// Whether this is a cron expression, as the scheduler reads it (tokio-cron-scheduler, job/mod.rs, `new_tz`), whose time will come.
fn cron(text: &str) -> Result<(), String> {
    let parser = CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build();
    let cron = parser.parse(text).map_err(|error| {
        format!(
            "\"{text}\" is not a cron expression ({error}); write 60s, or six fields from seconds to weekdays: \
             0 */5 * * * *"
        )
    })?;
    let next = cron.find_next_occurrence(&Utc::now(), false);
    next.map(|_| ()).map_err(|_| {
        format!(
            "the time of \"{text}\" never comes; write 60s, or for every five minutes 0 */5 * * * *"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        for (text, ms) in [
            ("60s", 60_000),
            ("5m", 300_000),
            ("60", 60_000),
            ("250ms", 250),
            ("1m30s", 90_000),
            ("3m0s", 180_000),
            ("1.5s", 1_500),
            (".5h", 1_800_000),
            ("0s", 0),
            ("1us", 1),
            ("2.000001ms", 3),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "s", "-1s", "1d", "99999999h", "1.5", "1.2.3s", ".s", "1 s", "1m30", "+1s", "1e3s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prints_times_as_go_does() {
        for (ns, text) in [
            (0, "0s"),
            (15, "15ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (864_801_600, "864.8016ms"),
            (1_050_000_000, "1.05s"),
            (35_000_000_000, "35s"),
            (60_000_000_000, "1m0s"),
            (2_346_885_931_127, "39m6.885931127s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_000_000_001, "1h1m1.000000001s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(ns)), text);
        }
    }

    #[test]
    fn reads_the_time_between_two_checks() {
        for (text, ms) in [("100ms", 100), ("24h", 86_400_000), ("0", 0)] {
            assert_eq!(check_interval(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, word) in
            [("99ms", "is too short; write 100ms"), ("25h", "at most 24h"), ("x", "not a time")]
        {
            let why = check_interval(text).expect_err(text);
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn reads_a_refresh() {
        assert_eq!("60s".parse(), Ok(Refresh::Every(Duration::from_secs(60))));
        assert_eq!("0 */5 * * * *".parse(), Ok(Refresh::Cron("0 */5 * * * *".to_owned())));
        assert!("0s".parse::<Refresh>().is_err());
        for wrong in ["every now and then or so", "*/5 * * * *", "61 * * * * *", "0 0 0 31 2 *"] {
            let why = wrong.parse::<Refresh>().expect_err(wrong);
            assert!(why.contains(wrong) && why.contains("0 */5 * * * *"), "{why}");
        }
        assert!("often".parse::<Refresh>().is_err());
    }
}
