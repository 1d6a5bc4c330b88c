//! How many files may be open: a connection is one, and the system's usual limit is made for other programs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, info};

/// Kept for the admin side, providers, logs, and the least of what goes to servers.
const OTHERS_MIN: usize = 64;

/// There is a place for so many clients in any case.
const CONNECTIONS_MIN: usize = 8;

/// Takes as many open files as the system grants, and tells how many client connections there may be, which is `wanted` where
/// that leaves enough of them for connections to servers and the admin side: clients alone must not use them up.
pub(super) fn connections_max(wanted: usize) -> usize {
    let before = getrlimit(Resource::Nofile);
    // Where even this is refused, there are as many as before.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
    debug!(
        before = before.current,
        maximum = before.maximum,
        is_raised = raised.is_ok(),
        "open files"
    );
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let connections = for_clients(usize::try_from(files).unwrap_or(usize::MAX));
    if connections < wanted {
        info!(
            files,
            wanted,
            "the system grants few open files: there may be {connections} client connections; more with \
             `ulimit -n`, `--ulimit nofile=` (Docker) or `LimitNOFILE=` (systemd)"
        );
    }
    connections.min(wanted)
}

/// Of so many files. A client may need two: its own connection, and one to its server.
fn for_clients(files: usize) -> usize {
    files.saturating_sub(OTHERS_MIN.max(files / 2)).max(CONNECTIONS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_files_is_not_for_clients() {
        for (files, clients) in [(20, 8), (100, 36), (1_024, 512), (40_000, 20_000)] {
            assert_eq!(for_clients(files), clients, "{files}");
        }
    }
}
