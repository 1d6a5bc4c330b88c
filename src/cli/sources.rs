//! Which providers are used, and what they say when asked once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{anyhow, bail};

use crate::config::Config;
use crate::control::{ProviderStatus, Source, View, secrets};
use crate::live::Live;
use crate::plan::{Input, Planner};
use crate::providers::docker::{self, Docker};
use crate::providers::file::{self, Files};
use crate::providers::rancher::{self, Rancher};
use crate::providers::{Depth, Error, Provider};
use crate::settings::{Defaults, FileSettings, Settings, Typed};
use crate::table::compile;

/// The settings as meant, with the providers that are used: those that were named, else those that answer.
pub(super) async fn settings(typed: Typed) -> anyhow::Result<Settings> {
    let mut settings = typed.meant().map_err(|why| anyhow!(why))?;
    refuse_left_out(&typed, &settings)?;
    if typed.names_a_provider() {
        settings.docker = settings.docker.filter(|_| typed.docker == Some(true));
        settings.rancher = settings.rancher.filter(|_| typed.rancher == Some(true));
        return Ok(settings);
    }
    find_who_answers(&typed, &mut settings).await?;
    refuse_left_out(&typed, &settings)?;
    Ok(settings)
}

/// # Errors
/// Where something is left out, and it was asked that nothing is.
fn refuse_left_out(typed: &Typed, settings: &Settings) -> anyhow::Result<()> {
    let left_out = settings.left_out();
    if typed.strict == Some(true) && !left_out.is_empty() {
        bail!("--strict was asked for:\n  {}", left_out.join("\n  "));
    }
    Ok(())
}

/// Leaves those in the settings who answer.
///
/// # Errors
/// When nobody does.
async fn find_who_answers(typed: &Typed, settings: &mut Settings) -> anyhow::Result<()> {
    let mut silent = Vec::new();
    if let Some(docker) = &settings.docker {
        match docker::answers(docker).await {
            Ok(version) => {
                let endpoint = docker::endpoint(docker);
                tracing::info!(endpoint, version, "Docker answers");
            }
            Err(error) => {
                silent.push(("Docker", "docker", typed.docker_given(), error.to_string()));
                settings.docker = None;
            }
        }
    } else {
        silent.push(("Docker", "docker", Vec::new(), "switched off".to_owned()));
    }
    if let Some(rancher) = &settings.rancher {
        match rancher::answers(rancher).await {
            Ok(version) => {
                let url = rancher::endpoint(rancher);
                tracing::info!(url, version, "Rancher's metadata answers");
            }
            Err(error) => {
                silent.push(("Rancher", "rancher", typed.rancher_given(), error.to_string()));
                settings.rancher = None;
            }
        }
    }
    if settings.docker.is_none() && settings.rancher.is_none() {
        let tried = silent.iter().map(|(name, _, _, why)| format!("  {name}: {why}"));
        bail!(
            "there is nobody to read containers from:\n{}\nName one with --docker or --rancher, name rules with \
             --file.filename, or try `herder demo`, which needs none of them",
            tried.collect::<Vec<_>>().join("\n")
        );
    }
    for (name, flag, given, why) in silent {
        // Most have one of the two. Whoever has said how the other one is to be asked wants it.
        if given.is_empty() {
            tracing::info!("{name} is not used: {why}");
            continue;
        }
        settings.unread.push(format!(
            "{name} is not used until the next start: {why}. Nobody reads {}; say --{flag} to have it asked until it answers.",
            given.join(", ")
        ));
    }
    Ok(())
}

/// Asks every provider once, plans and compiles: what would be served now.
pub(super) async fn view_once(settings: &Settings) -> anyhow::Result<View> {
    let mut sources = BTreeMap::new();
    if let Some(files) = &settings.file {
        let (provider, endpoint) = (Files::new(files), file::endpoint(files));
        ask_once(&mut sources, provider, &endpoint, &FileSettings::defaults()).await?;
    }
    if let Some(docker) = &settings.docker {
        let (provider, endpoint) = (Docker::new(docker)?, docker::endpoint(docker));
        ask_once(&mut sources, provider, &endpoint, &docker.defaults).await?;
    }
    if let Some(rancher) = &settings.rancher {
        let provider = Rancher::new(rancher)?;
        let endpoint = rancher::endpoint(rancher);
        ask_once(&mut sources, provider, &endpoint, &rancher.defaults).await?;
    }
    let inputs = sources.iter().filter_map(|(&provider, source): (_, &Source)| {
        let snapshot = source.snapshot.as_deref()?;
        Some(Input { provider, snapshot, defaults: &source.defaults })
    });
    let mut planner = Planner::of(settings);
    let (config, mut problems) = planner.plan(&inputs.collect::<Vec<_>>(), &Config::default());
    problems.extend(secrets::problems(&planner, &config));
    problems.sort();
    // Number 0: it is in force nowhere.
    let table = compile(0, Arc::new(config), problems.into(), &Live::default(), settings.into());
    Ok(View { serial: 1, table: Arc::new(table), sources, ..View::default() })
}

/// No single answer may take longer.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);

async fn ask_once(
    sources: &mut BTreeMap<crate::model::ProviderName, Source>,
    mut provider: impl Provider,
    endpoint: &str,
    defaults: &Defaults,
) -> anyhow::Result<()> {
    let answer = tokio::time::timeout(ASK_TIMEOUT, provider.fetch(Depth::Everything)).await;
    let snapshot = answer.map_err(|_| Error::Limit {
        endpoint: endpoint.to_owned(),
        reason: format!("no whole answer within {} s", ASK_TIMEOUT.as_secs()),
    })??;
    let mut status = ProviderStatus::new(endpoint);
    status.answers = 1;
    status.last_answer = Some((Instant::now(), SystemTime::now()));
    let defaults = Arc::new(defaults.clone());
    let source = Source { snapshot: Some(Arc::new(snapshot)), defaults, status };
    sources.insert(provider.name(), source);
    Ok(())
}
