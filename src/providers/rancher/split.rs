//! The list of services, split into its entries: what was known before is not read again.

use serde_json::value::RawValue;

use super::remembered::{Known, Remembered};

/// The list of services, split into its entries and read no further: one that is odd costs only itself, and thousands
/// of them are never there as trees.
#[derive(Debug)]
pub(super) enum Services<'b> {
    List(Vec<Entry<'b>>),
    Other(&'b RawValue),
}

/// One entry of the list.
#[derive(Debug)]
pub(super) enum Entry<'b> {
    /// Its text is that of the last time.
    Known(Known),
    Text(&'b RawValue),
}

/// Splits the list of services.
///
/// # Errors
/// When it is not JSON.
pub(super) fn services<'b>(
    body: &'b [u8],
    remembered: &Remembered,
) -> Result<Services<'b>, serde_json::Error> {
    if let Some(list) = split(body, remembered) {
        return Ok(Services::List(list));
    }
    // If it is JSON at all, whatever is wrong is that it is no list.
    serde_json::from_slice(body).map(Services::Other)
}

/// A list's entries, without a look into those that are known. None: it is no list, or not JSON.
///
/// Where a text begins with that of a known service, this is its next entry: a map ends where it ends.
fn split<'b>(body: &'b [u8], remembered: &Remembered) -> Option<Vec<Entry<'b>>> {
    let trimmed = |text: &'b str| text.trim_start_matches([' ', '\t', '\n', '\r']);
    let mut rest = trimmed(trimmed(str::from_utf8(body).ok()?).strip_prefix('[')?);
    let mut search = remembered.search();
    let mut entries = Vec::new();
    let mut has_more = !rest.starts_with(']');
    while has_more {
        let len = match search.next(rest) {
            Some(known) => {
                entries.push(Entry::Known(known.clone()));
                known.len()
            }
            None => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter();
                let value: &RawValue = values.next()?.ok()?;
                entries.push(match search.find(value.get()) {
                    Some(known) => Entry::Known(known.clone()),
                    None => Entry::Text(value),
                });
                values.byte_offset()
            }
        };
        rest = trimmed(rest.get(len..)?);
        has_more = rest.starts_with(',');
        if has_more {
            rest = trimmed(rest.strip_prefix(',')?);
        }
    }
    trimmed(rest.strip_prefix(']')?).is_empty().then_some(entries)
}
