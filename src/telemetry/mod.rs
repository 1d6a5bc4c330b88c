//! What is told about what happens: logs of our own to standard error, the access log, the ids and traces of requests.

mod access_log;
mod observer;
mod outbox;
mod own_log;
mod record;
mod trace;

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

pub use observer::{End, Observers};
pub use own_log::{OwnLog, TELL_GRACE};
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
    /// What is logged: error, warn, info, debug, trace; or by module: `info,herder::providers=debug`. A library tells more than
    /// info only where it is named: `debug,hyper=debug`
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

/// Who writes the lines of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Writes {
    /// Whoever has one, at once: for a command that ends by itself.
    AtOnce,
    /// A thread of its own: whoever has one does not wait, and whoever panics neither.
    Later,
}

/// Starts logging, once in a process, until what is returned is dropped. Standard output is left to what a command prints.
///
/// # Errors
/// Where the system has no thread left for it.
pub fn start(args: &LogArgs, writes: Writes) -> io::Result<OwnLog> {
    let (log, writer) = match writes {
        Writes::AtOnce => (OwnLog::default(), BoxMakeWriter::new(io::stderr)),
        Writes::Later => {
            let (log, pen) = OwnLog::start()?;
            pen.clone().tells_panics();
            (log, BoxMakeWriter::new(move || pen.clone()))
        }
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&args.level))
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal());
    // A second call in one process (tests do so) leaves the first in force.
    let _ = match args.format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(log)
}

/// What is let through at this level.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(directives(level)).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// A level alone is ours from `debug` on: the libraries we use log there whatever goes through them, labels and header lines with
/// their secrets. Whoever wants to hear one of them names it.
fn directives(level: &str) -> String {
    // The scheduler tells of itself at `info`.
    let scheduler = "tokio_cron_scheduler";
    let scheduler = (!level.contains(scheduler)).then(|| format!("{scheduler}=warn"));
    let (named, plain): (Vec<&str>, Vec<&str>) =
        level.split(',').map(str::trim).partition(|part| part.contains('='));
    let plain = plain.into_iter().map(|part| match part.parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::INFO => format!("info,herder={part}"),
        _ => part.to_owned(),
    });
    // What is named goes before what follows from a level alone, wherever it stands.
    let all = scheduler.into_iter().chain(plain).chain(named.into_iter().map(str::to_owned));
    all.collect::<Vec<_>>().join(",")
}

fn level(text: &str) -> Result<String, String> {
    let wrong =
        |why: &dyn std::fmt::Display| format!("{why}; write error, warn, info, debug or trace");
    // A word alone would be taken for a module, and nothing else be heard.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    if let Some(odd) = text.split(',').find(|part| !part.contains('=') && !is_level(part.trim())) {
        return Err(wrong(&format!("\"{odd}\" is no level")));
    }
    match EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        Ok(_) => Err(wrong(&"it is empty")),
        Err(error) => Err(wrong(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[track_caller]
    fn check(level: &str, expected: &str) {
        let lines = Lines::default();
        let writer = lines.clone();
        let builder = tracing_subscriber::fmt().with_env_filter(filter(level));
        let subscriber = builder.without_time().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "herder::control", "a");
            tracing::debug!(target: "herder::providers::docker", "b");
            tracing::info!(target: "rustls::client", "c");
            tracing::debug!(target: "bollard::docker", "d");
            tracing::debug!(target: "hyper_util::client", "e");
            tracing::info!(target: "tokio_cron_scheduler::job", "f");
        });
        let said = lines.0.lock().expect("not poisoned").clone();
        let said = String::from_utf8(said).expect("text");
        let heard: String = said.lines().filter_map(|line| line.chars().last()).collect();
        assert_eq!(heard, expected, "{level}: {said}");
    }

    #[test]
    fn a_level_alone_makes_no_library_tell_what_goes_through_it() {
        check("info", "ac");
        check("debug", "abc");
        check("trace", "abc");
        check("warn", "");
        check("debug,bollard=debug", "abcd");
        check("bollard=debug, debug", "abcd");
        check("debug,herder=info", "ac");
        check("info,herder::providers=debug", "abc");
        check("info,tokio_cron_scheduler=info", "acf");
    }
}
