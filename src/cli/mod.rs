//! The command line: one file per subcommand.

mod args;
pub mod check;
pub mod completions;
pub mod config;
pub mod demo;
mod discover;
pub mod explain;
mod files;
mod first_process;
pub mod healthcheck;
pub mod render;
pub mod run;
mod serve;
mod sources;
mod variables;
pub mod version;
pub mod web_test;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tokio::runtime::Builder;

use crate::telemetry::{self, LogArgs, Writes};

use args::Said;

/// An active load balancer for Docker and Rancher: label a container and it is on the air.
///
/// Without a command, `run` is meant: `herder --docker.domain=local`.
#[derive(Debug, Parser)]
#[command(
    name = "herder",
    version,
    max_term_width = 100,
    override_usage = "herder [COMMAND] [OPTIONS]"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands. What each does stands at its arguments, where `--help` has it from: a word here would stand before that.
#[derive(Debug, clap::Subcommand)]
#[allow(missing_docs)]
pub enum Command {
    Run(Box<run::Args>),
    Demo(demo::Args),
    Check(Box<check::Args>),
    Config(Box<config::Args>),
    Explain(Box<explain::Args>),
    Render(Box<render::Args>),
    Healthcheck(healthcheck::Args),
    WebTest(web_test::Args),
    Version(version::Args),
    Completions(completions::Args),
}

/// The whole program: reads the arguments, does what was asked for. What goes wrong is one line on standard error.
pub fn main() -> ExitCode {
    done(program()).unwrap_or_else(|error| {
        eprintln!("herder: cannot start; allow more open files (`ulimit -n`) and threads (`ulimit -u`): {error}");
        ExitCode::from(2)
    })
}

/// Does this, and does not wait for what nobody waits for any more: a name that a command has given up on is still looked up for as
/// long as its server says nothing, by a thread that cannot be stopped.
fn done<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

async fn program() -> ExitCode {
    let args = with_command(std::env::args_os().collect());
    let (args, said) = match args::complete(first_process::beside(args)) {
        Ok(complete) => complete,
        Err(error) => {
            eprintln!("herder: {error:#}");
            return ExitCode::from(2);
        }
    };
    let cli = Cli::parse_from(args);
    // rustls must know its cryptography before anything speaks TLS; only the first call counts.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Dropped last: what waits to be written is written then.
    let log = match cli.command.logs().map(|(args, writes)| telemetry::start(args, writes)) {
        Some(Err(error)) => {
            eprintln!("herder: cannot start the log; allow more threads (`ulimit -u`): {error}");
            return ExitCode::from(2);
        }
        log => log.and_then(Result::ok).unwrap_or_default(),
    };
    run(cli, &said).await.unwrap_or_else(|error| {
        log.say(&format!("herder: {error:#}"));
        ExitCode::from(2)
    })
}

impl Command {
    /// What it logs, where it does, and who writes that: one that others wait for does not wait for its log.
    fn logs(&self) -> Option<(&LogArgs, Writes)> {
        match self {
            Self::Run(args) => Some((&args.logs, Writes::Later)),
            Self::Demo(args) => Some((&args.logs, Writes::Later)),
            Self::Render(args) if args.watch => Some((&args.logs, Writes::Later)),
            Self::Render(args) => Some((&args.logs, Writes::AtOnce)),
            Self::Check(_)
            | Self::Config(_)
            | Self::Explain(_)
            | Self::Healthcheck(_)
            | Self::WebTest(_)
            | Self::Version(_)
            | Self::Completions(_) => None,
        }
    }
}

async fn run(cli: Cli, said: &Said) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(*args, said).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Check(args) => check::run(*args, said).await,
        Command::Config(args) => config::run(&args, said),
        Command::Explain(args) => explain::run(*args).await,
        Command::Render(args) => Box::pin(render::run(*args)).await,
        Command::Healthcheck(args) => healthcheck::run(args).await,
        Command::WebTest(args) => web_test::run(args).await,
        Command::Version(args) => version::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    }
}

/// Prints what a command has found. Whoever has read enough of it, as `head` does, has closed the pipe: that is no failure.
fn print(text: impl AsRef<[u8]>) -> io::Result<()> {
    match io::stdout().write_all(text.as_ref()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// `herder --http :80` means `herder run --http :80`.
fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let asks_for_itself = ["-h", "--help", "-V", "--version"];
    let first = args.get(1).and_then(|arg| arg.to_str());
    let is_run = match first {
        None => args.len() < 2,
        Some(first) => first.starts_with('-') && !asks_for_itself.contains(&first),
    };
    if is_run {
        args.insert(args.len().min(1), "run".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, meant: &str) {
        let typed = typed.split(' ').map(OsString::from).collect();
        let meant: Vec<OsString> = meant.split(' ').map(OsString::from).collect();
        assert_eq!(with_command(typed), meant);
    }

    #[test]
    fn without_a_command_run_is_meant() {
        check("herder", "herder run");
        check("herder --http :80", "herder run --http :80");
        check("herder demo --http :80", "herder demo --http :80");
        check("herder --help", "herder --help");
    }

    #[test]
    fn a_command_is_done_when_it_says_so() {
        let (_never, says) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let result = done(async {
                // As a name is looked up whose server does not answer.
                let asked = tokio::task::spawn_blocking(move || says.recv());
                tokio::time::timeout(std::time::Duration::from_millis(10), asked).await.is_err()
            });
            let _ = tell.send(result.expect("a runtime"));
        });
        let patience = std::time::Duration::from_secs(20);
        assert_eq!(told.recv_timeout(patience), Ok(true), "it waits");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
