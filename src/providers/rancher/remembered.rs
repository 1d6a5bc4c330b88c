//! What was read before, by the text it was read from: where one of a thousand services changed, one is read.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::model::Service;

/// Services of the last answer that depend on nothing but their own text, and had nothing to complain of.
///
/// A text is known by its length and 64 bits of hash, seeded anew in each process: that two texts of one service agree in
/// both is less likely than a bit that flips by itself.
#[derive(Default)]
pub(super) struct Remembered {
    state: RandomState,
    /// In the order in which they were told.
    all: Vec<Known>,
    pub(super) words: Words,
}

/// Texts that many services share: label names, `true`, a domain. Each is kept once, for as long as services say it.
#[derive(Default)]
pub(super) struct Words {
    all: HashSet<Arc<str>, RandomState>,
    /// How many there were when those were forgotten that nobody says any more.
    kept: usize,
}

/// So many more than were kept may be there before they are looked through.
const WORDS_FORGOTTEN_LATER: usize = 1_000;

impl Words {
    pub(super) fn of(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.all.get(text.as_str()) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.all.insert(Arc::clone(&new));
        new
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Forgets what nobody says any more, where there may be much of it.
    fn tidy(&mut self) {
        if self.all.len() > 2 * self.kept + WORDS_FORGOTTEN_LATER {
            self.all.retain(|word| Arc::strong_count(word) > 1);
            self.kept = self.all.len();
        }
    }
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Known {
    digest: Digest,
    /// What was read.
    pub(super) service: Arc<Service>,
}

/// What a text is known by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Digest {
    hash: u64,
    len: usize,
}

impl Known {
    /// How long its text is, in bytes.
    pub(super) fn len(&self) -> usize {
        self.digest.len
    }
}

impl Remembered {
    /// One that knows nothing yet, with room, and that hashes alike.
    pub(super) fn successor(&mut self, services: usize) -> Self {
        let mut words = std::mem::take(&mut self.words);
        words.tidy();
        Self { state: self.state.clone(), all: Vec::with_capacity(services), words }
    }

    /// Remembers what was read from a text.
    pub(super) fn insert(&mut self, text: &str, service: &Arc<Service>) {
        self.keep(Known { digest: self.digest(text), service: Arc::clone(service) });
    }

    /// Remembers what another one remembered that hashes alike.
    pub(super) fn keep(&mut self, known: Known) {
        self.all.push(known);
    }

    /// Looks for texts, one after another, from the first.
    pub(super) fn search(&self) -> Search<'_> {
        Search { remembered: self, at: 0, places: None }
    }

    fn digest(&self, text: &str) -> Digest {
        Digest { hash: self.state.hash_one(text), len: text.len() }
    }
}

/// Services mostly come in the order of the last time.
pub(super) struct Search<'r> {
    remembered: &'r Remembered,
    at: usize,
    /// Where each text was told; made for the first one that comes out of turn.
    places: Option<HashMap<Digest, usize, RandomState>>,
}

impl<'r> Search<'r> {
    /// What a text begins with, where that is the one whose turn it is, or the one after it.
    pub(super) fn next(&mut self, text: &str) -> Option<&'r Known> {
        let begins_with = |known: &Known| {
            text.get(..known.len()).is_some_and(|text| self.remembered.digest(text) == known.digest)
        };
        let place = [self.at, self.at + 1]
            .into_iter()
            .find(|&place| self.remembered.all.get(place).is_some_and(begins_with))?;
        self.at = place + 1;
        self.remembered.all.get(place)
    }

    /// What this very text is, wherever it was told.
    pub(super) fn find(&mut self, text: &str) -> Option<&'r Known> {
        let Remembered { all, state, .. } = self.remembered;
        let places = self.places.get_or_insert_with(|| {
            let mut places = HashMap::with_capacity_and_hasher(all.len(), state.clone());
            places.extend(all.iter().zip(0..).map(|(known, place)| (known.digest, place)));
            places
        });
        let place = *places.get(&self.remembered.digest(text))?;
        self.at = place + 1;
        self.remembered.all.get(place)
    }
}
