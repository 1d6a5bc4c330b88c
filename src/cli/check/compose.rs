//! The labels of Compose files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::EntryPoints;
use super::finding::{File, Finding};
use crate::config::Config;
use crate::control::secrets;
use crate::dialects::labels::is_ours;
use crate::document::{Node, Place, Table, Value};
use crate::model::{Labels, Problem, ProviderName, Service, Severity, Snapshot};
use crate::plan::Input;
use crate::settings::Defaults;

/// The services of a Compose file, each as if one container of it ran, and where their labels stand.
pub(super) struct Compose {
    name: String,
    services: BTreeMap<String, Labelled>,
}

/// A service with the places of its labels.
struct Labelled {
    service: Arc<Service>,
    place: Place,
    labels: Vec<(String, Place)>,
}

/// Reads the services of a Compose file, and tells which of their labels are not what they seem.
pub(super) fn read(name: &str, project: &str, services: &Table) -> (Compose, Vec<Finding>) {
    let mut compose = Compose { name: name.to_owned(), services: BTreeMap::new() };
    let mut findings = Vec::new();
    for entry in services.entries() {
        let Some(table) = entry.node.as_table() else { continue };
        let deploy = table.get("deploy").and_then(Node::as_table);
        let of_swarm = deploy.and_then(|deploy| deploy.get("labels"));
        findings.extend(of_swarm.and_then(|node| compose.on_no_container(&entry.key, node)));
        let mut labels = Labels::default();
        let mut places = Vec::new();
        for (key, value, place) in table.get("labels").into_iter().flat_map(labels_of) {
            match interpolated(&value) {
                Ok(value) => {
                    labels.insert(key.as_str().into(), value.into());
                    places.push((key, place));
                }
                Err((severity, message)) if is_ours(&key) => {
                    let file = Some(compose.file(place));
                    let message = format!("{key}: {message}");
                    let (who, label) = (entry.key.clone(), Some(key));
                    findings.push(Finding { severity, file, who, label, message, hint: None });
                }
                Err(_) => {}
            }
        }
        let service = Arc::new(Service::running(&entry.key, Some(project), labels));
        let labelled = Labelled { service, place: entry.node.place, labels: places };
        compose.services.insert(entry.key.clone(), labelled);
    }
    (compose, findings)
}

impl Compose {
    /// What is wrong with the labels, as they would be served together.
    pub(super) fn check(&self, defaults: &Defaults, entrypoints: &EntryPoints) -> Vec<Finding> {
        let services = self.services.values().map(|labelled| Arc::clone(&labelled.service));
        let snapshot = Snapshot { services: services.collect(), ..Snapshot::default() };
        let input = Input { provider: ProviderName::Docker, snapshot: &snapshot, defaults };
        let mut planner = entrypoints.planner();
        let (config, mut problems) = planner.plan(&[input], &Config::default());
        problems.extend(secrets::problems(&planner, &config));
        let problems = problems.into_iter().map(|problem| entrypoints.judge(problem));
        problems.filter_map(|problem| self.finding(&problem)).collect()
    }

    /// What is told of labels below `deploy`: Swarm has them on its service (Compose specification, "Deploy", "labels").
    fn on_no_container(&self, who: &str, node: &Node) -> Option<Finding> {
        let (label, _, place) = labels_of(node).into_iter().find(|(key, _, _)| is_ours(key))?;
        Some(Finding {
            severity: Severity::Warning,
            file: Some(self.file(place)),
            who: who.to_owned(),
            message: format!(
                "{label} is below deploy: Compose puts these labels on no container, and nobody reads them."
            ),
            label: Some(label),
            hint: Some("Write them under labels.".to_owned()),
        })
    }

    fn finding(&self, problem: &Problem) -> Option<Finding> {
        let severity = match problem.origin.label.as_deref() {
            // Which network it is in is not known here.
            Some("traefik.docker.network") => return None,
            // Nor what is where Herder runs, and in other projects.
            Some(label) if is_elsewhere(label) => Severity::Note,
            _ => problem.severity,
        };
        let whose = |labelled: &&Labelled| {
            let Service { name, stack, .. } = &*labelled.service;
            let full = format!("{name}.{}", stack.as_deref().unwrap_or_default());
            *problem.origin.service == **name || *problem.origin.service == *full
        };
        let labelled = self.services.values().find(whose);
        let place = labelled.map(|labelled| labelled.place_of(problem.origin.label.as_deref()));
        Some(Finding {
            severity,
            file: Some(self.file(place.unwrap_or_default())),
            who: labelled.map(|labelled| labelled.service.name.to_string()).unwrap_or_default(),
            ..Finding::of(problem)
        })
    }

    fn file(&self, Place { line, column }: Place) -> File {
        File { name: self.name.clone(), line, column }
    }
}

/// Whether a label names what another machine or another project may have.
fn is_elsewhere(label: &str) -> bool {
    label.ends_with(".usersFile")
        || label.contains(".auth.forward.tls.")
        || label.contains(".frontend.errors.") && label.ends_with(".backend")
}

impl Labelled {
    /// Where a label stands; else where one of a segment says the same, or one of its family.
    fn place_of(&self, label: Option<&str>) -> Place {
        let Some(label) = label else { return self.place };
        let own = label.strip_prefix("traefik").unwrap_or(label);
        let family = label.rsplit_once('.').map_or(label, |(family, _)| family);
        let place = |fits: &dyn Fn(&str) -> bool| {
            self.labels.iter().find(|(key, _)| fits(key)).map(|(_, place)| *place)
        };
        place(&|key| key == label)
            .or_else(|| place(&|key| key.ends_with(own)))
            .or_else(|| place(&|key| key.starts_with(family)))
            .unwrap_or(self.place)
    }
}

/// Labels as a table or as a list of `key=value`; one without a value has an empty one.
fn labels_of(node: &Node) -> Vec<(String, String, Place)> {
    match &node.value {
        Value::Table(table) => {
            let label = |entry: &crate::document::Entry| {
                Some((entry.key.clone(), entry.node.as_text()?.to_owned(), entry.node.place))
            };
            table.entries().filter_map(label).collect()
        }
        Value::List(list) => {
            let label = |node: &Node| {
                let text = node.as_text()?;
                let (key, value) = text.split_once('=').unwrap_or((text, ""));
                Some((key.to_owned(), value.to_owned(), node.place))
            };
            list.iter().filter_map(label).collect()
        }
        Value::Scalar(_) => Vec::new(),
    }
}

/// The value that Compose makes of a text: `$$` is a `$`, and `$NAME` and `${NAME}` are variables (Compose specification,
/// "Interpolation").
///
/// # Errors
/// When the value cannot be known here: what to tell, and how bad it is.
fn interpolated(text: &str) -> Result<String, (Severity, String)> {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        value.push_str(before);
        if let Some(braced) = after.strip_prefix('{') {
            let name = braced.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
            let name = name.unwrap_or_default();
            let what = format!(
                "what the variable {name} holds is not known here; this label is not looked at."
            );
            return Err((Severity::Note, what));
        }
        if after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
            let what = format!(
                "Compose puts the variable {name} in the place of ${name}. Write $$ for a $ that is meant, ${{{name}}} for the variable."
            );
            return Err((Severity::Warning, what));
        }
        let Some(after) = after.strip_prefix('$') else {
            let what = "Compose does not take a $ alone. Write $$ for it.";
            return Err((Severity::Error, what.to_owned()));
        };
        value.push('$');
        rest = after;
    }
    value.push_str(rest);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dollar_is_what_compose_makes_of_it() {
        for (text, value) in [("a", "a"), ("$$apr1$$b", "$apr1$b"), ("$$$$", "$$"), ("", "")] {
            assert_eq!(interpolated(text).as_deref(), Ok(value), "{text}");
        }
        for (text, severity, part) in [
            ("ann:$apr1$S", Severity::Warning, "variable apr1 "),
            ("$_x", Severity::Warning, "variable _x "),
            ("a.${DOMAIN:-b}", Severity::Note, "variable DOMAIN "),
            ("a${", Severity::Note, "not known here"),
            ("a$", Severity::Error, "Write $$"),
            ("a$.b", Severity::Error, "Write $$"),
        ] {
            let (found, what) = interpolated(text).expect_err(text);
            assert!(found == severity && what.contains(part), "{text}: {what}");
        }
    }
}
