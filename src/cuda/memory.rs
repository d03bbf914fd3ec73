//! Memory, streams and events that give themselves back.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use super::device::CudaDevice;
use super::driver::{Driver, DriverError, RawEvent, RawStream};
use super::error::CudaError;

/// A GPU in use: its driver, and errors that name it.
#[derive(Clone, Debug)]
pub struct Gpu {
    driver: Arc<dyn Driver>,
    /// The same, if it is a real one: tensors are made of its memory.
    #[cfg(feature = "candle-cuda")]
    device: Option<Arc<CudaDevice>>,
}

impl Gpu {
    /// A GPU behind that driver.
    pub fn new(driver: Arc<dyn Driver>) -> Gpu {
        Gpu {
            driver,
            #[cfg(feature = "candle-cuda")]
            device: None,
        }
    }

    /// The GPU of that number, counted from 0 as CUDA counts those that `CUDA_VISIBLE_DEVICES` leaves,
    /// with the kernels loaded.
    ///
    /// # Errors
    /// [`CudaError`] says what is missing: a driver, a new enough one, a device of that number, a new
    /// enough one; or what the driver said.
    pub fn open(ordinal: usize) -> Result<Gpu, CudaError> {
        let device = CudaDevice::open(ordinal)?;
        Ok(Gpu {
            driver: device.clone(),
            #[cfg(feature = "candle-cuda")]
            device: Some(device),
        })
    }

    /// The real GPU behind it.
    #[cfg(feature = "candle-cuda")]
    pub(super) fn device(&self) -> Option<&Arc<CudaDevice>> {
        self.device.as_ref()
    }

    /// The device in words: name, number, compute capability.
    pub fn name(&self) -> String {
        self.driver.name()
    }

    /// Its driver.
    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// Whether both are one GPU behind one driver.
    pub fn is(&self, other: &Gpu) -> bool {
        Arc::ptr_eq(&self.driver, &other.driver)
    }

    /// The error of a call that failed at `stage`.
    pub fn failed(&self, stage: &'static str, source: DriverError) -> CudaError {
        CudaError::Failed {
            stage,
            device: self.driver.name(),
            source,
        }
    }

    pub(super) fn no_memory(
        &self,
        what: &'static str,
        bytes: usize,
        source: DriverError,
    ) -> CudaError {
        if source.code != DriverError::OUT_OF_MEMORY {
            return self.failed(what, source);
        }
        let memory = self.driver.memory().unwrap_or_default();
        CudaError::Memory {
            what,
            bytes: bytes as u64,
            device: self.driver.name(),
            free: memory.free,
            total: memory.total,
            remedy: "compose fewer samples at once, keep fewer batches, or leave the masks out; masks \
                     need room for every instance and layer, whether it stays or not",
        }
    }

    /// Device memory; `what` is for messages.
    pub fn device_memory(
        &self,
        what: &'static str,
        bytes: usize,
    ) -> Result<DeviceMemory, CudaError> {
        let bytes = bytes.max(1);
        let address = self
            .driver
            .allocate_device(bytes)
            .map_err(|error| self.no_memory(what, bytes, error))?;
        Ok(DeviceMemory {
            gpu: self.clone(),
            address,
            bytes,
        })
    }

    /// Pinned host memory; `what` is for messages.
    pub fn pinned_memory(
        &self,
        what: &'static str,
        bytes: usize,
        write_combined: bool,
    ) -> Result<PinnedMemory, CudaError> {
        let bytes = bytes.max(1);
        let pointer = self
            .driver
            .allocate_pinned(bytes, write_combined)
            .map_err(|error| self.no_memory(what, bytes, error))?;
        Ok(PinnedMemory {
            gpu: self.clone(),
            pointer,
            bytes,
        })
    }

    /// A stream.
    pub fn stream(&self) -> Result<Stream, CudaError> {
        let raw = self.driver.create_stream();
        Ok(Stream {
            raw: raw.map_err(|error| self.failed("stream", error))?,
            gpu: self.clone(),
        })
    }

    /// An event; `timing` as in [`Driver::create_event`].
    pub fn event(&self, timing: bool) -> Result<Event, CudaError> {
        let raw = self.driver.create_event(timing);
        Ok(Event {
            raw: raw.map_err(|error| self.failed("event", error))?,
            gpu: self.clone(),
        })
    }
}

/// Device memory, freed when it is dropped. Whoever drops it has seen to it that nothing on the
/// device uses it any more.
pub struct DeviceMemory {
    gpu: Gpu,
    address: u64,
    bytes: usize,
}

impl DeviceMemory {
    /// Where it begins.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        self.gpu.driver.free_device(self.address);
    }
}

impl fmt::Debug for DeviceMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} bytes of device memory at {:#x}",
            self.bytes, self.address
        )
    }
}

/// Pinned host memory, freed when it is dropped. Whoever drops it has seen to it that no copy uses
/// it any more.
pub struct PinnedMemory {
    gpu: Gpu,
    pointer: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone and is freed by its driver, which is Send and Sync
// itself; a pointer to it is handed out, but using that is unsafe and has its own conditions.
unsafe impl Send for PinnedMemory {}
// SAFETY: as above; no method with a shared reference reads or writes the memory.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    /// Where it begins.
    pub fn pointer(&self) -> NonNull<u8> {
        self.pointer
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        self.gpu.driver.free_pinned(self.pointer);
    }
}

impl fmt::Debug for PinnedMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes of pinned memory", self.bytes)
    }
}

/// A stream of our own.
#[derive(Debug)]
pub struct Stream {
    gpu: Gpu,
    raw: RawStream,
}

impl Stream {
    /// Its handle.
    pub fn raw(&self) -> RawStream {
        self.raw
    }

    /// What comes onto it from now on waits for `event`.
    pub fn wait(&self, event: &Event) -> Result<(), CudaError> {
        let result = self.gpu.driver.wait(self.raw, event.raw);
        result.map_err(|error| self.gpu.failed("waiting for an event", error))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.gpu.driver.destroy_stream(self.raw);
    }
}

/// A point in a stream's work.
#[derive(Debug)]
pub struct Event {
    gpu: Gpu,
    raw: RawEvent,
}

impl Event {
    /// Its handle.
    pub fn raw(&self) -> RawEvent {
        self.raw
    }

    /// Marks what is on `stream` by now.
    pub fn record(&self, stream: RawStream) -> Result<(), CudaError> {
        let result = self.gpu.driver.record(self.raw, stream);
        result.map_err(|error| self.gpu.failed("recording an event", error))
    }

    /// Makes a stream, ours or not, wait for what was marked.
    pub fn hold_up(&self, stream: RawStream) -> Result<(), CudaError> {
        let result = self.gpu.driver.wait(stream, self.raw);
        result.map_err(|error| self.gpu.failed("waiting for an event", error))
    }

    /// Whether what was marked is done.
    pub fn is_done(&self) -> Result<bool, CudaError> {
        let result = self.gpu.driver.is_done(self.raw);
        result.map_err(|error| self.gpu.failed("asking for an event", error))
    }

    /// Waits on this thread until what was marked is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        let result = self.gpu.driver.synchronize(self.raw);
        result.map_err(|error| self.gpu.failed("waiting for the device", error))
    }

    /// Milliseconds from `earlier` to this one; both are done and were made with `timing`.
    pub fn elapsed_ms(&self, earlier: &Event) -> Result<f32, CudaError> {
        let result = self.gpu.driver.elapsed_ms(earlier.raw, self.raw);
        result.map_err(|error| self.gpu.failed("timing", error))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.gpu.driver.destroy_event(self.raw);
    }
}
