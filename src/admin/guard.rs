//! Who may see the admin side. `/ping` is open to everybody: whoever asks it is a machine, and it tells nothing.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::serve::{Peer, UNKNOWN};
use crate::control::State;
use crate::middleware::{Answer, Flow, Handler, Reply};
use crate::model::{Exchange, Head, has_doubtful_dots};
use crate::proxy::{Desk, Places};

/// Passwords that are checked, and wait for it.
const CHECKS: Places = Places { turns: 2, waiting: 16, waiting_of_one: 4 };

/// What asks for a name, and who may work for it.
#[derive(Clone)]
pub(super) struct Guard {
    step: Arc<dyn Handler>,
    desk: Arc<Desk>,
    /// Whose clock the step goes by, as those of the entry points do: what they remember has times in it.
    state: Arc<State>,
}

impl Guard {
    pub(super) fn new(step: Arc<dyn Handler>, state: Arc<State>) -> Self {
        Self { step, desk: Desk::new(CHECKS), state }
    }

    /// Lets a request through, or answers it.
    pub(super) async fn pass(self, request: Request, next: Next) -> Response {
        if request.uri().path() == "/ping" {
            return next.run(request).await;
        }
        // As at an entry point: to work out what such a path may mean is work for whoever knows a name.
        if has_doubtful_dots(request.uri().path()) {
            return response(*Answer::new(400));
        }
        let work = match self.ask(&request, None) {
            Flow::Continue => return next.run(request).await,
            Flow::Answer(answer) => return response(*answer),
            Flow::Ask(_) => return response(*Answer::new(503)),
            Flow::Work(work) => work,
        };
        let peer = request.extensions().get::<Peer>().map_or(UNKNOWN, |peer| peer.0);
        let reply = self.desk.work(peer, work).await;
        match self.ask(&request, Some(reply)) {
            Flow::Continue => next.run(request).await,
            Flow::Answer(answer) => response(*answer),
            Flow::Ask(_) | Flow::Work(_) => response(*Answer::new(503)),
        }
    }

    fn ask(&self, request: &Request, reply: Option<Reply>) -> Flow {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let head = Lines(request.headers());
        let mut exchange = Exchange::new("admin", request.method().as_str(), "", target, &head);
        exchange.sender.now_ms = self.state.now_ms();
        exchange.sender.random = || fastrand::u64(..);
        match reply {
            None => self.step.on_request(&mut exchange),
            Some(reply) => self.step.on_reply(&mut exchange, reply),
        }
    }
}

fn response(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let words = status.canonical_reason().unwrap_or_default();
    let mut response = (status, Body::from(format!("{words}\n"))).into_response();
    for (name, value) in answer.lines {
        let line = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value));
        if let (Ok(name), Ok(value)) = line {
            response.headers_mut().append(name, value);
        }
    }
    response
}

struct Lines<'r>(&'r HeaderMap);

impl Head for Lines<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(HeaderValue::as_bytes)
    }

    fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.get_all(name).iter().any(|value| test(value.as_bytes()))
    }

    fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
        self.0.iter().for_each(|(name, value)| see(name.as_str(), value.as_bytes()));
    }
}
