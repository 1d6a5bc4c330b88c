//! `herder completions`: what the shell needs to complete our flags.

use std::process::ExitCode;

use anyhow::Context;
use clap_complete::Shell;

/// Prints completions for a shell; put them where it looks for them.
///
/// For bash: `herder completions bash > /etc/bash_completion.d/herder`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints to standard output; `command` is the whole command line, as clap knows it.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    super::print(&script).context("cannot write")?;
    Ok(ExitCode::SUCCESS)
}
