//! Every example of the README and the docs.
//!
//! A block of shell says in a comment right above it where it runs:
//!
//! | `<!-- run: … -->` | |
//! | --- | --- |
//! | `yes` | as it stands, with `herder` in the path |
//! | `demo-start` | starts the demo, but for `cargo run` and the ports |
//! | `demo` | while the demo runs |
//! | `traefik-file` | with Docker, beside the settings file of the page; it may find something |
//! | `web-test` | while `herder web-test` runs |
//! | `docker`, `docker-running`, `docker-example` | with a Docker daemon: starts the quickstart, beside it, and on its own (`quickstart.rs`) |
//! | `no` | needs what a test cannot have: Rancher, a registry, a shell's own folders |

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use herder::demo::web_test::WebTest;
use herder::settings::Limits;
use regex::Regex;

/// The README and every file of `docs/`, with its text.
fn pages() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let paths = docs.chain([root.join("README.md"), root.join("catalog/herder/0/README.md")]);
    let pages: BTreeMap<_, _> =
        paths.map(|path| (path.clone(), fs::read_to_string(&path).expect("a page"))).collect();
    assert!(pages.len() > 2, "only {:?}", pages.keys());
    pages
}

/// The shell blocks of one kind, in order.
pub(crate) fn blocks(kind: &str) -> Vec<String> {
    let block = Regex::new(r"(?s)<!-- run: ([\w-]+) -->\n```sh\n(.*?)```").expect("a pattern");
    let pages = pages();
    let all = pages.values().flat_map(|page| block.captures_iter(page));
    all.filter(|found| &found[1] == kind).map(|found| found[2].to_owned()).collect()
}

/// Runs a block as a reader would, and gives what it printed.
#[track_caller]
pub(crate) fn run(block: &str) -> String {
    let herder = Path::new(env!("CARGO_BIN_EXE_herder"));
    let path = std::env::var("PATH").expect("PATH");
    let path = format!("{}:{path}", herder.parent().expect("a folder").display());
    let output = Command::new("sh").args(["-euc", block]).env("PATH", path).output().expect("sh");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{block}\n{stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_shell_block_says_where_it_runs() {
    let known = [
        "traefik-file",
        "yes",
        "no",
        "demo-start",
        "demo",
        "web-test",
        "docker",
        "docker-example",
        "docker-running",
    ];
    let marked: usize = known.iter().map(|kind| blocks(kind).len()).sum();
    let written: usize = pages().values().map(|page| page.matches("```sh\n").count()).sum();
    assert_eq!(marked, written, "a shell block without a comment, or with one that is not known");
}

#[test]
fn examples_that_need_nothing_run_as_they_stand() {
    let blocks = blocks("yes");
    assert!(!blocks.is_empty());
    for block in blocks {
        run(&block);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_service_is_switched_as_the_page_says() {
    let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), "docs").expect("bound");
    let here = web.local_addr().to_string();
    tokio::spawn(web.run(std::future::pending()));
    let blocks = blocks("web-test");
    assert!(!blocks.is_empty());
    for block in blocks {
        let printed = run(&block.replace("127.0.0.1:8080", &here));
        let expected =
            "OK\n/health of docs fails from now on\n/health of docs passes from now on\n";
        assert_eq!(printed, expected);
    }
}

#[test]
fn links_lead_to_files_that_are_there() {
    let link = Regex::new(r##"(?:\]\(|src=")([^)"#]+)"##).expect("a pattern");
    for (path, page) in pages() {
        for found in link.captures_iter(&page) {
            let to = &found[1];
            let is_there = to.starts_with("http") || path.with_file_name(to).exists();
            assert!(is_there, "{}: {to} leads nowhere", path.display());
        }
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    // Taken apart, so that a new one does not compile before it is written down.
    let Limits {
        connections_max,
        head_bytes_max,
        header_lines_max,
        head_timeout,
        idle_timeout,
        body_timeout,
        connect_timeout,
        response_timeout,
        upstream_idle_max,
        upstream_idle_timeout,
        attempts_max,
    } = Limits::default();
    let seconds = |time: Duration| format!("{} s", time.as_secs());
    let count = |n: usize| match n / 1000 {
        0 => n.to_string(),
        thousands => format!("{thousands},{:03}", n % 1000),
    };
    let expected = [
        ("client connections open at once", count(connections_max)),
        ("a request head", format!("{} KiB", head_bytes_max / 1024)),
        ("header lines of one head", count(header_lines_max)),
        ("from the first byte of a request head to its end", seconds(head_timeout)),
        ("a kept-alive client connection without a request", seconds(idle_timeout)),
        ("the longest pause between two pieces of a body", seconds(body_timeout)),
        ("for a connection to a server", seconds(connect_timeout)),
        ("from the end of the request to the end of the head of", seconds(response_timeout)),
        ("kept-alive connections to one server", count(upstream_idle_max)),
        ("how long a kept-alive connection to a server", seconds(upstream_idle_timeout)),
        ("how often one request may be tried", count(attempts_max)),
    ];
    let page = include_str!("../../docs/limits.md");
    for (what, bound) in expected {
        let start = format!("| {what}");
        let mut rows = page.lines().filter(|line| line.starts_with(&start));
        let row = rows.next().unwrap_or_else(|| panic!("{what} is not in docs/limits.md"));
        assert_eq!(row.split(" | ").nth(1), Some(&*bound), "{row}");
        assert_eq!(rows.next(), None, "{what} stands there twice");
    }
    let clients = format!("| {}, each", count(herder::middleware::RateLimit::CLIENTS_MAX));
    assert!(page.contains(&clients), "{clients} is not in docs/limits.md");
}

#[test]
fn the_settings_are_those_of_the_command_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_herder")).args(["run", "--help"]).output();
    let help = String::from_utf8(output.expect("herder runs").stdout).expect("text");
    let flag = Regex::new(r"(?m)^\s+--([\w.]+)").expect("a pattern");
    let variable = Regex::new(r"\[env: (\w+)=").expect("a pattern");
    let page = include_str!("../../docs/settings.md");
    let flags: Vec<&str> =
        flag.captures_iter(&help).map(|f| f.get(1).expect("a name").as_str()).collect();
    assert!(flags.len() > 20, "{help}");
    for name in flags {
        assert!(page.contains(&format!("| `--{name}` |")), "--{name} is not in docs/settings.md");
    }
    for found in variable.captures_iter(&help) {
        assert!(page.contains(&format!("| `{}` |", &found[1])), "{} is not there", &found[1]);
    }
}

/// The labels' page has the rows of the code's table. `UPDATE=1` writes them.
#[test]
fn the_labels_are_those_of_the_code() {
    use herder::dialects::labels::{LABELS, Support};
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/labels.md");
    let mut page = std::fs::read_to_string(path).expect("the page");
    let is_update = std::env::var_os("UPDATE").is_some();
    let mut last = None::<String>;
    for label in LABELS {
        let acted_on = match label.support {
            Support::Served => "yes",
            Support::Later => "checked, shown",
        };
        let row =
            format!("| `{}` | {} | {} | {acted_on} |", label.key, label.default, label.meaning);
        if is_update && !page.contains(&row) {
            let start = format!("| `{}` |", label.key);
            let old = page.lines().find(|line| line.starts_with(&start)).map(str::to_owned);
            page = match (old, last) {
                (Some(old), _) => page.replace(&old, &row),
                (None, Some(last)) => page.replace(&last, &format!("{last}\n{row}")),
                (None, None) => page,
            };
        }
        assert!(page.contains(&row), "{row} is not in docs/labels.md; UPDATE=1 writes it");
        last = Some(row);
    }
    if is_update {
        std::fs::write(path, page).expect("written");
    }
}

/// The blocks of a language, with the name of their page.
fn blocks_of(language: &str) -> Vec<(String, String)> {
    let block = Regex::new(&format!(r"(?s)```{language}\n(.*?)```")).expect("a pattern");
    let pages = pages();
    let of_page = |(path, page): (&PathBuf, &String)| {
        let name = path.display().to_string();
        block
            .captures_iter(page)
            .map(|found| (name.clone(), found[1].to_owned()))
            .collect::<Vec<_>>()
    };
    pages.iter().flat_map(of_page).collect()
}

/// The TOML of the pages: settings that fit together and are all acted on, rules without a problem.
#[test]
fn the_files_of_the_pages_are_good_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut rules, mut settings) = (0, 0);
    for (page, text) in blocks_of("toml") {
        if text.contains("[frontends.") || text.contains("[backends.") {
            let tree = herder::document::Language::Toml.parse(&text).expect("TOML");
            let document = herder::model::Document {
                name: "rules.toml".into(),
                is_main: false,
                tree,
                addresses: std::collections::BTreeMap::new(),
            };
            assert_eq!(herder::dialects::read_document(&document).problems, [], "{page}:\n{text}");
            rules += 1;
        } else {
            let path = dir.path().join("traefik.toml");
            fs::write(&path, &text).expect("written");
            let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
            let output = command.args(["config", "--strict", "-c"]).arg(&path).output();
            let output = output.expect("herder runs");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}:\n{text}\n{stderr}");
            settings += 1;
        }
    }
    assert!(rules > 2 && settings > 2, "{rules} and {settings}");
}

/// The Compose files of the pages: nothing is wrong with their labels.
#[test]
fn the_compose_files_of_the_pages_are_good_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let blocks = blocks_of("yaml");
    let files: Vec<_> = blocks.iter().filter(|(_, text)| text.starts_with("services:")).collect();
    assert!(!files.is_empty());
    for (page, text) in files {
        let path = dir.path().join("docker-compose.yml");
        fs::write(&path, text).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_herder")).arg("check").arg(&path).output();
        let output = output.expect("herder runs");
        assert!(output.status.success(), "{page}:\n{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// What the alerts ask for is measured.
#[test]
fn the_alerts_are_about_metrics_that_are_there() {
    let name = Regex::new(r"\b(?:herder|traefik)_\w+").expect("a pattern");
    let metrics = include_str!("../../docs/metrics.md");
    let alerts = include_str!("../../docs/alerts.md");
    let rules = &blocks_of("yaml")
        .into_iter()
        .find(|(_, text)| text.starts_with("groups:"))
        .expect("rules")
        .1;
    herder::document::Language::Yaml.parse(rules).expect("YAML");
    assert!(name.find_iter(rules).count() > 3);
    for found in name.find_iter(alerts) {
        let row = format!("| `{}` |", found.as_str());
        assert!(metrics.contains(&row), "{} is not in docs/metrics.md", found.as_str());
    }
}

/// The commands of the migration, beside its own file. Other containers of this machine may have problems: that is no failure
/// of the command.
#[test]
fn the_commands_of_the_migration_run() {
    let block = Regex::new(r"(?s)```toml\n(.*?)```").expect("a pattern");
    let page = include_str!("../../docs/migration.md");
    let file = &block.captures(page).expect("a file")[1];
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("traefik.toml"), file).expect("written");
    let commands = blocks("traefik-file");
    assert_eq!(commands.len(), 3);
    for command in commands {
        let args: Vec<&str> =
            command.trim().strip_prefix("herder ").expect("a command").split(' ').collect();
        let output =
            Command::new(env!("CARGO_BIN_EXE_herder")).args(&args).current_dir(&folder).output();
        let output = output.expect("herder runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{command}: {stderr}");
        assert!(!output.stdout.is_empty(), "{command}: {stderr}");
    }
}

#[test]
fn the_terms_of_rules_are_those_of_the_code() {
    let page = include_str!("../../docs/rules.md");
    for term in herder::rules::v1::TERMS {
        let row = format!("| `{}` | `{}` | {} |", term.name, term.example, term.meaning);
        assert!(page.contains(&row), "{row} is not in docs/rules.md");
    }
}

/// Whoever only wants other ports for the demo does not want to show its page to the network.
#[test]
fn other_ports_for_the_demo_are_on_loopback_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let ports = Regex::new(r"`demo` takes\s+`--http (\S+) --admin (\S+)`").expect("a pattern");
    let found = ports.captures(&readme).expect("it says how other ports are taken");
    for address in [&found[1], &found[2]] {
        let address: std::net::SocketAddr = address.parse().expect("an address with its port");
        assert!(address.ip().is_loopback(), "{address}");
    }
}

/// The README's and the docs' lines for a running demo, as they stand but for the ports.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_beside_the_demo_run() {
    // The README's own words start it.
    let start = blocks("demo-start");
    assert!(!start.is_empty());
    for block in start {
        let args = block.trim().strip_prefix("cargo run --release -- ").expect("cargo runs it");
        beside(&args.split_whitespace().collect::<Vec<_>>()).await;
    }
}

async fn beside(args: &[&str]) {
    let herder = crate::harness::herder::Herder::start(args);
    let host = "web-test.proxy-test.local";
    crate::harness::eventually("the demo serves", || async {
        herder.get(host, "/").await.status == 200
    })
    .await;
    let blocks = blocks("demo");
    assert!(!blocks.is_empty());
    for block in blocks {
        let (http, admin) = (herder.http.to_string(), herder.admin.to_string());
        run(&block.replace("127.0.0.1:8080", &http).replace("127.0.0.1:8000", &admin));
    }
}
