//! Where Herder is, seen from the daemon: which addresses it can reach depends on that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::service::HOST_NETWORK;
use crate::providers::docker::parse::{Facts, Network, NetworkMode};

/// Where Herder is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// On the daemon's host itself: every bridge is at hand.
    OnHost,
    /// In a container of this daemon.
    Inside {
        /// The networks it is in.
        networks: BTreeSet<String>,
        /// The host's address from there.
        host: Option<IpAddr>,
    },
    /// On another machine: only what is published on the daemon's host can be reached.
    Elsewhere {
        /// The daemon's host.
        host: IpAddr,
    },
}

/// A container that joins the network of one that joins another's is followed this far.
const JOINS_MAX: usize = 4;

impl Place {
    /// Finds Herder's own container among those that run, by what its own process says it may be
    /// ([`own_ids`]). `remote` is the daemon's address where it is asked over the network.
    pub(super) fn find<'f>(
        own_ids: &[String],
        remote: Option<IpAddr>,
        containers: &'f BTreeMap<Arc<str>, Facts>,
    ) -> Self {
        let is_own = |facts: &&'f Facts| own_ids.iter().any(|id| facts.id.starts_with(id.as_str()));
        match (containers.values().find(is_own), remote) {
            (Some(own), _) => Self::inside(own, containers),
            (None, Some(host)) => Self::Elsewhere { host },
            (None, None) => Self::OnHost,
        }
    }

    fn inside(own: &Facts, containers: &BTreeMap<Arc<str>, Facts>) -> Self {
        let Some(own) = network_owner(own, containers) else {
            return Self::Inside { networks: BTreeSet::new(), host: None };
        };
        let gateway = |network: &Network| network.gateway;
        let host = match own.mode {
            NetworkMode::Host => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            _ => own.networks.values().find_map(gateway),
        };
        Self::Inside { networks: own.networks.keys().cloned().collect(), host }
    }

    /// The daemon's host, as Herder reaches it.
    pub(super) fn host(&self) -> Option<IpAddr> {
        match self {
            Self::OnHost => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Self::Inside { host, .. } => *host,
            Self::Elsewhere { host } => Some(*host),
        }
    }

    /// Whether Herder's own container is in this network; none where Herder is in no container, in the host's
    /// network, from which the others are reached, or nobody knows.
    pub(super) fn shares(&self, network: &str) -> Option<bool> {
        let Self::Inside { networks, .. } = self else { return None };
        let is_in = networks.contains(network);
        let reaches_all = networks.is_empty() || networks.contains(HOST_NETWORK);
        (is_in || !reaches_all).then_some(is_in)
    }
}

/// The container whose network this one uses: itself, unless it joins another's (`--network container:ID`).
pub(super) fn network_owner<'f>(
    facts: &'f Facts,
    containers: &'f BTreeMap<Arc<str>, Facts>,
) -> Option<&'f Facts> {
    let mut owner = facts;
    for _ in 0..JOINS_MAX {
        let NetworkMode::Container(other) = &owner.mode else { return Some(owner) };
        let by_name = || containers.values().find(|facts| facts.name == *other);
        owner = containers.get(other.as_str()).or_else(by_name)?;
    }
    None
}

/// The ids this process's container may have: what Docker mounts on `/etc/hostname` tells the whole id, the
/// control group too, and the host name is the beginning of it unless its owner chose another.
///
/// Only mounts on these names count: a process on the host sees mounts of every container, elsewhere.
pub(super) fn own_ids() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    ids_in(
        &read("/proc/self/mountinfo"),
        &read("/proc/self/cgroup"),
        &read("/proc/sys/kernel/hostname"),
    )
}

const MOUNTED_BY_DOCKER: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
const ID_LEN: usize = 64;
const SHORT_ID_LEN: usize = 12;

fn ids_in(mountinfo: &str, cgroup: &str, hostname: &str) -> Vec<String> {
    // proc(5): the fourth field is the path within the mounted file system, the fifth where it is mounted.
    let mounts = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        MOUNTED_BY_DOCKER.contains(&point).then_some(root)
    });
    let in_mounts = mounts.filter_map(|root| {
        let (_, rest) = root.rsplit_once("containers/")?;
        rest.split('/').next()
    });
    let in_groups = cgroup.lines().filter_map(|line| line.rsplit('/').next()).map(|name| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        name.rsplit('-').next().unwrap_or(name)
    });
    let whole = in_mounts.chain(in_groups).filter(|id| is_id(id, ID_LEN));
    let short = Some(hostname.trim()).filter(|id| is_id(id, SHORT_ID_LEN));
    let unique: BTreeSet<String> = whole.chain(short).map(str::to_owned).collect();
    unique.into_iter().collect()
}

fn is_id(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f5c8b1e0d2a3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccd";

    #[track_caller]
    fn check(mountinfo: &str, cgroup: &str, hostname: &str, expected: &[&str]) {
        let fill = |text: &str| text.replace("ID", ID);
        let found = ids_in(&fill(mountinfo), &fill(cgroup), hostname);
        assert_eq!(found, expected);
    }

    #[test]
    fn own_id_is_read_from_mounts_groups_and_host_name() {
        let mount = "612 590 254:0 /var/lib/docker/containers/ID/hostname /etc/hostname rw - ext4 /dev/vda rw";
        check(mount, "0::/", "vm", &[ID]);
        let podman =
            "1 2 0:1 /containers/overlay-containers/ID/userdata/hostname /etc/hostname rw - x";
        check(podman, "", "", &[ID]);
        check("", "5:devices:/docker/ID\n0::/system.slice/docker-ID.scope", "", &[ID]);
        check("", "0::/", "4f5c8b1e0d2a\n", &["4f5c8b1e0d2a"]);
    }

    #[test]
    fn a_process_on_the_host_is_in_no_container() {
        let others = "9 8 0:5 / /var/lib/docker/containers/ID/mounts/shm rw - tmpfs shm rw\n\
                      8 7 254:0 /var/lib/docker/containers/ID/x /srv/backup rw - ext4 /dev/vda rw";
        check(others, "0::/user.slice/session-1.scope", "vm", &[]);
        check("garbage", "", "abc", &[]);
    }

    fn container(id: &str, mode: NetworkMode, networks: &[(&str, [u8; 4])]) -> Facts {
        let network = |ip: [u8; 4]| Network {
            ip: Some(ip.into()),
            gateway: Some([ip[0], ip[1], ip[2], 1].into()),
        };
        let networks =
            networks.iter().map(|(name, ip)| ((*name).to_owned(), network(*ip))).collect();
        Facts { id: id.into(), name: format!("n{id}"), mode, networks, ..Facts::default() }
    }

    fn all(containers: Vec<Facts>) -> BTreeMap<Arc<str>, Facts> {
        containers.into_iter().map(|facts| (Arc::clone(&facts.id), facts)).collect()
    }

    #[test]
    fn in_a_container_the_host_is_a_gateway() {
        let own = container("aa", NetworkMode::Own, &[("a", [10, 0, 0, 2]), ("b", [10, 0, 1, 2])]);
        let place = Place::find(&["aa".to_owned()], Some([9, 9, 9, 9].into()), &all(vec![own]));
        assert_eq!(place.host(), Some([10, 0, 0, 1].into()));
        assert_eq!((place.shares("b"), place.shares("c")), (Some(true), Some(false)));
    }

    #[test]
    fn in_a_container_on_the_hosts_network_the_host_is_loopback() {
        let own = container("aa", NetworkMode::Host, &[("host", [0, 0, 0, 0])]);
        let place = Place::find(&["aa".to_owned()], None, &all(vec![own]));
        assert_eq!(place.host(), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!((place.shares("host"), place.shares("a")), (Some(true), None));
    }

    #[test]
    fn a_container_that_joined_another_is_where_that_is() {
        let own = container("aa", NetworkMode::Container("nbb".to_owned()), &[]);
        let other = container("bb", NetworkMode::Own, &[("b", [10, 0, 1, 2])]);
        let place = Place::find(&["aa".to_owned()], None, &all(vec![own, other]));
        assert_eq!(place.shares("b"), Some(true));
        let ring = container("cc", NetworkMode::Container("cc".to_owned()), &[]);
        assert_eq!(network_owner(&ring, &all(vec![ring.clone()])), None);
    }

    #[test]
    fn without_a_container_it_is_the_host_or_another_machine() {
        let other = container("bb", NetworkMode::Own, &[]);
        assert_eq!(Place::find(&[], None, &all(vec![other.clone()])), Place::OnHost);
        let host = [192, 0, 2, 9].into();
        let own_ids = ["aa".to_owned()];
        assert_eq!(Place::find(&own_ids, Some(host), &all(vec![other])), Place::Elsewhere { host });
    }
}
