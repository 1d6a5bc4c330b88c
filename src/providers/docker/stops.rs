//! Containers that were told to stop, and those that ended.
//!
//! Neither list nor inspect tells that a container is about to end: they go on saying "running". Only the event of its
//! signal does, and it is believed until the container is started again, or has not heeded it for long.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use crate::model::State;
use crate::providers::docker::Docker;
use crate::providers::docker::events::News;
use crate::providers::docker::parse::{Facts, SIGKILL};

/// A container that was told to stop and still runs after this long, and after the time it was given to stop plus
/// a minute, is taken for one that does not heed the signal: it is served again.
pub(super) const STOPPING_HELD: Duration = Duration::from_secs(300);

/// Nothing that has just happened is older than this when it is heard.
const LAG_NS: i64 = 10_000_000_000;

/// A signal a container got.
pub(super) struct Stop {
    signal: Option<u8>,
    at_ns: Option<i64>,
    /// The start it puts an end to, where that cannot be told by the clock: it was set back.
    ends_ns: Option<i64>,
    /// When it was sent, as far as that can be told.
    sent: Instant,
    /// The same by our clock, for people.
    sent_at: SystemTime,
}

/// Resolves at this time; never without one.
pub(super) async fn release(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Docker {
    /// The container still runs, and says so when asked: only this event tells that it is about to end.
    pub(super) fn take_signal(&mut self, news: &News, signal: Option<u8>) {
        let known = self.containers.get(&news.id);
        let started_ns = known.and_then(|facts| facts.started_ns);
        let ends_ns = started_ns.filter(|_| is_set_back(news, started_ns));
        let (age, now) = (self.age(news), Instant::now());
        let sent = now.checked_sub(age).unwrap_or(now);
        let sent_at = SystemTime::now().checked_sub(age).unwrap_or_else(SystemTime::now);
        let stop = Stop { signal, at_ns: news.at_ns, ends_ns, sent, sent_at };
        let is_meant = known.is_none_or(|facts| stop.is_meant(facts));
        // What is about to be asked may have another stop signal than we know of; it is looked at again then.
        let may_be_stop = || self.is_awaited(&news.id) && !self.stops.contains_key(&news.id);
        if is_meant || may_be_stop() {
            self.stops.insert(Arc::clone(&news.id), stop);
            self.touch(&news.id);
        }
    }

    /// How long ago it happened, of what the daemon has kept since.
    fn age(&self, news: &News) -> Duration {
        let (Some(at_ns), false) = (news.at_ns, news.is_live) else { return Duration::ZERO };
        let age_s = self.transport.daemon_clock_s().saturating_sub(at_ns / 1_000_000_000);
        // Nobody asked for more.
        Duration::from_secs(u64::try_from(age_s).unwrap_or_default()).min(STOPPING_HELD)
    }

    /// Nothing runs any more, whatever the daemon still has to tidy up before it answers.
    pub(super) fn take_death(&mut self, news: &News) {
        self.dirty.insert(Arc::clone(&news.id));
        let Some(facts) = self.containers.get_mut(&news.id) else { return };
        let is_later =
            is_later(news.at_ns, facts.started_ns) || is_set_back(news, facts.started_ns);
        if is_later && matches!(facts.state.0, State::Running | State::Stopping) {
            facts.state.0 = State::Down("exited".into());
            self.touch(&news.id);
        }
    }

    /// When the next stop is no longer believed.
    pub(super) fn next_release(&self) -> Option<Instant> {
        self.stops.iter().map(|(id, stop)| stop.held_until(self.containers.get(id))).min()
    }

    pub(super) fn release_stops(&mut self, now: Instant) {
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

    pub(super) fn state_of(&self, facts: &Facts) -> State {
        let is_told = self.stops.get(&facts.id).is_some_and(|stop| stop.holds(facts));
        match &facts.state.0 {
            State::Running if is_told => State::Stopping,
            state => state.clone(),
        }
    }
}

impl Docker {
    /// Its state, and what else there is to say of that.
    pub(super) fn told_of(&self, facts: &Facts) -> (State, Option<String>) {
        let state = self.state_of(facts);
        let detail = match (&state, self.stops.get(&facts.id)) {
            (State::Stopping, Some(stop)) => Some(stop.in_words(facts)),
            (State::Down(_), _) => facts.ending.map(|ending| ending.to_string()),
            _ => None,
        };
        (state, detail)
    }
}

impl Stop {
    /// Since when it is believed, and until when.
    fn in_words(&self, facts: &Facts) -> String {
        let clock = |at: SystemTime| chrono::DateTime::<chrono::Utc>::from(at).format("%H:%M:%S");
        let until = self.sent_at + self.held(Some(facts));
        format!(
            "at {} UTC; one that still runs at {} gets requests again",
            clock(self.sent_at),
            clock(until)
        )
    }

    /// Whether it is the signal that stops this container: its own, or the one that no process survives.
    /// `docker kill --signal HUP` says "read your settings again" to most.
    fn is_meant(&self, facts: &Facts) -> bool {
        self.signal.is_none_or(|signal| signal == SIGKILL || signal == facts.stop_signal)
    }

    /// Whether the container is stopping because of it: not if it was started again since.
    pub(super) fn holds(&self, facts: &Facts) -> bool {
        let is_same_start = self.ends_ns.is_some() && self.ends_ns == facts.started_ns;
        self.is_meant(facts) && (is_same_start || is_later(self.at_ns, facts.started_ns))
    }

    fn held_until(&self, facts: Option<&Facts>) -> Instant {
        self.sent + self.held(facts)
    }

    /// How long it is believed.
    fn held(&self, facts: Option<&Facts>) -> Duration {
        let given = facts.and_then(|facts| facts.stop_timeout).unwrap_or_default();
        // Docker takes any number of seconds; a day is long enough, and keeps the sum within the clock.
        let given = given.min(Duration::from_secs(86_400)) + Duration::from_secs(60);
        STOPPING_HELD.max(given)
    }
}

/// Both by the daemon's clock. Where one is missing the event is believed.
fn is_later(event_ns: Option<i64>, started_ns: Option<i64>) -> bool {
    event_ns.zip(started_ns).is_none_or(|(event, started)| event > started)
}

/// Whether the daemon's clock was set back between the start and this: what has just happened cannot be older.
fn is_set_back(news: &News, started_ns: Option<i64>) -> bool {
    let ahead_ns = news.at_ns.zip(started_ns).map(|(at, started)| started.saturating_sub(at));
    news.is_live && ahead_ns.is_some_and(|ahead| ahead > LAG_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::docker::Rebuild;
    use crate::providers::docker::events::Action;
    use crate::providers::docker::questions::Asked;
    use crate::providers::docker::tests::{ID, check, hear, knowing_one};

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
        hear(&mut docker, Action::Changed, 230);
        hear(&mut docker, Action::Signalled(Some(1)), 240);
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
    fn a_clock_that_was_set_back_makes_no_history_of_what_happens_now() {
        let started_ns = Some(3_600_000_000_000);
        let started = |docker: &mut Docker, started_ns| {
            let facts = Facts { started_ns, ..docker.containers[ID].clone() };
            docker.settle_one(ID.into(), Asked::Is(Box::new(facts)));
            docker.rebuild(Rebuild::Touched);
        };
        let tell = |docker: &mut Docker, action, is_live| {
            docker.take(News { id: ID.into(), action, at_ns: Some(50), is_live });
            docker.rebuild(Rebuild::Touched);
        };
        let mut docker = knowing_one();
        started(&mut docker, started_ns);
        tell(&mut docker, Action::Signalled(Some(3)), false);
        check(&docker, &State::Running);
        tell(&mut docker, Action::Signalled(Some(3)), true);
        check(&docker, &State::Stopping);
        started(&mut docker, started_ns);
        check(&docker, &State::Stopping);
        // Started again, by the clock as it is now.
        started(&mut docker, Some(60));
        check(&docker, &State::Running);
        started(&mut docker, started_ns);
        tell(&mut docker, Action::Died, true);
        check(&docker, &State::Down("exited".into()));
    }

    #[test]
    fn an_event_a_moment_older_than_the_start_is_of_the_one_before() {
        let mut docker = knowing_one();
        docker.take(News {
            id: ID.into(),
            action: Action::Signalled(Some(3)),
            at_ns: Some(50),
            is_live: true,
        });
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Running);
    }

    #[test]
    fn asking_does_not_bring_a_stopping_one_back_but_a_start_does() {
        let mut docker = knowing_one();
        hear(&mut docker, Action::Signalled(Some(3)), 200);
        let mut facts = docker.containers[ID].clone();
        docker.settle_one(ID.into(), Asked::Is(Box::new(facts.clone())));
        docker.rebuild(Rebuild::All);
        check(&docker, &State::Stopping);
        facts.started_ns = Some(300);
        docker.settle_one(ID.into(), Asked::Is(Box::new(facts)));
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Running);
        assert!(docker.stops.is_empty());
    }

    #[test]
    fn one_that_does_not_heed_its_stop_is_served_again_in_the_end() {
        let mut docker = knowing_one();
        hear(&mut docker, Action::Signalled(Some(3)), 200);
        let sent = docker.stops[ID].sent;
        assert_eq!(docker.next_release(), Some(sent + STOPPING_HELD));
        docker.containers.get_mut(ID).expect("known").stop_timeout = Some(Duration::from_secs(900));
        let release = sent + Duration::from_secs(960);
        assert_eq!(docker.next_release(), Some(release));
        docker.release_stops(release - Duration::from_secs(1));
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Stopping);
        docker.release_stops(release);
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Running);
    }

    #[test]
    fn what_was_sent_before_the_stream_was_opened_is_held_from_then_on() {
        let mut docker = knowing_one();
        let now_s = docker.transport.daemon_clock_s();
        docker.take(News {
            id: ID.into(),
            action: Action::Signalled(Some(3)),
            at_ns: Some((now_s - 200) * 1_000_000_000),
            is_live: false,
        });
        docker.rebuild(Rebuild::Touched);
        check(&docker, &State::Stopping);
        let left = docker.next_release().expect("it is held").duration_since(Instant::now());
        assert!((95..=100).contains(&left.as_secs()), "{left:?}");
        let detail = docker.snapshot().services[0].instances[0].detail.clone().unwrap_or_default();
        assert!(detail.starts_with("at ") && detail.contains(" UTC; one that still"), "{detail}");
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
}
