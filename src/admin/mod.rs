//! The page, the JSON API, events, metrics, ping: all of it read-only.
//!
//! Everything here is read from `control::State`; rates are worked out by one sampler, so that requests pay for
//! counters only.

mod api;
mod assets;
mod chart;
mod crowd;
mod events;
mod guard;
mod health;
mod local;
pub mod metrics;
mod pages;
mod ping;
pub mod providers;
mod rates;
mod serve;
mod turns;
mod view;

pub use serve::{BindError, Bound, bind};

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::watch;

use crate::control::State;
use crate::middleware::Handler;
use crate::settings::EntryPoint;
use crate::table::entry_chain;
use crowd::Crowd;
use guard::Guard;
use rates::Rates;
use turns::Turns;
use view::Unrouted;

/// Event streams open at once. Where all are, whoever has the most loses the oldest to who has fewer; others are told to come back
/// later.
const STREAMS_MAX: usize = 64;

/// What every page and answer is made from.
#[derive(Clone)]
struct App {
    state: Arc<State>,
    rates: Arc<Mutex<Rates>>,
    /// The last sample, for the event streams.
    news: watch::Sender<Arc<str>>,
    streams: Arc<Crowd>,
    /// Who has metrics of its own.
    named: Arc<metrics::Named>,
    /// Whether the log was told that only the busiest have metrics of their own.
    has_told_of_bound: Arc<AtomicBool>,
    /// Who is not routed, worked out once for each view.
    unrouted: Arc<Mutex<(u64, Arc<[Unrouted]>)>>,
    /// The steps of each entry point; what they keep they share with those that the requests go through.
    entry_chains: Arc<[(String, Chain)]>,
}

/// The steps that requests go through, in order.
type Chain = Box<[Arc<dyn Handler>]>;

impl App {
    fn new(state: Arc<State>) -> Self {
        let all = &state.settings.entrypoints;
        let chain = |entrypoint: &EntryPoint| {
            (entrypoint.name.clone(), entry_chain(entrypoint, all, &state.live))
        };
        Self {
            entry_chains: state.settings.open_entrypoints().map(chain).collect(),
            state,
            rates: Arc::default(),
            news: watch::Sender::new(Arc::from("")),
            named: Arc::default(),
            has_told_of_bound: Arc::default(),
            streams: Crowd::new(STREAMS_MAX, STREAMS_MAX),
            unrouted: Arc::new(Mutex::new((u64::MAX, Arc::from([])))),
        }
    }

    /// The steps of an entry point.
    fn entry_steps(&self, entrypoint: &str) -> &[Arc<dyn Handler>] {
        let found = self.entry_chains.iter().find(|(name, _)| name == entrypoint);
        found.map(|(_, steps)| &**steps).unwrap_or_default()
    }

    /// The clock of everything in `live`, in milliseconds.
    fn now_ms(&self) -> u64 {
        self.state.now_ms()
    }
}

/// Paths, and who answers them.
type Routes = Vec<(&'static str, MethodRouter<App>)>;

/// What is worked out for whoever asks, and takes the longer the more is routed.
fn rendered() -> Routes {
    vec![
        ("/", get(pages::page)),
        ("/fragment", get(pages::fragment)),
        ("/fragment/now", get(pages::now)),
        ("/explain/{*name}", get(pages::explain)),
        ("/route", get(pages::route)),
        ("/api", get(api::v1::all)),
        ("/api/providers", get(api::v1::all)),
        ("/api/providers/{*path}", get(api::v1::part)),
        ("/api/problems", get(api::problems)),
        ("/api/explain", get(api::explain)),
        ("/api/health", get(health::all)),
        ("/api/errors", get(api::errors)),
        ("/metrics", get(metrics::metrics)),
    ]
}

/// What is at hand, however much is routed.
fn at_hand() -> Routes {
    vec![
        ("/dashboard", get(|| async { Redirect::permanent("/") })),
        ("/dashboard/", get(|| async { Redirect::permanent("/") })),
        ("/assets/app.css", get(assets::css)),
        ("/assets/app.js", get(assets::js)),
        ("/assets/icon.svg", get(assets::icon)),
        ("/favicon.ico", get(assets::icon)),
        ("/api/version", get(api::version)),
        ("/api/events", get(events::stream)),
        ("/health", get(api::health)),
        ("/ping", get(ping::ping)),
    ]
}

/// `is_local`: whether it listens on this machine alone.
fn router(app: App, guarded_by: Option<Guard>, is_local: bool) -> Router {
    let add = |router: Router<App>, routes: Routes| {
        routes.into_iter().fold(router, |router, (path, answer)| router.route(path, answer))
    };
    let turns = Turns::new();
    let router = add(Router::new(), rendered()).route_layer(from_fn(move |request, next| {
        let turns = turns.clone();
        async move { turns.pass(request, next).await }
    }));
    let router = add(router, at_hand());
    let router = router.fallback(nothing_here).with_state(app);
    // The lines that every answer carries are put on last, and so stand on a refusal too.
    let router = match guarded_by {
        None if is_local => router.layer(from_fn(local::pass)),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page is made of: nobody asks for these by themselves.
    const PARTS: &[&str] = &["/fragment", "/fragment/now", "/favicon.ico", "/dashboard/"];

    /// The docs have a row for each path, and no other ones.
    #[test]
    fn the_paths_are_those_of_the_docs() {
        let page = include_str!("../../docs/admin.md");
        let rows = page.lines().filter(|line| line.starts_with("| `/"));
        let first = rows.filter_map(|row| row.split('|').nth(1));
        let told = first.flat_map(|cell| cell.split('`')).filter(|text| text.starts_with('/'));
        let told: Vec<&str> = told.filter_map(|path| path.split('?').next()).collect();
        let is_part = |path: &str| PARTS.contains(&path) || path.starts_with("/assets/");
        let routes = [rendered(), at_hand()].concat();
        let served: Vec<&str> =
            routes.iter().map(|(path, _)| *path).filter(|path| !is_part(path)).collect();
        // `/explain/{*name}` is `/explain/NAME` for people.
        let fits = |path: &str, told: &str| match path.split_once("{*") {
            None => told == path,
            Some((start, _)) => told.strip_prefix(start).is_some_and(|rest| !rest.is_empty()),
        };
        for path in &served {
            assert!(told.iter().any(|told| fits(path, told)), "{path} is not in docs/admin.md");
        }
        for told in told {
            assert!(served.iter().any(|path| fits(path, told)), "nobody answers {told}");
        }
    }
}
