//! Starts what discovers: each provider under its supervisor, and the loop that plans and publishes.

use std::sync::Arc;

use crate::control::schedule::Schedule;
use crate::control::{Control, State, secrets, supervise};
use crate::model::ProviderName;
use crate::providers::docker::Docker;
use crate::providers::file::{self, Files};
use crate::providers::rancher::{self, Rancher};
use crate::settings::{Defaults, FileSettings, Settings};

/// Starts everything; it runs until the process ends.
///
/// # Errors
/// When a provider's settings cannot be used.
pub(super) fn start(state: &Arc<State>, schedule: &Schedule) -> anyhow::Result<()> {
    let settings = &state.settings;
    let (events, queue) = Control::queue();
    let control = Control::new(Arc::clone(state), providers(settings));
    tokio::spawn(control.run(queue));
    // Those of entry points and of the admin side are known already: nobody shall stand before a closed door.
    let mut watch = secrets::Watch::default();
    watch.look(&state.live);
    tokio::spawn(secrets::watch(Arc::clone(state), watch, events.clone()));
    if let Some(files) = &settings.file {
        tokio::spawn(supervise(Files::new(files), events.clone(), schedule.refreshes()));
    }
    if let Some(docker) = &settings.docker {
        tokio::spawn(supervise(Docker::new(docker)?, events.clone(), schedule.refreshes()));
    }
    if let Some(rancher) = &settings.rancher {
        tokio::spawn(supervise(Rancher::new(rancher)?, events, schedule.refreshes()));
    }
    Ok(())
}

fn providers(settings: &Settings) -> impl Iterator<Item = (ProviderName, String, Defaults)> {
    let file = settings
        .file
        .as_ref()
        .map(|files| (ProviderName::File, file::endpoint(files), FileSettings::defaults()));
    let docker = settings.docker.as_ref();
    let docker = docker.map(|d| (ProviderName::Docker, d.endpoint.clone(), d.defaults.clone()));
    let rancher = settings.rancher.as_ref();
    let rancher =
        rancher.map(|r| (ProviderName::Rancher, rancher::endpoint(r), r.defaults.clone()));
    file.into_iter().chain(docker).chain(rancher)
}
