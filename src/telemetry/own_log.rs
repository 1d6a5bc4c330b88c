//! Herder's own log, on its way to standard error.
//!
//! That is a pipe wherever Herder is a container, and one that nobody empties (a collector that stalls, a terminal that was
//! stopped) makes whoever writes to it wait. So whoever has a line hands it over; a thread of its own writes it and waits.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tracing::error;

use super::outbox::Outbox;

/// Lines that may wait to be written, their bytes, and as many that are being written.
const LINES_MAX: usize = 16_384;
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// At the end: how long what waits may take.
pub const TELL_GRACE: Duration = Duration::from_millis(500);

/// Before a disk that was full is tried again, or a pipe that has lost its reader.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Before what does not want to wait itself is tried again.
const STALL_PAUSE: Duration = Duration::from_millis(20);

/// Herder's own log. What waits is written when it is dropped, for a short time at most.
#[derive(Default)]
pub struct OwnLog {
    /// None: lines are written by whoever has them.
    pen: Option<Pen>,
}

/// With what a line is handed over. It never waits.
#[derive(Clone)]
pub(super) struct Pen(Arc<Lines>);

struct Lines {
    waiting: Outbox<Vec<u8>>,
    /// Those that did not fit, since that was last told.
    lost: AtomicUsize,
}

impl OwnLog {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// Where the system has no thread or no file left.
    pub(super) fn start() -> io::Result<(Self, Pen)> {
        Self::start_to(io::stderr().as_fd().try_clone_to_owned()?.into(), |tell| tell())
    }

    /// The same for another file. The thread does its work inside of `around`.
    fn start_to(
        file: File,
        around: impl FnOnce(&mut dyn FnMut()) + Send + 'static,
    ) -> io::Result<(Self, Pen)> {
        // Nothing is gathered: a line is to be seen when it is said.
        let waiting = Outbox::new(LINES_MAX, 1);
        let pen = Pen(Arc::new(Lines { waiting, lost: AtomicUsize::new(0) }));
        let lines = Arc::clone(&pen.0);
        let mut file = file;
        let thread = thread::Builder::new().name(THREAD.to_owned());
        thread.spawn(move || around(&mut || lines.tell(&mut file)))?;
        Ok((Self { pen: Some(pen.clone()) }, pen))
    }

    /// Says something after everything that was said so far: the last word of a command, as it is.
    pub fn say(&self, line: &str) {
        match &self.pen {
            Some(pen) => pen.0.put(format!("{line}\n").as_bytes()),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for OwnLog {
    fn drop(&mut self) {
        if let Some(Pen(lines)) = &self.pen {
            let by = Instant::now() + TELL_GRACE;
            lines.waiting.stop(by);
            lines.waiting.wait(by);
        }
    }
}

/// What the thread that writes is called.
const THREAD: &str = "log";

impl Pen {
    /// Has panics told with it: the usual way holds up whoever panics, and everybody who does so later.
    pub(super) fn tells_panics(self) {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let thread = thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            // Nobody would write it.
            if name == THREAD {
                return usual(info);
            }
            let backtrace = Backtrace::capture();
            let backtrace = match backtrace.status() {
                BacktraceStatus::Captured => format!("stack backtrace:\n{backtrace}"),
                _ => String::new(),
            };
            self.0.put(format!("\nthread '{name}' {info}\n{backtrace}").as_bytes());
        }));
    }
}

impl Write for Pen {
    /// A line, whole: that is how tracing's subscriber writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn put(&self, line: &[u8]) {
        let is_put = self.waiting.put(|waiting| {
            let fits = waiting.len() + line.len() <= WAITING_BYTES_MAX;
            if fits {
                waiting.extend_from_slice(line);
            }
            fits
        });
        if !is_put {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Writes lines until it is told to stop.
    fn tell(&self, file: &mut File) {
        loop {
            let (batch, count, orders) = self.waiting.take(Duration::ZERO);
            // It follows what is written now, which is what was there when there was no room for more.
            let lost = self.lost.swap(0, Relaxed);
            if lost > 0 {
                error!(
                    lost,
                    "lines of this log are missing here: nobody read it, or its disk was full"
                );
            }
            self.write(file, &batch);
            if orders.stop_by.is_some() && (count == 0 || orders.is_over(Instant::now())) {
                self.waiting.end();
                return;
            }
        }
    }

    /// Writes a batch of lines, however long it takes. A stop is not heard inside of a write that waits; whoever stops does not
    /// wait for that.
    #[allow(clippy::disallowed_methods)] // what is left is written by the next call, after a look at the orders
    fn write(&self, file: &mut File, batch: &[u8]) {
        let mut at = 0;
        while at < batch.len() {
            let pause = match file.write(&batch[at..]) {
                Ok(written) if written > 0 => {
                    at += written;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => STALL_PAUSE,
                _ => RETRY_PAUSE,
            };
            if self.waiting.pause(pause).is_over(Instant::now()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
    use std::os::fd::OwnedFd;

    use super::*;

    /// A log into a pipe that nobody has read, and so many lines in it, from 0 on, that some of them were lost: the log, what
    /// hands lines over, the pipe, and how many were not lost.
    fn stalled() -> (OwnLog, Pen, PipeReader, usize) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (hand, pen) = std::sync::mpsc::channel::<Pen>();
        // As the program has it, for this thread alone.
        let around = move |tell: &mut dyn FnMut()| {
            let pen = pen.recv().expect("it is handed over");
            let subscriber = tracing_subscriber::fmt().with_writer(move || pen.clone()).finish();
            tracing::subscriber::with_default(subscriber, tell);
        };
        let file = File::from(OwnedFd::from(writer));
        let (log, pen) = OwnLog::start_to(file, around).expect("a thread");
        hand.send(pen.clone()).expect("it waits for it");
        // More than a pipe holds: once some of it can be read, the thread is at it, and stays there.
        log.say(&"x".repeat(1 << 20));
        (&reader).read_exact(&mut [0; 1]).expect("it has begun");
        let mut said = 0;
        while pen.0.lost.load(Relaxed) == 0 {
            log.say(&said.to_string());
            said += 1;
        }
        // One more, so that the number is not that of the first only.
        (0..9).for_each(|_| log.say("lost"));
        (log, pen, reader, said - 1)
    }

    #[test]
    fn lines_stay_in_order_and_those_that_were_lost_are_told_in_their_place() {
        let (log, _, reader, kept) = stalled();
        let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
        assert!(lines.next().is_some_and(|long| long.starts_with("xxx")));
        for number in 0..kept {
            assert_eq!(lines.next(), Some(number.to_string()));
        }
        let told = lines.next().expect("it is told");
        assert!(told.contains("lines of this log are missing here"), "{told}");
        assert!(told.contains("10"), "{told}");
        log.say("and on");
        drop(log);
        assert_eq!(lines.collect::<Vec<_>>(), ["and on"], "and then it ends");
    }

    #[test]
    fn a_panic_is_told_in_its_place() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let file = File::from(OwnedFd::from(writer));
        let (log, pen) = OwnLog::start_to(file, |tell| tell()).expect("a thread");
        log.say("before");
        pen.tells_panics();
        let breaks = thread::Builder::new().name("breaks".to_owned());
        let breaks = breaks.spawn(|| panic!("as it is meant to")).expect("a thread");
        assert!(breaks.join().is_err());
        log.say("after");
        drop(log);
        // Others panic as usual.
        drop(panic::take_hook());
        let told = io::read_to_string(reader).expect("text");
        let parts = [
            "before\n",
            "\n\nthread 'breaks' panicked at src/",
            ":\nas it is meant to\n",
            "after\n",
        ];
        let places = parts.map(|part| told.find(part));
        assert!(places.is_sorted() && places[0].is_some(), "{told}");
    }

    #[test]
    fn what_nobody_reads_holds_up_no_end() {
        let (log, _pen, reader, _) = stalled();
        drop(log);
        drop(reader);
    }
}
