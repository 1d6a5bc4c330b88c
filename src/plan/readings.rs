//! What was read of services and files, remembered for as long as they stay what they are.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::Fragment;
use crate::dialects::Reading;
use crate::model::ProviderName;

/// What a service or a file is known by: its provider, and its id or name.
type Key = (ProviderName, Arc<str>);

/// What was read of each service or file, in the order in which they were read.
#[derive(Debug)]
pub(super) struct Readings<T> {
    all: Vec<Read<T>>,
}

#[derive(Debug)]
struct Read<T> {
    key: Key,
    thing: Arc<T>,
    reading: Reading,
}

/// Readings while all is read once more.
pub(super) struct Renewal<T> {
    /// What was read before and not asked for since, in its order: most of it is asked for in the same one.
    before: std::vec::IntoIter<Read<T>>,
    /// The same where the order differs.
    by_key: HashMap<Key, Read<T>, RandomState>,
    news: News<T>,
}

/// All readings, and what is new about them.
pub(super) struct News<T> {
    pub(super) all: Readings<T>,
    /// What is asked for no longer, or in other words.
    gone: Vec<Reading>,
    /// Places of what is asked for anew, or in other words.
    came: Vec<usize>,
}

impl<T> Default for Readings<T> {
    fn default() -> Self {
        Self { all: Vec::new() }
    }
}

impl<T: PartialEq> Readings<T> {
    /// Begins to read all once more.
    pub(super) fn renew(self) -> Renewal<T> {
        // In one piece from the start: growing takes the room twice.
        let all = Vec::with_capacity(self.all.len());
        let news = News { all: Self { all }, gone: Vec::new(), came: Vec::new() };
        Renewal { before: self.all.into_iter(), by_key: HashMap::default(), news }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Reading> {
        self.all.iter().map(|read| &read.reading)
    }

    /// What was read.
    pub(super) fn things(&self) -> impl Iterator<Item = &Arc<T>> {
        self.all.iter().map(|read| &read.thing)
    }
}

impl<T: PartialEq> Renewal<T> {
    /// Room for so many.
    pub(super) fn reserve(&mut self, count: usize) {
        let all = &mut self.news.all.all;
        all.reserve_exact(count.saturating_sub(all.len()));
    }

    /// Reads a thing, if it is not what it was.
    pub(super) fn read(
        &mut self,
        (provider, name): (ProviderName, &Arc<str>),
        thing: &Arc<T>,
        read: impl FnOnce() -> Reading,
    ) {
        let before = self.before(provider, name);
        let News { all, gone, came } = &mut self.news;
        let kept = match before {
            Some(before) if before.thing == *thing => before,
            before => {
                gone.extend(before.map(|before| before.reading));
                came.push(all.all.len());
                Read {
                    key: (provider, Arc::clone(name)),
                    thing: Arc::clone(thing),
                    reading: read(),
                }
            }
        };
        all.all.push(kept);
    }

    /// What was read of this one before.
    fn before(&mut self, provider: ProviderName, name: &Arc<str>) -> Option<Read<T>> {
        let next = self.before.as_slice().first()?;
        if next.key.0 == provider && next.key.1 == *name {
            return self.before.next();
        }
        if self.by_key.is_empty() {
            self.by_key.extend(self.before.by_ref().map(|read| (read.key.clone(), read)));
        }
        self.by_key.remove(&(provider, Arc::clone(name)))
    }

    /// Ends: what was not asked for is gone.
    pub(super) fn finish(self) -> News<T> {
        let Self { before, by_key, mut news } = self;
        news.gone.extend(before.chain(by_key.into_values()).map(|read| read.reading));
        news
    }
}

impl<T> News<T> {
    /// What is asked for no longer, or in other words.
    pub(super) fn gone(&self) -> impl Iterator<Item = &Fragment> {
        self.gone.iter().map(|reading| &reading.fragment)
    }

    /// What is asked for anew, or in other words.
    pub(super) fn came(&self) -> impl Iterator<Item = &Fragment> {
        self.came.iter().map(|&place| &self.all.all[place].reading.fragment)
    }
}
