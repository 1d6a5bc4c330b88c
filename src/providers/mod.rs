//! Where snapshots come from. A provider answers two questions about one orchestrator; retries, refresh and
//! timeouts live in `control::supervise`.

pub mod docker;
pub mod file;
pub mod rancher;

use std::future::Future;

use crate::model::{ProviderName, Snapshot};

/// How much to ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// What `changed` has told of since; whatever is known to be unchanged may be answered from memory.
    News,
    /// Everything, nothing from memory: after a start, a reconnect, and at each refresh.
    Everything,
}

/// Answers two questions about one orchestrator.
pub trait Provider: Send + 'static {
    /// Who this is.
    fn name(&self) -> ProviderName;

    /// Whether it is asked by a socket of this machine, where asking in vain costs nothing.
    fn is_near(&self) -> bool {
        false
    }

    /// Everything there is, now. What is slow to be told of stays as it was known, and is news when it comes; what must be
    /// told at once waits for nothing else. May be dropped at any time; the next call then asks for `Depth::Everything`.
    ///
    /// # Errors
    /// When the orchestrator cannot be asked, or its answer cannot be used as a whole. One entry that cannot be
    /// read is a problem of the snapshot instead.
    fn fetch(&mut self, depth: Depth) -> impl Future<Output = Result<Snapshot, Error>> + Send;

    /// Resolves when `fetch` may have news. May be dropped at any time, without losing news.
    ///
    /// # Errors
    /// When the connection that brings the news broke: what happened since is not known.
    fn changed(&mut self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Why an orchestrator could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answered there.
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable {
        /// Who was asked.
        endpoint: String,
        /// Why not, in words.
        reason: String,
    },
    /// Somebody answered, but not as the API says.
    #[error("{endpoint} gave an answer that cannot be used: {reason}")]
    BadAnswer {
        /// Who was asked.
        endpoint: String,
        /// What was wrong with the answer.
        reason: String,
    },
    /// An answer was larger, or took longer, than the limit.
    #[error("{endpoint} went over a limit: {reason}")]
    Limit {
        /// Who was asked.
        endpoint: String,
        /// Which limit, and by how much where that is known.
        reason: String,
    },
}
