//! YAML into trees.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::{Node, Place, SyntaxError, Table, Value};

pub(super) fn parse(text: &str) -> Result<Table, SyntaxError> {
    // `y` and `no` are words: YAML 1.2.
    let options = serde_saphyr::options! { strict_booleans: true };
    let parsed: Spanned<Option<Parsed>> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| {
            let message = error.to_string();
            let first = message.lines().next().unwrap_or_default();
            SyntaxError {
                place: error.location().map(place).unwrap_or_default(),
                message: without_advice(without_place(first)).trim_end_matches('.').to_owned(),
            }
        })?;
    match parsed.value {
        None => Ok(Table::default()),
        Some(Parsed::Table(entries)) => Ok(table(text, entries)),
        Some(_) => Err(SyntaxError {
            place: place(parsed.referenced),
            message: "the file is not a table of keys".to_owned(),
        }),
    }
}

fn table(text: &str, entries: Vec<(String, Spanned<Parsed>)>) -> Table {
    let mut table = Table::default();
    for (key, value) in entries {
        table.add(&key, node(text, value));
    }
    table
}

fn node(text: &str, parsed: Spanned<Parsed>) -> Node {
    let value = match parsed.value {
        Parsed::Scalar(scalar) => Value::Scalar(scalar),
        // An alias says what stands at its anchor.
        Parsed::Float(float) => {
            let spelled = spelling(text, parsed.defined).filter(|text| text.parse() == Ok(float));
            Value::Scalar(spelled.map_or_else(|| float.to_string(), str::to_owned))
        }
        Parsed::List(list) => {
            Value::List(list.into_iter().map(|value| node(text, value)).collect())
        }
        Parsed::Table(entries) => Value::Table(table(text, entries)),
    };
    Node { place: place(parsed.referenced), value }
}

/// What stands there, word for word.
fn spelling(text: &str, location: Location) -> Option<&str> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start.checked_add(length)?).map(str::trim)
}

/// `line 2 column 4: unclosed bracket` says the place that is told beside it.
fn without_place(message: &str) -> &str {
    let message = message.trim_start_matches("error: ");
    match message.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") => rest,
        _ => message,
    }
}

/// `duplicate mapping key: a, set DuplicateKeyPolicy in Options if acceptable` is for who calls the parser.
fn without_advice(message: &str) -> &str {
    match message.rsplit_once(", set ") {
        Some((what, advice)) if advice.contains(" in Options") => what,
        _ => message,
    }
}

fn place(location: Location) -> Place {
    let number = |n: u64| usize::try_from(n).unwrap_or_default();
    Place { line: number(location.line()), column: number(location.column()) }
}

/// A value as its file has it.
enum Parsed {
    Scalar(String),
    /// How it is spelled stands in the file: `1.10` is no `1.1` in a header line.
    Float(f64),
    List(Vec<Spanned<Self>>),
    Table(Vec<(String, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a table")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(String::new()))
    }

    fn visit_none<E: Error>(self) -> Result<Parsed, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parsed: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = parsed.next_element()? {
            list.push(value);
        }
        Ok(Parsed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parsed: A) -> Result<Parsed, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = parsed.next_key()? {
            entries.push((key, parsed.next_value()?));
        }
        Ok(Parsed::Table(entries))
    }
}
