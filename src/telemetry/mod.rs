//! What is told about what happens: logs of our own to standard error, the access log, the ids and traces of requests.

mod access_log;
mod observer;
mod outbox;
mod record;
mod trace;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub use observer::{End, Observers};
pub use record::{Asked, Record};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// What is logged: error, warn, info, debug, trace; or by module: `info,herder::providers=debug`
    #[arg(
        long = "log.level",
        env = "HERDER_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        value_parser = level,
        help_heading = "Logs"
    )]
    pub level: String,
    /// How log lines look
    #[arg(
        long = "log.format",
        env = "HERDER_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        value_enum,
        help_heading = "Logs"
    )]
    pub format: Format,
}

/// Starts logging, once in a process. Standard output is left to what a command prints.
pub fn start(args: &LogArgs) {
    // The scheduler tells of itself at `info`; whoever wants to hear it names it.
    let level = match args.level.contains("tokio_cron_scheduler") {
        true => args.level.clone(),
        false => format!("{},tokio_cron_scheduler=warn", args.level),
    };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call in one process (tests do so) leaves the first in force.
    let _ = match args.format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}

fn level(text: &str) -> Result<String, String> {
    let wrong =
        |why: &dyn std::fmt::Display| format!("{why}; write error, warn, info, debug or trace");
    // A word alone would be taken for a module, and nothing else be heard.
    let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok();
    if let Some(odd) = text.split(',').find(|part| !part.contains('=') && !is_level(part.trim())) {
        return Err(wrong(&format!("\"{odd}\" is no level")));
    }
    match EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        Ok(_) => Err(wrong(&"it is empty")),
        Err(error) => Err(wrong(&error)),
    }
}
