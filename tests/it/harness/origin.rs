//! A server that does what a test tells it.
