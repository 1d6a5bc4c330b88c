//! The `herder` program as a process.
