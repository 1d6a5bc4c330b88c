//! A newcomer's way with Docker: the quickstart as it stands, the README's lines, a health check that fails and recovers.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::docs::{blocks, run as run_block};
use crate::harness::compose::{Image, Project, run};
use crate::harness::docker::{Container, SOCKET, checked_image, docker, herder_image, unique};
use crate::harness::eventually;
use crate::harness::herder::Herder;

/// Asks for a host at a port of this machine. Gives the status and the answer's head and body.
async fn ask(client: &reqwest::Client, port: u16, host: &str) -> (u16, String) {
    let request = client.get(format!("http://127.0.0.1:{port}/")).header("host", host);
    match request.send().await {
        Ok(answer) => {
            let (status, head) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
            (status, head + &answer.text().await.unwrap_or_else(|error| error.to_string()))
        }
        Err(error) => (0, error.to_string()),
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_serve_in_turn_and_stopping_one_loses_nothing() {
    let image = Image::build("quickstart");
    let project = Project::new(&image);
    run(&mut project.compose(&["up", "-d", "--scale", "web-test=3"]));
    let host = format!("web-test.{}.local", project.name);
    let client = client();
    let serving = || async {
        let mut names = BTreeSet::new();
        for _ in 0..3 {
            let (status, answer) = ask(&client, project.http, &host).await;
            names.insert((status, answer.split("Real-Server: ").nth(1).map(str::to_owned)));
        }
        names.iter().all(|(status, name)| *status == 200 && name.is_some()).then_some(names.len())
    };
    eventually("three serve in turn", || async { serving().await == Some(3) }).await;
    let page = client.get(format!("http://127.0.0.1:{}/", project.admin)).send().await;
    assert!(page.expect("the page").text().await.expect("text").contains(&host));

    let done = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (client, host, done) = (client.clone(), host.clone(), Arc::clone(&done));
            let port = project.http;
            tokio::spawn(async move {
                let (mut count, mut lost) = (0, Vec::new());
                while !done.load(Relaxed) {
                    let (status, answer) = ask(&client, port, &host).await;
                    count += 1;
                    if status != 200 {
                        lost.push((status, answer));
                    }
                }
                (count, lost)
            })
        })
        .collect();
    let ids = run(&mut project.compose(&["ps", "-q", "web-test"]));
    let first = ids.lines().next().expect("a container").to_owned();
    tokio::task::spawn_blocking(move || docker(["stop", &first])).await.expect("stopped");
    eventually("two serve in turn", || async { serving().await == Some(2) }).await;
    done.store(true, Relaxed);
    let mut all = 0;
    for client in load {
        let (count, lost) = client.await.expect("no panic");
        assert_eq!(lost, [], "of {count}");
        all += count;
    }
    assert!(all > 100, "only {all}");
}

/// The README's lines for the quickstart, as they stand but for the build, the project's name and the ports.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_lines_run() {
    let image = Image::build("readme");
    let project = Project::new(&image);
    let here = |block: &str| {
        let settings = format!(
            "cd {}\nexport HERDER_IMAGE={} COMPOSE_PROJECT_NAME={} HTTP_PORT={} ADMIN_PORT={}\n\
             export HERDER_ADMIN=127.0.0.1:{}\n",
            env!("CARGO_MANIFEST_DIR"),
            image.0,
            project.name,
            project.http,
            project.admin,
            project.admin
        );
        let block = block
            // No registry: the script that users have has built it.
            .replace("docker build -t herder .", "docker image inspect $HERDER_IMAGE >/dev/null")
            .replace("proxy-test", &project.name)
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", project.http));
        settings + &block
    };
    let starting = blocks("docker");
    assert!(!starting.is_empty());
    for block in &starting {
        let (start, call) = block.split_once("curl ").expect("the last line asks");
        run_block(&here(start));
        let call = here(&format!("curl --silent --show-error --include {call}"));
        eventually("the README's call is answered", || async {
            run_block(&call).contains("Real-Server: ")
        })
        .await;
    }
    let running = blocks("docker-running");
    assert!(!running.is_empty());
    for block in running {
        let said = run_block(&here(&block));
        assert!(said.contains(&format!("web-test.{}.local", project.name)), "{said}");
    }
}

/// Each `docker run` of the docs starts, but for names and ports.
#[tokio::test(flavor = "multi_thread")]
async fn the_docs_docker_lines_run() {
    let image = Image::build("docs");
    let blocks = blocks("docker-example");
    assert!(!blocks.is_empty());
    for block in blocks {
        let name = unique("docs");
        let said = run_block(
            &block
                .replace("--name herder", &format!("--name {name}"))
                .replace("-p 8080:8080 -p 127.0.0.1:8000:8000", "-p 127.0.0.1::8080")
                .replace("\n    herder run", &format!("\n    {} run", image.0)),
        );
        if !block.contains("docker run") {
            assert!(!said.is_empty(), "{block}");
            continue;
        }
        let container = Container { id: said.trim().to_owned(), name };
        eventually("its own check passes", || async {
            container.inspect("{{.State.Health.Status}}") == "healthy"
        })
        .await;
    }
}

/// The image's own check, whatever is run in it. Only its times are made shorter.
#[tokio::test(flavor = "multi_thread")]
async fn the_images_check_asks_what_runs() {
    let image = Image::build("own-check");
    let times = ["--health-interval=1s", "--health-retries=1"];
    for command in [&["web-test"][..], &["web-test", "--http=:9090"], &["demo", "--admin=:9000"]] {
        let container = Container::run("own-check", &image.0, &times, command);
        let health = || container.inspect("{{.State.Health.Status}}");
        eventually(&format!("{command:?} is well"), || async { health() == "healthy" }).await;
        if command == ["web-test"] {
            let address = container.inspect("{{.NetworkSettings.IPAddress}}");
            let fail = client().post(format!("http://{address}:8080/health/fail")).send().await;
            assert!(fail.expect("the test service answers").status().is_success());
            eventually("it is ill", || async { health() == "unhealthy" }).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_reads_as_the_herder_of_its_container_does() {
    let image = Image::build("own-explain");
    let labels = ["--label", "traefik.enable=true", "--label", "traefik.port=8080"];
    let web = Container::run("explained", herder_image(), &labels, &["web-test"]);
    let group = std::fs::metadata(SOCKET).expect("the engine's socket").gid().to_string();
    let mount = format!("{SOCKET}:{SOCKET}");
    let socket = ["-v", &mount, "--group-add", &group];
    let run = ["run", "--docker", "--docker.domain=first.e2e"];
    let herder = Container::run("own-explain", &image.0, &socket, &run);
    let said = herder.exec(&["/herder", "explain", &web.name]);
    assert!(said.contains(".first.e2e"), "{said}");
    let said = herder.exec(&["/herder", "explain", "--docker.domain=second.e2e", &web.name]);
    assert!(said.contains(".second.e2e") && !said.contains(".first.e2e"), "{said}");
    // What it is told besides leaves the rest as it is.
    let said = herder.exec(&["/herder", "explain", "--docker", &web.name]);
    assert!(said.contains(".first.e2e") && said.contains("By these settings"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_moves_a_server_in_and_out() {
    let args = ["run", "--docker", "--docker.domain=health.e2e", "--docker.exposedByDefault=false"];
    let herder = Herder::start(&args);
    let labels = ["--label", "traefik.enable=true", "--label", "traefik.port=8080"];
    let container = Container::run("checked", checked_image(), &labels, &["web-test"]);
    let host = format!("{}.health.e2e", container.name.replace('_', "-").to_lowercase());
    let status = |wanted: u16| {
        let (herder, host) = (&herder, &host);
        eventually("the check decides", move || async move {
            herder.get(host, "/").await.status == wanted
        })
    };
    let explained_as = |name: &str| {
        let explain = Command::new(env!("CARGO_BIN_EXE_herder"))
            .args(["explain", "--docker", "--docker.domain=health.e2e", name])
            .env("HERDER_ADMIN", herder.admin.to_string())
            .output();
        String::from_utf8(explain.expect("herder explain").stdout).expect("text")
    };
    let explained = || async { explained_as(&container.name) };
    let address = container.inspect("{{.NetworkSettings.IPAddress}}");
    let switch = |to: &'static str| {
        let url = format!("http://{address}:8080/health/{to}");
        async move {
            let answer = client().post(url).send().await.expect("the test service answers");
            assert!(answer.status().is_success());
        }
    };
    // Known at once, and not asked before its check has passed.
    status(503).await;
    assert!(explained().await.contains("starting"), "{}", explained().await);
    let slip = explained_as(&format!("{}x", container.name));
    assert!(slip.contains(&format!("Did you mean {}?", container.name)), "{slip}");
    let asked_host = explained_as(&host);
    assert!(asked_host.contains(&format!("`herder explain http://{host}/`")), "{asked_host}");
    let other = explained_as("nothing-of-that-name");
    assert!(other.contains("`herder explain` lists those"), "{other}");
    status(200).await;
    switch("fail").await;
    status(503).await;
    assert!(explained().await.contains("unhealthy"), "{}", explained().await);
    switch("pass").await;
    status(200).await;
}
