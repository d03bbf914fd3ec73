//! Cutouts that stay on the device, so that their texels cross the link once.
//!
//! The cache is one piece of device memory and a list of what is where, the least recently used
//! first. Worker threads look texels up while they gather; the copy into the cache comes later, as
//! the first kernel of the batch. What makes this safe is that the kernels of one batch, a
//! **ticket**, run after those of all earlier ones, whatever order the threads gather in:
//!
//! - A batch may use what its own ticket or an earlier one brought: that copy is in front of it.
//! - A batch may evict only what no batch of its own ticket or a later one uses: then all kernels
//!   that read it are in front of the copy that overwrites it.
//! - A batch may take memory only if all that was ever evicted was last used before it. Else it could
//!   take a piece that a later batch freed, while batches behind its own still read it.
//! - Batches that are recalled never run, and what they would have brought is forgotten.
//!
//! A batch that may not, or finds no room, ships the texels for itself alone.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use offset_allocator::{Allocation, Allocator};

use super::error::CudaError;
use super::memory::{DeviceMemory, Gpu};
use super::resident::ResidentBank;

/// Cutouts on the device, looked up by all worker threads.
#[derive(Debug)]
pub(crate) enum Cutouts {
    /// All of them, at all times.
    Resident(ResidentBank),
    /// Those that were used of late.
    Cache(Box<CutoutCache>),
}

/// What becomes of texels that a layer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// They are at this address when the batch runs.
    There(u64),
    /// They must be shipped, and copied to this address before the batch's other kernels.
    Store(u64),
    /// They must be shipped, for this batch alone.
    Ship,
}

/// What was looked up so far, and what is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheFigures {
    pub hits: u64,
    pub misses: u64,
    pub resident_bytes: u64,
}

impl Cutouts {
    /// Looks up the texels of `cutout` at the mip level of that width and height for the batch
    /// `ticket`.
    pub fn look_up(&self, ticket: u64, cutout: u64, level: [u32; 2], bytes: usize) -> Found {
        match self {
            Cutouts::Resident(bank) => bank.look_up(cutout, level),
            Cutouts::Cache(cache) => cache.look_up(ticket, Key { cutout, level }, bytes),
        }
    }

    /// Whether [`Cutouts::look_up`] would find them now. Counts as no use.
    pub fn holds(&self, ticket: u64, cutout: u64, level: [u32; 2]) -> bool {
        match self {
            Cutouts::Resident(_) => true,
            Cutouts::Cache(cache) => cache.lock().holds(ticket, Key { cutout, level }),
        }
    }

    /// Batches from `ticket` on are recalled: they never run, and come again with later tickets.
    pub fn forget_from(&self, ticket: u64) {
        match self {
            Cutouts::Resident(_) => {}
            Cutouts::Cache(cache) => cache.lock().forget_from(ticket),
        }
    }

    pub fn figures(&self) -> CacheFigures {
        match self {
            Cutouts::Resident(bank) => bank.figures(),
            Cutouts::Cache(cache) => cache.lock().figures(),
        }
    }
}

/// The least recently used cutouts make room for others.
#[derive(Debug)]
pub(crate) struct CutoutCache {
    memory: DeviceMemory,
    entries: Mutex<Entries>,
}

/// Memory is given out in units of this many bytes: 32 bits count them up to a terabyte.
const UNIT: u64 = 256;
/// Memory for one entry's bookkeeping is taken for every so many bytes; smaller texels than this
/// fill the list before they fill the cache.
const BYTES_PER_ENTRY: u64 = 4096;
/// Entries that even the smallest cache has room for.
const FEWEST_ENTRIES: u64 = 128;
/// Most entries, each of which takes about a hundred bytes of the host.
const MOST_ENTRIES: u64 = 1 << 20;
/// Texels that take more than one part in so many of the cache are not kept: they would evict too
/// much, and the allocator, which rounds sizes up, may not even find room when all is evicted.
const LARGEST_SHARE: u32 = 2;
/// Entries that one look-up evicts at most: all threads wait for it.
const MOST_EVICTED: usize = 64;

impl CutoutCache {
    /// An empty cache of that many bytes of device memory.
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<CutoutCache, CudaError> {
        let units = (bytes / UNIT).min(u64::from(u32::MAX) - 1).max(1);
        let bytes = usize::try_from(units * UNIT).unwrap_or(usize::MAX);
        Ok(CutoutCache {
            memory: gpu.device_memory("the cutout cache", bytes)?,
            entries: Mutex::new(Entries::new(units as u32)),
        })
    }

    fn look_up(&self, ticket: u64, key: Key, bytes: usize) -> Found {
        let address = |offset: u64| self.memory.address() + offset;
        match self.lock().look_up(ticket, key, bytes) {
            Found::There(offset) => Found::There(address(offset)),
            Found::Store(offset) => Found::Store(address(offset)),
            Found::Ship => Found::Ship,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // No call in between can panic half-way through a change.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    cutout: u64,
    /// Width and height of the mip level.
    level: [u32; 2],
}

struct Entry {
    place: Allocation,
    units: u32,
    /// The ticket that brought it.
    brought: u64,
    /// The last ticket that uses it.
    used: u64,
}

/// What is where, in bytes from the cache's start.
struct Entries {
    units: u32,
    allocator: Allocator,
    /// Inserting allocates a node, which evicting gives back.
    entries: LruCache<Key, Entry>,
    /// Tickets up to this one may not take memory: something that they may use was evicted.
    evicted: Option<u64>,
    used_units: u64,
    hits: u64,
    misses: u64,
}

impl Entries {
    fn new(units: u32) -> Entries {
        let most = (u64::from(units) * UNIT / BYTES_PER_ENTRY).clamp(FEWEST_ENTRIES, MOST_ENTRIES);
        Entries {
            units,
            allocator: Allocator::with_max_allocs(units, most as u32),
            entries: LruCache::unbounded(),
            evicted: None,
            used_units: 0,
            hits: 0,
            misses: 0,
        }
    }

    fn holds(&self, ticket: u64, key: Key) -> bool {
        let entry = self.entries.peek(&key);
        entry.is_some_and(|entry| entry.brought <= ticket)
    }

    fn look_up(&mut self, ticket: u64, key: Key, bytes: usize) -> Found {
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.brought > ticket {
                self.misses += 1;
                return Found::Ship;
            }
            entry.used = entry.used.max(ticket);
            self.hits += 1;
            return Found::There(offset(entry.place));
        }
        self.misses += 1;
        let Some((place, units)) = self.take(ticket, bytes) else {
            return Found::Ship;
        };
        self.used_units += u64::from(units);
        let entry = Entry {
            place,
            units,
            brought: ticket,
            used: ticket,
        };
        self.entries.put(key, entry);
        Found::Store(offset(place))
    }

    /// Memory for `bytes` bytes, if this ticket may have any.
    fn take(&mut self, ticket: u64, bytes: usize) -> Option<(Allocation, u32)> {
        let units = u32::try_from((bytes as u64).div_ceil(UNIT)).ok()?.max(1);
        if units > self.units / LARGEST_SHARE
            || self.evicted.is_some_and(|evicted| ticket <= evicted)
        {
            return None;
        }
        for _ in 0..MOST_EVICTED {
            if let Some(place) = self.allocator.allocate(units) {
                return Some((place, units));
            }
            let (_, oldest) = self.entries.peek_lru()?;
            if oldest.used >= ticket {
                return None;
            }
            let (_, entry) = self.entries.pop_lru()?;
            self.evicted = self.evicted.max(Some(entry.used));
            self.release(&entry);
        }
        let place = self.allocator.allocate(units)?;
        Some((place, units))
    }

    fn release(&mut self, entry: &Entry) {
        self.used_units -= u64::from(entry.units);
        self.allocator.free(entry.place);
    }

    fn forget_from(&mut self, ticket: u64) {
        let brought = self.entries.iter();
        let brought = brought.filter(|(_, entry)| entry.brought >= ticket);
        let keys: Vec<Key> = brought.map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(entry) = self.entries.pop(&key) {
                self.release(&entry);
            }
        }
    }

    fn figures(&self) -> CacheFigures {
        CacheFigures {
            hits: self.hits,
            misses: self.misses,
            resident_bytes: self.used_units * UNIT,
        }
    }
}

fn offset(place: Allocation) -> u64 {
    u64::from(place.offset) * UNIT
}

impl fmt::Debug for Entries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} cutouts in {} of {} units of {UNIT} bytes",
            self.entries.len(),
            self.used_units,
            self.units
        )
    }
}

#[cfg(test)]
mod tests;
