//! Who wants to know about requests: the access log, and the traces. All workers share them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tracing::warn;

use super::access_log::{AccessLog, Entry};
use super::record::{Asked, Record, Wants};
use super::trace::Tracer;
use crate::live::Live;
use crate::settings::Observe;

/// Who wants to know about requests.
pub struct Observers {
    wants: Arc<Wants>,
    access_log: Option<AccessLog>,
    tracer: Option<Tracer>,
    /// Requests that have ended.
    count: AtomicU64,
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
    ///
    /// # Errors
    /// Where the system has no thread left for it.
    pub fn start(settings: &Observe, live: &Arc<Live>) -> io::Result<Option<Arc<Self>>> {
        let Observe { access_log, request_id, tracing } = settings;
        if access_log.is_none() && request_id.is_none() && tracing.is_none() {
            return Ok(None);
        }
        let wants = Wants {
            request_id: request_id.clone(),
            traces: tracing.as_ref().map(|tracing| tracing.ratio),
            lines: access_log.as_ref().is_some_and(AccessLog::wants_lines),
        };
        let access_log = access_log.clone().map(|log| AccessLog::start(log, Arc::clone(live)));
        let access_log = access_log.transpose()?;
        let tracer = tracing.clone().map(|tracing| Tracer::start(tracing, Arc::clone(live)));
        let tracer = tracer.transpose()?;
        let (wants, count) = (Arc::new(wants), AtomicU64::new(0));
        Ok(Some(Arc::new(Self { wants, access_log, tracer, count })))
    }

    /// A request begins.
    pub fn begin(&self) -> Box<Record> {
        Box::new(Record::new(Arc::clone(&self.wants)))
    }

    /// A request has ended.
    pub fn end(&self, record: &Record, end: &End<'_>) {
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let entry = Entry { record, end, took: record.age(), count };
        if let Some(log) = &self.access_log {
            log.log(&entry);
        }
        if let Some(tracer) = &self.tracer {
            tracer.tell(&entry);
        }
    }

    /// Opens files anew: they were moved.
    pub fn reopen(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// Tells what is left to tell, and waits for it, for so long at most.
    pub fn stop(&self, grace: Duration) {
        let by = Instant::now() + grace;
        if let Some(tracer) = &self.tracer {
            tracer.stop(by);
        }
        if self.access_log.as_ref().is_some_and(|log| !log.stop(by)) {
            warn!("the access log was not written to its end");
        }
        if self.tracer.as_ref().is_some_and(|tracer| !tracer.wait(by)) {
            warn!("not all traces were told");
        }
    }
}
