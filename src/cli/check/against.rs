//! What would differ from a Traefik 1.x that runs: its `/api/providers` beside ours.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use crate::tls::{self, Trust};

/// An answer larger than this is none of Traefik's.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// For the whole answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks a running Traefik for its frontends and backends.
///
/// # Errors
/// When nobody answers, or not as Traefik does.
pub(super) async fn fetch(url: &str) -> anyhow::Result<Value> {
    let shown = crate::config::hide_password(url).into_owned();
    let base = reqwest::Url::parse(url).with_context(|| format!("{shown} is not a URL"))?;
    let path = base.path().trim_end_matches('/');
    let path = path.trim_end_matches("/api/providers").trim_end_matches("/api");
    let mut target = base.clone();
    target.set_path(&format!("{path}/api/providers"));
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client(Trust::System, None))
        .timeout(TIMEOUT)
        .no_proxy()
        .build()
        .context("no client can be made")?;
    let asked = client.get(target).send().await.with_context(|| format!("cannot ask {shown}"))?;
    if !asked.status().is_success() {
        bail!("{shown} answers {} for /api/providers; is its API switched on?", asked.status());
    }
    let mut asked = asked;
    let mut body = Vec::new();
    while let Some(piece) = asked.chunk().await.with_context(|| format!("{shown} ended early"))? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            bail!("{shown} gives more than {} MiB", ANSWER_BYTES_MAX >> 20);
        }
        body.extend_from_slice(&piece);
    }
    serde_json::from_slice(&body).with_context(|| format!("{shown} does not answer in JSON"))
}

/// Each difference as a sentence. Frontends are paired by their rules, for names may move.
pub(super) fn differences(theirs: &Value, ours: &Value) -> Vec<String> {
    let providers: BTreeSet<&String> =
        [theirs, ours].iter().filter_map(|v| v.as_object()).flat_map(Map::keys).collect();
    let mut lines = Vec::new();
    for provider in providers {
        let (there, here) = (by_rule(&theirs[provider]), by_rule(&ours[provider]));
        let rules: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        for rule in rules {
            let name = format!("{provider} {rule}");
            match (there.get(rule), here.get(rule)) {
                (Some(there), Some(here)) => compare(&name, there, here, &mut lines),
                (Some(_), None) => lines.push(format!("{name} is there, and not here")),
                (None, Some(_)) => lines.push(format!("{name} is here, and not there")),
                (None, None) => {}
            }
        }
    }
    lines
}

/// Frontends with their backends in them, by rule and without names that may move.
fn by_rule(provider: &Value) -> BTreeMap<String, Value> {
    let frontends = provider["frontends"].as_object().into_iter().flatten();
    let pair = |(_, frontend): (&String, &Value)| {
        let routes = frontend["routes"].as_object().into_iter().flatten();
        let mut rules: Vec<&str> = routes.filter_map(|(_, route)| route["rule"].as_str()).collect();
        rules.sort_unstable();
        let name = frontend["backend"].as_str().unwrap_or_default();
        let mut backend = provider["backends"][name].clone();
        // Servers are what they are, whatever they are called.
        let servers = backend["servers"].as_object().into_iter().flatten();
        let servers: BTreeMap<String, Value> = servers
            .map(|(_, s)| (s["url"].as_str().unwrap_or_default().to_owned(), s["weight"].clone()))
            .collect();
        if let Some(backend) = backend.as_object_mut() {
            backend.insert("servers".to_owned(), servers.into_iter().collect::<Map<_, _>>().into());
        }
        let mut whole = frontend.clone();
        if let Some(map) = whole.as_object_mut() {
            map.remove("routes");
            map.insert("backend".to_owned(), backend);
        }
        (rules.join(";"), whole)
    };
    frontends.map(pair).collect()
}

fn compare(path: &str, there: &Value, here: &Value, lines: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                compare(&format!("{path}: {key}"), &of(a), &of(b), lines);
            }
        }
        _ if there == here => {}
        (there, Value::Null) => lines.push(format!("{path} is {there} there, and not here")),
        (Value::Null, here) => lines.push(format!("{path} is {here} here, and not there")),
        _ => lines.push(format!("{path} is {there} there, and {here} here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn provider(name: &str, rule: &str, url: &str, weight: u32) -> Value {
        json!({"docker": {
            "backends": {"b": {"servers": {name: {"url": url, "weight": weight}}, "loadBalancer": {"method": "wrr"}}},
            "frontends": {name: {"backend": "b", "priority": 0, "routes": {name: {"rule": rule}}}},
        }})
    }

    #[test]
    fn names_may_differ_and_nothing_else() {
        let there = provider("a-0", "Host:a", "http://1:80", 1);
        assert_eq!(
            differences(&there, &provider("a", "Host:a", "http://1:80", 1)),
            Vec::<String>::new()
        );
        assert_eq!(
            differences(&there, &provider("a", "Host:a", "http://1:80", 2)),
            ["docker Host:a: backend: servers: http://1:80 is 1 there, and 2 here"]
        );
        assert_eq!(
            differences(&there, &provider("a", "Host:b", "http://1:80", 1)),
            ["docker Host:a is there, and not here", "docker Host:b is here, and not there"]
        );
    }
}
