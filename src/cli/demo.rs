//! `herder demo`: the whole thing on loopback, for the first minute.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::cli::serve;
use crate::demo::metadata::{Answers, Handle, Server};
use crate::demo::stack::{Container, Stack};
use crate::demo::web_test::{HealthSwitch, WebTest};
use crate::settings::{Admin, Listen, Refresh, Typed};
use crate::telemetry::LogArgs;

/// The article's test stack, as a user of Rancher imports it.
const DOCKER_COMPOSE: &str = include_str!("../../compose/rancher/docker-compose.yml");
const RANCHER_COMPOSE: &str = include_str!("../../compose/rancher/rancher-compose.yml");

/// The stack's name, and so the middle of its host.
const STACK: &str = "proxy-test";

/// How long all servers are well, and how long one of them then is not.
const WELL: Duration = Duration::from_secs(20);
const ILL: Duration = Duration::from_secs(8);

/// Shows what Herder does, without Docker or Rancher.
///
/// Starts a metadata service as Rancher 1.x has it, three test servers on loopback, and the ordinary `run` that
/// reads them over HTTP. One server fails and recovers now and then, so that the page has something to show.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where requests come in [default: 127.0.0.1:8080]
    #[arg(long, env = "HERDER_HTTP", value_name = "ADDRESS")]
    http: Option<Listen>,
    /// Where the admin page, the API and /ping are; `off` for nowhere [default: 127.0.0.1:8000]
    #[arg(long, env = "HERDER_ADMIN", value_name = "ADDRESS")]
    pub(super) admin: Option<Admin>,
    /// Everything is asked anew after this time at the latest [default: 60s]
    #[arg(long, env = "HERDER_REFRESH", value_name = "TIME")]
    refresh: Option<Refresh>,
    #[command(flatten)]
    pub(super) logs: LogArgs,
}

/// Runs until a stop signal.
///
/// # Errors
/// When a port is taken.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let signals = serve::Signals::new()?;
    let mut stack =
        Stack::read(DOCKER_COMPOSE, RANCHER_COMPOSE, STACK).map_err(|why| anyhow!(why))?;
    let mut containers = start_servers(&mut stack)?;
    let answers = || stack.answers(&containers.iter().map(|c| c.as_told()).collect::<Vec<_>>());
    let metadata = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), answers())
        .context("the demo's metadata service cannot listen")?;
    let url = format!("http://{}", metadata.local_addr());
    let handle = metadata.handle();
    tokio::spawn(metadata.run(std::future::pending()));
    tokio::spawn(async move {
        loop {
            now_and_then(&mut containers, &stack, &handle).await;
        }
    });
    let on_loopback = |port| Listen { ip: Some(Ipv4Addr::LOCALHOST.into()), port };
    let typed = Typed {
        http: args.http.or(Some(on_loopback(8080))),
        admin: args.admin.or(Some(Admin::At(on_loopback(8000)))),
        refresh: args.refresh,
        docker: Some(false),
        rancher: Some(true),
        rancher_metadata_url: Some(url),
        ..Typed::default()
    };
    let settings = typed.meant().map_err(|why| anyhow!(why))?;
    serve::serve(settings, Vec::new(), signals, greet).await
}

/// One container of the demo: a server on an address of its own.
struct Running {
    service: String,
    name: String,
    ip: IpAddr,
    health: HealthSwitch,
}

impl Running {
    /// As the metadata tells of it. Rancher's own health check would find out within seconds what we know.
    fn as_told(&self) -> Container {
        Container {
            service: self.service.clone(),
            name: self.name.clone(),
            ip: Some(self.ip),
            state: "running".to_owned(),
            health_state: Some(
                if self.health.is_failing() { "unhealthy" } else { "healthy" }.to_owned(),
            ),
        }
    }
}

/// The servers of the stack: 127.0.0.2, 127.0.0.3 … all on one port, since Rancher's metadata has one port for
/// all containers of a service. On a real host each has port 8080 to itself; here a free port is found, and put
/// into the label.
fn start_servers(stack: &mut Stack) -> anyhow::Result<Vec<Running>> {
    let mut running = Vec::new();
    for service in stack.services_mut() {
        let (port, servers) = (0..PORT_TRIES)
            .find_map(|_| bind_servers(&service.name, service.scale).ok())
            .context("the demo's servers find no port that is free on 127.0.0.2 to 127.0.0.4")?;
        service.labels.insert("traefik.port".to_owned(), port.to_string());
        for (name, server) in servers {
            let (ip, health) = (server.local_addr().ip(), server.health_switch());
            tokio::spawn(server.run(std::future::pending()));
            running.push(Running { service: service.name.clone(), name, ip, health });
        }
    }
    Ok(running)
}

/// A port that is free on one address may be taken on the next.
const PORT_TRIES: usize = 20;

fn bind_servers(service: &str, scale: u32) -> std::io::Result<(u16, Vec<(String, WebTest)>)> {
    let mut port = 0;
    let mut servers = Vec::new();
    for number in 1..=scale {
        let ip = IpAddr::from([127, 0, 0, u8::try_from(1 + number).unwrap_or(u8::MAX)]);
        let name = format!("{STACK}-{service}-{number}");
        let server = WebTest::bind(Listen { ip: Some(ip), port }, name.as_str())?;
        port = server.local_addr().port();
        servers.push((name, server));
    }
    Ok((port, servers))
}

/// Lets one server fail for a while.
async fn now_and_then(containers: &mut [Running], stack: &Stack, handle: &Handle) {
    tokio::time::sleep(WELL).await;
    let tell = |containers: &[Running]| {
        let answers: Answers =
            stack.answers(&containers.iter().map(Running::as_told).collect::<Vec<_>>());
        handle.set(answers);
    };
    // The first goes to the end, so that each has its turn.
    containers[0].health.set_failing(true);
    tell(containers);
    tokio::time::sleep(ILL).await;
    containers[0].health.set_failing(false);
    tell(containers);
    containers.rotate_left(1);
}

/// What a newcomer needs, on standard output.
fn greet(addresses: serve::Addresses) {
    let http = reachable(addresses.http);
    let page = match addresses.admin {
        Some(admin) => format!("Watch the page:\n\n    http://{}\n\n", reachable(admin)),
        None => String::new(),
    };
    let text = format!(
        "\nThe demo is up. Three servers take turns:\n\n    curl -H Host:web-test.{STACK}.local http://{http}\n\n\
         {page}One server fails and recovers now and then. Ctrl-C ends it.\n\n"
    );
    // Nobody reads it where standard output is closed.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr.ip().is_unspecified() {
        true => SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())),
        false => addr,
    }
}
