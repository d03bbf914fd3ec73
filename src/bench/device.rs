//! What a GPU does: copying memory, composing, loading.

use super::host::{Loaded, again, first_batch, loader_options, right, stream};
use super::report::Measurement;
use super::{Bench, BenchError, On, Spread, Told, Work, output};
use crate::compose::{Backend, Batch};
use crate::cuda::memory::Gpu;
use crate::cuda::timing::{Copies, KernelTimes};
use crate::cuda::{Cuda, CudaBackend, CudaLoader, CudaOptions};
use crate::loader::{LoadedBatch, LoaderError, Statistics};

/// The ceilings of what a GPU moves.
const DEVICE_COPY: &str = "GPU copy bandwidth";
const LINK: &str = "link to the GPU, pinned";
/// Batches that are gathered, copied and composed ahead.
const PREFETCH: usize = 3;
/// The copies take at most one part in so many of the device's memory, for each of their two buffers.
const COPIES_SHARE: u64 = 8;
/// The link's copy is so much shorter than the device's: it takes pinned memory.
const LINK_SHARE: usize = 4;

/// A GPU that is measured.
pub(super) struct Device {
    gpu: Gpu,
    copies: Copies,
    batch: Batch,
}

impl Device {
    /// Measures what the GPU's memory and the link can do.
    pub fn new(
        on: &On,
        bench: &mut Bench<'_>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<Option<Device>, BenchError> {
        let On::Gpu { gpu, .. } = on else {
            return Ok(None);
        };
        let memory = gpu.driver().memory();
        let memory = memory.map_err(|error| gpu.failed("memory", error))?;
        let most = usize::try_from(memory.total / COPIES_SHARE).unwrap_or(usize::MAX);
        let bytes = bench.options.effort.copied_bytes.min(most);
        let mut copies = Copies::new(gpu, bytes, bytes / LINK_SHARE)?;
        let on_device = bench.repeat(|| Ok(copies.on_device()?))?;
        let link = bench.repeat(|| Ok(copies.over_the_link()?))?;
        for (what, spread) in [(DEVICE_COPY, on_device), (LINK, link)] {
            let ceiling = Measurement::new(what, "GB/s", spread);
            tell(Told::Ceiling(&ceiling));
            bench.ceilings.push(ceiling);
        }
        Ok(Some(Device {
            gpu: gpu.clone(),
            copies,
            batch: Batch::new(output()),
        }))
    }

    /// Composing alone, kernel by kernel, and the loader with cold and cached cutouts.
    pub fn measure(
        &mut self,
        bench: &Bench<'_>,
        work: &Work<'_>,
        on_cpu: Measurement,
    ) -> Result<Vec<Measurement>, BenchError> {
        let mut all = self.compose(bench, work)?;
        let resident = all.first().map_or(0.0, |composing| composing.spread.median);
        all.push(self.first_batch(bench, work)?);
        all.push(self.load(bench, work, false)?);
        if work.case.layers > 0 {
            all.push(self.load(bench, work, true)?);
        }
        let per_second = on_cpu.spread.map(|rate| 1e6 / resident / rate);
        let against = Measurement::new("GPU composing / CPU composing", "times", per_second);
        all.extend([on_cpu, against]);
        Ok(all)
    }

    /// The kernels of a batch whose data is on the device, again and again.
    fn compose(
        &mut self,
        bench: &Bench<'_>,
        work: &Work<'_>,
    ) -> Result<Vec<Measurement>, BenchError> {
        let mut backend = CudaBackend::new(self.gpu.clone())?;
        backend.compose(&work.encoded, &mut self.batch)?;
        let what = "GPU composing, resident";
        work.check(what, &self.batch)?;
        let images = work.case.batch as f64;
        let spread = bench.repeat(|| Ok(backend.replay(&mut self.copies)?))?;
        let spread = spread.map(|ms| 1e3 * ms / images);
        let mut times = KernelTimes::default();
        let parts =
            bench.repeat(|| Ok(backend.replay_one_by_one(&mut self.copies, &mut times)?))?;
        // What was timed last is what is compared.
        backend.download_again(&mut self.batch)?;
        work.check(what, &self.batch)?;
        let moved = work.floor.bytes() / spread.median.max(f64::MIN_POSITIVE) / 1e3;
        let ceiling = bench.ceiling(DEVICE_COPY);
        let composing = Measurement::new(what, "µs/image", spread)
            .moving(moved)
            .share(moved, ceiling, "GPU copy");
        let sum = 1e3 * parts.median / images;
        let kernels = times.into_iter().map(|(name, milliseconds)| {
            // The warm-up apart.
            let spread = Spread::of(milliseconds.into_iter().skip(1).collect());
            let spread = spread.map(|ms| 1e3 * ms / images);
            Measurement::new(name, "µs/image", spread).share(
                spread.median,
                sum,
                "all by themselves",
            )
        });
        Ok([composing].into_iter().chain(kernels).collect())
    }

    fn start(
        &self,
        bench: &Bench<'_>,
        work: &Work<'_>,
        cache_bytes: u64,
    ) -> Result<CudaLoader, LoaderError> {
        let options = loader_options(bench, work.case, PREFETCH);
        let cuda = CudaOptions {
            cache_bytes: Some(cache_bytes),
            ..CudaOptions::default()
        };
        CudaLoader::on_gpu(self.gpu.clone(), work.sampler.clone(), options, cuda)
    }

    fn first_batch(&self, bench: &Bench<'_>, work: &Work<'_>) -> Result<Measurement, BenchError> {
        first_batch(bench, "GPU first batch", || self.start(bench, work, 0))
    }

    /// The whole loader from mapped files: without the cache, or with one for the whole bank after an
    /// epoch.
    fn load(
        &mut self,
        bench: &Bench<'_>,
        work: &Work<'_>,
        is_cached: bool,
    ) -> Result<Measurement, BenchError> {
        let (what, cache_bytes, epochs) = match is_cached {
            false => ("GPU loader, cold cutouts", 0, 0),
            true => ("GPU loader, cached cutouts", self.cache_bytes(bench)?, 1),
        };
        let mut loader = self.start(bench, work, cache_bytes)?;
        for _ in 0..epochs * loader.batches_per_epoch() {
            if !(bench.goes_on)() {
                return Err(BenchError::Stopped);
            }
            if let Some(batch) = loader.next() {
                batch?;
            }
        }
        let before = loader.statistics();
        let (rate, last) = stream(bench, &mut loader)?;
        let after = loader.statistics();
        if let Some(last) = last {
            last.download(&mut self.batch)?;
            let expected = again(bench, &work.sampler, last.epoch(), last.indices())?;
            right(work.case, what, &self.batch, &expected)?;
        }
        let (shipped, hit_rate) = crossed(&before, &after);
        let shipped = shipped * rate.median / 1e9;
        let mut loaded = Measurement::new(what, "images/s", rate)
            .moving(shipped)
            .share(shipped, bench.ceiling(LINK), "link");
        loaded.hit_rate = is_cached.then_some(hit_rate);
        Ok(loaded)
    }

    /// Room for all levels of all cutouts, or half of what is free.
    fn cache_bytes(&self, bench: &Bench<'_>) -> Result<u64, BenchError> {
        let bank = &bench.packs.bank;
        let memory = self.gpu.driver().memory();
        let memory = memory.map_err(|error| self.gpu.failed("memory", error))?;
        // What comes between two cutouts' levels is less than this.
        let between = 512 * bank.len() as u64;
        Ok((bank.manifest().bytes() + between).min(memory.free / 2))
    }
}

/// Bytes an image that crossed the link, and the share of the cutouts that were there already.
fn crossed(before: &Statistics, after: &Statistics) -> (f64, f64) {
    let [before_device, after_device] = [before, after].map(|it| it.device.unwrap_or_default());
    let images = (after.samples - before.samples).max(1) as f64;
    let shipped = after_device.shipped_bytes - before_device.shipped_bytes;
    let hits = after_device.cache_hits - before_device.cache_hits;
    let misses = after_device.cache_misses - before_device.cache_misses;
    let hit_rate = hits as f64 / (hits + misses).max(1) as f64;
    (shipped as f64 / images, hit_rate)
}

impl Loaded for LoadedBatch<Cuda> {
    fn images(&self) -> usize {
        self.len()
    }

    fn settle(&self) -> Result<(), BenchError> {
        self.first_instances()?;
        Ok(())
    }
}
