//! `herder healthcheck`: is a running instance well? For `HEALTHCHECK` in an image without a shell.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Command;
use super::first_process::first_process;
use crate::model::port_of;
use crate::settings::{Admin, Listen};

/// Asks a running Herder's /ping, and ends with 0 when it answers 200, else with 1.
///
/// It looks for the admin side where --admin or HERDER_ADMIN says; else, in a container, it asks what runs there: a `run` or
/// `demo` where its own flags and settings file put the admin side, a `web-test` for its /health; else where TRAEFIK_ADMIN_PORT
/// says, or at :8000. It reads no settings file of its own: outside a container, where one moves the admin side, write --admin.
/// With --url it asks any HTTP address instead, so that images without a shell can check other services too.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The admin side's address; none given: that of the Herder of this container, the catalog's variable, the default.
    #[arg(long, value_name = "ADDRESS", env = "HERDER_ADMIN")]
    #[arg(
        help = "The admin side's address, as it was given to `herder run` [default: as the Herder of this container was told, else :8000, or the port in TRAEFIK_ADMIN_PORT]"
    )]
    pub admin: Option<String>,
    /// Ask this address instead: `http://HOST:PORT/PATH`
    #[arg(long)]
    pub url: Option<String>,
    /// How long to wait for an answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub timeout: u64,
}

/// The variable of the catalog entry that says where the admin side is, where `HERDER_ADMIN` does not.
const CATALOG_ADMIN_PORT: &str = "TRAEFIK_ADMIN_PORT";

/// Where the admin side is unless something else is said.
const ADMIN_DEFAULT: Admin = Admin::At(Listen { ip: None, port: 8000 });

/// The page of the admin side that says whether Herder serves.
const PING: &str = "/ping";

/// Asks once, says in one line how it went.
///
/// # Errors
/// When standard output cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let limit = Duration::from_secs(args.timeout);
    let first = first_process().await;
    let (line, code) = match target(&args, first) {
        Err(error) => (format!("unhealthy: {error:#}"), ExitCode::FAILURE),
        Ok(Target::Nobody) => {
            ("healthy: it runs, and listens nowhere".to_owned(), ExitCode::SUCCESS)
        }
        Ok(Target::Url(url)) => match timeout(limit, ask(&url)).await {
            Ok(Ok(StatusCode::OK)) => {
                (format!("healthy: {url} answered {}", StatusCode::OK), ExitCode::SUCCESS)
            }
            Ok(Ok(status)) => (format!("unhealthy: {url} answered {status}"), ExitCode::FAILURE),
            Ok(Err(error)) => (format!("unhealthy: {url}: {error:#}"), ExitCode::FAILURE),
            Err(_) => {
                let seconds = limit.as_secs();
                (format!("unhealthy: {url}: no answer within {seconds} s"), ExitCode::FAILURE)
            }
        },
    };
    // On standard output, since that is what `docker inspect` keeps of a health check.
    writeln!(std::io::stdout(), "{line}").context("cannot write")?;
    Ok(code)
}

/// Whom to ask.
#[derive(Debug)]
enum Target {
    /// This address.
    Url(Uri),
    /// Nobody: what runs there listens nowhere, and is well while it runs.
    Nobody,
}

/// Whom to ask. `first` is what the first process does, where it is a Herder.
fn target(args: &Args, first: Option<Command>) -> anyhow::Result<Target> {
    if let Some(url) = &args.url {
        let uri: Uri = url.parse().with_context(|| format!("--url {url} is not a URL"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            bail!("--url {url} is not one to ask: write http://HOST:PORT/PATH");
        }
        uri.authority().map(port_of).transpose().map_err(|why| anyhow!("--url {url}: {why}"))?;
        return Ok(Target::Url(uri));
    }
    let (admin, path) = match (&args.admin, first) {
        (Some(text), _) => (parsed(text)?, PING),
        (None, Some(Command::WebTest(web_test))) => (Admin::At(web_test.http), "/health"),
        (None, Some(Command::Run(run))) => (run.settings.admin.unwrap_or(ADMIN_DEFAULT), PING),
        (None, Some(Command::Demo(demo))) => (demo.admin.unwrap_or(ADMIN_DEFAULT), PING),
        (None, Some(Command::Render(_))) => return Ok(Target::Nobody),
        (None, _) => match std::env::var(CATALOG_ADMIN_PORT) {
            Ok(port) if !port.is_empty() => (parsed(&port)?, PING),
            _ => (ADMIN_DEFAULT, PING),
        },
    };
    let Admin::At(listen) = admin else {
        bail!(
            "the admin side is switched off, so nobody answers /ping; give another address with --url"
        );
    };
    let addr = SocketAddr::new(reachable(listen.ip), listen.port);
    Ok(Target::Url(format!("http://{addr}{path}").parse()?))
}

fn parsed(text: &str) -> anyhow::Result<Admin> {
    text.parse().map_err(|why| anyhow!("the admin address {why}"))
}

/// Where something that listens on `ip` is reached from the same host.
fn reachable(ip: Option<IpAddr>) -> IpAddr {
    match ip {
        None => Ipv4Addr::LOCALHOST.into(),
        Some(ip) if !ip.is_unspecified() => ip,
        Some(IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
        Some(IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// One GET on a connection of its own. Only the status is read: hyper bounds the head by itself, and the body
/// goes when the connection does.
async fn ask(url: &Uri) -> anyhow::Result<StatusCode> {
    let host = url.host().context("the URL names no host")?;
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((name, url.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let authority = url.authority().map_or(host, |authority| authority.as_str());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(http::header::HOST, authority)
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    // A task of its own, which ends with its sender; what ends it early comes back through the sender.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.status())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::first_process::command_of;
    use crate::demo::web_test::WebTest;

    fn args(admin: Option<&str>, url: Option<&str>) -> Args {
        Args { admin: admin.map(Into::into), url: url.map(Into::into), timeout: 3 }
    }

    #[track_caller]
    fn check(args: &Args, expected: &str) {
        check_beside("", args, expected);
    }

    /// The same beside a first process with this command line.
    #[track_caller]
    fn check_beside(first: &str, args: &Args, expected: &str) {
        let first = command_of(first.replace(' ', "\0").as_bytes());
        let target = target(args, first).expect("somebody, or nobody");
        assert!(matches!(target, Target::Url(url) if url == expected), "{expected}");
    }

    #[track_caller]
    fn check_refused(args: &Args, expected: &str) {
        let error = format!("{:#}", target(args, None).expect_err("refused"));
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn asks_where_the_admin_side_is() {
        check(&args(Some(":8000"), None), "http://127.0.0.1:8000/ping");
        check(&args(Some("9000"), None), "http://127.0.0.1:9000/ping");
        check(&args(Some("0.0.0.0:9000"), None), "http://127.0.0.1:9000/ping");
        check(&args(Some("[::]:9000"), None), "http://[::1]:9000/ping");
        check(&args(Some("10.0.0.1:9000"), None), "http://10.0.0.1:9000/ping");
        check(&args(Some("off"), Some("http://web:8080/health?x")), "http://web:8080/health?x");
    }

    #[test]
    fn asks_what_runs_in_its_container() {
        let nothing = args(None, None);
        check_beside("/herder web-test ", &nothing, "http://127.0.0.1:8080/health");
        check_beside("/herder web-test --http :90 ", &nothing, "http://127.0.0.1:90/health");
        check_beside("/herder run --admin=:9000 ", &nothing, "http://127.0.0.1:9000/ping");
        check_beside("/herder --admin :9000 ", &nothing, "http://127.0.0.1:9000/ping");
        check_beside("/sbin/docker-init -- /herder demo ", &nothing, "http://127.0.0.1:8000/ping");
        // What is no Herder, or cannot be read, says nothing.
        check_beside("/sbin/init ", &nothing, "http://127.0.0.1:8000/ping");
        check_beside("/herder web-test --nonsense ", &nothing, "http://127.0.0.1:8000/ping");
        check_beside("/herder web-test ", &args(Some(":1"), None), "http://127.0.0.1:1/ping");
        let render = command_of(b"/herder\0render\0a.hbs\0a.cfg\0--watch\0");
        assert!(matches!(target(&nothing, render), Ok(Target::Nobody)));
    }

    #[test]
    fn says_why_it_cannot_ask() {
        check_refused(&args(Some("80a"), None), "write :8080 or");
        check_refused(&args(Some("off"), None), "switched off");
        check_refused(&args(None, Some("https://a/")), "write http://HOST");
        check_refused(&args(None, Some("/health")), "write http://HOST");
        check_refused(&args(None, Some("http://a b/")), "is not a URL");
        check_refused(&args(None, Some("http://a:99999/")), "\"99999\" is not a port");
    }

    #[tokio::test]
    async fn tells_well_from_unwell() {
        let web = WebTest::bind("127.0.0.1:0".parse().expect("an address"), "web").expect("bound");
        let url = format!("http://{}/health", web.local_addr());
        let switch = web.health_switch();
        tokio::spawn(web.run(std::future::pending()));
        let args = args(None, Some(&url));
        assert_eq!(run(args.clone()).await.expect("printed"), ExitCode::SUCCESS);
        switch.set_failing(true);
        assert_eq!(run(args).await.expect("printed"), ExitCode::FAILURE);
    }

    #[tokio::test]
    async fn a_silent_server_is_unhealthy_in_time() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/", silent.local_addr().expect("an address"));
        let args = Args { timeout: 1, ..args(None, Some(&url)) };
        assert_eq!(run(args).await.expect("printed"), ExitCode::FAILURE);
    }
}
