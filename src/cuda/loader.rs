//! The loader's batches on a GPU: worker threads gather, the loader's thread launches.
//!
//! Worker threads draw, check and encode samples as for the CPU, and write what the device lacks
//! into the batch's arena. They do not call the driver, but for one case: of a loader that is dropped
//! early, whoever lets go of an arena last frees it, and that may be a thread that was still writing
//! it. The thread that owns the loader enqueues copy
//! and kernels of every batch that is complete, in order, whenever it is asked for the next one, so
//! that the device works ahead of the training loop.

use std::sync::Arc;
use std::time::Duration;

use super::arena::Arena;
use super::batch::CudaBatch;
use super::cache::{CacheFigures, CutoutCache, Cutouts};
use super::driver::RawStream;
use super::engine::{Engine, Head, LaunchError};
use super::error::CudaError;
use super::gather::{GatherError, GatherFrom, Gathered, Gatherer};
use super::interop::{HandOverError, consumer_stream};
use super::memory::Gpu;
use super::resident::ResidentBank;
use crate::compose::{ComposeError, Encoded, OutputSpec};
use crate::geometry::Size;
use crate::loader::statistics::{DeviceFigures, StageTimes};
use crate::loader::target::{Compose, Refusal, Role};
use crate::loader::{LoadedBatch, Loader, LoaderError, LoaderOptions, LoaderState};
use crate::sampler::Sampler;

/// A loader whose batches are composed on a GPU and stay there.
///
/// ```no_run
/// # use pastebank::cuda::{CudaLoader, CudaOptions, driver::RawStream, memory::Gpu};
/// # use pastebank::loader::LoaderOptions;
/// # use pastebank::sampler::Sampler;
/// # fn train(gpu: Gpu, sampler: Sampler, stream: RawStream) -> Result<(), Box<dyn std::error::Error>> {
/// let mut loader = CudaLoader::on_gpu(gpu, sampler, LoaderOptions::default(), CudaOptions::default())?;
/// while let Some(batch) = loader.next() {
///     let batch = batch?;
///     // From here on `stream` may read the batch, and dropping the batch keeps its memory until
///     // what is on the stream by then is done.
///     batch.wait_on(stream)?;
/// }
/// println!("{}", loader.statistics());
/// # Ok(())
/// # }
/// ```
pub type CudaLoader = Loader<Cuda>;

/// What of a loader's work on a GPU is up to the user; the rest is in [`LoaderOptions`].
///
/// The ring has one slot more than [`LoaderOptions::prefetch`] says. Each takes, on the device, an
/// arena, the batch's images, and a mask of 1/8 byte a canvas pixel for every *candidate*, each
/// instance of the scenes and each layer, whether it stays or not: how many stay the host does not
/// wait to know. The arena lies in pinned memory of the host as well. Twins take the same again, less
/// what the layers need. Where there is no memory for so many slots the loader works with fewer and
/// logs a warning.
///
/// A batch is launched when its samples are gathered and [`Loader::next`](Iterator::next) is called,
/// by that call's thread. So a `prefetch` of 2 or more is needed for the device to work while the
/// training loop does: of 1, each batch is launched only when it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// Bytes of device memory for cutouts that come again; 0 for none. An eighth of what is free, but
    /// at most 4 GiB and no more than the bank has, where `None`.
    pub cache_bytes: Option<u64>,
    /// The whole bank is copied to the device at the start; there is no cache then.
    pub resident: bool,
    /// Bytes of a batch's first arena, in pinned memory and again on the device; guessed from the
    /// canvas where `None`. Arenas grow as batches need it, whatever this is.
    pub arena_bytes: Option<usize>,
    /// Images are composed into memory of their own, so that
    /// [`CudaBatch::image_tensor`] can hand them over: one allocation from a pool a batch. Without
    /// this it gives nothing.
    #[cfg(feature = "candle-cuda")]
    pub tensors: bool,
}

/// A GPU, as where a [`Loader`] composes.
#[derive(Debug)]
pub struct Cuda {
    gpu: Gpu,
    spec: OutputSpec,
    head: Head,
    /// Gone when the run has ended.
    running: Option<Running>,
    /// Bytes of arenas that are begun from now on: the samples' and their twins'.
    arena_bytes: [usize; 2],
    shipped_bytes: u64,
    arena_growths: u64,
    cache: CacheFigures,
    /// Where images that become tensors are composed.
    #[cfg(feature = "candle-cuda")]
    pool: Option<Arc<super::pool::MemoryPool>>,
}

#[derive(Debug)]
struct Running {
    engine: Engine,
    /// Behind the engine, which waits for its kernels when it is dropped: they read the cutouts.
    shared: Arc<CudaShared>,
}

/// What the worker threads share.
#[derive(Debug)]
pub struct CudaShared {
    cutouts: Option<Cutouts>,
}

/// A batch and what its launch needs.
#[derive(Debug)]
pub struct CudaMemory {
    batch: CudaBatch,
    role: Role,
    /// While it is gathered.
    arena: Option<Arc<Arena>>,
    gathered: Vec<Gathered>,
}

/// One sample's part of it.
#[derive(Debug)]
pub struct CudaPiece {
    arena: Option<Arc<Arena>>,
    gathered: Gathered,
}

/// One thread's scratch.
#[derive(Debug, Default)]
pub struct CudaScratch(Gatherer);

/// The default cache takes one part in so many of the free memory.
const CACHE_SHARE: u64 = 8;
/// The default cache's most bytes.
const MOST_CACHE_BYTES: u64 = 4 << 30;
/// Arenas grow to multiples of this many bytes.
const ARENA_STEP: usize = 1 << 16;

impl CudaLoader {
    /// A loader at the start of its first epoch, on that GPU. Gathering begins at once.
    ///
    /// # Errors
    /// Those of [`Loader::new`], and [`LoaderError::Target`] if the GPU cannot be used or has no
    /// memory for the cache or the bank.
    pub fn on_gpu(
        gpu: Gpu,
        sampler: Sampler,
        options: LoaderOptions,
        cuda: CudaOptions,
    ) -> Result<CudaLoader, LoaderError> {
        options.check()?;
        let target = Cuda::new(gpu, &sampler, &options, &cuda)?;
        Loader::start(target, sampler, &options, None)
    }

    /// A loader that goes on from a saved state, of this or of a loader on a CPU, as
    /// [`Loader::resume`] does.
    ///
    /// # Errors
    /// Those of [`Loader::resume`] and of [`CudaLoader::on_gpu`].
    pub fn resume_on_gpu(
        gpu: Gpu,
        mut sampler: Sampler,
        options: LoaderOptions,
        cuda: CudaOptions,
        state: &LoaderState,
    ) -> Result<CudaLoader, LoaderError> {
        state.prepare(&mut sampler, &options)?;
        options.check()?;
        let target = Cuda::new(gpu, &sampler, &options, &cuda)?;
        Loader::start(target, sampler, &options, Some(state))
    }
}

impl LoadedBatch<Cuda> {
    /// As [`CudaBatch::wait_on`], for the batch and for its twins, if there are any: they are composed
    /// by kernels of their own and their memory is used again on its own, so that waiting for the one
    /// says nothing of the other. A batch that is taken from [`LoadedBatch::twins`] or by dereferencing
    /// has the method that is for it alone.
    ///
    /// # Errors
    /// Those of [`CudaBatch::wait_on`].
    pub fn wait_on(&self, stream: RawStream) -> Result<(), CudaError> {
        let batch: &CudaBatch = self;
        batch.wait_on(stream)?;
        self.twins().map_or(Ok(()), |twins| twins.wait_on(stream))
    }

    /// As [`CudaBatch::hand_over`], for the batch and for its twins, if there are any.
    ///
    /// # Errors
    /// Those of [`CudaBatch::hand_over`].
    ///
    /// # Safety
    /// As [`CudaBatch::hand_over`].
    pub unsafe fn hand_over(&self, stream: Option<i64>) -> Result<(), HandOverError> {
        // SAFETY: the caller's promise.
        if let Some(stream) = unsafe { consumer_stream(stream) }? {
            self.wait_on(stream)?;
        }
        Ok(())
    }
}

impl Cuda {
    fn new(
        gpu: Gpu,
        sampler: &Sampler,
        options: &LoaderOptions,
        cuda: &CudaOptions,
    ) -> Result<Cuda, LoaderError> {
        let ground = sampler.ground();
        let recipe = sampler.recipe();
        let refused = |source| LoaderError::Target { source };
        let cutouts = make_cutouts(&gpu, sampler, cuda).map_err(refused)?;
        let engine = Engine::new(&gpu, options.output).map_err(refused)?;
        let arena_bytes = cuda.arena_bytes.unwrap_or_else(|| {
            let sample = first_sample_bytes(ground.canvas);
            let batch = sample.saturating_mul(options.batch_size);
            batch.min(MOST_GUESSED_ARENA)
        });
        #[cfg(feature = "candle-cuda")]
        let pool = match cuda.tensors {
            true => super::candle::pool(&gpu).map_err(|error| refused(error.into()))?,
            false => None,
        };
        Ok(Cuda {
            #[cfg(feature = "candle-cuda")]
            pool,
            gpu,
            spec: options.output,
            head: Head {
                canvas: ground.canvas,
                pad: recipe.pad(),
                keep: recipe.keep(),
            },
            running: Some(Running {
                engine,
                shared: Arc::new(CudaShared { cutouts }),
            }),
            arena_bytes: [arena_bytes; 2],
            shipped_bytes: 0,
            arena_growths: 0,
            cache: CacheFigures::default(),
        })
    }
}

/// Bytes of arena that a sample may take: a scene's texels are about as many as the canvas's, and
/// the cutouts that cover a part of it a third more each.
fn first_sample_bytes(canvas: Size) -> usize {
    4 * canvas.pixels() + ARENA_STEP
}

/// A guess must not take all there is: each slot of the ring has an arena in pinned memory and again
/// on the device.
const MOST_GUESSED_ARENA: usize = 256 << 20;

fn make_cutouts(
    gpu: &Gpu,
    sampler: &Sampler,
    cuda: &CudaOptions,
) -> Result<Option<Cutouts>, ComposeError> {
    let bank = &sampler.ground().bank;
    if cuda.resident {
        return ResidentBank::upload(gpu, bank).map(|bank| Some(Cutouts::Resident(bank)));
    }
    let bytes = match cuda.cache_bytes {
        Some(bytes) => bytes,
        None => {
            let memory = gpu.driver().memory();
            let memory = memory.map_err(|error| gpu.failed("asking for free memory", error))?;
            // Small levels take more of the cache than their bytes.
            let bank_bytes = bank.pixel_bytes().saturating_mul(2);
            let share = memory.free / CACHE_SHARE;
            share.min(MOST_CACHE_BYTES).min(bank_bytes)
        }
    };
    if bytes == 0 {
        return Ok(None);
    }
    let cache = CutoutCache::new(gpu, bytes)?;
    Ok(Some(Cutouts::Cache(Box::new(cache))))
}

impl Compose for Cuda {
    type Batch = CudaBatch;
    type Memory = CudaMemory;
    type Piece = CudaPiece;
    type Scratch = CudaScratch;
    type Shared = CudaShared;

    fn shared(&self) -> Arc<CudaShared> {
        match &self.running {
            Some(running) => Arc::clone(&running.shared),
            None => Arc::new(CudaShared { cutouts: None }),
        }
    }

    fn memory(&mut self, role: Role) -> Result<CudaMemory, ComposeError> {
        let batch = CudaBatch::new(&self.gpu, self.spec)?;
        #[cfg(feature = "candle-cuda")]
        let batch = batch.with_own_images(self.pool.as_ref());
        Ok(CudaMemory {
            batch,
            role,
            arena: None,
            gathered: Vec::new(),
        })
    }

    fn begin(&mut self, memory: &mut CudaMemory, count: usize) -> Result<(), ComposeError> {
        memory.arena = None;
        let bytes = self.arena_bytes[memory.role as usize];
        memory.arena = Some(memory.batch.begin(bytes)?);
        memory.gathered.resize_with(count, Gathered::default);
        Ok(())
    }

    fn take(memory: &mut CudaMemory, number: usize) -> CudaPiece {
        CudaPiece {
            arena: memory.arena.clone(),
            gathered: std::mem::take(&mut memory.gathered[number]),
        }
    }

    fn put(memory: &mut CudaMemory, number: usize, piece: CudaPiece) {
        memory.gathered[number] = piece.gathered;
    }

    fn compose(
        shared: &CudaShared,
        CudaScratch(gatherer): &mut CudaScratch,
        encoded: &Encoded<'_>,
        ignored: &[bool],
        ticket: u64,
        piece: &mut CudaPiece,
    ) -> Result<u64, Refusal> {
        let from = GatherFrom {
            cutouts: shared.cutouts.as_ref(),
            ticket,
        };
        let Some(arena) = &piece.arena else {
            unreachable!("pieces are those of a batch that was begun");
        };
        gatherer
            .gather(encoded, 0, ignored, arena, from, &mut piece.gathered)
            .map_err(|error| match error {
                GatherError::Compose(error) => Refusal::Compose(error),
                GatherError::Full => Refusal::TooSmall,
            })?;
        let bytes = encoded.read_bytes();
        Ok(bytes.saturating_sub(piece.gathered.cached))
    }

    fn stage(stages: &mut StageTimes) -> &mut Duration {
        &mut stages.gather
    }

    fn reads(
        shared: &CudaShared,
        ticket: u64,
        cutout: u64,
        level: impl FnOnce() -> [u32; 2],
    ) -> bool {
        let cutouts = shared.cutouts.as_ref();
        !cutouts.is_some_and(|cutouts| cutouts.holds(ticket, cutout, level()))
    }

    fn finish(&mut self, memory: &mut CudaMemory, count: usize) -> Result<(), Refusal> {
        let Some(running) = &mut self.running else {
            unreachable!("the ring goes before the target is shut down");
        };
        let gathered = &memory.gathered[..count];
        let batch = &mut memory.batch;
        match running.engine.launch(batch, self.head, gathered) {
            Ok(()) => {
                let claimed = memory.arena.as_ref().map_or(0, |arena| arena.claimed());
                self.shipped_bytes += claimed as u64;
                Ok(())
            }
            Err(LaunchError::Full { .. }) => Err(Refusal::TooSmall),
            Err(LaunchError::Compose(error)) => Err(Refusal::Compose(error)),
        }
    }

    fn batch(memory: &CudaMemory) -> &CudaBatch {
        &memory.batch
    }

    fn bytes(batch: &CudaBatch) -> u64 {
        batch.image_bytes() as u64
    }

    fn let_go(memory: &mut CudaMemory) {
        memory.batch.let_go();
    }

    fn is_free(memory: &CudaMemory) -> Result<bool, ComposeError> {
        Ok(memory.batch.is_free()?)
    }

    fn wait_until_free(memory: &CudaMemory) -> Result<(), ComposeError> {
        Ok(memory.batch.wait_until_free()?)
    }

    fn grow(&mut self, memory: &CudaMemory) -> bool {
        let Some(arena) = &memory.arena else {
            return false;
        };
        let claimed = arena.claimed();
        if claimed <= arena.capacity() {
            return false;
        }
        let larger = claimed.saturating_add(claimed / 2);
        let larger = larger.checked_next_multiple_of(ARENA_STEP);
        self.arena_bytes[memory.role as usize] = larger.unwrap_or(claimed);
        self.arena_growths += 1;
        true
    }

    fn forget_from(&mut self, ticket: u64) {
        let running = self.running.as_ref();
        if let Some(cutouts) = running.and_then(|running| running.shared.cutouts.as_ref()) {
            cutouts.forget_from(ticket);
        }
    }

    fn figures(&self) -> Option<DeviceFigures> {
        let cache = self.running.as_ref().map_or(self.cache, Running::figures);
        Some(DeviceFigures {
            shipped_bytes: self.shipped_bytes,
            cache_hits: cache.hits,
            cache_misses: cache.misses,
            resident_bytes: cache.resident_bytes,
            arena_growths: self.arena_growths,
            wait_for_slot: Duration::ZERO,
        })
    }

    fn shut_down(&mut self) {
        if let Some(running) = self.running.take() {
            self.cache = running.figures();
        }
    }
}

impl Running {
    fn figures(&self) -> CacheFigures {
        let cutouts = self.shared.cutouts.as_ref();
        cutouts.map_or_else(CacheFigures::default, Cutouts::figures)
    }
}
