//! Labels → `Fragment`: one file per label language, one reader that they share.

mod balancing;
mod file;
mod health;
mod label_table;
pub mod labels;
mod rancher_tools;
mod reader;
mod servers;
mod v1;
mod values;

use crate::config::Fragment;
use crate::model::{Document, Outcome, Problem, ProviderName, Scope, Service, Trace};
use crate::settings::Defaults;

pub use file::server_hosts;
use reader::Reader;

/// What a service asks for, and what is wrong with how it asks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reading {
    /// What it asks for.
    pub fragment: Fragment,
    /// What its owner can mend.
    pub problems: Vec<Problem>,
}

/// A label language.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// The labels of Traefik 1.7's Docker and Rancher providers.
    V1,
    /// The labels of the community catalog's Traefik on Rancher.
    RancherTools,
}

impl Dialect {
    /// The language a service's labels are written in: one label of its own makes it rancher-tools, where no rule says that
    /// it is meant for Traefik 1.7, which does not know these labels. Off Rancher `traefik.acme` alone is no such word.
    pub fn of(provider: ProviderName, service: &Service) -> Self {
        let has = |key: &str| service.labels.contains_key(key);
        let is_rule = |key: &str| key.starts_with("traefik.") && key.ends_with(".frontend.rule");
        if service.labels.keys().any(|key| is_rule(key)) {
            return Self::V1;
        }
        let is_word = |key: &str| provider == ProviderName::Rancher || key != "traefik.acme";
        let has_own = labels::RANCHER_TOOLS_OWN.iter().any(|&key| is_word(key) && has(key));
        let is_stack = provider == ProviderName::Rancher
            && service.labels.get("traefik.enable").is_some_and(|value| value.trim() == "stack");
        if has_own || is_stack { Self::RancherTools } else { Self::V1 }
    }

    /// Its name, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "Traefik 1.7",
            Self::RancherTools => "rancher-tools",
        }
    }
}

/// Reads a service in its dialect. Each decision goes to `trace`, with its reason.
pub fn read(
    provider: ProviderName,
    service: &Service,
    defaults: &Defaults,
    trace: &mut Trace,
) -> Reading {
    let dialect = Dialect::of(provider, service);
    trace.step(Scope::Service, Outcome::Pass, "labels", || {
        let count = service.labels.keys().filter(|key| labels::is_ours(key)).count();
        format!("{count} labels under traefik., read as {}.", dialect.as_str())
    });
    let reader = Reader::new(provider, service, defaults, trace);
    match dialect {
        Dialect::V1 => v1::read(reader),
        Dialect::RancherTools => rancher_tools::read(reader),
    }
}

/// Reads a file of rules.
pub fn read_document(document: &Document) -> Reading {
    file::read(document)
}

#[cfg(test)]
mod tests;
