//! What the requests of a backend or a frontend need of the engine itself: bodies that are kept, waits of their own, pages
//! in the place of errors. Most need none of it.

use std::sync::Arc;
use std::time::Duration;

use super::running::RunningBackend;
use crate::config::{Backend, BackendWishes, ErrorPage};
use crate::model::origin_form;
use crate::rules::RetryExpression;
use crate::settings::duration;

/// What a backend's requests need besides a server.
#[derive(Debug, Default)]
pub struct Handling {
    /// How bodies are kept, where they are.
    pub buffering: Option<Buffering>,
    /// Waits in the place of the usual ones.
    pub timeouts: Timeouts,
    /// How often one request may be tried, in the place of the usual number.
    pub attempts_max: Option<usize>,
}

/// Waits of one backend; none: the usual one (`settings::Limits`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Timeouts {
    /// For a connection to a server.
    pub connect: Option<Duration>,
    /// From the end of the request to the head of the answer.
    pub response: Option<Duration>,
    /// The longest pause between two pieces of a body.
    pub body: Option<Duration>,
}

impl Timeouts {
    /// The shortest of them.
    pub fn shortest(&self) -> Option<Duration> {
        [self.connect, self.response, self.body].into_iter().flatten().min()
    }
}

/// How bodies are kept.
#[derive(Debug)]
pub struct Buffering {
    /// Requests are read whole before a server gets them.
    pub requests: Kept,
    /// Answers are read whole before the client gets them, where that was asked for.
    pub answers: Option<Kept>,
    /// When a request is sent again.
    pub retry: Option<RetryExpression>,
}

/// What is kept of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kept {
    /// A longer one is refused.
    pub bytes_max: u64,
    /// What is kept of it in memory; the rest is in a file.
    pub memory_bytes: usize,
}

/// What is kept in memory where nothing is said (oxy's multibuf, `DefaultMemBytes`).
const MEMORY_BYTES: usize = 1024 * 1024;

/// How often a request may be sent where an expression decides (oxy's buffer, `DefaultMaxRetryAttempts`).
pub const RETRIES_MAX: usize = 10;

impl Kept {
    fn new(bytes_max: i64, memory_bytes: i64) -> Self {
        let positive = |number: i64| u64::try_from(number).ok().filter(|&number| number > 0);
        let memory_bytes = positive(memory_bytes).and_then(|bytes| usize::try_from(bytes).ok());
        Self {
            bytes_max: positive(bytes_max).unwrap_or(u64::MAX),
            memory_bytes: memory_bytes.unwrap_or(MEMORY_BYTES),
        }
    }
}

impl Handling {
    /// What is asked for; nothing where all is as usual.
    pub(super) fn of(backend: &Backend) -> Option<Box<Self>> {
        let BackendWishes { buffering, timeouts, .. } = &**backend.wishes.as_ref()?;
        let buffering = buffering.as_ref().map(|b| {
            let has_answers = b.max_response_body_bytes > 0
                || b.mem_response_body_bytes > 0
                || !b.retry_expression.is_empty();
            Buffering {
                requests: Kept::new(b.max_request_body_bytes, b.mem_request_body_bytes),
                answers: has_answers
                    .then(|| Kept::new(b.max_response_body_bytes, b.mem_response_body_bytes)),
                // What cannot be read was reported where it was written.
                retry: RetryExpression::parse(&b.retry_expression).ok(),
            }
        });
        let wait = |text: &str| duration(text).ok().filter(|wait| !wait.is_zero());
        let timeouts = timeouts.as_ref();
        let attempts_max =
            timeouts.and_then(|t| usize::try_from(t.attempts).ok()).filter(|&n| n > 0);
        let timeouts = timeouts.map(|t| Timeouts {
            connect: wait(&t.connect),
            response: wait(&t.response),
            body: wait(&t.body),
        });
        let timeouts = timeouts.unwrap_or_default();
        let is_usual =
            buffering.is_none() && timeouts == Timeouts::default() && attempts_max.is_none();
        (!is_usual).then(|| Box::new(Self { buffering, timeouts, attempts_max }))
    }
}

/// A page that stands in for errors.
#[derive(Debug)]
pub struct Page {
    /// Of these statuses, each from and to.
    statuses: Box<[(u16, u16)]>,
    /// Who has it.
    pub backend: Arc<RunningBackend>,
    /// Its path and query; `{status}` stands for the status.
    query: String,
}

impl Page {
    pub(super) fn new(page: &ErrorPage, backend: Arc<RunningBackend>) -> Self {
        let range = |word: &String| {
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
        };
        let statuses = page.status.iter().filter_map(range).collect();
        Self { statuses, backend, query: origin_form(&page.query) }
    }

    /// Whether it stands in for this status.
    pub fn is_for(&self, status: u16) -> bool {
        // These have no body that a page could stand in for (RFC 9110, section 6.4.1).
        !matches!(status, 0..=199 | 204 | 304)
            && self.statuses.iter().any(|&(from, to)| (from..=to).contains(&status))
    }

    /// The path and the query that it is asked for by.
    pub fn target(&self, status: u16) -> (String, String) {
        let target = self.query.replace("{status}", &status.to_string());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        (path.to_owned(), query.to_owned())
    }
}
