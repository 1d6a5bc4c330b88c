//! Frontends and backends in the shape of Traefik 1.7's `/api/providers` (types/types.go, `Configurations`).

use serde_json::{Map, Value, json};

use crate::config::{Backend, Config, CookieScope, Frontend, Method, Sticky};
use crate::model::ProviderName;

/// One provider's frontends and backends. Frontends that name no entry points are at the default ones.
pub fn of(config: &Config, provider: ProviderName, default_entrypoints: &[String]) -> Value {
    let backends = config.backends.iter().filter(|(id, _)| id.provider == provider);
    let frontends = config.frontends.iter().filter(|(id, _)| id.provider == provider);
    let backends: Map<String, Value> =
        backends.map(|(id, b)| (id.name.to_string(), backend(b))).collect();
    let frontends: Map<String, Value> = frontends
        .map(|(id, f)| (id.name.to_string(), frontend(&id.name, f, default_entrypoints)))
        .collect();
    let parts = [("backends", backends), ("frontends", frontends)].into_iter();
    let parts = parts.filter(|(_, map)| !map.is_empty());
    Value::Object(parts.map(|(name, map)| (name.to_owned(), Value::Object(map))).collect())
}

fn backend(backend: &Backend) -> Value {
    let mut value = serde_json::to_value(&backend.wishes).unwrap_or_default();
    if !value.is_object() {
        value = json!({});
    }
    let servers = backend.servers.iter().map(|(name, server)| {
        let weight = if server.is_weight_said { server.weight } else { 0 };
        (name.to_string(), json!({"url": server.url(), "weight": weight}))
    });
    let servers: Map<String, Value> = servers.collect();
    if !servers.is_empty() {
        value["servers"] = Value::Object(servers);
    }
    let mut balancer = json!({"method": backend.method.as_str()});
    if let Some(sticky) = &backend.sticky {
        balancer["stickiness"] = match sticky.is_named_by_us && !sticky.is_deprecated {
            true => json!({}),
            false => json!({"cookieName": sticky.cookie}),
        };
        if sticky.is_deprecated {
            balancer["sticky"] = json!(true);
        }
    }
    // Our own words stand there only where they say something.
    if let Some(Sticky { scope, .. }) = backend.sticky.as_deref() {
        let usual = CookieScope::default();
        if scope.is_secure != usual.is_secure {
            balancer["stickiness"]["secure"] = json!(scope.is_secure);
        }
        if scope.is_http_only != usual.is_http_only {
            balancer["stickiness"]["httpOnly"] = json!(scope.is_http_only);
        }
        if scope.same_site != usual.same_site {
            let same_site = scope.same_site.as_str().to_ascii_lowercase();
            balancer["stickiness"]["sameSite"] = json!(same_site);
        }
    }
    if let Method::Hash(key) = &backend.method {
        balancer["hashKey"] = json!(key.to_string());
    }
    if !backend.slow_start.is_zero() {
        balancer["slowStart"] = json!(format!("{:?}", backend.slow_start));
    }
    value["loadBalancer"] = balancer;
    value
}

fn frontend(name: &str, frontend: &Frontend, default_entrypoints: &[String]) -> Value {
    let mut value = serde_json::to_value(&frontend.wishes).unwrap_or_default();
    if !value.is_object() {
        value = json!({});
    }
    let entrypoints = match frontend.entrypoints.is_empty() {
        true => default_entrypoints,
        false => &frontend.entrypoints,
    };
    let mut routes = Map::new();
    for (name, rule) in &frontend.routes {
        routes.insert(name.clone(), json!({"rule": rule}));
    }
    if routes.is_empty() {
        routes.insert(format!("route-{name}"), json!({"rule": frontend.rule.text()}));
    }
    value["entryPoints"] = json!(entrypoints);
    value["backend"] = json!(&*frontend.backend.name);
    value["routes"] = Value::Object(routes);
    if frontend.pass_host_header {
        value["passHostHeader"] = json!(true);
    }
    value["priority"] = json!(frontend.priority.unwrap_or(0));
    value["basicAuth"] = Value::Null;
    value
}
