//! What the tests stand on: real sockets, real processes, ports chosen by the system.

pub(crate) mod docker;
pub(crate) mod herder;
pub(crate) mod origin;
pub(crate) mod raw;
