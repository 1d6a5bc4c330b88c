//! The obvious slow matcher: ask every route in turn.
//!
//! It is the oracle of the fast index, and what `explain` walks to say why the others lost.

use std::sync::Arc;

use super::running::Route;
use crate::model::Exchange;

/// The first route, in the order in which they are asked, that takes this request.
pub fn lookup<'r>(routes: &'r [Arc<Route>], exchange: &Exchange<'_>) -> Option<&'r Arc<Route>> {
    routes.iter().find(|route| route.takes(exchange))
}
