//! The admin page and its API over real sockets.
