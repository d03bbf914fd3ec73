//! A whole bank in device memory: no cutout crosses the link again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::{CacheFigures, Found};
use super::error::CudaError;
use super::layout::ALIGNMENT;
use super::memory::{DeviceMemory, Event, Gpu, PinnedMemory, Stream};
use crate::bank::{CUTOUT_CHANNELS, CutoutBank, mip};
use crate::compose::ComposeError;
use crate::geometry::Size;

/// The mip chains of all cutouts, one after another.
#[derive(Debug)]
pub(crate) struct ResidentBank {
    memory: DeviceMemory,
    /// By index in the bank.
    chains: Vec<Chain>,
    lookups: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    /// In bytes from the start.
    start: u64,
    /// Of level 0.
    size: Size,
}

/// Bytes of pinned memory that a bank goes through, in two halves: one is filled while the other is
/// copied.
const STAGING_BYTES: usize = 32 << 20;
/// Threads that fill a half, so that pages of the map are read side by side.
const MOST_FILLERS: usize = 8;
/// Bytes after which the map's pages are given back to the system.
const BETWEEN_RELEASES: usize = 1 << 30;

impl ResidentBank {
    /// Copies the bank to the device and waits until it is there.
    pub fn upload(gpu: &Gpu, bank: &CutoutBank) -> Result<ResidentBank, ComposeError> {
        let mut chains = Vec::with_capacity(bank.len());
        let mut bytes = 0u64;
        for index in 0..bank.len() {
            let size = bank.get(index).ok_or(ComposeError::Changed)?.size;
            chains.push(Chain { start: bytes, size });
            bytes += padded(mip::chain_bytes(size, CUTOUT_CHANNELS));
        }
        let memory = make_memory(gpu, bytes)?;
        let mut upload = Upload::new(gpu, &memory, bytes)?;
        let mut until_release = BETWEEN_RELEASES;
        while (upload.sent as u64) < bytes {
            let start = upload.sent as u64;
            let sent = upload.send(bytes, |half| fill(bank, &chains, start, half))?;
            until_release = until_release.saturating_sub(sent);
            if until_release == 0 {
                bank.release();
                until_release = BETWEEN_RELEASES;
            }
        }
        upload.finish()?;
        drop(upload);
        bank.release();
        Ok(ResidentBank {
            memory,
            chains,
            lookups: AtomicU64::new(0),
        })
    }

    /// Where a cutout's level of that width and height is.
    pub fn look_up(&self, cutout: u64, level: [u32; 2]) -> Found {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        match self.offset(cutout, level) {
            Some(offset) => Found::There(self.memory.address() + offset),
            None => Found::Ship,
        }
    }

    fn offset(&self, cutout: u64, [width, height]: [u32; 2]) -> Option<u64> {
        let chain = self.chains.get(usize::try_from(cutout).ok()?)?;
        let mut offset = chain.start;
        for size in mip::levels(chain.size) {
            if (size.width(), size.height()) == (width, height) {
                return Some(offset);
            }
            offset += (size.pixels() * CUTOUT_CHANNELS) as u64;
        }
        None
    }

    pub fn figures(&self) -> CacheFigures {
        CacheFigures {
            hits: self.lookups.load(Ordering::Relaxed),
            misses: 0,
            resident_bytes: self.memory.bytes() as u64,
        }
    }
}

/// Device memory for the whole bank, or an error that says what to do without.
fn make_memory(gpu: &Gpu, bytes: u64) -> Result<DeviceMemory, CudaError> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    gpu.device_memory("a resident bank", length)
        .map_err(|error| match error {
            CudaError::Memory {
                what,
                bytes,
                device,
                free,
                total,
                ..
            } => CudaError::Memory {
                what,
                bytes,
                device,
                free,
                total,
                remedy: "filter the bank, or use the cutout cache instead",
            },
            other => other,
        })
}

fn padded(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(ALIGNMENT as u64)
}

/// Writes the bytes of the bank on the device from `start` on, on several threads.
fn fill(
    bank: &CutoutBank,
    chains: &[Chain],
    start: u64,
    target: &mut [u8],
) -> Result<(), ComposeError> {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let part = target.len().div_ceil(threads.min(MOST_FILLERS)).max(1);
    std::thread::scope(|scope| {
        let parts = target.chunks_mut(part).enumerate();
        let fillers: Vec<_> = parts
            .map(|(number, target)| {
                let start = start + (number * part) as u64;
                scope.spawn(move || fill_part(bank, chains, start, target))
            })
            .collect();
        fillers.into_iter().try_for_each(|filler| {
            filler.join().unwrap_or_else(|panic| {
                let message = crate::panic_message(&*panic);
                Err(ComposeError::Panic { message })
            })
        })
    })
}

/// As [`fill`], on this thread.
fn fill_part(
    bank: &CutoutBank,
    chains: &[Chain],
    start: u64,
    target: &mut [u8],
) -> Result<(), ComposeError> {
    let end = start + target.len() as u64;
    let first = chains.partition_point(|chain| chain.start <= start) - 1;
    let last = chains.partition_point(|chain| chain.start < end);
    (first..last).for_each(|index| bank.read_chain_ahead(index));
    for (index, chain) in chains.iter().enumerate().take(last).skip(first) {
        let cutout = bank.get(index).ok_or(ComposeError::Changed)?;
        // A shard that was changed in place must not move what comes behind it.
        if cutout.size != chain.size {
            return Err(ComposeError::Changed);
        }
        // The first chain may have begun in the part before, and the last may end in the next one.
        let skipped = start.saturating_sub(chain.start) as usize;
        let texels = cutout.chain.get(skipped..).unwrap_or(&[]);
        let at = chain.start.saturating_sub(start) as usize;
        let count = texels.len().min(target.len() - at);
        target[at..][..count].copy_from_slice(&texels[..count]);
        let next = chains
            .get(index + 1)
            .map(|next| (next.start - start) as usize);
        let end = next.map_or(target.len(), |next| next.min(target.len()));
        target[at + count..end].fill(0);
    }
    Ok(())
}

/// Copies bytes to the device, one after another.
struct Upload<'a> {
    gpu: &'a Gpu,
    memory: &'a DeviceMemory,
    stream: Stream,
    /// The first is the one that is filled next.
    halves: [Half; 2],
    /// Bytes that were sent off.
    sent: usize,
}

struct Half {
    pinned: PinnedMemory,
    copied: Event,
}

impl Half {
    fn new(gpu: &Gpu, bytes: usize) -> Result<Half, CudaError> {
        Ok(Half {
            pinned: gpu.pinned_memory("uploading a bank", bytes, true)?,
            copied: gpu.event(false)?,
        })
    }
}

impl<'a> Upload<'a> {
    fn new(gpu: &'a Gpu, memory: &'a DeviceMemory, bytes: u64) -> Result<Upload<'a>, CudaError> {
        let half = usize::try_from(bytes).unwrap_or(usize::MAX);
        let half = half.min(STAGING_BYTES / 2);
        Ok(Upload {
            stream: gpu.stream()?,
            halves: [Half::new(gpu, half)?, Half::new(gpu, half)?],
            gpu,
            memory,
            sent: 0,
        })
    }

    /// Fills a half with what comes next of `end` bytes and sends it off; returns how much that was.
    fn send(
        &mut self,
        end: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<(), ComposeError>,
    ) -> Result<usize, ComposeError> {
        let half = &self.halves[0];
        half.copied.synchronize()?;
        let left = usize::try_from(end).unwrap_or(usize::MAX) - self.sent;
        let bytes = half.pinned.bytes().min(left);
        // SAFETY: the pinned memory has that many bytes, which nobody else has: its last copy is
        // done, and the next is enqueued below, when this borrow is over.
        fill(unsafe { std::slice::from_raw_parts_mut(half.pinned.pointer().as_ptr(), bytes) })?;
        // SAFETY: both memories hold that many bytes from there on; the pinned half is not written
        // again before `copied` is done, and neither is freed before (`Drop`).
        let copied = unsafe {
            let to = self.memory.address() + self.sent as u64;
            let driver = self.gpu.driver();
            driver.copy_to_device(self.stream.raw(), to, half.pinned.pointer(), bytes)
        };
        copied.map_err(|error| self.gpu.failed("uploading a bank", error))?;
        half.copied.record(self.stream.raw())?;
        self.sent += bytes;
        self.halves.swap(0, 1);
        Ok(bytes)
    }

    /// Waits until all is there.
    fn finish(&self) -> Result<(), CudaError> {
        self.halves
            .iter()
            .try_for_each(|half| half.copied.synchronize())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        // Of an upload that failed copies may still be under way. What fails here failed before.
        for half in &self.halves {
            let _ = half.copied.record(self.stream.raw());
            let _ = half.copied.synchronize();
        }
    }
}
