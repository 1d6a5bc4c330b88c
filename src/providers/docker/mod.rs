//! The Docker Engine API.
//!
//! First the events are subscribed to, then the list is asked, then each container that matters is inspected: one
//! that runs, or that has a label of ours (so that `explain` can say why it is not served). After that only what an
//! event named is inspected, until the next refresh or reconnect asks for everything.
//!
//! A container that was told to stop is `Stopping` from the `kill` event on, before anything is asked, and neither
//! list nor inspect, which go on saying "running", bring it back. See `stops`.

mod connect;
mod events;
mod parse;
mod place;
mod questions;
mod service;
mod stops;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::model::{Origin, Problem, ProviderName, Service, Snapshot, State};
use crate::providers::{Depth, Error, Provider};
use crate::settings::DockerSettings;
pub use connect::endpoint;

use connect::{Api, Transport};
use events::{Action, Events, News};
use parse::{Facts, NetworkMode};
use place::{Place, own_ids};
use questions::{Asked, inspect_all, list};
use stops::{Stop, release};

/// Containers that do not run, the newest: enough to explain, not enough to weigh.
const STOPPED_MAX: usize = 1_000;
/// For the question whether a daemon is there at all.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Says whether a daemon answers there, by its version: `20.10.24`.
///
/// # Errors
/// When none does within two seconds, or not one we can use; the reason is for the user.
pub async fn answers(settings: &DockerSettings) -> Result<String, Error> {
    let transport = Transport::new(settings)?;
    let asked = async { Api::connect(&transport).await?.version().await };
    let slow = || Error::Limit {
        endpoint: endpoint(settings),
        reason: format!("no answer within {} s", PROBE_TIMEOUT.as_secs()),
    };
    timeout(PROBE_TIMEOUT, asked).await.unwrap_or_else(|_| Err(slow()))
}

/// The containers of one daemon.
pub struct Docker {
    transport: Transport,
    own_ids: Vec<String>,
    /// None before the first answer, and after the connection was lost.
    link: Option<Link>,
    /// Where Herder is, as of the last answer.
    place: Place,
    /// What is known of each container.
    containers: BTreeMap<Arc<str>, Facts>,
    /// What was made of that; shared with the snapshots, so that what did not change is not compared twice.
    services: BTreeMap<Arc<str>, Arc<Service>>,
    /// Containers that could not be read, or not now.
    odd: BTreeMap<Arc<str>, Problem>,
    /// What the last list had to leave out.
    cut: Option<Problem>,
    /// Containers to ask for.
    dirty: BTreeSet<Arc<str>>,
    /// Containers an event changed by itself.
    touched: BTreeSet<Arc<str>>,
    /// Containers that were told to stop.
    stops: BTreeMap<Arc<str>, Stop>,
    /// Set when an event says all there is to say: told at once, before anything is asked.
    is_urgent: bool,
}

/// An agreed connection and the stream of its events. The stream lives here, so that `changed` can be dropped.
struct Link {
    api: Api,
    events: Events,
}

impl Docker {
    /// A provider for this daemon. Reads the certificate files; connects to nothing yet.
    ///
    /// # Errors
    /// When the endpoint is not one, or a certificate file cannot be read.
    pub fn new(settings: &DockerSettings) -> Result<Self, Error> {
        Ok(Self {
            transport: Transport::new(settings)?,
            own_ids: own_ids(),
            link: None,
            place: Place::OnHost,
            containers: BTreeMap::new(),
            services: BTreeMap::new(),
            odd: BTreeMap::new(),
            cut: None,
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
            stops: BTreeMap::new(),
            is_urgent: false,
        })
    }
}

impl Provider for Docker {
    fn name(&self) -> ProviderName {
        ProviderName::Docker
    }

    async fn fetch(&mut self, depth: Depth) -> Result<Snapshot, Error> {
        let asked = match (depth, &self.link) {
            (Depth::News, Some(_)) => self.ask_news().await,
            _ => self.ask_everything().await,
        };
        if let Err(error) = asked {
            self.link = None;
            return Err(error);
        }
        Ok(self.snapshot())
    }

    async fn changed(&mut self) -> Result<(), Error> {
        loop {
            if self.is_urgent || !self.dirty.is_empty() {
                return Ok(());
            }
            let held_until = self.next_release();
            let Some(link) = &mut self.link else {
                return Err(self.transport.unreachable("not connected"));
            };
            tokio::select! {
                news = link.events.next() => self.hear(news)?,
                () = release(held_until) => self.release_stops(Instant::now()),
            }
            while let Some(news) = self.link.as_mut().and_then(|link| link.events.next_queued()) {
                self.hear(Some(news))?;
            }
        }
    }
}

// Events.
impl Docker {
    fn hear(&mut self, news: Option<Result<News, Error>>) -> Result<(), Error> {
        match news {
            Some(Ok(news)) => {
                self.take(news);
                Ok(())
            }
            Some(Err(error)) => {
                self.link = None;
                Err(error)
            }
            None => {
                self.link = None;
                Err(self.transport.unreachable("the stream of events ended"))
            }
        }
    }

    fn take(&mut self, news: News) {
        tracing::debug!(container = %news.id, action = ?news.action, "docker event");
        match news.action {
            Action::Signalled(signal) => self.take_signal(&news, signal),
            Action::Died => self.take_death(&news),
            Action::Gone => {
                self.forget(&news.id);
                self.touch(&news.id);
            }
            Action::Changed => {
                self.dirty.insert(news.id);
            }
        }
    }

    /// What the event itself says is told at once.
    fn touch(&mut self, id: &Arc<str>) {
        self.touched.insert(Arc::clone(id));
        self.is_urgent = true;
    }

    fn forget(&mut self, id: &str) {
        self.containers.remove(id);
        self.odd.remove(id);
        self.dirty.remove(id);
        self.stops.remove(id);
    }
}

// Questions.
impl Docker {
    async fn ask_everything(&mut self) -> Result<(), Error> {
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let api = Api::connect(&self.transport).await?;
                // Before the list, so that nothing falls between the two.
                let events = Events::open(&api);
                Link { api, events }
            }
        };
        let link = self.link.insert(link);
        let (listed, odd) = list(&link.api).await?;
        let (known, cut) = leave_out(listed);
        let to_ask = known.iter().filter(|facts| is_asked(facts)).map(|f| Arc::clone(&f.id));
        let answers = inspect_all(&link.api, to_ask.collect()).await?;
        self.replace(known, odd, cut);
        self.settle(answers);
        self.dirty.clear();
        self.is_urgent = false;
        self.rebuild(Rebuild::All);
        Ok(())
    }

    async fn ask_news(&mut self) -> Result<(), Error> {
        // What must be known at once does not wait for a daemon that is busy; the rest is asked next time.
        if !std::mem::take(&mut self.is_urgent) {
            let Some(link) = &self.link else { return Ok(()) };
            let ids: Vec<Arc<str>> = self.dirty.iter().cloned().collect();
            let answers = inspect_all(&link.api, ids).await?;
            self.settle(answers);
        }
        self.rebuild(Rebuild::Touched);
        Ok(())
    }

    /// Puts a list in the place of what was known. Of those asked for besides, what was known stays until
    /// [`Self::settle`]: it matters where one of them does not answer.
    fn replace(
        &mut self,
        listed: Vec<Facts>,
        odd: BTreeMap<Arc<str>, Problem>,
        cut: Option<Problem>,
    ) {
        let mut before = std::mem::take(&mut self.containers);
        for facts in listed {
            let known = before.remove(&facts.id).filter(|_| is_asked(&facts));
            self.containers.insert(Arc::clone(&facts.id), known.unwrap_or(facts));
        }
        self.odd = odd;
        self.cut = cut;
    }

    fn settle(&mut self, answers: Vec<(Arc<str>, Asked)>) {
        for (id, asked) in answers {
            self.dirty.remove(&id);
            self.odd.remove(&id);
            match asked {
                Asked::Is(facts) => {
                    self.containers.insert(Arc::clone(&id), *facts);
                }
                Asked::Gone => self.forget(&id),
                Asked::Odd(reason) => {
                    let name = self.name_of(&id);
                    self.forget(&id);
                    self.odd.insert(Arc::clone(&id), unreadable(&name, &reason));
                }
                Asked::NotNow(reason) => self.keep_silent(&id, &reason),
            }
            self.touched.insert(id);
        }
    }

    /// One that does not answer stays as it was known; one that was only listed is not served on a guess.
    fn keep_silent(&mut self, id: &Arc<str>, reason: &str) {
        let name = self.name_of(id);
        let was_asked = self.services.contains_key(id);
        if !was_asked {
            self.containers.remove(id);
        }
        let message = format!("the daemon does not tell about this container now: {reason}.");
        let problem = Problem::warning(&Origin::new(ProviderName::Docker, name), message);
        self.odd.insert(
            Arc::clone(id),
            problem.hint("What was known of it before stays in force; it is asked again at the next refresh."),
        );
    }

    fn name_of(&self, id: &str) -> String {
        match self.containers.get(id) {
            Some(facts) if !facts.name.is_empty() => facts.name.clone(),
            _ => short(id),
        }
    }
}

/// A container that runs, in any way, or that has a label of ours. Of the others a list tells enough.
fn is_asked(facts: &Facts) -> bool {
    let ends = ["created", "exited", "dead", "removing"];
    let is_over = matches!(&facts.state.0, State::Down(word) if ends.contains(&&**word));
    !is_over || has_label(facts)
}

fn has_label(facts: &Facts) -> bool {
    facts.labels.keys().any(|key| key.starts_with("traefik."))
}

/// Leaves out all but the newest of those that do not run.
fn leave_out(listed: Vec<Facts>) -> (Vec<Facts>, Option<Problem>) {
    let is_down = |facts: &Facts| matches!(facts.state.0, State::Down(_));
    let (mut down, mut kept): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_down);
    down.sort_by_key(|facts| std::cmp::Reverse(facts.created_ns));
    let cut = (down.len() > STOPPED_MAX).then(|| {
        let message = format!(
            "{} containers do not run; the newest {STOPPED_MAX} of them are shown.",
            down.len()
        );
        Problem::note(&Origin::new(ProviderName::Docker, "daemon"), message)
            .hint("Remove those you no longer need: docker container prune.")
    });
    down.truncate(STOPPED_MAX);
    kept.extend(down);
    (kept, cut)
}

fn unreadable(name: &str, reason: &str) -> Problem {
    let message = format!("what the daemon says about this container cannot be read: {reason}.");
    Problem::error(&Origin::new(ProviderName::Docker, name), message)
        .hint("It is left out; the others are not touched.")
}

/// As `docker ps` prints it.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// Which services to make anew.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Rebuild {
    All,
    Touched,
}

// Answers.
impl Docker {
    fn rebuild(&mut self, which: Rebuild) {
        self.stops.retain(|id, stop| {
            let known = self.containers.get(id);
            known.is_none_or(|facts| self.dirty.contains(id) || stop.holds(facts))
        });
        let place = Place::find(&self.own_ids, self.transport.remote_host(), &self.containers);
        let is_all = which == Rebuild::All || place != self.place;
        self.place = place;
        self.services.retain(|id, _| self.containers.contains_key(id));
        for (id, facts) in &self.containers {
            // One that joined another's network has its addresses.
            let joins = matches!(facts.mode, NetworkMode::Container(_));
            if !is_all && !joins && !self.touched.contains(id) {
                continue;
            }
            let made = service::service(facts, self.state_of(facts), &self.place, &self.containers);
            if self.services.get(id).is_none_or(|known| **known != made) {
                self.services.insert(Arc::clone(id), Arc::new(made));
            }
        }
        self.touched.clear();
    }

    fn snapshot(&self) -> Snapshot {
        let problems = self.cut.iter().chain(self.odd.values()).cloned();
        let out_of_reach = self.containers.values().filter_map(|facts| self.out_of_reach(facts));
        Snapshot {
            documents: Vec::new(),
            services: self.services.values().cloned().collect(),
            problems: problems.chain(out_of_reach).collect(),
        }
    }

    /// Why a container that asks for a route has no address Herder could use, where that is not plain to see.
    fn out_of_reach(&self, facts: &Facts) -> Option<Problem> {
        if facts.state.0 != State::Running || !has_label(facts) {
            return None;
        }
        let owner = place::network_owner(facts, &self.containers)?;
        let (message, hint) = match (&owner.mode, &self.place) {
            (NetworkMode::Host, Place::Inside { host: None, .. }) => (
                "it uses the host's network, and Herder's own networks have no way out to the host.",
                "Connect Herder to a network that is not internal, or run it with --network host.",
            ),
            (NetworkMode::Own, Place::Elsewhere { .. }) if owner.published.is_empty() => (
                "it publishes no port, and Herder is not on the daemon's host.",
                "Publish its port (docker run --publish), or run Herder beside it.",
            ),
            _ => return None,
        };
        let origin = Origin::new(ProviderName::Docker, facts.name.as_str());
        Some(Problem::error(&origin, message).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Defaults, HostTemplate};
    use parse::Status;

    pub(super) fn settings(endpoint: &str) -> DockerSettings {
        DockerSettings {
            endpoint: endpoint.to_owned(),
            tls: None,
            defaults: Defaults {
                constraints: Vec::new(),
                domain: None,
                exposed_by_default: true,
                serve_unchecked: true,
                run_health_checks: false,
                host_template: HostTemplate::default(),
                network: None,
            },
        }
    }

    pub(super) const ID: &str = "aa11";

    /// A provider that knows one running container, started at 100 ns, with stop signal 3 (QUIT).
    pub(super) fn knowing_one() -> Docker {
        let mut docker = Docker::new(&settings("unix:///nowhere")).expect("an endpoint");
        let facts = Facts {
            id: ID.into(),
            name: "web".to_owned(),
            state: Status(State::Running),
            started_ns: Some(100),
            stop_signal: 3,
            ..Facts::default()
        };
        docker.containers.insert(ID.into(), facts);
        docker.rebuild(Rebuild::All);
        docker
    }

    pub(super) fn hear(docker: &mut Docker, action: Action, at_ns: i64) {
        docker.take(News { id: ID.into(), action, at_ns: Some(at_ns) });
        docker.rebuild(Rebuild::Touched);
    }

    #[track_caller]
    pub(super) fn check(docker: &Docker, expected: &State) {
        let snapshot = docker.snapshot();
        assert_eq!(snapshot.services[0].instances[0].state, *expected);
    }

    #[test]
    fn an_unchanged_service_is_the_same_one() {
        let mut docker = knowing_one();
        let before = docker.snapshot();
        docker.rebuild(Rebuild::All);
        assert!(Arc::ptr_eq(&before.services[0], &docker.snapshot().services[0]));
    }

    #[test]
    fn one_odd_container_costs_only_itself() {
        let mut docker = knowing_one();
        docker.settle(vec![("bb22".into(), Asked::Odd("expected a map".to_owned()))]);
        docker.settle(vec![(ID.into(), Asked::NotNow("too slow".to_owned()))]);
        docker.rebuild(Rebuild::Touched);
        let snapshot = docker.snapshot();
        assert_eq!(snapshot.services.len(), 1);
        let problems: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
        assert!(problems[0].starts_with("web (docker): the daemon does not tell"), "{problems:?}");
        assert!(problems[1].starts_with("bb22 (docker): what the daemon says"), "{problems:?}");
    }

    #[test]
    fn of_those_that_do_not_run_the_newest_are_kept() {
        let stopped = |n: i64| Facts {
            id: format!("{n:04}").into(),
            state: Status(State::Down("exited".into())),
            created_ns: Some(n),
            ..Facts::default()
        };
        let running = Facts { state: Status(State::Running), ..stopped(0) };
        let mut listed: Vec<Facts> = (1..=1_001).map(stopped).collect();
        listed.push(running);
        let (kept, cut) = leave_out(listed);
        assert_eq!(kept.len(), 1_001);
        assert!(kept.iter().all(|facts| facts.created_ns != Some(1)));
        assert!(cut.expect("one was left out").message.contains("1001"));
        assert!(leave_out(kept).1.is_none());
    }
}
