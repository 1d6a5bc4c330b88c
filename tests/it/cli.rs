//! The command line as a user types it.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::harness::eventually;
use crate::harness::herder::{Answer, Herder};

fn herder(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
    command.args(args).output().expect("herder runs")
}

/// Runs it, and checks that what it says on standard error names these words.
#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let output = herder(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?} does not say {word:?}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_wrong_value_says_which_why_and_what_would_be_right() {
    refused(&["--http", "80a"], &["--http", "80a", ":8080"]);
    refused(&["--refresh", "often"], &["--refresh", "often", "60s"]);
    refused(
        &["--refresh", "1 2 3 4 5 x", "--docker", "--http", "127.0.0.1:0", "--admin=off"],
        &["cron", "60s"],
    );
    refused(&["--forwardedHeaders.trustedIPs", "10.0.0.0/99"], &["10.0.0.0/99", "10.0.0.0/8"]);
    refused(&["--docker.tls.ca", "x.pem", "--docker"], &["--docker.tls.key"]);
    refused(&["--hostTemplate", "{{nmae}}"], &["nmae", "service, stack and domain"]);
    refused(&["--log.level", "="], &["error, warn, info"]);
    refused(&["--dokcer"], &["--docker"]);
    refused(&["run", "-c", "/nowhere.toml"], &["/nowhere.toml", "there is no such file", "-c"]);
}

#[test]
fn nobody_to_ask_names_what_was_tried_and_the_demo() {
    let socket = "--docker.endpoint=unix:///nowhere/docker.sock";
    let metadata = "--rancher.metadata.url=http://127.0.0.1:1";
    refused(&["check", socket, metadata], &["/nowhere/docker.sock", "127.0.0.1:1", "herder demo"]);
}

#[test]
fn a_variable_of_the_catalog_is_read_and_a_wrong_one_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
    let output = command.env("CONF_INTERVAL", "soon").arg("check").output().expect("herder runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("CONF_INTERVAL") && said.contains("soon"), "{said}");
}

/// A worker takes some files before it serves. Without one its share of the connections would be reset.
#[test]
fn a_worker_that_cannot_start_ends_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, "").expect("written");
    let script = "ulimit -n 100; exec timeout 60 \"$0\" run \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_herder"), "--workers=32", "--admin=off"]);
    command.arg("--http=127.0.0.1:0").arg(format!("--file.filename={}", rules.display()));
    let output = command.output().expect("herder runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot start 32 workers; choose fewer with --workers"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn help_shows_every_command_and_the_defaults() {
    let help = String::from_utf8_lossy(&herder(&["--help"]).stdout).into_owned();
    assert!(help.contains("Usage: herder [COMMAND] [OPTIONS]"), "{help}");
    for command in [
        "run",
        "demo",
        "check",
        "config",
        "explain",
        "render",
        "healthcheck",
        "web-test",
        "version",
        "completions",
    ] {
        assert!(help.contains(command), "{command} is not in\n{help}");
    }
    let help = String::from_utf8_lossy(&herder(&["run", "--help"]).stdout).into_owned();
    for default in ["[default: :8080]", "[default: :8000]", "[default: 60s]", "--docker.domain"] {
        assert!(help.contains(default), "{default} is not in\n{help}");
    }
}

#[test]
fn the_help_of_healthcheck_says_where_it_looks() {
    let help = String::from_utf8_lossy(&herder(&["healthcheck", "--help"]).stdout).into_owned();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in ["where --admin or HERDER_ADMIN says", "It reads no settings file of its own"] {
        assert!(help.contains(said), "{said} is not in\n{help}");
    }
}

/// A Herder with a request under way whose server has not answered.
async fn at_work() -> (Herder, tokio::task::JoinHandle<Answer>, tokio::net::TcpStream) {
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = origin.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.toml");
    let text = format!(
        "[backends.b.servers.s]\nurl = \"http://{addr}\"\n\
         [frontends.f]\nbackend = \"b\"\n[frontends.f.routes.r]\nrule = \"Host:web.local\"\n"
    );
    std::fs::write(&rules, text).expect("written");
    let file = format!("--file.filename={}", rules.display());
    let herder = Herder::start(&["run", &file, "--lifeCycle.graceTimeOut=60s"]);
    eventually("it is routed", || async {
        herder.admin("/api/providers").await.body.contains("web.local")
    })
    .await;
    let request = tokio::spawn(herder.get("web.local", "/"));
    let (server, _) = origin.accept().await.expect("the request arrives");
    (herder, request, server)
}

/// Rules of one frontend with this host.
fn rules_for(host: &str) -> String {
    format!(
        "[backends.b.servers.s]\nurl = \"http://127.0.0.1:1\"\n\
         [frontends.f]\nbackend = \"b\"\n[frontends.f.routes.r]\nrule = \"Host:{host}\"\n"
    )
}

/// Whoever collects a container's log may stall, and the pipe is full then.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_neither_routes_nor_a_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, rules_for("first.local")).expect("written");
    let file = format!("--file.filename={}", rules.display());
    let mut herder = Herder::start_with_stalled_log(&["run", &file, "--file.watch"]);
    eventually("it is routed", || async {
        herder.admin("/api/providers").await.body.contains("first.local")
    })
    .await;
    std::fs::write(&rules, rules_for("second.local")).expect("written");
    eventually("the route follows its file", || async {
        herder.admin("/api/providers").await.body.contains("second.local")
    })
    .await;
    herder.signal("TERM");
    assert_eq!(herder.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_changed_by_whom_and_that_there_are_more_problems_than_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, rules_for("first.local")).expect("written");
    let file = format!("--file.filename={}", rules.display());
    let herder = Herder::start(&["run", &file, "--file.watch"]);
    let published = |revision: u64| {
        let log = herder.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["message"] == "published routes");
        lines.find(|line| line["revision"] == revision)
    };
    let told = |revision| async move { published(revision).is_some() };
    eventually("it is told", || told(1)).await;
    let first = published(1).expect("it is told");
    assert_eq!(
        (&first["by"], &first["what"]),
        (&json!("file"), &json!("+file/f, +file/b http://127.0.0.1:1"))
    );
    let wrong: String =
        (0..150).map(|n| format!("[frontends.wrong{n}]\nbackend = \"b\"\n")).collect();
    std::fs::write(&rules, rules_for("second.local") + &wrong).expect("written");
    eventually("it is told", || told(2)).await;
    let second = published(2).expect("it is told");
    assert_eq!((&second["frontends_changed"], &second["added"]), (&json!(1), &json!(0)));
    assert_eq!((&second["what"], &second["problems"]), (&json!("~file/f"), &json!(150)));
    eventually("that there are more", || async { herder.log().contains("\"more\":50") }).await;
}

#[test]
fn what_stands_in_the_way_of_a_start_is_told_after_what_came_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, "").expect("written");
    let rules = format!("--file.filename={}", rules.display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let http = format!("--http={}", taken.local_addr().expect("an address"));
    let output = herder(&["run", &rules, &http, "--admin=off", "--limits.connections=1000000"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.first().is_some_and(|line| line.contains("open files")), "{said}");
    assert!(lines.last().is_some_and(|line| line.starts_with("herder: ")), "{said}");
}

/// `herder explain | head`
#[test]
fn whoever_has_read_enough_has_not_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.toml");
    std::fs::write(&rules, rules_for("a.local")).expect("written");
    let file = format!("--file.filename={}", rules.display());
    for args in [
        &["explain", "http://a.local", &file][..],
        &["check", &file],
        &["config", &file],
        &["version"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
        let output = command.args(args).stdout(writer).output().expect("herder runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_stop_is_heard_while_it_is_asked_who_answers() {
    // It takes whoever connects, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("--rancher.metadata.url=http://{}", silent.local_addr().expect("an address"));
    let docker = "--docker.endpoint=unix:///nowhere/docker.sock";
    let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
    command.args(["run", docker, &url, "--http=127.0.0.1:0", "--admin=off"]);
    let mut herder = command.stderr(Stdio::null()).spawn().expect("herder starts");
    let _asked = silent.accept().expect("it is asked");
    let kill = Command::new("sh").args(["-c", &format!("kill {}", herder.id())]).status();
    assert!(kill.expect("a shell").success());
    assert_eq!(herder.wait().expect("it was started").code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_echo_of_a_stop_does_not_cut_its_grace() {
    let (mut herder, request, mut server) = at_work().await;
    // Of one kind the system might make one of two.
    herder.signals(&["TERM", "INT"]);
    eventually("it drains", || async { herder.log().contains("draining") }).await;
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("sent");
    assert_eq!(request.await.expect("no panic").status, 200);
    assert_eq!(herder.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stop_ends_the_wait_of_the_first() {
    let (mut herder, request, _server) = at_work().await;
    herder.signal("TERM");
    eventually("it drains", || async { herder.log().contains("draining") }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    herder.signal("TERM");
    assert_eq!(herder.wait().code(), Some(130));
    assert!(herder.log().contains("at the second signal"), "{}", herder.log());
    // It may hear of it yet.
    assert!([0, 503].contains(&request.await.expect("no panic").status));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_ends_nothing() {
    let (mut herder, request, mut server) = at_work().await;
    herder.signal("HUP");
    eventually("it is told", || async { herder.log().contains("SIGHUP reloads nothing") }).await;
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("sent");
    assert_eq!(request.await.expect("no panic").status, 200);
    herder.signal("TERM");
    assert_eq!(herder.wait().code(), Some(0));
}
