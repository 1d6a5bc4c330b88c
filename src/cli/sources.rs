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
    let left_out = settings.left_out();
    if typed.strict == Some(true) && !left_out.is_empty() {
        bail!("--strict was asked for:\n  {}", left_out.join("\n  "));
    }
    if typed.names_a_provider() {
        settings.docker = settings.docker.filter(|_| typed.docker == Some(true));
        settings.rancher = settings.rancher.filter(|_| typed.rancher == Some(true));
        return Ok(settings);
    }
    let mut tried = Vec::new();
    if settings.docker.is_none() {
        tried.push("  Docker: switched off".to_owned());
    }
    if let Some(docker) = &settings.docker {
        match docker::answers(docker).await {
            Ok(version) => {
                let endpoint = docker::endpoint(docker);
                tracing::info!(endpoint, version, "Docker answers");
            }
            Err(error) => {
                tried.push(format!("  Docker: {error}"));
                settings.docker = None;
            }
        }
    }
    if let Some(rancher) = &settings.rancher {
        match rancher::answers(rancher).await {
            Ok(version) => {
                let url = rancher::endpoint(rancher);
                tracing::info!(url, version, "Rancher's metadata answers");
            }
            Err(error) => {
                tried.push(format!("  Rancher: {error}"));
                settings.rancher = None;
            }
        }
    }
    if settings.docker.is_none() && settings.rancher.is_none() {
        bail!(
            "there is nobody to read containers from:\n{}\nName one with --docker or --rancher, name rules with \
             --file.filename, or try `herder demo`, which needs none of them",
            tried.join("\n")
        );
    }
    Ok(settings)
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
