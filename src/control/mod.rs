//! The loop: supervise providers, plan, compile, publish.

mod event_loop;
pub mod guards;
mod health;
pub mod kept_bodies;
pub mod probe;
pub mod schedule;
pub mod secrets;
mod state;
mod supervise;

pub use event_loop::{Control, Event};
pub use state::{Phase, ProviderStatus, Source, State, View};
pub use supervise::{Refreshes, supervise};
