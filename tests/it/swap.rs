//! Tables swapped under load.
