//! What is asked for: by one source (a [`Fragment`]), and by all of them with names settled (a [`Config`]).
//!
//! Ordered maps throughout, so that equal inputs print, compare and compile alike.

mod backend;
mod fragment;
mod frontend;

use std::collections::BTreeMap;

pub use backend::{Backend, Method, Scheme, Server, Sticky};
pub use fragment::Fragment;
pub use frontend::Frontend;

use crate::model::{BackendId, FrontendId};

/// What all sources together ask for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// Every frontend, those that lost their rule to an older one too (`Frontend::shadowed_by`).
    pub frontends: BTreeMap<FrontendId, Frontend>,
    /// Every backend; a known one without a healthy server has an empty list.
    pub backends: BTreeMap<BackendId, Backend>,
}
