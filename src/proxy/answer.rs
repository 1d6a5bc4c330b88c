//! Herder's own answers: the one place where a failure becomes a status.

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::error::Error;

/// When to ask again for a host that is known and has nobody healthy, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

/// What the client sees. Unknown hosts and empty backends are answered in Traefik 1.7's words.
pub(super) fn answer(error: &Error) -> Response<Body> {
    let (status, text) = match error {
        Error::BadRequest(why) => (StatusCode::BAD_REQUEST, format!("Bad Request: {why}\n")),
        Error::MethodNotServed | Error::CodingNotServed => {
            (StatusCode::NOT_IMPLEMENTED, "Not Implemented\n".to_owned())
        }
        Error::SlowClient => (StatusCode::REQUEST_TIMEOUT, "Request Timeout\n".to_owned()),
        Error::Unknown => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        Error::NoServer => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable".to_owned()),
        Error::Unreachable(_) | Error::BadAnswer(_) => {
            (StatusCode::BAD_GATEWAY, "Bad Gateway".to_owned())
        }
        Error::SlowServer(_) => (StatusCode::GATEWAY_TIMEOUT, "Gateway Timeout".to_owned()),
    };
    let mut response = Response::new(Body::own(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    match error {
        Error::NoServer => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        Error::MethodNotServed => {
            // What follows a CONNECT is not HTTP.
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
            let served = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE";
            headers.insert(ALLOW, HeaderValue::from_static(served));
        }
        // What is left of such a request cannot be trusted to be the next one.
        Error::BadRequest(_) | Error::CodingNotServed | Error::SlowClient => {
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}
