//! Why a request could not be answered by a server, and whose fault that is.

use crate::middleware::Answer;

/// Why a request could not be answered by a server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Error {
    /// The client's fault: the request cannot be understood, or not safely.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// The client's fault: a method that a proxy of this kind does not serve.
    #[error("method not served")]
    MethodNotServed,
    /// The client's fault: a transfer coding besides `chunked`.
    #[error("transfer coding not served")]
    CodingNotServed,
    /// The client's fault: it expects something else than `100-continue`.
    #[error("expectation not served")]
    ExpectationNotServed,
    /// The client's fault: a version besides 1.x.
    #[error("HTTP version not served")]
    VersionNotServed,
    /// The client's fault: a head beyond its limits.
    #[error("the request's head is too large")]
    HeadTooLarge,
    /// The client's fault: its head or body came too slowly.
    #[error("the client was too slow")]
    SlowClient,
    /// The client's fault: its body is longer than its backend takes.
    #[error("the request's body is too large")]
    BodyTooLarge,
    /// Ours: a body that was to be kept could not be.
    #[error("the body could not be kept: {0}")]
    NotKept(String),
    /// The server's: a page stands in for what it answered, or is answered in words where there is none.
    #[error("the server answered {0}")]
    Replaced(u16),
    /// The server's: its answer is longer than its backend keeps.
    #[error("bad answer: its body is longer than its backend keeps")]
    TooLong,
    /// Ours: the system has no file, port or memory left for a connection.
    #[error("no means for a connection: {0}")]
    NoMeans(String),
    /// Nobody's: the server ended the connection while the client was still sending. Who of them is to blame cannot be told.
    #[error("the server ended the connection before the request was whole")]
    Interrupted,
    /// Nobody's: the server changed the protocol while the client was still sending, which may never have meant to end.
    #[error("the server changed the protocol before the request had ended")]
    Early,
    /// The server's: an answer after which the request is sent again, where there is a try left.
    #[error("the server answered {0}, which its retry expression takes for a failure")]
    Again(u16),
    /// Ours: the time to finish before a stop is over.
    #[error("the time to finish before the stop was over")]
    Stopping,
    /// Nobody's: its frontend has an answer of its own.
    #[error("{}", by_frontend(.0))]
    AnsweredHere(Box<Answer>),
    /// Nobody's: no frontend takes it.
    #[error("no frontend takes it")]
    Unknown,
    /// Nobody's: no frontend takes it so far, and a provider has not answered yet that may know one.
    #[error("no frontend takes it so far, and a provider has not answered yet")]
    Starting,
    /// The backend's: it is known, and nobody is healthy.
    #[error("no healthy server")]
    NoServer,
    /// The server's: it refused, or broke the connection.
    #[error("server unreachable: {0}")]
    Unreachable(String),
    /// The server's: it did not answer in time.
    #[error("server too slow: {0}")]
    SlowServer(&'static str),
    /// The server's: its answer cannot be understood, or ended early.
    #[error("bad answer: {0}")]
    BadAnswer(&'static str),
}

impl Error {
    /// Whether the server is to blame, and its counters should say so.
    pub(super) fn is_servers(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::SlowServer(_) | Self::BadAnswer(_))
    }
}

/// `answered by its frontend with 503: the circuit breaker is open`.
fn by_frontend(answer: &Answer) -> String {
    let Answer { status, reason, .. } = answer;
    let colon = if reason.is_empty() { "" } else { ": " };
    format!("answered by its frontend with {status}{colon}{reason}")
}
