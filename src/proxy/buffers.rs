//! A worker's buffers. A connection that waits holds none: it reads into the worker's and keeps what is left over.

use std::cell::{Cell, RefCell};

/// One read takes this much at most. Large ones make large bodies cheap; the pages of what is never filled are never
/// touched.
const READ_BYTES: usize = 256 * 1024;

/// One read for a client that has not taken the last piece at once, or where many have not.
pub(super) const SLOW_READ_BYTES: usize = 32 * 1024;

/// So many may have left a large piece lying. How much a client takes is known only when it has been read for it.
const LARGE_LEFT_MAX: usize = 64;

/// Buffers that are kept for the next exchange.
const SHELF_MAX: usize = 256;

/// A buffer that grew beyond this is not kept.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The buffers of one worker.
pub(super) struct Buffers {
    /// What has just been read. Borrowed for as long as it takes to handle it, never across a wait.
    pub(super) read: RefCell<Box<[u8]>>,
    /// What is about to be written. The same holds.
    pub(super) write: RefCell<Vec<u8>>,
    shelf: RefCell<Vec<Vec<u8>>>,
    /// How many clients have left a large piece lying.
    large_left: Cell<usize>,
}

/// Counts one client that has left a large piece lying, until it is dropped.
pub(super) struct LargeLeft<'b>(&'b Cell<usize>);

impl Drop for LargeLeft<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Buffers {
    pub(super) fn new() -> Self {
        let read = RefCell::new(vec![0; READ_BYTES].into());
        Self {
            read,
            write: RefCell::default(),
            shelf: RefCell::default(),
            large_left: Cell::new(0),
        }
    }

    /// How much is read at once for a client that may take all of it.
    pub(super) fn window(&self) -> usize {
        if self.large_left.get() < LARGE_LEFT_MAX { READ_BYTES } else { SLOW_READ_BYTES }
    }

    /// A client leaves so many bytes lying: who leaves much counts.
    pub(super) fn leave(&self, bytes: usize) -> Option<LargeLeft<'_>> {
        (bytes > SLOW_READ_BYTES).then(|| {
            self.large_left.set(self.large_left.get() + 1);
            LargeLeft(&self.large_left)
        })
    }

    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        self.shelf.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives back what a buffer has much more of than it needs now.
    pub(super) fn trim(buffer: &mut Vec<u8>) {
        if buffer.capacity() > KEPT_BYTES_MAX.max(4 * buffer.len()) {
            buffer.shrink_to_fit();
        }
    }

    /// Puts a buffer back, and leaves an empty one without memory.
    pub(super) fn give_back(&self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        let mut shelf = self.shelf.borrow_mut();
        if (1..=KEPT_BYTES_MAX).contains(&buffer.capacity()) && shelf.len() < SHELF_MAX {
            buffer.clear();
            shelf.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_many_leave_pieces_lying_pieces_are_small() {
        let buffers = Buffers::new();
        let leave = |bytes| buffers.leave(bytes);
        let mut held: Vec<_> = (1..LARGE_LEFT_MAX).map(|_| leave(READ_BYTES)).collect();
        let _small: Vec<_> = (0..LARGE_LEFT_MAX).map(|_| leave(SLOW_READ_BYTES)).collect();
        assert_eq!(buffers.window(), READ_BYTES);
        held.push(leave(READ_BYTES));
        assert_eq!(buffers.window(), SLOW_READ_BYTES);
        held.pop();
        assert_eq!(buffers.window(), READ_BYTES);
    }

    #[test]
    fn a_buffer_comes_back_empty_and_a_huge_one_is_let_go() {
        let buffers = Buffers::new();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"words");
        buffers.give_back(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
        assert!(buffers.take().is_empty() && buffers.shelf.borrow().is_empty());
        buffers.give_back(&mut Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert!(buffers.shelf.borrow().is_empty());
        let mut much = Vec::with_capacity(100_000);
        much.extend_from_slice(b"words");
        Buffers::trim(&mut much);
        assert!(much.capacity() < 1_000 && much == b"words");
    }
}
