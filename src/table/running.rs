//! What a table is made of: routes, and backends whose servers know how they are doing.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handling::{Handling, Page};
use crate::balance::{
    Candidate, Moment, Schedule, by_weight, draw, fewest, key_of, lighter, owner, soonest, sticky,
    unit,
};
use crate::config::{Check, Frontend, Method, Scheme, Sticky, authority};
use crate::live::{BackendLive, FrontendLive, ServerLive};
use crate::middleware::Handler;
use crate::model::{BackendId, Exchange, FrontendId, ProviderName, ServerName};

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
    /// Larger goes first.
    pub fn priority(&self) -> i64 {
        self.frontend.effective_priority()
    }

    /// Whether it takes only what no other one takes: the orchestrator has nobody who may serve it, be it that nothing runs, or that
    /// nothing is healthy yet. Traefik 1.7 does not know such a one (`containerFilter`). What a file says stays as it is said.
    pub fn gives_way(&self) -> bool {
        self.id.provider != ProviderName::File && self.backend.servers.is_empty()
    }

    /// Whether it takes this request, its priority aside.
    pub fn takes(&self, exchange: &Exchange<'_>) -> bool {
        self.is_at(exchange.entrypoint) && self.frontend.rule.matches(exchange)
    }

    /// The same for a request whose host is known to be one of its own.
    pub(super) fn takes_from_host(&self, exchange: &Exchange<'_>) -> bool {
        self.is_at(exchange.entrypoint) && (self.is_by_host || self.frontend.rule.matches(exchange))
    }

    /// Whether a request that went through the steps of this one has been through those of that one, too: the frontend is the
    /// same, and asks for the same, and so does its backend, which has steps of its own.
    pub fn has_chain_of(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.frontend, &other.frontend);
        let is_frontend = Arc::ptr_eq(ours, theirs)
            || (self.id == other.id && ours.chain == theirs.chain && ours.wishes == theirs.wishes);
        let steps =
            |route: &Self| route.chain.iter().map(|step| step.describe()).collect::<Vec<_>>();
        is_frontend
            && (Arc::ptr_eq(&self.backend, &other.backend)
                || (ours.backend == theirs.backend && steps(self) == steps(other)))
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
    pub(super) sticky: Option<Arc<Sticky>>,
    /// How long the share of a server grows that has just come; 0: not at all.
    pub(super) slow_start_ms: u64,
    pub(super) servers: Box<[RunningServer]>,
    pub(super) schedule: Schedule,
    pub(super) live: Arc<BackendLive>,
    pub(super) handling: Option<Box<Handling>>,
    /// How its servers are asked whether they are well.
    pub(super) check: Option<Arc<Check>>,
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
    /// What consistent hashing knows it by, where the method is that.
    pub(super) seed: u64,
    /// Its load and luck, kept across tables.
    pub live: Arc<ServerLive>,
    /// Whether an earlier one of its backend is at the same place: they are one, so that this one adds nothing to sums.
    pub is_alias: bool,
}

impl RunningServer {
    /// Whether it is as able to take a request as it should be. Who is not comes last, whatever the method.
    fn may_take(&self, now_ms: u64) -> bool {
        !self.live.is_resting(now_ms)
    }

    /// Whether it may take requests now: it has no check, or passes it.
    pub fn may_serve(&self) -> bool {
        self.live.health.may_serve()
    }

    /// `http://10.42.0.7:8080`.
    pub fn url(&self) -> String {
        self.scheme.url(self.addr, self.host.as_deref())
    }

    /// `10.42.0.7:8080`.
    pub fn authority(&self) -> String {
        authority(self.addr, self.host.as_deref())
    }
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
        let requests = self.each_server().map(|server| server.live.requests()).sum();
        self.live.budget.may_retry(requests, now_ms)
    }

    /// So many requests that were sent again ended well: they count no more.
    pub fn retried_well(&self, retries: u64) {
        self.live.budget.refund(retries);
    }

    /// Its counters, kept across tables.
    pub fn live(&self) -> &BackendLive {
        &self.live
    }

    /// The servers that may get requests.
    pub fn servers(&self) -> &[RunningServer] {
        &self.servers
    }

    /// The same for whoever counts: one that has two names comes once.
    pub fn each_server(&self) -> impl Iterator<Item = &RunningServer> {
        self.servers.iter().filter(|server| !server.is_alias)
    }

    /// The sticky cookie's settings, where there is one.
    pub fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_deref()
    }

    /// Whether the method looks at how long its servers take to answer.
    pub fn is_timed(&self) -> bool {
        self.method.is_timed()
    }

    /// How its servers are asked whether they are well, where they are.
    pub fn check(&self) -> Option<&Arc<Check>> {
        self.check.as_ref()
    }

    /// Whether a server that serves would still be there without this one: the last one is never ejected.
    pub fn may_spare(&self, server: &RunningServer, now_ms: u64) -> bool {
        let is_other = |other: &&RunningServer| !Arc::ptr_eq(&other.live, &server.live);
        let mut others = self.servers.iter().filter(is_other);
        others.any(|other| other.weight > 0 && other.may_serve() && other.may_take(now_ms))
    }

    /// The next server for this request, noted in `tried` so that asking again gives another one.
    ///
    /// The server of the sticky cookie comes first, whatever its weight: one of weight 0 gets no new clients and keeps
    /// those it has. Servers that refused a connection a moment ago come last, the cookie's before the others: when everybody
    /// did, one of them is better than nobody. Servers whose checks say no get nothing. Returns none when all were tried, or none is there.
    pub fn pick(
        &self,
        exchange: &Exchange<'_>,
        moment: Moment,
        tried: &mut Tried,
    ) -> Option<&RunningServer> {
        if let ([only], None, None) = (&*self.servers, tried.first, &self.sticky)
            && only.weight > 0
            && only.may_serve()
        {
            // There is nothing to choose: no turn is counted. Its start is, for the one that joins it.
            only.live.start_share(moment.now_ms, self.slow_start_ms);
            tried.add(only);
            return Some(only);
        }
        let is_fresh = |index: &usize| {
            let server = &self.servers[*index];
            server.may_serve() && !tried.has(server)
        };
        let is_able =
            |index: &usize| is_fresh(index) && self.servers[*index].may_take(moment.now_ms);
        let index = self
            .wanted_by_cookie(exchange)
            .filter(is_able)
            .or_else(|| self.balanced(exchange, moment, is_able))
            .or_else(|| self.wanted_by_cookie(exchange).filter(is_fresh))
            .or_else(|| self.balanced(exchange, moment, is_fresh))?;
        let server = &self.servers[index];
        tried.add(server);
        Some(server)
    }

    /// The server that this client's cookie asks for.
    fn wanted_by_cookie(&self, exchange: &Exchange<'_>) -> Option<usize> {
        let sticky = self.sticky.as_ref()?;
        sticky::look_up(exchange.head, &sticky.cookie, |wanted| {
            self.servers.iter().position(|server| *server.cookie_value == *wanted)
        })?
    }

    /// The server that the method chooses among these.
    fn balanced(
        &self,
        exchange: &Exchange<'_>,
        moment: Moment,
        is_allowed: impl Fn(&usize) -> bool,
    ) -> Option<usize> {
        let next = || self.in_turn(self.live.next_turn(), moment, &is_allowed);
        let all = || self.candidates(0, moment, &is_allowed);
        // Ties fall to whoever's turn it is.
        let from_next = || Some(self.candidates(next()?, moment, &is_allowed));
        match &self.method {
            Method::Wrr => next(),
            Method::Drr => draw(all(), (moment.random)()),
            Method::LeastConn => fewest(from_next()?, moment.random),
            Method::P2c => {
                let drawn = |but: Option<usize>| {
                    let turn = (moment.random)() as usize;
                    self.in_turn(turn, moment, |index| Some(*index) != but && is_allowed(index))
                };
                let active = |index: usize| self.servers[index].live.active() as f64;
                lighter(drawn, |index| active(index) / self.share(index, moment))
            }
            Method::Ewma => soonest(from_next()?, moment),
            Method::Hash(key) => match key_of(key, exchange) {
                Some(key) => owner(key, all()),
                // Whoever has no such line or cookie: one server for all of these would have too much to do.
                None => next(),
            },
        }
    }

    /// The one whose turn it is. Where that is none of these, any of them by chance and weight: were it the next in order, who
    /// stands behind one that is down would have its share on top of his own. One that starts slowly lets most of its turns
    /// go to others in the same way.
    fn in_turn(
        &self,
        turn: usize,
        moment: Moment,
        is_allowed: impl Fn(&usize) -> bool,
    ) -> Option<usize> {
        let takes = |index: &usize| {
            let share = self.servers[*index].live.start_share(moment.now_ms, self.slow_start_ms);
            share >= 1.0 || unit((moment.random)()) < share
        };
        let next = self.schedule.at(turn).filter(|index| is_allowed(index) && takes(index));
        next.or_else(|| by_weight(self.candidates(0, moment, &is_allowed), (moment.random)()))
    }

    /// These servers in the order of their places, beginning with this one.
    fn candidates<'s>(
        &'s self,
        first: usize,
        moment: Moment,
        is_allowed: &'s impl Fn(&usize) -> bool,
    ) -> impl Iterator<Item = Candidate<'s>> + Clone {
        let all = (first..self.servers.len()).chain(0..first);
        let allowed = all.filter(|index| self.servers[*index].weight > 0 && is_allowed(index));
        allowed.map(move |index| {
            let server = &self.servers[index];
            Candidate {
                index,
                weight: self.share(index, moment),
                seed: server.seed,
                live: &server.live,
            }
        })
    }

    /// The weight of this server, less while it starts slowly.
    fn share(&self, index: usize, moment: Moment) -> f64 {
        let server = &self.servers[index];
        let grown = server.live.start_share(moment.now_ms, self.slow_start_ms);
        f64::from(server.weight) * grown
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Backend, Config, CookieScope, HashKey, Server, Servers};
    use crate::live::{FAILURES_MAX, Live, ServerKey, Thresholds};
    use crate::model::{Head, Origin, ProviderName, Sender};
    use crate::rules::v1;
    use crate::table::compile;

    const SLOW_START_MS: u64 = 100_000;
    const METHODS: [Method; 6] = [
        Method::Wrr,
        Method::Drr,
        Method::LeastConn,
        Method::P2c,
        Method::Ewma,
        Method::Hash(HashKey::ClientIp),
    ];

    /// A backend of servers with these weights, whose shares grow over [`SLOW_START_MS`].
    fn backend(method: &Method, weights: &[u32], live: &Live) -> Arc<RunningBackend> {
        let servers: Vec<(u16, u32)> = (1..).zip(weights.iter().copied()).collect();
        backend_of(method, &servers, false, live)
    }

    /// Where the server at this port is.
    fn place(port: u16) -> ServerKey {
        let id = BackendId::new(ProviderName::Docker, "web");
        (id, Scheme::Http, ([10, 0, 0, 1], port).into())
    }

    /// The same of servers at these ports with these weights.
    fn backend_of(
        method: &Method,
        servers: &[(u16, u32)],
        is_sticky: bool,
        live: &Live,
    ) -> Arc<RunningBackend> {
        let origin = Origin::new(ProviderName::Docker, "web");
        let server = |(index, &(port, weight)): (usize, &(u16, u32))| {
            let server = Server {
                scheme: Scheme::Http,
                addr: place(port).2,
                host: None,
                weight,
                is_weight_said: true,
                origin: origin.clone(),
            };
            (ServerName::from(format!("server-{index}")), server)
        };
        let value = Backend {
            mark: None,
            method: method.clone(),
            sticky: is_sticky.then(|| {
                let cookie = "sticky".to_owned();
                let scope = CookieScope::default();
                Arc::new(Sticky { cookie, is_named_by_us: false, is_deprecated: false, scope })
            }),
            slow_start: Duration::from_millis(SLOW_START_MS),
            servers: (1..).zip(servers).map(server).collect::<Servers>(),
            wishes: None,
            origin: origin.clone(),
        };
        let id = BackendId::new(ProviderName::Docker, "web");
        let frontend = Frontend {
            entrypoints: Box::default(),
            rule: v1::parse("Host:a.t").expect("a rule").rule,
            priority: None,
            chain: Box::default(),
            pass_host_header: true,
            wishes: None,
            backend: id.clone(),
            origin,
            age_order: None,
            shadowed_by: None,
            routes: Box::default(),
        };
        let mut config = Config::default();
        config.backends.insert(id, Arc::new(value));
        let id = FrontendId::new(ProviderName::Docker, "web");
        config.frontends.insert(id, Arc::new(frontend));
        let entrypoints = crate::table::EntryPoints::default();
        let table = compile(1, Arc::new(config), Arc::from([]), live, entrypoints);
        Arc::clone(&table.routes()[0].backend)
    }

    /// The place of the server that this client's request goes to at this time.
    fn pick(
        backend: &RunningBackend,
        client: u32,
        now_ms: u64,
        tried: &mut Tried,
    ) -> Option<usize> {
        pick_with(backend, None, client, now_ms, tried)
    }

    /// The same for a client with this line of cookies.
    fn pick_with(
        backend: &RunningBackend,
        cookies: Option<&str>,
        client: u32,
        now_ms: u64,
        tried: &mut Tried,
    ) -> Option<usize> {
        struct Cookies<'c>(Option<&'c str>);
        impl Head for Cookies<'_> {
            fn header(&self, name: &str) -> Option<&[u8]> {
                self.0.filter(|_| name == "cookie").map(str::as_bytes)
            }
            fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
                self.header(name).is_some_and(test)
            }
            fn each_line(&self, _: &mut dyn FnMut(&str, &[u8])) {}
        }
        let head = Cookies(cookies);
        let mut exchange = Exchange::new("http", "GET", "a.t", "/", &head);
        exchange.sender = Sender { ip: client.to_be_bytes().into(), ..Sender::default() };
        let moment = Moment { now_ms, random: || fastrand::u64(..) };
        let server = backend.pick(&exchange, moment, tried)?;
        backend.servers.iter().position(|other| other.addr == server.addr)
    }

    /// The shares of many requests of many clients, in hundredths.
    fn shares(backend: &RunningBackend, now_ms: u64) -> Vec<usize> {
        let mut counts = vec![0; backend.servers.len()];
        for client in 0..5_000 {
            let tried = &mut Tried::default();
            counts[pick(backend, client, now_ms, tried).expect("somebody")] += 1;
        }
        counts.iter().map(|count| (count + 25) / 50).collect()
    }

    #[test]
    fn the_share_of_a_new_server_grows() {
        fastrand::seed(7);
        for method in &METHODS {
            let backend = backend(method, &[1, 1, 1], &Live::default());
            let look = |index: usize, now_ms| {
                backend.servers[index].live.start_share(now_ms, SLOW_START_MS);
            };
            look(0, 1);
            look(1, 1);
            look(2, 1_000_000);
            for (now_ms, expected) in [(1_000_000, 5), (1_050_000, 20), (1_100_000, 33)] {
                let shares = shares(&backend, now_ms);
                // Least time has no shares: it sends nothing to who is at a disadvantage as long as others are idle.
                let expected = match (method, now_ms) {
                    (Method::Ewma, ..1_100_000) => 0,
                    _ => expected,
                };
                let others = (100 - expected) / 2;
                for (share, expected) in shares.iter().zip([others, others, expected]) {
                    assert!(share.abs_diff(expected) <= 3, "{method} {now_ms}: {shares:?}");
                }
            }
        }
    }

    /// Of servers with these weights those are down. What they would have had goes to all others, by weight.
    #[track_caller]
    fn check_down(weights: &[u32], down: &[usize]) {
        for method in &METHODS {
            let backend = backend(method, weights, &Live::default());
            // All have served for long.
            backend.servers.iter().for_each(|s| _ = s.live.start_share(1, SLOW_START_MS));
            let now_ms = 10 * SLOW_START_MS;
            down.iter().for_each(|&index| backend.servers[index].live.refused(now_ms - 1));
            let up = (0..weights.len()).filter(|index| !down.contains(index));
            let total: u32 = up.clone().map(|index| weights[index]).sum();
            let shares = shares(&backend, now_ms);
            for index in up {
                let expected = (100 * weights[index] / total) as usize;
                assert!(shares[index].abs_diff(expected) <= 3, "{method} {down:?}: {shares:?}");
            }
        }
    }

    #[test]
    fn the_share_of_who_is_down_goes_to_all_others() {
        fastrand::seed(7);
        check_down(&[1, 1, 1, 1], &[1]);
        check_down(&[1; 10], &[1, 2, 3]);
        check_down(&[1, 1, 1], &[0, 2]);
    }

    #[test]
    fn one_that_starts_serves_where_nobody_else_does() {
        for method in &METHODS {
            let backend = backend(method, &[1, 1, 0], &Live::default());
            backend.servers[0].live.refused(1_000);
            assert_eq!(shares(&backend, 1_100), [0, 100, 0], "{method}");
        }
    }

    #[test]
    fn a_request_tries_each_once_and_who_rests_last() {
        for method in &METHODS {
            let backend = backend(method, &[1, 1, 1, 0], &Live::default());
            backend.servers[1].live.refused(1_000);
            let tried = &mut Tried::default();
            let tries: Vec<_> =
                std::iter::from_fn(|| pick(&backend, 1, 1_100, tried)).take(9).collect();
            assert!(matches!(tries[..], [0, 2, 1] | [2, 0, 1]), "{method}: {tries:?}");
        }
    }

    /// How a server is when it is asked for.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Mood {
        Well,
        Refused,
        Ejected,
        Failing,
    }

    proptest! {
        /// Whatever the method, and however servers are: a request is sent to each that may serve once, and to nobody else; first to
        /// those that are able. Who has no weight gets it for the sake of a cookie alone, which goes first.
        #[test]
        fn a_request_is_sent_to_whoever_may_serve(
            method in prop::sample::select(METHODS.to_vec()),
            servers in prop::collection::vec((1_u16..5, 0_u32..4), 0..6),
            moods in prop::array::uniform5(prop::sample::select(vec![
                Mood::Well, Mood::Well, Mood::Refused, Mood::Ejected, Mood::Failing,
            ])),
            cookie in prop::option::of(1_u16..5),
            (now_ms, client) in (20_000_u64..200_000, any::<u32>()),
        ) {
            let live = Live::default();
            let backend = backend_of(&method, &servers, cookie.is_some(), &live);
            for server in &backend.servers {
                let (live, once) = (&server.live, Thresholds { rise: 1, fall: 1 });
                match moods[usize::from(server.addr.port())] {
                    Mood::Well => {}
                    Mood::Refused => live.refused(now_ms - 10),
                    Mood::Ejected => (0..FAILURES_MAX).for_each(|_| {
                        live.ejection.failed(now_ms - 10, now_ms - 10, || true);
                    }),
                    Mood::Failing => {
                        live.health.hold(true);
                        live.health.checked(false, once, 1, Duration::ZERO);
                    }
                }
            }
            let wanted = cookie.map(|port| sticky::value(&place(port)));
            let line = wanted.map(|value| format!("sticky={value}"));
            let tried = &mut Tried::default();
            let tries: Vec<u16> = std::iter::from_fn(|| {
                let index = pick_with(&backend, line.as_deref(), client, now_ms, tried)?;
                Some(backend.servers[index].addr.port())
            }).take(20).collect();
            let mood = |port: u16| moods[usize::from(port)];
            let may_serve = |port: u16| mood(port) != Mood::Failing;
            let expected: BTreeSet<u16> = servers
                .iter()
                .filter(|(port, weight)| (*weight > 0 || cookie == Some(*port)) && may_serve(*port))
                .map(|(port, _)| *port)
                .collect();
            prop_assert_eq!(tries.iter().copied().collect::<BTreeSet<_>>(), expected.clone());
            prop_assert_eq!(tries.len(), expected.len(), "each once");
            prop_assert!(tries.is_sorted_by_key(|port| (mood(*port) != Mood::Well, cookie != Some(*port))));
            prop_assert_eq!(tried.count(), tries.len());
        }
    }

    #[test]
    fn two_names_of_one_place_are_one_server() {
        let backend = backend_of(&Method::Wrr, &[(1, 1), (1, 1), (2, 1)], false, &Live::default());
        let [one, same, other] = &*backend.servers else { panic!("three servers") };
        assert!(Arc::ptr_eq(&one.live, &same.live));
        (0..1_000).for_each(|_| one.live.begin());
        assert_eq!(backend.each_server().map(|server| server.live.requests()).sum::<u64>(), 1_000);
        assert!(backend.may_spare(one, 1));
        other.live.refused(1);
        assert!(!backend.may_spare(one, 1), "its other name is no other server");
        // A window begins with the requests so far; of those that come and are no retries a fifth may be sent again, besides the
        // first hundred.
        assert!(backend.may_retry(20_000));
        (0..1_000).for_each(|_| one.live.begin());
        assert_eq!((1..999).filter(|_| backend.may_retry(20_000)).count(), 249);
    }

    #[test]
    fn who_has_the_only_weight_gets_everything() {
        for method in &METHODS {
            assert_eq!(shares(&backend(method, &[0, 7, 0], &Live::default()), 1), [0, 100, 0]);
            let none = backend(method, &[0, 0], &Live::default());
            assert_eq!(pick(&none, 1, 1, &mut Tried::default()), None, "{method}");
        }
    }
}
