//! Which requests a frontend takes: one tree, and the languages it is written in; and the expressions of breakers and
//! retries.

mod path;
mod predicate;
mod re2;
mod template;
mod tree;
pub mod v1;

pub use path::PathPattern;
pub use predicate::{BreakerExpression, CodeRange, Measured, RetryExpression};
pub use template::{Sort, Template, expression};
pub use tree::{HeaderTest, Matcher, Rule};
