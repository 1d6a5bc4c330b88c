//! `herder run`: everything.

use std::process::ExitCode;

use crate::cli::{args, serve, sources};
use crate::settings::Typed;
use crate::telemetry::{self, LogArgs};

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
    logs: LogArgs,
}

/// Runs until a stop signal, and until what was under way then has ended.
///
/// # Errors
/// When a setting is wrong, a port is taken, or there is no provider.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    telemetry::start(&args.logs);
    if let Some(file) = &args::said().file {
        tracing::info!(file = %file.display(), "settings read");
    }
    for note in &args::said().notes {
        tracing::warn!("{note}");
    }
    let settings = sources::settings(args.settings).await?;
    serve::serve(settings, |_| ()).await
}
