//! Labels → `Fragment`: one file per label language.
