//! The chain of a frontend as it runs: what its rule asks for, then what its labels do.
//!
//! The order is that of Traefik 1.7 (server/server_configuration.go, `buildMiddlewares`; server_loadbalancer.go,
//! `buildBalancerMiddlewares`): first whether it is in maintenance, what the rule does to the path, compression around all that
//! follows, who may pass, where clients are sent, header lines, who is asked for a name, and last what protects the
//! servers. A step is one file in `middleware`, and one row here.

use std::sync::Arc;

use super::{guards, headers};
use crate::config::{AllowList, Backend, BackendWishes, Frontend, FrontendWishes};
use crate::live::Live;
use crate::middleware::{
    CircuitBreaker, Compress, Extractor, Handler, InFlight, Maintenance, Middleware, Rate,
    RateLimit,
};
use crate::model::{FrontendId, network};
use crate::rules::BreakerExpression;
use crate::settings::{EntryAuth, EntryPoint, duration};

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
    let by_rule = parts.frontend.chain.iter().map(Middleware::start);
    if parts.frontend.wishes.is_none() && parts.backend.wishes.is_none() {
        return by_rule.collect();
    }
    let headers = parts.frontend_wishes().and_then(|wishes| wishes.headers.as_ref());
    let by_wish = [
        compress(parts),
        allow_list(parts),
        redirect(parts),
        headers.and_then(headers::custom),
        headers.and_then(headers::secure),
        headers.and_then(headers::cors),
        auth(parts),
        circuit_breaker(parts),
        in_flight(parts),
        rate_limit(parts),
    ];
    maintenance(parts).into_iter().chain(by_rule).chain(by_wish.into_iter().flatten()).collect()
}

/// A step, where it is asked for and can be made. What cannot be read was reported where it was written.
type Step = Option<Arc<dyn Handler>>;

impl Parts<'_> {
    fn frontend_wishes(&self) -> Option<&FrontendWishes> {
        self.frontend.wishes.as_deref()
    }

    fn backend_wishes(&self) -> Option<&BackendWishes> {
        self.backend.wishes.as_deref()
    }
}

fn maintenance(parts: &Parts<'_>) -> Step {
    let wish = parts.frontend_wishes()?.maintenance.as_ref()?;
    let retry_after_s = duration(&wish.retry_after).map(|time| time.as_secs().max(1));
    Some(Arc::new(Maintenance {
        retry_after_s: retry_after_s.unwrap_or(Maintenance::RETRY_AFTER_S),
        except: wish.except.iter().filter_map(|text| network(text)).collect(),
    }))
}

fn compress(parts: &Parts<'_>) -> Step {
    let is_wanted = parts.frontend_wishes()?.compress;
    is_wanted.then(|| Arc::new(Compress::new(parts.live)) as _)
}

fn allow_list(parts: &Parts<'_>) -> Step {
    parts.frontend_wishes()?.white_list.as_ref().map(guards::allow_list)
}

fn auth(parts: &Parts<'_>) -> Step {
    Some(guards::auth(parts.frontend_wishes()?.auth.as_ref()?, parts.live))
}

fn redirect(parts: &Parts<'_>) -> Step {
    headers::redirect(parts.frontend_wishes()?.redirect.as_ref()?, parts.entrypoints)
}

fn circuit_breaker(parts: &Parts<'_>) -> Step {
    let wish = parts.backend_wishes()?.circuit_breaker.as_ref()?;
    let expression = BreakerExpression::parse(&wish.expression).ok()?;
    let backend = parts.frontend.backend.to_string();
    Some(Arc::new(CircuitBreaker::new(expression, &backend, parts.live)))
}

fn in_flight(parts: &Parts<'_>) -> Step {
    let wish = parts.backend_wishes()?.max_conn.as_ref()?;
    let by = Extractor::parse(&wish.extractor_func).ok()?;
    let backend = parts.frontend.backend.to_string();
    Some(Arc::new(InFlight::new(wish.amount, by, &backend, parts.live).ok()?))
}

fn rate_limit(parts: &Parts<'_>) -> Step {
    let wish = parts.frontend_wishes()?.rate_limit.as_ref()?;
    let by = Extractor::parse(&wish.extractor_func).ok()?;
    let rates = wish.rateset.values().map(|rate| Rate::new(rate.period, rate.average, rate.burst));
    let rates = rates.filter_map(Result::ok).collect();
    Some(Arc::new(RateLimit::new(rates, by, &parts.id.to_string(), parts.live).ok()?))
}

/// The steps of an entry point: every request that comes in by it goes through them, whether a frontend takes it or not,
/// before those of its frontend. `all` are the entry points there are.
pub fn entry_chain(
    entrypoint: &EntryPoint,
    all: &[EntryPoint],
    live: &Live,
) -> Box<[Arc<dyn Handler>]> {
    let allowed = entrypoint.sources.as_ref().map(|sources| {
        let source_range = sources.ranges.clone();
        guards::allow_list(&AllowList {
            source_range,
            use_x_forwarded_for: sources.use_x_forwarded_for,
        })
    });
    let auth = entrypoint.auth.as_ref().map(|auth| guards::auth(&guards::of_entry(auth), live));
    let steps = [
        entrypoint.compress.then(|| Arc::new(Compress::new(live)) as Arc<dyn Handler>),
        allowed,
        // Before a name is asked for: it is not to travel in clear.
        entrypoint.redirect.as_ref().and_then(|wish| headers::entry_redirect(wish, all)),
        auth,
    ];
    steps.into_iter().flatten().collect()
}

/// The step that asks for a name where `auth` says so: for the admin side, which has no chain.
pub fn auth_step(auth: &EntryAuth, live: &Live) -> Arc<dyn Handler> {
    guards::auth(&guards::of_entry(auth), live)
}
