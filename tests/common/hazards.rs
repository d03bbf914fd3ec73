//! Which of a driver's calls are in order, and which only happen to be.
//!
//! Each call on a stream is given a vector clock: how far along every stream everything that must
//! have run before it is. Two calls of which one writes what the other reads or writes must have such
//! an order; if they have none, a device may run them at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use pastebank::bank::mip;
use pastebank::compose::encode::EncodedLayer;
use pastebank::cuda::driver::Kernel;
use pastebank::cuda::layout::{
    BatchParameters, ExpandParameters, LayerPlace, MipJob, MipParameters, SampleEntry,
    SampleRegion, StoreJob, StoreParameters,
};
use pastebank::geometry::Size;

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
    /// What was copied to the device last, by the address that it was copied to: what the kernels find
    /// by addresses is found there.
    contents: BTreeMap<u64, Arc<[u8]>>,
    uses: Vec<Use>,
    checked: usize,
}

/// Panics at the first two calls that are not in order; returns how many pairs were.
pub fn expect_order(log: &[Call]) -> usize {
    find_hazard(log).unwrap_or_else(|hazard| panic!("{hazard}"))
}

/// The first two calls that are not in order, in words; else how many pairs were.
pub fn find_hazard(log: &[Call]) -> Result<usize, String> {
    let mut order = Order::default();
    log.iter().try_for_each(|call| order.call(call))?;
    Ok(order.checked)
}

impl Order {
    fn call(&mut self, call: &Call) -> Result<(), String> {
        match call {
            Call::AllocateDevice { address, bytes } => {
                self.allocations.insert(*address, *bytes as u64);
            }
            Call::AllocatePinned { address, bytes } => {
                self.allocations.insert(*address as u64, *bytes as u64);
            }
            Call::FreeDevice { address } => return self.free(*address),
            Call::FreePinned { address } => return self.free(*address as u64),
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
                contents,
            } => {
                self.contents.insert(*to, Arc::clone(contents));
                let (from, bytes) = (*from as u64, contents.len() as u64);
                let accesses = [read(from..from + bytes), write(*to..to + bytes)];
                return self.work(stream.handle(), "copy to the device", &accesses);
            }
            Call::CopyToHost {
                stream,
                to,
                from,
                bytes,
            } => {
                let (to, bytes) = (*to as u64, *bytes as u64);
                let accesses = [read(*from..from + bytes), write(to..to + bytes)];
                return self.work(stream.handle(), "copy to the host", &accesses);
            }
            Call::Clear {
                stream,
                address,
                bytes,
            } => {
                let range = *address..address + *bytes as u64;
                return self.work(stream.handle(), "clear", &[write(range)]);
            }
            Call::Launch {
                stream,
                kernel,
                parameters,
                ..
            } => {
                let accesses = self.accesses(*kernel, parameters);
                return self.work(stream.handle(), kernel.name(), &accesses);
            }
            Call::CopyOnDevice { .. } => panic!("nothing copies within the device"),
            Call::CreateStream(_)
            | Call::DestroyStream(_)
            | Call::CreateEvent(_)
            | Call::DestroyEvent(_) => {}
        }
        Ok(())
    }

    /// The allocation that an address lies in.
    fn allocation(&self, address: u64) -> Range<u64> {
        let (&start, length) = self.allocations.range(..=address).next_back().unwrap();
        assert!(address < start + length, "{address:#x} is in no allocation");
        start..start + length
    }

    /// From an address to its allocation's end.
    fn rest(&self, address: u64) -> Range<u64> {
        address..self.allocation(address).end
    }

    /// `count` values at an address that was copied to.
    fn values<T: Pod>(&self, address: u64, count: usize) -> Vec<T> {
        let (start, contents) = self.contents.range(..=address).next_back().unwrap();
        let bytes = &contents[(address - start) as usize..][..count * size_of::<T>()];
        let values = bytes.chunks_exact(size_of::<T>());
        values.map(bytemuck::pod_read_unaligned).collect()
    }

    /// What a kernel touches, as its parameters say, and the lists that they give the addresses of.
    fn accesses(&self, kernel: Kernel, parameters: &[u8]) -> Vec<Access> {
        match kernel {
            Kernel::Mip => self.mip(&bytemuck::pod_read_unaligned(parameters)),
            Kernel::Store => self.store(&bytemuck::pod_read_unaligned(parameters)),
            Kernel::Expand => {
                let p: ExpandParameters = bytemuck::pod_read_unaligned(parameters);
                let [width, height] = p.canvas.map(u64::from);
                let rows = u64::from(p.count) * height;
                let words = p.masks..p.masks + rows * u64::from(p.words) * 4;
                vec![read(words), write(p.bytes..p.bytes + rows * width)]
            }
            _ => self.batch(kernel, &bytemuck::pod_read_unaligned(parameters)),
        }
    }

    fn mip(&self, p: &MipParameters) -> Vec<Access> {
        let mut accesses = vec![read(self.allocation(p.jobs))];
        for job in self.values::<MipJob>(p.jobs, p.job_count as usize) {
            let size = Size::new(job.size[0], job.size[1]).unwrap();
            let made = mip::levels(size).nth(job.levels as usize).unwrap();
            let bytes = |size: Size| 3 * size.pixels() as u64;
            accesses.push(read(job.source..job.source + bytes(size)));
            accesses.push(write(job.target..job.target + bytes(made)));
        }
        accesses
    }

    fn store(&self, p: &StoreParameters) -> Vec<Access> {
        let mut accesses = vec![read(self.allocation(p.jobs))];
        for job in self.values::<StoreJob>(p.jobs, p.job_count as usize) {
            accesses.push(read(job.source..job.source + job.bytes));
            accesses.push(write(job.target..job.target + job.bytes));
        }
        accesses
    }

    /// Texels that a batch finds outside its arena: of layers, in the cutout cache or the resident
    /// bank, and with `scenes` the levels of scenes that were made in scratch memory.
    fn texels(&self, p: &BatchParameters, scenes: bool) -> Vec<Access> {
        let arena = self.allocation(p.directory);
        let mut found = Vec::new();
        for entry in self.values::<SampleEntry>(p.directory, p.sample_count as usize) {
            let region = self.values::<SampleRegion>(entry.region, 1)[0];
            let count = region.sample.layer_count as usize;
            let layers = self.values::<EncodedLayer>(entry.region + region.layers, count);
            let places = self.values::<LayerPlace>(entry.region + region.layer_places, count);
            let texels = |start: u64, level: [u32; 2], channels: u64| {
                let [width, height] = level.map(u64::from);
                start..start + width * height * channels
            };
            if scenes {
                found.push(texels(entry.scene, region.sample.sampling.level, 3));
            }
            // Of a layer that touches nothing no texel is read.
            let touching = layers.iter().zip(&places);
            let touching = touching.filter(|(_, place)| !place.rect.is_empty());
            found.extend(
                touching.map(|(layer, place)| texels(place.texels, layer.sampling.level, 4)),
            );
        }
        found.retain(|range| !arena.contains(&range.start));
        found.sort_unstable_by_key(|range| (range.start, range.end));
        found.dedup();
        found.into_iter().map(read).collect()
    }

    /// The kernels that take a batch's parameters.
    fn batch(&self, kernel: Kernel, p: &BatchParameters) -> Vec<Access> {
        let arena = read(self.allocation(p.directory));
        // The parts of the scratch memory lie one behind the other; a batch without layers has
        // empty ones.
        let measures = p.measures..p.mask_words;
        let words = p.mask_words..p.weights;
        let weights = p.weights..p.slots;
        let slots = p.slots..p.counts;
        let counts = p.counts..p.counts + 4 * u64::from(p.sample_count);
        let instances = || self.rest(p.first_instances);
        let (mut accesses, texels) = match kernel {
            Kernel::Cover => (
                vec![arena, write(words), write(measures)],
                self.texels(p, false),
            ),
            Kernel::Blur => (vec![arena, read(words), write(weights)], Vec::new()),
            Kernel::Compose => (
                vec![arena, read(weights), write(self.rest(p.image))],
                self.texels(p, true),
            ),
            Kernel::Visible => (vec![arena, write(words), write(measures)], Vec::new()),
            Kernel::Settle => (
                vec![arena, read(measures), write(slots), write(counts)],
                Vec::new(),
            ),
            Kernel::Compact => (
                vec![
                    arena,
                    read(measures),
                    read(counts),
                    write(slots),
                    write(instances()),
                ],
                Vec::new(),
            ),
            Kernel::Masks => (
                vec![arena, read(words), read(slots), write(self.rest(p.masks))],
                Vec::new(),
            ),
            Kernel::Expand | Kernel::Mip | Kernel::Store => unreachable!("they have their own"),
        };
        accesses.extend(texels);
        accesses
    }

    /// A call on a stream: it must come after all that it conflicts with.
    fn work(&mut self, stream: u64, what: &str, accesses: &[Access]) -> Result<(), String> {
        let clock = self.streams.entry(stream).or_default();
        join(clock, &self.host);
        let count = clock.get(&stream).copied().unwrap_or(0) + 1;
        clock.insert(stream, count);
        let clock = clock.clone();
        for access in accesses {
            for earlier in &self.uses {
                if conflict(&earlier.access, access) {
                    let reached = clock.get(&earlier.stream).copied().unwrap_or(0);
                    if earlier.count > reached {
                        return Err(format!(
                            "`{what}` on stream {stream} does not wait for `{}` on stream {}: \
                             {access:x?} and {:x?}",
                            earlier.what, earlier.stream, earlier.access
                        ));
                    }
                    self.checked += 1;
                }
            }
        }
        let uses = accesses.iter().map(|access| Use {
            access: access.clone(),
            stream,
            count,
            what: what.to_owned(),
        });
        self.uses.extend(uses);
        Ok(())
    }

    /// Memory is freed when the host knows that nothing uses it.
    fn free(&mut self, address: u64) -> Result<(), String> {
        let length = self.allocations.remove(&address).unwrap();
        let freed = write(address..address + length);
        let ended = |earlier: &Use| conflict(&earlier.access, &freed);
        for earlier in self.uses.iter().filter(|earlier| ended(earlier)) {
            let reached = self.host.get(&earlier.stream).copied().unwrap_or(0);
            if earlier.count > reached {
                return Err(format!(
                    "the host frees {freed:x?} and has not waited for `{}` on stream {}",
                    earlier.what, earlier.stream
                ));
            }
            self.checked += 1;
        }
        self.uses.retain(|earlier| !ended(earlier));
        Ok(())
    }
}

fn conflict(a: &Access, b: &Access) -> bool {
    let overlap = a.range.start < b.range.end && b.range.start < a.range.end;
    overlap && (a.writes || b.writes)
}
