//! A driver without a GPU: memory of the host, and the kernels' sources compiled for it.
//!
//! Streams run what they are given at once. New memory is full of garbage. A range that is not in
//! one live allocation, a handle that is not known and memory that is freed twice are panics.

mod calls;
mod memory;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pastebank::cuda::driver::{DriverError, Kernel, RawEvent, RawStream};
pub use pastebank_kernels_on_host::Order;
use pastebank_kernels_on_host::{available, launch, most_threads};

pub use work::Work;

use memory::Heap;

/// Whether there are kernels to run; says aloud if not.
pub fn kernels(test: &str) -> bool {
    if !available() {
        let words = format!("SKIPPED {test}: no C++ compiler for the kernels\n");
        // Written past the test runner's capture, which shows only what failed.
        let _ = std::io::stderr().write_all(words.as_bytes());
    }
    available()
}

/// How kernels run and how much memory there is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads of a block, instead of what the caller asks for.
    pub threads: Option<u32>,
    /// The order of blocks and threads; a seed is another one for each launch.
    pub order: Order,
    /// Device memory in bytes.
    pub device_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            threads: None,
            order: Order::Forward,
            device_bytes: 1 << 30,
        }
    }
}

/// CUDA's number for a kernel that did not end well.
pub const LAUNCH_FAILED: u32 = 719;

struct Refusal {
    call: u64,
    code: u32,
    sticky: bool,
}

struct HostEvent {
    timing: bool,
    recorded: Option<Instant>,
}

#[derive(Default)]
struct State {
    device: Heap,
    pinned: Heap,
    device_limit: u64,
    calls: u64,
    launches: u64,
    refusal: Option<Refusal>,
    /// How many allocations were asked for, and which of them finds no memory.
    allocations: u64,
    refused_allocation: Option<u64>,
    last_handle: u64,
    streams: BTreeSet<u64>,
    events: BTreeMap<u64, HostEvent>,
    misuses: Vec<String>,
}

/// The driver.
pub struct HostDriver {
    settings: Settings,
    /// Whether freed memory is kept, so that its use is found.
    keeps_freed: bool,
    state: Mutex<State>,
}

impl HostDriver {
    /// A driver of such a device.
    pub fn new(settings: Settings) -> HostDriver {
        HostDriver {
            settings,
            keeps_freed: false,
            state: Mutex::new(State {
                device_limit: settings.device_bytes,
                ..State::default()
            }),
        }
    }

    /// As [`HostDriver::new`], but freed memory is kept.
    pub fn keeping_freed(settings: Settings) -> HostDriver {
        let mut driver = HostDriver::new(settings);
        driver.keeps_freed = true;
        driver
    }

    /// How many calls that can fail there were.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Makes the `call`-th of them, from 1 and from the driver's start, fail with `code`; if `sticky`,
    /// all later ones too.
    pub fn fail_at(&self, call: u64, code: u32, sticky: bool) {
        self.state().refusal = Some(Refusal { call, code, sticky });
    }

    /// How many allocations were asked for.
    pub fn allocations(&self) -> u64 {
        self.state().allocations
    }

    /// Makes the `number`-th allocation, from 1 and from the driver's start, find no memory.
    pub fn fail_allocation(&self, number: u64) {
        self.state().refused_allocation = Some(number);
    }

    /// Counts an allocation, and refuses it if that was asked for.
    fn admit_allocation(&self, call: &'static str) -> Result<(), DriverError> {
        self.admit(call)?;
        let mut state = self.state();
        state.allocations += 1;
        if state.refused_allocation == Some(state.allocations) {
            let code = DriverError::OUT_OF_MEMORY;
            return Err(refused(call, code, "refused by the test"));
        }
        Ok(())
    }

    /// Device memory there is, from now on.
    pub fn limit_device(&self, bytes: u64) {
        self.state().device_limit = bytes;
    }

    /// Device and pinned allocations, streams and events that were not given back.
    pub fn left(&self) -> [usize; 4] {
        let state = self.state();
        let memory = [state.device.live(), state.pinned.live()];
        [
            memory[0],
            memory[1],
            state.streams.len(),
            state.events.len(),
        ]
    }

    /// Panics unless all was given back.
    pub fn assert_nothing_left(&self) {
        let left = self.left();
        assert_eq!(left, [0; 4], "device and pinned memory, streams, events");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed on another thread says so there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a caller must never do: a panic, also at the driver's end, since one on a worker's
    /// thread may end as an error that a test expects.
    pub fn misused(&self, what: String) {
        self.state().misuses.push(what.clone());
        if !std::thread::panicking() {
            panic!("{what}");
        }
    }

    /// Counts a call, and refuses it if that was asked for.
    pub fn admit(&self, call: &'static str) -> Result<(), DriverError> {
        let mut state = self.state();
        state.calls += 1;
        let number = state.calls;
        match &state.refusal {
            Some(refusal) if number == refusal.call || refusal.sticky && number > refusal.call => {
                Err(refused(call, refusal.code, "refused by the test"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the address is in memory that was freed and kept.
    pub fn is_freed(&self, address: usize) -> bool {
        let state = self.state();
        let freed = |heap: &Heap| heap.block_of(address).is_some_and(|(_, _, freed)| freed);
        freed(&state.device) || freed(&state.pinned)
    }

    /// Where the live allocation that has this address begins.
    pub fn allocation_of(&self, address: usize) -> Option<usize> {
        let state = self.state();
        let start = |heap: &Heap| {
            let (start, _, freed) = heap.block_of(address)?;
            (!freed).then_some(start)
        };
        start(&state.device).or_else(|| start(&state.pinned))
    }

    /// Words for ranges of the work that are not where they must be.
    fn check(&self, work: &Work) -> Result<(), String> {
        let state = self.state();
        match *work {
            Work::ToDevice { to, from, bytes } => {
                state.pinned.check(from, bytes)?;
                state.device.check(to, bytes)
            }
            Work::ToHost { to, from, bytes } => {
                state.device.check(from, bytes)?;
                state.pinned.check(to, bytes)
            }
            Work::OnDevice { to, from, bytes } => {
                state.device.check(from, bytes)?;
                state.device.check(to, bytes)
            }
            Work::Clear { address, bytes } => state.device.check(address, bytes),
            Work::Launch { .. } => {
                drop(state);
                match work.addresses().into_iter().find(|&at| self.is_freed(at)) {
                    Some(at) => Err(format!("a parameter is {at:#x}, in freed memory")),
                    None => Ok(()),
                }
            }
        }
    }

    /// Does the work now.
    ///
    /// # Safety
    /// That of the [`Driver`]'s function that was given it.
    pub unsafe fn perform(&self, work: &Work) -> Result<(), DriverError> {
        if let Err(problem) = self.check(work) {
            self.misused(format!("{work:?}: {problem}"));
            return Ok(());
        }
        match *work {
            Work::ToDevice { to, from, bytes }
            | Work::ToHost { to, from, bytes }
            | Work::OnDevice { to, from, bytes } => {
                // SAFETY: both ranges are in live allocations.
                unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
                Ok(())
            }
            Work::Clear { address, bytes } => {
                // SAFETY: the range is in a live allocation.
                unsafe { (address as *mut u8).write_bytes(0, bytes) };
                Ok(())
            }
            Work::Launch {
                kernel,
                blocks,
                threads,
                ref parameters,
                // SAFETY: the caller's promise.
            } => unsafe { self.launch_now(kernel, blocks, threads, parameters) },
        }
    }

    /// # Safety
    /// That of [`Driver::launch`].
    unsafe fn launch_now(
        &self,
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), DriverError> {
        let launches = {
            let mut state = self.state();
            state.launches += 1;
            state.launches
        };
        let most = most_threads(kernel.name()).unwrap_or(1024);
        let threads = self.settings.threads.unwrap_or(threads).min(most);
        let order = match self.settings.order {
            Order::Shuffled(seed) => Order::Shuffled(seed.wrapping_add(launches)),
            order => order,
        };
        // SAFETY: device addresses are addresses of this process; the rest is the caller's promise.
        let result = unsafe { launch(kernel.name(), blocks, threads, parameters, order) };
        result.map_err(|problem| refused("cuLaunchKernel", LAUNCH_FAILED, &problem))
    }

    fn new_handle(state: &mut State) -> u64 {
        // Low numbers are CUDA's own streams.
        state.last_handle = state.last_handle.max(0xfff) + 1;
        state.last_handle
    }

    fn expect_stream(&self, stream: RawStream) {
        // 1 and 2 are CUDA's default streams, which nobody makes.
        if !matches!(stream.handle(), 1 | 2) && !self.state().streams.contains(&stream.handle()) {
            self.misused(format!("{stream:?} is not known"));
        }
    }

    fn expect_event(&self, event: RawEvent) {
        if !self.state().events.contains_key(&event.0) {
            self.misused(format!("{event:?} is not known"));
        }
    }

    fn at_once(
        &self,
        call: &'static str,
        stream: RawStream,
        work: &Work,
    ) -> Result<(), DriverError> {
        self.expect_stream(stream);
        self.admit(call)?;
        // SAFETY: called by the functions of `Driver` alone, whose promises their callers gave.
        unsafe { self.perform(work) }
    }
}

/// The error of a call that was refused.
pub fn refused(call: &'static str, code: u32, name: &str) -> DriverError {
    DriverError {
        call,
        code,
        name: name.to_owned(),
    }
}

impl fmt::Debug for HostDriver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the host as a device: {:?}", self.settings)
    }
}

impl Drop for HostDriver {
    fn drop(&mut self) {
        let mut misuses = std::mem::take(&mut self.state().misuses);
        misuses.extend(self.state().device.check_freed().err());
        misuses.extend(self.state().pinned.check_freed().err());
        if !std::thread::panicking() {
            assert!(misuses.is_empty(), "{}", misuses.join("\n"));
        }
    }
}
