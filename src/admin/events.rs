//! `/api/events`: server-sent events. `view` when something changed, `stats` each second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::Instant;

use super::App;
use super::crowd::Seat;
use super::serve::Peer;

/// At least between two `view` events of one stream: a storm of changes is one piece of news a second.
const PAUSE: Duration = Duration::from_secs(1);

struct Stream {
    changes: watch::Receiver<u64>,
    /// What the sampler says, each second once.
    news: watch::Receiver<Arc<str>>,
    /// Not before this moment is there a `view` event.
    next_view: Instant,
    seat: Seat,
}

pub(super) async fn stream(State(app): State<App>, Extension(peer): Extension<Peer>) -> Response {
    let Some(seat) = app.streams.seat(peer.0) else {
        let retry = [(header::RETRY_AFTER, "10")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, "too many event streams\n")
            .into_response();
    };
    let mut changes = app.state.subscribe();
    // Where things stand is the first news.
    changes.mark_changed();
    let (news, next_view) = (app.news.subscribe(), Instant::now());
    let stream = Stream { changes, news, next_view, seat };
    let events = unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    Sse::new(events).keep_alive(KeepAlive::new()).into_response()
}

impl Stream {
    /// None: somebody else, who has fewer streams, gets the place; or there is no state any more.
    async fn next(&mut self) -> Option<Event> {
        let event = tokio::select! {
            biased;
            _ = &mut self.seat.given_up => return None,
            changed = self.changes.changed(), if self.next_view <= Instant::now() => {
                changed.ok()?;
                self.next_view = Instant::now() + PAUSE;
                let serial = *self.changes.borrow_and_update();
                Event::default().event("view").data(serial.to_string())
            }
            told = self.news.changed() => {
                told.ok()?;
                Event::default().event("stats").data(&**self.news.borrow_and_update())
            }
        };
        Some(event)
    }
}
