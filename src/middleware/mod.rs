//! Steps on a request's way, each one file: what a user may set, what it does, its tests. No I/O.

mod add_prefix;
mod allow_list;
pub mod auth;
mod circuit_breaker;
mod closed;
mod compress;
mod cors;
mod extractor;
mod headers;
mod in_flight;
mod maintenance;
mod rate_limit;
mod redirect;
mod replace_path;
mod secure;
#[cfg(test)]
mod shelf;
mod strip_prefix;
#[cfg(test)]
mod testing;
mod trailing_slash;
mod window;

pub use add_prefix::AddPrefix;
pub use allow_list::AllowList;
pub use circuit_breaker::CircuitBreaker;
pub use closed::Closed;
pub use compress::Compress;
pub use cors::{Cors, check_header_name, check_method, origin};
pub use extractor::Extractor;
pub use headers::{Headers, check_host, check_request_line, check_response_line, check_value};
pub use in_flight::InFlight;
pub use maintenance::Maintenance;
pub use rate_limit::{Rate, RateLimit};
pub use redirect::{Redirect, Target, check_replacement};
pub use replace_path::{ReplacePath, ReplacePathRegex};
pub use secure::Secure;
pub use strip_prefix::StripPrefix;
pub use trailing_slash::TrailingSlash;

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Exchange, LineName, Response};

/// The steps that a rule asks for; they measure nothing. What labels and files ask for besides is put in their chain by
/// `table::chain`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Middleware {
    /// Lets nobody in.
    Closed(Closed),
    /// Sends clients to the path with or without a slash at its end, as the rule has it.
    TrailingSlash(TrailingSlash),
    /// Takes a prefix off the path.
    StripPrefix(StripPrefix),
    /// Puts a prefix before the path.
    AddPrefix(AddPrefix),
    /// Puts another path in the place of what an expression finds.
    ReplacePathRegex(ReplacePathRegex),
    /// Puts another path in the place of this one.
    ReplacePath(ReplacePath),
}

/// What happens after a step.
pub enum Flow {
    /// The request goes on.
    Continue,
    /// It is answered here.
    Answer(Box<Answer>),
    /// The step wants to know what another server says. Its [`Handler::on_reply`] goes on with that.
    Ask(Box<Ask>),
    /// The step has work that takes long: it is done off the worker, and [`Handler::on_reply`] goes on with what came of
    /// it. Nobody does it twice, and it must not wait for anything.
    Work(Box<dyn FnOnce() -> bool + Send>),
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue => f.write_str("Continue"),
            Self::Answer(answer) => f.debug_tuple("Answer").field(answer).finish(),
            Self::Ask(ask) => f.debug_tuple("Ask").field(ask).finish(),
            Self::Work(_) => f.write_str("Work"),
        }
    }
}

/// An answer that no server of the backend gave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its status, a final one.
    pub status: u16,
    /// Header lines beside those of every answer of ours; none that frames the body or belongs to one connection.
    pub lines: Vec<(LineName, String)>,
    /// Its body, where it is not the plain words of the status; a `Content-Type` is then among the lines.
    pub body: Option<Vec<u8>>,
    /// Why, for whoever looks at the page or the logs: `the circuit breaker is open`. Never for the client.
    pub reason: Cow<'static, str>,
}

impl Answer {
    /// An answer in the plain words of its status.
    pub fn new(status: u16) -> Box<Self> {
        Box::new(Self { status, lines: Vec::new(), body: None, reason: Cow::Borrowed("") })
    }

    /// The same with its reason.
    #[must_use]
    pub fn because(mut self: Box<Self>, reason: impl Into<Cow<'static, str>>) -> Box<Self> {
        self.reason = reason.into();
        self
    }

    /// The same with one line more.
    #[must_use]
    pub fn line(
        mut self: Box<Self>,
        name: impl Into<LineName>,
        value: impl Into<String>,
    ) -> Box<Self> {
        self.lines.push((name.into(), value.into()));
        self
    }
}

/// A question to another server, which is not one of the backend.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Where: an absolute http or https URL.
    pub url: Arc<str>,
    /// The question's lines, in order; `GET` is asked, without a body.
    pub lines: Vec<(LineName, Vec<u8>)>,
    /// How TLS is spoken, where the URL says https.
    pub tls: Arc<AskTls>,
    /// How long the whole of it may take.
    pub timeout: Duration,
    /// The answer's body may be this long.
    pub body_bytes_max: usize,
}

/// How TLS is spoken with a server that is asked, all PEM: what a step's owner named as files was read before.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct AskTls {
    /// Who may have signed its certificate; none: those the system trusts.
    pub ca: Option<Vec<u8>>,
    /// Our certificate, and the key for it.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether its certificate is left unchecked.
    pub insecure_skip_verify: bool,
}

/// What came of a step's question or work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// The other server answered: its status, lines and body; or why it did not, in words for the log.
    Asked(Result<Asked, String>),
    /// The work is done; it said this.
    Worked(bool),
    /// There was no room for more work, or nobody to do it.
    TooBusy,
}

/// What another server said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Its status.
    pub status: u16,
    /// Its lines, names in lower case.
    pub lines: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// One step of a chain as it runs, without I/O.
pub trait Handler: fmt::Debug + Send + Sync {
    /// Sees the request before a server is picked. A request comes by once, however many servers are tried then.
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow;

    /// Goes on after the step's own [`Flow::Ask`] or [`Flow::Work`].
    fn on_reply(&self, exchange: &mut Exchange<'_>, reply: Reply) -> Flow {
        let _ = (exchange, reply);
        Flow::Answer(Answer::new(503))
    }

    /// What it is and does, for the page: `strip prefix /trend`. Never a secret.
    fn describe(&self) -> String;

    /// Whether asking it leaves a trace (a request counted, a password tried): the route test of `explain` does not ask such
    /// steps.
    fn leaves_traces(&self) -> bool {
        false
    }

    /// What it does to requests just now, for the page: `open for 8 s more`. None where all pass.
    fn acts(&self, now_ms: u64) -> Option<String> {
        let _ = now_ms;
        None
    }
}

/// Where steps find what they measured under the tables before: buckets, counters, verified passwords.
pub trait Keep {
    /// What was kept under this name, else what `fresh` makes. It is kept as long as anybody holds it, and shared by all who
    /// ask for it by this name and type.
    fn keep(&self, name: &str, kind: TypeId, fresh: &dyn Fn() -> Kept) -> Kept;
}

/// A thing that is kept.
pub type Kept = Arc<dyn Any + Send + Sync>;

/// What was kept of this type under this name, else what `fresh` makes.
pub fn kept<T: Send + Sync + 'static>(
    keep: &dyn Keep,
    name: &str,
    fresh: impl Fn() -> T,
) -> Arc<T> {
    let kept = keep.keep(name, TypeId::of::<T>(), &|| Arc::new(fresh()) as Kept);
    kept.downcast().expect("what is kept by a type is of that type")
}

impl Middleware {
    /// The step behind the name.
    pub fn handler(&self) -> &dyn Handler {
        match self {
            Self::Closed(step) => step,
            Self::TrailingSlash(step) => step,
            Self::StripPrefix(step) => step,
            Self::AddPrefix(step) => step,
            Self::ReplacePathRegex(step) => step,
            Self::ReplacePath(step) => step,
        }
    }

    /// The step as it runs.
    pub fn start(&self) -> Arc<dyn Handler> {
        match self.clone() {
            Self::Closed(step) => Arc::new(step),
            Self::TrailingSlash(step) => Arc::new(step),
            Self::StripPrefix(step) => Arc::new(step),
            Self::AddPrefix(step) => Arc::new(step),
            Self::ReplacePathRegex(step) => Arc::new(step),
            Self::ReplacePath(step) => Arc::new(step),
        }
    }

    /// What it is and does, for the page: `strip prefix /trend`.
    pub fn describe(&self) -> String {
        self.handler().describe()
    }
}

/// Tells caches that another value of this line of the request may lead to another answer.
fn vary(response: &mut Response<'_>, name: &'static str) {
    let says = |value: &[u8]| {
        let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|said| said == b"*" || said.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !response.has_line("vary", says) {
        response.add_line("Vary", name);
    }
}

/// A path as it may stand in a request's first line: what cannot stand there is percent-encoded, `%` is left alone.
fn sendable(path: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const NOT_IN_A_PATH: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'\\')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    let path = utf8_percent_encode(path, NOT_IN_A_PATH).to_string();
    if path.starts_with('/') { path } else { format!("/{path}") }
}
