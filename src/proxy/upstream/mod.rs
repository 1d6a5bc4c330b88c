//! Connections to servers: dialled, kept by each worker for itself, and looked at before they are trusted again.

mod connection;
mod pool;

pub(super) use connection::{Place, Upstream};
pub(super) use pool::{Bounds, IdleOnes, Pool, Reuse, Risk};
