//! Containers that were told to stop, and those that ended.
//!
//! Neither list nor inspect tells that a container is about to end: they go on saying "running". Only the event of its
//! signal does, and it is believed until the container is started again, or has not heeded it for long.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::model::State;
use crate::providers::docker::Docker;
use crate::providers::docker::events::News;
use crate::providers::docker::parse::{Facts, SIGKILL};

/// A container that was told to stop and still runs after this long, and after the time it was given to stop plus
/// a minute, is taken for one that does not heed the signal: it is served again.
const STOPPING_HELD: Duration = Duration::from_secs(300);

/// Nothing that has just happened is older than this when it is heard.
const LAG_NS: i64 = 10_000_000_000;

/// A signal a container got.
pub(super) struct Stop {
    signal: Option<u8>,
    at_ns: Option<i64>,
    /// The start it puts an end to, where that cannot be told by the clock: it was set back.
    ends_ns: Option<i64>,
    heard: Instant,
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
        let stop = Stop { signal, at_ns: news.at_ns, ends_ns, heard: Instant::now() };
        let is_meant = known.is_none_or(|facts| stop.is_meant(facts));
        // What is about to be asked may have another stop signal than we know of; it is looked at again then.
        let may_be_stop = || self.is_awaited(&news.id) && !self.stops.contains_key(&news.id);
        if is_meant || may_be_stop() {
            self.stops.insert(Arc::clone(&news.id), stop);
            self.touch(&news.id);
        }
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

impl Stop {
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
}
