//! Fragments → `Config`: names, conflicts.
