//! Which requests a frontend takes: one tree, and the languages it is written in.

mod path;
mod template;
mod tree;
pub mod v1;

pub use path::PathPattern;
pub use template::{Sort, Template, expression};
pub use tree::{HeaderTest, Matcher, Rule};
