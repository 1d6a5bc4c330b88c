//! Rancher's own API, `/v2-beta`: for a Herder outside the environment, with keys. Traefik 1.7's `[rancher.api]`.
//!
//! What it lists is put into the shape of the metadata service, and then read as that is.

use std::collections::HashMap;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{self, Http, shown};
use crate::providers::Error;
use crate::settings::{AnswerLimits, RancherApi};

/// Entries asked for at once. Rancher gives 100 unless told, and 3,000 at most.
const PAGE_LIMIT: usize = 1_000;

/// Pages of one list; more is a server that goes round in circles.
const PAGES_MAX: usize = 200;

/// One API, with the keys for it.
pub(super) struct Api {
    http: Http,
    base: Url,
    access_key: String,
    secret_key: String,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page {
    data: Option<Vec<Value>>,
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    next: Option<String>,
}

impl Api {
    pub(super) fn new(settings: &RancherApi, limits: &AnswerLimits) -> Result<Self, Error> {
        let RancherApi { endpoint, access_key, secret_key } = settings;
        let (http, mut base) =
            Http::new(endpoint, "http://rancher.example.com:8080/v2-beta", limits)?;
        base.set_path(&api_path(base.path()));
        base.set_query(None);
        let (access_key, secret_key) = (access_key.clone(), secret_key.clone());
        Ok(Self { http, base, access_key, secret_key })
    }

    /// The services with their containers, as the metadata service would list them.
    pub(super) async fn services(&self) -> Result<Vec<u8>, Error> {
        let stacks = self.list("stacks").await?;
        let services = self.list("services").await?;
        let containers = self.list("containers").await?;
        let body = serde_json::to_vec(&as_metadata(&stacks, &services, &containers));
        body.map_err(|error| self.http.bad_answer(error.to_string()))
    }

    /// Whether somebody answers who takes the keys.
    pub(super) async fn answers(&self) -> Result<String, Error> {
        self.page(self.url("stacks", 1)).await.map(|_| "v2-beta".to_owned())
    }

    pub(super) fn bad_json(&self, error: &serde_json::Error, body: &[u8]) -> Error {
        self.http.bad_json("services", error, body)
    }

    pub(super) fn bad_answer(&self, reason: impl Into<String>) -> Error {
        self.http.bad_answer(reason)
    }

    fn url(&self, list: &str, limit: usize) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{list}", self.base.path().trim_end_matches('/')));
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        url
    }

    async fn list(&self, list: &str) -> Result<Vec<Value>, Error> {
        let mut url = self.url(list, PAGE_LIMIT);
        let mut all = Vec::new();
        let mut bytes = 0;
        for _ in 0..PAGES_MAX {
            let (page, size) = self.page(url).await?;
            bytes += size;
            if bytes > self.http.limits.bytes_max {
                let reason = format!("more than {} bytes of {list}", self.http.limits.bytes_max);
                return Err(Error::Limit { endpoint: self.http.endpoint.clone(), reason });
            }
            all.extend(page.data.unwrap_or_default());
            let Some(next) = page.pagination.and_then(|pagination| pagination.next) else {
                return Ok(all);
            };
            let next =
                Url::parse(&next).ok().filter(|next| next.path().starts_with(self.base.path()));
            // Behind a proxy Rancher may call itself by another name; the keys go where they were meant to.
            let mut next =
                next.ok_or_else(|| self.http.bad_answer("its next page is somewhere else"))?;
            let is_moved = next.set_scheme(self.base.scheme()).is_ok()
                && next.set_host(self.base.host_str()).is_ok()
                && next.set_port(self.base.port()).is_ok();
            if !is_moved {
                return Err(self.http.bad_answer("its next page cannot be asked for"));
            }
            url = next;
        }
        Err(self.http.bad_answer(format!("its {list} have more than {PAGES_MAX} pages")))
    }

    async fn page(&self, url: Url) -> Result<(Page, usize), Error> {
        let path = url.path().trim_start_matches('/').to_owned();
        self.http.within(self.http.limits.timeout, &path, self.exchange(url, &path)).await
    }

    async fn exchange(&self, url: Url, path: &str) -> Result<(Page, usize), Error> {
        let request = self.http.client.get(url).header("accept", "application/json");
        let request = match self.access_key.is_empty() {
            true => request,
            false => request.basic_auth(&self.access_key, Some(&self.secret_key)),
        };
        let response = request.send().await.map_err(|error| self.http.unreachable(&error))?;
        let status = response.status();
        let body = self.http.body(response).await?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.http.bad_answer(
                "401 Unauthorized: are rancher.api.accessKey and .secretKey those of an environment's API key?",
            ));
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(self.http.bad_answer(format!("{status} for /{path}: {}", shown(&text))));
        }
        let page = serde_json::from_slice(&body);
        page.map(|page| (page, body.len())).map_err(|error| self.http.bad_json(path, &error, &body))
    }
}

/// The API's URL as it may be shown.
pub(super) fn endpoint(settings: &RancherApi) -> String {
    http::endpoint(&settings.endpoint)
}

/// `/v2-beta` in the place of the older `/v1`, and after a path that has neither.
fn api_path(path: &str) -> String {
    let path = path.trim_end_matches('/');
    if path.contains("/v2-beta") {
        return path.to_owned();
    }
    match path.split_once("/v1") {
        Some((before, after)) => format!("{before}/v2-beta{after}"),
        None => format!("{path}/v2-beta"),
    }
}

/// The lists in the shape of the metadata service's `services`. A container is its service's by the label that Rancher
/// gives it, as in Traefik 1.7 (provider/rancher/api.go).
fn as_metadata(stacks: &[Value], services: &[Value], containers: &[Value]) -> Value {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let stacks: HashMap<String, &Value> =
        stacks.iter().filter_map(|stack| Some((text(&stack["id"])?, &stack["name"]))).collect();
    let mut by_service: HashMap<&str, Vec<Value>> = HashMap::new();
    for container in containers {
        if let Some(service) = container["labels"]["io.rancher.stack_service.name"].as_str() {
            by_service.entry(service).or_default().push(json!({
                "name": container["name"],
                "uuid": container["uuid"],
                "external_id": container["externalId"],
                "state": container["state"],
                "health_state": container["healthState"],
                "primary_ip": container["primaryIpAddress"],
                "ports": [],
                "labels": container["labels"],
            }));
        }
    }
    let service = |service: &Value| {
        let stack = text(&service["stackId"]).and_then(|id| stacks.get(&id).copied()).cloned();
        let stack = stack.unwrap_or_default();
        let (service_name, stack_name) = (service["name"].as_str(), stack.as_str());
        let name =
            format!("{}/{}", stack_name.unwrap_or_default(), service_name.unwrap_or_default());
        let launch = &service["launchConfig"];
        json!({
            "name": service["name"],
            "stack_name": stack,
            "uuid": service["uuid"],
            "kind": service["kind"],
            "state": service["state"],
            "labels": launch["labels"],
            "health_check": check(match launch["healthCheck"].is_null() {
                true => &service["healthCheck"],
                false => &launch["healthCheck"],
            }),
            "external_ips": service["externalIpAddresses"],
            "create_index": service["createIndex"],
            "containers": by_service.get(name.as_str()).cloned().unwrap_or_default(),
        })
    };
    services.iter().map(service).collect()
}

/// A check with the names that the metadata service has for its parts.
fn check(told: &Value) -> Value {
    if !told.is_object() {
        return Value::Null;
    }
    json!({
        "port": told["port"],
        "interval": told["interval"],
        "response_timeout": told["responseTimeout"],
        "healthy_threshold": told["healthyThreshold"],
        "unhealthy_threshold": told["unhealthyThreshold"],
        "request_line": told["requestLine"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_version_is_asked_as_the_newer_one() {
        for (path, expected) in [
            ("/", "/v2-beta"),
            ("", "/v2-beta"),
            ("/v1", "/v2-beta"),
            ("/v1/projects/1a5", "/v2-beta/projects/1a5"),
            ("/v2-beta/projects/1a5/", "/v2-beta/projects/1a5"),
            ("/rancher/", "/rancher/v2-beta"),
        ] {
            assert_eq!(api_path(path), expected);
        }
    }
}
