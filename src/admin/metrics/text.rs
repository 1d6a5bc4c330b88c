//! Prometheus's text format, version 0.0.4, as Traefik 1.7 speaks it.

use std::fmt::{Display, Write as _};

use super::families::{Family, Kind};
use crate::live::as_float;

/// What a scrape reads.
#[derive(Default)]
pub(super) struct Text(String);

/// A histogram as it is told: how many took at most so many seconds, and all together.
pub(super) struct Sizes {
    pub(super) at_most: Vec<(f64, u64)>,
    pub(super) total: u64,
    pub(super) sum: f64,
}

impl Text {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// A metric and its values; nothing where there are none. The labels' values stand in the order of the labels.
    pub(super) fn family<const N: usize>(
        &mut self,
        family: &Family,
        values: impl IntoIterator<Item = ([String; N], f64)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        self.head(family);
        for (labels, value) in values {
            self.sample(family, "", &labels, None, value);
        }
    }

    /// A metric of one value.
    pub(super) fn single(&mut self, family: &Family, value: f64) {
        self.family(family, [([], value)]);
    }

    /// A histogram and its values.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        family: &Family,
        values: impl IntoIterator<Item = ([String; N], Sizes)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        self.head(family);
        for (labels, sizes) in values {
            for (bound, count) in &sizes.at_most {
                self.sample(family, "_bucket", &labels, Some(bound), as_float(*count));
            }
            let total = as_float(sizes.total);
            self.sample(family, "_bucket", &labels, Some(&"+Inf"), total);
            self.sample(family, "_sum", &labels, None, sizes.sum);
            self.sample(family, "_count", &labels, None, total);
        }
    }

    fn head(&mut self, Family { name, kind, help, .. }: &Family) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
    }

    fn sample(
        &mut self,
        family: &Family,
        suffix: &str,
        values: &[String],
        bound: Option<&dyn Display>,
        value: f64,
    ) {
        debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
        debug_assert!(bound.is_none() || family.kind == Kind::Histogram);
        let out = &mut self.0;
        let _ = write!(out, "{}{suffix}", family.name);
        let mut mark = '{';
        for (label, value) in family.labels.iter().zip(values) {
            let _ = write!(out, "{mark}{label}=\"");
            escape(value, out);
            out.push('"');
            mark = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(out, "{mark}le=\"{bound}\"");
            mark = ',';
        }
        if mark == ',' {
            out.push('}');
        }
        let _ = writeln!(out, " {value}");
    }
}

/// What would end a label's value is written otherwise.
fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            character => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::metrics::families::{BACKEND_RETRIES, FRONTENDS, PROPAGATION, PROVIDER_AGE};

    #[test]
    fn values_are_written_as_prometheus_reads_them() {
        let mut text = Text::default();
        text.single(&FRONTENDS, 3.0);
        text.family(&BACKEND_RETRIES, [(["a\"b\\c\nd".to_owned()], 1.5)]);
        text.family(&PROVIDER_AGE, std::iter::empty::<([String; 1], f64)>());
        let sizes = Sizes { at_most: vec![(0.1, 1), (5.0, 2)], total: 3, sum: 7.25 };
        text.histogram(&PROPAGATION, [([], sizes)]);
        let lines: Vec<String> = text
            .into_string()
            .lines()
            .filter(|line| !line.starts_with("# HELP"))
            .map(str::to_owned)
            .collect();
        assert_eq!(
            lines,
            [
                "# TYPE herder_frontends gauge",
                "herder_frontends 3",
                "# TYPE traefik_backend_retries_total counter",
                "traefik_backend_retries_total{backend=\"a\\\"b\\\\c\\nd\"} 1.5",
                "# TYPE herder_propagation_seconds histogram",
                "herder_propagation_seconds_bucket{le=\"0.1\"} 1",
                "herder_propagation_seconds_bucket{le=\"5\"} 2",
                "herder_propagation_seconds_bucket{le=\"+Inf\"} 3",
                "herder_propagation_seconds_sum 7.25",
                "herder_propagation_seconds_count 3",
            ]
        );
    }
}
