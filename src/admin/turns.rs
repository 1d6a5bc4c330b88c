//! Whose turn it is to have an answer worked out. That of ten thousand services takes a tenth of a second: it is done on a thread
//! of its own, one after another, so that neither `/ping` nor what reads the orchestrators' news waits behind those that ask.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::runtime::Handle;

use super::serve::{Peer, UNKNOWN};
use crate::proxy::{Desk, Places};

/// Answers that are worked out, and wait for it.
const ANSWERS: Places = Places { turns: 1, waiting: 128, waiting_of_one: 32 };

/// Who has a turn.
#[derive(Clone)]
pub(super) struct Turns(Arc<Desk>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Desk::new(ANSWERS))
    }

    /// Has a request answered when it is its client's turn.
    pub(super) async fn pass(self, request: Request, next: Next) -> Response {
        let peer = request.extensions().get::<Peer>().map_or(UNKNOWN, |peer| peer.0);
        // None of these answers waits for anything: the thread is at work all the time.
        let work = move || Handle::current().block_on(next.run(request));
        self.0.at_turn(peer, work).await.unwrap_or_else(|| {
            let retry = [(header::RETRY_AFTER, "1")];
            (StatusCode::SERVICE_UNAVAILABLE, retry, "too much is asked for at once\n")
                .into_response()
        })
    }
}
