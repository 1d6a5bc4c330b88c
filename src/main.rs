//! The `herder` program.
fn main() {}
