//! From labels to routes, by the fixtures.
