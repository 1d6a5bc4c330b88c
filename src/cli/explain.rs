//! `herder explain`: why is my container not routed? Who takes this URL?

use std::fmt::Write as _;
use std::process::ExitCode;

use super::sources;
use crate::control::View;
use crate::explain::{self, Asked, Explanation, Outcome, RouteTest};
use crate::live::Live;
use crate::model::{harmless, slips};
use crate::settings::Typed;
use crate::table::entry_chain;

/// Says why a container is, or is not, routed, or who takes a URL.
///
/// It asks the sources by itself. In a container whose first process is a Herder it has the flags of that one, and what it is told
/// itself goes before them.
///
/// Ends with 0 when it is routed or nothing was asked for by name, with 1 when it is not or nobody can serve it (a closed frontend, no
/// healthy server), with 2 when a source could not be read.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A container's name or id, a service's name, or a URL; none: a line for every container
    #[arg(value_name = "CONTAINER|URL")]
    what: Option<String>,
    /// A header line of the request for the URL, as curl takes it: 'Name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "LINE", requires = "what")]
    lines: Vec<String>,
    /// The method of the request for the URL
    #[arg(short = 'X', long = "request", value_name = "METHOD", requires = "what")]
    method: Option<String>,
    #[command(flatten)]
    settings: Typed,
}

/// Asks once, and explains.
///
/// # Errors
/// When a source cannot be read, the URL cannot be understood, or standard output cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let is_request = args.method.is_some() || !args.lines.is_empty();
    let url = args.what.as_deref().filter(|what| is_request || what.contains("://"));
    let asked = url.map(|url| Asked::parse(url, args.method.as_deref(), &args.lines));
    let asked = asked.transpose().map_err(anyhow::Error::msg)?;
    let settings = sources::settings(args.settings).await?;
    for line in &settings.unread {
        eprintln!("herder: {line}");
    }
    let view = sources::view_once(&settings).await?;
    let (text, is_routed) = match (asked, args.what) {
        (Some(asked), _) => {
            let asked = asked.entering(&settings);
            let found = settings.entrypoints.iter().find(|e| e.name == asked.entrypoint);
            let entry = found.map(|e| entry_chain(e, &settings.entrypoints, &Live::default()));
            let test = view.explain_request(&asked, &entry.unwrap_or_default());
            (route_test(&test), test.is_served())
        }
        (None, Some(name)) => named(&view, &name),
        (None, None) => (summary(&view), true),
    };
    super::print(&text)?;
    Ok(if is_routed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn named(view: &View, name: &str) -> (String, bool) {
    let name = name.trim_end_matches('/');
    let found = view.explain(name, 0);
    if found.is_empty() {
        let known: Vec<String> = view.explain_all().map(|e| e.subject).collect();
        // By its whole name, or by that of its service or stack.
        let slips = |known: &str| {
            let words = std::iter::once(known).chain(known.split('.'));
            words.filter_map(|word| slips(word, name)).min()
        };
        let near = known.iter().filter_map(|known| Some((slips(known)?, known)));
        let hint = match near.min_by_key(|(slips, _)| *slips) {
            // A third of a name's letters makes another name.
            Some((slips, nearest)) if slips <= (name.len() / 3).max(1) => {
                format!(" Did you mean {nearest}?")
            }
            _ if is_host(view, name) => {
                format!(" It is a host: `herder explain http://{name}/` says who takes it.")
            }
            _ if known.is_empty() => format!(" {}", nobody_known(view)),
            _ => " `herder explain` lists those that somebody knows.".to_owned(),
        };
        return (format!("Nobody knows of a container or service \"{name}\".{hint}\n"), false);
    }
    let is_routed = found.iter().any(|explanation| explanation.is_routed);
    let texts: Vec<String> = found.iter().map(explanation).collect();
    (texts.join("\n"), is_routed)
}

/// Whether requests for this host are routed.
fn is_host(view: &View, name: &str) -> bool {
    let asked = Asked::parse(&format!("http://{name}/"), None, &[]);
    asked.is_ok_and(|asked| explain::request(&view.table, &asked, &[]).winner.is_some())
}

fn explanation(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", harmless(&explanation.subject));
    let _ = writeln!(text, "  {}", harmless(&explanation.verdict));
    for step in &explanation.steps {
        let mark = match step.outcome {
            Outcome::Pass => "ok  ",
            Outcome::Note => "note",
            Outcome::Stop => "STOP",
        };
        let _ = writeln!(text, "  {mark}  {}: {}", harmless(&step.what), harmless(&step.why));
    }
    for problem in &explanation.problems {
        let _ = writeln!(text, "  {}: {problem}", problem.severity.as_str());
    }
    text
}

fn summary(view: &View) -> String {
    let line = |e: Explanation| format!("{}: {}\n", harmless(&e.subject), harmless(&e.verdict));
    let lines = view.explain_all().map(line);
    let text: String = lines.collect();
    if text.is_empty() { nobody_known(view) + "\n" } else { text }
}

/// That whoever was asked knows nobody.
fn nobody_known(view: &View) -> String {
    let asked: Vec<&str> = view.sources.keys().map(|provider| provider.as_str()).collect();
    format!("Of those asked ({}) nobody knows of any container.", asked.join(", "))
}

fn route_test(test: &RouteTest) -> String {
    let RouteTest { host, target, entrypoint, verdict, .. } = test;
    let mut text = format!("http://{host}{target} at the entry point {entrypoint}\n  {verdict}\n");
    if let Some(sent) = test.sent.as_ref().filter(|sent| **sent != test.target) {
        let _ = writeln!(text, "  the server gets {sent}");
    }
    for (name, url) in &test.servers {
        let _ = writeln!(text, "  server {name} at {url}");
    }
    for (id, why) in &test.losers {
        let _ = writeln!(text, "  not {id}: {why}");
    }
    for problem in &test.problems {
        let _ = writeln!(text, "  {}: {problem}", problem.severity.as_str());
    }
    text
}
