//! Which requests a frontend takes: one tree, and the languages it is written in.

mod pattern;
mod tree;
pub mod v1;

pub use pattern::HostPattern;
pub use tree::{Matcher, Rule};
