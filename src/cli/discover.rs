//! Starts what discovers: each provider under its supervisor, and the loop that plans and publishes.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::serve::on_own_thread;
use crate::control::schedule::Schedule;
use crate::control::{Control, State, kept_bodies, secrets, supervise};
use crate::model::ProviderName;
use crate::providers::docker::{self, Docker};
use crate::providers::file::{self, Files};
use crate::providers::rancher::{self, Rancher};
use crate::settings::{Defaults, FileSettings, Settings};

/// Starts everything, on a thread of its own: what there is to do is done where it was heard of, and whoever keeps the admin side
/// busy must not hold up a change of the routes. It runs until the process ends: what is returned ends where a part of it does
/// not, which must not go unseen.
///
/// # Errors
/// When a provider's settings cannot be used; where the system has no thread or no epoll left.
pub(super) fn start(
    state: &Arc<State>,
    schedule: &Schedule,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let settings = &state.settings;
    let (events, queue) = Control::queue();
    let control = Control::new(Arc::clone(state), providers(settings));
    // Those of entry points and of the admin side are known already: nobody shall stand before a closed door.
    let mut watch = secrets::Watch::default();
    watch.look(&state.live);
    let files = settings.file.as_ref().map(Files::new);
    let docker = settings.docker.as_ref().map(Docker::new).transpose()?;
    let rancher = settings.rancher.as_ref().map(Rancher::new).transpose()?;
    let (state, refreshes) = (Arc::clone(state), schedule.refreshes());
    on_own_thread("control", move || async move {
        let mut parts = JoinSet::new();
        parts.spawn(control.run(queue));
        parts.spawn(secrets::watch(state, watch, events.clone()));
        parts.spawn(kept_bodies::watch(events.clone()));
        if let Some(files) = files {
            parts.spawn(supervise(files, events.clone(), refreshes.clone()));
        }
        if let Some(docker) = docker {
            parts.spawn(supervise(docker, events.clone(), refreshes.clone()));
        }
        if let Some(rancher) = rancher {
            parts.spawn(supervise(rancher, events, refreshes));
        }
        parts.join_next().await;
    })
}

fn providers(settings: &Settings) -> impl Iterator<Item = (ProviderName, String, Defaults)> {
    let file = settings
        .file
        .as_ref()
        .map(|files| (ProviderName::File, file::endpoint(files), FileSettings::defaults()));
    let docker = settings.docker.as_ref();
    let docker = docker.map(|d| (ProviderName::Docker, docker::endpoint(d), d.defaults.clone()));
    let rancher = settings.rancher.as_ref();
    let rancher =
        rancher.map(|r| (ProviderName::Rancher, rancher::endpoint(r), r.defaults.clone()));
    file.into_iter().chain(docker).chain(rancher)
}
