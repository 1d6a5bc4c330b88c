//! `herder run`: everything.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::args::Said;
use crate::cli::serve::{self, Signals};
use crate::cli::sources;
use crate::control::guards::{self, Invalid};
use crate::settings::Typed;
use crate::telemetry::LogArgs;

/// Reads the labels of running containers, and sends requests to them.
///
/// Without --docker and --rancher those of the two that answer are used. Each setting is a flag and a variable;
/// the variables of the community catalog's Traefik entry (TRAEFIK_HTTP_PORT, TRAEFIK_ADMIN_PORT, CONF_INTERVAL,
/// …) are understood too.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) settings: Typed,
    #[command(flatten)]
    pub(super) logs: LogArgs,
}

/// Runs until a stop signal, and until what was under way then has ended.
///
/// # Errors
/// When a setting is wrong or would let nobody in, a port is taken, or there is no provider.
pub(super) async fn run(args: Args, said: &Said) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    if let Some(file) = &said.file {
        tracing::info!(file = %file.display(), "settings read");
    }
    for note in &said.notes {
        tracing::warn!("{note}");
    }
    let Some(settings) = signals.unless_stopped(sources::settings(args.settings)).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let guards = guards::invalid(&settings);
    refuse_closed(&guards)?;
    serve::serve(settings, guards, signals, |_| ()).await
}

/// Nobody is to find out at a closed door that a setting could not be meant.
fn refuse_closed(guards: &[Invalid]) -> anyhow::Result<()> {
    let fatal = guards.iter().filter(|guard| guard.is_fatal);
    let lines: Vec<String> = fatal.map(|guard| format!("\n  {}", guard.text)).collect();
    if !lines.is_empty() {
        bail!("who was to get in could not:{}", lines.concat());
    }
    Ok(())
}
