//! What the steps of a chain cannot do themselves: ask another server. Bounded, so that a slow server takes neither the worker's
//! time nor the machine's memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;
use tracing::warn;
use url::Url;

use super::tls;
use crate::middleware::{Ask, AskTls, Asked, Reply};

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

/// Asks for the steps of one worker's requests.
#[derive(Default)]
pub(super) struct Asker {
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
