//! What a table is made of: routes, and backends whose servers know how they are doing.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handling::{Handling, Page};
use crate::balance::{Moment, Schedule, draw, sticky};
use crate::config::{Frontend, Method, Scheme, Sticky};
use crate::live::{BackendLive, FrontendLive, ServerLive};
use crate::middleware::Handler;
use crate::model::{BackendId, Exchange, FrontendId, ServerName};

/// A frontend as it runs.
#[derive(Debug)]
pub struct Route {
    /// The frontend's name.
    pub id: FrontendId,
    /// The entry points it serves; never empty.
    pub entrypoints: Arc<[String]>,
    /// What was asked for.
    pub frontend: Arc<Frontend>,
    /// Its steps, in order.
    pub chain: Box<[Arc<dyn Handler>]>,
    /// Larger goes first.
    pub priority: i64,
    /// Whether the host alone decides.
    pub(super) is_by_host: bool,
    /// Where its requests go.
    pub backend: Arc<RunningBackend>,
    /// Pages in the place of errors.
    pub pages: Box<[Page]>,
    /// Its counters.
    pub live: Arc<FrontendLive>,
}

impl Route {
    /// Whether it takes this request, its priority aside.
    pub fn takes(&self, exchange: &Exchange<'_>) -> bool {
        self.is_at(exchange.entrypoint) && self.frontend.rule.matches(exchange)
    }

    /// The same for a request whose host is known to be one of its own.
    pub(super) fn takes_from_host(&self, exchange: &Exchange<'_>) -> bool {
        self.is_at(exchange.entrypoint) && (self.is_by_host || self.frontend.rule.matches(exchange))
    }

    fn is_at(&self, entrypoint: &str) -> bool {
        self.entrypoints.iter().any(|name| name == entrypoint)
    }
}

/// A backend as it runs.
#[derive(Debug)]
pub struct RunningBackend {
    pub(super) id: BackendId,
    pub(super) method: Method,
    pub(super) sticky: Option<Sticky>,
    pub(super) servers: Box<[RunningServer]>,
    pub(super) schedule: Schedule,
    pub(super) live: Arc<BackendLive>,
    pub(super) handling: Option<Box<Handling>>,
}

/// A server as it runs.
#[derive(Debug)]
pub struct RunningServer {
    /// Its name within the backend.
    pub name: ServerName,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Where it is.
    pub addr: SocketAddr,
    /// Its name, where it was called by one.
    pub host: Option<Arc<str>>,
    /// Its share.
    pub weight: u32,
    /// What the sticky cookie calls it.
    pub cookie_value: Box<str>,
    /// Its load and luck, kept across tables.
    pub live: Arc<ServerLive>,
}

/// The servers a request has tried in vain, so that it does not try one twice.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Most requests need no more, and so no memory.
    first: Option<(Scheme, SocketAddr)>,
    others: Vec<(Scheme, SocketAddr)>,
}

impl Tried {
    /// How many they are.
    pub fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    // By address, for the next try may find another table.
    fn has(&self, server: &RunningServer) -> bool {
        let place = (server.scheme, server.addr);
        self.first == Some(place) || self.others.contains(&place)
    }

    fn add(&mut self, server: &RunningServer) {
        let place = (server.scheme, server.addr);
        match self.first {
            None => self.first = Some(place),
            Some(_) => self.others.push(place),
        }
    }
}

impl RunningBackend {
    /// The backend's name.
    pub fn id(&self) -> &BackendId {
        &self.id
    }

    /// What its requests need besides a server, where they do.
    pub fn handling(&self) -> Option<&Handling> {
        self.handling.as_deref()
    }

    /// Whether one more request may be sent again: some always, more where many requests are served. Asked only when one
    /// failed. `now_ms` is the proxy's monotonic clock.
    pub fn may_retry(&self, now_ms: u64) -> bool {
        let requests = self.servers.iter().map(|server| server.live.requests()).sum();
        self.live.budget.may_retry(requests, now_ms)
    }

    /// Its counters, kept across tables.
    pub fn live(&self) -> &BackendLive {
        &self.live
    }

    /// The servers that may get requests.
    pub fn servers(&self) -> &[RunningServer] {
        &self.servers
    }

    /// The sticky cookie's settings, where there is one.
    pub fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_ref()
    }

    /// The next server for this request, noted in `tried` so that asking again gives another one.
    ///
    /// The server of the sticky cookie comes first. Servers that refused a connection a moment ago come last:
    /// when everybody did, one of them is better than nobody. Returns none when all were tried, or none is
    /// there.
    pub fn pick(
        &self,
        exchange: &Exchange<'_>,
        moment: Moment,
        tried: &mut Tried,
    ) -> Option<&RunningServer> {
        if let ([only], None, None) = (&*self.servers, tried.first, &self.sticky)
            && only.weight > 0
        {
            // There is nothing to choose: no turn is counted.
            tried.add(only);
            return Some(only);
        }
        let is_fresh = |index: &usize| !tried.has(&self.servers[*index]);
        let is_rested = |index: &usize| !self.servers[*index].live.is_resting(moment.now_ms);
        let index = self
            .wanted_by_cookie(exchange)
            .filter(|index| is_fresh(index) && is_rested(index))
            .or_else(|| self.balanced(moment, |index| is_fresh(index) && is_rested(index)))
            .or_else(|| self.balanced(moment, is_fresh))?;
        let server = &self.servers[index];
        tried.add(server);
        Some(server)
    }

    /// The server that this client's cookie asks for.
    fn wanted_by_cookie(&self, exchange: &Exchange<'_>) -> Option<usize> {
        let sticky = self.sticky.as_ref()?;
        let wanted = sticky::find(exchange.head.header("cookie")?, &sticky.cookie)?;
        self.servers.iter().position(|server| *server.cookie_value == *wanted)
    }

    fn balanced(&self, moment: Moment, is_allowed: impl Fn(&usize) -> bool) -> Option<usize> {
        match self.method {
            Method::Wrr => self.schedule.from(self.live.next_turn()).find(is_allowed),
            Method::Drr => {
                let allowed_weight = |(index, server): (usize, &RunningServer)| {
                    let weight = if is_allowed(&index) { server.weight } else { 0 };
                    (weight, server.live.failure_ratio())
                };
                draw(self.servers.iter().enumerate().map(allowed_weight), (moment.random)())
            }
        }
    }
}
