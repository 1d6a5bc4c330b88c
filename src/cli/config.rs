//! `herder config`: the settings in force, and where each was said.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use serde_json::json;

use super::{Cli, args};
use crate::config::hide_password;
use crate::settings::{EntryKeys, Typed, traefik};
use crate::telemetry::LogArgs;

/// Prints the settings in force, and where each was said: a flag, a variable, a line of a file, or nowhere.
///
/// In a container whose first process is a Herder it tells of that one, and what it is told itself goes before the flags there.
///
/// Ends with 0 when they fit together, with 2 when they do not.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Typed,
    #[command(flatten)]
    logs: LogArgs,
    /// Print one JSON object rather than a line for each setting
    #[arg(long)]
    json: bool,
}

/// One setting.
struct Row {
    name: String,
    value: String,
    origin: String,
}

/// Prints what is in force.
///
/// # Errors
/// When the settings do not fit together, or standard output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings.meant().map_err(anyhow::Error::msg)?;
    let mut notes = args::said().notes.clone();
    notes.extend(settings.left_out());
    let mut rows = rows()?;
    let names_entrypoints = args.settings.entrypoints.is_some();
    // It is one of the entry points then, or none.
    rows.retain(|row| row.name != "http" || row.origin != "default" || !names_entrypoints);
    // Whoever says where it is written wants it.
    for row in rows.iter_mut().filter(|row| row.name == "accessLog" && row.origin == "default") {
        row.value = settings.observe.access_log.is_some().to_string();
    }
    for entrypoint in &settings.entrypoints {
        let value = match entrypoint.shut {
            None => format!("open at {}", entrypoint.listen),
            Some(_) => "not opened".to_owned(),
        };
        let (name, origin) = (format!("entry point {}", entrypoint.name), "in force".to_owned());
        rows.push(Row { name, value, origin });
    }
    let text = if args.json { as_json(&rows, &notes) } else { as_text(&rows, &notes) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn rows() -> anyhow::Result<Vec<Row>> {
    let said = args::said();
    let matches = Cli::command().try_get_matches_from(&said.args)?;
    let matches = matches.subcommand_matches("config").cloned().unwrap_or_default();
    let cli = Cli::command();
    let command = cli.find_subcommand("config").into_iter().flat_map(clap::Command::get_arguments);
    let row = |arg: &clap::Arg| {
        let name = arg.get_long().filter(|name| !["json", "help", "file.main"].contains(name))?;
        let id = arg.get_id().as_str();
        let is_entrypoint = name == "entryPoints";
        let shown = |value: &OsStr| match (value.to_string_lossy(), is_entrypoint) {
            (text, true) => hide_password(&EntryKeys::read(&text).to_string()).into_owned(),
            (text, false) => hide_password(&text).into_owned(),
        };
        let raw = matches.get_raw(id).map(|values| {
            values.map(shown).collect::<Vec<_>>().join(if is_entrypoint { " | " } else { "," })
        });
        let raw = raw.map(|raw| if arg.is_hide_env_values_set() { "***".to_owned() } else { raw });
        // A limit of zero is none: what is in force is the default.
        let is_zero = traefik::is_limit(name)
            && matches.get_one::<Duration>(id).is_some_and(Duration::is_zero);
        let raw = raw.filter(|_| !is_zero);
        let variable = arg.get_env().map(|env| env.to_string_lossy().into_owned());
        let origin = match (said.origins.get(name), matches.value_source(id)) {
            _ if is_zero => "default".to_owned(),
            (Some(origin), _) => origin.clone(),
            (None, Some(clap::parser::ValueSource::CommandLine)) => format!("--{name}"),
            (None, Some(clap::parser::ValueSource::EnvVariable)) => variable.unwrap_or_default(),
            (None, _) => "default".to_owned(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = || {
            let default =
                help.rsplit_once("[default: ").map(|(_, default)| default.trim_end_matches(']'));
            default.unwrap_or("none").trim_matches('`').to_owned()
        };
        Some(Row { name: name.to_owned(), value: raw.unwrap_or_else(default), origin })
    };
    Ok(command.filter_map(row).collect())
}

fn as_text(rows: &[Row], notes: &[String]) -> String {
    let mut text = String::new();
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    for Row { name, value, origin } in rows {
        let _ = writeln!(text, "{name:width$}  {value}  ({origin})");
    }
    for note in notes {
        let _ = writeln!(text, "warning: {note}");
    }
    text
}

fn as_json(rows: &[Row], notes: &[String]) -> String {
    let settings: serde_json::Map<_, _> = rows
        .iter()
        .map(|row| (row.name.clone(), json!({"value": row.value, "origin": row.origin})))
        .collect();
    format!("{:#}\n", json!({"settings": settings, "warnings": notes}))
}
