//! The Docker Engine API.
//!
//! First the events are subscribed to, then the list is asked, then each container that matters is inspected: one
//! that runs, or that has a label of ours (so that `explain` can say why it is not served). After that only what an
//! event named is inspected, until the next refresh or reconnect asks for everything.
//!
//! A container that was told to stop is `Stopping` from the `kill` event on, before anything is asked, and neither
//! list nor inspect, which go on saying "running", bring it back. See `Stop`.

mod connect;
mod events;
mod parse;
mod place;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout};

use crate::model::{Origin, Problem, ProviderName, Service, Snapshot, State};
use crate::providers::{Depth, Error, Provider};
use crate::settings::DockerSettings;
pub use connect::endpoint;

use connect::{Api, Transport};
use events::{Action, Events, News};
use parse::{Facts, NetworkMode, SIGKILL};
use place::{Place, own_ids};

/// A list of 30,000 containers fits.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A container with a thousand labels and mounts fits.
const INSPECT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// For the whole list.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// For one container. The daemon takes milliseconds, unless that container is stuck.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Containers inspected at once.
const INSPECTS_MAX: usize = 16;
/// Containers that do not run, the newest: enough to explain, not enough to weigh.
const STOPPED_MAX: usize = 1_000;
/// A container that was told to stop and still runs after this long, and after the time it was given to stop plus
/// a minute, is taken for one that does not heed the signal: it is served again.
const STOPPING_HELD: Duration = Duration::from_secs(300);
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

/// A signal a container got.
struct Stop {
    signal: Option<u8>,
    at_ns: Option<i64>,
    heard: Instant,
}

/// What became of asking for one container.
enum Asked {
    Is(Box<Facts>),
    Gone,
    /// It was answered, and cannot be read.
    Odd(String),
    /// It was not answered, and others were.
    NotNow(String),
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

/// Resolves at this time; never without one.
async fn release(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
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

    /// The container still runs, and says so when asked: only this event tells that it is about to end.
    fn take_signal(&mut self, news: &News, signal: Option<u8>) {
        let stop = Stop { signal, at_ns: news.at_ns, heard: Instant::now() };
        let known = self.containers.get(&news.id);
        // What is about to be asked may have another stop signal than we know of; it is looked at again then.
        let may_be_stop =
            self.dirty.contains(&news.id) || known.is_none_or(|facts| stop.is_meant(facts));
        if may_be_stop {
            self.stops.insert(Arc::clone(&news.id), stop);
            self.touch(&news.id);
        }
    }

    /// Nothing runs any more, whatever the daemon still has to tidy up before it answers.
    fn take_death(&mut self, news: &News) {
        self.dirty.insert(Arc::clone(&news.id));
        let Some(facts) = self.containers.get_mut(&news.id) else { return };
        let is_later = is_later(news.at_ns, facts.started_ns);
        if is_later && matches!(facts.state.0, State::Running | State::Stopping) {
            facts.state.0 = State::Down("exited".into());
            self.touch(&news.id);
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

    /// When the next stop is no longer believed.
    fn next_release(&self) -> Option<Instant> {
        self.stops.iter().map(|(id, stop)| stop.held_until(self.containers.get(id))).min()
    }

    fn release_stops(&mut self, now: Instant) {
        let over: Vec<Arc<str>> = self
            .stops
            .iter()
            .filter(|(id, stop)| stop.held_until(self.containers.get(*id)) <= now)
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for id in over {
            self.stops.remove(&id);
            self.touch(&id);
        }
    }
}

impl Stop {
    /// Whether it is the signal that stops this container: its own, or the one that no process survives.
    /// `docker kill --signal HUP` says "read your settings again" to most.
    fn is_meant(&self, facts: &Facts) -> bool {
        self.signal.is_none_or(|signal| signal == SIGKILL || signal == facts.stop_signal)
    }

    /// Whether the container is stopping because of it: not if it was started again since.
    fn holds(&self, facts: &Facts) -> bool {
        self.is_meant(facts) && is_later(self.at_ns, facts.started_ns)
    }

    fn held_until(&self, facts: Option<&Facts>) -> Instant {
        let given = facts.and_then(|facts| facts.stop_timeout).unwrap_or_default();
        // Docker takes any number of seconds; a day is long enough, and keeps the sum within the clock.
        let given = given.min(Duration::from_secs(86_400)) + Duration::from_secs(60);
        self.heard + STOPPING_HELD.max(given)
    }
}

/// Both by the daemon's clock. Where one is missing the event is believed.
fn is_later(event_ns: Option<i64>, started_ns: Option<i64>) -> bool {
    event_ns.zip(started_ns).is_none_or(|(event, started)| event > started)
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

async fn list(api: &Api) -> Result<(Vec<Facts>, BTreeMap<Arc<str>, Problem>), Error> {
    let answer = api.get("/containers/json?all=true", LIST_BYTES_MAX, LIST_TIMEOUT).await?;
    let bytes = answer.ok_or_else(|| api.transport.bad_answer("it knows no list of containers"))?;
    let entries = parse::list(&bytes).map_err(|reason| api.transport.bad_answer(reason))?;
    let mut odd = BTreeMap::new();
    let mut listed = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry {
            Ok(facts) => listed.push(facts),
            Err((id, reason)) => {
                let id = id.unwrap_or_else(|| format!("entry {}", odd.len() + 1));
                odd.insert(id.as_str().into(), unreadable(&short(&id), &reason));
            }
        }
    }
    Ok((listed, odd))
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

async fn inspect_all(api: &Api, ids: Vec<Arc<str>>) -> Result<Vec<(Arc<str>, Asked)>, Error> {
    let questions = ids.into_iter().map(|id| async move {
        let asked = inspect(api, &id).await?;
        Ok((id, asked))
    });
    stream::iter(questions).buffer_unordered(INSPECTS_MAX).try_collect().await
}

async fn inspect(api: &Api, id: &str) -> Result<Asked, Error> {
    // An id is hexadecimal; anything else came from a daemon that is not one.
    if !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(Asked::Odd("its id is not one".to_owned()));
    }
    let path = format!("/containers/{id}/json");
    match api.get(&path, INSPECT_BYTES_MAX, INSPECT_TIMEOUT).await {
        Ok(None) => Ok(Asked::Gone),
        Ok(Some(bytes)) => {
            Ok(parse::inspect(&bytes).map_or_else(Asked::Odd, |facts| Asked::Is(Box::new(facts))))
        }
        Err(Error::Limit { reason, .. } | Error::BadAnswer { reason, .. }) => {
            Ok(Asked::NotNow(reason))
        }
        Err(error @ Error::Unreachable { .. }) => Err(error),
    }
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

    fn state_of(&self, facts: &Facts) -> State {
        let is_told = self.stops.get(&facts.id).is_some_and(|stop| stop.holds(facts));
        match &facts.state.0 {
            State::Running if is_told => State::Stopping,
            state => state.clone(),
        }
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

    const ID: &str = "aa11";

    /// A provider that knows one running container, started at 100 ns, with stop signal 3 (QUIT).
    fn knowing_one() -> Docker {
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

    fn hear(docker: &mut Docker, action: Action, at_ns: i64) {
        docker.take(News { id: ID.into(), action, at_ns: Some(at_ns) });
        docker.rebuild(Rebuild::Touched);
    }

    #[track_caller]
    fn check(docker: &Docker, expected: &State) {
        let snapshot = docker.snapshot();
        assert_eq!(snapshot.services[0].instances[0].state, *expected);
    }

    #[test]
    fn a_stop_signal_stops_before_anything_is_asked() {
        for signal in [Some(3), Some(SIGKILL), None] {
            let mut docker = knowing_one();
            hear(&mut docker, Action::Signalled(signal), 200);
            check(&docker, &State::Stopping);
            assert!(docker.is_urgent && docker.dirty.is_empty());
        }
    }

    #[test]
    fn another_signal_does_not_and_does_not_undo_it_either() {
        let mut docker = knowing_one();
        hear(&mut docker, Action::Signalled(Some(1)), 200);
        check(&docker, &State::Running);
        hear(&mut docker, Action::Signalled(Some(3)), 210);
        hear(&mut docker, Action::Signalled(Some(1)), 220);
        check(&docker, &State::Stopping);
    }

    #[test]
    fn what_happened_before_the_last_start_is_history() {
        let mut docker = knowing_one();
        hear(&mut docker, Action::Signalled(Some(3)), 50);
        hear(&mut docker, Action::Died, 60);
        check(&docker, &State::Running);
    }

    #[test]
    fn asking_does_not_bring_a_stopping_one_back_but_a_start_does() {
        let mut docker = knowing_one();
        hear(&mut docker, Action::Signalled(Some(3)), 200);
        let mut facts = docker.containers[ID].clone();
        docker.settle(vec![(ID.into(), Asked::Is(Box::new(facts.clone())))]);
        docker.rebuild(Rebuild::All);
        check(&docker, &State::Stopping);
        facts.started_ns = Some(300);
        docker.settle(vec![(ID.into(), Asked::Is(Box::new(facts)))]);
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Running);
        assert!(docker.stops.is_empty());
    }

    #[test]
    fn one_that_does_not_heed_its_stop_is_served_again_in_the_end() {
        let mut docker = knowing_one();
        hear(&mut docker, Action::Signalled(Some(3)), 200);
        let heard = docker.stops[ID].heard;
        assert_eq!(docker.next_release(), Some(heard + STOPPING_HELD));
        docker.containers.get_mut(ID).expect("known").stop_timeout = Some(Duration::from_secs(900));
        let release = heard + Duration::from_secs(960);
        assert_eq!(docker.next_release(), Some(release));
        docker.release_stops(release - Duration::from_secs(1));
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Stopping);
        docker.release_stops(release);
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Running);
    }

    #[test]
    fn a_death_is_told_at_once_and_asked_about() {
        let mut docker = knowing_one();
        hear(&mut docker, Action::Died, 200);
        check(&docker, &State::Down("exited".into()));
        assert!(docker.dirty.contains(ID));
        hear(&mut docker, Action::Gone, 210);
        assert!(docker.snapshot().services.is_empty() && docker.dirty.is_empty());
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
