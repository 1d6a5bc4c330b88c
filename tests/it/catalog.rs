//! The catalog entry, the compose files, the image.
