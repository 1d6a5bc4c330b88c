//! `herder demo`, the first minute of a newcomer.
