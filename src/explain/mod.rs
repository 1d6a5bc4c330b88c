//! Why is this container routed, or not? Which frontend takes this URL, and why not another?

use crate::model::{FrontendId, Problem, ProviderName, Service};
pub use crate::model::{Outcome, Step};
use crate::settings::Defaults;
use crate::table::Table;

/// Why a container is, or is not, routed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// The container, or the service where there is none.
    pub subject: String,
    /// One sentence: what becomes of it.
    pub verdict: String,
    /// Whether it gets requests.
    pub is_routed: bool,
    /// How that came about, in order.
    pub steps: Vec<Step>,
    /// What its owner can mend.
    pub problems: Vec<Problem>,
}

/// Which frontend takes a request, and why the others do not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteTest {
    /// The host as it is compared.
    pub host: String,
    /// The path as it is compared.
    pub path: String,
    /// Who takes it.
    pub winner: Option<FrontendId>,
    /// One sentence: who answers it, and what the client gets.
    pub verdict: String,
    /// The servers that could get it: their names and addresses.
    pub servers: Vec<(String, String)>,
    /// The frontends that came close, and why each lost: a sentence. At most 20.
    pub losers: Vec<(FrontendId, String)>,
}

/// Explains every instance of a service; a service without instances is explained as a whole.
pub fn service(
    _provider: ProviderName,
    _defaults: &Defaults,
    _service: &Service,
    _table: &Table,
) -> Vec<Explanation> {
    Vec::new()
}

/// Says who takes a request for this host and path (each as a client would send it, without the query).
pub fn request(table: &Table, entrypoint: &str, host: &str, path: &str) -> RouteTest {
    let exchange = crate::model::Exchange::new(entrypoint, host, path, &());
    RouteTest {
        host: exchange.host.to_string(),
        path: path.to_owned(),
        winner: table.lookup(&exchange).map(|route| route.id.clone()),
        verdict: String::new(),
        servers: Vec::new(),
        losers: Vec::new(),
    }
}
