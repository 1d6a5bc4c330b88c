//! What one service asks for, read in its dialect.

use std::sync::Arc;

use crate::config::{Backend, Frontend};
use crate::model::{BackendId, FrontendId};

/// What one service asks for. Names are its own wish; the plan settles them among all services.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fragment {
    /// The frontends it wants.
    pub frontends: Vec<(FrontendId, Arc<Frontend>)>,
    /// The backends they lead to.
    pub backends: Vec<(BackendId, Arc<Backend>)>,
    /// Frontends that cannot be served, for their rule cannot be read. What else is wrong with them is told all the same.
    pub refused: Vec<(FrontendId, Arc<Frontend>)>,
}
