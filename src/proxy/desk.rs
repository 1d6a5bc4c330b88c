//! Whose turn it is to have something worked out that takes long, such as whether a password is right. One client after
//! another has a turn, however much each of them has waiting: who floods the desk waits behind itself.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::middleware::Reply;
use crate::model::subscriber;

/// How long a piece of work waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Who may work. One piece of work takes a tenth of a second where bcrypt's cost is the usual 10, and up to seconds where it
/// is 14.
pub struct Desk {
    queue: Mutex<Queue>,
    places: Places,
}

/// How many pieces of work there may be.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Under way at once, each on a thread of its own.
    pub turns: usize,
    /// Waiting for their turn.
    pub waiting: usize,
    /// The same of one client, of IPv6 a network of 64 bits.
    pub waiting_of_one: usize,
}

struct Queue {
    /// Turns that nobody has.
    free: usize,
    /// What waits, by client, the oldest first. A sender that is dropped says that there is no place.
    waiting: HashMap<IpAddr, VecDeque<oneshot::Sender<Turn>>>,
    /// Whose turn comes next. Each client that has something waiting is here once.
    order: VecDeque<IpAddr>,
}

/// A turn. The next one has it when this is dropped.
struct Turn(Option<Arc<Desk>>);

impl Desk {
    /// A desk with so many places.
    pub fn new(places: Places) -> Arc<Self> {
        let free = places.turns.max(1);
        let queue = Queue { free, waiting: HashMap::new(), order: VecDeque::new() };
        Arc::new(Self { queue: Mutex::new(queue), places })
    }

    /// Has it done for this client, when it is its turn. [`Reply::TooBusy`] where too much waits, or it takes too long.
    pub async fn work(
        self: &Arc<Self>,
        client: IpAddr,
        work: Box<dyn FnOnce() -> bool + Send>,
    ) -> Reply {
        self.at_turn(client, work).await.map_or(Reply::TooBusy, Reply::Worked)
    }

    /// The same with what is worked out; nothing where too much waits, or it takes too long.
    pub async fn at_turn<T: Send + 'static>(
        self: &Arc<Self>,
        client: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = self.turn(client).await?;
        // The turn ends with the work, also where nobody waits for it any more.
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    async fn turn(self: &Arc<Self>, client: IpAddr) -> Option<Turn> {
        let turn = self.queue_up(subscriber(client))?;
        timeout(TURN_WAIT, turn).await.ok()?.ok()
    }

    fn queue_up(self: &Arc<Self>, client: IpAddr) -> Option<oneshot::Receiver<Turn>> {
        let (give, turn) = oneshot::channel();
        let mut queue = self.lock();
        if queue.free > 0 {
            queue.free -= 1;
            drop(queue);
            // It has just been made: it takes it.
            let _ = give.send(Turn(Some(Arc::clone(self))));
            return Some(turn);
        }
        queue.forget_who_left();
        let Places { waiting, waiting_of_one, .. } = self.places;
        let mine = queue.waiting.get(&client).map_or(0, VecDeque::len);
        if mine >= waiting_of_one || (queue.len() >= waiting && !queue.make_room(mine)) {
            return None;
        }
        if mine == 0 {
            queue.order.push_back(client);
        }
        queue.waiting.entry(client).or_default().push_back(give);
        Some(turn)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Those who left, or waited for too long, take no place.
    fn forget_who_left(&mut self) {
        self.waiting.retain(|_, mine| {
            mine.retain(|give| !give.is_closed());
            !mine.is_empty()
        });
        self.order.retain(|client| self.waiting.contains_key(client));
    }

    /// Takes the last place of the client that has the most, where those are more than `mine` with one more.
    fn make_room(&mut self, mine: usize) -> bool {
        let most = self.waiting.values_mut().max_by_key(|all| all.len());
        match most.filter(|all| all.len() > mine + 1) {
            Some(all) => all.pop_back().is_some(),
            None => false,
        }
    }

    /// Who has the next turn.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let client = self.order.pop_front()?;
        let mine = self.waiting.get_mut(&client)?;
        let give = mine.pop_front();
        if mine.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.order.push_back(client);
        }
        give
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(desk) = self.0.take() else { return };
        loop {
            let mut queue = desk.lock();
            let Some(give) = queue.next() else {
                queue.free += 1;
                return;
            };
            drop(queue);
            match give.send(Self(Some(Arc::clone(&desk)))) {
                Ok(()) => return,
                // It left: the next one has it.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Waits = oneshot::Receiver<Turn>;

    fn desk() -> Arc<Desk> {
        Desk::new(Places { turns: 1, waiting: 40, waiting_of_one: 8 })
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Those of these that have their turn now.
    fn have_turns(waits: &mut [Waits]) -> Vec<usize> {
        let all = waits.iter_mut().enumerate();
        all.filter_map(|(index, turn)| turn.try_recv().is_ok().then_some(index)).collect()
    }

    #[test]
    fn one_client_after_another_has_a_turn() {
        let desk = desk();
        let mut waits: Vec<Waits> =
            [1, 1, 1, 2, 3, 2].into_iter().filter_map(|last| desk.queue_up(client(last))).collect();
        // `have_turns` drops the turn that it finds: the next one has it.
        let order: Vec<_> = std::iter::repeat_with(|| have_turns(&mut waits)).take(4).collect();
        // The first one had nobody before it; then the first of each, as they came.
        assert_eq!(order.concat(), [0, 1, 3, 4, 2, 5]);
        assert!(desk.lock().order.is_empty() && desk.lock().free == 1);
    }

    #[test]
    fn who_left_has_no_turn_and_takes_no_place() {
        let desk = desk();
        let first = desk.queue_up(client(1)).expect("a turn");
        for _ in 0..24 {
            assert!(desk.queue_up(client(2)).is_some(), "it leaves at once");
        }
        let mut last = [desk.queue_up(client(3)).expect("a place")];
        assert!(have_turns(&mut last).is_empty());
        drop(first);
        assert_eq!(have_turns(&mut last), [0]);
        assert_eq!(desk.lock().free, 1);
    }

    #[test]
    fn a_flood_leaves_room_for_others() {
        let desk = desk();
        let turn = desk.queue_up(client(0)).expect("a turn");
        let mut waits = Vec::new();
        for last in 1..=10 {
            waits.extend((0..16).filter_map(|_| desk.queue_up(client(last))));
        }
        let mut other = [desk.queue_up(client(99)).expect("room is made")];
        assert_eq!(desk.lock().len(), 40);
        assert!(desk.lock().waiting.values().all(|mine| mine.len() <= 8));
        assert_eq!(desk.lock().order.len(), 11, "nobody is forgotten");
        drop(turn);
        for _ in 0..10 {
            assert!(have_turns(&mut other).is_empty());
            let index = waits.iter_mut().position(|turn| turn.try_recv().is_ok());
            waits.remove(index.expect("somebody's turn"));
        }
        assert_eq!(have_turns(&mut other), [0]);
    }

    #[test]
    fn of_ipv6_a_network_is_one_client() {
        let desk = desk();
        let _turn = desk.queue_up(client(0)).expect("a turn");
        let taken = (0..16).filter_map(|last| {
            let host: IpAddr = format!("2001:db8::{last:x}").parse().expect("an address");
            desk.queue_up(subscriber(host))
        });
        assert_eq!(taken.collect::<Vec<_>>().len(), 8);
    }

    #[tokio::test]
    async fn a_turn_is_waited_for() {
        let desk = desk();
        let turn = desk.turn(client(1)).await.expect("a turn");
        let early = timeout(Duration::from_millis(20), desk.turn(client(2))).await;
        assert!(early.is_err(), "nobody gave it back");
        drop(turn);
        assert!(desk.turn(client(2)).await.is_some());
    }
}
