//! What one service asks for, read in its dialect.

use std::collections::BTreeMap;

use crate::config::{Backend, Frontend};
use crate::model::{BackendId, FrontendId};

/// What one service asks for. Names are its own wish; the plan settles them among all services.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fragment {
    /// The frontends it wants.
    pub frontends: BTreeMap<FrontendId, Frontend>,
    /// The backends they lead to.
    pub backends: BTreeMap<BackendId, Backend>,
}
