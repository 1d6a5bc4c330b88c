//! The page, the JSON API, events, metrics, ping: all of it read-only.
//!
//! Everything here is read from `control::State`; rates are worked out by one sampler, so that requests pay for
//! counters only.

mod api;
mod assets;
mod chart;
mod events;
mod guard;
mod health;
pub mod metrics;
mod pages;
mod ping;
pub mod providers;
mod rates;
mod serve;
mod view;

pub use serve::{BindError, Bound, bind};

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::control::State;
use guard::Guard;
use rates::Rates;
use view::Unrouted;

/// Event streams open at once; further ones are told to come back later.
const STREAMS_MAX: usize = 64;

/// What every page and answer is made from.
#[derive(Clone)]
struct App {
    state: Arc<State>,
    rates: Arc<Mutex<Rates>>,
    streams: Arc<Semaphore>,
    /// Whether the log was told that only the busiest have metrics of their own.
    has_told_of_bound: Arc<AtomicBool>,
    /// Who is not routed, worked out once for each view.
    unrouted: Arc<Mutex<(u64, Arc<[Unrouted]>)>>,
}

impl App {
    fn new(state: Arc<State>) -> Self {
        Self {
            state,
            rates: Arc::default(),
            has_told_of_bound: Arc::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            unrouted: Arc::new(Mutex::new((u64::MAX, Arc::from([])))),
        }
    }
}

fn router(app: App, guarded_by: Option<Guard>) -> Router {
    let router = Router::new()
        .route("/", get(pages::page))
        .route("/dashboard", get(|| async { Redirect::permanent("/") }))
        .route("/dashboard/", get(|| async { Redirect::permanent("/") }))
        .route("/fragment", get(pages::fragment))
        .route("/fragment/now", get(pages::now))
        .route("/explain/{*name}", get(pages::explain))
        .route("/route", get(pages::route))
        .route("/assets/app.css", get(assets::css))
        .route("/assets/app.js", get(assets::js))
        .route("/assets/icon.svg", get(assets::icon))
        .route("/favicon.ico", get(assets::icon))
        .route("/api", get(api::v1::all))
        .route("/api/providers", get(api::v1::all))
        .route("/api/providers/{*path}", get(api::v1::part))
        .route("/api/version", get(api::version))
        .route("/api/problems", get(api::problems))
        .route("/api/explain", get(api::explain))
        .route("/api/events", get(events::stream))
        .route("/api/health", get(health::all))
        .route("/api/errors", get(api::errors))
        .route("/health", get(api::health))
        .route("/ping", get(ping::ping))
        .route("/metrics", get(metrics::metrics))
        .fallback(nothing_here)
        .with_state(app);
    // The lines that every answer carries are put on last, and so stand on a refusal too.
    let router = match guarded_by {
        None => router,
        Some(by) => router.layer(from_fn(move |request: Request, next: Next| {
            let by = by.clone();
            async move { by.pass(request, next).await }
        })),
    };
    router.layer(from_fn(guard))
}

/// For people in words, for programs as the rest of the API.
async fn nothing_here(uri: Uri) -> Response {
    if uri.path().starts_with("/api") {
        let what = json!({"error": "there is nothing here; /api has all of it"});
        return (StatusCode::NOT_FOUND, Json(what)).into_response();
    }
    (StatusCode::NOT_FOUND, "There is nothing here. The page is at /.\n").into_response()
}

/// Nothing is loaded from elsewhere, nothing inline runs, nobody frames the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Headers that every answer carries.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await.into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
