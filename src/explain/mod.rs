//! Why is this container routed, or not? Which frontend takes this URL, and why not another?
//!
//! The reasons are not kept: they are worked out anew by the code that decides, with a trace that listens.

mod asked;
mod container;
mod health;
mod request;

pub use asked::Asked;
pub use container::{Explanation, service};
pub use health::add_health;
pub use request::{RouteTest, request};

pub use crate::model::{Outcome, Step};
