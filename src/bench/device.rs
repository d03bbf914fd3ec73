//! What a GPU does: copying memory, composing, loading.

use super::load::{Alone, Loaded, Streamed, again, first_batch, loader_options, stream};
use super::report::{Measurement, ceiling};
use super::{Bench, BenchError, Composing, CutoutCache, LoaderReport, On, Spread, Told, Work};
use crate::compose::{Backend, Batch};
use crate::cuda::memory::Gpu;
use crate::cuda::timing::{Copies, KernelTimes};
use crate::cuda::{Cuda, CudaBackend, CudaLoader, CudaOptions};
use crate::loader::{LoadedBatch, LoaderError};

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
    pub fn new(on: &On, bench: &mut Bench<'_>) -> Result<Option<Device>, BenchError> {
        let On::Gpu { gpu, .. } = on else {
            return Ok(None);
        };
        let memory = gpu.driver().memory();
        let memory = memory.map_err(|error| gpu.failed("memory", error))?;
        let most = usize::try_from(memory.total / COPIES_SHARE).unwrap_or(usize::MAX);
        let bytes = bench.options.effort.copied_bytes.min(most);
        let mut copies = Copies::new(gpu, bytes, bytes / LINK_SHARE)?;
        let on_device = bench.repeat(|| Ok(copies.on_device()?))?;
        bench.add_ceiling(ceiling::GPU_COPY, on_device);
        let link = bench.repeat(|| Ok(copies.over_the_link()?))?;
        bench.add_ceiling(ceiling::LINK, link);
        Ok(Some(Device {
            gpu: gpu.clone(),
            copies,
            batch: Batch::new(bench.options.output),
        }))
    }

    /// Composing alone, kernel by kernel, and the loader with cold and cached cutouts; and of the
    /// loader that the workload asks for everything.
    pub fn measure(
        &mut self,
        bench: &mut Bench<'_>,
        work: &Work<'_>,
        on_cpu: &Composing,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<(Vec<Measurement>, LoaderReport), BenchError> {
        tell(Told::Begins("composing on the GPU"));
        let mut all = self.compose(bench, work)?;
        let resident = all.first().map_or(0.0, |composing| composing.spread.median);
        let rate = 1e6 / resident.max(f64::MIN_POSITIVE);
        let times = on_cpu.images_per_second.map(|on_cpu| rate / on_cpu);
        all.push(Measurement::new("GPU / CPU composing", "times", times));
        tell(Told::Begins("loading with the GPU"));
        let first = first_batch(bench, || self.start(bench, work, 0))?;
        all.push(Measurement::new("GPU first batch", "s", first));
        let (cold, mut loaded) = self.load(bench, work, None)?;
        all.push(cold);
        let cache_bytes = self.cache_bytes(bench)?;
        if bench.options.layers > 0 && cache_bytes > 0 {
            let (cached, loaded_cached) = self.load(bench, work, Some(cache_bytes))?;
            all.push(cached);
            loaded = loaded_cached;
        }
        tell(Told::Device(&all));
        let alone = Alone {
            images_per_second: rate,
            one_thread: None,
            ceiling: ceiling::GPU_COPY,
        };
        let waits = loaded.waits();
        let rate = loaded.rate;
        drop(loaded);
        let loader = alone.told(bench, work, rate, waits, first)?;
        Ok((all, loader))
    }

    /// The kernels of a batch whose data is on the device, again and again.
    fn compose(
        &mut self,
        bench: &mut Bench<'_>,
        work: &Work<'_>,
    ) -> Result<Vec<Measurement>, BenchError> {
        let mut backend = CudaBackend::new(self.gpu.clone())?;
        backend.compose(&work.encoded, &mut self.batch)?;
        let what = "GPU composing, resident";
        bench.check("the GPU's first batch", &self.batch, &work.expected)?;
        let images = bench.options.batch as f64;
        let spread = bench.repeat(|| Ok(backend.replay(&mut self.copies)?))?;
        let spread = spread.map(|ms| 1e3 * ms / images);
        let mut times = KernelTimes::default();
        let parts =
            bench.repeat(|| Ok(backend.replay_one_by_one(&mut self.copies, &mut times)?))?;
        // What was timed last is what is compared.
        backend.download_again(&mut self.batch)?;
        bench.check(what, &self.batch, &work.expected)?;
        let moved = work.floor.bytes() / spread.median.max(f64::MIN_POSITIVE) / 1e3;
        let composing = Measurement::new(what, "µs/image", spread)
            .moving(moved)
            .share(moved, bench.ceiling(ceiling::GPU_COPY), "GPU copy");
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
        let options = loader_options(bench);
        let cuda = CudaOptions {
            cache_bytes: Some(cache_bytes),
            ..CudaOptions::default()
        };
        CudaLoader::on_gpu(self.gpu.clone(), work.sampler.clone(), options, cuda)
    }

    /// The whole loader from mapped files: without the cache, or with one of so many bytes after an
    /// epoch.
    fn load(
        &mut self,
        bench: &mut Bench<'_>,
        work: &Work<'_>,
        cache_bytes: Option<u64>,
    ) -> Result<(Measurement, Streamed<Cuda>), BenchError> {
        let what = match cache_bytes {
            None => "GPU loader, cold cutouts",
            Some(_) => "GPU loader, cached cutouts",
        };
        let mut loader = self.start(bench, work, cache_bytes.unwrap_or(0))?;
        let epochs = u64::from(cache_bytes.is_some());
        for _ in 0..epochs * loader.batches_per_epoch() {
            if !(bench.goes_on)() {
                return Err(BenchError::Stopped);
            }
            if let Some(batch) = loader.next() {
                batch?;
            }
        }
        let mut streamed = stream(bench, &mut loader)?;
        if let Some(last) = streamed.last.take() {
            last.download(&mut self.batch)?;
            let expected = again(bench, &work.sampler, last.epoch(), last.indices())?;
            bench.check(what, &self.batch, &expected)?;
        }
        let (shipped, hit_rate) = crossed(&streamed);
        let shipped = shipped * streamed.rate.median / 1e9;
        let mut loaded = Measurement::new(what, "images/s", streamed.rate)
            .moving(shipped)
            .share(shipped, bench.ceiling(ceiling::LINK), "link");
        loaded.hit_rate = cache_bytes.map(|_| hit_rate);
        Ok((loaded, streamed))
    }

    /// Bytes for cached cutouts: what the workload says, or room for all levels of all cutouts, or
    /// half of what is free.
    fn cache_bytes(&self, bench: &Bench<'_>) -> Result<u64, BenchError> {
        let bank = &bench.packs.bank;
        let memory = self.gpu.driver().memory();
        let memory = memory.map_err(|error| self.gpu.failed("memory", error))?;
        // What comes between two cutouts' levels is less than this.
        let between = 512 * bank.len() as u64;
        let whole = bank.manifest().bytes() + between;
        Ok(match bench.options.cutout_cache {
            CutoutCache::Whole => whole.min(memory.free / 2),
            CutoutCache::Bytes(bytes) => bytes,
        })
    }
}

/// Bytes an image that crossed the link, and the share of the cutouts that were there already.
fn crossed(streamed: &Streamed<Cuda>) -> (f64, f64) {
    let [before, after] = &streamed.statistics;
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
