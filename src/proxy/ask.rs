//! What the steps of a chain cannot do themselves: ask another server. Bounded, so that a slow server takes neither the worker's
//! time nor the machine's memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::ClientConfig;
use tokio::time::timeout;
use tracing::warn;
use url::Url;

use crate::middleware::{Ask, AskTls, Asked, Reply};
use crate::model::subscriber;
use crate::tls::{self, Identity, Pem, Trust};

/// Questions of one worker that may be under way, all together and to one URL: a server that is slow leaves room to ask the
/// others. For one client there may be as many as are still free: who asks a lot leaves room for others.
const ASKING_MAX: usize = 1_024;
const ASKING_ONE_MAX: usize = 256;

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
    asking: RefCell<HashMap<Arc<str>, UnderWay>>,
    complained: Cell<Option<Instant>>,
}

/// Questions to one URL that are under way.
#[derive(Default)]
struct UnderWay {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A question that is under way.
struct Asking<'a> {
    asker: &'a Asker,
    url: Arc<str>,
    client: IpAddr,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asking = self.asker.asking.borrow_mut();
        let Some(under_way) = asking.get_mut(&self.url) else { return };
        under_way.all -= 1;
        if let Some(of_client) = under_way.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                under_way.by_client.remove(&self.client);
            }
        }
        if under_way.all == 0 {
            asking.remove(&self.url);
        }
    }
}

impl Asker {
    /// Asks another server for this client. Why there is no answer is told to the log, once a second.
    pub(super) async fn ask(&self, client: IpAddr, ask: Ask) -> Reply {
        let Some(_asking) = self.begin(&ask.url, client) else { return Reply::TooBusy };
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

    fn begin(&self, url: &Arc<str>, client: IpAddr) -> Option<Asking<'_>> {
        let client = subscriber(client);
        let mut asking = self.asking.borrow_mut();
        let all: usize = asking.values().map(|under_way| under_way.all).sum();
        if all >= ASKING_MAX {
            return None;
        }
        let (to_url, of_client) = asking.get(url).map_or((0, 0), |under_way| {
            (under_way.all, under_way.by_client.get(&client).copied().unwrap_or(0))
        });
        if of_client >= ASKING_ONE_MAX.saturating_sub(to_url) {
            return None;
        }
        let under_way = asking.entry(Arc::clone(url)).or_default();
        under_way.all += 1;
        *under_way.by_client.entry(client).or_default() += 1;
        Some(Asking { asker: self, url: Arc::clone(url), client })
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
            .tls_backend_preconfigured(client_tls(tls)?)
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

/// How a server that a step asks is spoken to.
///
/// # Errors
/// Where what its owner gave cannot be used, in words for the log.
fn client_tls(tls: &AskTls) -> Result<ClientConfig, String> {
    let trust = match &tls.ca {
        _ if tls.insecure_skip_verify => Trust::Anybody,
        None => Trust::System,
        Some(ca) => Trust::in_these(Pem { name: "its authority", text: ca })?,
    };
    let own = |(certificate, key): &(Vec<u8>, Vec<u8>)| {
        Identity::new(
            Pem { name: "our certificate for it", text: certificate },
            Pem { name: "the key of our certificate for it", text: key },
        )
    };
    Ok(tls::client(trust, tls.identity.as_ref().map(own).transpose()?))
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

    fn client(number: u32) -> IpAddr {
        number.to_be_bytes().into()
    }

    #[test]
    fn who_asks_a_lot_leaves_room_for_others() {
        let (asker, url) = (&Asker::default(), &Arc::from("http://auth.test/"));
        let all_of = |number| std::iter::from_fn(move || asker.begin(url, client(number)));
        let flood: Vec<_> = all_of(1).collect();
        assert_eq!(flood.len(), ASKING_ONE_MAX / 2);
        let others: Vec<_> =
            (2..50).filter_map(|number| asker.begin(url, client(number))).collect();
        assert_eq!(others.len(), 48);
        // What is given back can be had again.
        drop((flood, others));
        assert_eq!(all_of(1).collect::<Vec<_>>().len(), ASKING_ONE_MAX / 2);
        assert!(asker.begin(&Arc::from("http://other.test/"), client(1)).is_some());
        assert!(asker.asking.borrow().is_empty());
    }
}
