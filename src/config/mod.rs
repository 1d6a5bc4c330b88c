//! What is asked for: by one source (a [`Fragment`]), and by all of them with names settled (a [`Config`]).
//!
//! Ordered maps throughout, so that equal inputs print, compare and compile alike; what is in them is shared between a
//! reading, the configs it went into and the routes made from them.

mod backend;
mod check;
mod fragment;
mod frontend;
pub mod guards;
mod wishes;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use backend::{
    Backend, CookieScope, HashKey, Method, SameSite, Scheme, Server, Servers, Sticky, authority,
};
pub use check::{Check, InvalidCheck, Question, Request};
pub use fragment::Fragment;
pub use frontend::Frontend;
pub use wishes::{
    AllowList, Auth, BackendWishes, Buffering, CertInfos, CircuitBreaker, ClientCertWish,
    ClientTls, DnParts, ErrorPage, ForwardAuth, FrontendWishes, HeaderLines, HeadersWish,
    HealthCheck, MaintenanceWish, MaxConn, Rate, RateLimit, Redirect, ResponseForwarding,
    TimeoutsWish, UsersAuth, hide_password,
};

use crate::model::{BackendId, FrontendId};

/// What all sources together ask for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// Every frontend, those that lost their rule to an older one too (`Frontend::shadowed_by`).
    pub frontends: BTreeMap<FrontendId, Arc<Frontend>>,
    /// Every backend; a known one without a healthy server has an empty list.
    pub backends: BTreeMap<BackendId, Arc<Backend>>,
    /// Who had a claim, and gave way while nothing of it runs: it gets it back. Of most configs there is none.
    pub given_way: BTreeMap<Claim, BackendId>,
}

/// What two frontends cannot both have: one host (none: a rule without hosts) at one entry point, under the same other terms and
/// wish for priority, however these are spelled.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Claim {
    /// The host; none where the rule has none.
    pub host: Option<String>,
    /// What the other terms ask for, in order.
    pub terms: String,
    /// The entry point.
    pub entrypoint: String,
    /// The priority that was asked for.
    pub priority: Option<i64>,
}
