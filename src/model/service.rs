//! What an orchestrator says about its services, word for word.
//!
//! Docker and Rancher speak differently; a provider turns both into these nouns and decides nothing.
//! Whether an instance is served is decided later, where the reason can be told.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use litemap::LiteMap;

use crate::document::Table;

/// Labels as written, keys as written. In one piece of memory: there are few of them, for each of many services. The texts
/// may be shared with other services, for most say the same.
pub type Labels = LiteMap<Arc<str>, Arc<str>>;

/// Everything one orchestrator said at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// The services, in an order that mostly stays. Shared, since a refresh mostly finds the same ones.
    pub services: Vec<Arc<Service>>,
    /// The rule files, in the order of their names. Shared, too.
    pub documents: Vec<Arc<Document>>,
    /// What the provider itself has to say: an entry it could not read, a choice it had to make.
    pub problems: Vec<crate::model::Problem>,
}

impl Snapshot {
    /// Takes what did not change from an earlier snapshot, so that both share it in memory, and so that whoever
    /// compares the two need not look inside.
    pub fn share(&mut self, earlier: &Self) {
        let mut old = earlier.services.iter().peekable();
        let mut by_id: Option<HashMap<&str, &Arc<Service>>> = None;
        for service in &mut self.services {
            if old.next_if(|old| Arc::ptr_eq(old, service)).is_some() {
                continue;
            }
            let same = old.next_if(|old| old.id == service.id).or_else(|| {
                let all = || earlier.services.iter().map(|old| (&*old.id, old)).collect();
                by_id.get_or_insert_with(all).get(&*service.id).copied()
            });
            if let Some(same) = same.filter(|same| *same == service) {
                *service = Arc::clone(same);
            }
        }
    }
}

/// A file of rules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// As it is shown.
    pub name: Arc<str>,
    /// Whether it is the settings file, in which rules stand beside other things.
    pub is_main: bool,
    /// What is in it.
    pub tree: Table,
    /// Where the servers are that it calls by name.
    pub addresses: BTreeMap<String, IpAddr>,
}

/// One service: a Rancher service with its containers, or one Docker container.
///
/// Docker's replicas arrive as services of one name and stack with one instance each, because each container
/// has labels of its own; the plan puts them together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// What the orchestrator calls it for good: a container id, a Rancher uuid.
    pub id: Arc<str>,
    /// `web-test` in `web-test.proxy-test.local`.
    pub name: Arc<str>,
    /// `proxy-test` in `web-test.proxy-test.local`; a bare container has none.
    pub stack: Option<Arc<str>>,
    /// As written by their owner.
    pub labels: Labels,
    /// The replicas, in the orchestrator's order.
    pub instances: Vec<Instance>,
    /// What sort of service it is.
    pub kind: Kind,
    /// The service's own state, where the orchestrator has one (Rancher).
    pub state: Option<Arc<str>>,
    /// Whether somebody checks the health of its instances.
    pub health_checked: bool,
    /// How Rancher checks them, where it does: few are, and all others take no room for it.
    pub health_block: Option<Box<HealthBlock>>,
    /// Older is smaller: Docker's creation time in nanoseconds, Rancher's `create_index`. Decides between two
    /// that claim one rule.
    pub age_order: Option<i64>,
}

impl Service {
    /// `web-test.proxy-test`, or the name alone.
    pub fn full_name(&self) -> String {
        full_name(&self.name, self.stack.as_deref())
    }

    /// Whether it has instances, and none of them runs.
    pub fn is_down(&self) -> bool {
        !self.instances.is_empty()
            && self.instances.iter().all(|instance| matches!(instance.state, State::Down(_)))
    }

    /// A service of which only the labels are known, as if one container of it ran on this machine and exposed port 80.
    pub fn running(name: &str, stack: Option<&str>, labels: Labels) -> Self {
        let address = Address {
            network: None,
            ip: std::net::Ipv4Addr::LOCALHOST.into(),
            shared: Some(true),
            published: None,
        };
        let instance = Instance {
            id: name.into(),
            name: name.into(),
            addresses: [address].into(),
            exposed_ports: [80].into(),
            detail: None,
            state: State::Running,
            health: None,
        };
        Self {
            id: name.into(),
            name: name.into(),
            stack: stack.map(Arc::from),
            labels,
            instances: vec![instance],
            kind: Kind::Containers,
            state: None,
            health_checked: false,
            health_block: None,
            age_order: None,
        }
    }
}

/// `web-test.proxy-test`, or the name alone where there is no stack.
pub fn full_name(name: &str, stack: Option<&str>) -> String {
    match stack {
        Some(stack) => format!("{name}.{stack}"),
        None => name.to_owned(),
    }
}

/// Rancher's `health_check` block. What it leaves out is 0.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HealthBlock {
    /// The port that is asked.
    pub port: u16,
    /// Between two checks.
    pub interval_ms: u64,
    /// For one check.
    pub timeout_ms: u64,
    /// Passes in a row that bring an instance back.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
    /// `GET "/" "HTTP/1.0"`; a connection is enough where it is empty.
    pub request_line: String,
}

/// What sort of service it is. Only Rancher has more than one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Containers.
    Containers,
    /// Addresses outside (Rancher's `externalService`).
    External,
    /// Anything else, by the orchestrator's name for it: `loadBalancerService`, `dnsService` …
    Other(Box<str>),
}

/// One replica.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// A container id or uuid.
    pub id: Arc<str>,
    /// The container's name, without Docker's leading slash.
    pub name: Arc<str>,
    /// Where it may be reached, one entry a network, in the order of the networks' names.
    pub addresses: Box<[Address]>,
    /// TCP ports the image or container exposes, ascending, each once.
    pub exposed_ports: Box<[u16]>,
    /// Whether it runs.
    pub state: State,
    /// What else is known of that, for people: how it ended, or how long it is left alone.
    pub detail: Option<Box<str>>,
    /// What its health check says; none where nobody checks.
    pub health: Option<Health>,
}

/// One address of an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// The network's name; Rancher has one only and does not name it.
    pub network: Option<Box<str>>,
    /// The address in it.
    pub ip: IpAddr,
    /// Whether Herder's own container is in this network too; none where Herder reaches it without, or nobody knows.
    pub shared: Option<bool>,
    /// None: the instance's own ports are open at this address. Some: only what is published there is (a Docker
    /// daemon on another host).
    pub published: Option<Box<[Published]>>,
}

/// A port of an instance that is published on its host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Published {
    /// The instance's own.
    pub inside: u16,
    /// The host's; none where only the host itself reaches it (`docker run --publish 127.0.0.1:8080:80`).
    pub outside: Option<u16>,
}

/// Whether an instance runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// It runs.
    Running,
    /// It was told to stop, and still runs: what is in flight finishes, nothing new goes there.
    Stopping,
    /// It does not run, or not yet, or not now: `created`, `exited`, `paused`, `restarting` …, the
    /// orchestrator's own word.
    Down(Box<str>),
}

impl State {
    /// The word for what was started for one command (`docker-compose run`), whether that runs or not.
    pub const ONE_OFF: &'static str = "one-off run";
}

/// What a health check says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// It passes.
    Healthy,
    /// It does not, or not yet; the orchestrator's own word: `unhealthy`, `starting`, `initializing` …
    Failing(Box<str>),
}
