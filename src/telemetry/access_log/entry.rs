//! What one line of the access log tells, whatever it looks like.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use crate::telemetry::observer::End;
use crate::telemetry::record::{Asked, Record, Try};

/// The status of an answer that nobody was there for: nginx's, and Traefik's.
const CLIENT_GONE: u16 = 499;

/// A request that has ended.
pub(in crate::telemetry) struct Entry<'a> {
    pub(in crate::telemetry) record: &'a Record,
    pub(in crate::telemetry) end: &'a End<'a>,
    pub(in crate::telemetry) took: Duration,
    /// Its number.
    pub(in crate::telemetry) count: u64,
}

impl<'a> Entry<'a> {
    pub(super) fn asked(&self) -> Option<&'a Asked<'a>> {
        self.end.asked
    }

    /// The client's status: that of the head which it got; 499 where it left before one.
    pub(in crate::telemetry) fn status(&self) -> u16 {
        let answered = self.record.answer.as_ref().map(|answer| answer.status);
        answered.or(self.end.status).unwrap_or(CLIENT_GONE)
    }

    /// Bytes of the body that the client got.
    pub(in crate::telemetry) fn sent_bytes(&self) -> u64 {
        self.record.answer.as_ref().map_or(0, |answer| answer.bytes)
    }

    pub(super) fn last_try(&self) -> Option<&'a Try> {
        self.record.tries.last()
    }

    /// The server's status, where one answered.
    pub(super) fn origin_status(&self) -> Option<u16> {
        self.last_try()?.status
    }

    pub(super) fn origin_took(&self) -> Duration {
        self.last_try().and_then(|last| last.took).unwrap_or_default()
    }

    /// How often it was tried again. Who asks for a page in the place of an error does not try again.
    pub(in crate::telemetry) fn retries(&self) -> usize {
        let Record { tries, tries_left_out, .. } = self.record;
        let own = tries.iter().filter(|one| !one.is_for_page).count();
        (own + tries_left_out).saturating_sub(1)
    }

    /// The frontend's name, as Traefik 1.7 tells it here: without the word that all begin with.
    pub(super) fn frontend(&self) -> Option<&'a str> {
        match &self.record.frontend {
            Some(id) => Some(id.name.strip_prefix("frontend-").unwrap_or(&id.name)),
            // 1.7's words for a request that nobody takes.
            None if self.end.asked.is_some() && self.status() == 404 => Some("backend not found"),
            None => None,
        }
    }

    /// The server that was asked last.
    pub(super) fn server_url(&self) -> Option<String> {
        let Try { scheme, authority, .. } = self.last_try()?;
        Some(format!("{}://{authority}", scheme.as_str()))
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.end.peer
    }

    /// The client: what a trusted proxy says of it, else where the connection comes from.
    pub(in crate::telemetry) fn client_host(&self) -> Cow<'a, str> {
        let told = self.asked().filter(|_| self.record.is_trusted);
        // Proxies add what they know at the end, in a line of their own perhaps.
        let mut lines = Vec::new();
        if let Some(asked) = told {
            asked.head.has_line("x-forwarded-for", &mut |line| {
                lines.push(String::from_utf8_lossy(line).into_owned());
                false
            });
        }
        match Some(lines.join(", ")).filter(|told| !told.is_empty()) {
            Some(told) => Cow::Owned(told),
            None => Cow::Owned(self.peer().ip().to_string()),
        }
    }
}
