//! Which server is next. Plain functions: the time and the random number come in.

mod drr;
pub mod sticky;
mod wrr;

pub use wrr::Schedule;

pub(crate) use drr::draw;

/// What a choice may depend on, besides the servers themselves.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The proxy's monotonic clock, in milliseconds.
    pub now_ms: u64,
    /// Where random numbers come from: few choices need one.
    pub random: fn() -> u64,
}
