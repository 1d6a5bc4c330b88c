//! A connection that changes its protocol (WebSocket): from then on both sides are joined byte by byte.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::body::Guard;
use super::worker::Client;

/// Joins both sides until both have ended. Counts as one request under way at the server, and as one open connection
/// of the client.
pub(super) async fn join(client: OnUpgrade, server: OnUpgrade, guard: Guard, open: Arc<Client>) {
    let (Ok(client), Ok(server)) = tokio::join!(client, server) else {
        return;
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    // However it ends, it has ended: both sides are closed here.
    let _ = copy_bidirectional(&mut client, &mut server).await;
    drop((guard, open));
}
