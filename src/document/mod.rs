//! Files of settings and rules as trees whose every leaf knows its line: TOML, YAML, and what is said of them.
//!
//! Keys are compared without regard to case, as Traefik 1.7's TOML reader does.

mod toml;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;

/// A table of a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Table {
    entries: BTreeMap<String, Entry>,
    /// What was left out, for its key was there already in another spelling.
    doubles: Vec<Entry>,
}

/// A key as it was written, and its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// As written.
    pub key: String,
    /// What it stands for.
    pub node: Node,
}

/// A key of a file that was there already, but for its case: what it stands for is left out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Double {
    /// From the top, as written: `frontends.shop`.
    pub path: String,
    /// Where it stands.
    pub place: Place,
    /// Why it is left out: a clause without a full stop.
    pub why: String,
}

/// A value and its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A text, or a number, date or truth value in the file's own spelling.
    Scalar(String),
    /// Several values.
    List(Vec<Node>),
    /// Values by key.
    Table(Table),
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SyntaxError {
    /// Where, as far as that is known.
    pub place: Place,
    /// What is wrong: a clause without a full stop.
    pub message: String,
}

/// The languages of files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// <https://toml.io>
    Toml,
    /// <https://yaml.org>
    Yaml,
}

impl Language {
    /// By the end of a file's name; none for other files.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "toml" => Some(Self::Toml),
            "yml" | "yaml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Where it breaks the language's grammar.
    pub fn parse(self, text: &str) -> Result<Table, SyntaxError> {
        match self {
            Self::Toml => toml::parse(text),
            Self::Yaml => yaml::parse(text),
        }
    }
}

impl Table {
    /// The value of a key, without regard to case.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(&key.to_ascii_lowercase()).map(|entry| &entry.node)
    }

    /// Follows keys down, as far as they are there: each as it was written, and the place of the last one found.
    pub fn follow<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> (Vec<String>, Option<Place>) {
        let (mut table, mut place, mut written) = (Some(self), None, Vec::new());
        for key in keys {
            let entry = table.and_then(|table| table.entries.get(&key.to_ascii_lowercase()));
            written.push(entry.map_or(key, |entry| &entry.key).to_owned());
            table = entry.and_then(|entry| entry.node.as_table());
            place = entry.map(|entry| entry.node.place).or(place);
        }
        (written, place)
    }

    /// Everything in it, in the order of the keys.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts a value in the place of what the key stood for.
    pub fn insert(&mut self, key: &str, node: Node) {
        self.entries.insert(key.to_ascii_lowercase(), Entry { key: key.to_owned(), node });
    }

    /// Puts in a value of a file. Of two keys that differ only in case, the one that stands first is kept.
    fn add(&mut self, key: &str, node: Node) {
        let mut entry = Entry { key: key.to_owned(), node };
        if let Some(first) = self.entries.get_mut(&key.to_ascii_lowercase()) {
            // A parser may have sorted them.
            if entry.node.place < first.node.place {
                std::mem::swap(&mut entry, first);
            }
            self.doubles.push(entry);
        } else {
            self.insert(key, entry.node);
        }
    }

    /// The keys in it, and below it, that were there already.
    pub fn doubles(&self) -> Vec<Double> {
        let mut doubles = Vec::new();
        self.find_doubles("", &mut doubles);
        doubles
    }

    fn find_doubles(&self, path: &str, doubles: &mut Vec<Double>) {
        for Entry { key, node } in &self.doubles {
            let first = self.entries.get(&key.to_ascii_lowercase());
            let first = first.map(|first| format!(" ({} at {})", first.key, first.node.place));
            let why =
                format!("it is there twice, differing only in case{}", first.unwrap_or_default());
            doubles.push(Double { path: format!("{path}{key}"), place: node.place, why });
        }
        for Entry { key, node } in self.entries.values() {
            node.find_doubles(&format!("{path}{key}."), doubles);
        }
    }

    /// The table of a key, made where it is missing; none where the key stands for something else.
    pub fn table_mut(&mut self, key: &str, place: Place) -> Option<&mut Self> {
        let entry = self.entries.entry(key.to_ascii_lowercase()).or_insert_with(|| Entry {
            key: key.to_owned(),
            node: Node { place, value: Value::Table(Self::default()) },
        });
        match &mut entry.node.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }
}

impl Node {
    fn find_doubles(&self, path: &str, doubles: &mut Vec<Double>) {
        match &self.value {
            Value::Scalar(_) => {}
            Value::List(list) => list.iter().for_each(|node| node.find_doubles(path, doubles)),
            Value::Table(table) => table.find_doubles(path, doubles),
        }
    }

    /// The table, where it is one.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The text, where it is a single value.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, in a word.
    pub fn sort(&self) -> &'static str {
        match self.value {
            Value::Scalar(_) => "a value",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A text, and where its lines begin: the places of all that stands in a long file are found in it.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let ends = text.bytes().zip(1..).filter(|(byte, _)| *byte == b'\n').map(|(_, after)| after);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The place of a byte.
    fn place(&self, byte: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = line.checked_sub(1).and_then(|before| self.starts.get(before)).copied();
        let before = self.text.get(start.unwrap_or(0)..byte).unwrap_or_default();
        Place { line, column: before.chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    /// `12:3`, as compilers write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a.b=c@line:column` for each leaf.
    fn drawn(table: &Table) -> Vec<String> {
        fn walk(path: &str, node: &Node, lines: &mut Vec<String>) {
            match &node.value {
                Value::Scalar(text) => lines.push(format!("{path}={text}@{}", node.place)),
                Value::List(list) => {
                    for (n, node) in list.iter().enumerate() {
                        walk(&format!("{path}[{n}]"), node, lines);
                    }
                }
                Value::Table(table) => {
                    for entry in table.entries() {
                        walk(&format!("{path}.{}", entry.key), &entry.node, lines);
                    }
                }
            }
        }
        let mut lines = Vec::new();
        walk("", &Node { place: Place::default(), value: Value::Table(table.clone()) }, &mut lines);
        lines
    }

    #[test]
    fn two_languages_say_the_same() {
        let toml = "debug = true\n[backends.B.servers.s]\n  url = \"http://é:80\"\n  weight = 10\n[x]\nlist = [\n \"a\", 1.5]\n";
        let yaml = "debug: true\nbackends:\n  B:\n    servers:\n      s:\n        url: \"http://é:80\"\n        weight: 10\nx:\n  list:\n  - a\n  - 1.5\n";
        let toml = Language::Toml.parse(toml).expect("TOML");
        assert_eq!(
            drawn(&toml),
            [
                ".backends.B.servers.s.url=http://é:80@3:9",
                ".backends.B.servers.s.weight=10@4:12",
                ".debug=true@1:9",
                ".x.list[0]=a@7:2",
                ".x.list[1]=1.5@7:7",
            ]
        );
        let yaml = Language::Yaml.parse(yaml).expect("YAML");
        let without_places = |table: &Table| {
            let lines = drawn(table).into_iter();
            lines.map(|l| l.split('@').next().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(without_places(&yaml), without_places(&toml));
        assert!(drawn(&yaml).contains(&".backends.B.servers.s.weight=10@7:17".to_owned()));
        assert!(toml.get("BACKENDS").and_then(|b| b.as_table()?.get("b")).is_some());
    }

    #[test]
    fn a_number_keeps_its_spelling() {
        let toml = Language::Toml.parse("a = 1.10\nb = [1e3, 0.50]\nc = 1.10\n").expect("TOML");
        let yaml = "a: &a 1.10 # one\nb: [1e3, 0.50]\nc: *a\n";
        let yaml = Language::Yaml.parse(yaml).expect("YAML");
        let expected = [".a=1.10", ".b[0]=1e3", ".b[1]=0.50", ".c=1.10"];
        for tree in [toml, yaml] {
            let lines = drawn(&tree);
            let said: Vec<_> = lines.iter().filter_map(|l| l.split('@').next()).collect();
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_path_of_keys_is_followed_as_far_as_it_goes() {
        let tree = Language::Toml.parse("[A.B]\nc = 1\n").expect("TOML");
        let place = |keys: &[&str]| {
            let (written, place) = tree.follow(keys.iter().copied());
            (written.join("."), place.map(|place| place.to_string()))
        };
        assert_eq!(place(&["a", "b", "C"]), ("A.B.c".to_owned(), Some("2:5".to_owned())));
        assert_eq!(place(&["a", "b", "d"]), ("A.B.d".to_owned(), Some("1:1".to_owned())));
        assert_eq!(place(&["x"]), ("x".to_owned(), None));
    }

    #[test]
    fn keys_that_differ_only_in_case_are_told_and_the_first_is_kept() {
        let toml = "[frontends.shop]\nbackend = \"a\"\n[frontends.Shop]\nbackend = \"b\"\nBACKEND = \"c\"\n";
        let yaml = "frontends:\n  shop: {backend: a}\n  Shop: {backend: b}\n";
        for (language, text, place) in [
            (Language::Toml, toml, "3:1 (shop at 1:1)"),
            (Language::Yaml, yaml, "3:9 (shop at 2:9)"),
        ] {
            let tree = language.parse(text).expect(text);
            let [double] = &*tree.doubles() else { panic!("{:?}", tree.doubles()) };
            let told = format!("{} {} {}", double.path, double.place, double.why);
            let (at, first) = place.split_once(' ').expect("two places");
            let why = "it is there twice, differing only in case";
            assert_eq!(told, format!("frontends.Shop {at} {why} {first}"));
            let shop = tree.get("frontends").and_then(|f| f.as_table()?.get("SHOP"));
            let backend = shop.and_then(|shop| shop.as_table()?.get("backend")?.as_text());
            assert_eq!(backend, Some("a"));
        }
    }

    #[test]
    fn what_cannot_be_read_has_a_place() {
        for (language, text, line) in [
            (Language::Toml, "a = 1\nb = \n", 2),
            (Language::Toml, "a = 1\n[b\n", 2),
            (Language::Toml, "a = 1\na = 2\n", 2),
            (Language::Yaml, "a: 1\nb: [1\n", 2),
            (Language::Yaml, "a: 1\n  b: 2\n", 2),
            (Language::Yaml, "- a\n", 1),
        ] {
            let error = language.parse(text).expect_err(text);
            assert_eq!(error.place.line, line, "{text}: {error:?}");
        }
    }

    #[test]
    fn a_key_of_yaml_that_is_there_twice_is_told_in_words_for_its_owner() {
        for (text, expected) in [
            ("traefik.port: 1\ntraefik.port: 2\n", "duplicate mapping key: traefik.port"),
            ("\"a, set b\": 1\n\"a, set b\": 2\n", "duplicate mapping key: a, set b"),
        ] {
            let error = Language::Yaml.parse(text).expect_err(text);
            assert_eq!((&*error.message, error.place.line), (expected, 2));
        }
    }

    #[test]
    fn a_deep_file_is_refused() {
        let deep = format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(Language::Toml.parse(&deep).is_err());
        let deep = format!("a: {}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(Language::Yaml.parse(&deep).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "([a-c]+( =|:) ?[\\[\\]{}\"'0-9a-c, &*|>\\-]{0,8}\n?|\\[[a-c.]{0,4}\\]\n){0,8}") {
            let _ = Language::Toml.parse(&text);
            let _ = Language::Yaml.parse(&text);
        }
    }
}
