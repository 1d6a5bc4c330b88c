//! How the servers are doing: state that outlives every table.
//!
//! A server that stays in its backend keeps its counters, its load and its rest after a refusal across every swap: each
//! table takes over what the one before it held. What left is known by its name for as long as a request holds it, so that
//! who comes back meanwhile is still who it was; after that it is forgotten.

mod backend;
mod counters;
mod ejection;
mod failures;
mod health;
mod histogram;
mod journal;
mod response_time;
mod server;
mod traffic;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use backend::{BackendLive, RetryBudget};
pub use counters::{Count, EntryLive, EntryTold, FrontendLive, StatusClass, Telling, Totals};
pub use ejection::{Ejected, FAILURES_MAX};
pub use failures::{Cause, Failed, Failures};
pub use health::{Change, Condition, Health, Thresholds};
pub use histogram::{Counts, Histogram, SLOTS, as_float, quantile, slot_of};
pub use journal::{EVENTS_MAX, HealthEvent, Journal};
pub use response_time::Measured;
pub use server::ServerLive;
pub use traffic::{Code, Key, Kind, Protocol, Told, Took, Traffic, Verb, open};

use crate::config::Scheme;
use crate::middleware::auth::{self, TextFile};
use crate::middleware::{Keep, Kept};
use crate::model::{BackendId, FrontendId};
use crate::settings::Buckets;

/// What makes a server the same server: its backend, how it is spoken to, and where.
pub type ServerKey = (BackendId, Scheme, SocketAddr);

/// What is measured of the whole process, and what outlives a table.
pub struct Live {
    /// Servers that left their table.
    pub servers: Departed<ServerKey, ServerLive>,
    /// Backends, likewise.
    pub backends: Departed<BackendId, BackendLive>,
    /// Frontends, likewise.
    pub frontends: Departed<FrontendId, FrontendLive>,
    /// What the steps of the chains keep, by what it is and whose.
    steps: Mutex<HashMap<(TypeId, String), Weak<dyn Any + Send + Sync>>>,
    /// The files that steps need, by path.
    files: Mutex<HashMap<String, Weak<TextFile>>>,
    /// What the steps seal by.
    key: auth::Key,
    /// The whole proxy's counters.
    pub totals: Totals,
    /// The last requests that went wrong.
    pub failures: Failures,
    /// How long changes took, from the news to the swap.
    pub propagation: Histogram,
    /// The buckets that times are told in.
    buckets: Buckets,
    /// What is told about requests, and what of it was lost.
    pub telling: Telling,
    /// The last changes of health.
    pub journal: Journal,
}

impl Default for Live {
    /// With a key that everybody can guess: for tests, and for `explain`, which lets nobody in.
    fn default() -> Self {
        Self::new(Buckets::default(), auth::Key::new([0; 32]))
    }
}

impl Live {
    /// The state of a process that begins: nothing measured yet, times are told in these buckets, and what the steps seal is
    /// sealed by a key that nobody can guess.
    pub fn new(buckets: Buckets, key: auth::Key) -> Self {
        Self {
            servers: Departed::default(),
            backends: Departed::default(),
            frontends: Departed::default(),
            steps: Mutex::default(),
            files: Mutex::default(),
            key,
            totals: Totals::default(),
            journal: Journal::default(),
            failures: Failures::default(),
            propagation: Histogram::default(),
            buckets,
            telling: Telling::default(),
        }
    }

    /// A time, with its places in all that counts times.
    pub fn took(&self, us: u64) -> Took {
        Took::new(us, &self.buckets)
    }

    /// The buckets that times are told in.
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// The key of this process.
    pub fn key(&self) -> &auth::Key {
        &self.key
    }

    /// A file that a step needs: the one it had, or one that is still to be read.
    pub fn file(&self, path: &str) -> Arc<TextFile> {
        let mut files = lock(&self.files);
        if let Some(file) = files.get(path).and_then(Weak::upgrade) {
            return file;
        }
        let fresh = Arc::new(TextFile::new(path));
        files.insert(path.to_owned(), Arc::downgrade(&fresh));
        fresh
    }

    /// All files that anybody needs.
    pub fn files(&self) -> Vec<Arc<TextFile>> {
        lock(&self.files).values().filter_map(Weak::upgrade).collect()
    }

    /// Forgets what neither a table nor a request holds any more. Called after a table was let go.
    pub fn sweep(&self) {
        self.servers.sweep();
        self.backends.sweep();
        self.frontends.sweep();
        lock(&self.steps).retain(|_, state| state.strong_count() > 0);
        lock(&self.files).retain(|_, file| file.strong_count() > 0);
    }
}

impl Keep for Live {
    fn keep(&self, name: &str, kind: TypeId, fresh: &dyn Fn() -> Kept) -> Kept {
        let mut steps = lock(&self.steps);
        let key = (kind, name.to_owned());
        if let Some(kept) = steps.get(&key).and_then(Weak::upgrade) {
            return kept;
        }
        let fresh = fresh();
        steps.insert(key, Arc::downgrade(&fresh));
        fresh
    }
}

/// These locks are taken while a table is compiled, never while a request is served.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The states of those who left their table, by what makes one the same when it comes back. They are not held here: the last
/// request under way ends them.
#[derive(Debug)]
pub struct Departed<K, T>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T> Default for Departed<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Default> Departed<K, T> {
    /// One leaves, or is about to be made anew.
    pub fn depart(&self, key: K, state: &Arc<T>) {
        lock(&self.0).insert(key, Arc::downgrade(state));
    }

    /// One comes: with the state it left with, where somebody still holds that, or a fresh one.
    pub fn arrive(&self, key: &K) -> Arc<T> {
        lock(&self.0).remove(key).and_then(|state| state.upgrade()).unwrap_or_default()
    }

    fn sweep(&self) {
        let mut departed = lock(&self.0);
        departed.retain(|_, state| state.strong_count() > 0);
        // Thousands may have left at once, and been the last to do so.
        if departed.capacity() > 4 * departed.len() {
            departed.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProviderName;

    #[test]
    fn what_a_step_keeps_is_shared_by_name_and_type() {
        use crate::middleware::kept;
        let live = Live::default();
        let first = kept(&live, "web", || 1_u32);
        assert_eq!(*kept(&live, "web", || 2_u32), 1);
        assert_eq!((*kept(&live, "shop", || 2_u32), *kept(&live, "web", || 3_u64)), (2, 3));
        drop(first);
        assert_eq!(*kept(&live, "web", || 4_u32), 4);
    }

    #[test]
    fn what_stays_keeps_its_state_and_what_left_is_forgotten() {
        let live = Live::default();
        let id = BackendId::new(ProviderName::Docker, "web");
        let key = (id, Scheme::Http, "10.0.0.1:80".parse().expect("an address"));
        let first = live.servers.arrive(&key);
        first.begin();
        live.servers.depart(key.clone(), &first);
        live.sweep();
        assert!(Arc::ptr_eq(&first, &live.servers.arrive(&key)));
        assert!(!Arc::ptr_eq(&first, &live.servers.arrive(&key)), "it came back already");
        live.servers.depart(key.clone(), &first);
        drop(first);
        live.sweep();
        assert!(lock(&live.servers.0).is_empty());
        assert_eq!(live.servers.arrive(&key).active(), 0);
    }
}
