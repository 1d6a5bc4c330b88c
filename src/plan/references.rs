//! What a frontend names and others have: entry points, backends, pages. Told where it is named, whether the frontend is
//! served or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Planner;
use crate::config::{Backend, Config, ErrorPage, Frontend};
use crate::model::{BackendId, FrontendId, Origin, Problem, ProviderName, nearest};

/// A frontend, and all that it can name.
pub(super) struct References<'a> {
    pub(super) planner: &'a Planner,
    pub(super) config: &'a Config,
    pub(super) id: &'a FrontendId,
    pub(super) frontend: &'a Frontend,
}

/// Whether a frontend can name nothing that may be missing: most of those that labels ask for.
pub(super) fn names_nothing(frontend: &Frontend) -> bool {
    frontend.wishes.is_none()
        && frontend.entrypoints.is_empty()
        && frontend.backend.provider != ProviderName::File
}

/// Whether a frontend of a file leads to a backend that no file has.
pub(super) fn is_homeless(
    frontend: &Frontend,
    backends: &BTreeMap<BackendId, Arc<Backend>>,
) -> bool {
    frontend.backend.provider == ProviderName::File && !backends.contains_key(&frontend.backend)
}

impl References<'_> {
    /// Tells all that is not there.
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        problems.extend(self.homeless());
        problems.extend(self.entrypoints());
        let pages = self.frontend.wishes.iter().flat_map(|wishes| &wishes.errors);
        pages.for_each(|(name, page)| problems.extend(self.page(name, page)));
    }

    fn homeless(&self) -> Option<Problem> {
        let Frontend { backend, .. } = self.frontend;
        // One that names none was told so when it was read.
        if !is_homeless(self.frontend, &self.config.backends) || backend.name.is_empty() {
            return None;
        }
        let (origin, key) = self.key(&["backend"]);
        let what = format!("{key}: there is no backend \"{}\"; it is not served.", backend.name);
        Some(Problem::error(&origin, what).hint(self.other_backend(&backend.name)))
    }

    fn entrypoints(&self) -> Vec<Problem> {
        let known = &self.planner.entrypoints;
        let is_unknown = |name: &&String| !known.is_empty() && !known.contains(name);
        let own = self.frontend.entrypoints.iter().filter(is_unknown);
        let redirect = self.frontend.wishes.as_ref().and_then(|wishes| wishes.redirect.as_ref());
        let target = redirect.map(|redirect| &redirect.entry_point).filter(|n| !n.is_empty());
        let own = own.map(|name| self.no_entrypoint(&["entryPoints"], "names", name, "."));
        let target = target.filter(is_unknown).map(|name| {
            let path = ["redirect", "entryPoint"];
            self.no_entrypoint(&path, "sends clients to", name, "; they get 503.")
        });
        own.chain(target).chain(self.shut()).collect()
    }

    /// Where nobody listens at what a frontend names: at all of its entry points, or where it sends its clients.
    fn shut(&self) -> Vec<Problem> {
        let (frontend, shut) = (self.frontend, &self.planner.shut);
        let mut problems = Vec::new();
        let mut complain = |path: &[&str], name: &str, follows: &str| {
            let (origin, key) = self.key(path);
            let what =
                format!("{key} names the entry point \"{name}\", which is not opened{follows}.");
            let hint = "The log says at the start why it is not; `herder check` does, too.";
            problems.push(Problem::error(&origin, what).hint(hint));
        };
        if let Some(name) = frontend.entrypoints.first().filter(|_| self.is_unreachable()) {
            complain(&["entryPoints"], name, ": nobody reaches it");
        }
        let redirect = frontend.wishes.as_ref().and_then(|wishes| wishes.redirect.as_ref());
        if let Some(name) = redirect.map(|redirect| &redirect.entry_point)
            && shut.contains(name)
        {
            complain(
                &["redirect", "entryPoint"],
                name,
                ": clients are sent to where nobody answers",
            );
        }
        problems
    }

    fn is_unreachable(&self) -> bool {
        self.frontend.entrypoints.iter().all(|name| self.planner.shut.contains(name))
    }

    fn no_entrypoint(&self, path: &[&str], verb: &str, name: &str, follows: &str) -> Problem {
        let (origin, key) = self.key(path);
        let what = format!("{key} {verb} the entry point \"{name}\", which is not there{follows}");
        let known = self.planner.entrypoints.join(", ");
        Problem::error(&origin, what).hint(format!("There is {known}."))
    }

    /// What is wrong with a page that stands in for errors.
    fn page(&self, name: &str, page: &ErrorPage) -> Vec<Problem> {
        let wrong = |key: &str, why: &str, hint: String| {
            let (origin, key) = self.key(&["errors", name, key]);
            let what = format!("{key}{why}; what the servers answer stays as it is.");
            Problem::error(&origin, what).hint(hint)
        };
        let mut problems = Vec::new();
        if page.status.is_empty() {
            problems.push(wrong("status", " names no status", "Write 500-599.".to_owned()));
        }
        if page.query.is_empty() {
            problems.push(wrong("query", " is missing", "Write /{status}.html.".to_owned()));
        }
        // A label knows a backend by the name that another label gave it.
        let shown = match self.id.provider {
            ProviderName::File => page.backend.as_str(),
            _ => page.backend.strip_prefix(LABEL_BACKEND).unwrap_or(&page.backend),
        };
        let backend = BackendId::new(self.id.provider, page.backend.as_str());
        if shown.is_empty() {
            let hint = "Name the backend that has the pages.".to_owned();
            problems.push(wrong("backend", " is missing", hint));
        } else if !self.config.backends.contains_key(&backend) {
            let why = format!(": there is no backend \"{shown}\"");
            problems.push(wrong("backend", &why, self.other_backend(shown)));
        }
        problems
    }

    /// What to do about a backend that is not there.
    fn other_backend(&self, missing: &str) -> String {
        if self.id.provider != ProviderName::File {
            return format!("Give the service that has it the label traefik.backend={missing}.");
        }
        let own = self.config.backends.keys().filter(|own| own.provider == ProviderName::File);
        match nearest(missing, own.map(|own| &*own.name)) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None => format!("Write a table [backends.{missing}]."),
        }
    }

    fn key(&self, path: &[&str]) -> (Origin, String) {
        self.planner.key_of(self.id, self.frontend, path)
    }
}

/// What the names of backends begin with that labels made (Traefik 1.7, provider/docker/config.go).
const LABEL_BACKEND: &str = "backend-";

impl Planner {
    /// Where a key of a frontend stands, and what its owner calls it: the line of a file, or a label.
    pub fn key_of(&self, id: &FrontendId, frontend: &Frontend, path: &[&str]) -> (Origin, String) {
        let label = || format!("traefik.frontend.{}", path.join("."));
        if id.provider != ProviderName::File {
            let label = label();
            return (frontend.origin.label(label.as_str()), label);
        }
        let keys = || ["frontends", &id.name].into_iter().chain(path.iter().copied());
        let is_its = |name: &str| {
            let place = frontend.origin.service.strip_prefix(name);
            place.is_some_and(|place| place.starts_with(':'))
        };
        let found = self
            .documents
            .iter()
            .map(|(document, _)| document)
            .filter(|document| is_its(&document.name))
            .find_map(|document| {
                let (written, place) = document.tree.follow(keys());
                let origin = format!("{}:{}", document.name, place?);
                Some((Origin::new(id.provider, origin), written.join(".")))
            });
        let as_meant = || (frontend.origin.clone(), keys().collect::<Vec<_>>().join("."));
        let (origin, key) = found.unwrap_or_else(as_meant);
        (origin.label(label()), key)
    }
}
