//! Message boundaries, byte by byte, on raw sockets.
