//! Which files there are, and whether they are still the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::document::Language;
use crate::model::{Origin, Problem, ProviderName};
use crate::providers::Error;
use crate::settings::FileSource;

/// A larger file is none of rules.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// More files than this are not meant.
const FILES_MAX: usize = 5_000;

/// A directory that is deeper leads back to itself.
const DEPTH_MAX: usize = 16;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    len: u64,
    /// Of the file that symbolic links lead to.
    inode: (u64, u64),
    changed: (i64, i64),
    modified: (i64, i64),
}

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

/// Looks at what is there.
///
/// # Errors
/// When the file or the directory that was named is not.
pub(super) fn look(source: &FileSource) -> Result<Found, Error> {
    let mut found = Found::default();
    let unreachable = |path: &Path, error: std::io::Error| Error::Unreachable {
        endpoint: path.display().to_string(),
        reason: error.to_string(),
    };
    match source {
        FileSource::Main(path) | FileSource::File(path) => {
            let stamp = stamp(path).map_err(|error| unreachable(path, error))?;
            let name = path.display().to_string();
            found.files.insert(path.clone(), File { name, stamp });
        }
        FileSource::Directory(path) => {
            let entries = fs::read_dir(path).map_err(|error| unreachable(path, error))?;
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

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        Self {
            len: meta.len(),
            inode: (meta.dev(), meta.ino()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let meta = fs::metadata(path)?;
    match meta.is_file() {
        true => Ok(Stamp::of(&meta)),
        false => Err(std::io::Error::other("it is not a file")),
    }
}

/// Reads a file.
///
/// # Errors
/// A clause without a full stop that says why it cannot be read.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    // A pipe that took its place since it was looked at would have us wait for ever.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = fs::File::options().read(true).custom_flags(flags.cast_signed()).open(path);
    let file = file.map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err("it is not a file".to_owned());
    }
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20)),
        false => Ok(text),
    }
}
