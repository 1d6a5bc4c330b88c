//! `herder render`: other programs' configurations out of what was discovered, as confd and docker-gen make them.

mod data;
mod output;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use handlebars::{Handlebars, RenderErrorReason, handlebars_helper, no_escape};
use tracing::{info, warn};

use output::Output;

use crate::cli::serve::{BROKEN_DISCOVERY, Signals};
use crate::cli::{discover, sources};
use crate::control::{State, View, schedule};
use crate::settings::{Settings, Typed};
use crate::telemetry::LogArgs;

/// Writes a file from a handlebars template over the discovered services, once or at every change.
///
/// The template sees `stacks`, `services` and `containers` as they were discovered, and the `frontends` and `backends` that are
/// made of them. The file is replaced as a whole, after the check has found it good; otherwise the old one stays.
///
/// Ends with 0 when the file is as it should be, with 1 when the check or the reload failed, with 2 when a source could not be
/// read or the template is wrong.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The template
    #[arg(value_name = "TEMPLATE")]
    template: PathBuf,
    /// The file to write; where it is a symbolic link, the one it leads to
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    /// Write it again at every change
    #[arg(long)]
    pub(super) watch: bool,
    /// A shell command that finds the new file good or not; `{}` in it is its name: 'haproxy -c -f {}'
    #[arg(long, value_name = "COMMAND")]
    check: Option<String>,
    /// A shell command to run once the file was replaced: 'systemctl reload haproxy'
    #[arg(long, value_name = "COMMAND")]
    reload: Option<String>,
    #[command(flatten)]
    settings: Typed,
    #[command(flatten)]
    pub(super) logs: LogArgs,
}

/// Renders, once or until a signal.
///
/// # Errors
/// When a source cannot be read, or the template is wrong.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let template = Template::read(&args.template)?;
    let Args { output, check, reload, .. } = args;
    let output = Output { path: output, check, reload, owes_reload: Cell::new(false) };
    if !args.watch {
        let settings = told(args.settings).await?;
        let text = template.render(&sources::view_once(&settings).await?, &settings)?;
        let done = match output.replace(&text).await {
            Ok(_) => output.tell().await,
            Err(error) => Err(error),
        };
        return Ok(match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("herder: {error:#}");
                ExitCode::FAILURE
            }
        });
    }
    let mut signals = Signals::new()?;
    let Some(settings) = signals.unless_stopped(told(args.settings)).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let schedule = schedule::start(&settings.refresh).await.map_err(|why| anyhow!(why))?;
    let settings = Arc::new(settings);
    let state = Arc::new(State::new(Arc::clone(&settings), View::default()));
    let mut changes = state.subscribe();
    let mut discovery_ended = discover::start(&state, &schedule)?;
    let mut last = String::new();
    loop {
        tokio::select! {
            changed = changes.changed() => changed.context("nobody discovers any more")?,
            () = signals.stop() => break,
            // The state lives on without it, and would never change again.
            _ = &mut discovery_ended => bail!(BROKEN_DISCOVERY),
        }
        let view = state.view();
        // Before every provider has answered, the file would lose what the others know.
        if view.sources.values().any(|source| source.snapshot.is_none()) {
            continue;
        }
        let text = match template.render(&view, &state.settings) {
            Ok(text) => text,
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "the template cannot be rendered; the old file stays"
                );
                continue;
            }
        };
        if text == last && !output.owes_reload.get() {
            continue;
        }
        // A check and a reload may take half a minute each; whoever stops us does not wait for that. What was written so far goes.
        tokio::select! {
            () = put(&output, text, &mut last) => {}
            () = signals.stop() => break,
        }
    }
    schedule.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The settings as meant. Whom nobody reads is told.
async fn told(typed: Typed) -> anyhow::Result<Settings> {
    let settings = sources::settings(typed).await?;
    for line in &settings.unread {
        warn!("{line}");
    }
    Ok(settings)
}

/// Writes a text and tells of it; what fails is tried again when a provider answers next.
async fn put(output: &Output, text: String, last: &mut String) {
    match output.replace(&text).await {
        Ok(is_new) => {
            if is_new {
                info!(file = %output.path.display(), "replaced");
            }
            *last = text;
            if let Err(error) = output.tell().await {
                warn!(error = format!("{error:#}"), "not reloaded");
            }
        }
        // A disk may be full, a name not be found for a moment.
        Err(error) => warn!(error = format!("{error:#}"), "not replaced"),
    }
}

/// A template that was read.
struct Template {
    handlebars: Handlebars<'static>,
    /// Its file, as errors call it.
    name: String,
}

impl Template {
    fn read(path: &std::path::Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the template {}", path.display()))?;
        let mut handlebars = Handlebars::new();
        handlebars.set_strict_mode(true);
        handlebars.register_escape_fn(no_escape);
        handlebars_helper!(join: |list: array, with: str| {
            let texts: Vec<String> = list.iter().map(|value| match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.to_string(),
            }).collect();
            texts.join(with)
        });
        handlebars_helper!(json: |value: Json| value.to_string());
        handlebars_helper!(lower: |text: str| text.to_lowercase());
        handlebars_helper!(replace: |text: str, from: str, to: str| text.replace(from, to));
        handlebars.register_helper("join", Box::new(join));
        handlebars.register_helper("json", Box::new(json));
        handlebars.register_helper("lower", Box::new(lower));
        handlebars.register_helper("replace", Box::new(replace));
        let name = path.display().to_string();
        handlebars
            .register_template_string(&name, text)
            .with_context(|| format!("the template {name} is wrong"))?;
        Ok(Self { handlebars, name })
    }

    fn render(&self, view: &View, settings: &Settings) -> anyhow::Result<String> {
        let data = data::of(view, &settings.entrypoints);
        let made = self.handlebars.render(&self.name, &data);
        made.map_err(|error| {
            let place = match (error.line_no, error.column_no) {
                (Some(line), Some(column)) => format!("{}:{line}:{column}", self.name),
                _ => self.name.clone(),
            };
            match error.reason() {
                RenderErrorReason::MissingVariable(Some(missing)) => anyhow!(
                    "{place}: there is no \"{missing}\" in this place; `{{{{json this}}}}` shows what there is"
                ),
                reason => anyhow!("{place}: {reason}"),
            }
        })
    }
}
