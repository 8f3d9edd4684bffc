//! Seats and queues of the priority levels.
//!
//! A level has seats by its shares. While seats that others lend are free it may use them too. Where a
//! level has no seat, a request waits in one of a few queues that its flow is dealt (shuffle sharding:
//! a busy flow fills its own hand, and hardly any other flow has the same one); the queues take turns
//! by the seats they have had (fair queuing). Not here: which level a request belongs to.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::config::LevelSpec;
use crate::request::RequestInfo;

/// Why there is no seat; meters count by the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full.
    QueueFull,
    /// The level has no queues.
    ConcurrencyLimit,
    /// None came free in time.
    TimeOut,
}

/// What a level may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// By its shares.
    pub nominal: u32,
    /// Of these, what it does not lend.
    pub lower: u32,
    /// With all that it may borrow.
    pub upper: u32,
}

/// A request that waits, for people.
#[derive(Clone, Debug)]
pub struct About {
    /// The name of its flow schema.
    pub schema: Arc<str>,
    /// What tells its flow.
    pub flow: String,
    /// Since when it waits.
    pub since: tokio::time::Instant,
    /// Who asks.
    pub user: String,
    /// For what.
    pub info: RequestInfo,
}

/// A level as it is now.
#[derive(Debug)]
pub struct Picture {
    /// Its name.
    pub name: Arc<str>,
    /// Of its queues: the turn of the next request, and those that wait.
    pub queues: Vec<(u64, Vec<About>)>,
    /// How many run.
    pub executing: u32,
}

/// All levels.
pub struct Levels {
    state: Mutex<State>,
}

struct State {
    seats: u32,
    levels: HashMap<Arc<str>, Level>,
    next: u64,
}

#[derive(Default)]
struct Level {
    /// Its own seats, how many of them others may use, and how many of others' it may use.
    nominal: u32,
    lendable: u32,
    borrows: u32,
    executing: u32,
    waiting: usize,
    queues: Vec<Queue>,
    hand: usize,
    /// How many may wait in one queue.
    length: usize,
    /// The turn that was served last.
    turn: u64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// The turn at which its next request is served.
    turn: u64,
}

struct Waiting {
    id: u64,
    turn: oneshot::Sender<()>,
    about: Box<About>,
}

/// The right to run.
pub struct Seat {
    levels: Arc<Levels>,
    level: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.levels.state.lock();
        if let Some(level) = state.levels.get_mut(&self.level) {
            level.executing = level.executing.saturating_sub(1);
        }
        state.dispatch();
    }
}

/// A place in a queue; given up when it is dropped before a seat came.
struct Place<'a> {
    levels: &'a Levels,
    level: &'a Arc<str>,
    queue: usize,
    id: u64,
    turn: oneshot::Receiver<()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.levels.state.lock();
        let Some(level) = state.levels.get_mut(self.level) else { return };
        // A changed configuration may have moved it.
        let found = std::iter::once(self.queue)
            .chain(0..level.queues.len())
            .filter_map(|at| Some((at, level.queues.get(at)?)))
            .find_map(|(at, q)| Some((at, q.waiting.iter().position(|w| w.id == self.id)?)));
        if let Some((queue, at)) = found {
            level.queues[queue].waiting.remove(at);
            level.waiting -= 1;
        } else if self.turn.try_recv().is_ok() {
            // The seat came when nobody wanted it any more.
            level.executing = level.executing.saturating_sub(1);
            state.dispatch();
        }
    }
}

impl Levels {
    /// So many seats for all levels, which there are none of yet.
    pub fn new(seats: u32) -> Arc<Self> {
        let state = State { seats, levels: HashMap::new(), next: 0 };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Takes over which levels there are. Levels that are gone stay until they are empty.
    pub fn configure(&self, specs: &[LevelSpec]) -> Vec<(Arc<str>, Limits)> {
        let mut limits = Vec::new();
        let mut state = self.state.lock();
        let shares: u32 = specs.iter().map(|s| s.shares).fold(0, u32::saturating_add).max(1);
        let seats = state.seats;
        for level in state.levels.values_mut() {
            (level.nominal, level.lendable, level.borrows) = (1, 0, 0);
        }
        for spec in specs {
            let level = state.levels.entry(spec.name.clone()).or_default();
            let part = u64::from(seats) * u64::from(spec.shares);
            level.nominal = u32::try_from(part.div_ceil(u64::from(shares))).unwrap_or(seats);
            let percent = |percent: u32| {
                let part = u64::from(level.nominal) * u64::from(percent);
                u32::try_from(part.div_ceil(100)).unwrap_or(seats)
            };
            level.lendable = percent(spec.lendable).min(level.nominal);
            level.borrows = spec.borrows.map_or(seats, percent);
            let Level { nominal, lendable, borrows, .. } = *level;
            let (lower, upper) = (nominal - lendable, nominal.saturating_add(borrows));
            limits.push((spec.name.clone(), Limits { nominal, lower, upper }));
            let (queues, hand, length) = spec.queues.unwrap_or((0, 0, 0));
            (level.hand, level.length) = (hand.min(queues), length);
            level.resize(queues);
        }
        let known = |name: &Arc<str>| specs.iter().any(|spec| spec.name == *name);
        state.levels.retain(|name, level| known(name) || level.executing > 0 || level.waiting > 0);
        state.dispatch();
        limits
    }

    /// The levels as they are now, by name.
    pub fn picture(&self) -> Vec<Picture> {
        let state = self.state.lock();
        let about = |queue: &Queue| queue.waiting.iter().map(|w| (*w.about).clone()).collect();
        let level = |(name, level): (&Arc<str>, &Level)| Picture {
            name: name.clone(),
            queues: level.queues.iter().map(|queue| (queue.turn, about(queue))).collect(),
            executing: level.executing,
        };
        let mut levels: Vec<Picture> = state.levels.iter().map(level).collect();
        drop(state);
        levels.sort_by(|a, b| a.name.cmp(&b.name));
        levels
    }

    /// Takes a seat of a level for a flow, or waits for one. `about` says who waits.
    pub async fn seat(
        self: Arc<Self>,
        name: &Arc<str>,
        flow: u64,
        patience: Duration,
        about: impl FnOnce() -> Box<About>,
    ) -> Result<Seat, Refusal> {
        let mut place = {
            let mut state = self.state.lock();
            let free = state.may_run(name);
            let id = state.next;
            let Some(level) = state.levels.get_mut(name) else {
                return Err(Refusal::ConcurrencyLimit);
            };
            if free && level.waiting == 0 {
                level.executing += 1;
                drop(state);
                return Ok(Seat { levels: self, level: name.clone() });
            }
            let (queue, turn) = level.join(flow, id, about)?;
            state.next += 1;
            // Seats that others lend may be free while this level's own queue is not empty.
            state.dispatch();
            Place { levels: &self, level: name, queue, id, turn }
        };
        let outcome = tokio::time::timeout(patience, &mut place.turn).await;
        drop(place);
        match outcome {
            Ok(Ok(())) => Ok(Seat { levels: self.clone(), level: name.clone() }),
            // The level has no queues any more.
            Ok(Err(_)) => Err(Refusal::ConcurrencyLimit),
            Err(_) => Err(Refusal::TimeOut),
        }
    }
}

impl Level {
    /// Makes it so many queues; what waits in those that go is dealt to the others.
    fn resize(&mut self, queues: usize) {
        if self.queues.len() == queues {
            return;
        }
        let moved: Vec<_> =
            self.queues.drain(queues.min(self.queues.len())..).flat_map(|q| q.waiting).collect();
        self.queues.resize_with(queues, Queue::default);
        for (at, waiting) in moved.into_iter().enumerate() {
            // Without queues nobody waits: the sender goes, and with it the wait.
            match self.queues.len() {
                0 => self.waiting -= 1,
                n => self.queues[at % n].waiting.push_back(waiting),
            }
        }
    }

    /// Joins the shortest queue of a flow's hand.
    fn join(
        &mut self,
        flow: u64,
        id: u64,
        about: impl FnOnce() -> Box<About>,
    ) -> Result<(usize, oneshot::Receiver<()>), Refusal> {
        if self.queues.is_empty() {
            return Err(Refusal::ConcurrencyLimit);
        }
        let hand = deal(flow, self.queues.len(), self.hand.max(1));
        let length = |at: &usize| self.queues[*at].waiting.len();
        let Some(at) = hand.into_iter().min_by_key(length) else {
            return Err(Refusal::ConcurrencyLimit);
        };
        let queue = &mut self.queues[at];
        if queue.waiting.len() >= self.length {
            return Err(Refusal::QueueFull);
        }
        if queue.waiting.is_empty() {
            // Who did not ask has saved up no turns.
            queue.turn = queue.turn.max(self.turn);
        }
        let (turn, receiver) = oneshot::channel();
        queue.waiting.push_back(Waiting { id, turn, about: about() });
        self.waiting += 1;
        Ok((at, receiver))
    }

    /// Gives the seat of the next turn; whether anyone took it.
    fn next(&mut self) -> bool {
        loop {
            let waiting = self.queues.iter_mut().filter(|q| !q.waiting.is_empty());
            let Some(queue) = waiting.min_by_key(|q| q.turn) else { return false };
            self.turn = queue.turn;
            let Some(first) = queue.waiting.pop_front() else { return false };
            self.waiting -= 1;
            if first.turn.send(()).is_ok() {
                queue.turn += 1;
                self.executing += 1;
                return true;
            }
        }
    }
}

impl State {
    /// Whether a level may run one more: on a seat of its own, or on one that others lend and that
    /// nobody uses.
    fn may_run(&self, name: &Arc<str>) -> bool {
        let Some(level) = self.levels.get(name) else { return false };
        if level.executing < level.nominal {
            return true;
        }
        if level.executing >= level.nominal.saturating_add(level.borrows) {
            return false;
        }
        let kept = |level: &Level| level.executing.max(level.nominal - level.lendable);
        let others = self.levels.iter().filter(|(other, _)| *other != name);
        let taken: u32 = others.map(|(_, level)| kept(level)).fold(0, u32::saturating_add);
        taken.saturating_add(level.executing) < self.seats
    }

    /// Gives free seats to who waits, level by level.
    fn dispatch(&mut self) {
        let waiting = self.levels.iter().filter(|(_, level)| level.waiting > 0);
        let names: Vec<Arc<str>> = waiting.map(|(name, _)| name.clone()).collect();
        for name in names {
            while self.may_run(&name) {
                if !self.levels.get_mut(&name).is_some_and(Level::next) {
                    break;
                }
            }
        }
    }
}

/// The hand of a flow: so many different cards of a deck, by the digits of a number.
fn deal(mut flow: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut cards: Vec<usize> = Vec::with_capacity(hand);
    for dealt in 0..hand.min(deck) {
        let left = (deck - dealt) as u64;
        let mut card = usize::try_from(flow % left).unwrap_or(0);
        flow /= left;
        // Count over the cards that are gone, which are kept sorted.
        let mut at = 0;
        while at < cards.len() && cards[at] <= card {
            card += 1;
            at += 1;
        }
        cards.insert(at, card);
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, shares: u32, queues: Option<(usize, usize, usize)>) -> LevelSpec {
        LevelSpec {
            name: name.into(),
            uid: "".into(),
            exempt: false,
            shares,
            lendable: 0,
            borrows: Some(0),
            queues,
        }
    }

    const LONG: Duration = Duration::from_secs(15);

    fn nobody() -> Box<About> {
        Box::new(About {
            schema: "s".into(),
            flow: String::new(),
            since: tokio::time::Instant::now(),
            user: String::new(),
            info: RequestInfo::default(),
        })
    }

    #[test]
    fn hands_are_of_different_cards() {
        for flow in [0, 1, 77, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let hand = deal(flow, 64, 8);
            assert!(hand.windows(2).all(|w| w[0] < w[1]) && hand[7] < 64, "{hand:?}");
        }
        assert_eq!(deal(5, 3, 9), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn flows_take_turns() {
        let levels = Levels::new(1);
        levels.configure(&[spec("a", 1, Some((2, 1, 50)))]);
        let name: Arc<str> = "a".into();
        let first = levels.clone().seat(&name, 0, LONG, nobody).await.expect("a seat");
        // Flow 0 asks for ten seats, flow 1 for one, last.
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for flow in [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] {
            let (levels, name, order) = (levels.clone(), name.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let seat = levels.seat(&name, flow, LONG, nobody).await.expect("a turn");
                order.lock().push(flow);
                drop(seat);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.expect("ends");
        }
        let at = order.lock().iter().position(|flow| *flow == 1);
        assert!(at.is_some_and(|at| at <= 1), "the quiet flow comes early: {:?}", order.lock());
    }

    #[tokio::test(start_paused = true)]
    async fn levels_lend_what_they_do_not_use() {
        let levels = Levels::new(10);
        let mut lender = spec("lender", 1, None);
        lender.lendable = 60;
        let mut borrower = spec("borrower", 1, None);
        borrower.borrows = None;
        levels.configure(&[lender, borrower]);
        let (a, b): (Arc<str>, Arc<str>) = ("borrower".into(), "lender".into());
        let mut seats = Vec::new();
        while let Ok(seat) = levels.clone().seat(&a, 0, LONG, nobody).await {
            seats.push(seat);
        }
        assert_eq!(seats.len(), 8, "five of its own, three of the other's");
        let own: Vec<_> =
            [(); 2].into_iter().map(|()| levels.clone().seat(&b, 0, LONG, nobody)).collect();
        for seat in own {
            seats.push(seat.await.expect("what is not lent is there at once"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_end_and_leave_nothing_behind() {
        let levels = Levels::new(1);
        levels.configure(&[spec("a", 1, Some((1, 1, 1)))]);
        let name: Arc<str> = "a".into();
        let seat = levels.clone().seat(&name, 0, LONG, nobody).await.expect("a seat");
        {
            // Given up by its client.
            let waiting = levels.clone().seat(&name, 0, LONG, nobody);
            tokio::pin!(waiting);
            assert!(futures_util::poll!(&mut waiting).is_pending());
            let full = levels.clone().seat(&name, 0, LONG, nobody).await;
            assert_eq!(full.err(), Some(Refusal::QueueFull));
        }
        assert_eq!(levels.clone().seat(&name, 0, LONG, nobody).await.err(), Some(Refusal::TimeOut));
        drop(seat);
        assert!(levels.clone().seat(&name, 0, LONG, nobody).await.is_ok());
        // A level that goes away keeps nobody.
        levels.configure(&[]);
        let gone = levels.clone().seat(&name, 0, LONG, nobody).await;
        assert_eq!(gone.err(), Some(Refusal::ConcurrencyLimit));
    }
}
