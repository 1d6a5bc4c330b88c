//! What we were told: nouns without behaviour, shared by every room above.

mod changes;
mod exchange;
mod ids;
mod means;
mod names;
mod origin;
mod path;
mod port;
mod problem;
mod service;
mod slip;
mod step;
mod text;

pub use changes::{Changes, Encoding, Ended, Follower, LineName, Response};
pub use exchange::{Exchange, Head, Sender, comparable_host, network, subscriber};
pub(crate) use ids::digest;
pub use ids::{BackendId, FrontendId, ProviderName, ServerName};
pub use means::has_no_means;
pub use names::{
    LineOwner, as_variable, canonical, carries_secrets, is_spelling_of, is_token, is_token_byte,
    letters_digits_and,
};
pub use origin::Origin;
pub use path::{has_dot_segments, has_doubtful_dots, origin_form, plain, with_single_slashes};
pub use port::port_of;
pub use problem::{Problem, Severity};
pub use service::{
    Address, Document, Health, HealthBlock, Instance, Kind, Labels, Published, Service, Snapshot,
    State, full_name,
};
pub use slip::{nearest, slips};
pub use step::{Outcome, Scope, Step, Trace};
pub use text::{harmless, is_order};
