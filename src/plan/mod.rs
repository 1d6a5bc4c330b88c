//! Fragments → `Config`: names settled among all services, and who keeps a rule that two of them claim.
//!
//! The order in which they are merged decides every conflict: files first, then the services of one provider after the other, by
//! age, then by id; those that do not run come after all that do.
//! Of what may serve, what was in force before comes before all but files: the older *route* stays, even while its containers are
//! replaced by younger ones.

mod claims;
mod merge;
mod readings;
mod references;

use std::sync::Arc;

use crate::config::{Config, Frontend};
use crate::dialects::{self, Reading};
use crate::model::{Document, FrontendId, Problem, ProviderName, Service, Snapshot, Trace};
use crate::settings::{Defaults, EntryPoint, HTTP_ENTRYPOINT, Settings};
use claims::Claimed;
use merge::{Draft, Merged, Shared};
use readings::Readings;
use references::{References, is_homeless};

/// One provider's last word, and how its labels are read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Who said it.
    pub provider: ProviderName,
    /// What was said.
    pub snapshot: &'a Snapshot,
    /// How labels are read where they leave something open.
    pub defaults: &'a Defaults,
}

/// Plans again and again, and remembers what was read: labels that did not change are not read anew, and what changes
/// under names that are nobody else's is patched into the config in force.
///
/// One planner serves one set of providers, whose defaults stay what they are.
#[derive(Debug)]
pub struct Planner {
    /// The names that frontends may use; empty: they are not looked at.
    entrypoints: Vec<String>,
    /// Those of them that frontends have which name none.
    default: Vec<String>,
    /// Those of them at which nobody listens.
    shut: Vec<String>,
    services: Readings<Service>,
    documents: Readings<Document>,
    /// How the last config was put together, where all of it was served: where anybody lost a rule, all depends on all.
    last: Option<Last>,
}

/// How a config was put together.
#[derive(Debug)]
struct Last {
    shared: Shared,
    /// What was wrong about that.
    problems: Vec<Problem>,
    /// The hosts that it claims.
    claimed: Claimed,
}

/// Plans once for everything that is known: a [`Planner`] that remembers nothing.
pub fn plan(inputs: &[Input<'_>], previous: &Config) -> (Config, Vec<Problem>) {
    Planner::default().plan(inputs, previous)
}

impl Default for Planner {
    /// One that takes any entry point for one that is there.
    fn default() -> Self {
        Self::new(Vec::new(), vec![HTTP_ENTRYPOINT.to_owned()])
    }
}

impl Planner {
    /// One for these entry points: a frontend that names another one is told so. `default` are those of frontends that name none.
    pub fn new(entrypoints: Vec<String>, default: Vec<String>) -> Self {
        Self {
            entrypoints,
            default,
            shut: Vec::new(),
            services: Readings::default(),
            documents: Readings::default(),
            last: None,
        }
    }

    /// One for the entry points of these settings.
    pub fn of(settings: &Settings) -> Self {
        let names = |of: fn(&&EntryPoint) -> bool| {
            settings
                .entrypoints
                .iter()
                .filter(of)
                .map(|entrypoint| entrypoint.name.clone())
                .collect()
        };
        let (entrypoints, shut) = (names(|_| true), names(|entrypoint| entrypoint.shut.is_some()));
        let default = settings.default_entrypoints.clone();
        Self { shut, ..Self::new(entrypoints, default) }
    }

    /// The frontends that were not served in the last plan, for their rule cannot be read.
    pub fn refused(&self) -> impl Iterator<Item = (&FrontendId, &Arc<Frontend>)> {
        self.readings().flat_map(|reading| &reading.fragment.refused).map(|(id, f)| (id, f))
    }

    /// All that was read: files first.
    fn readings(&self) -> impl Iterator<Item = &Reading> {
        let documents = self.documents.iter().map(|(_, reading)| reading);
        documents.chain(self.services.iter().map(|(_, reading)| reading))
    }

    /// Plans for everything that is known. `previous` is the config in force: it says who had a rule before. It must equal what
    /// this planner made last, where it made any, for what did not change is taken from it.
    ///
    /// Problems come back sorted, the worst first, each once.
    pub fn plan(&mut self, inputs: &[Input<'_>], previous: &Config) -> (Config, Vec<Problem>) {
        let mut problems = Vec::new();
        let count =
            |of: fn(&Snapshot) -> usize| inputs.iter().map(|input| of(input.snapshot)).sum();
        let count_of_services = count(|snapshot| snapshot.services.len());
        let count_of_documents = count(|snapshot| snapshot.documents.len());
        let mut services = std::mem::take(&mut self.services).renew(count_of_services);
        let mut documents = std::mem::take(&mut self.documents).renew(count_of_documents);
        for input in inputs {
            problems.extend(input.snapshot.problems.iter().cloned());
            for document in &input.snapshot.documents {
                documents.read(input.provider, document, || dialects::read_document(document));
            }
            for service in by_age(&input.snapshot.services) {
                services.read(input.provider, service, || {
                    dialects::read(input.provider, service, input.defaults, &mut Trace::off())
                });
            }
        }
        let (services, documents) = (services.finish(), documents.finish());
        let patched = self.last.as_mut().and_then(|last| {
            let gone = || documents.gone().chain(services.gone());
            let came = || documents.came().chain(services.came());
            let config = merge::patched(previous, &last.shared, gone(), came())?;
            last.claimed.follow(gone(), came()).then_some(config)
        });
        (self.services, self.documents) = (services.all, documents.all);
        for reading in self.readings().filter(|reading| !reading.problems.is_empty()) {
            problems.extend_from_slice(&reading.problems);
        }
        let config = match patched {
            Some(config) => {
                debug_assert_eq!(config, self.merged(previous).config, "both ways lead there");
                problems.extend(self.last.iter().flat_map(|last| &last.problems).cloned());
                self.referring(config, &mut problems)
            }
            None => {
                let Merged { config, problems: merging, shared } = self.merged(previous);
                problems.extend_from_slice(&merging);
                let count = config.frontends.len();
                let mut config = self.referring(config, &mut problems);
                let has_losers =
                    claims::settle(&mut config, previous, &self.default, &mut problems);
                let is_whole = !has_losers && config.frontends.len() == count;
                self.last = is_whole.then(|| {
                    let claimed = Claimed::of(&config);
                    Last { shared, problems: merging, claimed }
                });
                merge::share(&mut config, previous);
                config
            }
        };
        problems.sort();
        problems.dedup();
        (config, problems)
    }

    /// Tells what frontends name that is not there, and leaves out those that cannot be served for it.
    fn referring(&mut self, mut config: Config, problems: &mut Vec<Problem>) -> Config {
        let frontends = config.frontends.iter().chain(self.refused());
        for (id, frontend) in frontends.filter(|(_, f)| !references::names_nothing(f)) {
            let references = References { planner: self, config: &config, id, frontend };
            references.check(problems);
        }
        let homeless = config.frontends.iter().filter(|(_, f)| is_homeless(f, &config.backends));
        let homeless: Vec<FrontendId> = homeless.map(|(id, _)| id.clone()).collect();
        for id in &homeless {
            config.frontends.remove(id);
            // What is put together anew has it.
            self.last = None;
        }
        config
    }

    /// All fragments put together.
    fn merged(&self, previous: &Config) -> Merged {
        let services = self.services.iter().map(|(_, reading)| &reading.fragment);
        let mut draft = Draft::new(previous, services);
        for (_, reading) in self.documents.iter() {
            draft.merge_file(&reading.fragment);
        }
        for (service, reading) in self.services.iter() {
            match service.is_down() {
                false => draft.merge(&reading.fragment),
                true => draft.merge_down(&reading.fragment),
            }
        }
        draft.finish(previous)
    }
}

/// The older ones first; those of unknown age are the youngest. What does not run comes last: its labels may be of yesterday.
fn by_age(services: &[Arc<Service>]) -> impl Iterator<Item = &Arc<Service>> {
    let keyed = services
        .iter()
        .map(|service| ((service.is_down(), service.age_order.unwrap_or(i64::MAX)), service));
    let mut keyed: Vec<((bool, i64), &Arc<Service>)> = keyed.collect();
    keyed.sort_by(|(age, a), (other, b)| age.cmp(other).then_with(|| a.id.cmp(&b.id)));
    keyed.into_iter().map(|(_, service)| service)
}

#[cfg(test)]
mod tests;
