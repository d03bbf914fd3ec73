//! Which of a driver's calls are in order, and which only happen to be.
//!
//! Each call on a stream is given a vector clock: how far along every stream everything that must
//! have run before it is. Two calls of which one writes what the other reads or writes must have such
//! an order; if they have none, a device may run them at once.

use std::collections::BTreeMap;
use std::ops::Range;

use pastebank::cuda::driver::Kernel;
use pastebank::cuda::layout::{BatchParameters, StoreParameters};

use super::delayed_driver::Call;

/// How far along each stream.
type Clock = BTreeMap<u64, u64>;

fn join(clock: &mut Clock, other: &Clock) {
    for (&stream, &count) in other {
        let entry = clock.entry(stream).or_default();
        *entry = count.max(*entry);
    }
}

#[derive(Clone, Debug)]
struct Access {
    range: Range<u64>,
    writes: bool,
}

fn read(range: Range<u64>) -> Access {
    let writes = false;
    Access { range, writes }
}

fn write(range: Range<u64>) -> Access {
    let writes = true;
    Access { range, writes }
}

/// What was done to some memory, by the how manieth call of which stream.
#[derive(Debug)]
struct Use {
    access: Access,
    stream: u64,
    count: u64,
    what: String,
}

#[derive(Default)]
struct Order {
    /// Of what was put on each stream last.
    streams: BTreeMap<u64, Clock>,
    events: BTreeMap<u64, Clock>,
    /// What the host has waited for.
    host: Clock,
    /// Length of each live allocation, by its start.
    allocations: BTreeMap<u64, u64>,
    uses: Vec<Use>,
    checked: usize,
}

/// Panics at the first two calls that are not in order; returns how many pairs were.
pub fn expect_order(log: &[Call]) -> usize {
    let mut order = Order::default();
    for call in log {
        order.call(call);
    }
    order.checked
}

impl Order {
    fn call(&mut self, call: &Call) {
        match call {
            Call::AllocateDevice { address, bytes } => {
                self.allocations.insert(*address, *bytes as u64);
            }
            Call::AllocatePinned { address, bytes } => {
                self.allocations.insert(*address as u64, *bytes as u64);
            }
            Call::FreeDevice { address } => self.free(*address),
            Call::FreePinned { address } => self.free(*address as u64),
            Call::Record { event, stream } => {
                let clock = self.streams.entry(stream.handle()).or_default().clone();
                self.events.insert(event.0, clock);
            }
            Call::Wait { stream, event } => {
                let clock = self.events.get(&event.0).cloned().unwrap_or_default();
                join(self.streams.entry(stream.handle()).or_default(), &clock);
            }
            Call::Synchronize(event) => {
                let clock = self.events.get(&event.0).cloned().unwrap_or_default();
                join(&mut self.host, &clock);
            }
            Call::CopyToDevice {
                stream,
                to,
                from,
                bytes,
            } => {
                let (from, bytes) = (*from as u64, *bytes as u64);
                let accesses = [read(from..from + bytes), write(*to..to + bytes)];
                self.work(stream.handle(), "copy to the device".into(), &accesses);
            }
            Call::CopyToHost {
                stream,
                to,
                from,
                bytes,
            } => {
                let (to, bytes) = (*to as u64, *bytes as u64);
                let accesses = [read(*from..from + bytes), write(to..to + bytes)];
                self.work(stream.handle(), "copy to the host".into(), &accesses);
            }
            Call::Clear {
                stream,
                address,
                bytes,
            } => {
                let range = *address..address + *bytes as u64;
                self.work(stream.handle(), "clear".into(), &[write(range)]);
            }
            Call::Launch {
                stream,
                kernel,
                parameters,
                ..
            } => {
                let accesses = self.accesses(*kernel, parameters);
                self.work(stream.handle(), kernel.name().into(), &accesses);
            }
            Call::CopyOnDevice { .. } => panic!("nothing copies within the device"),
            Call::CreateStream(_)
            | Call::DestroyStream(_)
            | Call::CreateEvent(_)
            | Call::DestroyEvent(_) => {}
        }
    }

    /// From an address to its allocation's end.
    fn rest(&self, address: u64) -> Range<u64> {
        let (start, length) = self.allocations.range(..=address).next_back().unwrap();
        assert!(address < start + length, "{address:#x} is in no allocation");
        address..start + length
    }

    /// What a kernel touches, as its parameters say. What it finds by addresses in device memory is
    /// not known here: the levels of JPEG scenes and the cutout cache.
    fn accesses(&self, kernel: Kernel, parameters: &[u8]) -> Vec<Access> {
        if kernel == Kernel::Mip || kernel == Kernel::Store {
            // Both take the same: a list and its length.
            let jobs: StoreParameters = bytemuck::pod_read_unaligned(parameters);
            return vec![read(self.rest(jobs.jobs))];
        }
        let p: BatchParameters = bytemuck::pod_read_unaligned(parameters);
        let arena = read(self.rest(p.directory));
        // The parts of the scratch memory lie one behind the other; a batch without layers has
        // empty ones.
        let measures = p.measures..p.mask_words;
        let words = p.mask_words..p.weights;
        let weights = p.weights..p.slots;
        let slots = p.slots..p.counts;
        let counts = p.counts..p.counts + 4 * u64::from(p.sample_count);
        let instances = || self.rest(p.first_instances);
        match kernel {
            Kernel::Cover => vec![arena, write(words), write(measures)],
            Kernel::Blur => vec![arena, read(words), write(weights)],
            Kernel::Compose => vec![arena, read(weights), write(self.rest(p.image))],
            Kernel::Visible => vec![arena, write(words), write(measures)],
            Kernel::Settle => vec![arena, read(measures), write(slots), write(counts)],
            Kernel::Compact => vec![
                arena,
                read(measures),
                read(counts),
                write(slots),
                write(instances()),
            ],
            Kernel::Masks => vec![arena, read(words), read(slots), write(self.rest(p.masks))],
            Kernel::Expand | Kernel::Mip | Kernel::Store => unreachable!("no loader launches it"),
        }
    }

    /// A call on a stream: it must come after all that it conflicts with.
    fn work(&mut self, stream: u64, what: String, accesses: &[Access]) {
        let clock = self.streams.entry(stream).or_default();
        join(clock, &self.host);
        let count = clock.get(&stream).copied().unwrap_or(0) + 1;
        clock.insert(stream, count);
        let clock = clock.clone();
        for access in accesses {
            for earlier in &self.uses {
                if conflict(&earlier.access, access) {
                    let reached = clock.get(&earlier.stream).copied().unwrap_or(0);
                    assert!(
                        earlier.count <= reached,
                        "`{what}` on stream {stream} does not wait for `{}` on stream {}: \
                         {access:x?} and {:x?}",
                        earlier.what,
                        earlier.stream,
                        earlier.access
                    );
                    self.checked += 1;
                }
            }
        }
        let uses = accesses.iter().map(|access| Use {
            access: access.clone(),
            stream,
            count,
            what: what.clone(),
        });
        self.uses.extend(uses);
    }

    /// Memory is freed when the host knows that nothing uses it.
    fn free(&mut self, address: u64) {
        let length = self.allocations.remove(&address).unwrap();
        let freed = write(address..address + length);
        let host = &self.host;
        let checked = &mut self.checked;
        self.uses.retain(|earlier| {
            if !conflict(&earlier.access, &freed) {
                return true;
            }
            let reached = host.get(&earlier.stream).copied().unwrap_or(0);
            assert!(
                earlier.count <= reached,
                "the host frees {freed:x?} and has not waited for `{}` on stream {}",
                earlier.what,
                earlier.stream
            );
            *checked += 1;
            false
        });
    }
}

fn conflict(a: &Access, b: &Access) -> bool {
    let overlap = a.range.start < b.range.end && b.range.start < a.range.end;
    overlap && (a.writes || b.writes)
}
