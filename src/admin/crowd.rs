//! Who is connected to the admin side, and who reads its events. Where all places are taken, whoever holds the most gives one up: a flood of
//! connections, however slow or busy, keeps nobody out who has fewer.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// A bounded number of places.
pub(super) struct Crowd {
    max: usize,
    max_of_one: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// By client, the oldest first. Dropping a sender gives the place up.
    by_client: HashMap<IpAddr, VecDeque<(u64, oneshot::Sender<()>)>>,
    count: usize,
    next: u64,
}

/// A place, given back when this is dropped.
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    client: IpAddr,
    number: u64,
    /// Resolves when somebody else gets the place.
    pub(super) given_up: oneshot::Receiver<()>,
}

impl Crowd {
    /// So many places, of which one client may have so many.
    pub(super) fn new(max: usize, max_of_one: usize) -> Arc<Self> {
        Arc::new(Self { max, max_of_one, held: Mutex::default() })
    }

    /// One more place for this client; none where it has as many as one may have, or more than all others.
    pub(super) fn seat(self: &Arc<Self>, client: IpAddr) -> Option<Seat> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = held.by_client.get(&client).map_or(0, VecDeque::len);
        if mine >= self.max_of_one || (held.count >= self.max && !held.make_room(mine)) {
            return None;
        }
        let (keep, given_up) = oneshot::channel();
        let number = held.next;
        held.next += 1;
        held.count += 1;
        held.by_client.entry(client).or_default().push_back((number, keep));
        Some(Seat { crowd: Arc::clone(self), client, number, given_up })
    }
}

impl Held {
    /// Takes the oldest place of the client that has the most, where those are more than `mine`.
    fn make_room(&mut self, mine: usize) -> bool {
        let oldest = |seats: &VecDeque<(u64, _)>| seats.front().map(|(number, _)| *number);
        let most = self.by_client.iter_mut().max_by(|(_, a), (_, b)| {
            // Of those with as many the one that has been there for longest.
            a.len().cmp(&b.len()).then_with(|| oldest(b).cmp(&oldest(a)))
        });
        match most {
            Some((_, seats)) if seats.len() > mine => {
                seats.pop_front();
                self.count -= 1;
                true
            }
            _ => false,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.crowd.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seats) = held.by_client.get_mut(&self.client) else { return };
        let before = seats.len();
        seats.retain(|(number, _)| *number != self.number);
        let left = (before - seats.len(), seats.is_empty());
        held.count -= left.0;
        if left.1 {
            held.by_client.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> IpAddr {
        [127, 0, 0, number].into()
    }

    #[test]
    fn whoever_holds_the_most_gives_one_up() {
        let crowd = Crowd::new(6, 4);
        let mut many: Vec<_> = (0..4).map(|_| crowd.seat(client(1)).expect("a place")).collect();
        assert!(crowd.seat(client(1)).is_none(), "one has no more than four");
        let mut few: Vec<_> = (0..2).map(|_| crowd.seat(client(2)).expect("a place")).collect();
        let third = crowd.seat(client(3));
        assert!(third.is_some());
        let is_open =
            |seat: &mut Seat| seat.given_up.try_recv() == Err(oneshot::error::TryRecvError::Empty);
        assert_eq!(many.iter_mut().map(is_open).collect::<Vec<_>>(), [false, true, true, true]);
        assert!(few.iter_mut().all(is_open));
        assert!(crowd.seat(client(2)).is_some());
        drop((many, few, third));
        assert_eq!(crowd.held.lock().expect("whole").count, 0);
        assert!(crowd.held.lock().expect("whole").by_client.is_empty());
    }

    #[test]
    fn of_many_with_one_each_the_oldest_gives_way_and_nobody_takes_from_himself() {
        let crowd = Crowd::new(3, 2);
        let mut seats: Vec<_> = (1..=3).map(|n| crowd.seat(client(n)).expect("a place")).collect();
        assert!(crowd.seat(client(3)).is_none(), "all have as many");
        let _new = crowd.seat(client(4)).expect("a place");
        assert!(seats[0].given_up.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        assert!(seats[1].given_up.try_recv() == Err(oneshot::error::TryRecvError::Empty));
    }
}
