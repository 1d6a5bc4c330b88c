//! The page, the JSON API, events, metrics, ping: all of it read-only.
