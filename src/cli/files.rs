//! How many files may be open: a connection is one, and the system's usual limit is made for other programs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, info};

/// Takes as many open files as the system grants, and says where those are few for `connections_max`.
pub(super) fn raise_limit(connections_max: usize) {
    let before = getrlimit(Resource::Nofile);
    // Where even this is refused, there are as many as before.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
    debug!(
        before = before.current,
        maximum = before.maximum,
        is_raised = raised.is_ok(),
        "open files"
    );
    let Some(files) = getrlimit(Resource::Nofile).current else { return };
    // Each request has a connection on either side, and the rest of Herder needs a few.
    let connections = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(100) / 2;
    if connections < connections_max {
        info!(
            files,
            "the system grants few open files: about {connections} busy connections at once; more with \
             `ulimit -n`, `--ulimit nofile=` (Docker) or `LimitNOFILE=` (systemd)"
        );
    }
}
