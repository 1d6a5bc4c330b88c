//! What the first process does: in a container, the Herder that a command is run beside.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use clap::Parser as _;

use super::args::complete;
use super::{Cli, Command, with_command};
use crate::settings::Typed;

/// The command line of the first process.
const COMMAND_LINE: &str = "/proc/1/cmdline";

/// What the first process does, complete with its variables and its settings file. None: it is no Herder, or cannot be
/// understood.
pub(super) async fn first_process() -> Option<Command> {
    command_of(&tokio::fs::read(COMMAND_LINE).await.ok()?)
}

/// Settings for a command, `explain` or `check`: those of the Herder that runs in this container, where nothing was said here that
/// it was not told too.
pub(super) async fn settings(command: &str, typed: Typed) -> Typed {
    let Some(Command::Run(run)) = first_process().await else { return typed };
    let unsaid = complete(vec!["herder".into(), command.into()]).ok();
    let unsaid = unsaid.and_then(|args| Cli::try_parse_from(args).ok());
    let unsaid = match unsaid.map(|cli| cli.command) {
        Some(Command::Explain(unsaid)) => unsaid.settings,
        Some(Command::Check(unsaid)) => unsaid.settings,
        _ => return typed,
    };
    if unsaid == typed { run.settings } else { typed }
}

/// What a Herder with this command line does. Arguments end with a NUL each (proc(5)); a small init may stand before them.
pub(super) fn command_of(command_line: &[u8]) -> Option<Command> {
    let line = command_line.strip_suffix(b"\0").unwrap_or(command_line);
    let args: Vec<OsString> =
        line.split(|byte| *byte == 0).map(|arg| OsStr::from_bytes(arg).to_owned()).collect();
    let is_herder = |arg: &OsString| Path::new(arg).file_name() == Some(OsStr::new("herder"));
    let start = args.iter().position(is_herder)?;
    let args = complete(with_command(args.get(start..)?.to_vec())).ok()?;
    Cli::try_parse_from(args).ok().map(|cli| cli.command)
}
