//! `herder check`: what is wrong, before it matters.

mod against;
mod compose;
mod files;
mod finding;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use finding::Finding;

use crate::admin::providers;
use crate::cli::args::Said;
use crate::cli::sources;
use crate::control::{View, guards};
use crate::model::Severity;
use crate::settings::{FileSettings, Settings, Typed};

/// Reads the same sources once, and prints what is wrong with labels, files, rules and settings.
///
/// With files, only those are looked at: rules, settings, and the labels of Compose files. In a container whose first process is a
/// Herder it has the flags of that one, and what it is told itself goes before them.
///
/// Ends with 0 when all is well (notes do not count), with 1 when something asked for does not happen or happens
/// otherwise than meant, with 2 when a source could not be read.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Files and directories to look at, instead of the sources of `run`
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    settings: Typed,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Compare with a Traefik 1.x that runs, by its API: `http://old:8080`
    #[arg(long, value_name = "URL", conflicts_with = "files")]
    against: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// A line for each problem, for people
    Text,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for tools that show problems beside the lines
    Sarif,
}

/// Asks, plans, prints.
///
/// # Errors
/// When a source cannot be read, or standard output cannot be written.
pub(super) async fn run(args: Args, said: &Said) -> anyhow::Result<ExitCode> {
    if !args.files.is_empty() {
        let settings = args.settings.meant().map_err(anyhow::Error::msg)?;
        let entrypoints = files::EntryPoints::of(&args.settings, &settings);
        let defaults = settings.docker.map(|docker| docker.defaults);
        let defaults = defaults.unwrap_or_else(FileSettings::defaults);
        let checked = files::checked(&args.files)?;
        let count = checked.len();
        let is_unread = checked.iter().any(|checked| checked.is_unread);
        let found = files::together(checked, &defaults, entrypoints);
        let code = print(args.format, found, &[], &[("files", count)])?;
        return Ok(if is_unread { ExitCode::from(2) } else { code });
    }
    let settings = sources::settings(args.settings).await?;
    let view = sources::view_once(&settings).await?;
    let mut notes = said.notes.clone();
    notes.extend(settings.left_out());
    let problems = view.table.problems.iter().map(Finding::of);
    let guards = guards::invalid(&settings);
    let guards = guards.iter().map(|guard| Finding::of_guard(guard, ""));
    let notes = notes.iter().map(|note| Finding::of_settings(note));
    let found = notes.chain(guards).chain(problems).collect();
    let differences = match &args.against {
        None => Vec::new(),
        Some(url) => against::differences(&against::fetch(url).await?, &ours(&view, &settings)),
    };
    let config = &view.table.config;
    let servers = config.backends.values().map(|backend| backend.servers.len()).sum();
    let summary = [
        ("frontends", config.frontends.len()),
        ("backends", config.backends.len()),
        ("servers", servers),
    ];
    print(args.format, found, &differences, &summary)
}

fn ours(view: &View, settings: &Settings) -> Value {
    let config = &view.table.config;
    let of = |provider| providers::of(config, provider, &settings.default_entrypoints);
    let all = view.sources.keys().map(|&provider| (provider.to_string(), of(provider)));
    Value::Object(all.collect::<Map<_, _>>())
}

fn print(
    format: Format,
    mut found: Vec<Finding>,
    differences: &[String],
    summary: &[(&str, usize)],
) -> anyhow::Result<ExitCode> {
    found.sort();
    found.dedup();
    let of = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    let text = match format {
        Format::Text => {
            let lines: String = found.iter().map(Finding::text).collect();
            let differing: String =
                differences.iter().map(|line| format!("differs: {line}\n")).collect();
            let severities = [
                ("errors", of(Severity::Error)),
                ("warnings", of(Severity::Warning)),
                ("notes", of(Severity::Note)),
            ];
            format!("{lines}{differing}{}; {}\n", counted(summary), counted(&severities))
        }
        Format::Json => {
            let counts = summary.iter().map(|(what, count)| ((*what).to_owned(), json!(count)));
            let mut all = Value::Object(counts.collect());
            all["problems"] = found.iter().map(Finding::json).collect();
            all["differences"] = json!(differences);
            format!("{all:#}\n")
        }
        Format::Sarif => {
            let differing = differences.iter().map(|line| Finding::of_difference(line));
            format!(
                "{:#}\n",
                finding::sarif(&found.iter().cloned().chain(differing).collect::<Vec<_>>())
            )
        }
    };
    super::print(text)?;
    let is_well = differences.is_empty() && found.iter().all(|f| f.severity == Severity::Note);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `1 file, 2 errors`: how many there are of what, said in the plural.
fn counted(counts: &[(&str, usize)]) -> String {
    let count = |&(what, count): &(&str, usize)| match count {
        1 => format!("1 {}", what.strip_suffix('s').unwrap_or(what)),
        _ => format!("{count} {what}"),
    };
    counts.iter().map(count).collect::<Vec<_>>().join(", ")
}
