//! Files that are checked by themselves: rules and settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::compose::{self, Compose};
use super::finding::{File, Finding};
use crate::cli::args;
use crate::config::Config;
use crate::control::{guards, secrets};
use crate::disk::walk::{LeftOut, walk};
use crate::document::{Language, Node, Place, Table};
use crate::model::{Document, Problem, ProviderName, Severity, Snapshot};
use crate::plan::{Input, Planner};
use crate::settings::traefik::{self, Found};
use crate::settings::{Conflict, Defaults, FileSettings, Settings, Typed};

/// What one file holds.
#[derive(Default)]
pub(super) struct Checked {
    findings: Vec<Finding>,
    /// Its rules, to be looked at together with those of the other files.
    document: Option<Document>,
    /// The services of a Compose file.
    compose: Option<Compose>,
    /// The entry points it names, where it is one of settings.
    entrypoints: Option<EntryPoints>,
    /// Whether nobody knows what it holds.
    pub(super) is_unread: bool,
}

/// The entry points that rules and labels may name.
pub(super) struct EntryPoints {
    pub(super) names: Vec<String>,
    /// Those of frontends that name none.
    default: Vec<String>,
    /// Whether anybody named them, so that there are no others.
    is_said: bool,
}

impl EntryPoints {
    /// Those of flags and variables, else the default ones.
    pub(super) fn of(typed: &Typed, settings: &Settings) -> Self {
        Self::said(settings, typed.entrypoints.is_some() || typed.http.is_some())
    }

    fn said(settings: &Settings, is_said: bool) -> Self {
        let names = settings.entrypoints.iter().map(|entrypoint| entrypoint.name.clone());
        Self { names: names.collect(), default: settings.default_entrypoints.clone(), is_said }
    }

    /// What plans for them.
    pub(super) fn planner(&self) -> Planner {
        Planner::new(self.names.clone(), self.default.clone())
    }

    /// A problem as it is told: of entry points that nobody named, it is not known that there are no others.
    pub(super) fn judge(&self, problem: Problem) -> Problem {
        let label = problem.origin.label.as_deref().unwrap_or_default();
        if self.is_said || !(label.ends_with(".entryPoints") || label.ends_with(".entryPoint")) {
            return problem;
        }
        let hint = format!(
            "There is {} where the settings name no other: look at their file together with this one, or say --entryPoints.",
            self.names.join(", ")
        );
        Problem { severity: Severity::Warning, ..problem.hint(hint) }
    }
}

/// What is known of the files that are meant: of a directory, all that are TOML or YAML, as `run` would read them.
///
/// # Errors
/// When a directory cannot be read, or has none: who meant another one should not be told that all is well.
pub(super) fn checked(paths: &[PathBuf]) -> anyhow::Result<Vec<Checked>> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(check(path));
            continue;
        }
        let walk = walk(path).with_context(|| format!("cannot read {}", path.display()))?;
        // A link that leads nowhere may be anything.
        let is_meant = |left: &LeftOut| {
            left.is_unknown || Language::of(&left.path.to_string_lossy()).is_some()
        };
        let left_out = walk.left_out.into_iter().filter(is_meant);
        let mut inside: Vec<_> = left_out
            .map(|left| Checked::unread(left.path.display().to_string(), left.why))
            .collect();
        inside.extend(walk.files.iter().map(|(path, _)| check(path)));
        if inside.is_empty() {
            bail!(
                "there is nothing to check in {}: no file there is named *.toml, *.yaml or *.yml",
                path.display()
            );
        }
        all.extend(inside);
    }
    Ok(all)
}

/// What is wrong in one file.
fn check(path: &Path) -> Checked {
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Checked::unread(name, format!("It cannot be read: {error}.")),
    };
    let language = Language::of(&name).unwrap_or(Language::Toml);
    let tree = match language.parse(&text) {
        Ok(tree) => tree,
        Err(error) => {
            let Place { line, column } = error.place;
            let message = format!("The file cannot be read: {}.", error.message);
            let findings = vec![finding(Severity::Error, File { name, line, column }, message)];
            return Checked { findings, ..Checked::default() };
        }
    };
    if tree.is_empty() {
        let message = "There is nothing in this file: nothing of it is routed.".to_owned();
        let finding = finding(Severity::Warning, File { name, line: 1, column: 1 }, message);
        return Checked { findings: vec![finding], ..Checked::default() };
    }
    if let Some(services) = tree.get("services").and_then(Node::as_table) {
        let project = path.canonicalize().ok();
        let project = project.as_deref().and_then(Path::parent).and_then(Path::file_name);
        let project = project.map_or_else(|| "project".into(), |name| name.to_string_lossy());
        let (compose, findings) = compose::read(&name, &project, services);
        return Checked { findings, compose: Some(compose), ..Checked::default() };
    }
    let own: Vec<String> = args::own_flags("run").into_iter().map(|flag| flag.name).collect();
    let is_rules = tree.get("frontends").is_some() || tree.get("backends").is_some();
    let is_part = |key: &str| {
        ["frontends", "backends", "tls"].iter().any(|part| part.eq_ignore_ascii_case(key))
    };
    // What nobody knows beside rules is a slip in them.
    let is_setting = |key: &str| !is_rules || traefik::is_of_settings(key, &own);
    let is_settings = tree.entries().any(|entry| !is_part(&entry.key) && is_setting(&entry.key));
    let mut checked = Checked::default();
    if is_settings {
        checked.settings(&tree, &name, &own);
    }
    if is_rules {
        let (name, addresses) = (name.as_str().into(), std::collections::BTreeMap::new());
        checked.document = Some(Document { name, is_main: is_settings, tree, addresses });
    }
    checked
}

impl Checked {
    fn unread(name: String, why: String) -> Self {
        let finding = finding(Severity::Error, File { name, line: 1, column: 1 }, why);
        Self { findings: vec![finding], is_unread: true, ..Self::default() }
    }

    /// What is wrong with settings: each by itself, and all together.
    fn settings(&mut self, tree: &Table, name: &str, own_flags: &[String]) {
        let found = traefik::read(tree, own_flags, Some(name));
        self.findings.extend(found.notes.iter().map(|note| Finding::of_settings(note)));
        let error =
            |text: String| Finding { severity: Severity::Error, ..Finding::of_settings(&text) };
        let mut flags = vec!["herder".to_owned(), "run".to_owned()];
        for given in &found.given {
            match args::check("run", given) {
                Ok(()) => flags.push(format!("--{}={}", given.flag, given.value)),
                Err(why) => self.findings.push(error(format!("{why:#}."))),
            }
        }
        match args::settings_of(&flags) {
            Ok((settings, conflicts)) => {
                for Conflict { flag, why } in conflicts {
                    let given = found.given.iter().find(|given| given.flag == flag);
                    let place = given.map_or_else(|| format!("{name}:1:1"), |g| g.origin.clone());
                    self.findings.push(error(format!("{place}: {why}.")));
                }
                let left_out = settings.left_out();
                self.findings.extend(left_out.iter().map(|note| Finding::of_settings(note)));
                for guard in guards::invalid(&settings) {
                    let place = place_of_guard(&guard, tree, &found, name);
                    self.findings.push(Finding::of_guard(&guard, &format!("{place}: ")));
                }
                self.entrypoints = Some(EntryPoints::said(&settings, true));
            }
            Err(why) => self.findings.push(error(format!("{name}:1:1: {why}."))),
        }
    }
}

/// Where a guard of a settings file stands: `traefik.toml:12:3`.
fn place_of_guard(guard: &guards::Invalid, tree: &Table, found: &Found, name: &str) -> String {
    let top = || format!("{name}:1:1");
    let Some(entrypoint) = &guard.entrypoint else {
        let given = found.given.iter().find(|given| given.flag.starts_with("admin.users"));
        return given.map_or_else(top, |given| given.origin.clone());
    };
    let keys = ["entryPoints", entrypoint].into_iter().chain(guard.key.split('.'));
    tree.follow(keys).1.map_or_else(top, |place| format!("{name}:{place}"))
}

/// What is wrong with several files, as they would be served together. `entrypoints` count where no file names any.
pub(super) fn together(
    checked: Vec<Checked>,
    defaults: &Defaults,
    mut entrypoints: EntryPoints,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut named: Option<EntryPoints> = None;
    let (mut documents, mut composes) = (Vec::new(), Vec::new());
    for one in checked {
        findings.extend(one.findings);
        documents.extend(one.document.map(Arc::new));
        composes.extend(one.compose);
        match (&mut named, one.entrypoints) {
            (Some(named), Some(others)) => named.names.extend(others.names),
            (named, others) => *named = others.or(named.take()),
        }
    }
    entrypoints = named.unwrap_or(entrypoints);
    let snapshot = Snapshot { documents, ..Snapshot::default() };
    findings.extend(rules(&snapshot, &entrypoints));
    findings.extend(composes.iter().flat_map(|compose| compose.check(defaults, &entrypoints)));
    findings
}

/// What is wrong with the rules of all files.
fn rules(snapshot: &Snapshot, entrypoints: &EntryPoints) -> Vec<Finding> {
    let defaults = FileSettings::defaults();
    let input = Input { provider: ProviderName::File, snapshot, defaults: &defaults };
    let mut planner = entrypoints.planner();
    let (config, mut problems) = planner.plan(&[input], &Config::default());
    problems.extend(secrets::problems(&planner, &config));
    let problems = problems.into_iter().map(|problem| entrypoints.judge(problem));
    problems.map(|problem| Finding::of(&problem)).collect()
}

fn finding(severity: Severity, file: File, message: String) -> Finding {
    let who = file.name.clone();
    Finding { severity, file: Some(file), who, label: None, message, hint: None }
}
