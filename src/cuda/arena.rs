//! One batch's way to the device: pinned host memory, and device memory of the same length that
//! one copy fills.
//!
//! Threads claim pieces of it and write them, each its own; a piece lies at the same offset in both
//! memories, so that whoever writes it knows the device's addresses already.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::CudaError;
use super::layout::ALIGNMENT;
use super::memory::{DeviceMemory, Gpu, PinnedMemory};

/// Both memories, and how much of them is claimed.
#[derive(Debug)]
pub(crate) struct Arena {
    pinned: PinnedMemory,
    device: DeviceMemory,
    /// Bytes claimed, those of claims that did not fit included.
    claimed: AtomicUsize,
}

/// A piece of an arena that nobody else has.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    /// The device's address of the first byte, a multiple of [`ALIGNMENT`].
    pub address: u64,
    /// The host's bytes. They may be write-combined: reading them is slow.
    pub bytes: &'a mut [u8],
}

impl Arena {
    /// An arena of at least that many bytes.
    pub fn new(gpu: &Gpu, bytes: usize) -> Result<Arena, CudaError> {
        let pinned = gpu.pinned_memory("an arena", bytes, true)?;
        let device = gpu.device_memory("an arena", bytes)?;
        Ok(Arena {
            pinned,
            device,
            claimed: AtomicUsize::new(0),
        })
    }

    /// How long it is.
    pub fn capacity(&self) -> usize {
        self.pinned.bytes()
    }

    /// Bytes claimed; more than the capacity if some did not fit.
    pub fn claimed(&self) -> usize {
        self.claimed.load(Ordering::Relaxed)
    }

    /// Forgets all claims. The last copy out of the pinned memory is done.
    pub fn reset(&mut self) {
        *self.claimed.get_mut() = 0;
    }

    /// A piece of `bytes` bytes for whoever asks, or `None` if there is no more room: then the
    /// batch must be gathered again in a larger arena.
    pub fn claim(&self, bytes: usize) -> Option<Claim<'_>> {
        // Sums that a hostile plan makes enormous stop at the top instead of coming round.
        let bytes = bytes.checked_next_multiple_of(ALIGNMENT)?;
        let start = self
            .claimed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |claimed| {
                Some(claimed.saturating_add(bytes))
            })
            .unwrap_or(usize::MAX);
        let end = start.checked_add(bytes)?;
        if end > self.capacity() {
            return None;
        }
        // SAFETY: start..end lies in the pinned memory, which lives as long as `self`. `claimed`
        // only grows while `self` is shared, and each call moves it past the piece that it returns,
        // so no two pieces overlap; `reset` needs `self` alone, when no piece is borrowed any more.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(self.pinned.pointer().as_ptr().add(start), bytes)
        };
        Some(Claim {
            address: self.device.address() + start as u64,
            bytes,
        })
    }

    /// The host's memory, for the copy.
    pub fn pinned(&self) -> &PinnedMemory {
        &self.pinned
    }

    /// The device's memory, for the copy.
    pub fn device(&self) -> &DeviceMemory {
        &self.device
    }
}

/// Writes values one after another into a claim, each at a multiple of [`ALIGNMENT`].
pub(crate) struct ClaimWriter<'a> {
    claim: Claim<'a>,
    position: usize,
}

impl<'a> ClaimWriter<'a> {
    pub fn new(claim: Claim<'a>) -> ClaimWriter<'a> {
        ClaimWriter { claim, position: 0 }
    }

    /// Writes `values`; returns the device's address of the first. What does not fit, because a
    /// caller has claimed too little, is cut off.
    pub fn write<T: bytemuck::NoUninit>(&mut self, values: &[T]) -> u64 {
        let address = self.claim.address + self.position as u64;
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if let Some(target) = self.claim.bytes.get_mut(self.position..) {
            let length = bytes.len().min(target.len());
            debug_assert_eq!(length, bytes.len());
            target[..length].copy_from_slice(&bytes[..length]);
        }
        self.position += padded(bytes.len());
        address
    }
}

/// Bytes that [`ClaimWriter::write`] takes for that many.
pub(crate) fn padded(bytes: usize) -> usize {
    bytes.saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}
