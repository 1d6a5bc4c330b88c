//! The thread that writes the access log: to a file, a pipe, or standard output.
//!
//! It alone waits where a disk is full or nobody reads a pipe. A line is written whole or not at all, as far as that can be
//! seen from here: what was written of one before a failure is gone on with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use tracing::{info, warn};

use crate::live::Live;
use crate::telemetry::outbox::Outbox;

/// Lines are waited for so long after the first one, and then written together.
const GATHER: Duration = Duration::from_millis(10);

/// Before a file that could not be opened or written is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Before a pipe that is full is tried again.
const STALL_PAUSE: Duration = Duration::from_millis(20);

/// Writes the access log until it is told to stop.
pub(super) struct Writer {
    /// None: standard output.
    pub(super) path: Option<PathBuf>,
    pub(super) lines: Arc<Outbox<Vec<u8>>>,
    pub(super) live: Arc<Live>,
    pub(super) file: Option<File>,
    /// While it fails: how many lines had been lost when that began. That it does, and that it is well again, is told once.
    pub(super) fails_since: Option<u64>,
}

impl Writer {
    pub(super) fn run(mut self) {
        if let Err(error) = self.open() {
            self.fail(&error);
        }
        loop {
            let (batch, _, orders) = self.lines.take(GATHER);
            if orders.reopen {
                self.reopen();
            }
            self.write(&batch);
            if orders.stop_by.is_some() {
                self.lines.end();
                return;
            }
        }
    }

    /// Writes a batch of lines, however long it takes, but not beyond a stop.
    fn write(&mut self, batch: &[u8]) {
        let mut at = 0;
        while at < batch.len() {
            let pause = match self.try_write(&batch[at..]) {
                Ok(written) => {
                    at += written;
                    self.succeed();
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A pipe that nobody empties.
                Err(error) if error.kind() == ErrorKind::WouldBlock => STALL_PAUSE,
                Err(error) => {
                    self.fail(&error);
                    let is_full =
                        matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
                    if !is_full {
                        self.file = None;
                        at = start_of_line(batch, at);
                    }
                    RETRY_PAUSE
                }
            };
            let orders = self.lines.pause(pause);
            if orders.reopen {
                self.reopen();
                at = start_of_line(batch, at);
            }
            if orders.is_over(Instant::now()) {
                break;
            }
        }
        let (told, lost) = batch.split_at(at);
        let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        self.live.telling.lines.add(count(told));
        self.live.telling.lines_dropped.add(count(lost));
    }

    #[allow(clippy::disallowed_methods)] // what is left is written by the next call, after a look at the orders
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.open()?;
        }
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        match file.write(bytes)? {
            0 => Err(ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    fn open(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            self.file = Some(io::stdout().as_fd().try_clone_to_owned()?.into());
            return Ok(());
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // A pipe without a reader fails rather than blocks, so that a stop is heard; a file does not mind.
        let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file =
            OpenOptions::new().append(true).create(true).custom_flags(nonblock).open(path)?;
        self.file = Some(file);
        Ok(())
    }

    /// Somebody moved the file. The new one is opened before the old one is let go.
    fn reopen(&mut self) {
        match self.open() {
            Ok(()) => info!("access log opened anew"),
            Err(error) => self.fail(&error),
        }
    }

    fn succeed(&mut self) {
        if let Some(before) = self.fails_since.take() {
            let lost = self.live.telling.lines_dropped.count() - before;
            info!(lost, "the access log is written again");
        }
    }

    fn fail(&mut self, error: &io::Error) {
        let telling = &self.live.telling;
        telling.log_failures.add(1);
        if self.fails_since.is_none() {
            self.fails_since = Some(telling.lines_dropped.count());
            let path = self.path.as_ref().map(|path| path.display().to_string());
            let path = path.unwrap_or_else(|| "standard output".to_owned());
            warn!(path, %error, "cannot write the access log; lines wait, and are dropped when too many do");
        }
    }
}

/// Where the line begins that goes on at `at`.
fn start_of_line(batch: &[u8], at: usize) -> usize {
    batch[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_after_the_one_before() {
        let batch = b"one\ntwo\n";
        for (at, start) in [(0, 0), (2, 0), (4, 4), (6, 4), (8, 8)] {
            assert_eq!(start_of_line(batch, at), start, "{at}");
        }
    }
}
