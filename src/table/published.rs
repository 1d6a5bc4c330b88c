//! The swap: one pointer store puts a new table into force.

use std::rc::Rc;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::Table;

/// The table in force. Cloning gives another handle to the same place.
#[derive(Clone, Default)]
pub struct Published {
    current: Arc<ArcSwap<Table>>,
}

impl Published {
    /// Puts a table into force. A try under way keeps the one it began with.
    pub fn publish(&self, table: Arc<Table>) {
        self.current.store(table);
    }

    /// The table in force.
    pub fn table(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// A worker's own view of the table in force.
    pub fn reader(&self) -> Reader {
        let mut cache = Cache::new(Arc::clone(&self.current));
        let own = Rc::new(Arc::clone(cache.load()));
        Reader { cache, own }
    }
}

/// One worker's view of the table in force.
///
/// Each worker wraps the shared pointer in one of its own, so that a request's clone counts where no other core
/// counts.
#[allow(clippy::redundant_allocation)] // the outer Rc is the point: see above
pub struct Reader {
    cache: Cache<Arc<ArcSwap<Table>>, Arc<Table>>,
    own: Rc<Arc<Table>>,
}

impl Reader {
    /// The table in force, to be kept until the end of one try.
    #[allow(clippy::redundant_allocation)] // see the type
    pub fn table(&mut self) -> Rc<Arc<Table>> {
        let current = self.cache.load();
        if !Arc::ptr_eq(current, &self.own) {
            self.own = Rc::new(Arc::clone(current));
        }
        Rc::clone(&self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_the_swap_and_keeps_what_it_took() {
        let published = Published::default();
        let mut reader = published.reader();
        let before = reader.table();
        published.publish(Arc::new(Table { revision: 7, ..Table::default() }));
        assert_eq!((before.revision, reader.table().revision), (0, 7));
        assert!(Rc::ptr_eq(&reader.table(), &reader.table()));
    }
}
