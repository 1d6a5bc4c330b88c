//! TOML into trees.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Lines, Node, SyntaxError, Table, Value};

pub(super) fn parse(text: &str) -> Result<Table, SyntaxError> {
    let lines = Lines::of(text);
    let parsed = DeTable::parse(text).map_err(|error| SyntaxError {
        place: error.span().map(|span| lines.place(span.start)).unwrap_or_default(),
        message: error.message().lines().collect::<Vec<_>>().join("; "),
    })?;
    Ok(table(&lines, parsed.get_ref()))
}

fn table(lines: &Lines<'_>, parsed: &DeTable<'_>) -> Table {
    let mut table = Table::default();
    for (key, value) in parsed {
        table.add(key.get_ref(), node(lines, value));
    }
    table
}

fn node(lines: &Lines<'_>, value: &Spanned<DeValue<'_>>) -> Node {
    let place = lines.place(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(string) => Value::Scalar(string.to_string()),
        DeValue::Integer(integer) => Value::Scalar(match integer.radix() {
            10 => integer.as_str().to_owned(),
            radix => {
                let number = i64::from_str_radix(integer.as_str(), radix);
                number.map_or_else(|_| integer.as_str().to_owned(), |number| number.to_string())
            }
        }),
        DeValue::Float(float) => Value::Scalar(float.as_str().to_owned()),
        DeValue::Boolean(truth) => Value::Scalar(truth.to_string()),
        DeValue::Datetime(datetime) => Value::Scalar(datetime.to_string()),
        DeValue::Array(array) => {
            Value::List(array.iter().map(|value| node(lines, value)).collect())
        }
        DeValue::Table(inner) => Value::Table(table(lines, inner)),
    };
    Node { place, value }
}
