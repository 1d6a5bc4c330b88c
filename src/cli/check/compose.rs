//! The labels of Compose files.

use super::finding::{File, Finding};
use crate::dialects;
use crate::document::{Node, Place, Table, Value};
use crate::model::{
    Address, Instance, Kind, Labels, Problem, ProviderName, Service, Severity, State, Trace,
};
use crate::settings::Defaults;

/// The labels of a Compose file, each service as if its container ran.
pub(super) fn check(
    name: &str,
    project: &str,
    services: &Table,
    defaults: &Defaults,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in services.entries() {
        let Some(table) = entry.node.as_table() else { continue };
        let deploy = table.get("deploy").and_then(Node::as_table);
        let nodes = [table.get("labels"), deploy.and_then(|deploy| deploy.get("labels"))];
        let written: Vec<(String, String, Place)> =
            nodes.into_iter().flatten().flat_map(labels).collect();
        let mut labels = Vec::new();
        for (key, value, place) in written {
            match interpolated(&value) {
                Ok(value) => labels.push((key, value, place)),
                Err((severity, message)) if key.starts_with("traefik.") => {
                    let Place { line, column } = place;
                    let file = Some(File { name: name.to_owned(), line, column });
                    let message = format!("{key}: {message}");
                    let (who, label) = (entry.key.clone(), Some(key));
                    findings.push(Finding { severity, file, who, label, message, hint: None });
                }
                Err(_) => {}
            }
        }
        let service = Service {
            id: entry.key.as_str().into(),
            name: entry.key.clone(),
            stack: Some(project.to_owned()),
            labels: labels.iter().map(|(k, v, _)| (k.clone(), v.clone())).collect::<Labels>(),
            instances: vec![Instance {
                id: entry.key.as_str().into(),
                name: entry.key.clone(),
                addresses: vec![Address {
                    network: None,
                    ip: [127, 0, 0, 1].into(),
                    shared: true,
                    published: None,
                }],
                // What the image exposes is not known here.
                exposed_ports: vec![80],
                state: State::Running,
                health: None,
            }],
            kind: Kind::Containers,
            state: None,
            health_checked: false,
            health_block: None,
            age_order: None,
        };
        let off = &mut Trace::off();
        let problems = dialects::read(ProviderName::Docker, &service, defaults, off).problems;
        let at = |problem: &Problem| {
            let label = problem.origin.label.as_deref();
            let line = labels.iter().find(|(key, ..)| Some(key.as_str()) == label);
            let Place { line, column } = line.map_or(entry.node.place, |(_, _, place)| *place);
            Finding {
                file: Some(File { name: name.to_owned(), line, column }),
                who: entry.key.clone(),
                ..Finding::of(problem)
            }
        };
        // Which network it is in is not known here either.
        let is_known =
            |problem: &&Problem| problem.origin.label.as_deref() != Some("traefik.docker.network");
        findings.extend(problems.iter().filter(is_known).map(at));
    }
    findings
}

/// Labels as a table or as a list of `key=value`.
fn labels(node: &Node) -> Vec<(String, String, Place)> {
    match &node.value {
        Value::Table(table) => {
            let label = |entry: &crate::document::Entry| {
                Some((entry.key.clone(), entry.node.as_text()?.to_owned(), entry.node.place))
            };
            table.entries().filter_map(label).collect()
        }
        Value::List(list) => {
            let label = |node: &Node| {
                let (key, value) = node.as_text()?.split_once('=')?;
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
