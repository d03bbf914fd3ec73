//! Work done by many threads and consumed in order, with bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::ops::Range;
use std::thread;

use crossbeam::channel::{self, Receiver, Sender};

use crate::{MOST_THREADS, panic_message};

/// How the threads share the work.
pub(crate) struct Plan<'a> {
    /// Worker threads.
    pub threads: NonZero<usize>,
    /// Bytes of work that may be under way or waiting for its turn at once. One piece that needs
    /// more than all of it is done alone.
    pub budget: usize,
    /// Bytes that a piece of work is expected to need.
    pub estimate: &'a dyn Fn(usize) -> usize,
}

/// Why the work ended before its end.
pub(crate) enum Ended<E> {
    /// The consumer said so.
    Consumer(E),
    /// A worker panicked, with this message.
    Panic(String),
}

/// So many threads (at most 1024), or as many as the machine has.
pub(crate) fn threads_or_all(threads: Option<NonZero<usize>>) -> NonZero<usize> {
    threads
        .or_else(|| thread::available_parallelism().ok())
        .map_or(NonZero::<usize>::MIN, |threads| threads.min(MOST_THREADS))
}

/// Calls `work` for every index on the plan's threads and `consume` with the results in order of
/// their index, whatever order they come in.
pub(crate) fn run<T: Send, E>(
    indices: Range<usize>,
    plan: &Plan<'_>,
    work: impl Fn(usize) -> T + Sync,
    mut consume: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), Ended<E>> {
    // Never more pieces under way than these, however small they are.
    let window = 16 * plan.threads.get();
    let (task_sender, tasks) = channel::bounded::<usize>(window);
    let (result_sender, results) = channel::bounded::<(usize, thread::Result<T>)>(window);
    let mut queue = Queue {
        next_issued: indices.start,
        next_consumed: indices.start,
        end: indices.end,
        window,
        in_use: 0,
        estimates: VecDeque::new(),
        held_back: None,
        waiting: BTreeMap::new(),
    };
    thread::scope(|scope| {
        for _ in 0..plan.threads.get() {
            let (tasks, results) = (tasks.clone(), result_sender.clone());
            let work = &work;
            scope.spawn(move || worker(&tasks, &results, work));
        }
        drop((tasks, result_sender));
        // Returning drops the channels, which ends the workers after the piece in hand.
        queue.drive(plan, task_sender, results, &mut consume)
    })
}

fn worker<T>(
    tasks: &Receiver<usize>,
    results: &Sender<(usize, thread::Result<T>)>,
    work: &impl Fn(usize) -> T,
) {
    for index in tasks {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(index)));
        if results.send((index, result)).is_err() {
            return;
        }
    }
}

struct Queue<T> {
    next_issued: usize,
    next_consumed: usize,
    end: usize,
    window: usize,
    in_use: usize,
    /// What the pieces under way are expected to need: asked once, since the answer may change.
    estimates: VecDeque<usize>,
    /// The estimate of the next piece, if it had to wait for room.
    held_back: Option<usize>,
    /// Results whose turn has not come.
    waiting: BTreeMap<usize, T>,
}

impl<T> Queue<T> {
    fn drive<E>(
        &mut self,
        plan: &Plan<'_>,
        tasks: Sender<usize>,
        results: Receiver<(usize, thread::Result<T>)>,
        consume: &mut impl FnMut(usize, T) -> Result<(), E>,
    ) -> Result<(), Ended<E>> {
        while self.next_consumed < self.end {
            self.issue(plan, &tasks);
            // Workers end only when the task channel does, so a result always comes.
            let Ok((index, result)) = results.recv() else {
                return Err(Ended::Panic("the workers ended early".into()));
            };
            let result = result.map_err(|panic| Ended::Panic(panic_message(&*panic)))?;
            self.waiting.insert(index, result);
            while let Some(result) = self.waiting.remove(&self.next_consumed) {
                consume(self.next_consumed, result).map_err(Ended::Consumer)?;
                self.in_use -= self.estimates.pop_front().unwrap_or(0);
                self.next_consumed += 1;
            }
        }
        Ok(())
    }

    /// Hands out as much as window and budget allow; the next piece in turn is always allowed.
    fn issue(&mut self, plan: &Plan<'_>, tasks: &Sender<usize>) {
        while self.next_issued < self.end && self.next_issued - self.next_consumed < self.window {
            let held_back = self.held_back.take();
            let bytes = held_back.unwrap_or_else(|| (plan.estimate)(self.next_issued));
            // A piece that needs more than there is would make the sum overflow.
            let bytes = bytes.min(usize::MAX / 2);
            let alone = self.next_issued == self.next_consumed;
            if !alone && self.in_use.saturating_add(bytes) > plan.budget {
                self.held_back = Some(bytes);
                return;
            }
            // The channel holds a whole window, so this never waits.
            if tasks.send(self.next_issued).is_err() {
                return;
            }
            self.in_use += bytes;
            self.estimates.push_back(bytes);
            self.next_issued += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn collect(threads: usize, budget: usize) -> Vec<usize> {
        let plan = Plan {
            threads: NonZero::new(threads).unwrap(),
            budget,
            estimate: &|index| index % 7,
        };
        let mut seen = Vec::new();
        let result: Result<(), Ended<()>> = run(
            3..200,
            &plan,
            |index| {
                // Later pieces tend to be ready first.
                std::thread::sleep(std::time::Duration::from_micros(50 * (index as u64 % 5)));
                index * 2
            },
            |index, value| {
                assert_eq!(value, index * 2);
                seen.push(index);
                Ok(())
            },
        );
        assert!(result.is_ok());
        seen
    }

    #[test]
    fn results_come_in_order_for_any_threads_and_budget() {
        let expected: Vec<usize> = (3..200).collect();
        for (threads, budget) in [(1, 1000), (3, 1000), (8, 4), (2, 0)] {
            assert_eq!(collect(threads, budget), expected);
        }
    }

    #[test]
    fn the_consumer_and_a_panic_end_the_work() {
        let plan = Plan {
            threads: NonZero::new(2).unwrap(),
            budget: usize::MAX,
            estimate: &|_| 1,
        };
        let done = AtomicUsize::new(0);
        let work = |index| done.fetch_add(index, Ordering::Relaxed);
        let stop = |index, _| if index == 5 { Err("enough") } else { Ok(()) };
        let ended = run(0..1_000_000, &plan, work, stop);
        assert!(matches!(ended, Err(Ended::Consumer("enough"))));
        let work = |index: usize| assert!(index < 3, "piece {index} is bad");
        let ended = run(0..10, &plan, work, |_, ()| Ok::<(), ()>(()));
        assert!(matches!(ended, Err(Ended::Panic(text)) if text.contains("is bad")));
    }
}
