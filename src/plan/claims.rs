//! Who keeps a rule that two services claim: the one that had it, else the older one. Whoever had it and has nobody
//! who may serve gives way, and gets it back later: a container that starts anew loses nothing. What is written in a file goes first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::{Claim, Config, Fragment, Frontend};
use crate::model::{BackendId, FrontendId, Problem, ProviderName};
use crate::rules::{Matcher, Rule};

/// Settles all claims. A frontend that loses all is shadowed; one that loses some keeps its other entry points or hosts. Tells
/// whether any lost something: if none did, all are as they were.
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
        let is_of = |id: &FrontendId, by: Option<&BackendId>| {
            let own = backend_of(id);
            by.is_some_and(|by| by == own || identity(by, previous) == identity(own, config))
        };
        let (had_it_first, had_it) = (previous.given_way.get(&claim), owners.get(&claim));
        let rank = |id: &&FrontendId| {
            // Whoever answers first at the start has it until the files are read, and no longer.
            let is_written = id.provider == ProviderName::File;
            let age = config.frontends[*id].age_order;
            // Which of the other providers goes first is the order of their names: any fixed order will do.
            let order = (id.provider, age.is_none(), age, id.name.clone());
            let (had_it_first, had_it) = (is_of(id, had_it_first), is_of(id, had_it));
            (!is_written, serves_nobody(config, id), !had_it_first, !had_it, order)
        };
        let Some(winner) = candidates.iter().min_by_key(rank).cloned() else { continue };
        let waiting = |by: Option<&BackendId>| {
            let is_other =
                |id: &&FrontendId| is_of(id, by) && backend_of(id) != backend_of(&winner);
            let mut own = candidates.iter().filter(is_other);
            own.find(|id| serves_nobody(config, id)).map(backend_of)
        };
        // What is written goes first for good.
        let first = (winner.provider != ProviderName::File)
            .then(|| waiting(had_it_first).or_else(|| waiting(had_it)))
            .flatten()
            .cloned();
        for id in candidates.into_iter().filter(|id| *id != winner) {
            let gets_it_back = first.as_ref() == Some(backend_of(&id));
            let (claim, winner) = (claim.clone(), winner.clone());
            lost.entry(id).or_default().push(Lost { claim, winner, gets_it_back });
        }
        given_way.extend(first.map(|first| (claim, first)));
    }
    config.given_way = given_way;
    let winners: BTreeMap<FrontendId, Arc<Frontend>> = lost
        .values()
        .flatten()
        .map(|lost| (lost.winner.clone(), Arc::clone(&config.frontends[&lost.winner])))
        .collect();
    let has_losers = !lost.is_empty();
    for (id, lost) in lost {
        if let Some(frontend) = config.frontends.remove(&id) {
            let kept = kept(&frontend, default, &lost);
            let service_of = |lost: &Lost| &*winners[&lost.winner].origin.service;
            // Of what others do just as well nobody loses anything.
            let is_missed = |lost: &&Lost| !frontend.does_as(&winners[&lost.winner]);
            let missed: Vec<&Lost> = lost.iter().filter(is_missed).collect();
            problems.push(match missed.first() {
                Some(first) => conflict(&frontend, &missed, service_of(first), &kept),
                None => twice(&frontend, &lost, service_of(&lost[0])),
            });
            config.frontends.extend(parts(id, &frontend, default, &lost[0].winner, &kept));
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

/// Who a backend is, whether others are called like it or not: its name is another one while they are.
fn identity<'b>(id: &'b BackendId, config: &Config) -> (ProviderName, &'b str, Option<NonZeroU32>) {
    let mark = config.backends.get(id).and_then(|backend| backend.mark);
    let own = mark.and_then(|mark| id.name.strip_suffix(&format!("-{mark:08x}")));
    (id.provider, own.unwrap_or(&id.name), mark)
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

/// The hosts that it takes requests of: of several `Host` terms those that are in all. One none where it has no such term; nothing
/// where they contradict each other, for what takes no request keeps none from others.
fn claimed_hosts(frontend: &Frontend) -> impl Iterator<Item = Option<&str>> {
    let rule = &frontend.rule;
    let hosts = rule.hosts();
    let none = hosts.is_none().then_some(None);
    let is_in_all = |host: &&String| {
        let all = rule.matchers().iter().filter_map(|matcher| match matcher {
            Matcher::Host(hosts) => Some(hosts),
            _ => None,
        });
        // They are those of the first.
        all.skip(1).all(|hosts| hosts.contains(host))
    };
    let hosts = hosts.into_iter().flatten().filter(is_in_all);
    hosts.map(|host| Some(host.as_str())).chain(none)
}

/// What a frontend has not lost.
fn kept(frontend: &Frontend, default: &[String], lost: &[Lost]) -> Vec<Claim> {
    let is_kept = |claim: &Claim| lost.iter().all(|lost| lost.claim != *claim);
    claims(frontend, default).into_iter().filter(is_kept).collect()
}

/// What becomes of a frontend that keeps these claims only: the same with less, once for each set of hosts, where these are not the
/// same at all of its entry points. One that keeps nothing is shadowed by a `winner`.
fn parts(
    id: FrontendId,
    frontend: &Arc<Frontend>,
    default: &[String],
    winner: &FrontendId,
    kept: &[Claim],
) -> Vec<(FrontendId, Arc<Frontend>)> {
    let mut hosts_at = BTreeMap::<&str, BTreeSet<Option<&str>>>::new();
    for claim in kept {
        hosts_at.entry(&claim.entrypoint).or_default().insert(claim.host.as_deref());
    }
    let mut parts = Vec::<(BTreeSet<Option<&str>>, Vec<String>)>::new();
    for (name, hosts) in hosts_at {
        match parts.iter_mut().find(|(of, _)| *of == hosts) {
            Some((_, names)) => names.push(name.to_owned()),
            None => parts.push((hosts, vec![name.to_owned()])),
        }
    }
    if parts.is_empty() {
        let shadowed_by = Some(winner.clone());
        let shadowed = Frontend { shadowed_by, ..Frontend::clone(frontend) };
        return vec![(id, Arc::new(shadowed))];
    }
    let part = |(place, (hosts, names)): (usize, (BTreeSet<Option<&str>>, Vec<String>))| {
        let mut part = Frontend::clone(frontend);
        if claimed_hosts(frontend).any(|host| !hosts.contains(&host)) {
            part.rule = with_hosts(&frontend.rule, &hosts);
        }
        if names.len() < entrypoints(frontend, default).len() {
            part.entrypoints = names.into();
        }
        let own = || id.of_rule(&format!("{} at {}", part.rule.text(), part.entrypoints.join(",")));
        (if place == 0 { id.clone() } else { own() }, Arc::new(part))
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// What is told where another frontend does just what this one asks for: containers of one service say it in two ways, as while one
/// after the other is replaced.
fn twice(frontend: &Frontend, lost: &[Lost], service: &str) -> Problem {
    let hosts: BTreeSet<&str> = lost.iter().filter_map(|lost| lost.claim.host.as_deref()).collect();
    let claimed = match hosts.is_empty() {
        true => frontend.rule.text().to_owned(),
        false => hosts.into_iter().collect::<Vec<_>>().join(", "),
    };
    let what = format!(
        "{claimed} is served by {} of {service} already, which leads to the same servers: their rules differ.",
        lost[0].winner
    );
    Problem::note(&frontend.origin, what)
}

/// What is told of claims that went to others; the first one's winner is named, and whose it is.
fn conflict(frontend: &Frontend, lost: &[&Lost], service: &str, kept: &[Claim]) -> Problem {
    let hosts: BTreeSet<Option<&str>> =
        lost.iter().map(|lost| lost.claim.host.as_deref()).collect();
    let keeps_some = kept.iter().any(|claim| hosts.contains(&claim.host.as_deref()));
    let hosts: Vec<&str> = hosts.into_iter().flatten().collect();
    let mut claimed =
        if hosts.is_empty() { frontend.rule.text().to_owned() } else { hosts.join(", ") };
    if keeps_some {
        let names: BTreeSet<&str> = lost.iter().map(|lost| &*lost.claim.entrypoint).collect();
        claimed = format!("{claimed} at {}", names.into_iter().collect::<Vec<_>>().join(", "));
    }
    let Lost { winner, gets_it_back, .. } = lost[0];
    if *gets_it_back {
        let what = format!(
            "{claimed} is served by {winner} of {service} until somebody here may serve again."
        );
        return Problem::note(&frontend.origin, what);
    }
    let rest = match kept {
        [] => "This one gets no request.",
        _ if keeps_some => "This one keeps its other entry points.",
        _ => "This one keeps its other hosts.",
    };
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

/// All that a frontend claims.
pub(super) fn claims(frontend: &Frontend, default: &[String]) -> Vec<Claim> {
    let is_host = |matcher: &&Matcher| matches!(matcher, Matcher::Host(_));
    let others = frontend.rule.matchers().iter().filter(|matcher| !is_host(matcher));
    let mut others: Vec<String> = others.filter_map(Matcher::meaning).collect();
    others.sort();
    others.dedup();
    let priority = frontend.asked_priority();
    let terms = others.join(";");
    let claims = entrypoints(frontend, default).into_iter().flat_map(|entrypoint| {
        let claim = |host: Option<&str>| Claim {
            host: host.map(str::to_owned),
            terms: terms.clone(),
            entrypoint: entrypoint.clone(),
            priority,
        };
        claimed_hosts(frontend).map(claim).collect::<Vec<_>>()
    });
    claims.collect()
}

/// The entry points it is at, each once.
fn entrypoints(frontend: &Frontend, default: &[String]) -> BTreeSet<String> {
    let named = &*frontend.entrypoints;
    let all = if named.is_empty() { default } else { named };
    all.iter().cloned().collect()
}

/// The rule with these of its hosts only, and the priority of the whole one.
fn with_hosts(rule: &Rule, hosts: &BTreeSet<Option<&str>>) -> Rule {
    let matchers = rule.matchers().iter().map(|matcher| match matcher {
        Matcher::Host(own) => {
            let left = own.iter().filter(|host| hosts.contains(&Some(host.as_str())));
            Matcher::Host(left.cloned().collect())
        }
        other => other.clone(),
    });
    rule.left_with(matchers.collect())
}
