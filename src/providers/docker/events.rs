//! What the daemon tells of by itself.
//!
//! A task reads the stream whatever else is waited for, so that the daemon waits for us no longer than a plan takes: it
//! drops events for listeners that are slow, without a word.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::providers::Error;
use crate::providers::docker::connect::{Api, Transport};
use crate::providers::docker::parse;
use crate::providers::docker::stops::STOPPING_HELD;

/// Events waiting for us to look at them. When more come the daemon waits, and a refresh heals what it drops.
const EVENTS_MAX: usize = 4096;

/// Events are asked from this long ago on (the daemon keeps its last 256): none is lost between connecting and
/// the list, and a container that was told to stop is known as one for as long as most are left alone.
const LOOK_BACK_S: i64 = STOPPING_HELD.as_secs().cast_signed();

/// What is heard this long after the stream was opened has happened since: the daemon sends at once what it has kept.
const PAST: Duration = Duration::from_secs(30);

/// Without a filter each health probe would cost three events (`exec_create`, `exec_start`, `exec_die`).
const ACTIONS: [&str; 15] = [
    "create",
    "start",
    "restart",
    "kill",
    "die",
    "stop",
    "destroy",
    "pause",
    "unpause",
    "rename",
    "update",
    "health_status",
    "connect",
    "disconnect",
    "oom",
];

/// Something happened to a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct News {
    /// The container's whole id.
    pub(super) id: Arc<str>,
    /// What it was.
    pub(super) action: Action,
    /// When, in nanoseconds since 1970, by the daemon's clock.
    pub(super) at_ns: Option<i64>,
    /// Whether it has just happened, whatever that clock says. Else it may be one of those from before the stream was
    /// opened.
    pub(super) is_live: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// It was sent this signal, which may be the one to stop; an old daemon does not say which.
    Signalled(Option<u8>),
    /// It ended.
    Died,
    /// It was removed.
    Gone,
    /// Anything else: ask.
    Changed,
}

/// The open stream. It is closed when this is dropped.
pub(super) struct Events {
    queue: mpsc::Receiver<Result<News, Error>>,
    task: JoinHandle<()>,
}

impl Events {
    /// Opens the stream.
    pub(super) fn open(api: &Api) -> Self {
        let (sender, queue) = mpsc::channel(EVENTS_MAX);
        let opening = Opening { at: Instant::now(), clock_s: api.transport.daemon_clock_s() };
        let since = opening.clock_s.saturating_sub(LOOK_BACK_S).to_string();
        let filters =
            HashMap::from([("type", vec!["container", "network"]), ("event", ACTIONS.to_vec())]);
        let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        let stream = api.client.events(Some(options));
        let task = tokio::spawn(read(Box::pin(stream), api.transport.clone(), opening, sender));
        Self { queue, task }
    }

    /// The next one. May be dropped at any time; nothing is lost.
    ///
    /// # Errors
    /// When the stream ended; nothing comes after that.
    pub(super) async fn next(&mut self) -> Option<Result<News, Error>> {
        self.queue.recv().await
    }

    /// The next one, if it is here already.
    pub(super) fn next_queued(&mut self) -> Option<Result<News, Error>> {
        self.queue.try_recv().ok()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When the stream was opened, by our clock and by the daemon's.
struct Opening {
    at: Instant,
    clock_s: i64,
}

impl Opening {
    /// Whether an event that says this of its time, and is heard now, has happened since.
    fn is_before(&self, at_ns: Option<i64>, now: Instant) -> bool {
        // The daemon tells its clock in whole seconds.
        let opened_ns = self.clock_s.saturating_add(1).saturating_mul(1_000_000_000);
        at_ns.is_some_and(|at| at > opened_ns) || now.duration_since(self.at) > PAST
    }
}

async fn read(
    mut stream: impl Stream<Item = Result<EventMessage, bollard::errors::Error>> + Unpin,
    transport: Transport,
    opening: Opening,
    queue: mpsc::Sender<Result<News, Error>>,
) {
    loop {
        let item = match stream.next().await {
            Some(Ok(message)) => match news(&message) {
                Some(news) => {
                    let is_live = opening.is_before(news.at_ns, Instant::now());
                    Ok(News { is_live, ..news })
                }
                None => continue,
            },
            Some(Err(error)) => Err(transport.error(error)),
            None => Err(transport.unreachable("the daemon closed the stream of events")),
        };
        let is_end = item.is_err();
        if queue.send(item).await.is_err() || is_end {
            return;
        }
    }
}

/// What an event means for a container; none where it means nothing.
fn news(message: &EventMessage) -> Option<News> {
    let actor = message.actor.as_ref()?;
    let attribute = |key: &str| actor.attributes.as_ref().and_then(|all| all.get(key));
    let is_network = message.typ == Some(EventMessageTypeEnum::NETWORK);
    let id = if is_network { attribute("container") } else { actor.id.as_ref() };
    let action = match message.action.as_deref()? {
        _ if is_network => Action::Changed,
        "kill" => Action::Signalled(attribute("signal").and_then(|text| parse::signal(text))),
        "die" => Action::Died,
        "destroy" => Action::Gone,
        _ => Action::Changed,
    };
    let id = id.filter(|id| !id.is_empty())?;
    Some(News { id: id.as_str().into(), action, at_ns: message.time_nano, is_live: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Vec<Option<News>> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/docker/events.json");
        let text = std::fs::read_to_string(path).expect(path);
        let messages = text.lines().map(|line| serde_json::from_str(line).expect(line));
        messages.map(|message| news(&message)).collect()
    }

    #[test]
    fn events_become_news_of_a_container() {
        let actions: Vec<_> =
            recorded().into_iter().map(|news| news.map(|news| news.action)).collect();
        let changed = Some(Action::Changed);
        assert_eq!(
            actions,
            [
                changed,                           // container create
                None,                              // network create
                changed,                           // network connect
                changed,                           // container start
                changed,                           // container health_status: healthy
                changed,                           // container rename
                Some(Action::Signalled(Some(15))), // container kill: the stop signal
                Some(Action::Signalled(Some(9))),  // container kill: after the time to stop
                Some(Action::Died),                // container die
                changed,                           // network disconnect
                changed,                           // container stop
                Some(Action::Gone),                // container destroy
                None,                              // network destroy
                None,
                None,
            ]
        );
    }

    #[test]
    fn an_event_is_live_by_its_own_time_or_by_when_it_is_heard() {
        let (at, second) = (Instant::now(), 1_000_000_000);
        let opening = Opening { at, clock_s: 1_000 };
        assert!(!opening.is_before(Some(990 * second), at));
        assert!(opening.is_before(Some(1_002 * second), at));
        // The clock was set back by an hour meanwhile.
        assert!(opening.is_before(Some(-2_600 * second), at + PAST + Duration::from_secs(1)));
        assert!(!opening.is_before(None, at));
    }

    #[test]
    fn a_network_event_is_about_its_container() {
        let news: Vec<_> = recorded().into_iter().flatten().collect();
        assert!(news.iter().all(|item| item.id == news[0].id && item.at_ns.is_some()));
        assert_eq!(news[0].id.len(), 64);
    }
}
