//! The Docker Engine API.
//!
//! First the events are subscribed to, then the list is asked, then each container that matters is inspected: one
//! that runs, or that has a label of ours (so that `explain` can say why it is not served). After that only what an
//! event named is inspected, until the next refresh or reconnect asks for everything. Events are heard all the while, and
//! an answer that is long in coming holds nothing up but itself. See `questions`.
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

use tokio::time::{Instant, sleep_until, timeout};

use crate::dialects::labels::is_ours;
use crate::model::{Origin, Problem, ProviderName, Service, Snapshot, State};
use crate::providers::{Depth, Error, Provider};
use crate::settings::DockerSettings;
pub use connect::endpoint;

use connect::{Api, Transport};
use events::{Action, Events, News};
use parse::{Facts, NetworkMode};
use place::{Place, own_ids};
use questions::{Answer, Asked, INSPECT_TIMEOUT, Listed, Questions, list};
use stops::{Stop, release};

/// Containers that do not run, the newest: enough to explain, not enough to weigh.
const STOPPED_MAX: usize = 1_000;
/// For a whole answer, the slow aside: what is not there by then is told when it comes. Whoever asks once waits for a minute,
/// connecting included.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(40);
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
    /// The names of those that were listed, and never answered for.
    names: BTreeMap<Arc<str>, String>,
    /// Containers that could not be read, or not now.
    odd: BTreeMap<Arc<str>, Problem>,
    /// What the last list had to leave out.
    cut: Option<Problem>,
    /// Containers to ask for: an event named them.
    dirty: BTreeSet<Arc<str>>,
    /// Containers of which something is known that is not told yet.
    touched: BTreeSet<Arc<str>>,
    /// Containers that were told to stop.
    stops: BTreeMap<Arc<str>, Stop>,
    /// Set when a list came that is not told yet.
    is_listed_anew: bool,
    /// Set when an event says all there is to say: told at once, before anything is asked.
    is_urgent: bool,
    /// Set by the first snapshot.
    has_told: bool,
}

/// An agreed connection, the stream of its events, and what is asked. Both live here, so that `changed` and `fetch` can be
/// dropped.
struct Link {
    api: Arc<Api>,
    events: Events,
    questions: Questions,
    /// Why no event comes any more.
    deaf: Option<Error>,
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
            names: BTreeMap::new(),
            odd: BTreeMap::new(),
            cut: None,
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
            stops: BTreeMap::new(),
            is_listed_anew: false,
            is_urgent: false,
            has_told: false,
        })
    }
}

impl Provider for Docker {
    fn name(&self) -> ProviderName {
        ProviderName::Docker
    }

    fn is_near(&self) -> bool {
        self.transport.is_socket()
    }

    async fn fetch(&mut self, depth: Depth) -> Result<Snapshot, Error> {
        let asked = self.ask(depth).await;
        self.lost_if_failed(asked)?;
        self.has_told = true;
        self.is_urgent = false;
        let is_all = std::mem::take(&mut self.is_listed_anew);
        self.rebuild(if is_all { Rebuild::All } else { Rebuild::Touched });
        Ok(self.snapshot())
    }

    async fn changed(&mut self) -> Result<(), Error> {
        loop {
            if let Some(error) = self.link.as_mut().and_then(|link| link.deaf.take()) {
                self.link = None;
                return Err(error);
            }
            if self.has_news() {
                return Ok(());
            }
            let taken = self.step().await;
            self.lost_if_failed(taken)?;
        }
    }
}

impl Link {
    async fn open(transport: &Transport) -> Result<Self, Error> {
        let api = Arc::new(Api::connect(transport).await?);
        // Before the list, so that nothing falls between the two.
        let events = Events::open(&api);
        Ok(Self { events, questions: Questions::to(Arc::clone(&api)), api, deaf: None })
    }
}

// Events.
impl Docker {
    /// A stream that ends does not keep the answers from being told: some daemons refuse to tell of events.
    fn hear(&mut self, news: Option<Result<News, Error>>) {
        let ended = || Err(self.transport.unreachable("the stream of events ended"));
        match (news.unwrap_or_else(ended), &mut self.link) {
            (Ok(news), _) => self.take(news),
            (Err(error), Some(link)) => link.deaf = Some(error),
            (Err(_), None) => {}
        }
    }

    /// What happened since is not known: the next fetch connects anew.
    fn lost_if_failed(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        if result.is_err() {
            self.link = None;
        }
        result
    }

    fn take(&mut self, news: News) {
        tracing::debug!(container = %news.id, action = ?news.action, "docker event");
        match news.action {
            Action::Signalled(signal) => self.take_signal(&news, signal),
            Action::Died => self.take_death(&news),
            Action::Gone => {
                self.forget(&news.id);
                if let Some(link) = &mut self.link {
                    link.questions.forget(&news.id);
                }
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
    /// Asks, and takes what is answered soon. What is not is taken whenever it comes.
    async fn ask(&mut self, depth: Depth) -> Result<(), Error> {
        let (link, is_new) = match self.link.take() {
            Some(link) => (link, false),
            None => (Link::open(&self.transport).await?, true),
        };
        let link = self.link.insert(link);
        if is_new || depth == Depth::Everything {
            link.questions.ask_list(list(Arc::clone(&link.api)));
        }
        self.ask_dirty();
        let is_prompt_done =
            |this: &Self| this.link.as_ref().is_none_or(|link| link.questions.is_prompt_done());
        let is_done = |this: &Self| this.link.as_ref().is_none_or(|link| link.questions.is_done());
        if !self.has_told {
            // The routes of those that are slow would answer 404 until they come; later what was known stays.
            self.step_until(is_prompt_done, ANSWERS_TIMEOUT).await?;
            return self.step_until(is_done, INSPECT_TIMEOUT).await;
        }
        if is_new {
            // The stops of the past come with the connection, and are no news where the answers come with it too.
            self.step_until(is_prompt_done, INSPECT_TIMEOUT).await?;
        }
        self.step_until(|this| this.is_urgent || is_prompt_done(this), ANSWERS_TIMEOUT).await
    }

    fn ask_dirty(&mut self) {
        let Some(link) = &mut self.link else { return };
        // The list that is under way would be older than their answers; they are asked for when it is there.
        if !link.questions.is_listing() {
            self.dirty.retain(|id| !link.questions.ask(id));
        }
    }

    /// Takes what comes until this is so, or for so long.
    async fn step_until(
        &mut self,
        is_so: impl Fn(&Self) -> bool + Send,
        limit: Duration,
    ) -> Result<(), Error> {
        let end = Instant::now() + limit;
        while !is_so(self) {
            tokio::select! {
                taken = self.step() => taken?,
                () = sleep_until(end) => break,
            }
        }
        Ok(())
    }

    /// Takes the next event, answer, or end of a stop. May be dropped at any time; nothing is lost.
    async fn step(&mut self) -> Result<(), Error> {
        let held_until = self.next_release();
        let Some(link) = &mut self.link else {
            return Err(self.transport.unreachable("not connected"));
        };
        tokio::select! {
            news = link.events.next(), if link.deaf.is_none() => self.hear(news),
            answer = link.questions.next() => self.settle(answer?),
            () = release(held_until) => self.release_stops(Instant::now()),
        }
        while let Some(news) = self.link.as_mut().and_then(|link| link.events.next_queued()) {
            self.hear(Some(news));
        }
        Ok(())
    }

    /// Whether the next snapshot may differ from the last.
    fn has_news(&self) -> bool {
        let is_open = |id: &str| self.link.as_ref().is_some_and(|link| link.questions.is_open(id));
        self.is_urgent
            || self.is_listed_anew
            || !self.touched.is_empty()
            || self.dirty.iter().any(|id| !is_open(id))
    }

    /// Whether what is known of it is about to be asked anew.
    fn is_awaited(&self, id: &str) -> bool {
        self.dirty.contains(id) || self.link.as_ref().is_some_and(|link| link.questions.is_open(id))
    }

    fn settle(&mut self, answer: Answer) {
        match answer {
            Answer::List(listed) => {
                self.replace(listed);
                self.ask_dirty();
            }
            Answer::Of(id, asked) => self.settle_one(id, asked),
            Answer::Late => {}
        }
    }

    /// Puts a list in the place of what was known. Of those asked for besides, what was known stays until
    /// [`Self::settle_one`]; one that is only listed is not served on a guess.
    fn replace(&mut self, listed: Listed) {
        let (facts, cut) = leave_out(listed.facts);
        let mut before = std::mem::take(&mut self.containers);
        let mut odd_before = std::mem::replace(&mut self.odd, listed.odd);
        self.names.clear();
        for facts in facts {
            let id = Arc::clone(&facts.id);
            let known = before.remove(&id);
            if !is_asked(&facts) {
                self.containers.insert(id, facts);
                continue;
            }
            if let Some(problem) = odd_before.remove(&id) {
                self.odd.insert(Arc::clone(&id), problem);
            }
            if let Some(link) = &mut self.link {
                link.questions.ask(&id);
            }
            match known {
                Some(known) => {
                    self.containers.insert(id, known);
                }
                None => {
                    self.names.insert(id, facts.name);
                }
            }
        }
        // An event that came meanwhile may be younger than the list.
        before.retain(|id, _| self.dirty.contains(id));
        self.containers.extend(before);
        self.cut = cut;
        self.is_listed_anew = true;
    }

    fn settle_one(&mut self, id: Arc<str>, asked: Asked) {
        match asked {
            Asked::Gone => self.forget(&id),
            Asked::NotNow(reason) => self.keep_silent(&id, &reason),
            Asked::Is(facts) if self.has_ended(&facts) => return,
            Asked::Is(facts) => {
                self.odd.remove(&id);
                self.containers.insert(Arc::clone(&id), *facts);
            }
            Asked::Odd(reason) => {
                let name = self.name_of(&id);
                self.forget(&id);
                self.odd.insert(Arc::clone(&id), unreadable(&name, &reason));
            }
        }
        self.names.remove(&id);
        self.touched.insert(id);
    }

    /// Whether an event told the end of what runs by this answer, which then is the older of the two; it is asked again.
    fn has_ended(&self, facts: &Facts) -> bool {
        let is_end = |known: &Facts| {
            known.state.0 == State::Down("exited".into()) && known.started_ns == facts.started_ns
        };
        self.dirty.contains(&facts.id) && self.containers.get(&facts.id).is_some_and(is_end)
    }

    /// One that does not answer stays as it was known.
    fn keep_silent(&mut self, id: &Arc<str>, reason: &str) {
        let origin = Origin::new(ProviderName::Docker, self.name_of(id));
        let message = format!("the daemon does not tell about this container now: {reason}.");
        let problem = Problem::warning(&origin, message);
        self.odd.insert(
            Arc::clone(id),
            problem.hint("What was known of it before stays in force; it is asked again at the next refresh."),
        );
    }

    fn name_of(&self, id: &str) -> String {
        match self.containers.get(id) {
            Some(facts) if !facts.name.is_empty() => facts.name.clone(),
            _ => self.names.get(id).cloned().unwrap_or_else(|| short(id)),
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
    facts.labels.keys().any(|key| is_ours(key))
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
        let mut stops = std::mem::take(&mut self.stops);
        stops.retain(|id, stop| {
            let known = self.containers.get(id);
            known.is_none_or(|facts| self.is_awaited(id) || stop.holds(facts))
        });
        self.stops = stops;
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
            let made = service::service(facts, self.told_of(facts), &self.place, &self.containers);
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
        docker.take(News { id: ID.into(), action, at_ns: Some(at_ns), is_live: false });
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
        docker.settle_one("bb22".into(), Asked::Odd("expected a map".to_owned()));
        docker.settle_one(ID.into(), Asked::NotNow("too slow".to_owned()));
        docker.rebuild(Rebuild::Touched);
        let snapshot = docker.snapshot();
        assert_eq!(snapshot.services.len(), 1);
        let problems: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
        assert!(problems[0].starts_with("web (docker): the daemon does not tell"), "{problems:?}");
        assert!(problems[1].starts_with("bb22 (docker): what the daemon says"), "{problems:?}");
    }

    fn listed(facts: Vec<Facts>) -> Listed {
        Listed { facts, odd: BTreeMap::new() }
    }

    #[test]
    fn a_label_in_capitals_is_one_of_ours_too() {
        let with = |key: &str| Facts {
            state: Status(State::Down("exited".into())),
            labels: [(key.into(), "true".into())].into_iter().collect(),
            ..Facts::default()
        };
        assert!(is_asked(&with("traefik.enable")) && is_asked(&with("Traefik.Enable")));
        assert!(!is_asked(&with("traefikk.enable")));
    }

    #[test]
    fn what_is_only_listed_is_not_served_on_a_guess_and_keeps_what_was_known() {
        let mut docker = knowing_one();
        docker.settle_one(ID.into(), Asked::NotNow("too slow".to_owned()));
        let other = Facts { id: "bb22".into(), name: "new".to_owned(), ..Facts::default() };
        let running = |facts: Facts| Facts { state: Status(State::Running), ..facts };
        let again = Facts { id: ID.into(), ..Facts::default() };
        docker.replace(listed(vec![running(other), running(again)]));
        docker.rebuild(Rebuild::All);
        let snapshot = docker.snapshot();
        assert_eq!((snapshot.services.len(), snapshot.problems.len()), (1, 1));
        assert_eq!(&*snapshot.services[0].name, "web");
        docker.settle_one("bb22".into(), Asked::NotNow("too slow".to_owned()));
        let problems = docker.snapshot().problems;
        assert!(problems[1].to_string().starts_with("new (docker): the daemon does not tell"));
    }

    #[test]
    fn an_event_is_younger_than_what_was_asked_before_it() {
        let mut docker = knowing_one();
        let facts = docker.containers[ID].clone();
        // Of one that only changed, what is told is better than nothing until it is asked again.
        let other = Facts { id: "bb22".into(), ..facts.clone() };
        docker.dirty.insert("bb22".into());
        docker.settle_one("bb22".into(), Asked::Is(Box::new(other)));
        assert!(docker.containers.contains_key("bb22"));
        docker.forget("bb22");
        hear(&mut docker, Action::Died, 200);
        docker.settle_one(ID.into(), Asked::Is(Box::new(facts.clone())));
        docker.replace(listed(Vec::new()));
        docker.rebuild(Rebuild::All);
        check(&docker, &State::Down("exited".into()));
        docker.dirty.clear();
        docker.settle_one(ID.into(), Asked::Is(Box::new(facts)));
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Running);
        docker.replace(listed(Vec::new()));
        docker.rebuild(Rebuild::All);
        assert!(docker.snapshot().services.is_empty());
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
