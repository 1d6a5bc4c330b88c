//! Memory for the exchanges of one connection. It is kept while one closely follows another: the allocator has few pieces of
//! its size at hand, and the others cost as much as reading two lines.

use std::cell::Cell;
use std::pin::Pin;

/// Where the exchanges of one connection are, one after another.
pub(super) struct Room<'w, F> {
    exchange: Pin<Box<F>>,
    /// There while it is kept, and no exchange is in it.
    kept: Option<Kept<'w>>,
}

/// How many rooms one worker keeps.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Rooms(Cell<usize>);

/// Counts one room that is kept, until it is dropped.
struct Kept<'w>(&'w Rooms);

/// So many are kept at most.
const KEPT_MAX: usize = 256;

/// How long a connection keeps its room for the first byte of the next request.
pub(super) const KEPT_MS: u64 = 500;

/// Pieces of memory up to this size glibc has at hand, larger ones it looks for (`tcache`, malloc.c).
const BYTES_MAX: usize = 1_032;

/// Begins an exchange in its room.
pub(super) fn enter<'r, F>(
    room: &'r mut Option<Room<'_, F>>,
    begin: impl FnOnce() -> F,
) -> Pin<&'r mut F> {
    const {
        assert!(
            // What is built for tests is laid out in another way.
            cfg!(debug_assertions) || size_of::<F>() <= BYTES_MAX,
            "an exchange has outgrown its room: box what few of them need"
        );
    }
    let room = match room {
        Some(room) => {
            room.kept = None;
            room.exchange.set(begin());
            room
        }
        None => {
            // The place first: then the compiler makes it there, and need not copy a kilobyte.
            let place = Box::<F>::new_uninit();
            let exchange = Box::into_pin(Box::write(place, begin()));
            room.insert(Room { exchange, kept: None })
        }
    };
    room.exchange.as_mut()
}

/// An exchange has ended. Its room is kept, unless many are.
pub(super) fn leave<'w, F>(room: &mut Option<Room<'w, F>>, rooms: &'w Rooms) {
    match room {
        Some(room) if rooms.0.get() < KEPT_MAX => room.kept = Some(Kept::new(rooms)),
        room => *room = None,
    }
}

impl<'w> Kept<'w> {
    fn new(rooms: &'w Rooms) -> Self {
        rooms.0.set(rooms.0.get() + 1);
        Self(rooms)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One exchange on a connection.
    async fn serve<'w>(room: &mut Option<Room<'w, std::future::Ready<u8>>>, rooms: &'w Rooms) {
        assert_eq!(enter(room, || std::future::ready(7)).await, 7);
        leave(room, rooms);
    }

    #[tokio::test]
    async fn few_rooms_are_kept_and_each_is_counted_once() {
        let rooms = Rooms::default();
        let mut connections: Vec<_> = (0..=KEPT_MAX).map(|_| None).collect();
        for room in &mut connections {
            serve(room, &rooms).await;
            serve(room, &rooms).await;
        }
        assert_eq!(rooms.0.get(), KEPT_MAX);
        assert!(connections[KEPT_MAX].is_none(), "one too many");
        // Whoever is at work makes room for another one, and so does who leaves.
        enter(&mut connections[0], || std::future::ready(7)).await;
        assert_eq!(rooms.0.get(), KEPT_MAX - 1);
        serve(&mut connections[KEPT_MAX], &rooms).await;
        assert!(connections[KEPT_MAX].is_some());
        leave(&mut connections[0], &rooms);
        assert!(connections[0].is_none());
        drop(connections);
        assert_eq!(rooms.0.get(), 0);
    }
}
