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
    let place = place(parsed.referenced);
    match parsed.value {
        None => Ok(Table::default()),
        Some(Parsed(Value::Table(table))) => Ok(table),
        Some(_) => {
            Err(SyntaxError { place, message: "the file is not a table of keys".to_owned() })
        }
    }
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
struct Parsed(Value);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a table")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Scalar(String::new()))
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parsed: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = parsed.next_element::<Spanned<Parsed>>()? {
            list.push(Node { place: place(value.referenced), value: value.value.0 });
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parsed: A) -> Result<Value, A::Error> {
        let mut table = Table::default();
        while let Some(key) = parsed.next_key::<String>()? {
            let value = parsed.next_value::<Spanned<Parsed>>()?;
            table.add(&key, Node { place: place(value.referenced), value: value.value.0 });
        }
        Ok(Value::Table(table))
    }
}
