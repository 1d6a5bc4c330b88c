//! Rule files: one file, or all of a directory and what is below it.
//!
//! They are looked at several times a second rather than watched through the kernel: that sees editors that replace a
//! file, Kubernetes' swaps of symbolic links, and network file systems alike. It costs a walk through the directories and a `stat`
//! for each file, on a thread beside.

mod look;
mod names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use look::{Found, Text};

use crate::dialects::server_hosts;
use crate::disk::beside;
use crate::disk::text::Stamp;
use crate::document::Language;
use crate::model::{Document, Origin, Problem, ProviderName, Snapshot};
use crate::providers::{Depth, Error, Provider};
use crate::settings::{FileSettings, FileSource};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A file that changes is read when it has not changed for this long: it may be half written.
const SETTLE: Duration = Duration::from_millis(50);

/// One that never rests is read as it is after so many looks.
const SETTLE_LOOKS_MAX: usize = 40;

/// The file provider.
pub struct Files {
    source: FileSource,
    watch: bool,
    known: BTreeMap<PathBuf, Known>,
    /// What the last look itself could not read.
    problems: Vec<Problem>,
    names: names::Names,
    has_read: bool,
}

/// A file as it was read last.
struct Known {
    stamp: Stamp,
    /// The last good reading.
    good: Option<Arc<Document>>,
    /// Why the last reading was no good.
    problem: Option<Problem>,
    /// Whether it did not come: then it is tried again when it may.
    is_missing: bool,
}

impl Known {
    /// Whether it is what is there now.
    fn is_of(&self, path: &Path, file: &look::File) -> bool {
        self.stamp == file.stamp && !(self.is_missing && beside::admit(path).is_ok())
    }
}

impl Files {
    /// A provider for these files. Reads nothing yet.
    pub fn new(settings: &FileSettings) -> Self {
        Self {
            source: settings.source.clone(),
            watch: settings.watch,
            known: BTreeMap::new(),
            problems: Vec::new(),
            names: names::Names::default(),
            has_read: false,
        }
    }

    fn is_as_known(&self, found: &Found) -> bool {
        let is_unknown = |path: &PathBuf| found.unknown.iter().any(|at| path.starts_with(at));
        let same = |(path, known): (&PathBuf, &Known)| match found.files.get(path) {
            Some(file) => known.is_of(path, file),
            None => is_unknown(path),
        };
        found.problems == self.problems
            && found.files.keys().all(|path| self.known.contains_key(path))
            && self.known.iter().all(same)
    }

    /// The files there are, when none of them has changed for a moment.
    async fn settled(&self) -> Result<Found, Error> {
        let mut found = look::look(&self.source).await?;
        for _ in 0..SETTLE_LOOKS_MAX {
            if self.is_as_known(&found) {
                break;
            }
            sleep(SETTLE).await;
            let again = look::look(&self.source).await?;
            if again == found {
                break;
            }
            found = again;
        }
        Ok(found)
    }

    async fn take_in(&mut self, found: Found) {
        let is_known = |path: &PathBuf, file: &look::File| {
            self.known.get(path).is_some_and(|known| known.is_of(path, file))
        };
        let news = found.files.iter().filter(|(path, file)| !is_known(path, file));
        // All before anything is taken in: whoever waits for it may stop to.
        let texts = look::read(news.map(|(path, _)| path.clone()).collect()).await;
        let is_unknown = |path: &PathBuf| found.unknown.iter().any(|at| path.starts_with(at));
        self.known.retain(|path, _| found.files.contains_key(path) || is_unknown(path));
        self.problems = found.problems;
        for (path, text) in texts {
            let Some(file) = found.files.get(&path) else { continue };
            let old = self.known.remove(&path).and_then(|known| known.good);
            self.known.insert(path, self.known_of(file, text, old));
        }
    }

    /// Says where rules were looked for and there are none: a file that is emptied by mistake takes all its routes with it.
    fn report_empty(&self, problems: &mut Vec<Problem>) {
        let directory = match &self.source {
            FileSource::Directory(path) => Some(path),
            FileSource::Main(_) | FileSource::File(_) => None,
        };
        let mut warn = |name: &str, what: &str, hint: &str| {
            let origin = Origin::new(ProviderName::File, name);
            problems.push(Problem::warning(&origin, what).hint(hint));
        };
        // What is there and is no table has a problem of its own.
        let has = |document: &Document, key: &str| {
            let node = document.tree.get(key);
            node.is_some_and(|node| node.as_table().is_none_or(|table| !table.is_empty()))
        };
        // The files of a directory may share their work.
        let parts = if directory.is_some() {
            &["frontends", "backends", "tls"][..]
        } else {
            &["frontends"]
        };
        let documents = || self.known.values().filter_map(|known| known.good.as_deref());
        let is_empty = |document: &&Document| !parts.iter().any(|part| has(document, part));
        let mut has_told = false;
        for document in documents().filter(is_empty) {
            has_told = true;
            let hint = match document.is_main {
                true => "Write [frontends.NAME] in it, or take [file] out of it.",
                false => "Write [frontends.NAME] in it; it is read again as soon as it changes.",
            };
            warn(
                &document.name,
                "There is no frontend in this file: nothing of it is routed.",
                hint,
            );
        }
        let Some(directory) = directory.filter(|_| !has_told && self.problems.is_empty()) else {
            return;
        };
        let name = directory.display().to_string();
        if self.known.is_empty() {
            let hint =
                "Their names end in .toml, .yaml or .yml; they are read as soon as they are there.";
            warn(&name, "There are no rule files in this directory: nothing is routed.", hint);
        } else if documents().count() == self.known.len()
            && !documents().any(|d| has(d, "frontends"))
        {
            let hint = "Write [frontends.NAME] in one of them.";
            warn(
                &name,
                "There is no frontend in the files of this directory: nothing is routed.",
                hint,
            );
        }
    }

    fn known_of(&self, file: &look::File, text: Text, old: Option<Arc<Document>>) -> Known {
        let stays = match old {
            Some(_) => "Its last good routes stay in force.",
            None => "Nothing of it is served.",
        };
        let wrong = |place: &str, why: &str, hint: &str| {
            let origin = Origin::new(ProviderName::File, format!("{}{place}", file.name));
            Problem::error(&origin, format!("The file cannot be read: {why}. {stays}")).hint(hint)
        };
        let is_missing = text.is_err();
        let text = text.map_err(|why| wrong("", &why.to_string(), "It is tried again."));
        let text = text.and_then(|text| {
            text.map_err(|why| wrong("", &why, "It is read again as soon as it changes."))
        });
        let tree = text.and_then(|text| {
            let language = Language::of(&file.name).unwrap_or(Language::Toml);
            language.parse(&text).map_err(|error| {
                let hint = match text.contains("{{") {
                    true => "Go templates are not run here: write out what they would print.",
                    false => "Mend the line; the file is read again as soon as it changes.",
                };
                wrong(&format!(":{}", error.place), &error.message, hint)
            })
        });
        let stamp = file.stamp;
        match tree {
            Ok(tree) => {
                let is_main = matches!(self.source, FileSource::Main(_));
                let (name, addresses) = (file.name.as_str().into(), BTreeMap::new());
                let document = Document { name, is_main, tree, addresses };
                Known { stamp, good: Some(Arc::new(document)), problem: None, is_missing }
            }
            Err(problem) => Known { stamp, good: old, problem: Some(problem), is_missing },
        }
    }
}

impl Provider for Files {
    fn name(&self) -> ProviderName {
        ProviderName::File
    }

    async fn fetch(&mut self, _: Depth) -> Result<Snapshot, Error> {
        if self.watch || !self.has_read {
            let found = self.settled().await?;
            self.take_in(found).await;
            self.has_read = true;
        }
        let mut snapshot = Snapshot { problems: self.problems.clone(), ..Snapshot::default() };
        self.report_empty(&mut snapshot.problems);
        let documents = self.known.values().filter_map(|known| known.good.as_deref());
        let addresses = self.names.resolve(documents, &mut snapshot.problems).await;
        for Known { good, problem, .. } in self.known.values_mut() {
            snapshot.problems.extend(problem.clone());
            let Some(document) = good else { continue };
            let own = server_hosts(&document.tree).into_iter();
            let own = own.filter_map(|host| Some((host.clone(), *addresses.get(&host)?))).collect();
            if document.addresses != own {
                *document = Arc::new(Document { addresses: own, ..Document::clone(document) });
            }
            snapshot.documents.push(Arc::clone(document));
        }
        Ok(snapshot)
    }

    async fn changed(&mut self) -> Result<(), Error> {
        if !self.watch {
            return std::future::pending().await;
        }
        loop {
            sleep(LOOK_EVERY).await;
            let found = look::look(&self.source).await?;
            if !self.is_as_known(&found) {
                return Ok(());
            }
        }
    }
}

/// What is read, for people.
pub fn endpoint(settings: &FileSettings) -> String {
    match &settings.source {
        FileSource::Main(path) | FileSource::File(path) | FileSource::Directory(path) => {
            path.display().to_string()
        }
    }
}
