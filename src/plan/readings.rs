//! What was read of services and files, remembered for as long as they stay what they are.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::config::Fragment;
use crate::dialects::Reading;
use crate::model::{Document, ProviderName, Service};

/// A thing that is read.
pub(super) trait Thing: PartialEq {
    /// What it is known by among those of its provider.
    fn key(&self) -> &Arc<str>;
}

impl Thing for Service {
    fn key(&self) -> &Arc<str> {
        &self.id
    }
}

impl Thing for Document {
    fn key(&self) -> &Arc<str> {
        &self.name
    }
}

/// What a thing is known by.
type Key = (ProviderName, Arc<str>);

/// What was read of each service or file, in the order in which they were read.
#[derive(Debug)]
pub(super) struct Readings<T> {
    all: Vec<Read<T>>,
}

#[derive(Debug)]
struct Read<T> {
    provider: ProviderName,
    thing: Arc<T>,
    reading: Reading,
}

/// Readings while all is read once more.
pub(super) struct Renewal<T> {
    /// What was read before and is asked for again in the same order, as most is: it stays where it is. From the first thing on
    /// that is not, only what has been asked for.
    news: News<T>,
    /// How many of them have been asked for.
    read: usize,
    /// Those after the first that was out of turn.
    rest: Option<Rest<T>>,
}

/// Readings of before that are asked for in another order.
struct Rest<T> {
    /// What has not been asked for since.
    before: Vec<Option<Read<T>>>,
    /// The one that is asked for next, if the order goes on as it was.
    next: usize,
    /// The places of those before, from the first time on that this does not help.
    places: Option<HashMap<Key, usize, RandomState>>,
}

/// All readings, and what is new about them. What has changed both went and came.
pub(super) struct News<T> {
    pub(super) all: Readings<T>,
    /// What left, or has changed, as it was.
    gone: Vec<Reading>,
    /// The places of what came, or has changed.
    came: Vec<usize>,
}

impl<T> Default for Readings<T> {
    fn default() -> Self {
        Self { all: Vec::new() }
    }
}

impl<T: Thing> Read<T> {
    fn is(&self, provider: ProviderName, thing: &T) -> bool {
        self.provider == provider && self.thing.key() == thing.key()
    }
}

impl<T: Thing> Readings<T> {
    /// Begins to read all once more, with room for so many.
    pub(super) fn renew(mut self, count: usize) -> Renewal<T> {
        // In one piece from the start: growing takes the room twice.
        self.all.reserve_exact(count.saturating_sub(self.all.len()));
        let news = News { all: self, gone: Vec::new(), came: Vec::new() };
        Renewal { news, read: 0, rest: None }
    }

    /// What was read, and how.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<T>, &Reading)> {
        self.all.iter().map(|read| (&read.thing, &read.reading))
    }
}

impl<T: Thing> Renewal<T> {
    /// Reads a thing, if it is not what it was.
    pub(super) fn read(
        &mut self,
        provider: ProviderName,
        thing: &Arc<T>,
        read: impl FnOnce() -> Reading,
    ) {
        let News { all: Readings { all }, gone, came } = &mut self.news;
        let place = self.read;
        self.read += 1;
        if self.rest.is_none() {
            match all.get_mut(place) {
                Some(before) if before.provider == provider && before.thing == *thing => return,
                Some(before) if before.is(provider, thing) => {
                    came.push(place);
                    before.thing = Arc::clone(thing);
                    gone.push(std::mem::replace(&mut before.reading, read()));
                    return;
                }
                // Read where it is the last one.
                None => {}
                Some(_) => {
                    let before = all.split_off(place).into_iter().map(Some).collect();
                    self.rest = Some(Rest { before, next: 0, places: None });
                }
            }
        }
        let before = self.rest.as_mut().and_then(|rest| rest.take(provider, thing));
        let kept = match before {
            Some(before) if before.thing == *thing => before,
            before => {
                gone.extend(before.map(|before| before.reading));
                came.push(place);
                Read { provider, thing: Arc::clone(thing), reading: read() }
            }
        };
        all.push(kept);
    }

    /// Ends: what was not asked for is gone.
    pub(super) fn finish(self) -> News<T> {
        let Self { mut news, read, rest } = self;
        let rest = rest.into_iter().flat_map(|rest| rest.before).flatten();
        let all = &mut news.all.all;
        news.gone.extend(all.drain(read..).chain(rest).map(|read| read.reading));
        // Thousands may have left at once.
        if all.capacity() > 2 * all.len() {
            all.shrink_to_fit();
        }
        news
    }
}

impl<T: Thing> Rest<T> {
    /// What was read of this one before. Of two of one name each is given once, the first one first.
    fn take(&mut self, provider: ProviderName, thing: &T) -> Option<Read<T>> {
        let is_it =
            |read: &Option<Read<T>>| read.as_ref().is_some_and(|read| read.is(provider, thing));
        if !self.before.get(self.next).is_some_and(is_it) {
            let places = self.places.get_or_insert_with(|| {
                let mut places = HashMap::default();
                for (place, read) in self.before.iter().enumerate().skip(self.next) {
                    let key = |read: &Read<T>| (read.provider, Arc::clone(read.thing.key()));
                    read.iter().for_each(|read| _ = places.entry(key(read)).or_insert(place));
                }
                places
            });
            self.next = places.remove(&(provider, Arc::clone(thing.key())))?;
        }
        let read = self.before.get_mut(self.next)?.take();
        self.next += 1;
        read
    }
}

impl<T> News<T> {
    /// What left, or has changed, as it was.
    pub(super) fn gone(&self) -> impl Iterator<Item = &Fragment> {
        self.gone.iter().map(|reading| &reading.fragment)
    }

    /// What came, or has changed, as it is now.
    pub(super) fn came(&self) -> impl Iterator<Item = &Fragment> {
        self.came.iter().map(|&place| &self.all.all[place].reading.fragment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(PartialEq)]
    struct Pair(Arc<str>, u8);

    impl Thing for Pair {
        fn key(&self) -> &Arc<str> {
            &self.0
        }
    }

    /// Reads these things, each a key and a value, after others; tells which were read anew, how many left or changed, and
    /// how many there are.
    fn read_after(before: &[(&str, u8)], after: &[(&str, u8)]) -> (Vec<u8>, usize, usize) {
        let pass = |readings: Readings<Pair>, things: &[(&str, u8)]| {
            let (mut renewal, mut anew) = (readings.renew(things.len()), Vec::new());
            for &(key, value) in things {
                let thing = Arc::new(Pair(key.into(), value));
                renewal.read(ProviderName::Docker, &thing, || {
                    anew.push(value);
                    Reading::default()
                });
            }
            (renewal.finish(), anew)
        };
        let (first, _) = pass(Readings::default(), before);
        let (news, anew) = pass(first.all, after);
        assert_eq!(news.came().count(), anew.len());
        (anew, news.gone().count(), news.all.iter().count())
    }

    #[test]
    fn only_what_changed_is_read_anew() {
        let all = [("a", 1), ("b", 2), ("c", 3), ("d", 4)];
        assert_eq!(read_after(&all, &all), (vec![], 0, 4));
        assert_eq!(read_after(&all, &[("a", 1), ("b", 9), ("c", 3), ("d", 4)]), (vec![9], 1, 4));
        // One that leaves in front, one that comes in the middle, others in another order.
        assert_eq!(read_after(&all, &all[1..]), (vec![], 1, 3));
        assert_eq!(
            read_after(&all, &[("a", 1), ("b", 2), ("x", 7), ("c", 3), ("d", 4)]),
            (vec![7], 0, 5)
        );
        assert_eq!(read_after(&all, &[("d", 4), ("c", 3), ("b", 2), ("a", 1)]), (vec![], 0, 4));
        assert_eq!(read_after(&all, &[("c", 3), ("x", 7), ("a", 8)]), (vec![7, 8], 3, 3));
        assert_eq!(read_after(&all, &[]), (vec![], 4, 0));
    }

    #[test]
    fn of_two_of_one_name_none_is_lost() {
        let twins = [("x", 0), ("a", 1), ("a", 2), ("d", 4)];
        assert_eq!(read_after(&twins, &twins), (vec![], 0, 4));
        assert_eq!(read_after(&twins, &[("x", 0), ("d", 4)]), (vec![], 2, 2));
        assert_eq!(read_after(&twins, &[("d", 4), ("a", 2)]), (vec![2], 3, 2));
    }
}
