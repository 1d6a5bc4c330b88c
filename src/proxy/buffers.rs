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
    held_up: Cell<usize>,
}

/// Counts one exchange whose client has left a piece lying, until it is dropped.
pub(super) struct HeldUp<'b>(&'b Cell<usize>);

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Buffers {
    pub(super) fn new() -> Self {
        let read = RefCell::new(vec![0; READ_BYTES].into());
        let (write, shelf) = Default::default();
        Self { read, write, shelf, held_up: Cell::new(0) }
    }

    /// How much is read at once for a client that may take all of it.
    pub(super) fn window(&self) -> usize {
        if self.held_up.get() < LARGE_LEFT_MAX { READ_BYTES } else { SLOW_READ_BYTES }
    }

    /// A client leaves a piece lying.
    pub(super) fn hold_up(&self) -> HeldUp<'_> {
        self.held_up.set(self.held_up.get() + 1);
        HeldUp(&self.held_up)
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
        let mut held: Vec<_> = (1..LARGE_LEFT_MAX).map(|_| buffers.hold_up()).collect();
        assert_eq!(buffers.window(), READ_BYTES);
        held.push(buffers.hold_up());
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
