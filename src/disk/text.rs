//! What a file says, and whether it still looks the same. Either may never end: see [`beside`](super::beside).

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FsWord, OFlags, PROC_SUPER_MAGIC, fstatfs};

/// The file systems whose files the kernel makes up while they are read, which may not end: procfs, sysfs, tracefs, debugfs
/// (`linux/magic.h`). They call these regular, and `/proc/kmsg` waits for the kernel to say something.
const MADE_UP: [FsWord; 4] = [PROC_SUPER_MAGIC, 0x6265_6572, 0x7472_6163, 0x6462_6720];

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    len: u64,
    /// Of the file that symbolic links lead to.
    inode: (u64, u64),
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Stamp {
    /// How a file looks now.
    ///
    /// # Errors
    /// When it cannot be looked at, or is no regular file.
    pub fn at(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            return Err(irregular());
        }
        Ok(Self::of(&meta))
    }

    /// How a file looked.
    pub fn of(meta: &Metadata) -> Self {
        Self {
            len: meta.len(),
            inode: (meta.dev(), meta.ino()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// Reads a file that is one, and not too large: whoever names a file must not make us wait for a pipe.
///
/// # Errors
/// A clause without a full stop that says why it cannot be read.
pub fn read(path: &Path, bytes_max: u64) -> Result<String, String> {
    let file = open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.len() as u64 > bytes_max {
        true => Err(format!("it is larger than {} MiB", bytes_max >> 20)),
        false => String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Before, since opening alone can do something to a device; and after, since another one may have taken its place.
    Stamp::at(path)?;
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(irregular());
    }
    if MADE_UP.contains(&fstatfs(&file)?.f_type) {
        return Err(io::Error::other("it is no file of a disk: the kernel makes it up"));
    }
    Ok(file)
}

fn irregular() -> io::Error {
    io::Error::other("it is no regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: impl AsRef<Path>, expected: Result<&str, &str>) {
        match (read(path.as_ref(), 1 << 20), expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (got, _) => panic!("{got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn what_is_no_small_file_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        check(&path, Err("No such file"));
        fs::write(&path, "text").expect("written");
        check(&path, Ok("text"));
        fs::write(&path, vec![b'x'; 1 << 20]).expect("written");
        check(&path, Ok(&"x".repeat(1 << 20)));
        // Its end cuts a character in two, which is not what is wrong with it.
        fs::write(&path, format!("{}é", "x".repeat(1 << 20))).expect("written");
        check(&path, Err("larger than 1 MiB"));
        fs::write(&path, [0xff]).expect("written");
        check(&path, Err("UTF-8"));
        check(dir.path(), Err("regular"));
        check("/dev/zero", Err("regular"));
        // Others of these would have us wait for the kernel's next message.
        check("/proc/self/status", Err("the kernel makes it up"));
    }
}
