//! Admits a bounded number of starts at a time, those of older pods first.
//!
//! Starting containers is bound by the processor. If forty pods all advance together, all are ready
//! at the end; if the first ones are finished first, half are ready at half time. Not here: what is
//! started.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

struct Waiter {
    order: Reverse<(u64, u64)>,
    wake: oneshot::Sender<Permit>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Waiter {}
impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

struct State {
    free: usize,
    arrivals: u64,
    waiting: BinaryHeap<Waiter>,
}

/// A gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Mutex<State>>);

/// Held while passing; its end lets the next one in.
pub struct Permit(Option<Gate>);

impl Gate {
    /// Admits `width` at a time.
    pub fn new(width: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: width.max(1),
            arrivals: 0,
            waiting: BinaryHeap::new(),
        })))
    }

    /// Waits for admission; the lowest `order` goes first.
    pub async fn pass(&self, order: u64) -> Permit {
        let receiver = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Permit(Some(self.clone()));
            }
            let (wake, receiver) = oneshot::channel();
            state.arrivals += 1;
            let order = Reverse((order, state.arrivals));
            state.waiting.push(Waiter { order, wake });
            receiver
        };
        // The gate lives as long as `self`, and so does the sender.
        receiver.await.unwrap_or(Permit(None))
    }

    fn leave(&self) {
        loop {
            let next = {
                let mut state = self.0.lock();
                match state.waiting.pop() {
                    Some(next) => next,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            match next.wake.send(Permit(Some(self.clone()))) {
                Ok(()) => return,
                // It waits no more: its permit must not free a place by itself.
                Err(mut permit) => permit.0 = None,
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_first_and_quitters_are_skipped() {
        let gate = Gate::new(1);
        let held = gate.pass(0).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for n in [5, 3, 4] {
            let (gate, order) = (gate.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _permit = gate.pass(n).await;
                order.lock().push(n);
            }));
            tokio::task::yield_now().await;
        }
        tasks[1].abort();
        tokio::task::yield_now().await;
        drop(held);
        for task in tasks {
            let _ = task.await;
        }
        assert_eq!(*order.lock(), [4, 5]);
        assert_eq!(gate.0.lock().free, 1);
    }
}
