//! `/api/providers` in the shape of Traefik 1.7 (types/types.go, `Configurations`).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::admin::App;
use crate::config::{Backend, Config, Frontend};
use crate::model::ProviderName;
use crate::settings::HTTP_ENTRYPOINT;

/// Everything, by provider.
pub(in crate::admin) async fn all(State(app): State<App>) -> Json<Value> {
    let view = app.state.view();
    let providers = view
        .sources
        .keys()
        .map(|&provider| (provider.to_string(), of_provider(&view.table.config, provider)));
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
    let whole = of_provider(&view.table.config, provider);
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

fn of_provider(config: &Config, provider: ProviderName) -> Value {
    let backends = config.backends.iter().filter(|(id, _)| id.provider == provider);
    let frontends = config.frontends.iter().filter(|(id, _)| id.provider == provider);
    let backends: Map<String, Value> =
        backends.map(|(id, b)| (id.name.to_string(), backend(b))).collect();
    let frontends: Map<String, Value> =
        frontends.map(|(id, f)| (id.name.to_string(), frontend(&id.name, f))).collect();
    json!({"backends": backends, "frontends": frontends})
}

fn backend(backend: &Backend) -> Value {
    let servers = backend.servers.iter().map(|(name, server)| {
        (name.to_string(), json!({"url": server.url(), "weight": server.weight}))
    });
    let servers: Map<String, Value> = servers.collect();
    let mut balancer = json!({"method": backend.method.as_str()});
    if let Some(sticky) = &backend.sticky {
        balancer["stickiness"] = json!({"cookieName": sticky.cookie});
    }
    json!({"servers": servers, "loadBalancer": balancer})
}

fn frontend(name: &str, frontend: &Frontend) -> Value {
    let mut entrypoints = frontend.entrypoints.clone();
    if entrypoints.is_empty() {
        entrypoints.push(HTTP_ENTRYPOINT.to_owned());
    }
    let mut routes = Map::new();
    routes.insert(format!("route-{name}"), json!({"rule": frontend.rule.text()}));
    json!({
        "entryPoints": entrypoints,
        "backend": &*frontend.backend.name,
        "routes": routes,
        "passHostHeader": frontend.pass_host_header,
        "priority": frontend.priority.unwrap_or(0),
        "basicAuth": null,
    })
}
