//! The buckets that Prometheus is told times in: `0.1,0.3,1.2,5`, as in Traefik 1.7.

use std::fmt;
use std::str::FromStr;

/// More buckets than this are refused: each is a counter for each status and method of each backend.
pub const BUCKETS_MAX: usize = 16;

/// Where the buckets of a histogram end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Buckets {
    bounds_us: Vec<u64>,
}

impl Buckets {
    /// Buckets that end at these times, in seconds.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub fn new(bounds: &[f64]) -> Result<Self, String> {
        if bounds.is_empty() || bounds.len() > BUCKETS_MAX {
            return Err(format!("1 to {BUCKETS_MAX} buckets are possible, not {}", bounds.len()));
        }
        if let Some(odd) = bounds.iter().find(|&&bound| !(1e-6..=1e6).contains(&bound)) {
            return Err(format!("{odd} is no time in seconds"));
        }
        if let Some(pair) = bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!("{} stands after {}: they must grow", pair[1], pair[0]));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked above
        let as_us = |bound: &f64| (bound * 1e6).round() as u64;
        Ok(Self { bounds_us: bounds.iter().map(as_us).collect() })
    }

    /// Where they end, in microseconds.
    pub fn bounds_us(&self) -> &[u64] {
        &self.bounds_us
    }

    /// Where they end, in seconds.
    pub fn bounds(&self) -> impl Iterator<Item = f64> {
        #[allow(clippy::cast_precision_loss)] // they were floats of at most 10⁶ s before
        self.bounds_us.iter().map(|&us| us as f64 / 1e6)
    }
}

impl Default for Buckets {
    /// Those of Traefik 1.7.
    fn default() -> Self {
        Self { bounds_us: vec![100_000, 300_000, 1_200_000, 5_000_000] }
    }
}

impl FromStr for Buckets {
    type Err = String;

    /// Reads `0.1,0.3`, with or without brackets, as flags and the catalog's variables have them.
    fn from_str(text: &str) -> Result<Self, String> {
        let inner = text.trim();
        let inner = inner.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(inner);
        let number = |part: &str| {
            let part = part.trim();
            part.parse().map_err(|_| format!("\"{part}\" is no time in seconds"))
        };
        let bounds: Result<Vec<f64>, _> = inner.split(',').map(number).collect();
        Self::new(&bounds?)
    }
}

impl fmt::Display for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds: Vec<String> = self.bounds().map(|bound| bound.to_string()).collect();
        f.write_str(&bounds.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let found = text.parse::<Buckets>().map(|buckets| buckets.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn they_are_read_as_traefik_writes_them() {
        check("0.1,0.3,1.2,5", Ok("0.1,0.3,1.2,5"));
        check("[0.1,0.3,1.2,5.0]", Ok("0.1,0.3,1.2,5"));
        check("0.100000, 0.300000", Ok("0.1,0.3"));
        assert_eq!(Buckets::default().to_string(), "0.1,0.3,1.2,5");
    }

    #[test]
    fn what_cannot_be_is_said() {
        check("", Err("\"\" is no time in seconds"));
        check("1,one", Err("\"one\" is no time in seconds"));
        check("1,NaN", Err("NaN is no time in seconds"));
        check("0,1", Err("0 is no time in seconds"));
        check("0.3,0.1", Err("0.1 stands after 0.3: they must grow"));
        let many = vec!["1"; 17].join(",");
        check(&many, Err("1 to 16 buckets are possible, not 17"));
    }
}
