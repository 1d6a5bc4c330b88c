//! TLS as a client: whom Herder believes where it asks somebody.

pub mod roots;
pub mod unchecked;
