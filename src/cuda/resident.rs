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
const STAGING_BYTES: usize = 8 << 20;

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
        for (index, chain) in chains.iter().enumerate() {
            let cutout = bank.get(index).ok_or(ComposeError::Changed)?;
            // A shard that was changed in place must not move what comes behind it.
            if cutout.size != chain.size {
                return Err(ComposeError::Changed);
            }
            let padding = padded(cutout.chain.len()) - cutout.chain.len() as u64;
            upload.write(cutout.chain)?;
            upload.write(&[0; ALIGNMENT][..padding as usize])?;
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

/// Copies bytes to the device, one after another.
struct Upload<'a> {
    gpu: &'a Gpu,
    memory: &'a DeviceMemory,
    stream: Stream,
    halves: [Half; 2],
    /// Bytes in the first half, which is the one that is being filled.
    filled: usize,
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
            filled: 0,
            sent: 0,
        })
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), CudaError> {
        while !bytes.is_empty() {
            let pinned = &self.halves[0].pinned;
            let count = bytes.len().min(pinned.bytes() - self.filled);
            let (now, later) = bytes.split_at(count);
            // SAFETY: filled + count bytes fit the pinned memory, which nobody else has; its last
            // copy is done, since `flush` waited for it when this half's turn came.
            let target = unsafe {
                let start = pinned.pointer().as_ptr().add(self.filled);
                std::slice::from_raw_parts_mut(start, count)
            };
            target.copy_from_slice(now);
            bytes = later;
            self.filled += count;
            if self.filled == pinned.bytes() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Sends off what is filled, and goes on with the other half once that is done.
    fn flush(&mut self) -> Result<(), CudaError> {
        let half = &self.halves[0];
        let bytes = self.filled.min(self.memory.bytes() - self.sent);
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
        self.filled = 0;
        self.halves.swap(0, 1);
        self.halves[0].copied.synchronize()
    }

    fn finish(&mut self) -> Result<(), CudaError> {
        self.flush()?;
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
