//! `herder render`: files for other programs, which look at them themselves.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::eventually;

const RULES: &str = r#"
[backends.shop.servers.one]
url = "http://127.0.0.1:8081"
weight = 2
[backends.shop.servers.two]
url = "http://127.0.0.1:8082"
[backends.shop.loadBalancer.stickiness]
cookieName = "shop"
[backends.empty.servers]

[frontends.shop]
backend = "shop"
[frontends.shop.routes.r]
rule = "Host:shop.local,www.shop.local"
[frontends.api]
backend = "shop"
[frontends.api.routes.r]
rule = "Host:shop.local;PathPrefix:/api"
[frontends.guarded]
backend = "shop"
[frontends.guarded.auth.basic]
users = ["a:b"]
[frontends.guarded.routes.r]
rule = "Host:guarded.local"
[frontends.password]
backend = "shop"
[frontends.password.auth.basic]
users = ["a:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="]
[frontends.password.routes.r]
rule = "Host:password.local"
[frontends.inside]
backend = "shop"
[frontends.inside.whiteList]
sourceRange = ["10.0.0.0/8"]
[frontends.inside.routes.r]
rule = "Host:inside.local"
[frontends.empty]
backend = "empty"
[frontends.empty.routes.r]
rule = "Host:empty.local"
"#;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a folder") };
        files.write("rules.toml", RULES);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn command(&self, template: &Path, output: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
        command.arg("render").arg(template).arg(self.path(output)).args(more);
        command.arg(format!("--file.filename={}", self.path("rules.toml").display()));
        command
    }

    fn render(&self, template: &Path, output: &str, more: &[&str]) -> Output {
        self.command(template, output, more).output().expect("herder runs")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/render").join(name)
}

#[test]
fn haproxy_and_nginx_take_what_the_examples_make() {
    let files = Files::new();
    for (template, output, check) in [
        ("haproxy.cfg.hbs", "haproxy.cfg", "haproxy -c -f {}"),
        ("nginx.conf.hbs", "nginx.conf", "nginx -t -c {}"),
    ] {
        let made = files.render(&example(template), output, &["--check", check]);
        assert!(made.status.success(), "{}\n{}", stderr(&made), files.read(output));
        for name in ["guarded", "password", "inside"] {
            let closed = match output {
                "haproxy.cfg" => format!("use_backend nobody if file-{name}\n"),
                _ => format!(
                    "server_name {name}.local;\n        location / {{\n            return 503;\n"
                ),
            };
            assert!(files.read(output).contains(&closed), "{}", files.read(output));
        }
        for word in ["127.0.0.1:8081", "127.0.0.1:8082", "shop.local", "/api", "empty.local"] {
            assert!(files.read(output).contains(word), "{word} is not in\n{}", files.read(output));
        }
    }
}

/// Who comes in may be asked at the entry point, for whatever it leads to.
#[test]
fn what_an_entry_point_guards_is_not_opened() {
    let files = Files::new();
    let rules = r#"
[backends.shop.servers.one]
url = "http://127.0.0.1:8081"
[frontends.default]
backend = "shop"
[frontends.default.routes.r]
rule = "Host:default.local"
[frontends.inside]
backend = "shop"
entryPoints = ["inside"]
[frontends.inside.routes.r]
rule = "Host:inside.local"
[frontends.both]
backend = "shop"
entryPoints = ["inside", "http"]
[frontends.both.routes.r]
rule = "Host:both.local"
"#;
    files.write("rules.toml", rules);
    let template =
        files.write("t.hbs", "{{#each frontends}}{{name}}={{protected}},{{serves}} {{/each}}");
    for (guard, both) in [
        ("Auth.Basic.Users:a:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "true,false"),
        ("WhiteList.SourceRange:10.0.0.0/8", "true,false"),
        // That shuts the one, and everybody gets in by the other.
        ("ProxyProtocol.TrustedIPs:10.0.0.0/8", "false,true"),
    ] {
        let inside = "--entryPoints=Name:inside Address::22086";
        let guarded = format!("--entryPoints=Name:http Address::22085 {guard}");
        let made = files.render(&template, "out", &[&guarded, inside]);
        assert!(made.status.success(), "{}", stderr(&made));
        let expected = format!("default=true,false inside=false,true both={both} ");
        assert_eq!(files.read("out"), expected, "{guard}");
    }
}

/// A rule that says more than hosts and paths would let in more than it means.
#[test]
fn what_a_template_cannot_say_does_not_serve() {
    let files = Files::new();
    let mut rules = "[backends.shop.servers.one]\nurl = \"http://127.0.0.1:8081\"\n".to_owned();
    let said = [
        ("a", "Host:a.local"),
        ("b", "Host:b.local;PathPrefix:/a,/b"),
        ("c", "Path:/a;Host:c.local"),
    ];
    let unsaid = [
        ("d", "Host:d.local;Method:POST"),
        ("e", "Host:e.local;Headers:X-Key,secret"),
        ("f", "Host:f.local;HeadersRegexp:X-Key,secret.*"),
        ("g", "Host:g.local;Query:key=secret"),
        ("h", "Host:h.local;PathPrefix:/a;Path:/a/b"),
        ("i", "Host:i.local;HostRegexp:i.{rest:.*}"),
        ("j", "Host:j.local;PathPrefix:/{n:[0-9]+}"),
        ("k", "Host:k.local"),
    ];
    for (name, rule) in said.into_iter().chain(unsaid) {
        rules.push_str(&format!(
            "[frontends.{name}]\nbackend = \"shop\"\n[frontends.{name}.routes.r]\nrule = \"{rule}\"\n"
        ));
    }
    rules.push_str("[frontends.k.headers]\nallowedHosts = [\"other.local\"]\n");
    files.write("rules.toml", &rules);
    let template = files.write("t.hbs", "{{#each frontends}}{{name}}={{serves}} {{/each}}");
    let made = files.render(&template, "out", &[]);
    assert!(made.status.success(), "{}", stderr(&made));
    for (name, _) in said {
        assert!(files.read("out").contains(&format!("{name}=true ")), "{}", files.read("out"));
    }
    for (name, _) in unsaid {
        assert!(files.read("out").contains(&format!("{name}=false ")), "{}", files.read("out"));
    }
    for (template, output, check, lines) in [
        (
            "haproxy.cfg.hbs",
            "haproxy.cfg",
            "haproxy -c -f {}",
            ["acl file-c-path path /a\n", "use_backend nobody if file-d\n"],
        ),
        (
            "nginx.conf.hbs",
            "nginx.conf",
            "nginx -t -c {}",
            [
                "location = /a {\n",
                "server_name d.local;\n        location / {\n            return 503;\n",
            ],
        ),
    ] {
        let made = files.render(&example(template), output, &["--check", check]);
        assert!(made.status.success(), "{}\n{}", stderr(&made), files.read(output));
        for line in lines {
            assert!(files.read(output).contains(line), "{line} is not in\n{}", files.read(output));
        }
    }
}

/// A path is a label's: it must not write what stands around it.
#[test]
fn a_path_writes_nothing_but_itself() {
    let files = Files::new();
    let rules = r#"
[backends.shop.servers.one]
url = "http://127.0.0.1:8081"
[frontends.odd]
backend = "shop"
[frontends.odd.routes.r]
rule = "Host:odd.local;PathPrefix:/x/ { alias /; autoindex on; } location /y"
[frontends.plain]
backend = "shop"
[frontends.plain.routes.r]
rule = "Host:plain.local;PathPrefix:/a-b_c/d.e~f"
"#;
    files.write("rules.toml", rules);
    for (template, output, check) in [
        ("haproxy.cfg.hbs", "haproxy.cfg", "haproxy -c -f {}"),
        ("nginx.conf.hbs", "nginx.conf", "nginx -t -c {}"),
    ] {
        let made = files.render(&example(template), output, &["--check", check]);
        assert!(made.status.success(), "{}\n{}", stderr(&made), files.read(output));
        let text = files.read(output);
        assert!(!text.contains("alias") || !text.contains("alias /;"), "{text}");
        assert!(text.contains("/a-b_c/d.e~f"), "{text}");
    }
    let template = files.write(
        "t.hbs",
        "{{#each frontends}}{{serves}} {{#each paths}}{{{this}}} {{/each}}{{/each}}",
    );
    let made = files.render(&template, "out", &[]);
    assert!(made.status.success(), "{}", stderr(&made));
    let text = files.read("out");
    assert!(
        text.starts_with("false /x/%20%7B%20alias") && text.contains("true /a-b_c/d.e~f "),
        "{text}"
    );
}

#[test]
fn a_template_sees_what_was_discovered() {
    let files = Files::new();
    let template = files.write(
        "t.hbs",
        "{{#each frontends}}{{#each chain}}{{this}}; {{/each}}{{/each}}\n{{#each backends}}{{id}}:{{#each servers}} {{ip}}:{{port}}*{{weight}}{{/each}}\n{{/each}}\
         {{#each hosts}}{{name}}={{#each frontends}}{{backend}} {{/each}}\n{{/each}}{{json stacks}}{{lower \"ABC\"}}{{replace \"a.b\" \".\" \"-\"}}",
    );
    let made = files.render(&template, "out", &[]);
    assert!(made.status.success(), "{}", stderr(&made));
    assert_eq!(
        files.read("out"),
        "basic authentication; closed, because of frontends.guarded.auth.basic.users; \
         basic authentication; only from 10.0.0.0/8; \nfile-empty:\nfile-shop: 127.0.0.1:8081*2 127.0.0.1:8082*1\nempty.local=file-empty \n\
         guarded.local=file-shop \ninside.local=file-shop \npassword.local=file-shop \n\
         shop.local=file-shop file-shop \nwww.shop.local=file-shop \n[]abca-b"
    );
}

#[test]
fn a_settings_file_says_where_the_rules_are() {
    let files = Files::new();
    let template = files.write("t.hbs", "{{#each hosts}}{{name}} {{/each}}");
    let settings = files.write(
        "traefik.toml",
        &format!(
            "[entryPoints.http]\naddress = \":80\"\n[file]\nfilename = \"{}\"\n",
            files.path("rules.toml").display()
        ),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_herder"));
    command.arg("render").arg(&template).arg(files.path("out")).arg("-c").arg(&settings);
    let made = command.output().expect("herder runs");
    assert!(made.status.success(), "{}", stderr(&made));
    assert!(files.read("out").starts_with("empty.local guarded.local "), "{}", files.read("out"));
}

#[test]
fn a_name_that_is_not_there_is_told_with_its_place() {
    let files = Files::new();
    let template = files.write("t.hbs", "{{json this}}\n{{#each hosts}}{{nmae}}{{/each}}");
    let made = files.render(&template, "out", &[]);
    assert_eq!(made.status.code(), Some(2), "{}", stderr(&made));
    let said = stderr(&made);
    assert!(said.contains("t.hbs:2:") && said.contains("there is no \"nmae\""), "{said}");
    let made = files.render(&files.write("t.hbs", "{{json this}}"), "out", &[]);
    assert!(made.status.success() && files.read("out").contains("\"hosts\""), "{}", stderr(&made));
}

#[test]
fn what_is_refused_leaves_the_old_file() {
    let files = Files::new();
    let template = files.write("t.hbs", "new");
    files.write("out", "old");
    let made = files.render(&template, "out", &["--check", "grep -q never {}"]);
    assert_eq!(made.status.code(), Some(1), "{}", stderr(&made));
    assert!(stderr(&made).contains("the old one stays"), "{}", stderr(&made));
    assert_eq!(files.read("out"), "old");
    let made = files.render(&template, "out", &["--check", "grep -q new {}", "--reload", "false"]);
    assert_eq!(made.status.code(), Some(1), "{}", stderr(&made));
    assert_eq!(files.read("out"), "new");
    let left = fs::read_dir(files.folder.path()).expect("a folder").flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "nothing is left over");
    for wrong in ["{{#each x}", "{{nobody.knows}}"] {
        let made = files.render(&files.write("w.hbs", wrong), "out", &[]);
        assert_eq!(made.status.code(), Some(2), "{wrong}");
    }
}

/// A link leads where it led, also to where nothing is yet; what is no file stays what it is.
#[test]
fn a_link_is_followed_and_what_is_no_file_is_refused() {
    let files = Files::new();
    let template = files.write("t.hbs", "new");
    fs::create_dir(files.path("real")).expect("a folder");
    let link = |to: &str, name: &str| symlink(to, files.path(name)).expect("a link");
    for (to, name) in [("real/old", "link"), ("link", "far"), ("real/none", "dangling")] {
        link(to, name);
        files.write("real/old", "old");
        let made = files.render(&template, name, &[]);
        assert!(made.status.success(), "{}", stderr(&made));
        assert!(files.path(name).is_symlink(), "{name}");
        assert_eq!(files.read(name), "new");
    }
    link("circle", "circle");
    let fifo = files.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    link("fifo", "to-fifo");
    for (name, word) in [
        ("real", "real is there and is no regular file"),
        ("fifo", "fifo is there and is no regular file"),
        ("to-fifo", "fifo is there and is no regular file"),
        ("circle", "lead in a circle"),
    ] {
        let made = files.render(&template, name, &[]);
        assert_eq!(made.status.code(), Some(1), "{}", stderr(&made));
        assert!(stderr(&made).contains(word), "{}", stderr(&made));
    }
    assert!(fs::metadata(fifo).is_ok_and(|meta| meta.file_type().is_fifo()));
}

/// A process that is ended when the test is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_written_and_told() {
    let files = Files::new();
    let template = files.write("t.hbs", "{{#each hosts}}{{name}} {{/each}}");
    let reload = format!("echo told >> {}", files.path("told").display());
    let mut command = files.command(&template, "out", &["--watch", "--reload", &reload]);
    let _running = Running(command.stderr(Stdio::null()).spawn().expect("herder starts"));
    eventually("it is written", || async {
        files.read("out").ends_with(" password.local shop.local www.shop.local ")
    })
    .await;
    files.write("rules.toml", &RULES.replace("www.", "new."));
    eventually("it is written again", || async { files.read("out").contains("new.shop.local") })
        .await;
    eventually("it was told twice", || async { files.read("told") == "told\ntold\n" }).await;
}

/// The log says which of the two failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_is_not_a_file_that_stays() {
    let files = Files::new();
    let template = files.write("t.hbs", "new");
    let mut command = files.command(&template, "out", &["--watch", "--reload", "false"]);
    let log = fs::File::create(files.path("log")).expect("a file");
    let _running = Running(command.stderr(log).spawn().expect("herder starts"));
    eventually("it is told", || async { files.read("log").contains("the reload failed") }).await;
    let log = files.read("log");
    assert!(log.contains("replaced") && log.contains("not reloaded"), "{log}");
    assert!(!log.contains("not replaced"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_check_and_no_reload() {
    for option in ["--check", "--reload"] {
        let files = Files::new();
        let template = files.write("t.hbs", "new");
        let slow = format!("echo > {}; exec sleep 60", files.path("began").display());
        let mut command = files.command(&template, "out", &["--watch", option, &slow]);
        let child = command.stderr(Stdio::null()).spawn().expect("herder starts");
        let pid = child.id().to_string();
        let running = Mutex::new(Running(child));
        eventually("it is at work", || async { files.path("began").exists() }).await;
        let told = Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill runs");
        assert!(told.success());
        let since = Instant::now();
        let ended = || running.lock().expect("not poisoned").0.try_wait().expect("it was started");
        eventually("it ends", || async { ended().is_some() }).await;
        assert!(since.elapsed() < Duration::from_secs(20), "{option}: it waited");
        assert!(ended().is_some_and(|status| status.success()), "{option}");
        let names = fs::read_dir(files.folder.path()).expect("a folder");
        let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
        let is_left = |name: &OsString| name.to_string_lossy().starts_with(".out.");
        assert!(!names.iter().any(is_left), "{option}: {names:?}");
    }
}
