//! Fair shares of a core: a connection that uses little of it does not wait for many that use much.
//!
//! Each connection may use a small part of its core's time whenever it likes. One that has used more goes on in the lane: there they are
//! polled one after the other, first come, first served, and after every [`STEP`] all else that is ready on the core goes before, and what
//! is new in the kernel is seen. So whoever uses little waits at each station of a request for one step of all the pipelines together
//! that are kept full beside it. As long as nobody waits there, those who use much go for longer at a time ([`ALONE`]).
//!
//! A future cannot be interrupted, so this is as good as the handlers' polls are short.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::yield_now;
use tokio::time::Instant;

/// The part of its core's time that a connection may always use: one in so many.
const SHARE: u32 = 50;

/// What it saves up at most while it uses less.
const SAVED_MAX: Duration = Duration::from_millis(1);

/// What it owes at most, and at first; paid back in fifty milliseconds.
const OWED_MAX: Duration = Duration::from_millis(1);

/// How long those in the lane are polled before everything else that is ready. A poll that takes longer ends its step.
const STEP: Duration = Duration::from_micros(250);

/// The same while nobody waits in the lane.
const ALONE: Duration = Duration::from_millis(1);

/// When those in the lane were not polled for so long, the thread has slept or others had it.
const PAUSE: Duration = Duration::from_micros(20);

/// Where those connections of a core wait that use much of it.
pub(super) struct Lane {
    /// By ticket.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    tickets: Cell<u64>,
    /// Of the step under way.
    used: Cell<Duration>,
    /// When it was last used.
    used_at: Cell<Instant>,
    /// When the thread's CPU clock was looked at, and what it said.
    cpu_clock: Cell<(Instant, Duration)>,
}

impl Lane {
    /// Nobody waits.
    pub(super) fn new() -> Lane {
        Lane {
            waiting: RefCell::default(),
            tickets: Cell::new(0),
            used: Cell::new(Duration::ZERO),
            used_at: Cell::new(Instant::now()),
            cpu_clock: Cell::new((Instant::now(), cpu_clock())),
        }
    }

    fn new_ticket(&self) -> u64 {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        ticket
    }

    fn wait(&self, ticket: u64, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.entry(ticket).and_modify(|known| known.clone_from(waker)).or_insert_with(|| waker.clone());
    }

    fn is_first(&self, ticket: u64) -> bool {
        self.waiting.borrow().first_key_value().is_some_and(|(first, _)| *first == ticket)
    }

    fn leave(&self, ticket: u64) {
        self.waiting.borrow_mut().remove(&ticket);
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.borrow().first_key_value() {
            waker.wake_by_ref();
        }
    }

    /// How long those in the lane have been polled without a pause.
    fn used_at_once(&self, now: Instant) -> Duration {
        if now.saturating_duration_since(self.used_at.get()) >= PAUSE {
            self.used.set(Duration::ZERO);
        }
        self.used.get()
    }

    fn before_poll(&self, now: Instant) {
        if now.saturating_duration_since(self.cpu_clock.get().0) >= STEP {
            self.cpu_clock.set((now, cpu_clock()));
        }
    }

    /// What of a poll's time the thread had its processor for: nobody pays for being interrupted by another process. Asking the clock is a
    /// system call, so only long polls do, and up to a step of what ran before is counted in.
    fn cpu_time_of_poll(&self, time: Duration) -> Duration {
        match time < STEP {
            true => time,
            false => time.min(cpu_clock().saturating_sub(self.cpu_clock.get().1)),
        }
    }
}

fn cpu_clock() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// What one connection may use, and whether it is known.
pub(super) struct Share {
    lane: Rc<Lane>,
    account: Cell<Account>,
    /// Before its first answer has left, a connection is in the lane: ten thousand new ones are no better than one old.
    was_answered: Cell<bool>,
    poll_began: Cell<Instant>,
}

/// The time that is left, counted from the most that may be owed, so that it is never below zero.
#[derive(Clone, Copy)]
struct Account {
    left: Duration,
    at: Instant,
}

impl Account {
    fn at(self, now: Instant) -> Account {
        let earned = now.saturating_duration_since(self.at) / SHARE;
        Account { left: (self.left + earned).min(OWED_MAX + SAVED_MAX), at: now }
    }
}

impl Share {
    /// Of a connection that begins.
    pub(super) fn new(lane: Rc<Lane>) -> Share {
        let now = Instant::now();
        Share {
            lane,
            account: Cell::new(Account { left: Duration::ZERO, at: now }),
            was_answered: Cell::new(false),
            poll_began: Cell::new(now),
        }
    }

    /// A request was answered, and the answer has left.
    pub(super) fn answered(&self) {
        self.was_answered.set(true);
    }

    /// Ends the turn of a task that has more to do, once it has lasted for a step.
    pub(super) async fn end_of_turn(&self) {
        let mut is_over = self.poll_began.get().elapsed() >= STEP;
        poll_fn(|context| {
            if std::mem::take(&mut is_over) {
                // Woken at once: the lane sees to it that all others go before.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    fn belongs_in_lane(&self, now: Instant) -> bool {
        let account = self.account.get().at(now);
        self.account.set(account);
        account.left < OWED_MAX || !self.was_answered.get()
    }

    fn uses(&self, time: Duration) {
        let Account { left, at } = self.account.get();
        self.account.set(Account { left: left.saturating_sub(time), at });
    }
}

/// A task of a connection, polled as its share allows.
pub(super) struct Fair<F> {
    share: Rc<Share>,
    /// While it waits in the lane.
    ticket: Option<u64>,
    /// While it is the first there and lets all others go before.
    stepping_back: Option<Pin<Box<dyn Future<Output = ()>>>>,
    task: Pin<Box<F>>,
}

impl<F: Future> Fair<F> {
    /// A task of the connection whose share this is.
    pub(super) fn new(share: &Rc<Share>, task: F) -> Fair<F> {
        Fair { share: Rc::clone(share), ticket: None, stepping_back: None, task: Box::pin(task) }
    }

    /// Ready when the task may be polled; says whether it is so through the lane.
    fn poll_turn(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<bool> {
        let lane = &self.share.lane;
        if self.ticket.is_none() {
            if !self.share.belongs_in_lane(now) {
                return Poll::Ready(false);
            }
            if lane.waiting.borrow().is_empty() && lane.used_at_once(now) < ALONE {
                return Poll::Ready(true);
            }
        }
        let ticket = *self.ticket.get_or_insert_with(|| lane.new_ticket());
        lane.wait(ticket, context.waker());
        if !lane.is_first(ticket) {
            return Poll::Pending;
        }
        if lane.used.get() >= STEP {
            // Tokio wakes this one only when it has seen to the kernel's events, behind all that was ready then.
            let stepping_back = self.stepping_back.get_or_insert_with(|| Box::pin(yield_now()));
            ready!(stepping_back.as_mut().poll(context));
            self.stepping_back = None;
            lane.used.set(Duration::ZERO);
        }
        lane.leave(ticket);
        self.ticket = None;
        Poll::Ready(true)
    }
}

impl<F: Future> Future for Fair<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let now = Instant::now();
        let through_lane = ready!(self.poll_turn(context, now));
        let share = Rc::clone(&self.share);
        let _counted = Polling::begin(&share, through_lane, now);
        self.task.as_mut().poll(context)
    }
}

/// A poll under way: when it ends, and be it by a panic, its time is counted and the next in the lane is woken.
struct Polling<'a> {
    share: &'a Share,
    through_lane: bool,
    began: Instant,
}

impl Polling<'_> {
    fn begin(share: &Share, through_lane: bool, began: Instant) -> Polling<'_> {
        share.lane.before_poll(began);
        share.poll_began.set(began);
        Polling { share, through_lane, began }
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let lane = &self.share.lane;
        let ended = Instant::now();
        let time = lane.cpu_time_of_poll(ended.saturating_duration_since(self.began));
        self.share.uses(time);
        if self.through_lane {
            lane.used.set(lane.used.get() + time);
            lane.used_at.set(ended);
            lane.wake_first();
        }
    }
}

impl<F> Drop for Fair<F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.share.lane.leave(ticket);
            self.share.lane.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// A share that was used so far as `left` says, of a connection that was answered.
    fn share(lane: &Rc<Lane>, left: Duration) -> Rc<Share> {
        let share = Share::new(Rc::clone(lane));
        share.answered();
        share.account.set(Account { left, at: Instant::now() });
        Rc::new(share)
    }

    /// A task that is ready at once again for `polls` times, each of which takes `time`, and notes its name at each.
    async fn busy(name: u8, polls: usize, time: Duration, noted: Rc<RefCell<Vec<u8>>>) {
        let mut left = polls;
        poll_fn(|context| {
            noted.borrow_mut().push(name);
            let began = cpu_clock();
            while cpu_clock() - began < time {}
            left -= 1;
            context.waker().wake_by_ref();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    async fn run(tasks: Vec<Fair<impl Future<Output = ()> + 'static>>) {
        let local = LocalSet::new();
        tasks.into_iter().for_each(|task| drop(local.spawn_local(task)));
        local.await;
    }

    #[tokio::test]
    async fn who_uses_little_waits_for_one_of_many_who_use_much() {
        let lane = Rc::new(Lane::new());
        let noted = Rc::default();
        let heavy = |name| Fair::new(&share(&lane, Duration::ZERO), busy(name, 20, STEP, Rc::clone(&noted)));
        let mut tasks: Vec<_> = (b'a'..=b'j').map(heavy).collect();
        let saved = share(&lane, OWED_MAX + SAVED_MAX);
        tasks.push(Fair::new(&saved, busy(b'L', 50, Duration::ZERO, Rc::clone(&noted))));
        run(tasks).await;
        let noted = noted.borrow();
        let with_light = noted.iter().rposition(|&name| name == b'L').unwrap();
        let between: Vec<usize> = noted[..with_light].split(|&name| name == b'L').map(<[u8]>::len).collect();
        let before_lane = usize::try_from(ALONE.as_micros() / STEP.as_micros()).unwrap();
        assert!(between[..2].iter().all(|&others| others <= before_lane), "{between:?}");
        assert!(
            between[2..].iter().all(|&others| others <= 1),
            "others between two turns of who uses little: {between:?}"
        );
        assert_eq!(noted.len(), 250, "and all are done");
        // First come, first served.
        let heavy: Vec<u8> = noted.iter().copied().filter(|&name| name != b'L').collect();
        assert!(heavy.chunks(10).all(|round| round == b"abcdefghij"), "{:?}", String::from_utf8_lossy(&heavy));
    }

    #[tokio::test]
    async fn a_panic_holds_up_nobody() {
        let lane = Rc::new(Lane::new());
        let noted = Rc::<RefCell<Vec<u8>>>::default();
        LocalSet::new()
            .run_until(async {
                let heavy = share(&lane, Duration::ZERO);
                lane.used.set(ALONE);
                lane.used_at.set(Instant::now());
                let broken = spawn_local(Fair::new(&heavy, async { panic!("a bug") }));
                let sound = Fair::new(&heavy, busy(b's', 3, Duration::ZERO, Rc::clone(&noted)));
                spawn_local(sound).await.unwrap();
                assert!(broken.await.unwrap_err().is_panic());
            })
            .await;
        assert_eq!(noted.borrow().len(), 3);
    }

    #[tokio::test]
    async fn a_new_one_is_behind_until_it_was_answered() {
        let lane = Rc::new(Lane::new());
        let new = Share::new(Rc::clone(&lane));
        let later = Instant::now() + Duration::from_secs(60);
        assert!(new.belongs_in_lane(later));
        new.answered();
        assert!(!new.belongs_in_lane(later));
        new.uses(SAVED_MAX + Duration::from_nanos(1));
        assert!(new.belongs_in_lane(later), "it has used more than it had saved");
        assert!(!new.belongs_in_lane(later + Duration::from_millis(1)));
        new.uses(Duration::from_secs(60));
        assert!(new.belongs_in_lane(later + Duration::from_millis(50)), "what is owed has a limit");
        assert!(!new.belongs_in_lane(later + Duration::from_millis(52)));
    }

    #[tokio::test]
    async fn who_goes_while_it_waits_holds_up_nobody() {
        let lane = Rc::new(Lane::new());
        let noted = Rc::default();
        let task = |name| Fair::new(&share(&lane, Duration::ZERO), busy(name, 5, STEP, Rc::clone(&noted)));
        let (first, second, third) = (task(b'1'), task(b'2'), task(b'3'));
        LocalSet::new()
            .run_until(async {
                let tasks = [first, second].map(spawn_local);
                let last = spawn_local(third);
                while noted.borrow().len() < 4 {
                    yield_now().await;
                }
                tasks.iter().for_each(tokio::task::JoinHandle::abort);
                last.await.unwrap();
            })
            .await;
        assert_eq!(noted.borrow().iter().filter(|&&name| name == b'3').count(), 5);
        assert!(lane.waiting.borrow().is_empty());
    }
}
