//! `herder web-test`: the test service of the examples.

use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::demo::web_test::WebTest;
use crate::settings::Listen;

/// A service to try routes with: it answers who served the request and what arrived.
///
/// Every path answers with `Real-Server: NAME`, the request line and all headers. `/health` answers 200, until
/// `curl -X POST http://ADDRESS/health/fail` makes it answer 503; `/health/pass` turns it back.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = ":8080", env = "WEB_TEST_HTTP")]
    pub http: Listen,
    /// What the answers call this server [default: the host name]
    #[arg(long, env = "HOSTNAME", hide_env_values = true)]
    pub name: Option<String>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the address cannot be bound.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Before the port opens: process 1 ignores a signal that nobody waits for, and `docker stop` would take 10 s.
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let name = args.name.filter(|name| !name.is_empty()).unwrap_or_else(host_name);
    let service = WebTest::bind(args.http, name.as_str())
        .with_context(|| format!("cannot listen on {}", args.http))?;
    info!(address = %service.local_addr(), name, "serving");
    service
        .run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(ExitCode::SUCCESS)
}

/// The kernel's name for this host; in a container that is the container's.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "web-test".to_owned() } else { name.to_owned() }
}
