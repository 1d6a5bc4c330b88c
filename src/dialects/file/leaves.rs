//! What a table of a file has in common with labels: its leaves, checked by the labels' own table.

use std::collections::BTreeMap;

use super::FileReader;
use crate::dialects::labels::{Kind, LABELS, Label, Support};
use crate::dialects::reader::is_guard;
use crate::dialects::values::{Raw, Values, part_of, unfit};
use crate::document::{Entry, Node, Place, Table, Value};
use crate::model::Problem;

impl FileReader<'_> {
    /// The leaves of a table that labels have too, below `family`; `own` are the keys it reads itself.
    pub(super) fn values(
        &mut self,
        name: &str,
        table: &Table,
        family: &str,
        own: &[&str],
    ) -> (Values, Option<String>) {
        let mut leaves = Leaves { values: Values::default(), protection: None, family };
        for entry in table.entries() {
            if !own.iter().any(|own| own.eq_ignore_ascii_case(&entry.key)) {
                let shown = format!("{name}.{}", entry.key);
                self.leaf(&mut leaves, &shown, vec![entry.key.clone()], &entry.node);
            }
        }
        (leaves.values, leaves.protection)
    }

    fn leaf(&mut self, leaves: &mut Leaves<'_>, shown: &str, path: Vec<String>, node: &Node) {
        // Old words for what has a new one.
        let path = match path.join(".").to_ascii_lowercase().as_str() {
            "basicauth" => vec!["auth".to_owned(), "basic".to_owned()],
            _ => path,
        };
        let found = LABELS.iter().find_map(|label| Some((label, leaves.canonical(label, &path)?)));
        let is_guard = leaves.family == "frontend" && path.first().is_some_and(|key| is_guard(key));
        match (found, &node.value) {
            (Some((label, canonical)), Value::Table(table)) if label.kind != Kind::Headers => {
                // `loadBalancer.stickiness` is a label and a table.
                if leaves.has_below(&path) {
                    self.below(leaves, shown, &path, table);
                } else {
                    self.misfit(
                        leaves,
                        shown,
                        node.place,
                        label,
                        &canonical,
                        Raw::Table(Vec::new()),
                    );
                }
            }
            (Some((label, canonical)), _) => match raw(node) {
                Some(raw) => self.misfit(leaves, shown, node.place, label, &canonical, raw),
                None if label.closes() => {
                    let what = format!("{shown} holds lists or tables. Its frontend stays closed.");
                    self.error(node.place, what, "Write plain values.");
                    leaves.close(shown);
                }
                None => self.error(
                    node.place,
                    format!("{shown} holds lists or tables; it is left out."),
                    "Write plain values.",
                ),
            },
            (None, _) if is_guard && !leaves.is_table_with_keys(&path, node) => {
                let what = format!(
                    "{shown} was to protect, and says nothing that can be acted on; its frontend stays closed."
                );
                self.error(node.place, what, "Mend it.");
                leaves.close(shown);
            }
            (None, Value::Table(table)) if leaves.has_below(&path) => {
                self.below(leaves, shown, &path, table)
            }
            (None, _) => {
                let prefix = format!("traefik.{}.", leaves.family);
                let known = LABELS
                    .iter()
                    .filter_map(|label| label.key.strip_prefix(&prefix))
                    .filter(|key| !key.contains('*'));
                self.unknown(node.place, shown, known);
            }
        }
    }

    fn below(&mut self, leaves: &mut Leaves<'_>, shown: &str, path: &[String], table: &Table) {
        for entry in table.entries() {
            let mut path = path.to_vec();
            path.push(entry.key.clone());
            self.leaf(leaves, &format!("{shown}.{}", entry.key), path, &entry.node);
        }
    }

    fn misfit(
        &mut self,
        leaves: &mut Leaves<'_>,
        shown: &str,
        place: Place,
        label: &Label,
        canonical: &str,
        raw: Raw,
    ) {
        let is_empty = matches!(&raw, Raw::Text(text) if text.trim().is_empty());
        let added = leaves.values.add(canonical, label, raw);
        let problem = match (added, label.support) {
            (Ok(()), _) if label.is_guard() && is_empty => {
                leaves.close(shown);
                let what = format!("{shown} protects, and is empty. Its frontend stays closed.");
                Problem::error(&self.origin(place), what).hint("Write a value.")
            }
            (Err(misfit), _) => {
                if label.closes() {
                    leaves.close(shown);
                }
                let what = unfit(shown, label, &misfit);
                Problem::error(&self.origin(place), what).hint(misfit.hint)
            }
            (Ok(()), Support::Later) => {
                let what = format!("{shown} is known ({}), and not acted on yet.", label.meaning);
                Problem::warning(&self.origin(place), what)
            }
            (Ok(()), Support::Served) => return,
        };
        self.reading.problems.push(problem);
    }
}

/// What is gathered of one table.
struct Leaves<'f> {
    values: Values,
    protection: Option<String>,
    /// `frontend` or `backend`.
    family: &'f str,
}

impl Leaves<'_> {
    /// The label's own spelling of this path, where it is the label's.
    fn canonical(&self, label: &Label, path: &[String]) -> Option<String> {
        let own =
            label.key.strip_prefix("traefik.")?.strip_prefix(self.family)?.strip_prefix('.')?;
        let parts: Vec<&str> = own.split('.').collect();
        let fits = |(own, part): (&&str, &String)| *own == "*" || own.eq_ignore_ascii_case(part);
        (parts.len() == path.len() && parts.iter().zip(path).all(fits)).then(|| {
            let part = |(own, part): (&&str, &String)| {
                if *own == "*" { part_of(part) } else { (*own).to_owned() }
            };
            parts.iter().zip(path).map(part).collect::<Vec<_>>().join(".")
        })
    }

    /// Nobody may come in: this was to keep strangers out, and cannot be read.
    fn close(&mut self, shown: &str) {
        self.protection.get_or_insert_with(|| shown.to_owned());
    }

    /// Whether there is a table with keys where labels go on below.
    fn is_table_with_keys(&self, path: &[String], node: &Node) -> bool {
        node.as_table().is_some_and(|table| !table.is_empty()) && self.has_below(path)
    }

    /// Whether a label's path goes on below this one.
    fn has_below(&self, path: &[String]) -> bool {
        LABELS.iter().any(|label| {
            let own = label
                .key
                .strip_prefix("traefik.")
                .and_then(|key| key.strip_prefix(self.family)?.strip_prefix('.'));
            let parts: Vec<&str> = own.map(|own| own.split('.').collect()).unwrap_or_default();
            let fits =
                |(own, part): (&&str, &String)| *own == "*" || own.eq_ignore_ascii_case(part);
            parts.len() > path.len() && parts.iter().zip(path).all(fits)
        })
    }
}

/// A leaf as it was written; none for lists of lists and the like.
pub(super) fn raw(node: &Node) -> Option<Raw> {
    match &node.value {
        Value::Scalar(text) => Some(Raw::Text(text.clone())),
        Value::List(list) => list
            .iter()
            .map(|node| node.as_text().map(str::to_owned))
            .collect::<Option<_>>()
            .map(Raw::List),
        Value::Table(table) => {
            let pair = |entry: &Entry| Some((entry.key.clone(), entry.node.as_text()?.to_owned()));
            table
                .entries()
                .map(pair)
                .collect::<Option<BTreeMap<_, _>>>()
                .map(|map| Raw::Table(map.into_iter().collect()))
        }
    }
}
