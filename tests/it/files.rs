//! Rule files: read, edited under load, broken, replaced.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use herder::demo::web_test::WebTest;

use crate::harness::eventually;
use crate::harness::herder::Herder;

/// A directory of one test; it goes with the test.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("written");
        path
    }
}

fn web_test(name: &str) -> SocketAddr {
    let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), name).expect("bound");
    let addr = web.local_addr();
    tokio::spawn(web.run(std::future::pending()));
    addr
}

fn rules(rule: &str, server: SocketAddr) -> String {
    format!(
        "[backends.b.servers.s]\nurl = \"http://{server}\"\n\n[frontends.f]\nbackend = \"b\"\npassHostHeader = true\n\
         [frontends.f.routes.r]\nrule = \"{rule}\"\n"
    )
}

fn flag(name: &str, path: &Path) -> String {
    format!("--file.{name}={}", path.display())
}

/// The article's rules: a weight, a health check, a prefix that is taken off.
#[tokio::test(flavor = "multi_thread")]
async fn the_articles_rules_serve() {
    let dir = Dir::new();
    let (one, two) = (web_test("one"), web_test("two"));
    let text = format!(
        "[backends]\n  [backends.trend]\n    [backends.trend.healthcheck]\n      path = \"/\"\n      interval = \"10s\"\n\
         \x20   [backends.trend.servers.server1]\n    url = \"http://{one}\"\n    weight = 2\n\
         \x20   [backends.trend.servers.server2]\n    url = \"http://{two}\"\n    weight = 1\n\
         [frontends]\n  [frontends.trend]\n  backend = \"trend\"\n    [frontends.trend.routes.any]\n\
         \x20   rule = \"PathPrefixStrip:/trend\"\n"
    );
    let herder = Herder::start(&["run", &flag("filename", &dir.write("rules.toml", &text))]);
    eventually("both have passed their check", || async {
        let health = herder.admin("/api/health").await.json();
        let servers = health["servers"].as_array().cloned().unwrap_or_default();
        servers.iter().filter(|server| server["condition"] == "up").count() == 2
    })
    .await;
    let answer = herder.get("any.local", "/trend/x?a=b").await;
    assert!(answer.body.contains("GET /x?a=b HTTP/1.1"), "{}", answer.body);
    assert!(answer.body.contains("X-Forwarded-Prefix: /trend"), "{}", answer.body);
    let mut ones = 0;
    for _ in 0..30 {
        ones += usize::from(herder.get("a", "/trend/").await.body.contains("Real-Server: one"));
    }
    assert_eq!(ones, 20, "two of three");
    let api = herder.admin("/api/providers/file").await.json();
    assert_eq!(
        api,
        serde_json::json!({
            "backends": {"trend": {
                "healthCheck": {"path": "/", "interval": "10s"},
                "loadBalancer": {"method": "wrr"},
                "servers": {
                    "server1": {"url": format!("http://{one}"), "weight": 2},
                    "server2": {"url": format!("http://{two}"), "weight": 1},
                },
            }},
            "frontends": {"trend": {
                "backend": "trend", "basicAuth": null, "entryPoints": ["http"], "priority": 0,
                "routes": {"any": {"rule": "PathPrefixStrip:/trend"}},
            }},
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_edited_under_load_loses_nothing() {
    let dir = Dir::new();
    let (one, two) = (web_test("one"), web_test("two"));
    let path = dir.write("rules.toml", &rules("Host:a.local", one));
    let herder = Arc::new(Herder::start(&["run", &flag("filename", &path)]));
    eventually("it serves", || async { herder.get("a.local", "/").await.status == 200 }).await;
    let (stop, bad) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (herder, stop, bad) = (Arc::clone(&herder), Arc::clone(&stop), Arc::clone(&bad));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let is_good = herder.get("a.local", "/").await.status == 200;
                    bad.fetch_add(usize::from(!is_good), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..6 {
        let (server, name) = if round % 2 == 0 { (two, "two") } else { (one, "one") };
        let text = rules("Host:a.local", server);
        match round % 3 {
            // Written in place, in two pieces.
            0 => {
                let (start, end) = text.split_at(text.len() / 2);
                fs::write(&path, start).expect("written");
                tokio::time::sleep(Duration::from_millis(20)).await;
                fs::write(&path, format!("{start}{end}")).expect("written");
            }
            // Replaced, as editors do.
            1 => {
                let new = dir.write("rules.toml.new", &text);
                fs::rename(new, &path).expect("renamed");
            }
            // Gone for a moment.
            _ => {
                fs::remove_file(&path).expect("removed");
                tokio::time::sleep(Duration::from_millis(300)).await;
                fs::write(&path, text).expect("written");
            }
        }
        eventually("the new rule serves", || async {
            herder.get("a.local", "/").await.body.contains(&format!("Real-Server: {name}"))
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("it ends");
    }
    assert_eq!(bad.load(Ordering::Relaxed), 0, "{}", herder.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_keeps_its_last_good_routes_and_says_where() {
    let dir = Dir::new();
    let server = web_test("one");
    dir.write("a.toml", &rules("Host:a.local", server));
    let other = rules("Host:b.local", server)
        .replace("backends.b", "backends.c")
        .replace("frontends.f", "frontends.g");
    dir.write("deep/er/b.toml", &other.replace("= \"b\"", "= \"c\""));
    let yaml = format!(
        "backends: {{y: {{servers: {{s: {{url: \"http://{server}\"}}}}}}}}\nfrontends:\n  y:\n    backend: y\n    routes: {{r: {{rule: \"Host:y.local\"}}}}\n"
    );
    dir.write("y.yml", &yaml);
    dir.write("notes.txt", "not rules");
    dir.write(".hidden.toml", "[[[");
    // Whoever opens it waits for somebody who writes.
    let pipe = dir.0.path().join("pipe.toml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let herder = Herder::start(&["run", &flag("directory", dir.0.path())]);
    for host in ["a.local", "b.local", "y.local"] {
        eventually("it serves", || async { herder.get(host, "/").await.status == 200 }).await;
    }
    let told = herder.admin("/api/problems").await.body;
    assert!(told.contains("pipe.toml") && told.contains("It is not a file"), "{told}");
    fs::remove_file(&pipe).expect("removed");
    eventually("it is gone", || async { herder.admin("/api/problems").await.body == "[]" }).await;
    let problems = || async { herder.admin("/api/problems").await.body };
    assert_eq!(problems().await, "[]");
    dir.write("a.toml", "[backends.b.servers.s]\nurl = \"http://x\"\nweight = \n");
    eventually("it is said", || async { problems().await.contains("a.toml:3:10") }).await;
    assert!(
        problems().await.contains("Its last good routes stay in force"),
        "{}",
        problems().await
    );
    assert_eq!(herder.get("a.local", "/").await.status, 200);
    dir.write("a.toml", &rules("Host:c.local", server).replace("passHostHeader", "passHostHaeder"));
    eventually("it is mended", || async { herder.get("c.local", "/").await.status == 200 }).await;
    assert_eq!(herder.get("a.local", "/").await.status, 404);
    let said = problems().await;
    assert!(
        said.contains("a.toml:6:18") && said.contains("Did you mean passHostHeader?"),
        "{said}"
    );
    fs::remove_file(dir.path("deep/er/b.toml")).expect("removed");
    eventually("it is gone", || async { herder.get("b.local", "/").await.status == 404 }).await;
    assert_eq!(herder.get("y.local", "/").await.status, 200);
}

/// What Kubernetes does with a ConfigMap: a link to a directory is swapped for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_link_is_noticed() {
    let dir = Dir::new();
    let server = web_test("one");
    dir.write("..1/rules.toml", &rules("Host:a.local", server));
    dir.write("..2/rules.toml", &rules("Host:b.local", server));
    let link =
        |from: &str, to: &str| std::os::unix::fs::symlink(from, dir.path(to)).expect("linked");
    link("..1", "..data");
    link("..data/rules.toml", "rules.toml");
    let herder = Herder::start(&["run", &flag("directory", dir.0.path())]);
    eventually("it serves", || async { herder.get("a.local", "/").await.status == 200 }).await;
    link("..2", "..data_tmp");
    fs::rename(dir.path("..data_tmp"), dir.path("..data")).expect("swapped");
    eventually("the new one serves", || async { herder.get("b.local", "/").await.status == 200 })
        .await;
    assert_eq!(herder.get("a.local", "/").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_entry_of_a_file_costs_only_itself() {
    let dir = Dir::new();
    let server = web_test("one");
    let good = |n: usize| {
        format!(
            "[frontends.f{n}]\nbackend = \"b\"\n[frontends.f{n}.routes.r]\nrule = \"Host:h{n}.local\"\n"
        )
    };
    let all: String = (0..999).map(good).collect();
    let bad = [
        (
            "[frontends.bad]\nbackend = \"b\"\n[frontends.bad.routes.r]\nrule = \"Hosst:x\"\n",
            "did you mean Host?",
        ),
        (
            "[frontends.bad]\nbackend = \"bb\"\n[frontends.bad.routes.r]\nrule = \"Host:x\"\n",
            "Did you mean \\\"b\\\"?",
        ),
        ("[frontends.bad]\nbackend = \"b\"\n", "has no routes"),
        (
            "[frontends.bad]\nbackend = \"b\"\n[frontends.bad.routes.r]\nrule = \"Host:x;Host:z\"\n",
            "no request fits both Host:x and Host:z; nobody reaches it",
        ),
        ("[backends.bad.servers.s]\nurl = \"10.0.0.1\"\n", "http://"),
        (
            "[backends.bad.servers.s]\nurl = \"http://127.0.0.1:99999\"\n",
            "bad.servers.s.url: \\\"99999\\\" is not a port from 1 to 65535; it is left out.",
        ),
        (
            "[backends.bad.servers.s]\nurl = \"http://me:secret@127.0.0.1/app?x\"\n",
            "bad.servers.s.url has a user and a path and a query, which is not acted on.",
        ),
        (
            "[backends.bad.servers.s]\nurl = \"http://no-such-name.invalid\"\n",
            "no-such-name.invalid cannot be looked up",
        ),
        ("[backends.bad.maxConn]\namount = \"x\"\n", "is not a whole number"),
        ("[backends.bad.loadBalancer]\nmethode = \"drr\"\n", "Did you mean method?"),
        ("[frontend.bad]\n", "Did you mean frontends?"),
    ];
    let path = dir.write("rules.toml", &(rules("Host:a.local", server) + &all));
    let herder = Herder::start(&["run", &flag("filename", &path)]);
    eventually("it serves", || async { herder.get("h998.local", "/").await.status == 200 }).await;
    for (text, word) in bad {
        fs::write(&path, rules("Host:a.local", server) + &all + text).expect("written");
        eventually(word, || async { herder.admin("/api/problems").await.body.contains(word) })
            .await;
        let problems = herder.admin("/api/problems").await.json();
        assert!(problems.as_array().is_some_and(|list| list.len() <= 2), "{text}: {problems}");
        assert_eq!(herder.get("h0.local", "/").await.status, 200);
    }
}

/// A server called by its name: asked for by it, and looked up again.
#[tokio::test(flavor = "multi_thread")]
async fn servers_may_be_called_by_name() {
    let dir = Dir::new();
    let server = web_test("one");
    let text = rules("Host:a.local", server)
        .replace("127.0.0.1", "LOCALHOST")
        .replace("passHostHeader = true\n", "");
    let herder = Herder::start(&["run", &flag("filename", &dir.write("rules.toml", &text))]);
    eventually("it serves", || async { herder.get("a.local", "/").await.status == 200 }).await;
    let answer = herder.get("a.local", "/").await;
    assert!(answer.body.contains(&format!("Host: localhost:{}", server.port())), "{}", answer.body);
    let api = herder.admin("/api/providers/file/backends/b/servers/s").await.json();
    assert_eq!(api["url"], format!("http://localhost:{}", server.port()));
    // As Traefik 1.7 shows a weight that is not there; it counts as 1.
    assert_eq!(api["weight"], 0);
}

/// What was to protect a frontend closes it, whatever is wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_cannot_be_read_stays_shut() {
    let dir = Dir::new();
    let server = web_test("one");
    let guards = [
        "[frontends.f.auth.basic]\n",
        "[frontends.f.auth.basic]\nuser = [\"a:b\"]\n",
        "[frontends.f.auth.forward]\nadress = \"http://a\"\n",
        "[frontends.f.whiteList]\nsourceRanges = [\"10.0.0.0/8\"]\n",
        "[frontends.f.whitelsit]\nsourceRange = [\"10.0.0.0/8\"]\n",
        "[frontends.f.whiteList]\n",
        "[frontends.f]\nbasicAuth = [[\"a:b\"]]\n",
        "[frontends.f]\nauth = \"x\"\n",
        "[frontends.f.auth.basic]\nusers = [{a = \"b\"}]\n",
        "[frontends.f.redirect]\nregex = \"^http://(?!www)(.*)\"\nreplacement = \"https://www.$1\"\n",
        "[frontends.f.redirect]\nentryPoint = [\"https\"]\n",
    ];
    let path = dir.write("rules.toml", &rules("Host:a.local", server));
    let herder = Herder::start(&["run", &flag("filename", &path)]);
    for guard in guards {
        fs::write(&path, rules("Host:a.local", server)).expect("written");
        eventually("it serves", || async { herder.get("a.local", "/").await.status == 200 }).await;
        let text = match guard.strip_prefix("[frontends.f]\n") {
            Some(line) => rules("Host:a.local", server).replace("passHostHeader = true\n", line),
            None => rules("Host:a.local", server) + guard,
        };
        fs::write(&path, text).expect("written");
        eventually(guard, || async { herder.get("a.local", "/").await.status == 503 }).await;
        let page = herder.admin("/").await.body;
        assert!(page.contains("closed: answers 503"), "{guard} is not on the page");
    }
}

/// Reading `/proc/kmsg` waits for the kernel's next message, for whoever may open it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_never_ends_closes_its_frontend_and_holds_up_no_change() {
    let dir = Dir::new();
    let server = web_test("one");
    let auth = "[frontends.f.auth.basic]\nusersFile = \"/proc/kmsg\"\n";
    dir.write("a.toml", &format!("{}{auth}", rules("Host:a.local", server)));
    let herder = Herder::start(&["run", &flag("directory", dir.0.path())]);
    eventually("it is told", || async {
        let problems = herder.admin("/api/problems").await.body;
        problems.contains("The file /proc/kmsg cannot be read: ")
    })
    .await;
    // By now the watch has looked at it as well.
    let mut number = 0;
    let since = std::time::Instant::now();
    while since.elapsed() < Duration::from_millis(1500) {
        number += 1;
        let host = format!("n{number}.local");
        let other = rules(&format!("Host:{host}"), server).replace("frontends.f", "frontends.g");
        dir.write("b.toml", &other.replace("backends.b", "backends.c").replace("\"b\"", "\"c\""));
        eventually("it serves", || async { herder.get(&host, "/").await.status == 200 }).await;
    }
    assert_eq!(herder.get("a.local", "/").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_may_lead_to_a_backend_of_another_file() {
    let dir = Dir::new();
    let text = rules("Host:a.local", web_test("one"));
    let (backend, frontend) = text.split_at(text.find("[frontends").expect("a frontend"));
    dir.write("a.toml", frontend);
    dir.write("b.toml", backend);
    let herder = Herder::start(&["run", &flag("directory", dir.0.path())]);
    eventually("it serves", || async { herder.get("a.local", "/").await.status == 200 }).await;
    fs::remove_file(dir.path("b.toml")).expect("removed");
    eventually("it is told", || async {
        herder.admin("/api/problems").await.body.contains("there is no backend")
    })
    .await;
    assert_eq!(herder.get("a.local", "/").await.status, 404);
}

/// Nobody empties a file to have all its routes gone without a word.
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_route_nothing_are_told() {
    let dir = Dir::new();
    let good = rules("Host:a.local", web_test("one"));
    let path = dir.write("rules.toml", &good);
    let herder = Herder::start(&["run", &flag("filename", &path)]);
    eventually("it serves", || async { herder.get("a.local", "/").await.status == 200 }).await;
    let told = async |what: &str| {
        eventually(what, || async { herder.admin("/api/problems").await.body.contains(what) })
            .await;
    };
    let silent = async || {
        eventually("all is well", || async { herder.admin("/api/problems").await.body == "[]" })
            .await;
    };
    for text in ["", "# nothing\n", "[backends.b.servers.s]\nurl = \"http://10.0.0.1\"\n"] {
        fs::write(&path, text).expect("written");
        told("There is no frontend in this file").await;
        assert!(herder.admin("/api/problems").await.body.contains("rules.toml"));
        assert_eq!(herder.get("a.local", "/").await.status, 404);
        fs::write(&path, &good).expect("written");
        silent().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_rules_is_told() {
    let dir = Dir::new();
    let herder = Herder::start(&["run", &flag("directory", dir.0.path())]);
    let told = async |what: &str| {
        eventually(what, || async { herder.admin("/api/problems").await.body.contains(what) })
            .await;
    };
    told("There are no rule files in this directory").await;
    let text = rules("Host:a.local", web_test("one"));
    let (backend, frontend) = text.split_at(text.find("[frontends").expect("a frontend"));
    dir.write("backend.toml", backend);
    told("There is no frontend in the files of this directory").await;
    let path = dir.write("frontend.toml", frontend);
    eventually("it serves", || async { herder.get("a.local", "/").await.status == 200 }).await;
    assert_eq!(herder.admin("/api/problems").await.body, "[]");
    fs::write(path, "").expect("written");
    told("There is no frontend in this file").await;
}
