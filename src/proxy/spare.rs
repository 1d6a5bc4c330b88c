//! Tasks that have served a connection and wait for the next one: where connections are short, making a task for each costs as
//! much as a third of the request.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Tasks that wait. More of them end.
const WAITING_MAX: usize = 64;

/// One worker's tasks that wait for a `T`.
pub(super) struct Spare<T>(RefCell<Vec<Rc<Seat<T>>>>);

/// Where a task waits.
struct Seat<T> {
    given: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> Spare<T> {
    pub(super) fn new() -> Self {
        Self(RefCell::default())
    }

    /// Gives a task something to do. Gives it back where none waits.
    pub(super) fn offer(&self, given: T) -> Option<T> {
        let Some(seat) = self.0.borrow_mut().pop() else { return Some(given) };
        seat.given.set(Some(given));
        if let Some(waker) = seat.waker.take() {
            waker.wake();
        }
        None
    }

    /// What this task is to do next. None where enough others wait.
    pub(super) async fn next(&self) -> Option<T> {
        if self.0.borrow().len() >= WAITING_MAX {
            return None;
        }
        let seat = Rc::new(Seat { given: Cell::new(None), waker: Cell::new(None) });
        self.0.borrow_mut().push(Rc::clone(&seat));
        let given = poll_fn(|cx| match seat.given.take() {
            Some(given) => Poll::Ready(given),
            None => {
                seat.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        });
        Some(given.await)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test]
    async fn a_task_does_one_thing_after_another_and_too_many_end() {
        let (spare, done) = (Rc::new(Spare::new()), Rc::new(RefCell::new(Vec::new())));
        let ended = Rc::new(Cell::new(0));
        let tasks = async {
            for task in 0..WAITING_MAX + 2 {
                let (spare, done, ended) = (Rc::clone(&spare), Rc::clone(&done), Rc::clone(&ended));
                spawn_local(async move {
                    while let Some(given) = spare.next().await {
                        done.borrow_mut().push((task, given));
                    }
                    ended.set(ended.get() + 1);
                });
            }
            let all_have_run = async || {
                for _ in 0..9 {
                    yield_now().await;
                }
            };
            all_have_run().await;
            assert_eq!(ended.get(), 2);
            for given in 0..3 {
                assert_eq!(spare.offer(given), None);
                all_have_run().await;
            }
        };
        LocalSet::new().run_until(tasks).await;
        // The last one that waited is the first one that is asked.
        assert_eq!(*done.borrow(), [0, 1, 2].map(|given| (WAITING_MAX - 1, given)));
        assert_eq!(Spare::new().offer(7), Some(7));
    }
}
