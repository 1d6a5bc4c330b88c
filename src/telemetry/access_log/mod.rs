//! The access log: a line for each request, written off the workers.
//!
//! A worker decides whether a line is wanted, writes it into memory and hands it over; a thread takes what has gathered and
//! writes it. Where that thread cannot write (a full disk, a pipe that nobody reads), lines wait, up to a bound, and are
//! then dropped and counted. No request waits for any of it.

mod common;
mod entry;
mod json;
mod writer;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use entry::Entry;
use writer::Writer;

use super::outbox::Outbox;
use crate::live::Live;
use crate::settings::{self, LineFormat};

/// Bytes that may wait to be written, and as many that are being written.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// For the thread to count what it could not write when its time was over.
const COUNTING: Duration = Duration::from_millis(500);

/// A line's usual memory, kept by each worker.
const LINE_BYTES: usize = 4 * 1024;

/// The access log.
pub(super) struct AccessLog {
    settings: settings::AccessLog,
    lines: Arc<Outbox<Vec<u8>>>,
    live: Arc<Live>,
}

impl AccessLog {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// Where the system has none left.
    pub(super) fn start(settings: settings::AccessLog, live: Arc<Live>) -> io::Result<Self> {
        let count_max = settings.waiting_max;
        let lines = Arc::new(Outbox::new(count_max, (count_max / 2).max(1)));
        let writer = Writer {
            path: settings.path.clone(),
            lines: Arc::clone(&lines),
            live: Arc::clone(&live),
            file: None,
            fails_since: None,
        };
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        thread.spawn(move || writer.run())?;
        Ok(Self { settings, lines, live })
    }

    /// Whether it tells the header lines of answers.
    pub(super) fn wants_lines(settings: &settings::AccessLog) -> bool {
        settings.format == LineFormat::Json
    }

    /// Logs a request, where the filters want it.
    pub(super) fn log(&self, entry: &Entry<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let settings::AccessLog { filters, fields, format, .. } = &self.settings;
        if !filters.keep(entry.status(), entry.retries(), entry.took) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match format {
                LineFormat::Common => common::write(entry, fields, line),
                LineFormat::Json => json::write(entry, fields, line),
            }
            let is_put = self.lines.put(|waiting| {
                let fits = waiting.len() + line.len() <= WAITING_BYTES_MAX;
                if fits {
                    waiting.extend_from_slice(line);
                }
                fits
            });
            if !is_put {
                self.live.telling.lines_dropped.add(1);
            }
            line.shrink_to(LINE_BYTES);
        });
    }

    /// Opens the file anew.
    pub(super) fn reopen(&self) {
        self.lines.reopen();
    }

    /// Writes what waits, until then at most. Tells whether all was written.
    pub(super) fn stop(&self, by: Instant) -> bool {
        self.lines.stop(by);
        self.lines.wait(by + COUNTING)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.lines.stop(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::Scheme;
    use crate::model::{BackendId, FrontendId, Head, ProviderName};
    use crate::telemetry::observer::End;
    use crate::telemetry::record::{Answered, Asked, Record, Try};

    /// A request that has ended, as the tests of both formats want it.
    pub(super) struct Sample {
        pub(super) lines: Vec<(String, Vec<u8>)>,
        pub(super) user: Option<&'static str>,
        pub(super) is_trusted: bool,
        is_readable: bool,
        answer: Answered,
        has_server: bool,
        error: Option<&'static str>,
    }

    pub(super) fn line(name: &str, value: &[u8]) -> (String, Vec<u8>) {
        (name.to_owned(), value.to_vec())
    }

    impl Sample {
        pub(super) fn usual() -> Self {
            let lines = vec![
                line("user-agent", b"agent 1"),
                line("Referer", b"http://r.t/"),
                line("Authorization", b"Basic c2VjcmV0"),
            ];
            let answer = Answered {
                status: 200,
                bytes: 66,
                came: vec![line("Server", b"s")],
                went: vec![line("vary", b"Accept"), line("Set-Cookie", b"a=b")],
            };
            let (user, error) = (Some("joe"), None);
            Self {
                lines,
                user,
                is_trusted: false,
                is_readable: true,
                answer,
                has_server: true,
                error,
            }
        }

        /// No frontend takes it.
        pub(super) fn unknown() -> Self {
            let answer = Answered { status: 404, bytes: 19, ..Answered::default() };
            let error = Some("no frontend takes it");
            Self { answer, has_server: false, user: None, error, ..Self::usual() }
        }

        /// Its head cannot be read.
        pub(super) fn unreadable() -> Self {
            let answer = Answered { status: 400, bytes: 12, ..Answered::default() };
            Self { answer, is_readable: false, error: None, ..Self::unknown() }
        }

        pub(super) fn entry(&self, see: &mut dyn FnMut(&Entry<'_>)) {
            let mut record = Record::of_test();
            record.began = UNIX_EPOCH + Duration::from_secs(1_460_531_659);
            record.is_trusted = self.is_trusted;
            record.request_bytes = 5;
            record.id = Some("id-1".to_owned());
            record.error = self.error.map(str::to_owned);
            let Answered { status, bytes, came, went } = &self.answer;
            let (came, went) = (came.clone(), went.clone());
            let (status, bytes) = (*status, *bytes);
            record.answer = Some(Answered { status, bytes, came, went });
            if self.has_server {
                record.frontend = Some(FrontendId::new(ProviderName::Docker, "frontend-Host-web"));
                record.backend = Some(BackendId::new(ProviderName::Docker, "backend-web"));
                record.tries.push(Try {
                    server: "server-1".into(),
                    is_for_page: false,
                    scheme: Scheme::Http,
                    authority: "10.0.0.2:80".to_owned(),
                    path: String::new(),
                    began: Duration::ZERO,
                    took: Some(Duration::from_millis(100)),
                    span: None,
                    status: Some(200),
                    bytes: 132,
                    error: None,
                });
            }
            let asked = Asked {
                method: "GET",
                path: "/a?b=c",
                protocol: "HTTP/1.1",
                authority: "web.t:8080",
                head: self,
            };
            let end = End {
                asked: self.is_readable.then_some(&asked),
                peer: "10.0.0.1:4711".parse().expect("an address"),
                status: Some(status),
                user: self.user,
            };
            let took = Duration::from_micros(123_000);
            see(&Entry { record: &record, end: &end, took, count: 7 });
        }
    }

    impl Head for Sample {
        fn header(&self, name: &str) -> Option<&[u8]> {
            let line = self.lines.iter().find(|(line, _)| line.eq_ignore_ascii_case(name));
            line.map(|(_, value)| value.as_slice())
        }

        fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.header(name).is_some_and(test)
        }

        fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
            self.lines.iter().for_each(|(name, value)| see(name, value));
        }
    }

    #[test]
    fn a_client_that_left_before_an_answer_is_499() {
        let mut record = Record::of_test();
        let end = End {
            asked: None,
            peer: "10.0.0.1:4711".parse().expect("an address"),
            status: None,
            user: None,
        };
        let took = Duration::ZERO;
        let status = |record: &Record| Entry { record, end: &end, took, count: 1 }.status();
        assert_eq!(status(&record), 499);
        record.answer = Some(Answered { status: 206, ..Answered::default() });
        assert_eq!(status(&record), 206, "the head had gone out");
    }

    fn logged(settings: settings::AccessLog, times: usize) -> (Arc<Live>, AccessLog) {
        let live = Arc::new(Live::default());
        let log = AccessLog::start(settings, Arc::clone(&live)).expect("a thread");
        (0..times).for_each(|_| Sample::usual().entry(&mut |entry| log.log(entry)));
        (live, log)
    }

    #[test]
    fn what_waits_is_written_at_a_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs/access.log");
        let settings =
            settings::AccessLog { path: Some(path.clone()), ..settings::AccessLog::default() };
        let (live, log) = logged(settings, 100);
        assert!(log.stop(Instant::now() + Duration::from_secs(20)));
        let text = std::fs::read_to_string(path).expect("written");
        assert_eq!(text.lines().count(), 100);
        assert_eq!((live.telling.lines.count(), live.telling.lines_dropped.count()), (100, 0));
    }

    #[test]
    fn a_full_disk_costs_lines_and_each_is_counted() {
        let settings = settings::AccessLog {
            path: Some("/dev/full".into()),
            waiting_max: 10,
            ..settings::AccessLog::default()
        };
        let (live, log) = logged(settings, 1_000);
        assert!(log.stop(Instant::now() + Duration::from_millis(100)));
        assert_eq!((live.telling.lines.count(), live.telling.lines_dropped.count()), (0, 1_000));
        assert!(live.telling.log_failures.count() > 0);
    }

    #[test]
    fn filters_are_asked_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = settings::AccessLog {
            path: Some(folder.path().join("access.log")),
            ..settings::AccessLog::default()
        };
        settings.filters.statuses = vec!["500-599".parse().expect("a range")];
        let (live, log) = logged(settings, 5);
        assert!(log.stop(Instant::now() + Duration::from_secs(20)));
        assert_eq!(live.telling.lines.count(), 0);
    }
}
