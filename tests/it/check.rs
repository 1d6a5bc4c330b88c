//! `herder check`: files, formats, and a Traefik that runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::eventually;
use crate::harness::herder::Herder;

fn check(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
    command
        .arg("check")
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .output()
        .expect("herder runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const COMPOSE: &str = r#"
services:
  web:
    image: web
    labels:
      traefik.enable: "true"
      traefik.port: "80a"
      traefik.frontend.rule: "Hosst:web.local"
  api:
    labels:
      - traefik.prot=80
      - "traefik.frontend.redirect.regex=(?=x)"
  users:
    labels:
      - traefik.frontend.auth.basic.users=ann:$$apr1$$SZ$$G6
      - traefik.frontend.auth.basic.users=bob:$apr1$SZ$G6
  good:
    labels: ["traefik.frontend.rule=Host:good.local"]
"#;

const RULES: &str = "[backends.b.servers.s]\nurl = \"http://127.0.0.1:80\"\n[frontends.f]\nbackend = \"b\"\npriority = \"x\"\n[frontends.f.routes.r]\nrule = \"Host:a.local\"\n";

#[test]
fn files_are_looked_at_by_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write("docker-compose.yml", COMPOSE);
    write("rules.toml", RULES);
    write("traefik.toml", "logLevl = \"x\"\n[respondingTimeouts]\nidleTimeout = \"long\"\n");
    write("broken.toml", "a = \n");
    let output =
        check(folder.path(), &["docker-compose.yml", "rules.toml", "traefik.toml", "broken.toml"]);
    let said = stdout(&output);
    for line in [
        "error: docker-compose.yml:8:30: traefik.frontend.rule \"Hosst:web.local\" cannot be read",
        "warning: docker-compose.yml:11:9: traefik.prot is not a label we know. Did you mean traefik.port?",
        "error: docker-compose.yml:12:9: traefik.frontend.redirect.regex",
        "look-around",
        "warning: docker-compose.yml:16:9: traefik.frontend.auth.basic.users: Compose puts the variable apr1 in the place",
        "error: rules.toml:5:12: frontends.f.priority \"x\" is not a whole number",
        "warning: traefik.toml:1:11: logLevl is not a key we know",
        "error: traefik.toml:3:15: ",
        "error: broken.toml:1:5: The file cannot be read",
        "4 files; ",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("good") && !said.contains("doubled"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    write("rules.toml", &RULES.replace("priority = \"x\"\n", ""));
    assert_eq!(check(folder.path(), &["rules.toml"]).status.code(), Some(0));
    assert_eq!(check(folder.path(), &["gone.toml"]).status.code(), Some(2));
}

/// Files are looked at together, and as the start would: what would not open, whom nobody has, who claims what twice.
#[test]
fn a_folder_is_looked_at_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    fs::create_dir(folder.path().join("rules")).expect("a folder");
    write(
        "rules/a.toml",
        "[frontends.f]\nbackend = \"b\"\nentryPoints = [\"htp\"]\n[frontends.f.routes.r]\nrule = \"Host:a.local\"\n",
    );
    write(
        "rules/b.toml",
        "[backends.b.servers.s]\nurl = \"http://10.0.0.1:80\"\n[frontends.g]\nbackend = \"bb\"\n[frontends.g.routes.r]\nrule = \"Host:b.local\"\n",
    );
    write(
        "rules/t.toml",
        "[entryPoints.http]\naddress = \":80\"\n[entryPoints.https]\naddress = \":443\"\n[entryPoints.https.tls]\n",
    );
    std::os::unix::fs::symlink(".", folder.path().join("rules/again")).expect("linked");
    let said = stdout(&check(folder.path(), &["rules"]));
    for line in [
        "rules/a.toml:",
        "entry point \"htp\", which is not there. There is http, https.",
        "frontends.g.backend: there is no backend \"bb\"; it is not served. Did you mean \"b\"?",
        "The entry point https at :443 is not opened",
        "3 files; ",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    write(
        "shut.toml",
        "[entryPoints.http]\naddress = \":80\"\n[entryPoints.http.proxyProtocol]\ntrustedIPs = [\"10.0.0.0/8\"]\n",
    );
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    let output = check(folder.path(), &["rules", "empty"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nothing to check in empty: no file there is named *.toml"), "{said}");
    assert_eq!(output.status.code(), Some(2));
    let output = check(folder.path(), &["shut.toml"]);
    assert!(stdout(&output).contains("no entry point can be opened"), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn names_that_differ_only_in_case_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write(
        "rules.toml",
        "[backends.b.servers.s]\nurl = \"http://10.0.0.1:80\"\n[frontends.Shop]\nbackend = \"b\"\n[frontends.Shop.routes.r]\n\
         rule = \"Host:a.local\"\n[frontends.shop]\nbackend = \"b\"\n[frontends.shop.routes.r]\nrule = \"Host:b.local\"\n",
    );
    write("traefik.yml", "docker:\n  domain: a.local\nDocker:\n  domain: b.local\n");
    let output = check(folder.path(), &["."]);
    let said = stdout(&output);
    for line in [
        "error: rules.toml:7:1: frontends.shop is left out: it is there twice, differing only in case (Shop at 3:1).",
        "traefik.yml:4:3: Docker is left out: it is there twice, differing only in case (docker at 2:3).",
        "1 error, 1 warning",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert_eq!(output.status.code(), Some(1));
}

/// One thing that is wrong hides no other: not in its frontend, nor in its backend, nor in its container.
#[test]
fn everything_wrong_is_told_where_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write(
        "rules.toml",
        r#"[backends.b]
attempts = 0
[backends.b.servers.s]
url = "http://127.0.0.1:80"
[backends.b.healthCheck]
path = "/"
rise = 0
port = 70000
[backends.b.timeout]
response = "0s"
[backends.b.buffering]
maxRequestBodyBytes = -5
[backends.empty]
[frontends.f]
backend = "gone"
entryPoints = ["nope"]
priority = "x"
maintenanceExcept = ["1.2.3.4"]
[frontends.f.routes.one]
rule = "Hst:a.local"
[frontends.f.routes.two]
rule = "Pth:/"
[frontends.f.redirect]
entryPoint = "nowhere"
[frontends.f.errors.x]
status = ["500"]
backend = "missing"
[frontends.f.auth.basic]
users = ["bob:geheim", "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="]
"#,
    );
    let output = check(folder.path(), &["rules.toml", "--http=:80"]);
    let said = stdout(&output);
    for line in [
        "error: rules.toml:2:12: backends.b.attempts: 0 is not from 1 to 100; it is left out.",
        "error: rules.toml:7:8: backends.b.healthCheck.rise: 0 is not from 1 to 100",
        "error: rules.toml:8:8: backends.b.healthCheck.port \"70000\" is not a port",
        "error: rules.toml:10:12: backends.b.timeout.response: \"0s\" leaves no time at all",
        "error: rules.toml:12:23: backends.b.buffering.maxRequestBodyBytes: -5 is less than nothing",
        "warning: rules.toml:13:1: backends.empty has no servers",
        "error: rules.toml:15:11: frontends.f.backend: there is no backend \"gone\"",
        "error: rules.toml:16:15: frontends.f.entryPoints names the entry point \"nope\", which is not there. There is http.",
        "error: rules.toml:17:12: frontends.f.priority \"x\"",
        "error: rules.toml:18:21: frontends.f.maintenanceExcept: there is no maintenance",
        "error: rules.toml:20:8: frontends.f.routes.one.rule \"Hst:a.local\" cannot be read",
        "error: rules.toml:22:8: frontends.f.routes.two.rule \"Pth:/\" cannot be read",
        "error: rules.toml:24:14: frontends.f.redirect.entryPoint sends clients to the entry point \"nowhere\"",
        "error: rules.toml:25:1: frontends.f.errors.x.query is missing; what the servers answer stays as it is.",
        "error: rules.toml:27:11: frontends.f.errors.x.backend: there is no backend \"missing\"",
        "error: rules.toml:29:9: frontends.f.auth.basic.users has an entry number 1 (\"bob\") that lets nobody in: its password is in clear",
        "\n1 file; 15 errors, 1 warning, 0 notes\n",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("geheim"), "{said}");
    // Which entry points there are, nobody said.
    let said = stdout(&check(folder.path(), &["rules.toml"]));
    assert!(
        said.contains("warning: rules.toml:16:15: ") && said.contains("say --entryPoints"),
        "{said}"
    );
    write(
        "compose.yml",
        r#"services:
  web:
    labels:
      traefik.frontend.rule: "Hst:a.local"
      traefik.port: "80a"
      traefik.frontend.entryPoints: nope
      traefik.frontend.redirect.entryPoint: nowhere
      traefik.backend.attempts: "0"
      traefik.weight: "x"
      traefik.frontend.errors.x.backend: missing
      traefik.frontend.auth.basic.usersFile: /run/secrets/none
      Traefik.Enable: "true"
      Traefik.Domain: "${DOMAIN}"
"#,
    );
    let said = stdout(&check(folder.path(), &["compose.yml", "--http=:80"]));
    for line in [
        "error: compose.yml:4:30: traefik.frontend.rule \"Hst:a.local\"",
        "error: compose.yml:5:21: traefik.port \"80a\"",
        "error: compose.yml:6:37: traefik.frontend.entryPoints names the entry point \"nope\"",
        "error: compose.yml:7:45: traefik.frontend.redirect.entryPoint sends clients",
        "error: compose.yml:8:33: traefik.backend.attempts: 0 is not from 1 to 100",
        "error: compose.yml:9:23: traefik.weight \"x\"",
        "warning: compose.yml:12:23: Traefik.Enable is not a label we know. Did you mean traefik.enable?",
        "note: compose.yml:13:23: Traefik.Domain: what the variable DOMAIN holds is not known here",
        // Another project may have it.
        "note: compose.yml:11:46: The file /run/secrets/none cannot be read",
        "note: compose.yml:10:42: traefik.frontend.errors.x.backend: there is no backend \"missing\"",
        "error: compose.yml:10:42: traefik.frontend.errors.x.status names no status",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}

/// Compose has labels below `deploy` on Swarm's service, where nobody looks; one without a value has an empty one.
#[test]
fn only_labels_of_containers_are_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = r#"services:
  web:
    image: web
    labels:
      - traefik.port=80
      - traefik.enabel
    deploy:
      labels:
        traefik.port: "80a"
        com.example: "a"
  quiet:
    image: quiet
    labels: {traefik.port: "80"}
    deploy:
      labels: ["com.example=a"]
"#;
    fs::write(folder.path().join("compose.yml"), text).expect("written");
    let said = stdout(&check(folder.path(), &["compose.yml"]));
    for line in [
        "warning: compose.yml:9:23: traefik.port is below deploy: Compose puts these labels on no container, and nobody reads \
         them. Write them under labels.",
        "warning: compose.yml:6:9: traefik.enabel is not a label we know.",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("80a") && !said.contains("com.example"), "{said}");
    assert_eq!(said.matches("below deploy").count(), 1, "{said}");
}

/// What is said of Docker is for nothing where a file was named, and Docker was not.
#[test]
fn settings_that_nobody_reads_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = RULES.replace("priority = \"x\"\n", "");
    fs::write(folder.path().join("rules.toml"), rules).expect("written");
    let args =
        ["--file.filename=rules.toml", "--docker.domain=local", "--docker.endpoint=unix:///x"];
    let output = check(folder.path(), &args);
    let said = stdout(&output);
    let line = "Docker is not used, since other providers are named, and nobody reads docker.endpoint, docker.domain. \
                Say --docker to use it too.";
    assert!(said.contains(line), "{said}");
    let mut explain = Command::new(env!("CARGO_BIN_EXE_herder"));
    let output =
        explain.arg("explain").args(args).arg("http://a.local/").current_dir(folder.path());
    let output = output.output().expect("herder runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains(line), "explain says it, too");
    let output = check(folder.path(), &[&args[..], &["--strict"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains(line), "it is refused");
}

/// A file of users is read as `run` reads it: one that is not there closes its frontend, and so it is told.
#[test]
fn files_of_users_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    let users = folder.path().join("users");
    let rules = format!(
        "{}[frontends.f.auth.basic]\nusersFile = \"{}\"\n",
        RULES.replace("priority = \"x\"\n", ""),
        users.display()
    );
    write("rules.toml", &rules);
    let missing =
        format!("error: rules.toml:8:13: The file {} cannot be read: No such", users.display());
    for args in [&["rules.toml"][..], &["--file.filename=rules.toml"]] {
        let output = check(folder.path(), args);
        assert!(stdout(&output).contains(&missing), "{missing} is not in\n{}", stdout(&output));
        assert_eq!(output.status.code(), Some(1));
    }
    write("users", "# ours\nbob:geheim\nann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n");
    let said = stdout(&check(folder.path(), &["rules.toml"]));
    assert!(
        said.contains("Line 2 of the file ") && said.contains("(\"bob\") lets nobody in"),
        "{said}"
    );
    assert!(!said.contains("geheim") && !said.contains("Line 3"), "{said}");
    write("users", "# nobody\n");
    let said = stdout(&check(folder.path(), &["rules.toml"]));
    assert!(said.contains("there is no user in the file"), "{said}");
    // The file of a label is where Herder runs, which may be elsewhere.
    let label = "services:\n  web:\n    labels:\n    - traefik.frontend.auth.basic.usersFile=/run/secrets/none\n";
    write("compose.yml", label);
    let output = check(folder.path(), &["compose.yml"]);
    assert!(
        stdout(&output).contains("note: compose.yml:4:7: The file /run/secrets/none"),
        "{}",
        stdout(&output)
    );
    assert_eq!(output.status.code(), Some(0));
    // So are those of entry points.
    let settings = "[entryPoints.http]\naddress = \":80\"\n[entryPoints.http.auth.basic]\nusersFile = \"/run/secrets/none\"\n";
    write(
        "traefik.toml",
        &format!("defaultEntryPoints = [\"htp\"]\n{settings}[docker.tls]\nca = \"x\"\n"),
    );
    let said = stdout(&check(folder.path(), &["traefik.toml"]));
    for line in [
        "error: traefik.toml:1:22: defaultEntryPoints names \"htp\", which is no entry point; there is http.",
        "error: traefik.toml:7:6: --docker.tls.ca, --docker.tls.cert and --docker.tls.key go together",
        "error: traefik.toml:5:13: auth.basic.usersFile of the entry point http",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    write("traefik.toml", settings);
    let said = stdout(&check(folder.path(), &["traefik.toml"]));
    let line = "error: traefik.toml:4:13: auth.basic.usersFile of the entry point http at :80 names the file";
    assert!(said.contains(line), "{line} is not in\n{said}");
}

/// What is wrong with one file hides nothing of the others, and says which.
#[test]
fn a_file_that_is_not_there_or_empty_hides_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write("rules.toml", RULES);
    write("empty.toml", "# moved to rules.toml\n");
    write("settings.toml", &format!("logLevel = \"INFO\"\n{RULES}"));
    write("elsewhere.toml", &format!("[file]\nfilename = \"rules.toml\"\n{RULES}"));
    write("slip.toml", &RULES.replace("[frontends.f.", "[frontend.f."));
    let all =
        ["gone.toml", "rules.toml", "empty.toml", "settings.toml", "elsewhere.toml", "slip.toml"];
    let output = check(folder.path(), &all);
    let said = stdout(&output);
    for line in [
        "error: gone.toml:1:1: It cannot be read: No such file",
        "error: rules.toml:5:12: ",
        "warning: empty.toml:1:1: There is nothing in this file",
        "warning: settings.toml:4:2: frontends is left out: rules beside settings are read where a line says [file].",
        "warning: elsewhere.toml:5:2: frontends is left out: rules are read from what [file] names.",
        "slip.toml:6:2: frontend is not a key we know",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("slip.toml:3:2: frontends is left out"), "{said}");
    assert_eq!(output.status.code(), Some(2));
    write("file.toml", &format!("[file]\n{RULES}"));
    let said = stdout(&check(folder.path(), &["file.toml"]));
    assert!(!said.contains("frontends is left out"), "{said}");
}

/// A URL is asked for where it would come in, and what is in its way is said.
#[test]
fn a_request_is_explained_where_it_comes_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "defaultEntryPoints = [\"https\"]\n[entryPoints.http]\naddress = \":81\"\n[entryPoints.https]\naddress = \":443\"\n\
        [entryPoints.https.tls]\n[file]\n[backends.b.servers.s]\nurl = \"http://10.0.0.1:80\"\n[frontends.h]\nbackend = \"b\"\n\
        entryPoints = [\"http\"]\n[frontends.h.auth.basic]\nusers = [\"a:b\"]\n[frontends.h.routes.r]\nrule = \"Host:h.local\"\n\
        [frontends.f]\nbackend = \"b\"\n[frontends.f.routes.r]\nrule = \"Host:f.local\"\n\
        [frontends.o]\nbackend = \"b\"\nentryPoints = [\"http\"]\n[frontends.o.routes.r]\nrule = \"Host:o.local\"\n\
        [frontends.x]\nbackend = \"b\"\n[frontends.x.routes.r]\nrule = \"Host:x.local;Pth:/a\"\n";
    fs::write(folder.path().join("traefik.toml"), text).expect("written");
    let explain = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
        let output = command
            .args(["explain", url])
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .output();
        let output = output.expect("herder runs");
        (stdout(&output) + &String::from_utf8_lossy(&output.stderr), output.status.code())
    };
    for (url, word, code) in [
        ("http://h.local/", "at the entry point http", 1),
        (
            "http://h.local/",
            "closed, because of frontends.h.auth.basic.users: the client gets 503",
            1,
        ),
        ("http://f.local/", "It is only at the entry point https.", 1),
        ("http://x.local/", "\"Pth\" is not a matcher", 1),
        ("http://o.local/", "its backend b has one server", 0),
        ("https://f.local/", "https is not served yet", 2),
    ] {
        let (said, with) = explain(url);
        assert!(said.contains(word) && with == Some(code), "{with:?}, {word} is not in\n{said}");
    }
    // The steps of the entry point go before all frontends.
    let leading = text.replacen(
        "address = \":81\"\n",
        "address = \":81\"\n[entryPoints.http.redirect]\nregex = \"^http:\"\nreplacement = \"https:\"\n",
        1,
    );
    fs::write(folder.path().join("traefik.toml"), leading).expect("written");
    for host in ["h.local", "nobody.local"] {
        let (said, _) = explain(&format!("http://{host}/"));
        let answer = format!("the client gets 302 to https://{host}/");
        assert!(
            said.contains("The entry point http answers it itself: ") && said.contains(&answer),
            "{said}"
        );
    }
}

#[test]
fn sarif_has_the_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("rules.toml"), RULES).expect("written");
    let output = check(folder.path(), &["rules.toml", "--format", "sarif"]);
    let sarif: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["level"], "error");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "rules.toml");
    assert_eq!(
        (&place["region"]["startLine"], &place["region"]["startColumn"]),
        (&5.into(), &12.into())
    );
    let output = check(folder.path(), &["rules.toml", "--format", "json"]);
    let json: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(json["problems"][0]["line"], 5);
}

/// What runs answers `/api/providers` as Traefik 1.7 does.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_differ_from_what_runs_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = RULES.replace("priority = \"x\"\n", "");
    let path = folder.path().join("rules.toml");
    fs::write(&path, &good).expect("written");
    let flag = format!("--file.filename={}", path.display());
    let old = Herder::start(&["run", &flag, "--file.watch=false"]);
    eventually("it knows", || async { old.admin("/api").await.body.contains("a.local") }).await;
    let against = format!("http://{}", old.admin);
    let args = [flag.as_str(), "--against", &against];
    let output = check(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    fs::write(
        &path,
        good.replace(":80\"", ":81\"")
            + "[frontends.g]\nbackend = \"b\"\n[frontends.g.routes.r]\nrule = \"Host:new.local\"\n",
    )
    .expect("written");
    let output = check(folder.path(), &args);
    let said = stdout(&output);
    for line in [
        "differs: file Host:a.local: backend: servers: http://127.0.0.1:80 is 0 there, and not here",
        "differs: file Host:a.local: backend: servers: http://127.0.0.1:81 is 0 here, and not there",
        "differs: file Host:new.local is here, and not there",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert_eq!(output.status.code(), Some(1));
    let output = check(folder.path(), &[flag.as_str(), "--against", &against, "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let results = json["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 3, "{json:#}");
    assert_eq!(
        results[2]["message"]["text"],
        "differs: file Host:new.local is here, and not there"
    );
    drop(old);
    assert_eq!(check(folder.path(), &args).status.code(), Some(2));
}
