//! One worker's kept-alive connections, looked at before they are trusted again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connection::{Place, Sound, Upstream};
use crate::config::Scheme;
use crate::model::has_no_means;
use crate::proxy::clock::Clock;
use crate::proxy::socket::tune;
use crate::proxy::worker::as_ms;
use crate::settings::Settings;

/// One worker's kept-alive connections to servers.
pub(in crate::proxy) struct Pool {
    servers: RefCell<HashMap<Place, Rc<IdleOnes>, RandomState>>,
    tls: Arc<ClientConfig>,
    bounds: Bounds,
}

/// How many kept-alive connections there may be, and for how long.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Bounds {
    /// To one server.
    pub(in crate::proxy) each: usize,
    /// To all servers together, which is looked at when they are [swept](Pool::sweep).
    pub(in crate::proxy) all: usize,
    pub(in crate::proxy) timeout_ms: u64,
}

impl Bounds {
    /// Those of one worker.
    pub(in crate::proxy) fn of(settings: &Settings) -> Self {
        let Settings { limits, workers, .. } = settings;
        Self {
            each: limits.upstream_idle_max,
            // Where there are more workers than places: a bound of none would have each worker dial for every request.
            all: (limits.connections_max / (*workers).max(1)).max(1),
            timeout_ms: as_ms(limits.upstream_idle_timeout),
        }
    }
}

/// The kept-alive connections to one server, the youngest last. Who asks a server holds them until it has answered, to bring its
/// connection back: they are looked up once.
#[derive(Default)]
pub(in crate::proxy) struct IdleOnes {
    connections: RefCell<Vec<Idle>>,
    manners: Cell<Manners>,
    /// Until when it is not believed that any of its answers has ended: more came behind one that had.
    astray_until_ms: Cell<u64>,
    /// Until when what must not be sent twice goes over none of them: it closed one within moments, without a word.
    hasty_until_ms: Cell<u64>,
}

/// What is known of a server's answers that may have no body.
#[derive(Clone, Copy, Default)]
struct Manners {
    /// How often it was seen to be silent after one.
    silences: u8,
    /// Until when it is not believed: it was not.
    noisy_until_ms: u64,
}

struct Idle {
    upstream: Upstream,
    since_ms: u64,
    /// When it may be used; later than it came where something may still come on it.
    ripe_ms: u64,
    /// Whether the kernel is asked first what has come.
    is_doubtful: bool,
}

/// Whether a server's connection may carry another request once an answer has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::proxy) enum Reuse {
    Now,
    /// Now, where the kernel knows of nothing more: no body may follow, but some servers write one, and not with the head (after
    /// 204, or 304 without a length). Of a server that has not been seen to be silent then, [later](Self::Later).
    AfterLook,
    /// When it has been silent for a while: the answer had no body, but some servers send one all the same (to HEAD, or with
    /// 304), and it would be taken for the next answer.
    Later,
    /// It ends: the server says so, or its end is the body's.
    Never,
    /// It ends, because we do not trust it: with a reset, for otherwise each would hold a port for a minute, and a client that
    /// has it end again and again would leave none.
    Distrusted,
    /// The same, and the server is not believed: more came than belongs to the answer.
    Noisy,
}

impl Reuse {
    /// What an answer leaves a connection to be, by what else there was of its exchange: whether its request was to be the
    /// `last` on it, whether that has gone out whole, and whether bytes came that belong to no answer.
    pub(in crate::proxy) fn after(self, is_last: bool, is_complete: bool, has_noise: bool) -> Self {
        match self {
            // It may read on what has come whole, and ends by itself.
            Self::Never if is_complete || !is_last => Self::Never,
            // A server that has not read the body takes it for its next request: another client's answer.
            _ if is_last => Self::Distrusted,
            reuse if is_complete && !has_noise => reuse,
            // What comes at once behind a head that has no body is one that should not be.
            Self::Now if has_noise => Self::Noisy,
            _ => Self::Distrusted,
        }
    }
}

/// How long a connection is to be silent that something may still come on. What a server sends, it sends within moments.
const SILENT_MS: u64 = 50;

/// So many connections to a server may be waiting for that; the oldest of more is closed. A flood of HEAD takes no more of the
/// server's places than any other.
const SILENT_MAX: usize = 4;

/// A server that was silent so often after answers that may have no body is believed.
const SILENCES_MIN: u8 = 3;

/// A shorter silence tells nothing.
const SILENCE_MS: u64 = 2;

/// A server that was not silent is not believed for so long: its connections end with such answers, and with all others, too, where it
/// was behind one of these.
const NOISY_MS: u64 = 10 * 60 * 1_000;

/// A server that closed a fresh connection is expected to do so again for so long.
const HASTY_MS: u64 = 10 * 60 * 1_000;

/// What a request can bear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::proxy) enum Risk {
    /// It can be sent again.
    Repeatable,
    /// It must not be sent twice: the server must not be about to close the connection.
    Once,
}

/// A request that must not be sent twice goes on a connection that idled no longer than this: servers close theirs
/// after seconds (Node.js after 5, Gunicorn after 2), and one that closes while the request is on its way loses it.
const FRESH_MS: u64 = 1_000;

impl Pool {
    pub(in crate::proxy) fn new(tls: Arc<ClientConfig>, bounds: Bounds) -> Self {
        Self { servers: RefCell::default(), tls, bounds }
    }

    /// Those to one server.
    pub(in crate::proxy) fn to(&self, place: &Place) -> Rc<IdleOnes> {
        let mut servers = self.servers.borrow_mut();
        match servers.get(place) {
            Some(idle) => Rc::clone(idle),
            None => Rc::clone(servers.entry(place.clone()).or_default()),
        }
    }

    /// A kept-alive connection that is still good, the youngest first.
    pub(in crate::proxy) fn take(
        &self,
        idle: &IdleOnes,
        risk: Risk,
        now_ms: u64,
    ) -> Option<Upstream> {
        if risk == Risk::Once && idle.hasty_until_ms.get() > now_ms {
            return None;
        }
        let mut connections = idle.connections.borrow_mut();
        let age_max = match risk {
            Risk::Repeatable => self.bounds.timeout_ms,
            Risk::Once => self.bounds.timeout_ms.min(FRESH_MS),
        };
        loop {
            if idle.astray_until_ms.get() > now_ms {
                // What it says on any of them may come late.
                connections.drain(..).for_each(|one| one.upstream.reset_at_end());
            }
            let youngest = connections.last()?;
            // Most are ripe at once.
            let (age, mut next) = if youngest.ripe_ms <= now_ms {
                (youngest.age_ms(now_ms), connections.pop()?)
            } else if let Some(place) = connections.iter().rposition(|one| one.ripe_ms <= now_ms) {
                (connections[place].age_ms(now_ms), connections.remove(place))
            } else {
                // A server may have few places: the connection that is made now gets one of theirs.
                idle.part_with(connections.remove(0), now_ms);
                return None;
            };
            if age > age_max {
                // The same.
                return None;
            }
            let sound = next.upstream.listen(next.is_doubtful || risk == Risk::Once);
            if next.is_doubtful || sound == Sound::Noise {
                idle.note(&next, sound, now_ms);
            }
            match sound {
                Sound::Silence => return Some(next.upstream),
                Sound::End if age <= FRESH_MS => idle.closed_a_fresh_one(now_ms),
                Sound::End | Sound::Noise => {}
            }
            if risk == Risk::Once && idle.hasty_until_ms.get() > now_ms {
                return None;
            }
        }
    }

    /// Keeps a connection whose last answer has ended, where it may be used again.
    pub(in crate::proxy) fn keep(
        &self,
        idle: &IdleOnes,
        upstream: Upstream,
        reuse: Reuse,
        clock: &Clock,
    ) {
        let since_ms = clock.now_ms();
        let reuse = match reuse {
            Reuse::Now if idle.astray_until_ms.get() <= since_ms => Reuse::Now,
            // Silence tells nothing of it: who makes it say more than was asked for says when, too.
            Reuse::Now => Reuse::Distrusted,
            Reuse::Never | Reuse::Distrusted | Reuse::Noisy => reuse,
            Reuse::Later | Reuse::AfterLook => idle.believed(reuse, since_ms),
        };
        let (since_ms, ripe_ms) = match reuse {
            Reuse::Now | Reuse::AfterLook => (since_ms, since_ms),
            // The last tick may be long ago where the worker was held up.
            Reuse::Later => (clock.exact_ms(), clock.exact_ms() + SILENT_MS),
            Reuse::Never => return,
            Reuse::Distrusted => return upstream.reset_at_end(),
            Reuse::Noisy => {
                idle.disbelieve(since_ms, true);
                return upstream.reset_at_end();
            }
        };
        let mut connections = idle.connections.borrow_mut();
        if reuse == Reuse::Later || connections.len() >= self.bounds.each {
            let is_unripe = |idle: &Idle| idle.ripe_ms > since_ms;
            let unripe = connections.iter().filter(|idle| is_unripe(idle)).count();
            let is_too_many = unripe >= SILENT_MAX || connections.len() >= self.bounds.each;
            if is_too_many && let Some(oldest) = connections.iter().position(is_unripe) {
                connections.remove(oldest).upstream.reset_at_end();
            }
        }
        if connections.len() < self.bounds.each {
            let is_doubtful = reuse != Reuse::Now;
            connections.push(Idle { upstream, since_ms, ripe_ms, is_doubtful });
        }
    }

    /// Closes what has idled for too long or died, and the oldest of too many. Called now and then by the worker.
    pub(in crate::proxy) fn sweep(&self, now_ms: u64) {
        let mut ages_ms = Vec::new();
        self.servers.borrow_mut().retain(|_, idle| {
            let mut connections = idle.connections.borrow_mut();
            connections.retain_mut(|one| {
                let sound = one.upstream.listen(false);
                idle.note(one, sound, now_ms);
                let age_ms = one.age_ms(now_ms);
                let is_good = age_ms <= self.bounds.timeout_ms && sound == Sound::Silence;
                ages_ms.extend(is_good.then_some(age_ms));
                is_good
            });
            let has_manners = idle.manners.get().noisy_until_ms.max(idle.hasty_until_ms.get());
            // Who holds them may bring a connection back.
            !connections.is_empty() || has_manners > now_ms || Rc::strong_count(idle) > 1
        });
        if ages_ms.len() > self.bounds.all {
            let (_, &mut oldest_ms, _) = ages_ms.select_nth_unstable(self.bounds.all);
            for idle in self.servers.borrow().values() {
                idle.connections.borrow_mut().retain(|one| one.age_ms(now_ms) < oldest_ms);
            }
        }
    }

    /// Closes all connections that idle, and tells whether there were any: somebody needs their files, or their ports.
    pub(in crate::proxy) fn shed(&self) -> bool {
        let servers = self.servers.borrow();
        let idle = servers.values().flat_map(|idle| idle.connections.take());
        idle.inspect(|one| one.upstream.reset_at_end()).count() > 0
    }

    /// Connects.
    ///
    /// # Errors
    /// Where the server refuses, or its certificate is not the right one.
    pub(in crate::proxy) async fn dial(&self, place: &Place) -> io::Result<Upstream> {
        let Place { addr, scheme, host } = place;
        let stream = match TcpStream::connect(addr).await {
            // What idles may have taken the files or ports that are missing.
            Err(error) if has_no_means(&error) && self.shed() => TcpStream::connect(addr).await?,
            stream => stream?,
        };
        tune(&stream);
        match scheme {
            Scheme::Http => Ok(Upstream::Plain(stream)),
            Scheme::Https => {
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                let name = match host {
                    None => ServerName::IpAddress(addr.ip().into()),
                    Some(host) => {
                        ServerName::try_from(&**host).map_err(io::Error::other)?.to_owned()
                    }
                };
                let stream = connector.connect(name, stream).await?;
                Ok(Upstream::Tls(Box::new(stream)))
            }
        }
    }
}

impl Idle {
    fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms)
    }
}

impl IdleOnes {
    /// What comes of a connection on which something may still come, by what is known of the server.
    fn believed(&self, reuse: Reuse, now_ms: u64) -> Reuse {
        let Manners { silences, noisy_until_ms } = self.manners.get();
        match reuse {
            _ if noisy_until_ms > now_ms => Reuse::Distrusted,
            Reuse::AfterLook if silences < SILENCES_MIN => Reuse::Later,
            reuse => reuse,
        }
    }

    /// Learns from what there is on a connection that waited.
    fn note(&self, one: &Idle, sound: Sound, now_ms: u64) {
        match sound {
            Sound::Noise => self.disbelieve(now_ms, !one.is_doubtful),
            Sound::Silence if one.is_doubtful && now_ms >= one.since_ms + SILENCE_MS => {
                let mut manners = self.manners.get();
                manners.silences = manners.silences.saturating_add(1);
                self.manners.set(manners);
            }
            Sound::Silence | Sound::End => {}
        }
    }

    /// Something came that belongs to no answer. Where it `is_astray`, behind one whose end was not in doubt, what else this server
    /// says may belong to another answer than it seems.
    fn disbelieve(&self, now_ms: u64, is_astray: bool) {
        let noisy_until_ms = now_ms + NOISY_MS;
        self.manners.set(Manners { silences: 0, noisy_until_ms });
        if is_astray {
            self.astray_until_ms.set(noisy_until_ms);
        }
    }

    /// It closed a connection within moments after its last answer, which said nothing of that. The next one that it closes so may
    /// have a request on its way.
    pub(in crate::proxy) fn closed_a_fresh_one(&self, now_ms: u64) {
        self.hasty_until_ms.set(now_ms + HASTY_MS);
    }

    /// Closes one that was to be silent first.
    fn part_with(&self, mut one: Idle, now_ms: u64) {
        let sound = one.upstream.listen(true);
        self.note(&one, sound, now_ms);
        one.upstream.reset_at_end();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::sleep;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::settings::Typed;
    use crate::tls::{self, Trust};

    /// A pool for so many connections to a server that accepts and says nothing.
    async fn pool(idle_max: usize) -> (Pool, Place, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("an address");
        let bounds = Bounds { each: idle_max, all: 12, timeout_ms: 60_000 };
        let pool = Pool::new(Arc::new(tls::client(Trust::Anybody, None)), bounds);
        (pool, Place { addr, scheme: Scheme::Http, host: None }, listener)
    }

    /// Dials and keeps one connection for each of these. Tells their ports.
    async fn keep(pool: &Pool, place: &Place, all: &[Reuse], clock: &Clock) -> Vec<u16> {
        let mut ports = Vec::new();
        for reuse in all {
            let upstream = pool.dial(place).await.expect("connected");
            ports.push(port(&upstream));
            pool.keep(&pool.to(place), upstream, *reuse, clock);
        }
        ports
    }

    #[test]
    fn a_worker_keeps_a_connection_where_there_are_fewer_places_than_workers() {
        let mut settings = Typed::default().meant().expect("they fit together");
        let mut check = |places, workers, all| {
            (settings.limits.connections_max, settings.workers) = (places, workers);
            assert_eq!(Bounds::of(&settings).all, all, "{places} {workers}");
        };
        check(1_000, 4, 250);
        check(36, 64, 1);
    }

    fn port(upstream: &Upstream) -> u16 {
        let Upstream::Plain(stream) = upstream else { panic!("no TLS here") };
        stream.local_addr().expect("an address").port()
    }

    #[test]
    fn a_connection_goes_on_after_a_whole_exchange_alone() {
        use Reuse::{AfterLook, Distrusted, Later, Never, Noisy, Now};
        for (reuse, (is_last, is_complete, has_noise), after) in [
            (Now, (false, true, false), Now),
            (AfterLook, (false, true, false), AfterLook),
            (Later, (false, true, false), Later),
            (Now, (false, true, true), Noisy),
            (Now, (false, false, true), Noisy),
            (AfterLook, (false, true, true), Distrusted),
            (Later, (false, true, true), Distrusted),
            (Now, (false, false, false), Distrusted),
            (Later, (false, false, false), Distrusted),
            (Now, (true, true, false), Distrusted),
            (AfterLook, (true, true, true), Distrusted),
            (Never, (false, false, true), Never),
            (Never, (true, true, false), Never),
            (Never, (true, false, false), Distrusted),
        ] {
            assert_eq!(
                reuse.after(is_last, is_complete, has_noise),
                after,
                "{reuse:?} {is_last} {is_complete} {has_noise}"
            );
        }
    }

    #[tokio::test]
    async fn a_connection_in_doubt_is_to_be_silent_first() {
        let (pool, place, _server) = pool(9).await;
        let clock = Clock::start(Instant::now());
        // As where the worker was held up: the last tick is long ago.
        sleep(Duration::from_millis(100)).await;
        let ports = keep(&pool, &place, &[Reuse::Later, Reuse::Now, Reuse::Never], &clock).await;
        let take = |now_ms| Some(port(&pool.take(&pool.to(&place), Risk::Repeatable, now_ms)?));
        assert_eq!(take(clock.exact_ms()), Some(ports[1]));
        assert_eq!(take(clock.exact_ms() + SILENT_MS), Some(ports[0]));
        assert_eq!(take(1_000), None, "one that ended is not kept");
        keep(&pool, &place, &[Reuse::Later], &clock).await;
        assert_eq!(take(100), None);
        assert_eq!(take(1_000), None, "another one was dialled, and got its place");
    }

    #[tokio::test]
    async fn few_in_doubt_are_kept_and_those_that_spoke_are_not_used() {
        let (pool, place, server) = pool(9).await;
        let clock = Clock::start(Instant::now());
        let ports = keep(&pool, &place, &[Reuse::Later; SILENT_MAX + 2], &clock).await;
        // It speaks out of turn on the last one, though nobody has told us yet.
        let mut accepted = Vec::new();
        for port in &ports {
            let (stream, addr) = server.accept().await.expect("a connection");
            assert_eq!(addr.port(), *port);
            accepted.push(stream);
        }
        accepted.last().expect("one").try_write(b"poison").expect("sent");
        sleep(Duration::from_millis(20)).await;
        let take = |now_ms| Some(port(&pool.take(&pool.to(&place), Risk::Repeatable, now_ms)?));
        // Another one is dialled, in the place of the oldest.
        assert_eq!(take(1), None);
        let left: Vec<_> = std::iter::from_fn(|| take(1_000)).collect();
        assert_eq!(left, [ports[4], ports[3]]);
    }

    #[tokio::test]
    async fn who_is_silent_where_no_body_may_be_is_believed_and_who_is_not_is_not() {
        let (pool, place, server) = pool(9).await;
        let clock = Clock::start(Instant::now());
        let take = |now_ms| pool.take(&pool.to(&place), Risk::Repeatable, now_ms);
        keep(&pool, &place, &[Reuse::AfterLook], &clock).await;
        assert!(take(clock.now_ms()).is_none(), "nothing is known of it");
        for _ in 0..SILENCES_MIN {
            keep(&pool, &place, &[Reuse::AfterLook], &clock).await;
            assert!(take(clock.exact_ms() + SILENT_MS).is_some());
        }
        keep(&pool, &place, &[Reuse::AfterLook, Reuse::AfterLook], &clock).await;
        // What only the kernel knows of counts: the reactor has no turn between this and the look.
        let mut accepted = Vec::new();
        while let Ok(next) = tokio::time::timeout(Duration::from_millis(50), server.accept()).await
        {
            accepted.push(next.expect("a connection"));
        }
        let (last, addr) = accepted.last().expect("one");
        last.try_write(b"HTTP/1.1 200 OK\r\n\r\n").expect("sent");
        let quiet = take(clock.now_ms()).expect("the other one");
        assert_ne!(port(&quiet), addr.port());
        for reuse in [Reuse::AfterLook, Reuse::Later] {
            keep(&pool, &place, &[reuse], &clock).await;
            assert!(take(clock.exact_ms() + SILENT_MS).is_none(), "it ended with that answer");
        }
        keep(&pool, &place, &[Reuse::Now], &clock).await;
        assert!(take(clock.now_ms()).is_some());
    }

    #[tokio::test]
    async fn a_server_whose_answers_go_on_behind_their_end_gets_a_connection_for_each() {
        let (pool, place, server) = pool(9).await;
        let clock = Clock::start(Instant::now());
        let take = |now_ms| pool.take(&pool.to(&place), Risk::Repeatable, now_ms).is_some();
        let farewell = "HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n\r\n";
        for (said, is_believed) in [(farewell, true), ("HTTP/1.1 200 OK\r\n\r\n", false)] {
            // What it says on the youngest counts for the others.
            keep(&pool, &place, &[Reuse::Now, Reuse::Now], &clock).await;
            let (_silent, (stream, _)) = (
                server.accept().await.expect("a connection"),
                server.accept().await.expect("another one"),
            );
            stream.try_write(said.as_bytes()).expect("sent");
            sleep(Duration::from_millis(20)).await;
            let youngest = pool.take(&pool.to(&place), Risk::Repeatable, clock.now_ms());
            assert_eq!(youngest.is_some(), is_believed, "{said}");
            keep(&pool, &place, &[Reuse::Now], &clock).await;
            let _other = server.accept().await;
            assert_eq!(take(clock.exact_ms() + SILENT_MS), is_believed, "{said}");
        }
        let (pool, place, _server) = super::tests::pool(9).await;
        keep(&pool, &place, &[Reuse::Noisy, Reuse::Now], &clock).await;
        let take = |now_ms| pool.take(&pool.to(&place), Risk::Repeatable, now_ms).is_some();
        assert!(!take(clock.exact_ms() + SILENT_MS), "more came with an answer than belongs to it");
    }

    /// Made by the `openssl` command.
    fn acceptor() -> TlsAcceptor {
        let folder = tempfile::tempdir().expect("a folder");
        let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                    -subj /CN=server -keyout key -out certificate";
        let made = Command::new("sh").args(["-c", make]).current_dir(folder.path()).output();
        assert!(made.expect("the openssl command").status.success());
        let file = |name| folder.path().join(name);
        let certificate = CertificateDer::from_pem_file(file("certificate")).expect("one");
        let key = PrivateKeyDer::from_pem_file(file("key")).expect("one");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("those of the provider")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("they belong together");
        TlsAcceptor::from(Arc::new(config))
    }

    #[tokio::test]
    async fn who_takes_leave_over_tls_is_no_server_gone_astray() {
        let (pool, place, server) = pool(9).await;
        let place = Place { scheme: Scheme::Https, ..place };
        let (clock, acceptor) = (Clock::start(Instant::now()), acceptor());
        let idle = pool.to(&place);
        // A connection over which an answer has come, and its server's side of it.
        let answered = async || {
            let accept = async { acceptor.accept(server.accept().await?.0).await };
            let (near, far) = tokio::join!(pool.dial(&place), accept);
            let (mut near, mut far) = (near.expect("connected"), far.expect("a handshake"));
            far.write_all(b"!").await.expect("sent");
            near.read_u8().await.expect("an answer");
            (near, far)
        };
        let (near, mut far) = answered().await;
        pool.keep(&idle, near, Reuse::Now, &clock);
        // What only the kernel knows of: the reactor has no turn between this and the look.
        far.shutdown().await.expect("told");
        assert!(pool.take(&idle, Risk::Once, clock.now_ms()).is_none(), "it has ended");
        let (near, _far) = answered().await;
        pool.keep(&idle, near, Reuse::Now, &clock);
        let take = pool.take(&idle, Risk::Repeatable, clock.now_ms());
        assert!(take.is_some(), "the next one is trusted");
    }

    #[tokio::test]
    async fn who_closes_a_fresh_connection_gets_a_new_one_for_what_goes_once() {
        let (pool, place, server) = pool(9).await;
        let clock = Clock::start(Instant::now());
        let idle = pool.to(&place);
        keep(&pool, &place, &[Reuse::Now], &clock).await;
        drop(server.accept().await.expect("a connection"));
        sleep(Duration::from_millis(20)).await;
        assert!(pool.take(&idle, Risk::Repeatable, clock.now_ms()).is_none(), "it has ended");
        keep(&pool, &place, &[Reuse::Now], &clock).await;
        let take = |risk, now_ms| pool.take(&idle, risk, now_ms).is_some();
        let later_ms = clock.exact_ms();
        assert!(!take(Risk::Once, later_ms), "it may end as soon");
        assert!(take(Risk::Repeatable, later_ms));
        idle.hasty_until_ms.set(later_ms);
        keep(&pool, &place, &[Reuse::Now], &clock).await;
        assert!(take(Risk::Once, clock.exact_ms()), "that was long ago");
    }

    #[tokio::test]
    async fn one_in_doubt_makes_room_for_one_that_is_not() {
        let (pool, place, _server) = pool(2).await;
        let clock = Clock::start(Instant::now());
        let all = [Reuse::Later, Reuse::Later, Reuse::Now, Reuse::Later];
        let ports = keep(&pool, &place, &all, &clock).await;
        let take = |now_ms| Some(port(&pool.take(&pool.to(&place), Risk::Repeatable, now_ms)?));
        assert_eq!([take(1), take(1_000), take(1_000)], [Some(ports[2]), Some(ports[3]), None]);
    }

    #[tokio::test]
    async fn of_too_many_the_oldest_end() {
        let (pool, place, _server) = pool(9).await;
        let clock = Clock::start(Instant::now());
        let (_other, elsewhere, _server) = super::tests::pool(9).await;
        let count = |place| pool.to(place).connections.borrow().len();
        keep(&pool, &place, &[Reuse::Now; 9], &clock).await;
        pool.sweep(clock.now_ms());
        assert_eq!(count(&place), 9);
        let later = Clock::start(Instant::now() - Duration::from_millis(400));
        keep(&pool, &elsewhere, &[Reuse::Now; 9], &later).await;
        pool.sweep(400);
        assert_eq!((count(&place), count(&elsewhere)), (0, 9), "those of one moment go together");
    }
}
