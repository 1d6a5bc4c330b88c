//! Images, containers and networks on the real engine, removed when a test ends.
