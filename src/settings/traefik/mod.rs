//! The settings of Traefik 1.7, from its file or its flags, in terms of our own: a flag and a value for each.
//!
//! Every setting has one name, that of its flag; a file's `[docker] domain` is `--docker.domain`. So a value is checked in
//! one place, wherever it comes from. Source: Traefik 1.7, docs/configuration and cmd/traefik/configuration.go.

mod keys;

use super::{EntryAuth, EntryKeys, EntryPoint, HTTP_ENTRYPOINT};
use crate::document::{Double, Entry, Language, Node, Place, Table, Value};
use crate::model::nearest;
use keys::Fate::{self, Always, DebugMode, Flag, Later, Level, Names, Nothing, OnceOn, Time};
use keys::{ADMIN_AUTH, KEYS, fate, is_below, is_table};

pub use keys::{NO_LIMIT, flag_of, is_key, is_limit, is_of_settings};

/// A setting that was said somewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    /// The name of our flag, without dashes.
    pub flag: String,
    /// Its value.
    pub value: String,
    /// Where it was said, for people: `traefik.toml:3:10`, `TRAEFIK_HTTP_PORT`.
    pub origin: String,
    /// Where it keeps strangers out, and so goes before what other sources say of this flag: what is told where it does.
    pub guard: Option<String>,
}

/// What was found in a file or among flags.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// What is acted on.
    pub given: Vec<Given>,
    /// What is not, a sentence for each.
    pub notes: Vec<String>,
    /// The entry point at which flags want the page, by its name.
    page_at: Option<String>,
}

/// The name of Traefik's own entry point for its API and dashboard, where none is named.
const ADMIN_ENTRYPOINT: &str = "traefik";

/// Traefik's own entry point for its API and dashboard, where none is named.
const ADMIN_ADDRESS: &str = ":8080";

/// Reads the settings of a tree.
///
/// `own_flags` are the names of our flags, which may stand in a file as well; `file` is the file's name, none for flags.
pub fn read(tree: &Table, own_flags: &[String], file: Option<&str>) -> Found {
    let is_yaml = file.and_then(Language::of) == Some(Language::Yaml);
    let doubles = tree.doubles();
    let filled = is_yaml.then(|| with_empty_tables(tree, "", own_flags));
    let tree = filled.as_ref().unwrap_or(tree);
    let mut reader = Reader { tree, own_flags, file, found: Found::default() };
    for Double { path, place, why } in doubles {
        let is_rule = ["frontends", "backends"]
            .iter()
            .any(|r| path.split('.').next().is_some_and(|top| top.eq_ignore_ascii_case(r)));
        if !is_rule {
            reader.note(&path, place, &why);
        }
    }
    reader.entrypoints();
    for entry in tree.entries() {
        let is_else = ["entrypoints", "frontends", "backends"];
        if !is_else.contains(&entry.key.to_ascii_lowercase().as_str()) {
            reader.entry(&entry.key.clone(), entry);
        }
    }
    reader.admin();
    reader.providers();
    reader.found.each_once();
    reader.found
}

/// The same tree with a table for each key that stands for one and has nothing: YAML's `docker:` is TOML's `[docker]`.
fn with_empty_tables(table: &Table, path: &str, own_flags: &[String]) -> Table {
    let mut filled = Table::default();
    for entry in table.entries() {
        let path =
            if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        let mut node = entry.node.clone();
        match &node.value {
            Value::Table(inner) => {
                node.value = Value::Table(with_empty_tables(inner, &path, own_flags));
            }
            Value::Scalar(text) if text.is_empty() && is_table(&path, own_flags) => {
                node.value = Value::Table(Table::default());
            }
            Value::Scalar(_) | Value::List(_) => {}
        }
        filled.insert(&entry.key, node);
    }
    filled
}

impl Found {
    /// Takes in the entry points that are flags: the page has an address and users of its own there. It is switched off where the
    /// one that was to be its own, as in Traefik, is guarded.
    pub fn shut_admin_beside<'e>(&mut self, mut entrypoints: impl Iterator<Item = &'e EntryPoint>) {
        let named = self.page_at.take();
        let page_at = named.as_deref().unwrap_or(ADMIN_ENTRYPOINT);
        let is_guarded = |e: &&EntryPoint| e.name.eq_ignore_ascii_case(page_at) && e.is_guarded();
        let guarded = entrypoints.find(is_guarded);
        if let (None, Some(named)) = (guarded, &named) {
            self.notes.push(format!(
                "--api.entryPoint is left out: the page is not at the entry point {named}; --admin and --admin.users say where it is, and \
                 who may see it."
            ));
        }
        if let Some(guarded) = guarded {
            self.given.retain(|given| given.flag != "admin");
            let (flag, value, origin) =
                ("admin".to_owned(), "off".to_owned(), "--entryPoints".to_owned());
            let guard = Some(format!(
                "The page is switched off: its entry point {guarded} has guards that a page's flags do not take; write --admin and --admin.users."
            ));
            self.given.push(Given { flag, value, origin, guard });
        }
    }

    /// Where the page is Traefik's (`--api`, `--web`), requests come in at Traefik's port, unless something else is said.
    pub fn listen_as_traefik(&mut self) {
        if let Some(page) = self.given.iter().find(|given| given.flag == "admin") {
            let origin = format!("{} (Traefik's default)", page.origin);
            let (flag, value) = ("entryPoints".to_owned(), "Name:http Address::80".to_owned());
            self.given.push(Given { flag, value, origin, guard: None });
        }
    }

    /// Puts together what several keys say of one flag: all constraints must fit, a page that is switched off stays so,
    /// and of the others the first counts.
    fn each_once(&mut self) {
        let mut kept: Vec<Given> = Vec::new();
        for given in std::mem::take(&mut self.given) {
            let first = kept.iter_mut().find(|first| first.flag == given.flag);
            match (first, given.flag.as_str()) {
                (None, _) | (Some(_), "entryPoints") => kept.push(given),
                (Some(first), "constraints" | "docker.constraints" | "rancher.constraints") => {
                    first.value = format!("{},{}", first.value, given.value)
                }
                (Some(first), "admin") if given.guard.is_some() => *first = given,
                (Some(first), _) if first.value == given.value => {}
                (Some(first), flag) => {
                    let Given { origin, .. } = &given;
                    self.notes.push(format!(
                        "{origin} is left out: {flag} was said at {} already.",
                        first.origin
                    ));
                }
            }
        }
        self.given = kept;
    }
}

struct Reader<'t> {
    tree: &'t Table,
    own_flags: &'t [String],
    file: Option<&'t str>,
    found: Found,
}

impl Reader<'_> {
    fn origin(&self, path: &str, place: Place) -> String {
        match self.file {
            Some(file) => format!("{file}:{place}"),
            None => format!("--{path}"),
        }
    }

    fn give(&mut self, flag: &str, value: impl Into<String>, origin: String) {
        let (flag, value) = (flag.to_owned(), value.into());
        self.found.given.push(Given { flag, value, origin, guard: None });
    }

    /// Switches the page off: it asks for what is not there, and would be open without.
    fn shut_admin(&mut self, path: &str, place: Place) {
        let (flag, value) = ("admin".to_owned(), "off".to_owned());
        let why = "the admin side has no such guard, and is switched off";
        let (guard, origin) = (Some(self.noted(path, place, why)), self.origin(path, place));
        self.found.given.push(Given { flag, value, origin, guard });
    }

    /// Gives the page the users of an entry point, or of its own. Tells whether these are all its guards.
    fn guard_admin(&mut self, auth: &EntryAuth, path: &str, place: Place) -> bool {
        let (method, users) = match (&auth.basic, &auth.digest, &auth.forward) {
            (Some(users), None, None) => ("basic", users),
            (None, Some(users), None) => ("digest", users),
            _ => return false,
        };
        let origin = self.origin(path, place);
        self.give("admin.auth", method, origin.clone());
        // Even where there are none: then nobody gets in.
        self.give("admin.users", users.users.join(","), origin.clone());
        if !users.users_file.is_empty() {
            self.give("admin.usersFile", users.users_file.clone(), origin);
        }
        true
    }

    fn guard_admin_as(&mut self, entrypoint: &EntryPoint, path: &str, place: Place) -> bool {
        let EntryPoint { shut, sources, auth, .. } = entrypoint;
        let auth = auth.as_deref().filter(|_| shut.is_none() && sources.is_none());
        auth.is_some_and(|auth| self.guard_admin(auth, path, place))
    }

    fn note(&mut self, path: &str, place: Place, why: &str) {
        let note = self.noted(path, place, why);
        self.found.notes.push(note);
    }

    fn noted(&self, path: &str, place: Place, why: &str) -> String {
        let origin = self.origin(path, place);
        let shown = if self.file.is_some() { format!("{origin}: {path}") } else { origin };
        format!("{shown} is left out: {why}.")
    }

    fn entry(&mut self, path: &str, entry: &Entry) {
        let (node, place) = (&entry.node, entry.node.place);
        if ADMIN_AUTH.iter().any(|key| key.eq_ignore_ascii_case(path)) {
            let (mut keys, mut auth) = (Vec::new(), EntryAuth::default());
            keys_of("", node, &mut keys);
            let is_read = keys.iter().all(|(key, value)| {
                let key = key.to_ascii_lowercase();
                auth.set(&key.split('.').collect::<Vec<_>>(), value)
            });
            if !is_read || !self.guard_admin(&auth, path, place) {
                self.shut_admin(path, place);
            }
            return;
        }
        match (fate(path), &node.value) {
            (Some(OnceOn(_)), Value::Scalar(text)) if text == "false" => {}
            (Some(Later(why) | OnceOn(why)), _) => self.note(path, place, why),
            (Some(Names(flag)), Value::Table(table)) => {
                let names = table.entries();
                let names =
                    names.map(|entry| Some(format!("{}={}", entry.key, entry.node.as_text()?)));
                match names.collect::<Option<Vec<_>>>() {
                    Some(names) => {
                        let origin = self.origin(path, place);
                        self.give(flag, names.join(" "), origin);
                    }
                    None => self.note(path, place, "it holds more than plain values"),
                }
            }
            (Some(fate), Value::Scalar(_) | Value::List(_)) => self.leaf(path, fate, node),
            (None, Value::Table(table)) if self.has_below(path) => {
                for entry in table.entries() {
                    self.entry(&format!("{path}.{}", entry.key), entry);
                }
            }
            (Some(_), Value::Table(_)) => {
                self.note(path, place, "it is a table, and should be a value")
            }
            // Flags and files may switch a table on without saying more.
            (None, Value::Scalar(text)) if self.has_below(path) && text == "true" => {}
            (None, Value::Scalar(_) | Value::List(_)) => match self.own_flag(path) {
                Some(flag) => match text(&node.value) {
                    Some(text) => {
                        let origin = self.origin(path, place);
                        self.give(&flag, text, origin);
                    }
                    None => self.note(path, place, "it holds more than plain values"),
                },
                None => self.unknown(path, place),
            },
            (None, Value::Table(_)) => self.unknown(path, place),
        }
    }

    fn own_flag(&self, path: &str) -> Option<String> {
        self.own_flags.iter().find(|flag| flag.eq_ignore_ascii_case(path)).cloned()
    }

    fn has_below(&self, path: &str) -> bool {
        KEYS.iter().any(|(key, _)| is_below(path, key))
            || self.own_flags.iter().any(|flag| is_below(path, flag))
    }

    fn unknown(&mut self, path: &str, place: Place) {
        let keys = KEYS.iter().map(|(key, _)| key.trim_end_matches(".*"));
        let keys = keys
            .chain(["entryPoints", "frontends", "backends"])
            .chain(self.own_flags.iter().map(String::as_str));
        let hint =
            nearest(path, keys).map(|key| format!(" Did you mean {key}?")).unwrap_or_default();
        let origin = self.origin(path, place);
        let shown = if self.file.is_some() { format!("{origin}: {path}") } else { origin };
        self.found.notes.push(format!("{shown} is not a key we know, and is left out.{hint}"));
    }

    fn leaf(&mut self, path: &str, fate: Fate, node: &Node) {
        let place = node.place;
        let Some(text) = text(&node.value) else {
            self.note(path, place, "it holds more than plain values");
            return;
        };
        let origin = self.origin(path, place);
        match fate {
            Flag(flag) | Names(flag) => self.give(flag, text, origin),
            Time(flag) if text.trim_end_matches(|c: char| c.is_ascii_alphabetic()) != "0" => {
                self.give(flag, text, origin);
            }
            Time(_) => self.note(path, place, NO_LIMIT),
            Level => {
                let level = match text.to_ascii_lowercase().as_str() {
                    "fatal" | "panic" => "error".to_owned(),
                    "warning" => "warn".to_owned(),
                    level => level.to_owned(),
                };
                self.give("log.level", level, origin);
            }
            DebugMode if text == "true" && self.tree.get("logLevel").is_none() => {
                self.give("log.level", "debug", origin)
            }
            Always if text != "true" => self.note(path, place, "it is always true here"),
            Always | DebugMode | Nothing | Later(_) | OnceOn(_) => {}
        }
    }

    /// `[entryPoints.http] address = ":80"` is `Name:http Address::80`.
    fn entrypoints(&mut self) {
        let Some(node) = self.tree.get("entryPoints") else {
            // Traefik 1.7 listens on port 80 where nothing is said.
            if let Some(file) = self.file {
                self.give(
                    "entryPoints",
                    "Name:http Address::80",
                    format!("{file} (Traefik's default)"),
                );
            }
            return;
        };
        if let Value::List(list) = &node.value {
            for node in list {
                if let Some(text) = node.as_text() {
                    let origin = self.origin("entryPoints", node.place);
                    self.give("entryPoints", text, origin);
                }
            }
            return;
        }
        for entry in node.as_table().into_iter().flat_map(Table::entries) {
            let mut keys = vec![("Name".to_owned(), entry.key.clone())];
            keys_of("", &entry.node, &mut keys);
            let origin = self.origin("entryPoints", entry.node.place);
            self.give("entryPoints", EntryKeys(keys).text(), origin);
        }
    }

    /// `[web]`, or the entry point of `[api]`: where the page is.
    fn admin(&mut self) {
        let is_on = |node: &&Node| node.as_text().is_none_or(|text| text == "true");
        let web = self.tree.get("web").filter(is_on);
        let Some((path, node)) = self
            .tree
            .get("api")
            .filter(is_on)
            .map(|api| ("api", api))
            .or(web.map(|web| ("web", web)))
        else {
            return;
        };
        let named = node.as_table().and_then(|table| table.get("entryPoint")?.as_text());
        if self.file.is_none() {
            self.found.page_at = named.map(str::to_owned);
        }
        let named = named.unwrap_or(ADMIN_ENTRYPOINT);
        let place = node.place;
        let is_named = |entrypoint: &EntryPoint| entrypoint.name.eq_ignore_ascii_case(named);
        let given = self.found.given.iter().enumerate().filter(|(_, g)| g.flag == "entryPoints");
        let found = given.filter_map(|(at, g)| Some((at, g.value.parse::<EntryPoint>().ok()?)));
        let found = found.into_iter().find(|(_, entrypoint)| is_named(entrypoint));
        let default = self.tree.get("defaultEntryPoints").and_then(|node| text(&node.value));
        let default = default.unwrap_or_else(|| HTTP_ENTRYPOINT.to_owned());
        let is_default = default.split(',').any(|name| name.trim().eq_ignore_ascii_case(named));
        let address = match &found {
            Some((_, e)) if e.is_guarded() && !self.guard_admin_as(e, path, place) => {
                return self.shut_admin(path, place);
            }
            Some(_) if is_default => {
                let why = "requests come in at that entry point; the page has one of its own";
                return self.note(&format!("{path}.entryPoint"), place, why);
            }
            Some((_, entrypoint)) => entrypoint.listen.to_string(),
            None => ADMIN_ADDRESS.to_owned(),
        };
        // It is the admin side's; requests do not come in there.
        if let Some((at, entrypoint)) = found {
            self.found.given.remove(at);
            if !entrypoint.name.eq_ignore_ascii_case(ADMIN_ENTRYPOINT) {
                let origin = self.origin(path, place);
                self.found.notes.push(format!(
                    "{origin}: the entry point {entrypoint} is the page's alone: no requests come in there, as they would in Traefik."
                ));
            }
        }
        let origin = self.origin(path, place);
        if self.found.given.iter().all(|given| given.flag != "admin") {
            self.give("admin", address, origin);
        }
    }

    /// A table switches its provider on.
    fn providers(&mut self) {
        for name in ["docker", "rancher", "accessLog"] {
            if let Some(node) = self.tree.get(name).filter(|node| node.as_table().is_some()) {
                let origin = self.origin(name, node.place);
                self.give(name, "true", origin);
            }
        }
        let api = self.tree.get("rancher").and_then(|node| node.as_table()?.get("api"));
        if let Some(node) = api {
            let origin = self.origin("rancher.api", node.place);
            self.give("rancher.api", "true", origin);
        }
        let node = self.tree.get("file");
        let has_source = node
            .and_then(Node::as_table)
            .is_some_and(|t| t.get("filename").is_some() || t.get("directory").is_some());
        match (node, self.file) {
            (Some(node), Some(file)) if !has_source => {
                let origin = self.origin("file", node.place);
                self.give("file.main", file, origin);
            }
            (Some(_), _) => self.rules_left_out("rules are read from what [file] names"),
            (None, _) => {
                self.rules_left_out("rules beside settings are read where a line says [file]")
            }
        }
    }

    /// As in Traefik 1.7, which says nothing of it.
    fn rules_left_out(&mut self, why: &str) {
        let tree = self.tree;
        for key in ["frontends", "backends"] {
            if let Some(node) = tree.get(key) {
                self.note(key, node.place, why);
            }
        }
    }
}

/// The keys of an entry point's table, with the names of the tables they stand in.
fn keys_of(prefix: &str, node: &Node, keys: &mut Vec<(String, String)>) {
    match &node.value {
        Value::Table(table) if table.is_empty() => {
            if !prefix.is_empty() {
                keys.push((prefix.to_owned(), "true".to_owned()));
            }
        }
        Value::Table(table) => {
            for Entry { key, node } in table.entries() {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                keys_of(&key, node, keys);
            }
        }
        value => {
            let text = text(value).unwrap_or_default();
            let text = match prefix.to_ascii_lowercase().as_str() {
                // A URL has no blank, and no line of a head an end within.
                "redirect.replacement" => text.trim().replace(char::is_whitespace, "%20"),
                _ => text.trim().to_owned(),
            };
            keys.push((prefix.to_owned(), text));
        }
    }
}

/// A value as a flag takes it: a list with commas.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Scalar(text) => Some(text.clone()),
        Value::List(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Node::as_text).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Table(_) => None,
    }
}
