//! Where the servers are that a file calls by name.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use crate::dialects::server_hosts;
use crate::model::{Document, Origin, Problem, ProviderName};

/// For one name, once it is asked for.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// For all of them to be asked for.
const ALL_TIMEOUT: Duration = Duration::from_secs(5);

/// So many are asked for at once. Each keeps a thread until the system answers, however long nobody waits for it any more, and the
/// looks at files are to have some too.
const AT_ONCE_MAX: usize = 64;

/// More names than this are not asked for.
const NAMES_MAX: usize = 1_000;

/// The last good answers of the names that files have.
pub(super) struct Names {
    known: BTreeMap<String, IpAddr>,
    turns: Arc<Semaphore>,
}

impl Default for Names {
    fn default() -> Self {
        Self { known: BTreeMap::new(), turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

impl Names {
    /// The addresses of the names in some files. A name that has none now keeps the one it had.
    pub(super) async fn resolve(
        &mut self,
        documents: impl Iterator<Item = &Document>,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<String, IpAddr> {
        let mut hosts: BTreeMap<String, Arc<str>> = BTreeMap::new();
        for document in documents {
            let names = server_hosts(&document.tree).into_iter();
            hosts.extend(names.map(|host| (host, Arc::clone(&document.name))));
        }
        if hosts.len() > NAMES_MAX {
            let first = hosts.values().next().map_or_else(Arc::default, Arc::clone);
            let what =
                format!("There are {} names of servers; {NAMES_MAX} are looked up.", hosts.len());
            let problem = Problem::error(&Origin::new(ProviderName::File, first), what);
            problems.push(problem.hint("Call servers by their addresses."));
        }
        let by = Instant::now() + ALL_TIMEOUT;
        let lookups = hosts.into_iter().take(NAMES_MAX).map(|(host, file)| {
            let found = look_up(host.clone(), Arc::clone(&self.turns), by, system);
            async move { (host, file, found.await) }
        });
        let mut addresses = BTreeMap::new();
        for (host, file, found) in futures_util::future::join_all(lookups).await {
            let old = self.known.get(&host).copied();
            let (address, why) = match found {
                // An answer in another order moves nobody.
                Ok(found) => {
                    (old.filter(|old| found.contains(old)).or_else(|| preferred(&found)), None)
                }
                Err(why) => (None, Some(why)),
            };
            if address.is_none() {
                let why = why.unwrap_or_else(|| "it has no address".to_owned());
                let rest = match old {
                    Some(old) => format!("Its last address, {old}, stays in use."),
                    None => "Its servers are left out.".to_owned(),
                };
                let origin = Origin::new(ProviderName::File, file);
                let problem = Problem::error(
                    &origin,
                    format!("The name {host} cannot be looked up: {why}. {rest}"),
                );
                problems.push(problem.hint("It is asked for again at each refresh."));
            }
            if let Some(address) = address.or(old) {
                addresses.insert(host, address);
            }
        }
        // Of a name that left the files nothing is kept.
        self.known.clone_from(&addresses);
        addresses
    }
}

/// Has `ask` look up a name, on a thread that may wait, when it is its turn.
///
/// # Errors
/// A clause without a full stop.
async fn look_up(
    host: String,
    turns: Arc<Semaphore>,
    by: Instant,
    ask: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + 'static,
) -> Result<Vec<IpAddr>, String> {
    let Ok(Ok(turn)) = timeout_at(by, turns.acquire_owned()).await else {
        return Err("too many others have no answer".to_owned());
    };
    let asked = spawn_blocking(move || {
        // Until the system answers: nothing ends its call.
        let _turn = turn;
        ask(&host)
    });
    match timeout(LOOKUP_TIMEOUT, asked).await {
        Ok(Ok(found)) => found.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
    }
}

fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|addr| addr.ip()).collect())
}

/// IPv4 first: a container often has no way to the other.
fn preferred(found: &[IpAddr]) -> Option<IpAddr> {
    found.iter().find(|ip| ip.is_ipv4()).or_else(|| found.first()).copied()
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    #[tokio::test]
    async fn so_many_names_are_asked_for_at_once_until_they_are_answered() {
        let turns = Arc::new(Semaphore::new(1));
        let ask = |answer: mpsc::Receiver<()>, by| {
            let answer = Mutex::new(answer);
            let ask = move |_: &str| {
                // The system answers when the sender is gone.
                let _ = answer.lock().expect("not poisoned").recv();
                Ok(vec![IpAddr::from([10, 0, 0, 1])])
            };
            look_up("a.test".to_owned(), Arc::clone(&turns), by, ask)
        };
        let (hangs, answer) = mpsc::channel();
        let late = ask(answer, Instant::now() + ALL_TIMEOUT).await.expect_err("no answer");
        assert_eq!(late, "no answer within 2 s");
        // Nobody waits for it any more, and still it has its turn.
        let (_, answer) = mpsc::channel();
        let refused = ask(answer, Instant::now()).await.expect_err("no turn");
        assert_eq!(refused, "too many others have no answer");
        drop(hangs);
        let (_, answer) = mpsc::channel();
        let found = ask(answer, Instant::now() + ALL_TIMEOUT).await;
        assert_eq!(found, Ok(vec![IpAddr::from([10, 0, 0, 1])]));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_found() {
        let turns = Arc::new(Semaphore::new(1));
        let by = Instant::now() + ALL_TIMEOUT;
        let found = look_up("localhost".to_owned(), turns, by, system).await.expect("found");
        assert!(preferred(&found).is_some_and(|ip| ip.is_loopback()), "{found:?}");
    }
}
