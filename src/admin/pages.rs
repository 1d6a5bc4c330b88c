//! The page: rendered here, kept fresh by its script, readable without it.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::App;
use super::view::{self, Page};
use crate::explain::{self, Explanation, Outcome, RouteTest};
use crate::settings::HTTP_ENTRYPOINT;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
}

#[derive(Deserialize)]
pub(super) struct Url {
    #[serde(default)]
    url: String,
}

#[derive(Template)]
#[template(path = "admin/page.html")]
struct PageTemplate {
    page: Page,
}

#[derive(Template)]
#[template(path = "admin/live.html")]
struct LiveTemplate {
    page: Page,
}

#[derive(Template)]
#[template(path = "admin/explain.html")]
struct ExplainTemplate {
    name: String,
    found: Vec<Explanation>,
}

#[derive(Template)]
#[template(path = "admin/route.html")]
struct RouteTemplate {
    url: String,
    is_wrong: bool,
    test: Option<RouteTest>,
}

pub(super) async fn page(State(app): State<App>, Query(asked): Query<Asked>) -> Response {
    render(StatusCode::OK, &PageTemplate { page: view::page(&app, &asked.q) })
}

/// The part of the page that changes.
pub(super) async fn fragment(State(app): State<App>, Query(asked): Query<Asked>) -> Response {
    render(StatusCode::OK, &LiveTemplate { page: view::page(&app, &asked.q) })
}

pub(super) async fn explain(State(app): State<App>, Path(name): Path<String>) -> Response {
    let found = app.state.view().explain(&name);
    let status = if found.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    render(status, &ExplainTemplate { name, found })
}

pub(super) async fn route(State(app): State<App>, Query(Url { url }): Query<Url>) -> Response {
    let parts = split_url(&url);
    let view = app.state.view();
    let test = parts
        .as_ref()
        .map(|(host, path)| explain::request(&view.table, HTTP_ENTRYPOINT, host, path));
    let is_wrong = !url.is_empty() && test.is_none();
    render(StatusCode::OK, &RouteTemplate { url, is_wrong, test })
}

/// Host and path of `http://host/path`; the scheme may be missing.
pub(super) fn split_url(url: &str) -> Option<(String, String)> {
    let url = url.trim();
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: http::Uri = url.parse().ok()?;
    Some((uri.authority()?.to_string(), uri.path().to_owned()))
}

fn render(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Note => "note",
        Outcome::Stop => "stop",
    }
}
