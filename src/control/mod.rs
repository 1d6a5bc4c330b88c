//! The loop: supervise providers, plan, compile, publish.

mod state;

pub use state::{Phase, ProviderStatus, Source, State, View};
