//! Timing on the device, for `pastebank bench`: what memory and link can do, and how long the
//! kernels of a batch take that lies on the device already.

use super::backend::CudaBackend;
use super::batch::CudaBatch;
use super::driver::RawStream;
use super::engine::Engine;
use super::error::CudaError;
use super::memory::{DeviceMemory, Event, Gpu, PinnedMemory, Stream};
use crate::compose::{Batch, ComposeError};

/// Milliseconds of each kernel, in the order in which they run, a value a run.
pub(crate) type KernelTimes = Vec<(&'static str, Vec<f64>)>;

/// Large buffers that are copied from one to another.
#[derive(Debug)]
pub(crate) struct Copies {
    gpu: Gpu,
    stream: Stream,
    /// Before and behind what is timed; one more behind each kernel.
    events: Vec<Event>,
    /// Behind the latest copy on whatever stream.
    busy: Event,
    pinned: PinnedMemory,
    from: DeviceMemory,
    to: DeviceMemory,
}

impl Copies {
    /// Two buffers of so many bytes on the device, and one in pinned memory.
    pub fn new(gpu: &Gpu, device_bytes: usize, pinned_bytes: usize) -> Result<Copies, CudaError> {
        let what = "measuring copies";
        let copies = Copies {
            stream: gpu.stream()?,
            events: vec![gpu.event(true)?, gpu.event(true)?],
            busy: gpu.event(false)?,
            pinned: gpu.pinned_memory(what, pinned_bytes.min(device_bytes), true)?,
            from: gpu.device_memory(what, device_bytes)?,
            to: gpu.device_memory(what, device_bytes)?,
            gpu: gpu.clone(),
        };
        // SAFETY: the memory is this long, and nobody else has it.
        unsafe {
            let pinned = copies.pinned.pointer().as_ptr();
            pinned.write_bytes(1, copies.pinned.bytes());
        }
        Ok(copies)
    }

    /// Copies within the device once: GB read and written a second.
    pub fn on_device(&mut self) -> Result<f64, CudaError> {
        let bytes = 2 * self.from.bytes();
        let ms = self.timed(|copies| copies.occupy(copies.stream.raw()))?;
        Ok(bytes as f64 / ms / 1e6)
    }

    /// Copies from pinned memory to the device once: GB a second.
    pub fn over_the_link(&mut self) -> Result<f64, CudaError> {
        let bytes = self.pinned.bytes();
        let ms = self.timed(|copies| {
            let stream = copies.stream.raw();
            // SAFETY: both memories are at least this long and live until `busy` is done, which
            // their drop waits for; the host does not write the pinned one.
            let copied = unsafe {
                let (to, from) = (copies.to.address(), copies.pinned.pointer());
                copies.gpu.driver().copy_to_device(stream, to, from, bytes)
            };
            copied.map_err(|error| copies.gpu.failed("copying over the link", error))?;
            copies.busy.record(stream)
        })?;
        Ok(bytes as f64 / ms / 1e6)
    }

    fn timed(
        &mut self,
        work: impl FnOnce(&Copies) -> Result<(), CudaError>,
    ) -> Result<f64, CudaError> {
        let [begin, end] = [&self.events[0], &self.events[1]];
        begin.record(self.stream.raw())?;
        work(self)?;
        end.record(self.stream.raw())?;
        end.synchronize()?;
        milliseconds(begin, end)
    }

    /// Keeps `stream` busy for a while, so that what follows is all enqueued when it begins: then the
    /// times are the device's, not those of the calls that launch.
    fn occupy(&self, stream: RawStream) -> Result<(), CudaError> {
        // SAFETY: both memories are this long and do not overlap; they live until `busy` is done,
        // which their drop waits for.
        let copied = unsafe {
            let (to, from) = (self.to.address(), self.from.address());
            let driver = self.gpu.driver();
            driver.copy_on_device(stream, to, from, self.from.bytes())
        };
        copied.map_err(|error| self.gpu.failed("copying on the device", error))?;
        self.busy.record(stream)
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // The memory must not be in use when it is freed. What fails here failed before, and was
        // told then.
        let _ = self.busy.synchronize();
    }
}

impl CudaBackend {
    /// Runs the kernels of the batch that was composed last again: milliseconds from the start of the
    /// first to the end of the last, as they run in a loader. 0 if there was none.
    pub(crate) fn replay(&mut self, copies: &mut Copies) -> Result<f64, CudaError> {
        let Some((engine, batch)) = self.made_last() else {
            return Ok(0.0);
        };
        let [begin, end] = [&copies.events[0], &copies.events[1]];
        let stream = engine.compute_stream();
        copies.occupy(stream)?;
        begin.record(stream)?;
        engine.run(batch)?;
        end.record(stream)?;
        end.synchronize()?;
        milliseconds(begin, end)
    }

    /// As [`CudaBackend::replay`], but each kernel by itself, one after another: adds the
    /// milliseconds of each to `times` and returns their sum.
    pub(crate) fn replay_one_by_one(
        &mut self,
        copies: &mut Copies,
        times: &mut KernelTimes,
    ) -> Result<f64, CudaError> {
        let Some((engine, batch)) = self.made_last() else {
            return Ok(0.0);
        };
        let stream = engine.compute_stream();
        let mut names = Vec::new();
        copies.occupy(stream)?;
        copies.events[0].record(stream)?;
        engine.enqueue(batch, stream, &mut |name| {
            names.push(name);
            if copies.events.len() <= names.len() {
                copies.events.push(copies.gpu.event(true)?);
            }
            copies.events[names.len()].record(stream)
        })?;
        copies.events[names.len()].synchronize()?;
        let mut sum = 0.0;
        for (number, name) in names.into_iter().enumerate() {
            let ms = milliseconds(&copies.events[number], &copies.events[number + 1])?;
            sum += ms;
            match times.get_mut(number) {
                Some((_, values)) => values.push(ms),
                None => times.push((name, vec![ms])),
            }
        }
        Ok(sum)
    }

    /// Brings the batch that was composed last to the host once more.
    pub(crate) fn download_again(&mut self, batch: &mut Batch) -> Result<(), ComposeError> {
        match self.made_last() {
            Some((_, made)) => made.download(batch),
            None => Ok(()),
        }
    }

    fn made_last(&mut self) -> Option<(&Engine, &mut CudaBatch)> {
        let made = self.made.as_mut()?;
        Some((&made.engine, &mut made.batch))
    }
}

/// Between two events that are done; never 0, so that rates are numbers.
fn milliseconds(begin: &Event, end: &Event) -> Result<f64, CudaError> {
    // Clocks of devices tick at least every microsecond or so.
    const LEAST: f64 = 1e-6;
    Ok(f64::from(end.elapsed_ms(begin)?).max(LEAST))
}
