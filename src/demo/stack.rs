//! A Rancher stack from its two Compose files, as metadata.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::demo::metadata::Answers;

/// More containers than this are no demo.
const SCALE_MAX: u32 = 100;

/// A stack as its owner wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    name: String,
    services: Vec<StackService>,
}

/// One service of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct StackService {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How many containers it has.
    pub scale: u32,
    /// Its health check, in Rancher's words; null where it has none.
    pub health_check: Value,
}

/// A container, as the metadata shall tell of it.
#[derive(Clone, Debug)]
pub struct Container {
    /// The service it belongs to.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its address in the managed network.
    pub ip: Option<IpAddr>,
    /// `running`, `stopping`, `stopped` …
    pub state: String,
    /// `healthy`, `unhealthy`, `initializing` …; none where nobody checks.
    pub health_state: Option<String>,
}

/// A Compose file: version 1 has services at the top, version 2 under `services`.
#[derive(Deserialize)]
#[serde(untagged)]
enum File<T> {
    V2 { services: BTreeMap<String, T> },
    V1(BTreeMap<String, T>),
}

#[derive(Deserialize)]
struct DockerService {
    #[serde(default)]
    labels: Option<FileLabels>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileLabels {
    Map(BTreeMap<String, Value>),
    List(Vec<String>),
}

#[derive(Default, Deserialize)]
struct RancherService {
    scale: Option<u32>,
    health_check: Option<Value>,
}

impl Stack {
    /// Reads the two files of a stack.
    ///
    /// # Errors
    /// A sentence without a full stop that says which file cannot be read, and why.
    pub fn read(docker: &str, rancher: &str, name: &str) -> Result<Self, String> {
        let wrong =
            |file: &str, error: serde_saphyr::Error| format!("{file} cannot be read: {error}");
        let docker: File<DockerService> =
            serde_saphyr::from_str(docker).map_err(|e| wrong("docker-compose.yml", e))?;
        let rancher: File<RancherService> =
            serde_saphyr::from_str(rancher).map_err(|e| wrong("rancher-compose.yml", e))?;
        let mut rancher = rancher.services();
        let services = docker.services().into_iter().map(|(name, service)| {
            let more = rancher.remove(&name).unwrap_or_default();
            StackService {
                labels: service.labels.map(FileLabels::read).unwrap_or_default(),
                scale: more.scale.unwrap_or(1).min(SCALE_MAX),
                health_check: more.health_check.unwrap_or(Value::Null),
                name,
            }
        });
        Ok(Self { name: name.to_owned(), services: services.collect() })
    }

    /// Its services, by name.
    pub fn services(&self) -> &[StackService] {
        &self.services
    }

    /// The same, to be changed.
    pub fn services_mut(&mut self) -> &mut [StackService] {
        &mut self.services
    }

    /// The metadata of an environment that has this stack and these containers.
    pub fn answers(&self, containers: &[Container]) -> Answers {
        let services: Vec<Value> = (0_u32..)
            .zip(&self.services)
            .map(|(place, service)| self.service(place, service, containers))
            .collect();
        let all: Vec<&Value> =
            services.iter().filter_map(|s| s["containers"].as_array()).flatten().collect();
        let stack = json!({
            "name": self.name,
            "uuid": format!("stack-{}", self.name),
            "environment_name": "Default",
            "services": services,
        });
        let default = json!({
            "services": services,
            "containers": all,
            "stacks": [stack],
            "hosts": [],
            "environment_name": "Default",
        });
        Answers { default, by_client: BTreeMap::new() }
    }

    fn service(&self, place: u32, service: &StackService, containers: &[Container]) -> Value {
        let own = containers.iter().filter(|container| container.service == service.name);
        let own: Vec<Value> = own.map(|container| self.container(service, container)).collect();
        json!({
            "name": service.name,
            "stack_name": self.name,
            "uuid": format!("service-{}-{}", self.name, service.name),
            "kind": "service",
            "state": "active",
            "scale": service.scale,
            "labels": service.labels,
            "health_check": service.health_check,
            "create_index": place + 1,
            "containers": own,
        })
    }

    fn container(&self, service: &StackService, container: &Container) -> Value {
        json!({
            "name": container.name,
            "uuid": format!("container-{}", container.name),
            "service_name": service.name,
            "stack_name": self.name,
            "state": container.state,
            "health_state": container.health_state,
            "primary_ip": container.ip,
            "labels": service.labels,
            "ports": [],
        })
    }
}

impl<T> File<T> {
    fn services(self) -> BTreeMap<String, T> {
        match self {
            Self::V2 { services } | Self::V1(services) => services,
        }
    }
}

impl FileLabels {
    fn read(self) -> BTreeMap<String, String> {
        match self {
            Self::Map(map) => map
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(text) => (key, text),
                    other => (key, other.to_string()),
                })
                .collect(),
            Self::List(list) => list
                .iter()
                .map(|line| line.split_once('=').unwrap_or((line, "")))
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(docker: &str, rancher: &str) {
        let stack = Stack::read(docker, rancher, "proxy-test").expect("good files");
        let [service] = stack.services() else { panic!("{stack:?}") };
        assert_eq!((service.name.as_str(), service.scale), ("web-test", 3));
        assert_eq!(service.labels["traefik.port"], "8080");
        assert_eq!(service.health_check["interval"], 2000);
    }

    #[test]
    fn reads_files_of_both_versions() {
        let rancher = "web-test:\n  scale: 3\n  health_check: {port: 8080, interval: 2000}\n";
        check("web-test:\n  image: x\n  labels: {traefik.port: '8080'}\n  tty: true\n", rancher);
        check("web-test:\n  labels: [traefik.port=8080]\n", rancher);
        check(
            include_str!("../../compose/rancher/docker-compose.yml"),
            include_str!("../../compose/rancher/rancher-compose.yml"),
        );
    }

    #[test]
    fn says_which_file_is_wrong() {
        let why = Stack::read("a: [", "", "s").expect_err("not YAML");
        assert!(why.starts_with("docker-compose.yml"), "{why}");
    }
}
