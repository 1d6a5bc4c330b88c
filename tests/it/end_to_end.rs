//! The whole of Herder beside a real Docker engine: label a container and it is on the air.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use crate::harness::docker::{Container, DeafPort, Network, Socket, herder_image, unique};
use crate::harness::eventually;
use crate::harness::herder::Herder;

const DOCKER: &[&str] =
    &["run", "--docker", "--docker.domain=e2e", "--docker.exposedByDefault=false"];

/// A test service with these labels besides the usual ones.
fn web_test(name: &str, labels: &[&str]) -> Container {
    let mut options: Vec<String> = vec!["--label".into(), "traefik.enable=true".into()];
    for label in labels {
        options.extend(["--label".to_owned(), (*label).to_owned()]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Container::run(name, herder_image(), &options, &["web-test"])
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_become_routes_and_go_with_their_container() {
    let herder = Herder::start(DOCKER);
    let container = web_test("good", &["traefik.port=8080"]);
    let mistyped = web_test("bad", &["traefik.port=80a"]);
    let host = |name: &str| format!("{}.e2e", name.replace('_', "-").to_lowercase());
    let (good_host, bad_host) = (host(&container.name), host(&mistyped.name));
    eventually("the container is on the air", || async {
        herder.get(&good_host, "/").await.status == 200
    })
    .await;
    eventually("the mistyped one is known and empty", || async {
        herder.get(&bad_host, "/").await.status == 503
    })
    .await;
    let page = herder.admin(&format!("/explain/{}", mistyped.name)).await.body;
    assert!(page.contains("Did you mean 80?"), "{page}");
    drop(container);
    eventually("it is gone", || async { herder.get(&good_host, "/").await.status == 404 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_about_a_url_learns_which_container_does_not_run_and_how_it_ended() {
    let herder = Herder::start(DOCKER);
    let container = web_test("ended", &["traefik.port=8080"]);
    let host = format!("{}.e2e", container.name.replace('_', "-").to_lowercase());
    eventually("it is routed", || async { herder.get(&host, "/").await.status == 200 }).await;
    container.tell("kill", &[]);
    let url = format!("/api/explain?url=http://{host}/");
    let expected = format!(
        " {}: It does not run: the orchestrator says \\\"exited\\\" (exit code 137).",
        container.name
    );
    eventually("it is named", || async { herder.admin(&url).await.body.contains(&expected) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing() {
    let mut args = DOCKER.to_vec();
    args.push("--log.level=info,herder::proxy=debug");
    let herder = std::sync::Arc::new(Herder::start(&args));
    let backend = unique("shared");
    let label = format!("traefik.frontend.rule=Host:{}.e2e", backend.replace('_', "-"));
    let group = format!("traefik.backend={backend}");
    let labels = ["traefik.port=8080", label.as_str(), group.as_str()];
    let (one, two) = (web_test("one", &labels), web_test("two", &labels));
    let host = format!("{}.e2e", backend.replace('_', "-"));
    let servers = || async {
        let api = herder.admin("/api/providers/docker/backends").await.json();
        let backends = api.as_object().cloned().unwrap_or_default();
        let name = backend.replace('_', "-");
        let mine = backends.iter().filter(|(key, _)| key.ends_with(&name));
        mine.map(|(_, b)| b["servers"].as_object().map_or(0, serde_json::Map::len)).sum::<usize>()
    };
    eventually("both serve", || async { servers().await == 2 }).await;
    let (is_enough, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let watched = std::sync::Arc::new((is_enough, count));
    let load = tokio::spawn({
        let (herder, host) = (std::sync::Arc::clone(&herder), host.clone());
        let watched = std::sync::Arc::clone(&watched);
        async move {
            let mut lost = Vec::new();
            while !watched.0.load(Relaxed) {
                let answer = herder.get(&host, "/").await;
                watched.1.fetch_add(1, Relaxed);
                if answer.status != 200 {
                    lost.push((answer.status, answer.body));
                }
            }
            lost
        }
    });
    // Before it, while it lasts, and after it.
    let many_more = async || {
        let before = watched.1.load(Relaxed);
        eventually("many more are answered", || async { watched.1.load(Relaxed) >= before + 20 })
            .await;
    };
    many_more().await;
    let stop = tokio::task::spawn_blocking(move || {
        one.tell("stop", &[]);
        one
    });
    let _one = stop.await.expect("stopped");
    eventually("the stopped one has left", || async { servers().await == 1 }).await;
    many_more().await;
    watched.0.store(true, Relaxed);
    let lost = load.await.expect("no panic");
    assert_eq!(lost, [], "of {}: {}", watched.1.load(Relaxed), herder.log());
    drop(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_back_to_the_container_that_had_it() {
    let herder = Herder::start(DOCKER);
    let host = format!("{}.e2e", unique("contested").replace('_', "-"));
    let label = format!("traefik.frontend.rule=Host:{host}");
    let owner = web_test("owner", &["traefik.port=8080", &label]);
    let by = |container: &Container| {
        let (herder, host, id) = (&herder, &host, container.id.clone());
        async move {
            // Its name in its network is the beginning of its id.
            let name = id.get(..12).expect("64 digits");
            herder.get(host, "/").await.body.contains(name)
        }
    };
    eventually("its owner serves it", || by(&owner)).await;
    let other = web_test("other", &["traefik.port=8080", &label]);
    owner.tell("stop", &["--time", "1"]);
    eventually("the other one does meanwhile", || by(&other)).await;
    owner.tell("start", &[]);
    eventually("its owner does again", || by(&owner)).await;
    owner.tell("rm", &["--force"]);
    eventually("it is the other one's", || by(&other)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_networks_and_the_label_that_names_one() {
    let (first, second) = (Network::create("a"), Network::create("b"));
    let label = format!("traefik.docker.network={}", second.name);
    let mut options = vec!["--label", "traefik.enable=true", "--label", "traefik.port=8080"];
    options.extend(["--label", label.as_str(), "--network", first.name.as_str()]);
    let container = Container::run("two-nets", herder_image(), &options, &["web-test"]);
    second.connect(&container);
    let ip = container.inspect(&format!(
        "{{{{(index .NetworkSettings.Networks \"{}\").IPAddress}}}}",
        second.name
    ));
    let herder = Herder::start(DOCKER);
    eventually("it is reached by the named network", || async {
        herder.admin("/api").await.body.contains(&format!("http://{}:8080", ip.trim()))
    })
    .await;
}

/// What a proxy before the socket refuses is asked for less and less often, and what it grants is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_refuses_its_events_is_not_asked_again_and_again() {
    let port = DeafPort::open().await;
    let endpoint = format!("--docker.endpoint=tcp://127.0.0.1:{}", port.number);
    let mut args = DOCKER.to_vec();
    args.push(&endpoint);
    let container = web_test("deaf", &["traefik.port=8080"]);
    let host = format!("{}.e2e", container.name.replace('_', "-").to_lowercase());
    let herder = Herder::start(&args);
    eventually("it is routed", || async { herder.get(&host, "/").await.status == 200 }).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    // After 0.1 s, 0.2 s, 0.4 s, …: one each tenth of a second would be more than thirty.
    let lists = port.lists.load(Relaxed);
    assert!((3..=10).contains(&lists), "{lists}");
    let log = herder.log();
    let times = |words: &str| log.matches(words).count();
    let told = ["does not tell of changes", "answers again", "is lost"].map(times);
    assert_eq!(told, [1, 0, 0], "{log}");
    let page = herder.admin("/").await.body;
    assert!(page.contains("without news") && page.contains("let it pass /version"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_stay_while_docker_is_away_and_follow_when_it_is_back() {
    let mut socket = Socket::open();
    let endpoint = format!("--docker.endpoint={}", socket.endpoint());
    let mut args = DOCKER.to_vec();
    args.push(&endpoint);
    let herder = Herder::start(&args);
    let container = web_test("stays", &["traefik.port=8080"]);
    let host = format!("{}.e2e", container.name.replace('_', "-").to_lowercase());
    let is = |wanted: u16| {
        let (herder, host) = (&herder, &host);
        eventually("the route follows", move || async move {
            herder.get(host, "/").await.status == wanted
        })
    };
    is(200).await;
    socket.take_away().await;
    // It asks what may be wrong, and goes on with a sentence of its own.
    eventually("the loss is shown", || async { herder.admin("/").await.body.contains("stale") })
        .await;
    is(200).await;
    socket.give_back();
    drop(container);
    is(404).await;
}
