//! `herder check`: what is wrong, before it matters. Ends with 0 when all is well, 1 when a label has a problem, 2
//! when a source could not be read.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::{args, sources};
use crate::control::View;
use crate::model::{Problem, Severity};
use crate::settings::Typed;

/// Reads the same sources once, and prints what is wrong with the labels.
///
/// Ends with 0 when all is well (notes do not count), with 1 when something asked for does not happen or happens
/// otherwise than meant, with 2 when a source could not be read.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Typed,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// A line for each problem, for people
    Text,
    /// One JSON object
    Json,
}

/// Asks, plans, prints.
///
/// # Errors
/// When a source cannot be read, or standard output cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = sources::settings(args.settings).await?;
    let view = sources::view_once(&settings).await?;
    let mut notes = args::said().notes.clone();
    notes.extend(settings.left_out());
    let text = match args.format {
        Format::Text => as_text(&view, &notes),
        Format::Json => as_json(&view, &notes),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    let is_well = notes.is_empty()
        && view.table.problems.iter().all(|problem| problem.severity == Severity::Note);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_text(view: &View, notes: &[String]) -> String {
    let notes: String = notes.iter().map(|note| format!("warning: {note}\n")).collect();
    let line = |problem: &Problem| format!("{}: {problem}\n", problem.severity.as_str());
    let lines: String = view.table.problems.iter().map(line).collect();
    let config = &view.table.config;
    let servers: usize = config.backends.values().map(|backend| backend.servers.len()).sum();
    let of = |severity| view.table.problems.iter().filter(|p| p.severity == severity).count();
    format!(
        "{notes}{lines}{} frontends, {} backends, {servers} servers; {} errors, {} warnings, {} notes\n",
        config.frontends.len(),
        config.backends.len(),
        of(Severity::Error),
        of(Severity::Warning),
        of(Severity::Note),
    )
}

fn as_json(view: &View, notes: &[String]) -> String {
    let problem = |problem: &Problem| {
        json!({
            "severity": problem.severity.as_str(),
            "provider": problem.origin.provider.as_str(),
            "service": &*problem.origin.service,
            "label": problem.origin.label.as_deref(),
            "message": problem.message,
            "hint": problem.hint,
        })
    };
    let problems: Vec<_> = view.table.problems.iter().map(problem).collect();
    let config = &view.table.config;
    let all = json!({
        "settings": notes,
        "problems": problems,
        "frontends": config.frontends.len(),
        "backends": config.backends.len(),
        "servers": config.backends.values().map(|backend| backend.servers.len()).sum::<usize>(),
    });
    format!("{all:#}\n")
}
