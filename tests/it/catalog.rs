//! The catalog entry, the compose files, the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Value, json};

use crate::harness::compose::{Image, Project, output, run, script};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The names of a mapping's keys.
fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

// ---- the catalog entry -----------------------------------------------------------------------------------------

/// Variable, type, default of each question.
fn questions() -> BTreeMap<String, (String, Value)> {
    let entry = yaml("catalog/herder/0/rancher-compose.yml");
    let questions = entry["catalog"]["questions"].as_array().expect("questions").clone();
    let row = |q: &Value| {
        for key in ["label", "description", "required"] {
            assert!(!q[key].is_null(), "{key} is missing in {q}");
        }
        let text = |key: &str| q[key].as_str().unwrap_or_else(|| panic!("{key} in {q}")).to_owned();
        (text("variable"), (text("type"), q["default"].clone()))
    };
    questions.iter().map(row).collect()
}

#[test]
fn the_catalog_asks_what_traefiks_entry_asked() {
    let expected = [
        ("http_port", "int", json!(8080)),
        ("https_port", "int", json!(8443)),
        ("admin_port", "int", json!(8000)),
        ("refresh_interval", "int", json!(60)),
        ("domain", "string", json!("")),
        ("host_label", "string", json!("traefik_lb=true")),
    ];
    let expected =
        expected.map(|(name, kind, default)| (name.to_owned(), (kind.to_owned(), default)));
    assert_eq!(questions(), BTreeMap::from(expected));
}

#[test]
fn each_variable_is_asked_for_and_each_answer_used() {
    let variable = Regex::new(r"\$\{(\w+)\}").expect("a pattern");
    let folder = "catalog/herder/0";
    let both = text(&format!("{folder}/docker-compose.yml"))
        + &text(&format!("{folder}/rancher-compose.yml"));
    let used: BTreeSet<String> = variable.captures_iter(&both).map(|c| c[1].to_owned()).collect();
    assert_eq!(used, questions().into_keys().collect());
}

#[test]
fn the_entry_runs_everywhere_it_should_and_is_checked() {
    let compose = yaml("catalog/herder/0/docker-compose.yml");
    let service = &compose["services"]["herder"];
    assert_eq!(service["labels"]["io.rancher.scheduler.global"], "true");
    assert_eq!(service["labels"]["io.rancher.scheduler.affinity:host_label"], "${host_label}");
    let environment = &service["environment"];
    assert_eq!(environment["TRAEFIK_HTTP_PORT"], "${http_port}");
    assert_eq!(environment["TRAEFIK_HTTPS_PORT"], "${https_port}");
    assert_eq!(environment["TRAEFIK_ADMIN_PORT"], "${admin_port}");
    assert_eq!(environment["CONF_INTERVAL"], "${refresh_interval}");
    assert_eq!(
        service["ports"],
        json!(["${http_port}:${http_port}/tcp", "${admin_port}:${admin_port}/tcp"])
    );

    let rancher = yaml("catalog/herder/0/rancher-compose.yml");
    assert_eq!(keys(&rancher["services"]), keys(&compose["services"]));
    let check = &rancher["services"]["herder"]["health_check"];
    assert_eq!(check["port"], "${admin_port}");
    assert_eq!(check["request_line"], r#"GET "/ping" "HTTP/1.0""#);
    for (key, expected) in [
        ("interval", 5000),
        ("response_timeout", 5000),
        ("healthy_threshold", 2),
        ("unhealthy_threshold", 3),
    ] {
        assert_eq!(check[key], expected, "{key}");
    }
}

#[test]
fn versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(yaml("catalog/herder/config.yml")["version"], version);
    let entry = yaml("catalog/herder/0/rancher-compose.yml");
    assert_eq!(entry["catalog"]["version"], version);
    let image = format!("herder:{version}");
    assert_eq!(yaml("catalog/herder/0/docker-compose.yml")["services"]["herder"]["image"], image);
    assert_eq!(yaml("compose/rancher/docker-compose.yml")["services"]["web-test"]["image"], image);
    let changes = text("CHANGELOG.md");
    assert!(
        changes.contains(&format!("## [{version}]")),
        "CHANGELOG.md has no entry for {version}"
    );
}

#[test]
fn the_entry_has_a_name_and_an_icon() {
    let config = yaml("catalog/herder/config.yml");
    for key in ["name", "description", "category"] {
        assert!(config[key].is_string(), "{key} is missing in config.yml");
    }
    let icon = text("catalog/herder/catalogIcon-herder.svg");
    assert!(icon.starts_with("<svg") && icon.trim_end().ends_with("</svg>"));
    for outside in ["href", "<script", "url("] {
        assert!(!icon.contains(outside), "the icon loads or runs something: {outside}");
    }
}

// ---- the compose files -----------------------------------------------------------------------------------------

#[test]
fn the_rancher_stack_is_the_articles() {
    let compose = yaml("compose/rancher/docker-compose.yml");
    let labels = &compose["services"]["web-test"]["labels"];
    assert_eq!(labels["traefik.enable"], "true");
    assert_eq!(labels["traefik.domain"], "local");
    assert_eq!(labels["traefik.port"], "8080");
    assert_eq!(labels["io.rancher.container.hostname_override"], "container_name");

    let rancher = yaml("compose/rancher/rancher-compose.yml");
    let expected = json!({
        "scale": 3,
        "health_check": {
            "port": 8080,
            "interval": 2000,
            "initializing_timeout": 60000,
            "unhealthy_threshold": 3,
            "strategy": "recreate",
            "response_timeout": 2000,
            "request_line": r#"GET "/" "HTTP/1.0""#,
            "healthy_threshold": 2,
        },
    });
    assert_eq!(rancher["services"]["web-test"], expected);
}

#[test]
fn docker_compose_takes_the_files() {
    for file in ["compose/docker/docker-compose.yml", "compose/rancher/docker-compose.yml"] {
        let path = root().join(file);
        run(Command::new("docker-compose").arg("-f").arg(&path).args(["config", "--quiet"]));
    }
}

#[test]
fn the_quickstart_gives_away_no_more_than_it_must() {
    let compose = yaml("compose/docker/docker-compose.yml");
    assert_eq!(keys(&compose["services"]), BTreeSet::from(["herder", "web-test"]));
    let herder = &compose["services"]["herder"];
    assert_eq!(herder["cap_drop"], json!(["ALL"]));
    assert_eq!(herder["read_only"], true);
    // Kept bodies have a place all the same.
    assert_eq!(herder["tmpfs"], json!(["/tmp"]));
    let entry = &yaml("catalog/herder/0/docker-compose.yml")["services"]["herder"];
    assert_eq!((&entry["read_only"], &entry["tmpfs"]), (&json!(true), &json!(["/tmp"])));
    let sockets = herder["volumes"].as_array().expect("volumes");
    assert!(sockets.iter().all(|volume| volume.as_str().is_some_and(|v| v.ends_with(":ro"))));
    let ports = herder["ports"].as_array().expect("ports");
    let admin = ports.iter().filter_map(Value::as_str).find(|port| port.ends_with(":8000"));
    assert!(admin.is_some_and(|port| port.starts_with("127.0.0.1:")), "{admin:?}");
}

// ---- the image -------------------------------------------------------------------------------------------------

/// How long anything in Docker may take here before the test gives up.
const DEADLINE: Duration = Duration::from_secs(90);

/// A container, removed at the end.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.0]).output();
    }
}

#[track_caller]
fn docker(arguments: &[&str]) -> String {
    run(Command::new("docker").args(arguments))
}

#[track_caller]
fn inspect(what: &str, name: &str, path: &str) -> Value {
    let format = format!("{{{{json {path}}}}}");
    serde_json::from_str(&docker(&[what, "inspect", "--format", &format, name])).expect("JSON")
}

/// Asks again until it holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {} s: {what}", DEADLINE.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn becomes(container: &str, health: &str) {
    let what = format!("{container} becomes {health}");
    eventually(&what, || inspect("container", container, ".State.Health.Status") == health).await;
}

/// Sends a request to port 8080 of a container and gives the whole answer.
#[track_caller]
fn ask(container: &str, method: &str, path: &str) -> String {
    let networks = inspect("container", container, ".NetworkSettings.Networks");
    let mut addresses = networks.as_object().expect("networks").values();
    let ip = addresses.next().and_then(|n| n["IPAddress"].as_str()).expect("an address").to_owned();
    let mut stream = TcpStream::connect((ip.as_str(), 8080)).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn the_dockerfile_builds_with_the_pinned_compiler() {
    let dockerfile = text("Dockerfile");
    let pinned = text("rust-toolchain.toml");
    let version = Regex::new(r#"channel = "([\d.]+)""#).expect("a pattern");
    let version = &version.captures(&pinned).expect("a pinned version")[1];
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "not built with {version}");
    assert_eq!(dockerfile.matches("\nFROM scratch\n").count(), 1);
    let last = dockerfile.split("\nFROM scratch\n").nth(1).expect("a last stage");
    assert_eq!(last.matches("COPY --from=build ").count(), 2, "the script replaces these two");
}

#[tokio::test]
async fn the_image_is_one_binary_for_nobody_and_checks_itself() {
    let image = Image::build("self");
    let config = inspect("image", &image.0, ".Config");
    assert_eq!(config["Entrypoint"], json!(["/herder"]));
    assert_eq!(config["User"], "10001:10001");
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/herder", "healthcheck"]));
    assert_eq!(keys(&config["ExposedPorts"]), BTreeSet::from(["8000/tcp", "8080/tcp"]));
    assert_eq!(inspect("image", &image.0, ".RootFS.Layers").as_array().map(Vec::len), Some(2));
    assert!(docker(&["run", "--rm", &image.0, "version"]).contains("static"));

    // The test service answers every path, so on the admin's port it answers the image's own check as Herder does.
    let started = ["run", "-d", "--read-only", "--cap-drop", "ALL", "--network", "none", &image.0];
    let id = docker(&[&started[..], &["web-test", "--http", ":8000"]].concat());
    let container = Container(id);
    becomes(&container.0, "healthy").await;
    let user = docker(&["top", &container.0, "-o", "pid,uid"]);
    assert!(user.lines().nth(1).is_some_and(|row| row.ends_with(" 10001")), "{user}");
    // Whoever it runs as may write there, be it only a tmpfs in its place: that takes the mode.
    let look = r#"docker cp "$0:/tmp" - | tar -tv --numeric-owner"#;
    let tmp = run(Command::new("sh").args(["-c", look, &container.0]));
    assert!(tmp.starts_with("drwxrwxrwt 0/0 "), "{tmp}");
    docker(&["stop", &container.0]);
    // 137 would be a kill after ten seconds.
    assert_eq!(inspect("container", &container.0, ".State.ExitCode"), 0);
}

#[tokio::test]
async fn three_web_tests_start_turn_healthy_and_ill_and_stop_at_once() {
    let image = Image::build("compose");
    let project = Project::new(&image);
    run(&mut project.compose(&["up", "-d", "--scale", "web-test=3", "web-test"]));
    let ids = run(&mut project.compose(&["ps", "-q", "web-test"]));
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 3);
    for id in &ids {
        becomes(id, "healthy").await;
        let name = inspect("container", id, ".Config.Hostname");
        let answer = ask(id, "GET", "/");
        let expected = format!("Real-Server: {}\n", name.as_str().expect("a host name"));
        assert!(answer.contains(&expected), "no {expected} in {answer}");
    }
    let switched = ask(ids[0], "POST", "/health/fail");
    assert!(switched.starts_with("HTTP/1.1 200"), "{switched}");
    becomes(ids[0], "unhealthy").await;
    assert!(ask(ids[0], "GET", "/").starts_with("HTTP/1.1 200"), "only /health fails");
    ask(ids[0], "PUT", "/health/pass");
    becomes(ids[0], "healthy").await;
    docker(&["stop", ids[0]]);
    assert_eq!(inspect("container", ids[0], ".State.ExitCode"), 0);
}

#[test]
fn the_image_script_refuses_a_binary_that_is_not_static() {
    let name = format!("herder-catalog-dynamic-{}", std::process::id());
    let output = output(&mut script(&name, Path::new("/bin/sh")));
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("does not run in an empty image"), "{stderr}");
    assert_eq!(docker(&["images", "-q", &name]), "");
}
