//! Who keeps a rule that two services claim: the one that had it, else the older one. Whoever had it and has nobody
//! who may serve gives way, and gets it back later: a container that starts anew loses nothing. What is written in a file goes first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::{Claim, Config, Fragment, Frontend};
use crate::model::{BackendId, FrontendId, Problem, ProviderName};
use crate::rules::{Matcher, Rule};

/// Settles all claims. A frontend that loses all its hosts is shadowed; one that loses some keeps the rest. Tells whether
/// any lost something: if none did, all are as they were.
///
/// `default` are the entry points of frontends that name none.
pub(super) fn settle(
    config: &mut Config,
    previous: &Config,
    default: &[String],
    problems: &mut Vec<Problem>,
) -> bool {
    let order = contested(config);
    if order.is_empty() {
        return false;
    }
    let owners = owners(previous, default);
    let mut candidates = BTreeMap::<Claim, Vec<FrontendId>>::new();
    for id in order {
        for claim in claims(&config.frontends[&id], default) {
            candidates.entry(claim).or_default().push(id.clone());
        }
    }
    let mut lost = BTreeMap::<FrontendId, Vec<Lost>>::new();
    let mut given_way = BTreeMap::new();
    for (claim, candidates) in candidates {
        let backend_of = |id: &FrontendId| &config.frontends[id].backend;
        let rank = |id: &&FrontendId| {
            let had_it = |by: Option<&BackendId>| by == Some(backend_of(id));
            let has_had_it_first = had_it(previous.given_way.get(&claim));
            let has_had_it = had_it(owners.get(&claim));
            // Whoever answers first at the start has it until the files are read, and no longer.
            let is_written = id.provider == ProviderName::File;
            let age = config.frontends[*id].age_order;
            // Which of the other providers goes first is the order of their names: any fixed order will do.
            let order = (id.provider, age.is_none(), age, id.name.clone());
            (!is_written, serves_nobody(config, id), !has_had_it_first, !has_had_it, order)
        };
        let Some(winner) = candidates.iter().min_by_key(rank).cloned() else { continue };
        let waits = |backend: &&BackendId| {
            let mut own = candidates.iter().filter(|id| backend_of(id) == *backend);
            // What is written goes first for good.
            winner.provider != ProviderName::File
                && *backend != backend_of(&winner)
                && own.any(|id| serves_nobody(config, id))
        };
        let first = previous.given_way.get(&claim).filter(waits);
        let first = first.or_else(|| owners.get(&claim).filter(waits)).cloned();
        for id in candidates.into_iter().filter(|id| *id != winner) {
            let gets_it_back = first.as_ref() == Some(backend_of(&id));
            let (claim, winner) = (claim.clone(), winner.clone());
            lost.entry(id).or_default().push(Lost { claim, winner, gets_it_back });
        }
        given_way.extend(first.map(|first| (claim, first)));
    }
    config.given_way = given_way;
    let services: BTreeMap<FrontendId, Arc<str>> = lost
        .values()
        .flatten()
        .map(|lost| {
            let service = Arc::clone(&config.frontends[&lost.winner].origin.service);
            (lost.winner.clone(), service)
        })
        .collect();
    let has_losers = !lost.is_empty();
    for (id, lost) in lost {
        if let Some(frontend) = config.frontends.get_mut(&id) {
            lose(frontend, default, &lost, &services, problems);
        }
    }
    has_losers
}

/// A claim that went to somebody else.
struct Lost {
    claim: Claim,
    winner: FrontendId,
    /// Whether it has it again once it has somebody who may serve.
    gets_it_back: bool,
}

/// Whether no server of a frontend may get requests, as its orchestrator says: it does not run, is not healthy, or not yet.
fn serves_nobody(config: &Config, id: &FrontendId) -> bool {
    let backend = config.frontends.get(id).and_then(|f| config.backends.get(&f.backend));
    backend.is_none_or(|backend| backend.servers.is_empty())
}

/// The frontends that may claim what another one claims: of thousands, few or none.
fn contested(config: &Config) -> Vec<FrontendId> {
    let mut seen: HashMap<Option<&str>, u32, _> =
        HashMap::with_capacity_and_hasher(config.frontends.len(), RandomState::default());
    let mut is_any = false;
    for host in config.frontends.values().flat_map(|frontend| claimed_hosts(frontend)) {
        let times = seen.entry(host).or_default();
        *times += 1;
        is_any |= *times > 1;
    }
    if !is_any {
        return Vec::new();
    }
    let is_contested = |frontend: &Frontend| claimed_hosts(frontend).any(|host| seen[&host] > 1);
    let contested = config.frontends.iter().filter(|(_, frontend)| is_contested(frontend));
    contested.map(|(id, _)| id.clone()).collect()
}

/// The hosts that a config claims, where nobody lost any: who comes with none of them takes nothing from anybody.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    state: RandomState,
    /// Their hashes, in order, each as often as it is claimed: eight bytes for each of ten thousand hosts. Two hosts of one
    /// hash are taken for one, which costs a look at all claims.
    hashes: Vec<u64>,
}

impl Claimed {
    /// All that a config claims.
    pub(super) fn of(config: &Config) -> Self {
        let state = RandomState::default();
        let hosts = config.frontends.values().flat_map(|frontend| claimed_hosts(frontend));
        let mut hashes: Vec<u64> = hosts.map(|host| state.hash_one(host)).collect();
        hashes.sort_unstable();
        hashes.shrink_to_fit();
        Self { state, hashes }
    }

    /// Follows what went and came. False: who came may claim what others have, and all claims are to be settled; then this one
    /// is of no more use.
    pub(super) fn follow<'f>(
        &mut self,
        gone: impl Iterator<Item = &'f Fragment>,
        came: impl Iterator<Item = &'f Fragment>,
    ) -> bool {
        let Self { state, hashes } = self;
        for host in gone.flat_map(hosts_of) {
            match hashes.binary_search(&state.hash_one(host)) {
                Ok(place) => _ = hashes.remove(place),
                Err(_) => return false,
            }
        }
        for host in came.flat_map(hosts_of) {
            let hash = state.hash_one(host);
            match hashes.binary_search(&hash) {
                Ok(_) => return false,
                Err(place) => hashes.insert(place, hash),
            }
        }
        true
    }
}

fn hosts_of(fragment: &Fragment) -> impl Iterator<Item = Option<&str>> {
    fragment.frontends.iter().flat_map(|(_, frontend)| claimed_hosts(frontend))
}

/// Its hosts; one none where it has no host.
fn claimed_hosts(frontend: &Frontend) -> impl Iterator<Item = Option<&str>> {
    let hosts = frontend.rule.hosts();
    let none = hosts.is_none().then_some(None);
    hosts.into_iter().flatten().map(|host| Some(host.as_str())).chain(none)
}

/// Takes from a frontend what it lost.
fn lose(
    frontend: &mut Arc<Frontend>,
    default: &[String],
    lost: &[Lost],
    services: &BTreeMap<FrontendId, Arc<str>>,
    problems: &mut Vec<Problem>,
) {
    let Some(first) = lost.first() else { return };
    let is_lost = |claim: &Claim| lost.iter().any(|lost| lost.claim == *claim);
    let is_all = claims(frontend, default).iter().all(is_lost);
    let hosts: BTreeSet<String> = lost.iter().filter_map(|lost| lost.claim.host.clone()).collect();
    let service = services.get(&first.winner).map_or("", |service| &**service);
    problems.push(conflict(frontend, (first, service), &hosts, is_all));
    let frontend = Arc::make_mut(frontend);
    match is_all {
        true => frontend.shadowed_by = Some(first.winner.clone()),
        false => frontend.rule = without(&frontend.rule, &hosts),
    }
}

fn conflict(
    frontend: &Frontend,
    (first, service): (&Lost, &str),
    hosts: &BTreeSet<String>,
    is_all: bool,
) -> Problem {
    let claimed = match hosts.is_empty() {
        true => frontend.rule.text().to_owned(),
        false => hosts.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    let Lost { winner, gets_it_back, .. } = first;
    if *gets_it_back {
        let what = format!(
            "{claimed} is served by {winner} of {service} until somebody here may serve again."
        );
        return Problem::note(&frontend.origin, what);
    }
    let rest = if is_all { "This one gets no request." } else { "This one keeps its other hosts." };
    let what =
        format!("{claimed} belongs to {winner} of {service} already, which keeps it. {rest}");
    let hint = "Give one of them another host, or a priority if one is to go first.";
    Problem::error(&frontend.origin, what).hint(hint)
}

/// Who had which claim in the config in force.
fn owners(previous: &Config, default: &[String]) -> BTreeMap<Claim, BackendId> {
    let winners = previous.frontends.values().filter(|f| f.shadowed_by.is_none());
    winners.flat_map(|f| claims(f, default).into_iter().map(|c| (c, f.backend.clone()))).collect()
}

fn claims(frontend: &Frontend, default: &[String]) -> Vec<Claim> {
    let is_host = |matcher: &&Matcher| matches!(matcher, Matcher::Host(_));
    let others = frontend.rule.matchers().iter().filter(|matcher| !is_host(matcher));
    let mut others: Vec<String> = others.map(Matcher::describe).collect();
    others.sort();
    let named = &*frontend.entrypoints;
    let mut entrypoints = if named.is_empty() { default.to_vec() } else { named.to_vec() };
    entrypoints.sort();
    entrypoints.dedup();
    // Zero is as if none was asked for: how long the rule is decides.
    let priority = frontend.priority.filter(|&priority| priority != 0);
    let claim = |host: Option<&String>| Claim {
        host: host.cloned(),
        terms: others.join(";"),
        entrypoints: entrypoints.clone(),
        priority,
    };
    match frontend.rule.hosts() {
        Some(hosts) => hosts.iter().map(|host| claim(Some(host))).collect(),
        None => vec![claim(None)],
    }
}

/// The rule without these hosts.
fn without(rule: &Rule, hosts: &BTreeSet<String>) -> Rule {
    let matchers = rule.matchers().iter().map(|matcher| match matcher {
        Matcher::Host(own) => {
            Matcher::Host(own.iter().filter(|host| !hosts.contains(*host)).cloned().collect())
        }
        other => other.clone(),
    });
    Rule::of(matchers.collect())
}
