//! `/ping`: 200 while requests are served, 503 before the first answer of a provider and after the stop signal.

use axum::extract::State;
use axum::http::StatusCode;

use super::App;
use crate::control::Phase;

pub(super) async fn ping(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.state.phase() {
        Phase::Ready => (StatusCode::OK, "OK"),
        Phase::Starting => {
            (StatusCode::SERVICE_UNAVAILABLE, "starting: no provider has answered yet\n")
        }
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}
