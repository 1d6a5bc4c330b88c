//! A real Docker engine.
