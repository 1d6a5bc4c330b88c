//! Steps on a request's way, each one file: what a user may set, what it does, its tests. No I/O.

mod strip_prefix;

pub use strip_prefix::StripPrefix;

use crate::model::Exchange;

/// Every middleware there is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Middleware {
    /// Takes a prefix off the path.
    StripPrefix(StripPrefix),
}

/// What happens after a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    /// The request goes on.
    Continue,
}

/// One step of a chain, without I/O.
pub trait Handler {
    /// Sees the request before a server is picked.
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow;
}

impl Middleware {
    /// The step behind the name.
    pub fn handler(&self) -> &dyn Handler {
        match self {
            Self::StripPrefix(step) => step,
        }
    }

    /// What it is and does, for the page: `strip prefix /trend`.
    pub fn describe(&self) -> String {
        match self {
            Self::StripPrefix(step) => format!("strip prefix {}", step.prefixes.join(", ")),
        }
    }
}
