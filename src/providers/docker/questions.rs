//! What the daemon is asked: the list, and each container that matters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

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
/// For one container. The daemon takes milliseconds, unless that container is stuck.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Containers inspected at once.
const INSPECTS_MAX: usize = 16;

/// What became of asking for one container.
pub(super) enum Asked {
    Is(Box<Facts>),
    Gone,
    /// It was answered, and cannot be read.
    Odd(String),
    /// It was not answered, and others were.
    NotNow(String),
}

pub(super) async fn list(api: &Api) -> Result<(Vec<Facts>, BTreeMap<Arc<str>, Problem>), Error> {
    let answer = api.get("/containers/json?all=true", LIST_BYTES_MAX, LIST_TIMEOUT).await?;
    let bytes = answer.ok_or_else(|| api.transport.bad_answer("it knows no list of containers"))?;
    let entries = parse::list(&bytes).map_err(|reason| api.transport.bad_answer(reason))?;
    let mut odd = BTreeMap::new();
    let mut listed = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry {
            Ok(facts) => listed.push(facts),
            Err((id, reason)) => {
                let id = id.unwrap_or_else(|| format!("entry {}", odd.len() + 1));
                odd.insert(id.as_str().into(), unreadable(&short(&id), &reason));
            }
        }
    }
    Ok((listed, odd))
}

pub(super) async fn inspect_all(
    api: &Api,
    ids: Vec<Arc<str>>,
) -> Result<Vec<(Arc<str>, Asked)>, Error> {
    let questions = ids.into_iter().map(|id| async move {
        let asked = inspect(api, &id).await?;
        Ok((id, asked))
    });
    stream::iter(questions).buffer_unordered(INSPECTS_MAX).try_collect().await
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
