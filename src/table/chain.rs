//! The chain of a frontend as it runs: what its rule asks for, then what its labels do.
//!
//! The order is that of Traefik 1.7 (server/server_configuration.go, `buildMiddlewares`; server_loadbalancer.go,
//! `buildBalancerMiddlewares`): what the rule does to the path, compression around all that follows, who may pass, where clients are sent, header lines, who
//! is asked for a name, and last what protects the servers. A step is one file in `middleware`, and one row here.

use std::sync::Arc;

use super::headers;
use crate::config::{Backend, Frontend};
use crate::live::Live;
use crate::middleware::{Compress, Handler, Middleware};
use crate::model::FrontendId;
use crate::settings::EntryPoint;

/// What there is to make a chain of.
pub(super) struct Parts<'a> {
    pub(super) id: &'a FrontendId,
    pub(super) frontend: &'a Frontend,
    pub(super) backend: &'a Backend,
    /// Clients can be sent to these.
    pub(super) entrypoints: &'a [EntryPoint],
    /// Where the steps find what they kept under the tables before.
    pub(super) live: &'a Live,
}

/// All steps, in order.
pub(super) fn chain(parts: &Parts<'_>) -> Box<[Arc<dyn Handler>]> {
    let _ = (parts.id, parts.backend);
    let by_rule = parts.frontend.chain.iter().map(Middleware::start);
    let Some(wishes) = parts.frontend.wishes.as_deref() else { return by_rule.collect() };
    let by_wish = [
        wishes.compress.then(|| Arc::new(Compress::new(parts.live)) as Arc<dyn Handler>),
        wishes.redirect.as_ref().and_then(|wish| headers::redirect(wish, parts.entrypoints)),
        wishes.headers.as_ref().and_then(headers::custom),
        wishes.headers.as_ref().and_then(headers::secure),
        wishes.headers.as_ref().and_then(headers::cors),
    ];
    by_rule.chain(by_wish.into_iter().flatten()).collect()
}

/// The steps of an entry point: every request that comes in by it goes through them, whether a frontend takes it or not,
/// before those of its frontend. `all` are the entry points there are.
pub fn entry_chain(
    entrypoint: &EntryPoint,
    all: &[EntryPoint],
    live: &Live,
) -> Box<[Arc<dyn Handler>]> {
    let steps = [
        entrypoint.redirect.as_ref().and_then(|wish| headers::entry_redirect(wish, all)),
        entrypoint.compress.then(|| Arc::new(Compress::new(live)) as Arc<dyn Handler>),
    ];
    steps.into_iter().flatten().collect()
}
