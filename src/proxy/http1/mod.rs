//! HTTP/1.1 on a path of our own: small, strict, and without I/O at its core.
//!
//! What guards the boundary between two messages works on bytes alone ([`head`], [`parse`], [`framing`], [`chunked`], [`relay`]),
//! so that every sequence of bytes can be tested, cut anywhere, and fuzzed. [`request`] and [`answer`] write heads for
//! the other side. [`connection`] and [`exchange`] move the bytes: one task for each client connection carries both
//! sides, reads into a buffer of its worker, and holds none of its own while it idles.

mod answer;
mod attempt;
mod bytes;
mod chunked;
mod collect;
mod connection;
mod course;
mod encode;
mod exchange;
mod fields;
mod framing;
mod head;
// The fuzzer is outside of this crate.
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(fuzzing), allow(dead_code, unreachable_pub))]
pub mod judge;
mod lines;
mod luck;
mod own;
mod parse;
mod prepare;
mod record;
mod refuse;
mod relay;
mod request;
mod room;
mod tally;
mod target;
mod timer;
mod transfer;
mod tunnel;

pub(super) use connection::{Client, serve};
pub(super) use parse::LINES_MAX;
pub(super) use room::Rooms;
