//! `herder config`: the settings in force, and where each was said.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use serde_json::json;

use super::Cli;
use super::args::Said;
use crate::config::hide_password;
use crate::settings::{EntryKeys, Typed};
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
pub(super) fn run(args: &Args, said: &Said) -> anyhow::Result<ExitCode> {
    let settings = args.settings.meant().map_err(anyhow::Error::msg)?;
    let mut notes = said.notes.clone();
    notes.extend(settings.left_out());
    let mut rows = rows(said);
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
    super::print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn rows(said: &Said) -> Vec<Row> {
    let cli = Cli::command();
    let args = cli.find_subcommand("config").into_iter().flat_map(clap::Command::get_arguments);
    let row = |arg: &clap::Arg| {
        let name = arg.get_long().filter(|name| !["json", "help", "file.main"].contains(name))?;
        let said = || said.given.iter().filter(|given| given.flag == name);
        let shown = |text: &str| match name {
            "entryPoints" => hide_password(&EntryKeys::read(text).to_string()).into_owned(),
            _ => hide_password(text).into_owned(),
        };
        let values: Vec<String> = said().map(|given| shown(&given.value)).collect();
        let value = match values.as_slice() {
            [] => default(arg),
            _ if arg.is_hide_env_values_set() => "***".to_owned(),
            values => values.join(if name == "entryPoints" { " | " } else { "," }),
        };
        let origin =
            said().next_back().map_or_else(|| "default".to_owned(), |given| given.origin.clone());
        Some(Row { name: name.to_owned(), value, origin })
    };
    args.filter_map(row).collect()
}

/// A default that is a value is clap's; of the others the help tells.
fn default(arg: &clap::Arg) -> String {
    if let [value] = arg.get_default_values() {
        return value.to_string_lossy().into_owned();
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = help.rsplit_once("[default: ").map(|(_, default)| default.trim_end_matches(']'));
    default.unwrap_or("none").trim_matches('`').to_owned()
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
