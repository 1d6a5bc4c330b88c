//! What we build on may be used as we use it: `deny.toml`, where cargo-deny is not installed.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// The licences in `deny.toml`'s `allow`, and the crates with one of their own.
fn allowed() -> (BTreeSet<String>, BTreeSet<(String, String)>) {
    let file = include_str!("../../deny.toml");
    let quoted =
        |line: &str| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let section = |start: &str| {
        let from = file.split(start).nth(1).unwrap_or_else(|| panic!("deny.toml has no {start}"));
        from.split("\n]").next().expect("a first part").lines().flat_map(quoted).collect::<Vec<_>>()
    };
    let exceptions = section("\nexceptions = [");
    let pairs = exceptions.chunks(2).map(|pair| (pair[1].clone(), pair[0].clone()));
    (section("\nallow = [").into_iter().collect(), pairs.collect())
}

/// Whether an SPDX expression can be met: `OR` of `AND` of names and brackets. Old crates write `/` for `OR`.
fn is_met(expression: &str, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let met = any(&mut words, is_allowed);
    assert!(words.is_empty(), "cannot read the licence {expression}");
    met
}

fn any(words: &mut Vec<&str>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = all(words, is_allowed);
    while words.pop_if(|word| *word == "OR").is_some() {
        met |= all(words, is_allowed);
    }
    met
}

fn all(words: &mut Vec<&str>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = one(words, is_allowed);
    while words.pop_if(|word| *word == "AND").is_some() {
        met &= one(words, is_allowed);
    }
    met
}

fn one(words: &mut Vec<&str>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    match words.pop().expect("a licence") {
        "(" => {
            let met = any(words, is_allowed);
            assert_eq!(words.pop(), Some(")"));
            met
        }
        name if words.pop_if(|word| *word == "WITH").is_some() => {
            let exception = words.pop().expect("an exception");
            is_allowed(&format!("{name} WITH {exception}"))
        }
        name => is_allowed(name),
    }
}

#[test]
fn every_dependency_has_a_licence_from_the_list_and_comes_from_the_registry() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--locked", "--format-version=1"]);
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let used: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();

    let (licences, exceptions) = allowed();
    assert!(licences.contains("MIT") && !exceptions.is_empty(), "{licences:?} {exceptions:?}");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    for package in packages.filter(|p| p["id"].as_str().is_some_and(|id| used.contains(id))) {
        let name = package["name"].as_str().expect("a name");
        let licence =
            package["license"].as_str().unwrap_or_else(|| panic!("{name} has no licence"));
        let is_allowed = |one: &str| {
            licences.contains(one) || exceptions.contains(&(name.to_owned(), one.to_owned()))
        };
        assert!(
            is_met(licence, &is_allowed),
            "{name} is {licence}, which deny.toml does not allow"
        );
        let source = package["source"].as_str();
        let is_known =
            source.is_none_or(|s| s == "registry+https://github.com/rust-lang/crates.io-index");
        assert!(is_known, "{name} comes from {source:?}");
    }
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let is_allowed = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
    let check = |expression: &str, expected: bool| {
        assert_eq!(is_met(expression, &is_allowed), expected, "{expression}");
    };
    check("MIT", true);
    check("GPL-3.0", false);
    check("GPL-3.0 OR MIT", true);
    check("GPL-3.0/MIT", true);
    check("MIT AND GPL-3.0", false);
    check("(GPL-3.0 OR MIT) AND ISC", true);
    check("GPL-3.0 OR MIT AND BSD", false);
    check("Apache-2.0 WITH LLVM-exception AND (ISC)", true);
    check("Apache-2.0", false);
}
