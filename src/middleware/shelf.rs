//! Where the steps' tests keep what outlives a table.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{Keep, Kept};

/// Keeps everything until it is dropped.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<HashMap<(TypeId, String), Kept>>);

impl Keep for Shelf {
    fn keep(&self, name: &str, kind: TypeId, fresh: &dyn Fn() -> Kept) -> Kept {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Kept::clone(kept.entry((kind, name.to_owned())).or_insert_with(fresh))
    }
}
