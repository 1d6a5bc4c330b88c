//! Which files there are, and whether they are still the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::beside::{self, Missing, Patience};
use crate::disk::text::{self, Stamp};
use crate::disk::walk::{LeftOut, Walk, walk};
use crate::model::{Origin, Problem, ProviderName};
use crate::providers::Error;
use crate::settings::FileSource;

/// A larger file is none of rules.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct File {
    /// As it is shown.
    pub(super) name: String,
    pub(super) stamp: Stamp,
}

/// What is there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) files: BTreeMap<PathBuf, File>,
    /// What could not be looked at: what is there, or below it, is as it was.
    pub(super) unknown: Vec<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

/// So long a look may take, and each file: many lie far away.
const PATIENCE: Patience = Patience::Each(Duration::from_secs(10));

/// Looks at what is there.
///
/// # Errors
/// When the file or the directory that was named is not, or does not come.
pub(super) async fn look(source: &FileSource) -> Result<Found, Error> {
    let path = match source {
        FileSource::Main(path) | FileSource::File(path) | FileSource::Directory(path) => path,
    };
    let looked = beside(vec![(path.clone(), source.clone())], |_, source| look_now(source)).await;
    let looked = looked.into_iter().next().unwrap_or(Err(Missing::Untried));
    looked.unwrap_or_else(|why| Err(unreachable(path, &why)))
}

/// Does this with files, on threads that may wait.
async fn beside<T: Send + Sync + 'static, R: Send + 'static>(
    files: Vec<(PathBuf, T)>,
    work: fn(&Path, &T) -> R,
) -> Vec<Result<R, Missing>> {
    let done = tokio::task::spawn_blocking(move || beside::each(files, PATIENCE, work));
    done.await.unwrap_or_default()
}

fn unreachable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Unreachable { endpoint: path.display().to_string(), reason: why.to_string() }
}

fn look_now(source: &FileSource) -> Result<Found, Error> {
    let mut found = Found::default();
    match source {
        FileSource::Main(path) | FileSource::File(path) => {
            let stamp = Stamp::at(path).map_err(|error| unreachable(path, &error))?;
            let name = path.display().to_string();
            found.files.insert(path.clone(), File { name, stamp });
        }
        FileSource::Directory(path) => {
            found.directory(path, walk(path).map_err(|error| unreachable(path, &error))?);
        }
    }
    Ok(found)
}

impl Found {
    fn directory(&mut self, directory: &Path, walk: Walk) {
        for (path, meta) in walk.files {
            let file = File { name: path.display().to_string(), stamp: Stamp::of(&meta) };
            self.files.insert(path, file);
        }
        for LeftOut { path, why, is_unknown } in walk.left_out {
            let shown = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
            self.problems.push(Problem::error(&Origin::new(ProviderName::File, shown), why));
            if is_unknown {
                self.unknown.push(path);
            }
        }
        self.problems.sort();
    }
}

/// What a file says, or a clause without a full stop that says why it cannot be read; or why it is not known.
pub(super) type Text = Result<Result<String, String>, Missing>;

/// Reads files.
pub(super) async fn read(paths: Vec<PathBuf>) -> BTreeMap<PathBuf, Text> {
    let files = paths.iter().map(|path| (path.clone(), ())).collect();
    let texts = beside(files, |path, ()| text::read(path, FILE_BYTES_MAX)).await;
    paths.into_iter().zip(texts).collect()
}
