//! A request that no server answered: a page of its frontend answers it, or Herder in its own words.

use std::sync::Arc;

use super::answer::{Edits, Then};
use super::course::{After, Course, Done, PageOf, Refusal, Stage};
use super::own::{self, Own, OwnLines};
use super::record;
use super::tally::{By, Fault};
use crate::model::Response;
use crate::proxy::error::Error;

impl Course<'_> {
    /// Answers a request that no server answered: with the page that its frontend has for that, else in our own words.
    pub(super) async fn stand_in(&mut self, refusal: &Refusal) -> Done {
        let status = own::status(&refusal.error);
        let pages = refusal.route.iter().flat_map(|route| &route.pages);
        let place = pages.into_iter().position(|page| page.is_for(status));
        // Whoever cannot be understood gets no page, and what a step answers has a meaning of its own.
        if let (Some(place), Some(route)) = (place, &refusal.route)
            && !own::ends_connection(&refusal.error)
            && !matches!(refusal.error, Error::AnsweredHere(_))
        {
            let is_complete = refusal.after != After::Linger;
            self.page = Some(PageOf { place, status, used: refusal.used, is_complete });
            self.stage = Stage::Through(Some(Arc::clone(route)));
            if let Ok(done) = self.forward().await {
                let error = Some(&refusal.error);
                let fault = Fault { status, error, server: refusal.server.as_deref() };
                self.failed(Some(route), &fault);
                // Who follows the exchange learns what became of the request, not of the page.
                return Done { is_network_error: refusal.error.is_servers(), ..done };
            }
        }
        self.refuse(refusal).await
    }

    async fn refuse(&mut self, refusal: &Refusal) -> Done {
        let Refusal { error, used, is_head, .. } = refusal;
        let after = match refusal.after {
            // Whoever is answered at once, again and again, would hold up a stop until its deadline.
            After::Again if self.worker.is_draining() => match self.client.inbox.len() > *used {
                true => After::Linger,
                false => After::Close,
            },
            after => after,
        };
        let (status, route) = (own::status(error), refusal.route.as_deref());
        self.answered(By::Us(route), status);
        let server = refusal.server.as_deref();
        self.failed(route, &Fault { status, error: Some(error), server });
        if let Some(route) = route {
            match error {
                // Ours to mend.
                Error::NotKept(_) => {
                    tracing::warn!(frontend = %route.id, %error, "request failed");
                }
                _ => tracing::debug!(frontend = %route.id, %error, "request failed"),
            }
        }
        let then = match after {
            After::Again => Then::KeepAlive,
            After::Close | After::Linger => Then::Close,
        };
        let followers = self.changes.as_mut().map(|changes| &mut changes.followers);
        let edits = followers.filter(|followers| !followers.is_empty()).map(|followers| {
            let lines = OwnLines(error);
            Edits::of(Response::new(status, false, &lines), followers)
        });
        let own = Own { error, then, is_head: *is_head, edits: edits.as_ref() };
        record::refused(&mut self.record, &own);
        let is_whole = self.client.refuse(self.worker, &own).await;
        Done {
            after: if is_whole { after } else { After::Close },
            used: *used,
            status: Some(status),
            is_network_error: error.is_servers(),
            is_timed: refusal.is_timed,
        }
    }
}
