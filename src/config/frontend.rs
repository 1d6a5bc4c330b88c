//! A rule, a chain and the backend it leads to.

use super::FrontendWishes;
use crate::middleware::Middleware;
use crate::model::{BackendId, FrontendId, Origin};
use crate::rules::Rule;

/// Which requests go to which backend, and what is done to them on the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frontend {
    /// The entry points it serves; empty means the default ones.
    pub entrypoints: Box<[String]>,
    /// Which requests it takes.
    pub rule: Rule,
    /// The rules it was written as, each with its name, where a file gave it several or named them.
    pub routes: Box<[(String, String)]>,
    /// Larger goes first. Unset: the length of the rule's text, as in Traefik 1.7
    /// (server_configuration.go, `buildServerRoute`).
    pub priority: Option<i64>,
    /// What is done to a request on its way, in order.
    pub chain: Box<[Middleware]>,
    /// Whether the server sees the client's `Host` (the default) or its own address.
    pub pass_host_header: bool,
    /// What else it asks for, where it does.
    pub wishes: Option<Box<FrontendWishes>>,
    /// Where its requests go.
    pub backend: BackendId,
    /// Who asked for it.
    pub origin: Origin,
    /// Older is smaller; see `Service::age_order`.
    pub age_order: Option<i64>,
    /// The frontend that had this rule before and keeps it. Such a frontend is shown, and gets no request.
    pub shadowed_by: Option<FrontendId>,
}

impl Frontend {
    /// Whether a request that this one takes is done the same to, and goes to the same servers, as one of the other's.
    pub fn does_as(&self, other: &Self) -> bool {
        self.backend == other.backend
            && self.chain == other.chain
            && self.wishes == other.wishes
            && self.pass_host_header == other.pass_host_header
    }

    /// The priority that was asked for. Zero and less are as if nothing was said (Traefik 1.7, server_configuration.go,
    /// `buildServerRoute`).
    pub fn asked_priority(&self) -> Option<i64> {
        self.priority.filter(|&priority| priority > 0)
    }

    /// The priority in force.
    pub fn effective_priority(&self) -> i64 {
        let length = match &*self.routes {
            [] => self.rule.written_len(),
            routes => routes.iter().map(|(_, rule)| rule.len()).sum(),
        };
        let by_length = i64::try_from(length).unwrap_or(i64::MAX);
        self.asked_priority().unwrap_or(by_length)
    }
}
