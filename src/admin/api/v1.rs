//! `/api/providers` in the shape of Traefik 1.7 (types/types.go, `Configurations`).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::admin::{App, providers};
use crate::model::ProviderName;

/// Everything, by provider.
pub(in crate::admin) async fn all(State(app): State<App>) -> Json<Value> {
    let view = app.state.view();
    let providers = view.sources.keys().map(|&provider| {
        (
            provider.to_string(),
            providers::of(&view.table.config, provider, &app.state.settings.default_entrypoints),
        )
    });
    Json(Value::Object(providers.collect()))
}

/// One provider, or what is below: `PROVIDER/backends/NAME/servers/NAME`, `PROVIDER/frontends/NAME/routes/NAME`.
pub(in crate::admin) async fn part(State(app): State<App>, Path(path): Path<String>) -> Response {
    let view = app.state.view();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let provider = parts.next().and_then(|name| name.parse::<ProviderName>().ok());
    let provider = provider.filter(|provider| view.sources.contains_key(provider));
    let Some(provider) = provider else {
        return not_found();
    };
    let whole =
        providers::of(&view.table.config, provider, &app.state.settings.default_entrypoints);
    // Only the levels that 1.7 has: a part of a server has no address of its own.
    let found = parts.try_fold((whole, 0), |(value, depth), key| {
        let child = value.get(key).cloned()?;
        (depth < 4 && child.is_object()).then_some((child, depth + 1))
    });
    match found {
        Some((value, _)) => Json(value).into_response(),
        None => not_found(),
    }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}
