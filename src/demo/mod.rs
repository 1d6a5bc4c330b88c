//! What we ship to try Herder with: a test service, and a metadata service to find it by.

pub mod metadata;
pub mod stack;
pub mod web_test;
