//! What the kernels of a batch are launched with: all addresses and all numbers of blocks, in one
//! place. The directory goes into the arena, behind the samples' regions.

use super::arena::{Arena, ClaimWriter, padded};
use super::batch::{CudaBatch, grow_with_slack};
use super::engine::{Engine, Head, LaunchError, MIP_PASSES};
use super::error::CudaError;
use super::gather::Gathered;
use super::layout::{
    BatchParameters, COMPOSE_TILE_ROWS, COMPOSE_TILE_WIDTH, MASK_TILE_ROWS, MASK_TILE_WORDS,
    MASKS_CHUNK_WORDS, MIP_LEVELS, MIP_TILE, Measure, MipJob, MipParameters, STORE_CHUNK_BYTES,
    SampleEntry, StoreJob, StoreParameters,
};
use super::memory::DeviceMemory;
use crate::bank::{SCENE_CHANNELS, mip};
use crate::compose::batch::words_of;
use crate::compose::{ComposeError, Layout};
use crate::geometry::Size;

/// The kernels of a batch: their parameters and how many blocks each.
#[derive(Clone, Debug, Default)]
pub(super) struct Launches {
    pub batch: BatchParameters,
    pub mips: [(MipParameters, u32); MIP_PASSES],
    pub store: (StoreParameters, u32),
    pub cover: u32,
    pub blur: u32,
    pub compose: u32,
    pub visible: u32,
    pub masks: u32,
}

/// The lists of the directory, in memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Directory {
    entries: Vec<SampleEntry>,
    mips: [Vec<MipJob>; MIP_PASSES],
    stores: Vec<StoreJob>,
}

/// Hands out consecutive parts of a memory.
struct Parts {
    end: u64,
}

impl Parts {
    /// Parts begin at multiples of this many bytes.
    const ALIGNMENT: u64 = 256;

    /// The start of a part of `count` values of `bytes` each.
    fn take(&mut self, count: u64, bytes: u64) -> u64 {
        let start = self.end;
        let length = count.saturating_mul(bytes);
        self.end = start
            .saturating_add(length)
            .checked_next_multiple_of(Parts::ALIGNMENT)
            .unwrap_or(u64::MAX);
        start
    }
}

impl Engine {
    /// Fixes what the batch holds, makes room for it and writes the directory.
    pub(super) fn prepare(
        &mut self,
        batch: &mut CudaBatch,
        arena: &Arena,
        head: Head,
        gathered: &[Gathered],
    ) -> Result<(), LaunchError> {
        let mut launches = Launches::default();
        let totals = self.directory.list_samples(gathered)?;
        let mut scratch = Parts { end: 0 };
        let measures = scratch.take(totals.first_candidate.into(), size_of::<Measure>() as u64);
        let mask_words = scratch.take(totals.first_mask_word, 4);
        let weights = scratch.take(totals.first_weight, 1);
        let slots = scratch.take(totals.first_candidate.into(), 4);
        let counts = scratch.take(gathered.len() as u64, 4);
        self.directory.list_mips(gathered, &mut scratch)?;
        self.directory.list_stores(gathered)?;
        let base = self.make_scratch(scratch.end)?;
        self.directory.add_base(base, gathered);
        self.directory.write(arena, &mut launches)?;
        launches.batch = BatchParameters {
            measures: base + measures,
            mask_words: base + mask_words,
            weights: base + weights,
            slots: base + slots,
            counts: base + counts,
            table: self.table_address(),
            ..self.head_parameters(head, gathered.len(), &totals, launches.batch)
        };
        let parameters = &mut launches.batch;
        batch.make_room(head.canvas, gathered, totals.first_candidate, parameters)?;
        #[cfg(feature = "candle-cuda")]
        if let Some(image) = batch.allocate_images(self.compute())? {
            parameters.image = image;
        }
        launches.cover = blocks(totals.first_cover_tile.into())?;
        launches.blur = blocks(totals.first_blur_tile.into())?;
        let samples = gathered.len() as u64;
        let [width, height] = launches.batch.canvas;
        let compose = tiles([width, height], [COMPOSE_TILE_WIDTH, COMPOSE_TILE_ROWS]);
        launches.compose = blocks(samples * compose)?;
        let words = launches.batch.words;
        let visible = tiles([words, height], [MASK_TILE_WORDS, MASK_TILE_ROWS]);
        launches.visible = blocks(samples * visible)?;
        if batch.has_masks() {
            let chunks = (u64::from(words) * u64::from(height)).div_ceil(MASKS_CHUNK_WORDS.into());
            launches.masks = blocks(u64::from(totals.first_candidate) * chunks)?;
        }
        batch.launches = launches;
        Ok(())
    }

    fn head_parameters(
        &self,
        head: Head,
        samples: usize,
        totals: &SampleEntry,
        directory: BatchParameters,
    ) -> BatchParameters {
        let [red, green, blue] = head.pad.map(u32::from);
        BatchParameters {
            canvas: [head.canvas.width(), head.canvas.height()],
            words: words_of(head.canvas.width() as usize) as u32,
            sample_count: samples as u32,
            candidates: totals.first_candidate,
            pad: red | green << 8 | blue << 16,
            element_bytes: self.spec().element.bytes() as u32,
            interleaved: u32::from(self.spec().layout == Layout::Hwc),
            min_area: head.keep.min_area,
            min_visible_permille: head.keep.min_visible_permille,
            max_box_shift: head.keep.max_box_shift.unwrap_or(0),
            has_max_box_shift: u32::from(head.keep.max_box_shift.is_some()),
            ..directory
        }
    }

    /// The address of scratch memory of that many bytes at least. Growing waits for the batches that
    /// use the old one.
    fn make_scratch(&mut self, bytes: u64) -> Result<u64, CudaError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if self
            .scratch
            .as_ref()
            .is_none_or(|scratch| scratch.bytes() < bytes)
        {
            self.synchronize()?;
            let gpu = self.gpu().clone();
            grow_with_slack(&gpu, &mut self.scratch, "scratch memory", bytes)?;
        }
        Ok(self.scratch.as_ref().map_or(0, |scratch| scratch.address()))
    }
}

impl Directory {
    /// An entry for each sample and one with the totals, which is returned.
    fn list_samples(&mut self, gathered: &[Gathered]) -> Result<SampleEntry, ComposeError> {
        self.entries.clear();
        let mut next = SampleEntry::default();
        for sample in gathered {
            self.entries.push(SampleEntry {
                region: sample.region,
                scene: sample.scene,
                ..next
            });
            next.first_mask_word += sample.mask_words;
            next.first_weight += sample.weights;
            next.first_candidate = sum(next.first_candidate, sample.candidates)?;
            next.first_cover_tile = sum(next.first_cover_tile, sample.cover_tiles)?;
            next.first_blur_tile = sum(next.first_blur_tile, sample.blur_tiles)?;
        }
        self.entries.push(next);
        Ok(next)
    }

    /// The passes that make the levels of JPEG scenes. Addresses of scratch memory count from its
    /// start until [`Directory::add_base`].
    fn list_mips(
        &mut self,
        gathered: &[Gathered],
        scratch: &mut Parts,
    ) -> Result<(), ComposeError> {
        let mut next = [0u32; MIP_PASSES];
        self.mips.iter_mut().for_each(Vec::clear);
        for (entry, sample) in self.entries.iter_mut().zip(gathered) {
            let Some((size, level)) = sample.mip else {
                continue;
            };
            let mut source = sample.scene;
            let sizes: [Size; 16] = level_sizes(size);
            let starts = (0..level).step_by(MIP_LEVELS as usize);
            for ((pass, jobs), start) in self.mips.iter_mut().enumerate().zip(starts) {
                let levels = (level - start).min(MIP_LEVELS as usize);
                let [from, to] = [sizes[start], sizes[start + levels]];
                let target = scratch.take(to.pixels() as u64, SCENE_CHANNELS as u64);
                jobs.push(MipJob {
                    source,
                    target,
                    size: [from.width(), from.height()],
                    levels: levels as u32,
                    first_tile: next[pass],
                });
                let tiles = tiles([from.width(), from.height()], [MIP_TILE; 2]);
                next[pass] = blocks(u64::from(next[pass]) + tiles)?;
                source = target;
            }
            entry.scene = source;
        }
        for (jobs, first_tile) in self.mips.iter_mut().zip(next) {
            jobs.push(MipJob {
                first_tile,
                ..MipJob::default()
            });
        }
        Ok(())
    }

    fn list_stores(&mut self, gathered: &[Gathered]) -> Result<(), ComposeError> {
        self.stores.clear();
        let mut first_chunk = 0;
        for store in gathered.iter().flat_map(|sample| &sample.stores) {
            self.stores.push(StoreJob {
                source: store.source,
                target: store.target,
                bytes: store.bytes,
                first_chunk,
                padding: 0,
            });
            let chunks = store.bytes.div_ceil(STORE_CHUNK_BYTES.into());
            first_chunk = blocks(u64::from(first_chunk) + chunks)?;
        }
        self.stores.push(StoreJob {
            first_chunk,
            ..StoreJob::default()
        });
        Ok(())
    }

    /// Turns places in the scratch memory into addresses.
    fn add_base(&mut self, base: u64, gathered: &[Gathered]) {
        for (pass, jobs) in self.mips.iter_mut().enumerate() {
            for job in jobs {
                job.target += base;
                // The first pass reads level 0 in the arena, the others what the one before made.
                if pass > 0 {
                    job.source += base;
                }
            }
        }
        for (entry, sample) in self.entries.iter_mut().zip(gathered) {
            if sample.mip.is_some() {
                entry.scene += base;
            }
        }
    }

    /// Writes the lists into the arena and their addresses into the parameters.
    fn write(&self, arena: &Arena, launches: &mut Launches) -> Result<(), LaunchError> {
        let mips = self.mips.iter().map(|jobs| size_of_val(&jobs[..]));
        let others = [
            size_of_val(&self.entries[..]),
            size_of_val(&self.stores[..]),
        ];
        let bytes = mips.chain(others).map(padded).sum();
        let claim = arena.claim(bytes).ok_or(LaunchError::Full {
            needed: arena.claimed(),
        })?;
        let mut writer = ClaimWriter::new(claim);
        launches.batch.directory = writer.write(&self.entries);
        for (jobs, (parameters, tiles)) in self.mips.iter().zip(&mut launches.mips) {
            *parameters = MipParameters {
                jobs: writer.write(jobs),
                job_count: jobs.len() as u32 - 1,
                padding: 0,
            };
            *tiles = jobs.last().map_or(0, |total| total.first_tile);
        }
        launches.store = (
            StoreParameters {
                jobs: writer.write(&self.stores),
                job_count: self.stores.len() as u32 - 1,
                padding: 0,
            },
            self.stores.last().map_or(0, |total| total.first_chunk),
        );
        Ok(())
    }
}

impl CudaBatch {
    /// Fixes what the batch holds, makes room for the outputs and writes their addresses.
    fn make_room(
        &mut self,
        canvas: Size,
        gathered: &[Gathered],
        candidates: u32,
        parameters: &mut BatchParameters,
    ) -> Result<(), CudaError> {
        let mut parts = Parts { end: 0 };
        let count = u64::from(candidates);
        // The order of the fields; the base is added below.
        parameters.first_instances = parts.take(gathered.len() as u64 + 1, 4);
        parameters.boxes = parts.take(count, 16);
        parameters.labels = parts.take(count, 8);
        parameters.areas = parts.take(count, 4);
        parameters.full_areas = parts.take(count, 4);
        parameters.visible_fractions = parts.take(count, 4);
        parameters.iscrowd = parts.take(count, 1);
        parameters.ignored = parts.take(count, 1);
        parameters.is_pasted = parts.take(count, 1);
        parameters.source_ids = parts.take(count, 8);
        parameters.layers = parts.take(count, 4);
        let images = gathered.iter().map(|sample| sample.image);
        let bytes = usize::try_from(parts.end).unwrap_or(usize::MAX);
        let outputs = self.grow_outputs(canvas, images, candidates as usize, bytes)?;
        let address = |memory: &Option<_>| memory.as_ref().map_or(0, DeviceMemory::address);
        parameters.image = address(&outputs.image);
        parameters.masks = address(&outputs.masks);
        let base = address(&outputs.instances);
        for field in [
            &mut parameters.first_instances,
            &mut parameters.boxes,
            &mut parameters.labels,
            &mut parameters.areas,
            &mut parameters.full_areas,
            &mut parameters.visible_fractions,
            &mut parameters.iscrowd,
            &mut parameters.ignored,
            &mut parameters.is_pasted,
            &mut parameters.source_ids,
            &mut parameters.layers,
        ] {
            *field += base;
        }
        Ok(())
    }
}

/// The sizes of levels 0, 1, 2, … of a chain, the last one again and again behind it.
fn level_sizes(size: Size) -> [Size; 16] {
    let mut sizes = [Size::SMALLEST; 16];
    for (slot, level) in sizes.iter_mut().zip(mip::levels(size)) {
        *slot = level;
    }
    sizes
}

/// Tiles of `tile` that cover `sides`.
fn tiles(sides: [u32; 2], tile: [u32; 2]) -> u64 {
    u64::from(sides[0].div_ceil(tile[0])) * u64::from(sides[1].div_ceil(tile[1]))
}

/// A number of blocks, if a device takes that many in one launch.
fn blocks(count: u64) -> Result<u32, ComposeError> {
    let fits = u32::try_from(count).ok().filter(|&count| count < 1 << 31);
    fits.ok_or(ComposeError::TooLarge {
        count: count as usize,
    })
}

fn sum(a: u32, b: u32) -> Result<u32, ComposeError> {
    blocks(u64::from(a) + u64::from(b))
}
