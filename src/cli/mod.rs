//! The command line: one file per subcommand.

pub mod completions;
pub mod healthcheck;
pub mod version;
pub mod web_test;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// An active load balancer for Docker and Rancher: label a container and it is on the air.
#[derive(Debug, Parser)]
#[command(name = "herder", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Asks a running Herder's /ping.
    Healthcheck(healthcheck::Args),
    /// A service to try routes with.
    WebTest(web_test::Args),
    /// Prints which build this is.
    Version(version::Args),
    /// Prints completions for a shell.
    Completions(completions::Args),
}

/// Does what was asked for.
///
/// # Errors
/// As the subcommand's `run`.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Healthcheck(args) => healthcheck::run(args).await,
        Command::WebTest(args) => web_test::run(args).await,
        Command::Version(args) => version::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    }
}
