//! Where the servers are that a file calls by name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::dialects::server_hosts;
use crate::model::{Document, Origin, Problem, ProviderName};

/// For one name. They are asked all at once.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// More names than this are not asked for.
const NAMES_MAX: usize = 1_000;

/// The last good answers of the names that files have.
#[derive(Default)]
pub(super) struct Names {
    known: BTreeMap<String, IpAddr>,
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
        let lookups = hosts.into_iter().take(NAMES_MAX).map(|(host, file)| async move {
            let found = match timeout(LOOKUP_TIMEOUT, lookup_host((host.as_str(), 0))).await {
                Ok(Ok(found)) => Ok(found.map(|addr| addr.ip()).collect::<Vec<_>>()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
            };
            (host, file, found)
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

/// IPv4 first: a container often has no way to the other.
fn preferred(found: &[IpAddr]) -> Option<IpAddr> {
    found.iter().find(|ip| ip.is_ipv4()).or_else(|| found.first()).copied()
}
