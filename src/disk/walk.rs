//! Which files of rules and settings a folder has, with all that is below it.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::document::Language;

/// More files than this are not meant.
const FILES_MAX: usize = 5_000;

/// More folders than this are not meant: whoever names the root of a disk shall not wait for all of it.
const FOLDERS_MAX: usize = 10_000;

/// A folder that is deeper is none that somebody made.
const DEPTH_MAX: usize = 16;

/// What a folder has.
#[derive(Debug, Default)]
pub struct Walk {
    /// In the order of their names.
    pub files: Vec<(PathBuf, Metadata)>,
    /// What should be among them, and is not.
    pub left_out: Vec<LeftOut>,
    /// Device and inode of each folder that was seen: links may lead back.
    seen: BTreeSet<(u64, u64)>,
}

/// A file or folder that was left out.
#[derive(Debug)]
pub struct LeftOut {
    /// Which.
    pub path: PathBuf,
    /// Why: a sentence.
    pub why: String,
    /// Whether nobody knows what is there, or below it.
    pub is_unknown: bool,
}

/// Looks for all files in a folder that are TOML or YAML by their names, in each folder below it once, whatever links lead there.
///
/// # Errors
/// When the folder itself cannot be read.
pub fn walk(folder: &Path) -> io::Result<Walk> {
    let mut walk = Walk::default();
    let meta = fs::metadata(folder)?;
    walk.seen.insert((meta.dev(), meta.ino()));
    walk.folder(folder, fs::read_dir(folder)?, 1);
    Ok(walk)
}

impl Walk {
    fn folder(&mut self, folder: &Path, entries: fs::ReadDir, depth: usize) {
        let mut names = Vec::new();
        for entry in entries {
            let Ok(entry) = entry else {
                self.leave_out(folder, "The directory cannot be read to its end.", true);
                break;
            };
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Editors' own files, and the versions that Kubernetes links to.
            if !name.starts_with('.') && !name.ends_with('~') {
                names.push(name);
            }
        }
        // Of two ways into a folder it is always the same that is taken.
        names.sort();
        for name in names {
            let path = folder.join(&name);
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => self.below(&path, &meta, depth),
                Ok(_) if Language::of(&name).is_none() => {}
                Ok(meta) if !meta.is_file() => {
                    self.leave_out(&path, "It is not a file; it is left out.", false);
                }
                Ok(_) if self.files.len() >= FILES_MAX => {
                    let why =
                        format!("There are more than {FILES_MAX} files; this one is left out.");
                    self.leave_out(&path, why, false);
                }
                Ok(meta) => self.files.push((path, meta)),
                Err(error) => {
                    let is_unknown = error.kind() != ErrorKind::NotFound;
                    self.leave_out(&path, format!("It cannot be looked at: {error}."), is_unknown);
                }
            }
        }
    }

    fn below(&mut self, path: &Path, meta: &Metadata, depth: usize) {
        if self.seen.contains(&(meta.dev(), meta.ino())) {
            return;
        }
        if depth >= DEPTH_MAX {
            let why = format!("It is more than {DEPTH_MAX} directories deep; it is left out.");
            return self.leave_out(path, why, false);
        }
        if self.seen.len() >= FOLDERS_MAX {
            let why =
                format!("There are more than {FOLDERS_MAX} directories; this one is left out.");
            return self.leave_out(path, why, false);
        }
        self.seen.insert((meta.dev(), meta.ino()));
        match fs::read_dir(path) {
            Ok(entries) => self.folder(path, entries, depth + 1),
            Err(error) => {
                self.leave_out(path, format!("The directory cannot be read: {error}."), true);
            }
        }
    }

    fn leave_out(&mut self, path: &Path, why: impl Into<String>, is_unknown: bool) {
        self.left_out.push(LeftOut { path: path.to_owned(), why: why.into(), is_unknown });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_folder_is_seen_once_whatever_links_lead_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("d/e")).expect("made");
        for name in ["r.toml", "d/s.yml", "d/e/t.yaml", "notes", ".hidden.toml", "old.toml~"] {
            fs::write(path(name), "").expect("written");
        }
        // Without a memory this is 2 to the 16th folders.
        for (to, at) in [(".", "a"), (".", "b"), ("d", "c"), ("..", "d/up"), ("gone", "x.toml")] {
            symlink(to, path(at)).expect("linked");
        }
        let walk = walk(dir.path()).expect("walked");
        let names =
            walk.files.iter().map(|(path, _)| path.strip_prefix(dir.path()).expect("in it"));
        assert_eq!(names.collect::<Vec<_>>(), ["c/e/t.yaml", "c/s.yml", "r.toml"].map(Path::new));
        let left_out = walk.left_out.iter().map(|left| (left.path.clone(), left.is_unknown));
        assert_eq!(left_out.collect::<Vec<_>>(), [(path("x.toml"), false)]);
    }

    #[test]
    fn a_folder_may_be_too_deep() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join(["d"; DEPTH_MAX].join("/"));
        fs::create_dir_all(&deep).expect("made");
        let walk = walk(dir.path()).expect("walked");
        assert!(
            matches!(&*walk.left_out, [left] if left.path == deep && left.why.contains("deep"))
        );
    }
}
