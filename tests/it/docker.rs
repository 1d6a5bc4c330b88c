//! A real Docker engine.
//!
//! Other tests run containers on the same engine at the same time: each looks at its own only.

use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use herder::model::{Health, Instance, Service, Snapshot, State};
use herder::providers::docker::{Docker, answers};
use herder::providers::{Depth, Provider};
use herder::settings::{Defaults, DockerSettings, DockerTls, HostTemplate};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::harness::docker::{
    Certificates, Container, Network, Port, SOCKET, Socket, StuckSocket, docker, herder_image,
    shell_image, unique,
};
use crate::harness::proxy::{self, Serving};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(endpoint: &str) -> DockerSettings {
    DockerSettings {
        endpoint: endpoint.to_owned(),
        tls: None,
        defaults: Defaults {
            constraints: Vec::new(),
            domain: None,
            exposed_by_default: true,
            serve_unchecked: true,
            run_health_checks: false,
            host_template: HostTemplate::default(),
            network: None,
        },
    }
}

/// The provider under test, and what it said last.
struct Watch {
    docker: Docker,
    last: Snapshot,
}

impl Watch {
    async fn start() -> Self {
        Self::start_at(&format!("unix://{SOCKET}")).await
    }

    async fn start_at(endpoint: &str) -> Self {
        let mut docker = Docker::new(&settings(endpoint)).expect("an endpoint");
        let last = docker.fetch(Depth::Everything).await.expect("the engine answers");
        Self { docker, last }
    }

    fn service(&self, id: &str) -> Option<&Arc<Service>> {
        self.last.services.iter().find(|service| *service.id == *id)
    }

    #[track_caller]
    fn of(&self, container: &Container) -> &Service {
        self.service(&container.id).expect("the container is known")
    }

    #[track_caller]
    fn instance(&self, container: &Container) -> &Instance {
        &self.of(container).instances[0]
    }

    /// Follows the news until this is so. Only what events bring is asked.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let follow = async {
            while !is_so(self) {
                self.docker.changed().await.expect("the events go on");
                self.last = self.docker.fetch(Depth::News).await.expect("the engine answers");
            }
        };
        let came = timeout(PATIENCE, follow).await;
        assert!(came.is_ok(), "waited in vain until {what}");
    }

    async fn until_state(&mut self, container: &Container, state: &State) {
        let is_so = |watch: &Self| {
            watch.service(&container.id).is_some_and(|s| s.instances[0].state == *state)
        };
        self.until(&format!("{} is {state:?}", container.name), is_so).await;
    }

    async fn until_health(&mut self, container: &Container, health: &Health) {
        let is_so = |watch: &Self| {
            let service = watch.service(&container.id);
            service.is_some_and(|s| s.instances[0].health.as_ref() == Some(health))
        };
        self.until(&format!("{} is {health:?}", container.name), is_so).await;
    }
}

fn down(word: &str) -> State {
    State::Down(word.into())
}

fn networks(instance: &Instance) -> Vec<(&str, IpAddr)> {
    let named = |a: &herder::model::Address| a.network.as_deref().map(str::to_owned);
    assert!(instance.addresses.iter().all(|a| named(a).is_some()));
    instance.addresses.iter().map(|a| (a.network.as_deref().unwrap_or(""), a.ip)).collect()
}

#[track_caller]
fn ip_in(container: &Container, network: &str) -> IpAddr {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    container.inspect(&format).parse().expect("an address")
}

#[tokio::test]
async fn the_engine_says_its_version() {
    let version = answers(&settings(&format!("unix://{SOCKET}"))).await.expect("it answers");
    assert_eq!(version, docker(["version", "--format", "{{.Server.Version}}"]));
}

#[tokio::test]
async fn a_missing_socket_says_what_may_be_wrong() {
    let missing = format!("unix:///run/{}.sock", unique("none"));
    let error = answers(&settings(&missing)).await.expect_err("nobody there").to_string();
    assert!(error.contains(&missing) && error.contains("no such socket"), "{error}");
}

#[tokio::test]
async fn a_compose_container_has_the_name_of_its_service() {
    let labels = [
        "--label=com.docker.compose.project=my_App",
        "--label=com.docker.compose.service=Web_One",
        "--label=traefik.port=8080",
        "--expose=8080",
        "--expose=53/udp",
    ];
    let container = Container::stubborn("compose", &labels);
    let watch = Watch::start().await;
    let service = watch.of(&container);
    assert_eq!((&*service.name, service.stack.as_deref()), ("Web_One", Some("my_App")));
    let port = service.labels.get("traefik.port");
    assert_eq!(port.map(|port| &**port), Some("8080"));
    assert!(!service.health_checked && service.age_order.is_some());
    let instance = &service.instances[0];
    assert_eq!(*instance.name, *container.name);
    assert_eq!(*instance.exposed_ports, [8080]);
    assert_eq!((&instance.state, &instance.health), (&State::Running, &None));
    assert_eq!(networks(instance), [("bridge", ip_in(&container, "bridge"))]);
    assert_eq!(instance.addresses[0].shared, None, "this test runs on the host");
}

#[tokio::test]
async fn a_bare_container_comes_renames_and_goes() {
    let mut watch = Watch::start().await;
    let container = Container::stubborn("bare", &[]);
    watch.until_state(&container, &State::Running).await;
    assert_eq!(*watch.of(&container).name, *container.name);
    assert_eq!(watch.of(&container).stack, None);
    let other = unique("renamed");
    docker(["rename", &container.name, &other]);
    watch.until("it has its new name", |w| *w.of(&container).name == *other).await;
    container.tell("rm", &["--force"]);
    watch.until("it is gone", |w| w.service(&container.id).is_none()).await;
}

#[tokio::test]
async fn an_unchanged_container_stays_the_same_one() {
    let still = Container::stubborn("still", &[]);
    let mut watch = Watch::start().await;
    let before = Arc::clone(watch.service(&still.id).expect("known"));
    let other = Container::stubborn("other", &[]);
    watch.until_state(&other, &State::Running).await;
    watch.last = watch.docker.fetch(Depth::Everything).await.expect("the engine answers");
    assert!(Arc::ptr_eq(&before, watch.service(&still.id).expect("known")));
}

#[tokio::test]
async fn two_networks_are_two_addresses_in_the_order_of_names() {
    let (one, two) = (Network::create("b"), Network::create("a"));
    let container = Container::stubborn("two", &["--network", &one.name]);
    let mut watch = Watch::start().await;
    assert_eq!(networks(watch.instance(&container)).len(), 1);
    two.connect(&container);
    watch.until("it has two", |w| w.instance(&container).addresses.len() == 2).await;
    let expected = [
        (two.name.as_str(), ip_in(&container, &two.name)),
        (one.name.as_str(), ip_in(&container, &one.name)),
    ];
    assert_eq!(networks(watch.instance(&container)), expected);
    one.disconnect(&container);
    watch.until("it has one", |w| w.instance(&container).addresses.len() == 1).await;
    assert_eq!(networks(watch.instance(&container))[0].0, two.name);
}

#[tokio::test]
async fn no_network_the_hosts_and_another_containers() {
    let none = Container::stubborn("none", &["--network", "none"]);
    let host = Container::stubborn("host", &["--network", "host", "--expose", "18090"]);
    let other = Container::stubborn("other", &[]);
    let joined =
        Container::stubborn("joined", &["--network", &format!("container:{}", other.name)]);
    let watch = Watch::start().await;
    assert_eq!(*watch.instance(&none).addresses, []);
    assert_eq!(networks(watch.instance(&host)), [("host", [127, 0, 0, 1].into())]);
    assert_eq!(*watch.instance(&host).exposed_ports, [18090]);
    let bridge = [("bridge", ip_in(&other, "bridge"))];
    assert_eq!(networks(watch.instance(&joined)), bridge);
}

#[tokio::test]
async fn a_paused_and_a_stopped_container_are_known_and_down() {
    let container = Container::stubborn("paused", &["--label", "traefik.port=80"]);
    let mut watch = Watch::start().await;
    container.tell("pause", &[]);
    watch.until_state(&container, &down("paused")).await;
    container.tell("unpause", &[]);
    watch.until_state(&container, &State::Running).await;
    container.tell("kill", &[]);
    watch.until_state(&container, &down("exited")).await;
    let anew = Watch::start().await;
    assert_eq!(anew.instance(&container).state, down("exited"));
    let port = anew.of(&container).labels.get("traefik.port");
    assert_eq!(port.map(|port| &**port), Some("80"));
    container.tell("start", &[]);
    watch.until_state(&container, &State::Running).await;
}

#[tokio::test]
async fn a_container_that_only_was_created_is_down() {
    let name = unique("created");
    let id = docker(["create", "--name", &name, herder_image(), "version"]);
    let container = Container { id, name };
    let watch = Watch::start().await;
    assert_eq!(watch.instance(&container).state, down("created"));
}

#[tokio::test]
async fn a_one_off_run_is_no_replica() {
    let labels =
        ["--label=com.docker.compose.service=web", "--label=com.docker.compose.oneoff=True"];
    let container = Container::stubborn("oneoff", &labels);
    let watch = Watch::start().await;
    assert_eq!(watch.instance(&container).state, down("one-off run"));
}

#[tokio::test]
async fn health_goes_from_starting_to_healthy_to_unhealthy_and_back() {
    let mut watch = Watch::start().await;
    let check = ["--health-cmd=test -e /ok", "--health-interval=1s", "--health-retries=1"];
    let container =
        Container::stubborn("health", &[&check[..], &["--health-start-period=1h"]].concat());
    watch.until_health(&container, &Health::Failing("starting".into())).await;
    assert!(watch.of(&container).health_checked);
    container.exec(&["touch", "/ok"]);
    watch.until_health(&container, &Health::Healthy).await;
    container.exec(&["rm", "/ok"]);
    watch.until_health(&container, &Health::Failing("unhealthy".into())).await;
    container.exec(&["touch", "/ok"]);
    watch.until_health(&container, &Health::Healthy).await;
}

#[tokio::test]
async fn told_to_stop_it_is_stopping_long_before_it_ends() {
    let container = Container::stubborn("stopping", &[]);
    let mut watch = Watch::start().await;
    let mut stop = container.tell_later("stop", &["--time", "300"]);
    watch.until_state(&container, &State::Stopping).await;
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    // The engine goes on saying "running": neither a refresh nor a new start of ours believes it.
    watch.last = watch.docker.fetch(Depth::Everything).await.expect("the engine answers");
    assert_eq!(watch.instance(&container).state, State::Stopping);
    let mut anew = Watch::start().await;
    anew.until_state(&container, &State::Stopping).await;
    container.tell("kill", &[]);
    watch.until_state(&container, &down("exited")).await;
    stop.wait().expect("docker stop ends with the container");
    container.tell("start", &[]);
    watch.until_state(&container, &State::Running).await;
}

#[tokio::test]
async fn one_that_the_engine_says_nothing_about_holds_up_no_other() {
    let (stuck, other) = (Container::stubborn("stuck", &[]), Container::stubborn("other", &[]));
    let socket = StuckSocket::open();
    let mut watch = Watch::start_at(&socket.endpoint()).await;
    socket.stick(&[&stuck]);
    let is_given_up = |watch: &Watch| {
        let mut problems = watch.last.problems.iter().map(ToString::to_string);
        problems.any(|problem| problem.starts_with(&format!("{} (docker): the daemon", stuck.name)))
    };
    docker(["rename", &stuck.name, &unique("renamed")]);
    let stop = async {
        socket.until_asked().await;
        other.tell_later("stop", &["--time", "300"])
    };
    let (mut stop, ()) = tokio::join!(stop, watch.until_state(&other, &State::Stopping));
    assert!(!is_given_up(&watch), "the stop was heard while the answer was waited for");
    let third = Container::stubborn("third", &[]);
    watch.until_state(&third, &State::Running).await;
    watch.until("nobody waits any longer", is_given_up).await;
    assert_eq!(watch.instance(&stuck).state, State::Running, "as it was known before");
    // Everything is asked for: the one that is known to be slow is asked apart, and its problem stays until it answers.
    watch.last = watch.docker.fetch(Depth::Everything).await.expect("the engine answers");
    assert!(is_given_up(&watch));
    socket.stick(&[]);
    docker(["rename", &stuck.id, &unique("renamed")]);
    watch.until("it is told about again", |watch| !is_given_up(watch)).await;
    other.tell("kill", &[]);
    stop.wait().expect("docker stop ends with the container");
}

#[tokio::test]
async fn a_signal_that_is_not_its_stop_signal_changes_nothing() {
    let loud = ["sh", "-c", "trap : HUP USR1; while :; do sleep 1; done"];
    let container = Container::run("signal", shell_image(), &["--stop-signal", "SIGUSR1"], &loud);
    let mut watch = Watch::start().await;
    container.tell("kill", &["--signal", "HUP"]);
    // Something later that is seen tells that the signal was seen too, since events come in order.
    let later = unique("later");
    docker(["rename", &container.name, &later]);
    watch.until("the later event was seen", |w| *w.of(&container).name == *later).await;
    assert_eq!(watch.instance(&container).state, State::Running);
    container.tell("kill", &["--signal", "USR1"]);
    watch.until_state(&container, &State::Stopping).await;
}

#[tokio::test]
async fn a_restart_ends_in_running() {
    let container = Container::stubborn("restart", &[]);
    let mut watch = Watch::start().await;
    let mut restart = container.tell_later("restart", &["--time", "1"]);
    watch.until_state(&container, &State::Stopping).await;
    restart.wait().expect("docker restart ends");
    watch.until_state(&container, &State::Running).await;
}

#[tokio::test]
async fn waiting_can_be_given_up_without_losing_news() {
    let mut watch = Watch::start().await;
    let container = Container::stubborn("patient", &[]);
    let is_known = |watch: &Watch| watch.service(&container.id).is_some();
    let follow = async {
        while !is_known(&watch) {
            // Dropped after one look, again and again.
            let look = futures_util::poll!(Box::pin(watch.docker.changed()));
            if look.is_ready() {
                watch.last = watch.docker.fetch(Depth::News).await.expect("the engine answers");
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, follow).await.expect("the container is seen");
}

#[tokio::test]
async fn a_socket_taken_away_and_given_back() {
    let mut socket = Socket::open();
    let mut watch = Watch::start_at(&socket.endpoint()).await;
    socket.take_away().await;
    let lost = timeout(PATIENCE, async {
        loop {
            // Events of other tests may have come before the end.
            match watch.docker.changed().await {
                Ok(()) if watch.docker.fetch(Depth::News).await.is_ok() => {}
                Ok(()) => break,
                Err(_) => break,
            }
        }
    });
    lost.await.expect("the loss is noticed");
    let error = watch.docker.fetch(Depth::Everything).await.expect_err("nobody there").to_string();
    assert!(error.contains("no such socket"), "{error}");
    let container = Container::stubborn("meanwhile", &[]);
    socket.give_back();
    watch.last = watch.docker.fetch(Depth::News).await.expect("the engine answers again");
    assert_eq!(watch.instance(&container).state, State::Running);
    container.tell("pause", &[]);
    watch.until_state(&container, &down("paused")).await;
}

#[tokio::test]
async fn it_leaves_no_connection_behind() {
    let socket = Socket::open();
    let watch = Watch::start_at(&socket.endpoint()).await;
    let open = async |count: usize| {
        let wait = async {
            while socket.connections() != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.is_ok()
    };
    assert!(open(1).await, "the events keep one connection, and nothing else does");
    drop(watch);
    assert!(open(0).await, "the events' connection ends with the provider");
}

#[tokio::test]
async fn the_engine_over_tcp_on_this_host() {
    let port = Port::open(None).await;
    let container = Container::stubborn("tcp", &["--publish", "127.0.0.1::8080"]);
    let mut watch = Watch::start_at(&format!("tcp://127.0.0.1:{}", port.number)).await;
    let addresses = &watch.instance(&container).addresses;
    assert_eq!(addresses[0].ip, ip_in(&container, "bridge"), "bridges are at hand on the host");
    container.tell("pause", &[]);
    watch.until_state(&container, &down("paused")).await;
}

/// The engine as a server behind Herder. What the command line asks for is an upgrade of a request that has a body.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_a_container_passes_through_herder() {
    let port = Port::open(None).await;
    let engine = ([127, 0, 0, 1], port.number).into();
    let serving = Serving::start(proxy::settings(), &[("PathPrefix:/", &[engine])]);
    let container = Container::stubborn("exec", &[]);
    let endpoint = format!("tcp://{}", serving.addr);
    let mut command = tokio::process::Command::new("docker");
    command.args(["--host", &endpoint, "exec", "--interactive", &container.id, "cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut command = command.spawn().expect("docker");
    let mut stdin = command.stdin.take().expect("its input");
    stdin.write_all(b"there and back").await.expect("taken");
    drop(stdin);
    let output =
        timeout(PATIENCE, command.wait_with_output()).await.expect("it ends").expect("it ran");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "there and back");
}

#[tokio::test]
async fn the_engine_behind_tls_wants_our_certificate_and_shows_its_own() {
    let (right, wrong) = (Certificates::make(), Certificates::make());
    let port = Port::open(Some(right.acceptor())).await;
    let mut settings = settings(&format!("tcp://127.0.0.1:{}", port.number));
    let mut asked = async |ca: &Certificates, own: &Certificates| {
        let (cert, key) = (own.file("client.pem"), own.file("client.key"));
        settings.tls = Some(DockerTls { ca: ca.file("ca.pem"), cert, key });
        answers(&settings).await.map_err(|error| error.to_string())
    };
    let version = docker(["version", "--format", "{{.Server.Version}}"]);
    assert_eq!(asked(&right, &right).await, Ok(version));
    let stranger = asked(&wrong, &right).await.expect_err("another authority");
    assert!(stranger.contains("TLS"), "{stranger}");
    asked(&right, &wrong).await.expect_err("a certificate nobody knows");
}

/// Set in the container that the next test starts: the id of the container to look at, and of one on the host's
/// network.
const INSIDE: &str = "HERDER_TEST_INSIDE";

/// This test program runs itself in a container, and says there what it sees.
#[tokio::test]
async fn in_a_container_it_knows_its_own_networks_and_the_way_to_the_host() {
    if let Ok(ids) = std::env::var(INSIDE) {
        return say_addresses(&ids).await;
    }
    let (ours, theirs) = (Network::create("ours"), Network::create("theirs"));
    let target = Container::stubborn("target", &["--network", &ours.name]);
    theirs.connect(&target);
    let host = Container::stubborn("onhost", &["--network", "host"]);
    let program = std::env::current_exe().expect("a test is a program");
    let said = docker([
        "run",
        "--rm",
        // Not the id, which a host name is otherwise.
        "--hostname=balancer",
        &format!("--network={}", ours.name),
        &format!("--env={INSIDE}={},{}", target.id, host.id),
        &format!("--volume={}:/it:ro", program.display()),
        &format!("--volume={SOCKET}:{SOCKET}"),
        "--entrypoint=/it",
        herder_image(),
        "--exact",
        "--nocapture",
        "docker::in_a_container_it_knows_its_own_networks_and_the_way_to_the_host",
    ]);
    let gateway = format!("{{{{(index .NetworkSettings.Networks \"{}\").Gateway}}}}", ours.name);
    for line in [
        format!("{} {} shared=Some(true)", ours.name, ip_in(&target, &ours.name)),
        format!("{} {} shared=Some(false)", theirs.name, ip_in(&target, &theirs.name)),
        format!("host {} shared=None", target.inspect(&gateway)),
    ] {
        assert!(said.lines().any(|said| said.ends_with(&line)), "{line:?} is not in:\n{said}");
    }
}

#[expect(clippy::print_stdout, reason = "the test outside reads it")]
async fn say_addresses(ids: &str) {
    let mut watch = Watch::start().await;
    for id in ids.split(',') {
        // The engine may have this container itself in its list a moment before it knows its networks.
        let is_known = |watch: &Watch| {
            watch.service(id).is_some_and(|service| !service.instances[0].addresses.is_empty())
        };
        watch.until("its addresses are known", is_known).await;
        let service = watch.service(id).expect("the container is known");
        for address in &service.instances[0].addresses {
            let network = address.network.as_deref().unwrap_or("-");
            println!("{network} {} shared={:?}", address.ip, address.shared);
        }
    }
}
