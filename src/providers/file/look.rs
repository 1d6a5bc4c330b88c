//! Which files there are, and whether they are still the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::Language;
use crate::model::{Origin, Problem, ProviderName};
use crate::providers::Error;
use crate::providers::disk::beside::{self, Missing};
use crate::providers::disk::text::{self, Stamp};
use crate::settings::FileSource;

/// A larger file is none of rules.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// More files than this are not meant.
const FILES_MAX: usize = 5_000;

/// A directory that is deeper leads back to itself.
const DEPTH_MAX: usize = 16;

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
const PATIENCE: Duration = Duration::from_secs(10);

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
            let entries = fs::read_dir(path).map_err(|error| unreachable(path, &error))?;
            found.directory(path, "", entries, 1);
        }
    }
    Ok(found)
}

impl Found {
    fn directory(&mut self, path: &Path, prefix: &str, entries: fs::ReadDir, depth: usize) {
        for entry in entries {
            let Ok(entry) = entry else {
                let what = "The directory cannot be read to its end.";
                self.problems.push(Problem::error(&Origin::new(ProviderName::File, prefix), what));
                self.unknown.push(path.to_owned());
                return;
            };
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Editors' own files, and the versions that Kubernetes links to.
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            let (path, shown) = (path.join(&name), format!("{prefix}{name}"));
            let result = match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() && depth >= DEPTH_MAX => {
                    Err(format!("It is more than {DEPTH_MAX} directories deep; it is left out."))
                }
                Ok(meta) if meta.is_dir() => fs::read_dir(&path)
                    .map(|entries| self.directory(&path, &format!("{shown}/"), entries, depth + 1))
                    .map_err(|error| {
                        self.unknown.push(path.clone());
                        format!("The directory cannot be read: {error}.")
                    }),
                Ok(_) if Language::of(&name).is_none() => Ok(()),
                Ok(meta) if !meta.is_file() => Err("It is not a file; it is left out.".to_owned()),
                Ok(_) if self.files.len() >= FILES_MAX => {
                    Err(format!("There are more than {FILES_MAX} files; this one is left out."))
                }
                Ok(meta) => {
                    let name = path.display().to_string();
                    self.files.insert(path, File { name, stamp: Stamp::of(&meta) });
                    Ok(())
                }
                Err(error) => {
                    if error.kind() != ErrorKind::NotFound {
                        self.unknown.push(path.clone());
                    }
                    Err(format!("It cannot be looked at: {error}."))
                }
            };
            if let Err(what) = result {
                self.problems.push(Problem::error(&Origin::new(ProviderName::File, shown), what));
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
