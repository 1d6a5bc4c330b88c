//! Files that others write: rules, users, certificates. They are small, and nobody waits for one for ever.

pub mod beside;
pub mod text;
pub mod walk;
