//! A driver that does as little as CUDA promises: nothing runs when it is given, and what runs does
//! so in an order that only streams and events restrict.
//!
//! A wait that is missing, or memory that is written again while a copy from it is still to come,
//! gives wrong bytes. Work runs on the [`HostDriver`] when something asks for an event, and what is
//! left when the driver is dropped. Freeing and destroying force nothing: work that names freed
//! memory is a panic.

mod calls;
mod log;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pastebank::cuda::driver::{DriverError, RawEvent, RawStream};

pub use log::Call;

use super::host_driver::{HostDriver, Settings, Work, refused};
use super::{ChaCha8Rng, RngExt, SeedableRng};

/// When work runs that could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Only what an event that is asked for cannot do without.
    Late,
    /// Any stream's next, until the event is done.
    Any,
    /// Some streams as early, the others as late as they can.
    Mixed,
}

/// An event's record: which event, and the how manieth of it.
type Record = (RawEvent, u64);

#[derive(Debug)]
enum Step {
    Work(Work),
    Record(Record),
    Wait(Record),
}

#[derive(Default)]
struct Stream {
    steps: VecDeque<Step>,
    eager: bool,
    destroyed: bool,
}

struct Event {
    timing: bool,
    destroyed: bool,
    /// How often it was recorded.
    records: u64,
    /// Which of these are still to come.
    pending: BTreeSet<u64>,
    /// When the latest was reached.
    reached: Option<Instant>,
}

struct State {
    draw: ChaCha8Rng,
    last_handle: u64,
    streams: BTreeMap<u64, Stream>,
    events: BTreeMap<u64, Event>,
    log: Vec<Call>,
    /// How much work ran.
    ran: u64,
    /// Which of it fails, and with which code.
    failing: Option<(u64, u32)>,
    /// What all calls give from now on.
    broken: Option<DriverError>,
}

/// The driver.
pub struct DelayedDriver {
    host: HostDriver,
    pace: Pace,
    state: Mutex<State>,
}

impl DelayedDriver {
    /// A driver whose pace and order the seed decides.
    pub fn new(settings: Settings, seed: u64) -> DelayedDriver {
        let pace = [Pace::Late, Pace::Any, Pace::Mixed][(seed % 3) as usize];
        DelayedDriver::with_pace(settings, seed, pace)
    }

    /// A driver of that pace.
    pub fn with_pace(settings: Settings, seed: u64, pace: Pace) -> DelayedDriver {
        DelayedDriver {
            host: HostDriver::keeping_freed(settings),
            pace,
            state: Mutex::new(State {
                draw: ChaCha8Rng::seed_from_u64(seed),
                last_handle: 0,
                streams: BTreeMap::new(),
                events: BTreeMap::new(),
                log: Vec::new(),
                ran: 0,
                failing: None,
                broken: None,
            }),
        }
    }

    /// The driver below, for its counts and refusals.
    pub fn host(&self) -> &HostDriver {
        &self.host
    }

    /// All calls so far.
    pub fn log(&self) -> Vec<Call> {
        self.state().log.clone()
    }

    /// How many copies, clears and launches ran.
    pub fn ran(&self) -> u64 {
        self.state().ran
    }

    /// Makes the `work`-th of these, from 1, fail when it runs. As on a GPU the call that gave it has
    /// long succeeded, and all later calls fail.
    pub fn fail_running(&self, work: u64, code: u32) {
        self.state().failing = Some((work, code));
    }

    /// Panics unless all memory, streams and events were given back.
    pub fn assert_nothing_left(&self) {
        let [device, pinned, ..] = self.host.left();
        let state = self.state();
        let streams = state.streams.values().filter(|stream| !stream.destroyed);
        let events = state.events.values().filter(|event| !event.destroyed);
        let left = [device, pinned, streams.count(), events.count()];
        assert_eq!(left, [0; 4], "device and pinned memory, streams, events");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call; gives the state unless the call is refused or the device broken.
    fn admit(&self, call: &'static str) -> Result<MutexGuard<'_, State>, DriverError> {
        self.host.admit(call)?;
        let state = self.state();
        unbroken(&state, call)?;
        Ok(state)
    }

    fn misused(&self, what: String) {
        self.host.misused(what);
    }

    fn expect_stream(&self, state: &State, stream: RawStream) {
        if state
            .streams
            .get(&stream.handle())
            .is_none_or(|it| it.destroyed)
        {
            self.misused(format!("{stream:?} is not known"));
        }
    }

    fn expect_event(&self, state: &State, event: RawEvent) {
        if state.events.get(&event.0).is_none_or(|it| it.destroyed) {
            self.misused(format!("{event:?} is not known"));
        }
    }

    /// Puts a step at a stream's end, and lets eager streams run.
    fn give(&self, state: &mut State, stream: RawStream, step: Step) {
        self.expect_stream(state, stream);
        if let Some(stream) = state.streams.get_mut(&stream.handle()) {
            stream.steps.push_back(step);
        }
        self.run_eager(state);
    }

    fn enqueue(
        &self,
        name: &'static str,
        call: Call,
        stream: RawStream,
        work: Work,
    ) -> Result<(), DriverError> {
        let mut state = self.admit(name)?;
        state.log.push(call);
        self.give(&mut state, stream, Step::Work(work));
        Ok(())
    }

    // --- Running --------------------------------------------------------------------------------

    fn run_eager(&self, state: &mut State) {
        while let Some(stream) = self.any_runnable(state, true) {
            self.run_next(state, stream);
        }
    }

    /// A stream whose next step can run; `eager` asks for an eager one.
    fn any_runnable(&self, state: &mut State, eager: bool) -> Option<u64> {
        let runnable: Vec<u64> = state
            .streams
            .iter()
            .filter(|(_, stream)| stream.eager || !eager)
            .filter(|(_, stream)| match stream.steps.front() {
                None => false,
                Some(Step::Wait(record)) => !is_pending(state, *record),
                Some(_) => true,
            })
            .map(|(&handle, _)| handle)
            .collect();
        let count = runnable.len();
        (count > 0).then(|| runnable[state.draw.random_range(0..count)])
    }

    /// Runs a stream's next step, which can run.
    fn run_next(&self, state: &mut State, stream: u64) {
        let steps = state.streams.get_mut(&stream).map(|it| &mut it.steps);
        match steps.and_then(VecDeque::pop_front) {
            Some(Step::Work(work)) => self.run_work(state, &work),
            Some(Step::Record((event, record))) => {
                if let Some(event) = state.events.get_mut(&event.0) {
                    event.pending.remove(&record);
                    event.reached = Some(Instant::now());
                }
            }
            Some(Step::Wait(_)) | None => {}
        }
    }

    fn run_work(&self, state: &mut State, work: &Work) {
        state.ran += 1;
        let result = match state.failing {
            Some((failing, code)) if failing == state.ran => {
                Err(refused("", code, "failed while it ran, as the test wanted"))
            }
            // SAFETY: the promises of the call that gave it: what it names is there until it is done,
            // which `free_device` and `free_pinned` hold their callers to.
            _ => unsafe { self.host.perform(work) },
        };
        if let Err(error) = result {
            state.broken = Some(error);
            for stream in state.streams.values_mut() {
                stream.steps.clear();
            }
            for event in state.events.values_mut() {
                event.pending.clear();
            }
        }
    }

    /// Runs one step that the record cannot do without, or any one, as the pace is.
    fn advance(&self, state: &mut State, record: Record) {
        let stream = match self.pace {
            Pace::Any => self.any_runnable(state, false),
            Pace::Late | Pace::Mixed => needed(state, record),
        };
        let stream = stream.expect("what an event waits for was given before");
        self.run_next(state, stream);
        self.run_eager(state);
    }

    /// Panics if work that is still to come names the allocation.
    fn expect_unused(&self, address: usize) {
        let state = self.state();
        let allocation = self.host.allocation_of(address);
        let steps = state.streams.values().flat_map(|stream| &stream.steps);
        for step in steps {
            let Step::Work(work) = step else { continue };
            let mut named = work.addresses().into_iter();
            if named.any(|at| allocation.is_some() && self.host.allocation_of(at) == allocation) {
                let what = format!("{address:#x} is freed before this ran: {work:?}");
                drop(state);
                return self.misused(what);
            }
        }
    }
}

/// The error of what broke the device, as every later call gives it.
fn unbroken(state: &State, call: &'static str) -> Result<(), DriverError> {
    let broken = state.broken.clone();
    broken.map_or(Ok(()), |error| Err(DriverError { call, ..error }))
}

fn is_pending(state: &State, (event, record): Record) -> bool {
    let event = state.events.get(&event.0);
    event.is_some_and(|event| event.pending.contains(&record))
}

/// The stream whose next step must run before the record can.
fn needed(state: &State, record: Record) -> Option<u64> {
    let mut record = record;
    loop {
        let (&handle, stream) = state.streams.iter().find(|(_, stream)| {
            let mut steps = stream.steps.iter();
            steps.any(|step| matches!(step, Step::Record(it) if *it == record))
        })?;
        match stream.steps.front() {
            Some(Step::Wait(other)) if is_pending(state, *other) => record = *other,
            _ => return Some(handle),
        }
    }
}

impl fmt::Debug for DelayedDriver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}, delayed: {:?}", self.host, self.pace)
    }
}

impl Drop for DelayedDriver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut state = self.state();
        while let Some(stream) = self.any_runnable(&mut state, false) {
            self.run_next(&mut state, stream);
        }
    }
}
