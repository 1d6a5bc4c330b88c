//! Bodies that are kept whole for a while: the beginning in memory, the rest in a file without a name.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Memory that all kept bodies may take together. What does not fit goes into files.
const MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Room on the disk that all of them may take together.
const DISK_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The room of all kept bodies, whichever worker keeps them.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    used: AtomicUsize,
    on_disk: AtomicU64,
}

impl Reserve {
    /// Takes so many bytes, or none.
    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Relaxed);
        let fits = before.saturating_add(bytes) <= MEMORY_BYTES_MAX;
        if !fits {
            self.used.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    /// The same on the disk.
    fn take_on_disk(&self, bytes: u64) -> bool {
        let before = self.on_disk.fetch_add(bytes, Relaxed);
        let fits = before.saturating_add(bytes) <= DISK_BYTES_MAX;
        if !fits {
            self.on_disk.fetch_sub(bytes, Relaxed);
        }
        fits
    }
}

/// One body.
#[derive(Debug)]
pub(super) struct Store {
    reserve: Arc<Reserve>,
    memory: Vec<u8>,
    /// What of it may be in memory.
    memory_max: usize,
    /// The rest.
    file: Option<File>,
    on_disk: u64,
    len: u64,
    /// How far it was read.
    at: u64,
}

impl Store {
    /// An empty one, of which so many bytes may be in memory.
    pub(super) fn new(reserve: &Arc<Reserve>, memory_max: usize) -> Self {
        let reserve = Arc::clone(reserve);
        Self { reserve, memory: Vec::new(), memory_max, file: None, on_disk: 0, len: 0, at: 0 }
    }

    /// How long it is.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// Where a file is needed, and the system has no room for it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = match &self.file {
            Some(_) => 0,
            None => self.memory_max.saturating_sub(self.memory.len()).min(bytes.len()),
        };
        let room = if self.reserve.take(room) { room } else { 0 };
        let (here, there) = bytes.split_at(room);
        self.memory.extend_from_slice(here);
        if !there.is_empty() {
            if !self.reserve.take_on_disk(there.len() as u64) {
                return Err(io::Error::other("all kept bodies together take 4 GiB already"));
            }
            self.on_disk += there.len() as u64;
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(tempfile::tempfile().map_err(|error| {
                    let dir = std::env::temp_dir();
                    let hint = "set TMPDIR to a directory that can be written";
                    io::Error::other(format!("no file in {}: {error}; {hint}", dir.display()))
                })?),
            };
            file.write_all(there)?;
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Reads on: how many bytes were put into `piece`, which are none at the end.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub(super) fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let in_memory = usize::try_from(self.at).ok().and_then(|at| self.memory.get(at..));
        let read = match (in_memory.filter(|rest| !rest.is_empty()), &mut self.file) {
            (Some(rest), _) => {
                let read = rest.len().min(piece.len());
                piece[..read].copy_from_slice(&rest[..read]);
                read
            }
            (None, Some(file)) => {
                file.seek(SeekFrom::Start(self.at - self.memory.len() as u64))?;
                file.read(piece)?
            }
            (None, None) => 0,
        };
        self.at += read as u64;
        Ok(read)
    }

    /// Begins from the start.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.reserve.used.fetch_sub(self.memory.len(), Relaxed);
        self.reserve.on_disk.fetch_sub(self.on_disk, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(store: &mut Store) -> Vec<u8> {
        let (mut all, mut piece) = (Vec::new(), [0; 7]);
        loop {
            match store.read(&mut piece).expect("readable") {
                0 => return all,
                n => all.extend_from_slice(&piece[..n]),
            }
        }
    }

    #[test]
    fn what_goes_in_comes_out_as_often_as_it_is_wanted() {
        let reserve = Arc::default();
        for memory_max in [0, 1, 10, 100] {
            let mut store = Store::new(&reserve, memory_max);
            for piece in ["words ", "and ", "", "more words"] {
                store.push(piece.as_bytes()).expect("room");
            }
            assert_eq!(store.file.is_some(), memory_max < 20);
            assert_eq!(reserve.used.load(Relaxed), memory_max.min(20));
            for _ in 0..2 {
                assert_eq!(read(&mut store), b"words and more words");
                store.rewind();
            }
        }
        assert_eq!(reserve.used.load(Relaxed), 0);
    }

    #[test]
    fn without_room_in_memory_it_goes_into_a_file() {
        let reserve = Arc::new(Reserve {
            used: AtomicUsize::new(MEMORY_BYTES_MAX - 3),
            ..Reserve::default()
        });
        let mut store = Store::new(&reserve, 100);
        store.push(b"abc").expect("room");
        store.push(b"def").expect("room");
        assert!(store.file.is_some());
        assert_eq!(read(&mut store), b"abcdef");
    }
}
