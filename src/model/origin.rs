//! Who asked for a thing.

use std::fmt;
use std::sync::Arc;

use crate::model::ProviderName;

/// Which provider, service and label asked for a thing. It travels with the thing, so that the page,
/// the log and `explain` can all say why.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Origin {
    /// The provider that told us.
    pub provider: ProviderName,
    /// The service or container as its owner calls it: `web-test.proxy-test`, `shop_web_1`.
    pub service: Arc<str>,
    /// The label, where one label is the reason.
    pub label: Option<Arc<str>>,
}

impl Origin {
    /// An origin without a label.
    pub fn new(provider: ProviderName, service: impl Into<Arc<str>>) -> Self {
        Self { provider, service: service.into(), label: None }
    }

    /// The same origin, narrowed to one label.
    #[must_use]
    pub fn label(&self, label: impl Into<Arc<str>>) -> Self {
        Self { label: Some(label.into()), ..self.clone() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.service, self.provider)
    }
}
