//! What the daemon is asked: the list, and each container that matters.
//!
//! Answers are taken one by one, beside the events, so that nothing that is told waits for a question. A container whose
//! answer does not come at once is asked apart from then on: one that is stuck keeps no other waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use crate::model::Problem;
use crate::providers::Error;
use crate::providers::docker::connect::Api;
use crate::providers::docker::parse::{self, Facts};
use crate::providers::docker::{short, unreadable};

/// A list of 30,000 containers fits.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A container with a thousand labels and mounts fits.
const INSPECT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// For the whole list.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// For one container, while others wait for it. The daemon takes milliseconds, unless that container is stuck.
const PROMPT: Duration = Duration::from_secs(1);
/// For one container that is asked apart.
pub(super) const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Containers inspected at once, and as many again of those that are asked apart.
const INSPECTS_MAX: usize = 16;

/// The questions that are not answered yet.
pub(super) struct Questions {
    inspect: Inspect,
    /// What "at once" means.
    prompt_limit: Duration,
    list: Option<BoxFuture<'static, Result<Listed, Error>>>,
    /// Containers that went while the list was under way, which may still have them.
    gone: BTreeSet<Arc<str>>,
    /// Every container that is asked for, whichever queue it is in.
    open: BTreeSet<Arc<str>>,
    /// Those that are expected to answer at once.
    prompt: Queue,
    /// Those that did not.
    apart: Queue,
    /// Containers that did not answer at once when they were asked last.
    slow: BTreeSet<Arc<str>>,
}

/// How one container is asked for.
type Inspect = Box<dyn Fn(Arc<str>) -> BoxFuture<'static, Result<Asked, Error>> + Send + Sync>;

/// What the daemon says there is.
pub(super) struct Listed {
    /// Those that can be read.
    pub(super) facts: Vec<Facts>,
    /// Those that cannot.
    pub(super) odd: BTreeMap<Arc<str>, Problem>,
}

/// What became of asking for one container.
pub(super) enum Asked {
    Is(Box<Facts>),
    Gone,
    /// It was answered, and cannot be read.
    Odd(String),
    /// It was not answered, and others were.
    NotNow(String),
}

/// An answer.
pub(super) enum Answer {
    List(Listed),
    Of(Arc<str>, Asked),
    /// A container did not answer at once: it is asked apart, and nobody waits for it.
    Late,
}

impl Questions {
    /// None yet, to this daemon.
    pub(super) fn to(api: Arc<Api>) -> Self {
        let inspect = move |id: Arc<str>| -> BoxFuture<'static, _> {
            let api = Arc::clone(&api);
            Box::pin(async move { inspect(&api, &id).await })
        };
        Self::new(Box::new(inspect), PROMPT)
    }

    fn new(inspect: Inspect, prompt_limit: Duration) -> Self {
        Self {
            inspect,
            prompt_limit,
            list: None,
            gone: BTreeSet::new(),
            open: BTreeSet::new(),
            prompt: Queue::default(),
            apart: Queue::default(),
            slow: BTreeSet::new(),
        }
    }

    /// Asks for the list, unless it is under way.
    pub(super) fn ask_list(
        &mut self,
        list: impl Future<Output = Result<Listed, Error>> + Send + 'static,
    ) {
        self.list.get_or_insert_with(|| Box::pin(list));
    }

    /// Asks for a container. False: it is asked for already, and the answer may be older than this wish.
    pub(super) fn ask(&mut self, id: &Arc<str>) -> bool {
        let is_new = self.open.insert(Arc::clone(id));
        if is_new {
            let queue = if self.slow.contains(id) { &mut self.apart } else { &mut self.prompt };
            queue.waiting.push_back(Arc::clone(id));
        }
        is_new
    }

    /// This container is no more, whatever answers on their way say.
    pub(super) fn forget(&mut self, id: &Arc<str>) {
        self.open.remove(id);
        self.slow.remove(id);
        if self.is_listing() {
            self.gone.insert(Arc::clone(id));
        }
    }

    pub(super) fn is_listing(&self) -> bool {
        self.list.is_some()
    }

    /// Whether this container is asked for.
    pub(super) fn is_open(&self, id: &str) -> bool {
        self.open.contains(id)
    }

    /// Whether all is answered that is expected to be at once.
    pub(super) fn is_prompt_done(&self) -> bool {
        !self.is_listing() && self.prompt.is_empty()
    }

    /// Whether all is answered.
    pub(super) fn is_done(&self) -> bool {
        self.is_prompt_done() && self.apart.is_empty()
    }

    /// The next answer; never comes where nothing is asked. May be dropped at any time; nothing is lost.
    ///
    /// # Errors
    /// When the daemon is gone, or its list cannot be used.
    pub(super) async fn next(&mut self) -> Result<Answer, Error> {
        loop {
            self.prompt.start(|id| {
                let asked = timeout(self.prompt_limit, (self.inspect)(Arc::clone(&id)));
                Box::pin(async move { (id, asked.await.ok()) })
            });
            self.apart.start(|id| {
                let asked = (self.inspect)(Arc::clone(&id));
                Box::pin(async move { (id, Some(asked.await)) })
            });
            let (id, asked) = tokio::select! {
                listed = answer_of(&mut self.list) => {
                    self.list = None;
                    return Ok(Answer::List(self.without_gone(listed?)));
                }
                answer = self.prompt.next() => answer,
                answer = self.apart.next() => answer,
            };
            if !self.open.contains(&id) {
                continue;
            }
            let Some(asked) = asked else {
                self.slow.insert(Arc::clone(&id));
                self.apart.waiting.push_back(id);
                return Ok(Answer::Late);
            };
            let asked = asked?;
            self.open.remove(&id);
            if !matches!(asked, Asked::NotNow(_)) {
                self.slow.remove(&id);
            }
            return Ok(Answer::Of(id, asked));
        }
    }

    fn without_gone(&mut self, mut listed: Listed) -> Listed {
        let gone = std::mem::take(&mut self.gone);
        listed.facts.retain(|facts| !gone.contains(&facts.id));
        listed.odd.retain(|id, _| !gone.contains(id));
        listed
    }
}

async fn answer_of<T>(question: &mut Option<BoxFuture<'static, T>>) -> T {
    match question {
        Some(question) => question.await,
        None => pending().await,
    }
}

/// Containers to ask for, so many at once. What is late has no answer.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<str>>,
    under_way: FuturesUnordered<BoxFuture<'static, InQueue>>,
}

type InQueue = (Arc<str>, Option<Result<Asked, Error>>);

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    fn start(&mut self, ask: impl Fn(Arc<str>) -> BoxFuture<'static, InQueue>) {
        while self.under_way.len() < INSPECTS_MAX {
            let Some(id) = self.waiting.pop_front() else { return };
            self.under_way.push(ask(id));
        }
    }

    async fn next(&mut self) -> InQueue {
        match self.under_way.next().await {
            Some(answer) => answer,
            None => pending().await,
        }
    }
}

/// Asks what there is.
///
/// # Errors
/// When the daemon is gone, or what it says is not a list.
pub(super) async fn list(api: Arc<Api>) -> Result<Listed, Error> {
    let answer = api.get("/containers/json?all=true", LIST_BYTES_MAX, LIST_TIMEOUT).await?;
    let bytes = answer.ok_or_else(|| api.transport.bad_answer("it knows no list of containers"))?;
    let entries = parse::list(&bytes).map_err(|reason| api.transport.bad_answer(reason))?;
    let mut odd = BTreeMap::new();
    let mut facts = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry {
            Ok(read) => facts.push(read),
            Err((id, reason)) => {
                let id = id.unwrap_or_else(|| format!("entry {}", odd.len() + 1));
                odd.insert(id.as_str().into(), unreadable(&short(&id), &reason));
            }
        }
    }
    Ok(Listed { facts, odd })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// To a daemon that answers at once, but for containers whose ids begin with `s`: these are stuck for good.
    fn questions() -> Questions {
        let inspect = |id: Arc<str>| -> BoxFuture<'static, _> {
            Box::pin(async move {
                match id.starts_with('s') {
                    true => pending().await,
                    false => Ok(Asked::Gone),
                }
            })
        };
        Questions::new(Box::new(inspect), Duration::from_millis(5))
    }

    /// Who is answered about next; none where one is late.
    async fn next(questions: &mut Questions) -> Option<Arc<str>> {
        match questions.next().await.expect("the daemon is there") {
            Answer::Of(id, _) => Some(id),
            Answer::Late => None,
            Answer::List(_) => panic!("nobody asked for a list"),
        }
    }

    #[tokio::test]
    async fn stuck_containers_by_the_hundred_hold_the_others_up_once_and_for_a_moment() {
        let mut questions = questions();
        let stuck: Vec<Arc<str>> = (0..384).map(|n| format!("s{n}").into()).collect();
        for id in stuck.iter().chain(&["quick".into()]) {
            assert!(questions.ask(id));
        }
        let (mut late, mut answered) = (0, Vec::new());
        while !questions.is_prompt_done() {
            match next(&mut questions).await {
                Some(id) => answered.push(id),
                None => late += 1,
            }
        }
        assert_eq!((late, answered), (384, vec!["quick".into()]));
        assert!(!questions.is_done() && stuck.iter().all(|id| !questions.ask(id)));
        // Nobody is late any more: what is asked next does not wait behind them.
        questions.ask(&"another".into());
        assert_eq!(next(&mut questions).await, Some("another".into()));
        // One of them that is asked for anew is asked apart at once.
        questions.open.remove(&stuck[0]);
        questions.ask(&stuck[0]);
        assert!(questions.is_prompt_done());
    }

    #[tokio::test]
    async fn what_is_gone_is_in_no_answer_that_was_on_its_way() {
        let listed = |ids: [&str; 2]| {
            let facts = ids.map(|id| Facts { id: id.into(), ..Facts::default() });
            Ok(Listed { facts: facts.into(), odd: BTreeMap::new() })
        };
        let mut questions = questions();
        let (gone, here) = ("gone".into(), "here".into());
        questions.ask(&gone);
        questions.ask(&here);
        questions.forget(&gone);
        assert_eq!(next(&mut questions).await, Some(here));
        questions.ask_list(async move { listed(["gone", "here"]) });
        questions.forget(&gone);
        let Ok(Answer::List(listed)) = questions.next().await else { panic!("no list") };
        let ids: Vec<&str> = listed.facts.iter().map(|facts| &*facts.id).collect();
        assert_eq!(ids, ["here"]);
        assert!(questions.is_done());
    }
}
