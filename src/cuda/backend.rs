//! The back end of the [`Backend`] trait: batches composed on a GPU and brought to the host.
//!
//! For conformance and for files. Training loops take batches where they are, from a
//! [loader](crate::loader).

use super::batch::CudaBatch;
use super::download::Downloader;
use super::engine::{Engine, Head, LaunchError};
use super::gather::{GatherError, GatherFrom, Gathered, Gatherer};
use super::memory::Gpu;
use crate::compose::{Backend, Batch, ComposeError, Encoded, OutputSpec};

/// Composes batches on a GPU. Keeps its memory from batch to batch.
#[derive(Debug)]
pub struct CudaBackend {
    gpu: Gpu,
    downloader: Downloader,
    gatherer: Gatherer,
    gathered: Vec<Gathered>,
    arena_bytes: usize,
    /// Made for the output that was asked for last.
    pub(super) made: Option<Made>,
}

#[derive(Debug)]
pub(super) struct Made {
    pub engine: Engine,
    pub batch: CudaBatch,
}

/// Bytes of the first arena.
const FIRST_ARENA: usize = 1 << 20;

impl CudaBackend {
    /// A back end on that GPU.
    ///
    /// # Errors
    /// [`CudaError`](super::CudaError) if the GPU cannot be used.
    pub fn new(gpu: Gpu) -> Result<CudaBackend, super::CudaError> {
        Ok(CudaBackend {
            downloader: Downloader::new(&gpu)?,
            gatherer: Gatherer::default(),
            gathered: Vec::new(),
            arena_bytes: FIRST_ARENA,
            made: None,
            gpu,
        })
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Composes into device memory and leaves the batch there.
    fn launch(
        &mut self,
        encoded: &Encoded<'_>,
        samples: &[usize],
        made: &mut Made,
    ) -> Result<(), ComposeError> {
        let head = Head {
            canvas: encoded.canvas,
            pad: encoded.pad,
            keep: encoded.keep,
        };
        self.gathered.resize_with(samples.len(), Gathered::default);
        loop {
            let needed = match self.gather(encoded, samples, &mut made.batch)? {
                None => match made.engine.launch(&mut made.batch, head, &self.gathered) {
                    Ok(()) => return Ok(()),
                    Err(LaunchError::Compose(error)) => return Err(error),
                    Err(LaunchError::Full { needed }) => needed,
                },
                Some(needed) => needed,
            };
            self.arena_bytes = needed.saturating_add(needed / 2);
        }
    }

    /// Gathers all samples; if the arena is too small, says how long it would have to be.
    fn gather(
        &mut self,
        encoded: &Encoded<'_>,
        samples: &[usize],
        batch: &mut CudaBatch,
    ) -> Result<Option<usize>, ComposeError> {
        let arena = batch.begin(self.arena_bytes)?;
        let mut is_full = false;
        let from = GatherFrom {
            cutouts: None,
            ticket: 0,
        };
        for (&sample, gathered) in samples.iter().zip(&mut self.gathered) {
            let gatherer = &mut self.gatherer;
            match gatherer.gather(encoded, sample, &[], &arena, from, gathered) {
                Ok(()) => {}
                Err(GatherError::Full) => is_full = true,
                Err(GatherError::Compose(error)) => return Err(error),
            }
        }
        Ok(is_full.then(|| arena.claimed()))
    }
}

impl Backend for CudaBackend {
    fn compose_samples(
        &mut self,
        encoded: &Encoded<'_>,
        samples: &[usize],
        batch: &mut Batch,
    ) -> Result<(), ComposeError> {
        let spec: OutputSpec = *batch.spec();
        batch.clear();
        let count = encoded.samples.len();
        if let Some(&sample) = samples.iter().find(|&&sample| sample >= count) {
            return Err(ComposeError::NoSample { sample, count });
        }
        let made = self.made.take().filter(|made| made.batch.spec() == &spec);
        let mut made = match made {
            Some(made) => made,
            None => Made {
                engine: Engine::new(&self.gpu, spec)?,
                batch: CudaBatch::new(&self.gpu, spec)?,
            },
        };
        self.launch(encoded, samples, &mut made)?;
        let downloaded = self.downloader.download(&made.batch, batch);
        made.batch.let_go();
        self.made = Some(made);
        if downloaded.is_err() {
            batch.clear();
        }
        downloaded
    }
}
