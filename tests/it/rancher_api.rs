//! Rancher's API against a server that answers in the shapes of the real `/v2-beta`: collections in pages, keys asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use herder::model::{ProviderName, Snapshot};
use herder::providers::rancher::{self, Rancher};
use herder::providers::{Depth, Provider};
use herder::settings::{RancherSettings, Typed};
use serde_json::{Value, json};

use crate::harness::eventually;
use crate::harness::herder::Herder;

/// Entries a page, whatever was asked for: small, so that there are several.
const PAGE: usize = 2;

struct Lists {
    stacks: Vec<Value>,
    services: Vec<Value>,
    containers: Vec<Value>,
}

async fn list(
    State(lists): State<Arc<Lists>>,
    Path(name): Path<String>,
    Query(query): Query<std::collections::HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    // user:pass of the key, as RFC 7617 has it.
    let is_known =
        headers.get("authorization").is_some_and(|value| value == "Basic a2V5OnNlY3JldA==");
    if !is_known {
        let error = json!({"type": "error", "status": 401, "code": "Unauthorized"});
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    let all = match name.as_str() {
        "stacks" => &lists.stacks,
        "services" => &lists.services,
        "containers" => &lists.containers,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let from: usize = query.get("marker").and_then(|marker| marker.parse().ok()).unwrap_or(0);
    let to = (from + PAGE).min(all.len());
    // Rancher writes whole addresses, by the name it believes to have.
    let next = (to < all.len()).then(|| {
        format!("http://rancher.invalid/v2-beta/projects/1a5/{name}?limit=1000&marker={to}")
    });
    let page = json!({
        "type": "collection", "resourceType": name, "data": &all[from..to],
        "pagination": {"first": null, "previous": null, "next": next, "last": null, "limit": PAGE, "total": null,
            "partial": next.is_some()},
    });
    (StatusCode::OK, page.to_string()).into_response()
}

fn service(id: usize, name: &str, labels: &Value) -> Value {
    json!({
        "id": format!("1s{id}"), "type": "service", "baseType": "service", "kind": "service", "name": name, "stackId": "1st5",
        "uuid": format!("uuid-{name}"), "state": "active", "healthState": "healthy", "createIndex": id, "scale": 2,
        "launchConfig": {"imageUuid": "docker:web", "labels": labels, "healthCheck": null},
    })
}

fn container(name: &str, service: &str, ip: &str, state: &str, health: &Value) -> Value {
    json!({
        "id": format!("1i{name}"), "type": "container", "name": name, "uuid": format!("uuid-{name}"), "state": state,
        "healthState": health, "primaryIpAddress": ip, "externalId": "0123456789abcdef",
        "labels": {"io.rancher.stack_service.name": service, "io.rancher.stack.name": "shop"},
    })
}

fn lists() -> Lists {
    let labels = json!({"traefik.enable": "true", "traefik.port": "8080"});
    Lists {
        stacks: vec![
            json!({"id": "1st4", "type": "stack", "name": "other", "state": "active"}),
            json!({"id": "1st5", "type": "stack", "name": "shop", "state": "active"}),
            json!({"id": "1st6", "type": "stack", "name": "third", "state": "active"}),
        ],
        services: vec![
            service(1, "web", &labels),
            service(
                2,
                "api",
                &json!({"traefik.enable": "true", "traefik.port": "9090", "traefik.domain": "x.test"}),
            ),
            service(3, "quiet", &Value::Null),
        ],
        containers: vec![
            container("shop-web-1", "shop/web", "10.42.0.1", "running", &json!("healthy")),
            container("shop-web-2", "shop/web", "10.42.0.2", "running", &json!("unhealthy")),
            container("shop-web-3", "shop/web", "10.42.0.3", "stopped", &Value::Null),
            container("shop-api-1", "shop/api", "10.42.0.4", "running", &json!("healthy")),
            json!({"id": "1i9", "type": "container", "name": "alone", "labels": null, "state": "running"}),
        ],
    }
}

/// The API has other names for the parts of a check than the metadata service.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_read_as_the_api_writes_it() {
    let mut lists = lists();
    lists.services[0]["launchConfig"]["healthCheck"] = json!({
        "type": "instanceHealthCheck", "port": 8080, "interval": 2000, "responseTimeout": 1500, "healthyThreshold": 2,
        "unhealthyThreshold": 3, "requestLine": "GET \"/health\" \"HTTP/1.0\"", "strategy": "recreate",
    });
    let addr = serve(lists).await;
    let settings = settings(format!("http://{addr}/v2-beta/projects/1a5"), "secret");
    let mut rancher = Rancher::new(&settings).expect("a provider");
    let snapshot: Snapshot = rancher.fetch(Depth::Everything).await.expect("an answer");
    let web = snapshot.services.iter().find(|service| &*service.name == "web").expect("it");
    let block = web.health_block.as_deref().expect("a check");
    assert_eq!((block.port, block.interval_ms, block.timeout_ms), (8080, 2_000, 1_500));
    assert_eq!((block.rise, block.fall), (2, 3));
    assert!(block.request_line.contains("/health"), "{}", block.request_line);
}

async fn serve(lists: Lists) -> SocketAddr {
    let app = Router::new()
        .route("/v2-beta/projects/1a5/{list}", axum::routing::get(list))
        .with_state(Arc::new(lists));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

fn settings(endpoint: String, secret: &str) -> RancherSettings {
    let typed = Typed {
        docker: Some(false),
        rancher_domain: Some("local".to_owned()),
        rancher_api_endpoint: Some(endpoint),
        rancher_api_access_key: Some("key".to_owned()),
        rancher_api_secret_key: Some(secret.to_owned()),
        ..Typed::default()
    };
    typed.meant().expect("they fit together").rancher.expect("it is described")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_are_read_and_put_together() {
    let addr = serve(lists()).await;
    // The old version's address, as CATTLE_URL has it.
    let settings = settings(format!("http://{addr}/v1/projects/1a5"), "secret");
    assert_eq!(rancher::answers(&settings).await.expect("it answers"), "v2-beta");
    let mut rancher = Rancher::new(&settings).expect("a provider");
    assert_eq!(rancher.name(), ProviderName::Rancher);
    let snapshot: Snapshot = rancher.fetch(Depth::Everything).await.expect("an answer");
    let mut drawn: Vec<String> = snapshot
        .services
        .iter()
        .map(|s| format!("{}.{} {}", s.name, s.stack.as_deref().unwrap_or("?"), s.instances.len()))
        .collect();
    drawn.sort();
    assert_eq!(drawn, ["api.shop 1", "quiet.shop 0", "web.shop 3"]);
    assert_eq!(rancher.fetch(Depth::Everything).await.expect("an answer"), snapshot);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_become_routes() {
    let addr = serve(lists()).await;
    let endpoint = format!("--rancher.api.endpoint=http://{addr}/v2-beta/projects/1a5");
    let args = [
        "run",
        "--rancher",
        &endpoint,
        "--rancher.api.accessKey=key",
        "--rancher.api.secretKey=secret",
        "--rancher.domain=local",
    ];
    let herder = Herder::start(&args);
    eventually("it knows", || async { herder.admin("/api").await.body.contains("web.shop.local") })
        .await;
    let api = herder.admin("/api/providers/rancher").await.json();
    assert_eq!(
        api["backends"]["backend-web-shop"]["servers"],
        json!({"shop-web-1": {"url": "http://10.42.0.1:8080", "weight": 1}})
    );
    assert_eq!(
        api["frontends"]["frontend-Host-api-shop-x-test"]["routes"],
        json!({"route-frontend-Host-api-shop-x-test": {"rule": "Host:api.shop.x.test"}})
    );
    assert!(!herder.log().contains("secret"), "{}", herder.log());
    assert!(!herder.admin("/").await.body.contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told() {
    let addr = serve(lists()).await;
    let mut rancher =
        Rancher::new(&settings(format!("http://{addr}/v2-beta/projects/1a5"), "wrong"))
            .expect("a provider");
    let error = rancher.fetch(Depth::Everything).await.expect_err("no answer").to_string();
    assert!(error.contains("accessKey") && !error.contains("wrong"), "{error}");
}
