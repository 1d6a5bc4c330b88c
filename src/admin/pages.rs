//! The page: rendered here, kept fresh by its script, readable without it.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::App;
use super::view::{self, Now, Page};
use crate::explain::{self, Explanation, RouteTest};

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
}

#[derive(Deserialize)]
pub(super) struct RequestAsked {
    #[serde(default)]
    url: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    header: String,
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
#[template(path = "admin/now.html")]
struct NowTemplate {
    now: Now,
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
    method: String,
    header: String,
    /// Why it cannot be read; empty where it can.
    wrong: String,
    test: Option<RouteTest>,
}

pub(super) async fn page(State(app): State<App>, Query(asked): Query<Asked>) -> Response {
    render(StatusCode::OK, &PageTemplate { page: view::page(&app, &asked.q) })
}

/// The part of the page that changes.
pub(super) async fn fragment(State(app): State<App>, Query(asked): Query<Asked>) -> Response {
    render(StatusCode::OK, &LiveTemplate { page: view::page(&app, &asked.q) })
}

/// The parts that may change with every request.
pub(super) async fn now(State(app): State<App>) -> Response {
    render(StatusCode::OK, &NowTemplate { now: view::now_of(&app) })
}

pub(super) async fn explain(State(app): State<App>, Path(name): Path<String>) -> Response {
    let found = app.state.view().explain(&name, app.now_ms());
    let status = if found.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    render(status, &ExplainTemplate { name, found })
}

pub(super) async fn route(State(app): State<App>, Query(asked): Query<RequestAsked>) -> Response {
    let RequestAsked { url, method, header } = asked;
    let lines: Vec<String> = header.lines().map(str::to_owned).collect();
    let method = if method.is_empty() { "GET".to_owned() } else { method };
    let parsed = match url.is_empty() {
        true => None,
        false => Some(explain::Asked::parse(&url, Some(&method), &lines)),
    };
    let (test, wrong) = match parsed {
        None => (None, String::new()),
        Some(Ok(asked)) => {
            let asked = asked.entering(&app.state.settings);
            let entry = app.entry_steps(&asked.entrypoint);
            (Some(app.state.view().explain_request(&asked, entry)), String::new())
        }
        Some(Err(why)) => (None, why),
    };
    render(StatusCode::OK, &RouteTemplate { url, method, header, wrong, test })
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
