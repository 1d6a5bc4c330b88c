//! An item uses what stands below it, never what stands above.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The rooms, the lowest first; those of one row do not look at each other's insides but may use each other.
const ROWS: &[&[&str]] = &[
    &["document"],
    &["settings", "model"],
    &["middleware", "rules"],
    &["config"],
    &["live", "balance"],
    &["table", "dialects"],
    &["plan", "explain"],
    &["providers"],
    &["control", "telemetry"],
    &["proxy", "admin", "demo"],
    &["cli"],
];

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_reaches_up() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let used = Regex::new(r"crate::(\w+)").expect("a pattern");
    let mut wrong = Vec::new();
    for path in files(&src) {
        let place = path.strip_prefix(&src).expect("below src");
        let room = place.iter().next().and_then(|part| part.to_str()).expect("a name");
        let Some(mine) = row(room) else {
            assert!(["main.rs", "lib.rs"].contains(&room), "{room} has no row");
            continue;
        };
        let text = fs::read_to_string(&path).expect("text");
        // Tests may use whatever helps them.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|(_, l)| !l.trim().starts_with("//"))
        {
            for found in used.captures_iter(line) {
                if row(&found[1]).is_some_and(|other| other > mine) {
                    wrong.push(format!("src/{}:{}: {line}", place.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these reach up:\n{}", wrong.join("\n"));
}
