//! Who wants to know about requests: the access log, and the traces. All workers share them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::record::{Asked, Record, Wants};
use crate::live::Live;
use crate::settings::Observe;

/// Who wants to know about requests.
pub struct Observers {
    wants: Arc<Wants>,
}

/// How a request ended.
pub struct End<'a> {
    /// The request; none where its head cannot be read.
    pub asked: Option<&'a Asked<'a>>,
    /// Where it came from.
    pub peer: SocketAddr,
    /// The status of our own answer, or of a server's; none where the client left before.
    pub status: Option<u16>,
    /// Who sent it, where that was asked.
    pub user: Option<&'a str>,
}

impl Observers {
    /// Starts what was asked for; none where nothing was.
    pub fn start(settings: &Observe, live: &Arc<Live>) -> Option<Arc<Self>> {
        let _ = live;
        let Observe { access_log, request_id, tracing } = settings;
        if access_log.is_none() && request_id.is_none() && tracing.is_none() {
            return None;
        }
        let wants = Wants {
            request_id: request_id.clone(),
            traces: tracing.as_ref().map(|tracing| tracing.ratio),
            lines: false,
        };
        Some(Arc::new(Self { wants: Arc::new(wants) }))
    }

    /// A request begins.
    pub fn begin(&self) -> Box<Record> {
        Box::new(Record::new(Arc::clone(&self.wants)))
    }

    /// A request has ended.
    pub fn end(&self, record: Record, end: &End<'_>) {
        let _ = (record, end);
    }

    /// Opens files anew: they were moved.
    pub fn reopen(&self) {}

    /// Waits until all that was said is told, for so long at most.
    pub fn stop(&self, grace: Duration) {
        let _ = grace;
    }
}
