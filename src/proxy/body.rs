//! Bodies on their way, in both directions: each pause has a limit, each end is noticed.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::client_io::Turn;
use crate::live::ServerLive;

/// What goes to a client.
pub(super) enum Body {
    /// Herder's own words.
    Own(Option<Bytes>),
    /// A server's answer.
    Server {
        /// What comes from the server.
        paced: Paced,
        /// Ends the server's count when the body does, or when the client leaves.
        guard: Guard,
    },
}

/// What goes to a client, with the turn that ends when it does.
pub(super) struct InTurn {
    pub(super) body: Body,
    pub(super) _turn: Arc<Turn>,
}

/// What goes to a server.
pub(super) struct ClientBody(Option<Upload>);

struct Upload {
    paced: Paced,
    _turn: Arc<Turn>,
    /// Grows with each piece, so that a long upload is not taken for a slow server.
    progress: Arc<AtomicU64>,
}

/// A body whose pauses have a limit.
pub(super) struct Paced {
    body: Incoming,
    pause_max: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

/// The client's body broke off, or cannot be read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client's body cannot be read")]
pub(super) struct ClientBroke;

/// A body's pause was longer than the limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body paused for too long")]
pub(super) struct TooSlow;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Body {
    pub(super) fn own(text: impl Into<Bytes>) -> Self {
        Self::Own(Some(text.into()))
    }

    pub(super) fn empty() -> Self {
        Self::Own(None)
    }

    pub(super) fn server(body: Incoming, pause_max: Duration, guard: Guard) -> Self {
        Self::Server { paced: Paced::new(body, pause_max), guard }
    }
}

impl ClientBody {
    pub(super) fn new(
        body: Incoming,
        pause_max: Duration,
        progress: Arc<AtomicU64>,
        turn: Arc<Turn>,
    ) -> Self {
        Self(Some(Upload { paced: Paced::new(body, pause_max), progress, _turn: turn }))
    }

    /// Of a request without a body.
    pub(super) fn empty() -> Self {
        Self(None)
    }
}

impl Paced {
    fn new(body: Incoming, pause_max: Duration) -> Self {
        Self { body, pause_max, pause: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.pause = None;
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let pause_max = self.pause_max;
                let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(pause_max)));
                ready!(pause.as_mut().poll(cx));
                Poll::Ready(Some(Err(TooSlow.into())))
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Server { paced, guard } => {
                let frame = ready!(paced.poll(cx));
                if matches!(frame, Some(Err(_))) {
                    guard.fail();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_none(),
            Self::Server { paced, .. } => paced.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Self::Server { paced, .. } => paced.body.size_hint(),
        }
    }
}

impl http_body::Body for InTurn {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl http_body::Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(upload) = &mut self.get_mut().0 else { return Poll::Ready(None) };
        let frame = ready!(upload.paced.poll(cx));
        upload.progress.fetch_add(1, Relaxed);
        let is_slow = |error: &BoxError| error.is::<TooSlow>();
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| if is_slow(&error) { error } else { ClientBroke.into() })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|upload| upload.paced.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let empty = || SizeHint::with_exact(0);
        self.0.as_ref().map_or_else(empty, |upload| upload.paced.body.size_hint())
    }
}

/// Counts one request as under way at a server, until it is dropped.
pub(super) struct Guard {
    server: Arc<ServerLive>,
    is_failed: bool,
}

impl Guard {
    pub(super) fn begin(server: &Arc<ServerLive>) -> Self {
        server.begin();
        Self { server: Arc::clone(server), is_failed: false }
    }

    /// It went wrong: a connection that broke, or a 5xx answer.
    pub(super) fn fail(&mut self) {
        self.is_failed = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.server.end(self.is_failed);
    }
}
