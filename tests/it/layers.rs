//! An item uses what stands below it, never what stands above.

use std::collections::BTreeMap;
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
    &["disk", "tls"],
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

/// The entries of the code map: the folders of `src/` that have one, and what is said of each.
fn code_map() -> BTreeMap<PathBuf, String> {
    let page = include_str!("../../ARCHITECTURE.md");
    let map = page.split("\nsrc/\n").nth(1).expect("the map begins with src/");
    let mut entries = BTreeMap::<PathBuf, String>::new();
    let mut folder = PathBuf::new();
    // What begins at the edge is beside src/.
    for line in map.lines().take_while(|line| line.starts_with(' ')) {
        let text = line.trim_start();
        let (name, said) = text.split_once("  ").unwrap_or((text, ""));
        let said = match line.len() - text.len() {
            2 => {
                folder = name.into();
                said
            }
            4 => {
                folder = folder.iter().take(1).collect::<PathBuf>().join(name);
                said
            }
            _ => text,
        };
        let entry = entries.entry(folder.clone()).or_default();
        entry.push_str(said);
        entry.push(' ');
    }
    entries
}

/// Each file is named in the code map, or is in a folder that is, or in one of which it says that there is one file for each.
#[test]
fn the_code_map_has_every_file() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = code_map();
    let is_covered = |place: &Path| {
        let mut folders = place.ancestors().skip(1);
        let Some((folder, said)) = folders.find_map(|f| map.get_key_value(f)) else { return false };
        let below = place.strip_prefix(folder).expect("it is below");
        let mut parts: Vec<String> =
            below.iter().map(|part| format!("{}/", part.display())).collect();
        let file = parts.pop().expect("a file");
        said.contains("one file")
            || said.contains(file.trim_end_matches('/'))
            || parts.iter().any(|part| said.contains(part))
    };
    let mut missing: Vec<String> = Vec::new();
    for path in files(&src) {
        let place = path.strip_prefix(&src).expect("below src");
        let is_entrance =
            ["mod.rs", "lib.rs", "main.rs", "tests.rs"].iter().any(|name| place.ends_with(name));
        if !is_entrance && !is_covered(place) {
            missing.push(place.display().to_string());
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md's code map lacks {missing:?}");
    // And nothing that is gone.
    for (folder, said) in &map {
        for name in said.split([' ', ',', '(', ')', ';', ':']).filter(|word| word.ends_with(".rs"))
        {
            let is_there = files(&src.join(folder)).iter().any(|path| path.ends_with(name));
            assert!(is_there, "{name} of the code map is not in src/{}", folder.display());
        }
    }
}

#[test]
fn nothing_reaches_up() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let used = Regex::new(r"\bcrate::(?:(\w+)|\{((?:[^{}]|\{[^{}]*\})*)\})").expect("a pattern");
    let inner = Regex::new(r"\{[^{}]*\}").expect("a pattern");
    let up = Regex::new(r"\bsuper::").expect("a pattern");
    let mut wrong = Vec::new();
    for path in files(&src) {
        let place = path.strip_prefix(&src).expect("below src");
        let room = place.iter().next().and_then(|part| part.to_str()).expect("a name");
        // Tests may use whatever helps them.
        if place.ends_with("tests.rs") {
            continue;
        }
        let Some(mine) = row(room) else {
            assert!(["main.rs", "lib.rs"].contains(&room), "{room} has no row");
            continue;
        };
        let text = fs::read_to_string(&path).expect("text");
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code: Vec<&str> = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        for found in used.captures_iter(&code.join("\n")) {
            let several = found.get(2).map(|list| list.as_str()).unwrap_or_default();
            let several = inner.replace_all(several, "");
            let rooms = found.get(1).map(|one| one.as_str()).into_iter().chain(several.split(','));
            let rooms = rooms.map(|path| path.trim().split("::").next().unwrap_or_default());
            let above = rooms.filter(|room| row(room).is_some_and(|other| other > mine));
            wrong.extend(above.map(|above| format!("src/{}: crate::{above}", place.display())));
        }
        // A path that climbs out of its room says no name of it.
        let depth = place.iter().count() - usize::from(place.ends_with("mod.rs"));
        for line in code.iter().filter(|line| up.find_iter(line).count() >= depth) {
            wrong.push(format!("src/{}: {line}", place.display()));
        }
    }
    assert!(wrong.is_empty(), "these reach up:\n{}", wrong.join("\n"));
}
