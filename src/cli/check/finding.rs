//! What a check found, and how it is printed: text, JSON, SARIF.

use serde_json::{Value, json};

use crate::control::guards;
use crate::model::{Problem, Severity, harmless};

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The file it stands in, where it does.
    pub(super) file: Option<File>,
    /// Who can mend it, where that is no file: a container, a service.
    pub(super) who: String,
    pub(super) label: Option<String>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Finding {
    /// A problem of the plan.
    pub(super) fn of(problem: &Problem) -> Self {
        Self {
            severity: problem.severity,
            file: File::parse(&problem.origin.service).map(|(file, _)| file),
            who: problem.origin.to_string(),
            label: problem.origin.label.as_deref().map(str::to_owned),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }

    /// A sentence about the settings: `traefik.toml:17:1: accessLog is left out: …`.
    pub(super) fn of_settings(note: &str) -> Self {
        let parsed = File::parse(note);
        let message = parsed.as_ref().map_or(note, |(_, rest)| rest.trim_start_matches(": "));
        let message = message.to_owned();
        let (file, who) = (parsed.map(|(file, _)| file), "settings".to_owned());
        Self { severity: Severity::Warning, file, who, label: None, message, hint: None }
    }

    /// Something that is wrong with a guard of the settings; `place` is `traefik.toml:17:1: `, or nothing.
    pub(super) fn of_guard(guard: &guards::Invalid, place: &str) -> Self {
        let severity = if guard.is_fatal { Severity::Error } else { Severity::Warning };
        Self { severity, ..Self::of_settings(&format!("{place}{}", guard.text)) }
    }

    /// Something that is not as it is with the Traefik that runs, for tools that know results only.
    pub(super) fn of_difference(line: &str) -> Self {
        let (severity, who) = (Severity::Warning, "traefik".to_owned());
        Self {
            severity,
            file: None,
            who,
            label: None,
            message: format!("differs: {line}"),
            hint: None,
        }
    }

    /// The line of the text.
    pub(super) fn text(&self) -> String {
        let place = match &self.file {
            Some(File { name, line, column }) => format!("{name}:{line}:{column}"),
            None => self.who.clone(),
        };
        let hint = self.hint.as_ref().map(|hint| format!(" {hint}")).unwrap_or_default();
        let text = format!("{}: {place}: {}{hint}", self.severity.as_str(), self.message);
        // Labels are read to people here, by terminals that take orders.
        format!("{}\n", harmless(&text))
    }

    /// The object of the JSON.
    pub(super) fn json(&self) -> Value {
        json!({
            "severity": self.severity.as_str(),
            "file": self.file.as_ref().map(|file| &file.name),
            "line": self.file.as_ref().map(|file| file.line),
            "column": self.file.as_ref().map(|file| file.column),
            "who": self.who,
            "label": self.label,
            "message": self.message,
            "hint": self.hint,
        })
    }

    fn sarif(&self) -> Value {
        let level = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let location = match &self.file {
            Some(File { name, line, column }) => json!({"physicalLocation": {
                "artifactLocation": {"uri": name},
                "region": {"startLine": (*line).max(1), "startColumn": (*column).max(1)},
            }}),
            None => json!({"logicalLocations": [{"fullyQualifiedName": self.who}]}),
        };
        let hint = self.hint.as_ref().map(|hint| format!(" {hint}")).unwrap_or_default();
        let text = format!("{}{hint}", self.message);
        json!({"ruleId": "herder/config", "level": level, "message": {"text": text}, "locations": [location]})
    }
}

impl File {
    /// `rules.toml:12:3` and what follows it.
    pub(super) fn parse(text: &str) -> Option<(Self, &str)> {
        let mut from = 0;
        // A name may hold colons of its own.
        while let Some(at) = text.get(from..)?.find(':').map(|at| from + at) {
            from = at + 1;
            let Some((line, rest)) = number(text.get(from..)?) else { continue };
            let Some((column, rest)) = rest.strip_prefix(':').and_then(number) else { continue };
            let name = text.get(..at)?.trim_start_matches("./").to_owned();
            return Some((Self { name, line, column }, rest));
        }
        None
    }
}

fn number(text: &str) -> Option<(usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    Some((digits.parse().ok()?, rest))
}

/// The whole of SARIF 2.1.0 (OASIS) that tools need to show results beside the lines.
pub(super) fn sarif(findings: &[Finding]) -> Value {
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "herder",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": [{"id": "herder/config", "shortDescription": {"text": "Labels, rules and settings"}}],
            }},
            "results": findings.iter().map(Finding::sarif).collect::<Vec<_>>(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back() {
        let (file, rest) = File::parse("./a:b.toml:12:3: what: is it").expect("a place");
        assert_eq!((file.name.as_str(), file.line, file.column), ("a:b.toml", 12, 3));
        assert_eq!(rest, ": what: is it");
        assert_eq!(File::parse("web.shop"), None);
        assert_eq!(File::parse("entry point http at :80 (x): y"), None);
    }
}
