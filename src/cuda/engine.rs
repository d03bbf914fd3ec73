//! Launching a batch: one copy and a fixed handful of kernels, whatever is in it.
//!
//! ```text
//! copy stream      copy ─┐
//! compute stream         └→ mip → store → clear → cover → blur ─┬→ compose ───────────────────────────────┬→ ready
//! side stream                                                   └→ visible → settle → compact → counts → masks ┘
//! ```
//!
//! The image needs no masks and the masks need no image: the two run side by side, one bound by
//! arithmetic and one by memory. Batches of one engine follow one another on the compute stream, so
//! they share the scratch memory.

use std::sync::Arc;

use super::arena::{Arena, padded};
use super::batch::CudaBatch;
use super::driver::{DriverError, Kernel, RawStream};
use super::error::CudaError;
use super::gather::Gathered;
use super::layout::Measure;
use super::memory::{DeviceMemory, Event, Gpu, Stream};
use super::prepare::Directory;
use crate::compose::output::{round_to_bf16, round_to_f16};
use crate::compose::{ComposeError, ElementType, OutputSpec};
use crate::geometry::Size;
use crate::plan::Keep;

/// Threads of a block where a tile has four parts, one a warp. Every kernel gives the same for any
/// multiple of 32 up to the most that its launch bounds allow: 128 for `compose`, 256 for the others.
const WARP_EACH: u32 = 128;
/// Threads of the other kernels' blocks.
const THREADS: u32 = 256;
/// Passes of the kernel `mip` that a chain of 14 levels below the first takes.
pub(super) const MIP_PASSES: usize = 4;

/// What all samples of a batch share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub canvas: Size,
    pub pad: [u8; 3],
    pub keep: Keep,
}

/// Why a batch could not be launched.
#[derive(Debug)]
pub(crate) enum LaunchError {
    /// The arena has no room for the directory: it needs that many bytes.
    Full {
        needed: usize,
    },
    Compose(ComposeError),
}

impl<E: Into<ComposeError>> From<E> for LaunchError {
    fn from(error: E) -> LaunchError {
        LaunchError::Compose(error.into())
    }
}

/// Streams, scratch memory and the look-up table, for batches of one form.
#[derive(Debug)]
pub(crate) struct Engine {
    gpu: Gpu,
    spec: OutputSpec,
    copy: Stream,
    compute: Arc<Stream>,
    side: Stream,
    /// `cover` and `blur` are done.
    weighed: Event,
    /// The side stream is done.
    masked: Event,
    /// The latest batch is done: the scratch memory is not in use.
    idle: Event,
    pub(super) scratch: Option<DeviceMemory>,
    table: Option<DeviceMemory>,
    pub(super) directory: Directory,
}

impl Engine {
    /// An engine for batches of that form.
    pub fn new(gpu: &Gpu, spec: OutputSpec) -> Result<Engine, ComposeError> {
        spec.check()?;
        let mut engine = Engine {
            spec,
            copy: gpu.stream()?,
            compute: Arc::new(gpu.stream()?),
            side: gpu.stream()?,
            weighed: gpu.event(false)?,
            masked: gpu.event(false)?,
            idle: gpu.event(false)?,
            scratch: None,
            table: None,
            directory: Directory::default(),
            gpu: gpu.clone(),
        };
        engine.upload_table()?;
        Ok(engine)
    }

    /// Rule 15's table into device memory.
    fn upload_table(&mut self) -> Result<(), CudaError> {
        let bytes = table_bytes(&self.spec);
        if bytes.is_empty() {
            return Ok(());
        }
        let mut staging = Arena::new(&self.gpu, padded(bytes.len()))?;
        if let Some(claim) = staging.claim(bytes.len()) {
            claim.bytes[..bytes.len()].copy_from_slice(&bytes);
        }
        let table = self.gpu.device_memory("the look-up table", bytes.len())?;
        // SAFETY: both memories hold that many bytes, and live until the copy is done, which is
        // waited for below.
        let copied = unsafe {
            let from = staging.pinned().pointer();
            let driver = self.gpu.driver();
            driver.copy_to_device(self.compute.raw(), table.address(), from, bytes.len())
        };
        self.check("the look-up table", copied)?;
        self.idle.record(self.compute.raw())?;
        self.idle.synchronize()?;
        staging.reset();
        self.table = Some(table);
        Ok(())
    }

    /// Enqueues copy and kernels of a batch whose samples are gathered, in order, in the arena that
    /// [`CudaBatch::begin`] gave.
    pub fn launch(
        &mut self,
        batch: &mut CudaBatch,
        head: Head,
        gathered: &[Gathered],
    ) -> Result<(), LaunchError> {
        let arena = batch.arena().map(Arc::clone);
        let Some(arena) = arena.filter(|_| batch.gpu().is(&self.gpu)) else {
            unreachable!("a batch is launched by the loader that began it");
        };
        self.prepare(batch, &arena, head, gathered)?;
        let launched = self.copy(batch, &arena).and_then(|()| self.run(batch));
        if launched.is_err() {
            self.mark_failed(batch);
        }
        Ok(launched?)
    }

    /// After a failure in the middle: whoever waits for the batch, to free its memory, waits for
    /// what was enqueued of it. What fails here fails for the reason that is told already.
    fn mark_failed(&self, batch: &CudaBatch) {
        let _ = batch.copied.record(self.copy.raw());
        let _ = self.compute.wait(&batch.copied);
        let _ = batch.counted.record(self.side.raw());
        let _ = self.masked.record(self.side.raw());
        let _ = self.compute.wait(&self.masked);
        let _ = batch.ready.record(self.compute.raw());
        let _ = self.idle.record(self.compute.raw());
    }

    /// The GPU.
    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The form of its batches.
    pub(super) fn spec(&self) -> &OutputSpec {
        &self.spec
    }

    /// The stream that the images are composed on.
    #[cfg(feature = "candle-cuda")]
    pub(super) fn compute(&self) -> &Arc<Stream> {
        &self.compute
    }

    /// The look-up table's address; 0 where there is none.
    pub(super) fn table_address(&self) -> u64 {
        self.table.as_ref().map_or(0, DeviceMemory::address)
    }

    /// The stream of everything but the masks.
    pub(super) fn compute_stream(&self) -> RawStream {
        self.compute.raw()
    }

    /// Waits on this thread until all batches are done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.idle.synchronize()
    }

    /// The one copy.
    fn copy(&self, batch: &CudaBatch, arena: &Arena) -> Result<(), CudaError> {
        // The kernels of the round before read the device's arena.
        self.copy.wait(&batch.ready)?;
        let bytes = arena.claimed().min(arena.capacity());
        // SAFETY: both memories belong to the arena, which the batch keeps; `begin` lets the host
        // write it again only when `copied` is done, and no claim is alive: all samples are here.
        let copied = unsafe {
            self.gpu.driver().copy_to_device(
                self.copy.raw(),
                arena.device().address(),
                arena.pinned().pointer(),
                bytes,
            )
        };
        self.check("copy", copied)?;
        batch.copied.record(self.copy.raw())
    }

    /// Enqueues the kernels of a batch that was prepared; its arena is on the device or on the way.
    pub(super) fn run(&self, batch: &mut CudaBatch) -> Result<(), CudaError> {
        self.enqueue(batch, self.side.raw(), &mut |_| Ok(()))
    }

    /// As [`Engine::run`], the masks on stream `side`; `after` is told of each stage once it is
    /// enqueued.
    pub(super) fn enqueue(
        &self,
        batch: &mut CudaBatch,
        side: RawStream,
        after: &mut dyn FnMut(&'static str) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let compute = self.compute.raw();
        self.compute.wait(&batch.copied)?;
        batch.hold_up_for_consumers(&self.compute)?;
        let launches = &batch.launches;
        for (parameters, blocks) in &launches.mips {
            self.kernel(compute, Kernel::Mip, *blocks, THREADS, parameters, after)?;
        }
        let (parameters, blocks) = &launches.store;
        self.kernel(compute, Kernel::Store, *blocks, THREADS, parameters, after)?;
        let parameters = &launches.batch;
        let measures = parameters.candidates as usize * size_of::<Measure>();
        if measures > 0 {
            // SAFETY: the scratch memory holds a measure for each candidate (`make_scratch`).
            let cleared = unsafe {
                let driver = self.gpu.driver();
                driver.clear(compute, parameters.measures, measures)
            };
            self.check("clear", cleared)?;
            after("clear")?;
        }
        let mut launch = |stream, kernel, blocks, threads| {
            self.kernel(stream, kernel, blocks, threads, parameters, after)
        };
        launch(compute, Kernel::Cover, launches.cover, WARP_EACH)?;
        // `visible` turns the mask bits, which `blur` reads, into visible ones.
        launch(compute, Kernel::Blur, launches.blur, THREADS)?;
        self.weighed.record(compute)?;
        self.weighed.hold_up(side)?;
        let samples = parameters.sample_count;
        launch(side, Kernel::Visible, launches.visible, WARP_EACH)?;
        launch(side, Kernel::Settle, samples, THREADS)?;
        launch(side, Kernel::Compact, samples, THREADS)?;
        self.fetch_counts(batch, side)?;
        launch(side, Kernel::Masks, launches.masks, THREADS)?;
        self.masked.record(side)?;
        launch(compute, Kernel::Compose, launches.compose, WARP_EACH)?;
        self.compute.wait(&self.masked)?;
        batch.ready.record(compute)?;
        self.idle.record(compute)
    }

    /// The number of instances of each sample, to the host, before masks and images are done: shapes
    /// depend on it.
    fn fetch_counts(&self, batch: &CudaBatch, side: RawStream) -> Result<(), CudaError> {
        let Some(pinned) = batch.first_instances_memory().filter(|_| !batch.is_empty()) else {
            return Ok(());
        };
        let bytes = 4 * (batch.len() + 1);
        // SAFETY: both hold len + 1 values (`CudaBatch::make_room`); the host reads them only after
        // `counted`, which is recorded behind this copy.
        let copied = unsafe {
            self.gpu.driver().copy_to_host(
                side,
                pinned.pointer(),
                batch.launches.batch.first_instances,
                bytes,
            )
        };
        self.check("counts", copied)?;
        batch.counted.record(side)
    }

    fn kernel<P: bytemuck::Pod>(
        &self,
        stream: RawStream,
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        parameters: &P,
        after: &mut dyn FnMut(&'static str) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        if blocks == 0 {
            return Ok(());
        }
        let bytes = bytemuck::bytes_of(parameters);
        // SAFETY: `prepare` made the parameters of this kernel's type. They refer to the arena and
        // the outputs, which the batch keeps until `ready` is done, and to scratch memory and
        // table, which this engine keeps until `idle` is.
        let launched = unsafe {
            let driver = self.gpu.driver();
            driver.launch(stream, kernel, blocks, threads, bytes)
        };
        self.check(kernel.name(), launched)?;
        after(kernel.name())
    }

    fn check(&self, stage: &'static str, result: Result<(), DriverError>) -> Result<(), CudaError> {
        result.map_err(|error| self.gpu.failed(stage, error))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Scratch memory and table must not be in use when they are freed. What fails here failed
        // before, and was told then.
        let _ = self.synchronize();
    }
}

/// Rule 15's table as bytes, channel after channel; nothing for 8-bit output.
fn table_bytes(spec: &OutputSpec) -> Vec<u8> {
    match spec.element {
        ElementType::U8 => Vec::new(),
        ElementType::F16 => bytemuck::cast_slice(&spec.table(round_to_f16)).to_vec(),
        ElementType::BF16 => bytemuck::cast_slice(&spec.table(round_to_bf16)).to_vec(),
        ElementType::F32 => bytemuck::cast_slice(&spec.table(|value| value as f32)).to_vec(),
    }
}
