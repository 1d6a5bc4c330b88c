//! News for the person who wrote a label.

use std::fmt;

use crate::model::{Origin, harmless};

/// How much a problem costs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Something that was asked for does not happen: a server, a frontend or a setting is left out.
    Error,
    /// It happens, but probably not as meant.
    Warning,
    /// A choice was made that its owner may like to know of.
    Note,
}

impl Severity {
    /// `error`, `warning` or `note`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Where, what, and what to do.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Problem {
    /// What it costs. First, so that sorting puts errors on top.
    pub severity: Severity,
    /// Who can mend it.
    pub origin: Origin,
    /// What is wrong and what follows from it: a sentence with a full stop.
    pub message: String,
    /// What to do about it: a sentence with a full stop.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of any severity.
    pub fn new(severity: Severity, origin: &Origin, message: impl Into<String>) -> Self {
        Self { severity, origin: origin.clone(), message: message.into(), hint: None }
    }

    /// Something asked for does not happen.
    pub fn error(origin: &Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, origin, message)
    }

    /// It happens, but probably not as meant.
    pub fn warning(origin: &Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, origin, message)
    }

    /// A choice its owner may like to know of.
    pub fn note(origin: &Origin, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, origin, message)
    }

    /// The same problem with a cure.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    /// `web-test.proxy-test (rancher): traefik.port "80a" is not a port. Did you mean 80?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}: {}", self.origin, self.message);
        if let Some(hint) = &self.hint {
            text.push(' ');
            text.push_str(hint);
        }
        // What somebody wrote in a label is in it.
        f.write_str(&harmless(&text))
    }
}
