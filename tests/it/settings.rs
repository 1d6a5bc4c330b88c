//! Settings from files, flags and variables: Traefik 1.7's own, in their order.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use herder::demo::web_test::WebTest;

use crate::harness::eventually;
use crate::harness::herder::Herder;

fn herder(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
    command.args(args).current_dir(dir).env("HOME", dir);
    command.envs(variables.iter().copied()).output().expect("herder runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address").port()
}

const ARTICLE: &str = r#"
debug = false
logLevel = "ERROR"
defaultEntryPoints = ["http"]

[entryPoints]
  [entryPoints.http]
  address = "127.0.0.1:HTTP"
  [entryPoints.second]
  address = "127.0.0.1:SECOND"

[traefikLog]
  filePath = "log/traefik.log"
  format   = "json"

[accessLog]
  filePath = "ACCESSLOG"
  format = "json"

[web]
address = "127.0.0.1:ADMIN"

[file]
watch = true

[backends.trend.servers.one]
url = "http://SERVER"
weight = 10

[frontends.trend]
backend = "trend"
[frontends.trend.routes.any]
rule = "PathPrefixStrip:/trend"

[frontends.second]
backend = "trend"
entryPoints = ["second"]
[frontends.second.routes.any]
rule = "Path:/second"

[frontends.nowhere]
backend = "trend"
entryPoints = ["thrid"]
[frontends.nowhere.routes.any]
rule = "Path:/nowhere"
"#;

/// `./traefik --c traefik.toml`, as the article has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_articles_file_is_served_as_it_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), "one").expect("bound");
    let server = web.local_addr();
    tokio::spawn(web.run(std::future::pending()));
    let second = free_port();
    let text = ARTICLE
        .replace("SERVER", &server.to_string())
        .replace("127.0.0.1:HTTP", "127.0.0.1:0")
        .replace("127.0.0.1:ADMIN", "127.0.0.1:0")
        .replace("SECOND", &second.to_string())
        .replace("ACCESSLOG", &dir.path().join("log/access.log").display().to_string());
    let path = dir.path().join("traefik.toml");
    fs::write(&path, &text).expect("written");
    let path_flag = path.display().to_string();
    // The harness adds its own ports, log level and format.
    let herder = Herder::start(&["--c", &path_flag, "--log.level=info"]);
    eventually("it serves", || async { herder.get("a", "/trend/x").await.status == 200 }).await;
    let answer = herder.get("a", "/trend/x").await;
    assert!(answer.body.contains("GET /x HTTP/1.1"), "{}", answer.body);
    // Each frontend is at its own entry point.
    assert_eq!(herder.get("a", "/second").await.status, 404);
    let other = reqwest::Client::builder().no_proxy().build().expect("a client");
    let ask = |path: &str| other.get(format!("http://127.0.0.1:{second}{path}")).send();
    assert_eq!(ask("/second").await.expect("an answer").status(), 200);
    assert_eq!(ask("/trend/x").await.expect("an answer").status(), 404);
    let problems = herder.admin("/api/problems").await.body;
    assert!(problems.contains("entry point \\\"thrid\\\", which is not there"), "{problems}");
    let api = herder.admin("/api/providers/file/frontends/trend").await.json();
    assert_eq!(api["entryPoints"], serde_json::json!(["http"]));
    // Its rules are watched; the settings around them are not.
    fs::write(&path, text.replace("/trend", "/other")).expect("written");
    eventually("the new rule serves", || async { herder.get("a", "/other/x").await.status == 200 })
        .await;
    let is_logged = || async {
        let text = fs::read_to_string(dir.path().join("log/access.log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let mut paths = lines.map(|line: serde_json::Value| line["RequestPath"].clone());
        paths.any(|path| path == "/trend/x")
    };
    eventually("requests are logged", is_logged).await;
}

#[test]
fn a_flag_goes_before_a_variable_and_that_before_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "[docker]\ndomain = \"file\"\nnetwork = \"file\"\n[rancher]\ndomain = \"file\"\n";
    fs::write(dir.path().join("traefik.toml"), text).expect("written");
    let variables = [
        ("HERDER_DOCKER_DOMAIN", "variable"),
        ("HERDER_DOCKER_NETWORK", "variable"),
        ("TRAEFIK_RANCHER_DOMAIN", "catalog"),
    ];
    let output = herder(dir.path(), &["config", "--json", "--DOCKER.DOMAIN=flag"], &variables);
    let said: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let row = |name: &str| {
        (said["settings"][name]["value"].clone(), said["settings"][name]["origin"].clone())
    };
    assert_eq!(row("docker.domain"), ("flag".into(), "--docker.domain".into()));
    assert_eq!(row("docker.network"), ("variable".into(), "HERDER_DOCKER_NETWORK".into()));
    assert_eq!(row("rancher.domain"), ("catalog".into(), "TRAEFIK_RANCHER_DOMAIN".into()));
    assert_eq!(row("docker").1, "./traefik.toml:1:1");
    assert_eq!(
        row("entryPoints").0,
        "Name:http Address::80",
        "as Traefik where a file says nothing"
    );
    assert_eq!(row("workers").1, "default");
}

#[test]
fn yaml_says_the_same_as_toml() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write(
        "a.toml",
        "logLevel = \"WARN\"\nconstraints = [\"tag==a\", \"tag!=b\"]\n[entryPoints.http]\naddress = \":81\"\n[docker]\ndomain = \"d\"\n",
    );
    write(
        "a.yml",
        "logLevel: WARN\nconstraints: [tag==a, \"tag!=b\"]\nentryPoints:\n  http:\n    address: \":81\"\ndocker: {domain: d}\n",
    );
    let values = |name: &str| {
        let output = herder(dir.path(), &["config", "--json", "-c", name], &[]);
        let said: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let settings = said["settings"].as_object().expect("settings").iter();
        settings
            .filter(|(key, _)| *key != "configFile")
            .map(|(k, v)| format!("{k}={}", v["value"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(values("a.toml"), values("a.yml"));
    assert!(values("a.toml").contains(&"log.level=\"warn\"".to_owned()));
    assert!(values("a.toml").contains(&"constraints=\"tag==a,tag!=b\"".to_owned()));
}

/// What YAML calls nothing is an empty table where a table belongs, and nothing else.
#[test]
fn a_table_of_yaml_may_be_empty() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write(
        "a.toml",
        "[file]\n[docker]\n[rancher]\n[accessLog]\n[web]\n[metrics.prometheus]\n[ping]\n",
    );
    write(
        "a.yml",
        "file:\ndocker:\nrancher: ~\naccessLog:\nweb:\nmetrics:\n  prometheus:\nping: null\n",
    );
    let said = |name: &str| {
        let output = herder(dir.path(), &["config", "--json", "-c", name], &[]);
        let said: serde_json::Value = serde_json::from_str(&stdout(&output))
            .unwrap_or_else(|_| panic!("{}", stderr(&output)));
        let settings = said["settings"].as_object().expect("settings").iter();
        let settings = settings.filter(|(key, _)| *key != "configFile");
        let values: Vec<_> = settings.map(|(k, v)| format!("{k}={}", v["value"])).collect();
        (values, said["warnings"].clone())
    };
    assert_eq!(said("a.yml"), said("a.toml"));
    let (values, _) = said("a.yml");
    for value in ["docker=\"true\"", "rancher=\"true\"", "accessLog=\"true\"", "admin=\":8080\""] {
        assert!(values.contains(&value.to_owned()), "{value}: {values:?}");
    }
    // Rules are read from the file itself, and there are none.
    let rules = "file:\nentryPoints: {http: {address: \"127.0.0.1:0\"}}\nfrontends:\n  f:\n    backend: b\n";
    write("rules.yml", rules);
    let explained = stdout(&herder(dir.path(), &["explain", "-c", "rules.yml", "http://a/"], &[]));
    assert!(explained.contains("frontends.f"), "{explained}");
    write("wrong.yml", "admin:\n");
    let output = herder(dir.path(), &["config", "-c", "wrong.yml"], &[]);
    assert!(stderr(&output).contains("wrong.yml:1:"), "{}", stderr(&output));
}

#[test]
fn what_is_not_acted_on_is_said_or_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "acme = {}\nlogLevl = \"INFO\"\nsendAnonymousUsage = true\n[file]\n[entryPoints.a]\naddress = \":0\"\n[entryPoints.b]\naddress = \":0\"\n[entryPoints.b.tls]\n";
    fs::write(dir.path().join("t.toml"), text).expect("written");
    let output = herder(dir.path(), &["check", "-c", "t.toml"], &[]);
    let said = stdout(&output);
    for word in [
        "t.toml:1:8: acme is left out",
        "Did you mean logLevel?",
        "entry point b at :0 is not opened",
        "defaultEntryPoints names \"http\"",
    ] {
        assert!(said.contains(word), "{word}: {said}{}", stderr(&output));
    }
    assert_eq!(output.status.code(), Some(1));
    let strict = "[file]\n[entryPoints.http]\naddress = \":0\"\n[entryPoints.b]\naddress = \":0\"\n[entryPoints.b.tls]\n";
    fs::write(dir.path().join("s.toml"), strict).expect("written");
    let output = herder(dir.path(), &["run", "-c", "s.toml", "--strict", "--admin=off"], &[]);
    assert!(stderr(&output).contains("entry point b at :0 is not opened"), "{}", stderr(&output));
    let output = herder(dir.path(), &["check", "-c", "t.toml", "--strict"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("logLevl"), "{}", stderr(&output));
    // What is off is not missed.
    for (flag, status) in [("--docker.swarmMode=false", 0), ("--docker.swarmMode", 2)] {
        let output = herder(dir.path(), &["config", "--strict", flag], &[]);
        assert_eq!(output.status.code(), Some(status), "{flag}: {}", stderr(&output));
    }
}

/// What is wanted because of where it is written is shown as wanted.
#[test]
fn an_access_log_with_a_path_is_in_force() {
    let dir = tempfile::tempdir().expect("a directory");
    for (flags, value) in [
        (&["config"][..], "false"),
        (&["config", "--accessLog.filePath=log"], "true"),
        (&["config", "--accessLog.filePath=log", "--accessLog=false"], "false"),
    ] {
        let said = stdout(&herder(dir.path(), flags, &[]));
        let row = said.lines().find(|line| line.starts_with("accessLog "));
        let shown = row.and_then(|row| row.split_whitespace().nth(1));
        assert_eq!(shown, Some(value), "{flags:?}: {said}");
    }
}

#[test]
fn a_limit_of_zero_is_warned_of_and_leaves_the_default() {
    let dir = tempfile::tempdir().expect("a directory");
    let flag = "--respondingTimeouts.idleTimeout=0";
    let said = stdout(&herder(dir.path(), &["config", flag], &[]));
    let row = said.lines().find(|line| line.starts_with("respondingTimeouts.idleTimeout"));
    assert!(row.is_some_and(|row| row.ends_with("  180s  (default)")), "{said}");
    assert!(said.contains("warning: --respondingTimeouts.idleTimeout is left out: "), "{said}");
    let variable = [("HERDER_HEALTHCHECK_INTERVAL", "0s")];
    let strict = herder(dir.path(), &["config", "--strict"], &variable);
    assert_eq!(strict.status.code(), Some(2));
    let said = stderr(&strict);
    assert!(said.contains("HERDER_HEALTHCHECK_INTERVAL is left out: "), "{said}");
}

#[test]
fn a_variable_that_nobody_knows_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let slip = [("HERDER_DOCKER_DOMIAN", "local"), ("HERDER_PORT_80_TCP_ADDR", "172.17.0.2")];
    let said = stdout(&herder(dir.path(), &["config"], &slip));
    let notes: Vec<&str> = said.lines().filter(|line| line.starts_with("warning: ")).collect();
    let note = "warning: HERDER_DOCKER_DOMIAN is not a variable we know, and is left out. Did you mean HERDER_DOCKER_DOMAIN?";
    assert_eq!(notes, [note]);
    let strict = herder(dir.path(), &["config", "--strict"], &slip);
    assert_eq!(strict.status.code(), Some(2));
    assert!(stderr(&strict).contains("HERDER_DOCKER_DOMIAN"), "{}", stderr(&strict));
}

#[test]
fn a_file_may_be_strict_about_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("traefik.toml"), "strict = true\nacme = {}\n").expect("written");
    let output = herder(dir.path(), &["config"], &[]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains("acme"), "{}", stderr(&output));
}

/// Each entry point believes whom it was told to.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_believed_is_said_of_each_entry_point() {
    let dir = tempfile::tempdir().expect("a directory");
    let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), "one").expect("bound");
    let text = format!(
        "[backends.b.servers.s]\nurl = \"http://{}\"\n[frontends.f]\nbackend = \"b\"\n[frontends.f.routes.r]\nrule = \"Path:/\"\n",
        web.local_addr()
    );
    tokio::spawn(web.run(std::future::pending()));
    let rules = dir.path().join("rules.toml");
    fs::write(&rules, text).expect("written");
    let (all, some) = (free_port(), free_port());
    let args = [
        "run".to_owned(),
        format!("--file.filename={}", rules.display()),
        format!("--entryPoints=Name:all Address:127.0.0.1:{all} ForwardedHeaders.Insecure:true"),
        format!(
            "--entryPoints=Name:some Address:127.0.0.1:{some} ForwardedHeaders.TrustedIPs:10.0.0.0/8"
        ),
        "--defaultEntryPoints=http,all,some".to_owned(),
    ];
    let herder = Herder::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    eventually("it serves", || async { herder.get("a", "/").await.status == 200 }).await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    for (port, expected) in
        [(all, "X-Forwarded-For: 9.9.9.9, 127.0.0.1"), (some, "X-Forwarded-For: 127.0.0.1")]
    {
        let request =
            client.get(format!("http://127.0.0.1:{port}/")).header("x-forwarded-for", "9.9.9.9");
        let body = request.send().await.expect("an answer").text().await.expect("text");
        assert!(body.lines().any(|line| line.trim() == expected), "{expected} is not in\n{body}");
    }
}

#[test]
fn a_wrong_setting_ends_the_start_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    for (text, word) in [
        ("[entryPoints.http]\naddress = \":80a\"\n", "t.toml:1:1: "),
        ("[respondingTimeouts]\nidleTimeout = \"long\"\n", "t.toml:2:15: "),
        ("[docker]\nexposedByDefault = \"maybe\"\n", "t.toml:2:20: "),
        ("a = \n", "t.toml:1:5: "),
        ("constraints = [\"us\"]\n", "tag==us-*"),
        ("logLevel = \"INFOO\"\n", "\"infoo\" is no level"),
    ] {
        fs::write(dir.path().join("t.toml"), text).expect("written");
        let output = herder(dir.path(), &["config", "-c", "t.toml"], &[]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(stderr(&output).contains(word), "{text}: {}", stderr(&output));
    }
    // One hides no other.
    let text = "logLevel = \"INFOO\"\n[docker]\nexposedByDefault = \"maybe\"\n[accessLog]\nformat = \"xml\"\n";
    fs::write(dir.path().join("t.toml"), text).expect("written");
    for command in ["run", "check"] {
        let said = stderr(&herder(dir.path(), &[command, "-c", "t.toml"], &[]));
        for place in ["t.toml:3:20: docker.exposedByDefault: ", "t.toml:5:10: accessLog.format: "] {
            assert!(said.contains(place), "{command}: {said}");
        }
    }
    let output = herder(dir.path(), &["config", "-c", "gone.toml"], &[]);
    assert!(stderr(&output).contains("gone.toml"), "{}", stderr(&output));
}

/// Whoever may see the page is asked for a name; where another guard was to stand before it, nobody sees it.
#[test]
fn a_guarded_page_has_users_or_is_switched_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let admin = |text: &str, flags: &[&str]| {
        fs::write(dir.path().join("traefik.toml"), text).expect("written");
        let output = herder(dir.path(), &[&["config", "--json"], flags].concat(), &[]);
        assert!(!stdout(&output).contains("a:b"), "{}", stdout(&output));
        let said: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let value =
            |key: &str| said["settings"][key]["value"].as_str().expect("a value").to_owned();
        format!("{} {} {}", value("admin"), value("admin.auth"), value("admin.users"))
    };
    let own = "[api]\n[entryPoints.http]\naddress = \":80\"\n[entryPoints.traefik]\naddress = \":8081\"\n";
    let basic = "[entryPoints.traefik.auth.basic]\nusers = [\"a:b\"]\n";
    assert_eq!(admin(&format!("{own}{basic}"), &[]), ":8081 basic ***");
    let digest = "[entryPoints.traefik.auth.digest]\nusersFile = \"/u\"\n";
    assert_eq!(admin(&format!("{own}{digest}"), &[]), ":8081 digest ***");
    const OFF: &str = "off basic everybody";
    for guard in [
        "[entryPoints.traefik.auth.forward]\naddress = \"http://a/\"\n",
        "[entryPoints.traefik.auth.basic]\nuser = [\"a:b\"]\n",
        "[entryPoints.traefik.auth.basic]\n",
        "[entryPoints.traefik.whiteList]\nsourceRange = [\"10.0.0.0/8\"]\n",
        "[entryPoints.traefik.tls]\n",
    ] {
        assert_eq!(admin(&format!("{own}{guard}"), &[]), OFF, "{guard}");
    }
    assert_eq!(admin(own, &[]), ":8081 basic everybody");
    let web = "[web]\naddress = \":8082\"\n[web.auth.basic]\nusers = [\"a:b\"]\n";
    assert_eq!(admin(web, &[]), ":8082 basic ***");
    assert_eq!(admin(web, &["--web"]), ":8080 basic ***");
    assert_eq!(admin(web, &["--admin=:1"]), ":1 basic ***", "the users stay");
    let forward = web.replace("basic", "forward");
    assert_eq!(admin(&forward, &["--web"]), OFF);
    // What the page cannot do is not left out because it is asked for.
    assert_eq!(admin(&forward, &["--admin=off"]), OFF);
    let output = herder(dir.path(), &["config", "--admin=:1"], &[]);
    assert!(
        stderr(&output).contains("the page cannot be opened: ./traefik.toml:3:"),
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(2));
    let users = ["--admin=:1", "--admin.users=a:b", "--strict"];
    assert_eq!(admin(&forward, &users), ":1 basic ***");
    let flags = [
        "--api",
        "--entryPoints=Name:http Address::80",
        "--entryPoints=Name:traefik Address::8081 Auth.Basic.Users:a:b",
    ];
    assert_eq!(admin("", &flags), OFF);
    // Whatever it is called.
    let flags = [
        "--api",
        "--api.entryPoint=dash",
        "--entryPoints=Name:http Address::80",
        "--entryPoints=Name:dash Address::8081 Auth.Basic.Users:a:b",
    ];
    assert_eq!(admin("", &flags), OFF);
    let open = ["--api", "--api.entryPoint=http", "--entryPoints=Name:http Address::80"];
    assert_eq!(admin("", &open), ":8080 basic everybody");
    let output = herder(dir.path(), &[&["run", "--strict"], &open[..]].concat(), &[]);
    assert!(stderr(&output).contains("--api.entryPoint is left out"), "{}", stderr(&output));
}

/// `traefik --api --docker`, the first line of its documentation, has the page at :8080 and requests at :80.
#[test]
fn flags_of_traefik_listen_where_traefik_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let http = |flags: &[&str], variables: &[(&str, &str)]| {
        let output = herder(dir.path(), &[&["config", "--json"], flags].concat(), variables);
        let said: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let value =
            |key: &str| said["settings"][key]["value"].as_str().unwrap_or_default().to_owned();
        format!("{} | {}", value("entryPoints"), value("http"))
    };
    assert_eq!(http(&["--api", "--docker"], &[]), "Name:http Address::80 | ");
    assert_eq!(http(&["--web"], &[]), "Name:http Address::80 | ");
    assert_eq!(http(&["--docker"], &[]), "http at --http | :8080");
    assert_eq!(http(&["--api", "--http=:81"], &[]), "Name:http Address::80 | :81");
    let entry = ["--api", "--entryPoints=Name:http Address::82"];
    assert_eq!(http(&entry, &[]), "Name:http Address::82 | ");
    let variable = [("HERDER_ENTRYPOINTS", "Name:http Address::83")];
    assert_eq!(http(&["--api"], &variable), "Name:http Address::83 | ");
    fs::write(dir.path().join("traefik.toml"), "[entryPoints.http]\naddress = \":84\"\n")
        .expect("written");
    assert_eq!(http(&["--api"], &[]), "Name:http address::84 | ");
    fs::remove_file(dir.path().join("traefik.toml")).expect("removed");
    let output = herder(dir.path(), &["config", "--http=:8080", "--admin=127.0.0.1:8080"], &[]);
    let said = stderr(&output);
    assert!(said.contains("the page and the entry point http at :8080 cannot share"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

/// Nothing listens before a setting that would let nobody in, or lead nowhere, is refused.
#[test]
fn what_would_let_nobody_in_ends_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("rules.toml"), "").expect("written");
    fs::write(dir.path().join("empty"), "# nobody\n").expect("written");
    let ports = ["run", "--file.filename=rules.toml", "--http=127.0.0.1:0", "--admin=127.0.0.1:0"];
    let entry = "--entryPoints=Name:http Address:127.0.0.1:0 Auth.Basic.";
    let users_file = format!("{entry}UsersFile:/run/secrets/none");
    let users = format!("{entry}Users:bob:geheim");
    let redirect = "--entryPoints=Name:http Address:127.0.0.1:0 Redirect.";
    let regex = format!("{redirect}Regex:^http://(?=a) Redirect.Replacement:https://$1");
    let large = format!("{redirect}Regex:(.{{1000,2000}}) Redirect.Replacement:https://$1");
    let template = format!("{redirect}Regex:^http://(.*) Redirect.Replacement:{{{{.Host}}}}");
    for (flag, words) in [
        (&*regex, "redirect.regex of the entry point http at 127.0.0.1:0 \"^http://(?=a)\" cannot"),
        (&*large, "redirect.regex of the entry point http at 127.0.0.1:0"),
        (&*template, "\"{{.Host}}\" asks for a template of Go"),
        ("--admin.users=bob:geheim", "admin.users has an entry (\"bob\") that lets nobody in"),
        ("--admin.users=", "admin.users knows no user"),
        ("--admin.usersFile=/run/secrets/none", "admin.usersFile names the file /run/secrets/none"),
        ("--admin.usersFile=empty", "admin.usersFile names the file empty, which knows no user"),
        (
            &*users_file,
            "auth.basic.usersFile of the entry point http at 127.0.0.1:0 names the file",
        ),
        (&*users, "auth.basic.users of the entry point http at 127.0.0.1:0 has an entry (\"bob\")"),
        (
            "--defaultEntryPoints=foo",
            "defaultEntryPoints names \"foo\", which is no entry point; there is http",
        ),
    ] {
        let output = herder(dir.path(), &[&ports[..], &[flag]].concat(), &[]);
        let said = stderr(&output);
        assert!(said.contains(words) && !said.contains("geheim"), "{flag}: {said}");
        assert!(!stdout(&output).contains("listening"), "{flag}: {}", stdout(&output));
        assert_eq!(output.status.code(), Some(2), "{flag}");
    }
}

#[test]
fn a_value_of_an_entry_point_in_a_file_keeps_its_blanks() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "[entryPoints.http]\naddress = \":80\"\n[entryPoints.http.auth.basic]\nusersFile = \"/my secrets/users\"\n";
    fs::write(dir.path().join("blanks.toml"), text).expect("written");
    let said = stdout(&herder(dir.path(), &["check", "blanks.toml"], &[]));
    assert!(said.contains("names the file /my secrets/users, which cannot be read"), "{said}");
}

#[test]
fn a_wrong_value_is_named_by_where_it_was_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = |args: &[&str], variables: &[(&str, &str)]| {
        let output = herder(dir.path(), &[&["config"], args].concat(), variables);
        assert_eq!(output.status.code(), Some(2), "{args:?} {variables:?}");
        stderr(&output)
    };
    let said = config(&[], &[("HERDER_REFRESH", "abc"), ("HERDER_DOCKER", "true")]);
    assert!(said.starts_with("herder: HERDER_REFRESH: \"abc\" is no time"), "{said}");
    for (variable, value, values) in [
        ("HERDER_STRICT", "yes", "true, false"),
        ("HERDER_LOG_FORMAT", "xml", "text, json"),
        ("TRAEFIK_RANCHER_ENABLE", "yes", "true, false"),
    ] {
        let said = config(&[], &[(variable, value)]);
        let start = format!("herder: {variable}: ");
        let end = format!("[possible values: {values}]\n");
        assert!(said.starts_with(&start) && said.ends_with(&end), "{said}");
    }
    fs::write(dir.path().join("wrong.toml"), "[docker]\nexposedByDefault = \"yes\"\n")
        .expect("written");
    let said = config(&["-c", "wrong.toml"], &[]);
    assert!(
        said.contains("wrong.toml:2:20") && said.contains("[possible values: true, false]"),
        "{said}"
    );
    let said = config(&["--refresh=abc"], &[("HERDER_REFRESH", "60s")]);
    assert!(said.contains("'--refresh <TIME>'"), "{said}");
    let said = config(&["--refresh=a b c d e f"], &[]);
    assert!(said.contains("\"a b c d e f\" is not a cron expression"), "{said}");
    let said = config(&["--entryPoints=Name:http Adress::80"], &[]);
    assert!(said.contains("did you mean Address?"), "{said}");
    let said = config(&["--defaultEntryPoints=foo"], &[]);
    assert!(
        said.contains("defaultEntryPoints names \"foo\", which is no entry point; there is http"),
        "{said}"
    );
}

#[test]
fn a_page_takes_no_entry_point_from_requests() {
    let dir = tempfile::tempdir().expect("a directory");
    for table in ["[ping]\nentryPoint = \"http\"\n", "[api]\nentryPoint = \"http\"\n"] {
        let text = format!("{table}[entryPoints.http]\naddress = \":81\"\n");
        fs::write(dir.path().join("traefik.toml"), text).expect("written");
        let output = herder(dir.path(), &["config", "--json"], &[]);
        let said: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        assert_eq!(said["settings"]["entryPoints"]["value"], "Name:http address::81", "{table}");
        assert_eq!(said["settings"]["admin"]["value"], ":8000", "{table}");
    }
    fs::write(dir.path().join("traefik.toml"), "api = false\n").expect("written");
    let said = stdout(&herder(dir.path(), &["config"], &[]));
    assert!(
        said.lines().any(|line| line.starts_with("admin ") && line.contains(":8000")),
        "{said}"
    );
}

#[test]
fn no_secret_is_in_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "[entryPoints.http]\naddress = \":80x\"\n[entryPoints.http.auth.basic]\nusers = [\"me:geheim\"]\n";
    fs::write(dir.path().join("traefik.toml"), text).expect("written");
    let output = herder(dir.path(), &["config"], &[]);
    assert!(
        stderr(&output).contains(":80x") && !stderr(&output).contains("geheim"),
        "{}",
        stderr(&output)
    );
}

/// Every flag of the families that the issue of a drop-in names is understood.
#[test]
fn the_flags_of_traefik_are_understood() {
    let dir = tempfile::tempdir().expect("a directory");
    let flags = [
        "--debug",
        "--logLevel=DEBUG",
        "--defaultEntryPoints=http",
        "--entryPoints=Name:http Address::80 Redirect.EntryPoint:https",
        "--traefikLog.format=json",
        "--accessLog",
        "--accessLog.filePath=x",
        "--accessLog.fields.names.a=drop",
        "--web",
        "--web.address=:81",
        "--api",
        "--api.dashboard=true",
        "--ping",
        "--ping.entryPoint=traefik",
        "--metrics.prometheus",
        "--metrics.prometheus.buckets=0.1",
        "--docker",
        "--docker.domain=a",
        "--docker.endpoint=unix:///x",
        "--docker.watch",
        "--docker.exposedByDefault=false",
        "--docker.useBindPortIP",
        "--docker.swarmMode",
        "--docker.network=n",
        "--docker.constraints=tag==a",
        "--docker.tls.insecureSkipVerify",
        "--rancher",
        "--rancher.domain=a",
        "--rancher.metadata",
        "--rancher.metadata.intervalPoll",
        "--rancher.metadata.prefix=latest",
        "--rancher.api.endpoint=http://x",
        "--rancher.api.accessKey=a",
        "--rancher.refreshSeconds=15",
        "--rancher.enableServiceHealthFilter",
        "--file",
        "--file.directory=/tmp",
        "--file.watch",
        "--respondingTimeouts.idleTimeout=10s",
        "--respondingTimeouts.readTimeout=5",
        "--forwardingTimeouts.dialTimeout=3s",
        "--forwardingTimeouts.responseHeaderTimeout=0s",
        "--lifeCycle.graceTimeOut=3s",
        "--lifeCycle.requestAcceptGraceTimeout=1s",
        "--retry",
        "--retry.attempts=3",
        "--healthcheck.interval=5s",
        "--constraints=tag==a",
        "--insecureSkipVerify=true",
        "--checkNewVersion=false",
        "--sendAnonymousUsage",
        "--providersThrottleDuration=2s",
        "--maxIdleConnsPerHost=200",
        "--keepTrailingSlash",
        "--acme",
        "--acme.email=a@b",
        "--kubernetes",
        "--consul.endpoint=x",
    ];
    for flag in flags {
        let output = herder(dir.path(), &["config", flag], &[]);
        assert_eq!(output.status.code(), Some(0), "{flag}: {}", stderr(&output));
    }
}
