//! Steps on a request's way, each one file: what a user may set, what it does, its tests. No I/O.

mod add_prefix;
mod closed;
mod replace_path;
mod strip_prefix;
mod trailing_slash;

pub use add_prefix::AddPrefix;
pub use closed::Closed;
pub use replace_path::{ReplacePath, ReplacePathRegex};
pub use strip_prefix::StripPrefix;
pub use trailing_slash::TrailingSlash;

use crate::model::Exchange;

/// Every middleware there is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Middleware {
    /// Lets nobody in.
    Closed(Closed),
    /// Sends clients to the path with or without a slash at its end, as the rule has it.
    TrailingSlash(TrailingSlash),
    /// Takes a prefix off the path.
    StripPrefix(StripPrefix),
    /// Puts a prefix before the path.
    AddPrefix(AddPrefix),
    /// Puts another path in the place of what an expression finds.
    ReplacePathRegex(ReplacePathRegex),
    /// Puts another path in the place of this one.
    ReplacePath(ReplacePath),
}

/// What happens after a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Flow {
    /// The request goes on.
    Continue,
    /// It is answered here.
    Answer(Box<Answer>),
}

/// An answer that no server gave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its status, a final one.
    pub status: u16,
    /// Header lines beside those of every answer of ours.
    pub lines: Vec<(&'static str, String)>,
}

/// One step of a chain, without I/O.
pub trait Handler {
    /// Sees the request before a server is picked.
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow;

    /// What it is and does, for the page: `strip prefix /trend`.
    fn describe(&self) -> String;
}

impl Middleware {
    /// The step behind the name.
    pub fn handler(&self) -> &dyn Handler {
        match self {
            Self::Closed(step) => step,
            Self::TrailingSlash(step) => step,
            Self::StripPrefix(step) => step,
            Self::AddPrefix(step) => step,
            Self::ReplacePathRegex(step) => step,
            Self::ReplacePath(step) => step,
        }
    }

    /// What it is and does, for the page: `strip prefix /trend`.
    pub fn describe(&self) -> String {
        self.handler().describe()
    }
}

/// A path as it may stand in a request's first line: what cannot stand there is percent-encoded, `%` is left alone.
fn sendable(path: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const NOT_IN_A_PATH: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'\\')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    let path = utf8_percent_encode(path, NOT_IN_A_PATH).to_string();
    if path.starts_with('/') { path } else { format!("/{path}") }
}
