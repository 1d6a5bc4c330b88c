//! What the steps of a chain cannot do themselves: ask another server, or work for long. Bounded, so that neither a slow
//! server nor a flood of passwords takes the worker's time or the machine's memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;
use url::Url;

use super::tls;
use crate::middleware::{Ask, AskTls, Asked, Reply};
use crate::model::subscriber;

/// Work of all workers that may wait for its turn. One piece of it takes a tenth of a second where bcrypt's cost is the usual
/// 10, and up to seconds where it is 14.
const WAITING_MAX: usize = 256;

/// That of one client: whoever guesses passwords leaves room for the others.
const WAITING_ONE_MAX: usize = 32;

/// How long a piece of work waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Questions of one worker that may be under way, all together and to one URL: a server that is slow leaves room to ask the
/// others.
const ASKING_MAX: usize = 1_024;
const ASKING_ONE_MAX: usize = 128;

/// Between two lines of the log about servers that do not answer.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);

/// Ways of speaking TLS that one worker keeps connections for; more are forgotten, all at once.
const CLIENTS_MAX: usize = 64;

/// Before a server that is asked counts as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Who may work, shared by all workers.
pub(super) struct Desk {
    /// A permit for each piece of work that is done at once.
    turns: Arc<Semaphore>,
    /// Pieces of work that wait or are done, by client.
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

impl Desk {
    /// As many at once as there are workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(workers.max(1))), waiting: Mutex::default() }
    }

    /// A place for a piece of this client's work, where there is one.
    fn wait(&self, client: IpAddr) -> Option<Waiting<'_>> {
        let client = subscriber(client);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let mine = waiting.get(&client).copied().unwrap_or_default();
        if all >= WAITING_MAX || mine >= WAITING_ONE_MAX {
            return None;
        }
        waiting.insert(client, mine + 1);
        Some(Waiting { desk: self, client })
    }
}

/// A place at the desk, given back when this is dropped.
struct Waiting<'d> {
    desk: &'d Desk,
    client: IpAddr,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.desk.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut mine) = waiting.entry(self.client) {
            *mine.get_mut() -= 1;
            if *mine.get() == 0 {
                mine.remove();
            }
        }
    }
}

/// Asks and works for the steps of one worker's requests.
pub(super) struct Asker {
    desk: Arc<Desk>,
    clients: RefCell<HashMap<Arc<AskTls>, Client>>,
    /// Questions under way, by URL.
    asking: RefCell<HashMap<Arc<str>, usize>>,
    complained: Cell<Option<Instant>>,
}

/// A question that is under way.
struct Asking<'a> {
    asker: &'a Asker,
    url: Arc<str>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asking = self.asker.asking.borrow_mut();
        if let Some(count) = asking.get_mut(&self.url) {
            *count -= 1;
            if *count == 0 {
                asking.remove(&self.url);
            }
        }
    }
}

impl Asker {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        let (clients, asking, complained) = Default::default();
        Self { desk, clients, asking, complained }
    }

    /// Has it done for this client on a thread of its own, when it is its turn.
    pub(super) async fn work(
        &self,
        client: IpAddr,
        work: Box<dyn FnOnce() -> bool + Send>,
    ) -> Reply {
        // Given back even where the client leaves in the meantime.
        let Some(_waiting) = self.desk.wait(client) else { return Reply::TooBusy };
        let turn = timeout(TURN_WAIT, Arc::clone(&self.desk.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Reply::TooBusy;
        };
        // The turn ends with the work, also where nobody waits for it any more.
        let work = move || {
            let said = work();
            drop(turn);
            said
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(said) => Reply::Worked(said),
            Err(_) => Reply::TooBusy,
        }
    }

    /// Asks another server. Why there is no answer is told to the log, once a second.
    pub(super) async fn ask(&self, ask: Ask) -> Reply {
        let Some(_asking) = self.begin(&ask.url) else { return Reply::TooBusy };
        let said = match timeout(ask.timeout, self.answer(&ask)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} ms", ask.timeout.as_millis())),
        };
        if let Err(why) = &said {
            let now = Instant::now();
            let is_news = self.complained.get().is_none_or(|at| now - at >= COMPLAINT_PAUSE);
            if is_news {
                self.complained.set(Some(now));
                // Without what is secret in it.
                let server = Url::parse(&ask.url).map(|url| url.origin().ascii_serialization());
                let server = server.unwrap_or_default();
                warn!(server, why, "a server that decides about requests did not answer");
            }
        }
        Reply::Asked(said)
    }

    fn begin(&self, url: &Arc<str>) -> Option<Asking<'_>> {
        let mut asking = self.asking.borrow_mut();
        let all: usize = asking.values().sum();
        let mine = asking.get(url).copied().unwrap_or_default();
        if all >= ASKING_MAX || mine >= ASKING_ONE_MAX {
            return None;
        }
        asking.insert(Arc::clone(url), mine + 1);
        Some(Asking { asker: self, url: Arc::clone(url) })
    }

    async fn answer(&self, ask: &Ask) -> Result<Asked, String> {
        let mut lines = HeaderMap::with_capacity(ask.lines.len());
        for (name, value) in &ask.lines {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a line has no name")?;
            let value = HeaderValue::from_bytes(value).map_err(|_| "a line cannot be sent")?;
            lines.append(name, value);
        }
        // All at once: the URL's own name and password do not stand beside the request's.
        let request = self.client(&ask.tls)?.get(&*ask.url).headers(lines);
        let mut response = request.send().await.map_err(|error| explain(&error))?;
        let lines = response.headers().iter();
        let lines =
            lines.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        let (status, lines) = (response.status().as_u16(), lines.collect());
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| explain(&error))? {
            if body.len() + piece.len() > ask.body_bytes_max {
                return Err(format!("its answer is longer than {} bytes", ask.body_bytes_max));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Asked { status, lines, body })
    }

    fn client(&self, tls: &Arc<AskTls>) -> Result<Client, String> {
        let mut clients = self.clients.borrow_mut();
        if let Some(client) = clients.get(tls) {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls::asking(tls)?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| explain(&error))?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(Arc::clone(tls), client.clone());
        Ok(client)
    }
}

/// The last cause says most.
fn explain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match error.source() {
        None => error.to_string(),
        Some(_) => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_room_for_others() {
        let desk = Desk::new(1);
        let one: IpAddr = "10.0.0.1".parse().expect("an address");
        let mut taken: Vec<_> = (0..WAITING_ONE_MAX).filter_map(|_| desk.wait(one)).collect();
        assert_eq!(taken.len(), WAITING_ONE_MAX);
        assert!(desk.wait(one).is_none());
        assert!(desk.wait("::ffff:10.0.0.1".parse().expect("an address")).is_none());
        // Of IPv6 a network is one client.
        for last in 0..2 * WAITING_ONE_MAX {
            let host = format!("2001:db8::{last:x}").parse().expect("an address");
            taken.extend(desk.wait(host));
        }
        assert_eq!(taken.len(), 2 * WAITING_ONE_MAX);
        for last in 1..=250_u8 {
            taken.extend(desk.wait(IpAddr::from([10, 1, 0, last])));
        }
        assert_eq!(taken.len(), WAITING_MAX, "there is a bound for all together");
        drop(taken);
        assert!(desk.wait(one).is_some());
        assert!(desk.waiting.lock().expect("not poisoned").is_empty());
    }
}
