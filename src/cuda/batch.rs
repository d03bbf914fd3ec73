//! A composed batch in device memory, and who may use it when.
//!
//! A batch goes round: the host gathers into its arena; one copy and the kernels are enqueued; the
//! training loop makes its own streams wait for them ([`CudaBatch::wait_on`]) and works; when it
//! drops the batch, events on those streams say until when the memory is in use; the next round's
//! copy and kernels wait for them on the device. No thread waits.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::arena::Arena;
use super::arrays::Expanded;
use super::download::Downloader;
use super::driver::RawStream;
use super::error::CudaError;
use super::interop::release_stream;
use super::layout::BatchParameters;
use super::memory::{DeviceMemory, Event, Gpu, PinnedMemory, Stream};
use super::prepare::Launches;
use crate::compose::batch::words_of;
use crate::compose::{Batch, ComposeError, OutputSpec};
use crate::geometry::Size;

/// A composed batch in device memory. Its memory is used again by the next batch that is composed
/// into it.
///
/// Everything it holds may be read on a stream after [`CudaBatch::wait_on`] was called with that
/// stream, until the batch is dropped.
#[derive(Debug)]
pub struct CudaBatch {
    gpu: Gpu,
    spec: OutputSpec,
    canvas: Size,
    image_ids: Vec<i64>,
    arena: Option<Arc<Arena>>,
    outputs: Outputs,
    /// What was launched last.
    pub(super) launches: Launches,
    /// The arena's copy is done.
    pub(super) copied: Event,
    /// The numbers of instances are on the host.
    pub(super) counted: Event,
    /// The kernels are done.
    pub(super) ready: Event,
    /// Streams that were made to wait for it.
    consumers: Mutex<Vec<RawStream>>,
    /// How far they had come when the batch was dropped.
    consumed: Vec<Event>,
    /// How many of `consumed` are of the last round.
    consumed_count: usize,
    pub(super) expanded: Mutex<Expanded>,
    /// Images in memory of their own, which a tensor can take over, instead of in the outputs'.
    #[cfg(feature = "candle-cuda")]
    pub(super) images: super::candle::OwnImages,
    /// Marking how far a consumer had come has failed: nobody knows when it is done.
    lost: Option<CudaError>,
}

/// Bytes that a batch's outputs take.
struct Room {
    image: usize,
    masks: usize,
    instances: usize,
    first_instances: usize,
}

/// The outputs' memory.
#[derive(Debug)]
pub(super) struct Outputs {
    pub image: Option<DeviceMemory>,
    pub masks: Option<DeviceMemory>,
    /// The arrays of what stays, one after another.
    pub instances: Option<DeviceMemory>,
    /// `u32[len + 1]`, as [`BatchParameters::first_instances`].
    pub first_instances: Option<PinnedMemory>,
}

impl CudaBatch {
    /// An empty batch of that form.
    pub(crate) fn new(gpu: &Gpu, spec: OutputSpec) -> Result<CudaBatch, CudaError> {
        Ok(CudaBatch {
            spec,
            canvas: Size::SMALLEST,
            image_ids: Vec::new(),
            arena: None,
            outputs: Outputs {
                image: None,
                masks: None,
                instances: None,
                first_instances: None,
            },
            launches: Launches::default(),
            copied: gpu.event(false)?,
            counted: gpu.event(false)?,
            ready: gpu.event(false)?,
            consumers: Mutex::new(Vec::new()),
            consumed: Vec::new(),
            consumed_count: 0,
            expanded: Mutex::default(),
            #[cfg(feature = "candle-cuda")]
            images: super::candle::OwnImages::default(),
            lost: None,
            gpu: gpu.clone(),
        })
    }

    /// The GPU whose memory it is in.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The form it was made for.
    pub fn spec(&self) -> &OutputSpec {
        &self.spec
    }

    /// Samples in the batch.
    pub fn len(&self) -> usize {
        self.image_ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.image_ids.is_empty()
    }

    /// Size of every image.
    pub fn canvas(&self) -> Size {
        self.canvas
    }

    /// Ids of the scenes' images: `[batch]`.
    pub fn image_ids(&self) -> &[i64] {
        &self.image_ids
    }

    /// Makes `stream` wait, on the device, until the batch is composed, and keeps the batch's memory
    /// from being used again before what is on that stream when the batch is dropped is done. `stream`
    /// is a CUDA stream of the same device, of this crate or any other library; it outlives the batch,
    /// as [`RawStream::from_handle`] has it.
    ///
    /// # Errors
    /// [`CudaError::Failed`] if the driver refuses, for one because an earlier kernel failed.
    pub fn wait_on(&self, stream: RawStream) -> Result<(), CudaError> {
        let mut consumers = self
            .consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.ready.hold_up(stream)?;
        let stream = release_stream(stream);
        if !consumers.contains(&stream) {
            consumers.push(stream);
        }
        Ok(())
    }

    /// The first instance of each sample in the arrays of all instances, and behind the last one the
    /// number of all: `[batch + 1]`. Waits on this thread until they are counted, which comes before the
    /// images are done; in batches that a loader hands over it mostly is.
    ///
    /// # Errors
    /// [`CudaError::Failed`] if a kernel of this batch or an earlier one failed.
    pub fn first_instances(&self) -> Result<&[u32], CudaError> {
        let Some(pinned) = self
            .outputs
            .first_instances
            .as_ref()
            .filter(|_| !self.is_empty())
        else {
            return Ok(&[0]);
        };
        self.counted.synchronize()?;
        // SAFETY: the memory holds at least len + 1 values (`CudaBatch::grow_outputs`), is aligned to
        // 64 bytes, and was written by a copy that came before `counted` on its stream; nobody
        // writes it again before `launch`, which needs this batch alone.
        let values = unsafe {
            std::slice::from_raw_parts(pinned.pointer().cast::<u32>().as_ptr(), self.len() + 1)
        };
        Ok(values)
    }

    /// Instances over all samples; waits as [`CudaBatch::first_instances`].
    ///
    /// # Errors
    /// Those of [`CudaBatch::first_instances`].
    pub fn instance_count(&self) -> Result<usize, CudaError> {
        Ok(self.first_instances()?[self.len()] as usize)
    }

    /// The instances of one sample in the arrays of all; `None` past the end.
    ///
    /// # Errors
    /// Those of [`CudaBatch::first_instances`].
    pub fn instances_of(&self, sample: usize) -> Result<Option<Range<usize>>, CudaError> {
        let first = self.first_instances()?;
        let ends = first.get(sample).zip(first.get(sample + 1));
        Ok(ends.map(|(&start, &end)| start as usize..end as usize))
    }

    /// Where everything is, as the kernels were told.
    pub(super) fn addresses(&self) -> &BatchParameters {
        &self.launches.batch
    }

    /// Copies the batch to the host, into `batch`, whose former contents are lost and whose form must
    /// be this one's. Waits on this thread. For files and comparisons.
    ///
    /// # Errors
    /// [`ComposeError::Cuda`] if a kernel or a copy failed, [`ComposeError::Memory`] if the host has
    /// no memory for it, [`ComposeError::Output`] if `batch` was made for another form.
    pub fn download(&self, batch: &mut Batch) -> Result<(), ComposeError> {
        Downloader::new(&self.gpu)?.download(self, batch)
    }

    /// Words of one mask.
    pub(super) fn mask_words(&self) -> usize {
        words_of(self.canvas.width() as usize) * self.canvas.height() as usize
    }

    /// Bytes of the images in the slot's memory.
    fn image_bytes_of_slot(&self) -> usize {
        #[cfg(feature = "candle-cuda")]
        if self.images.are_own() {
            return 0;
        }
        self.image_bytes()
    }

    /// Where the images are; `None` if a tensor has taken them over.
    pub(super) fn image_address(&self) -> Option<u64> {
        #[cfg(feature = "candle-cuda")]
        if self.images.are_taken() {
            return None;
        }
        Some(self.addresses().image)
    }

    /// Bytes of all images.
    pub(super) fn image_bytes(&self) -> usize {
        self.len() * 3 * self.canvas.pixels() * self.spec.element.bytes()
    }

    /// Whether the host may write the arena again: the copy out of it is done.
    pub(crate) fn is_free(&self) -> Result<bool, CudaError> {
        self.copied.is_done()
    }

    /// Waits on this thread until [`CudaBatch::is_free`].
    pub(crate) fn wait_until_free(&self) -> Result<(), CudaError> {
        self.copied.synchronize()
    }

    /// Empties the batch and hands out its arena, of at least `arena_bytes` bytes. It must be free,
    /// and nobody else may have the arena still.
    pub(crate) fn begin(&mut self, arena_bytes: usize) -> Result<Arc<Arena>, CudaError> {
        self.image_ids.clear();
        self.copied.synchronize()?;
        let fits = |arena: &Arc<Arena>| arena.capacity() >= arena_bytes;
        if !self.arena.as_ref().is_some_and(fits) {
            // The kernels of the round before may still read the old one.
            self.ready.synchronize()?;
            self.arena = None;
        }
        let arena = match self.arena.take().map(Arc::try_unwrap) {
            Some(Ok(mut arena)) => {
                arena.reset();
                arena
            }
            // In the hands of a thread that was given up: it is freed there.
            Some(Err(shared)) => {
                self.arena = Some(shared);
                self.ready.synchronize()?;
                Arena::new(&self.gpu, arena_bytes)?
            }
            None => Arena::new(&self.gpu, arena_bytes)?,
        };
        Ok(Arc::clone(self.arena.insert(Arc::new(arena))))
    }

    /// Where the counts of instances go.
    pub(super) fn first_instances_memory(&self) -> Option<&PinnedMemory> {
        self.outputs.first_instances.as_ref()
    }

    /// The arena that is being gathered into.
    pub(super) fn arena(&self) -> Option<&Arc<Arena>> {
        self.arena.as_ref()
    }

    /// Fixes which images the batch holds, and makes room for the outputs of that many candidates.
    pub(super) fn grow_outputs(
        &mut self,
        canvas: Size,
        images: impl Iterator<Item = i64>,
        candidates: usize,
        instance_bytes: usize,
    ) -> Result<&mut Outputs, CudaError> {
        self.canvas = canvas;
        self.image_ids.clear();
        self.image_ids.extend(images);
        let expanded = self.expanded.get_mut();
        expanded.unwrap_or_else(PoisonError::into_inner).forget();
        let mask_bytes = match self.has_masks() {
            true => 4 * self.mask_words(),
            false => 0,
        };
        let room = Room {
            image: self.image_bytes_of_slot(),
            // Which of them stay is known on the device alone.
            masks: candidates.saturating_mul(mask_bytes),
            instances: instance_bytes,
            first_instances: 4 * (self.len() + 1),
        };
        if !self.outputs.have(&room) {
            self.wait_until_unused()?;
            self.outputs.grow(&self.gpu, &room)?;
        }
        Ok(&mut self.outputs)
    }

    /// Whether masks are composed; run lengths are made of them on the host.
    pub(super) fn has_masks(&self) -> bool {
        self.spec.masks != crate::compose::MaskOutput::None
    }

    /// Waits on this thread until neither our streams nor the consumers' use the outputs.
    fn wait_until_unused(&mut self) -> Result<(), CudaError> {
        if let Some(error) = self.lost.take() {
            return Err(error);
        }
        self.ready.synchronize()?;
        let consumed = &self.consumed[..self.consumed_count];
        consumed.iter().try_for_each(Event::synchronize)
    }

    /// Makes a stream wait until no consumer reads the outputs any more. Until that has worked out,
    /// the consumers are remembered.
    pub(super) fn hold_up_for_consumers(&mut self, stream: &Stream) -> Result<(), CudaError> {
        if let Some(error) = self.lost.take() {
            return Err(error);
        }
        let consumed = &self.consumed[..self.consumed_count];
        consumed.iter().try_for_each(|event| stream.wait(event))?;
        self.consumed_count = 0;
        Ok(())
    }

    /// The training loop has dropped the batch: marks how far its streams have come, besides what is
    /// marked since the last launch. A failure is told when the batch is composed into again.
    pub(crate) fn let_go(&mut self) {
        let streams = self
            .consumers
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for &stream in streams.iter() {
            if self.consumed.len() == self.consumed_count {
                match self.gpu.event(false) {
                    Ok(event) => self.consumed.push(event),
                    Err(error) => {
                        self.lost = Some(error);
                        break;
                    }
                }
            }
            match self.consumed[self.consumed_count].record(stream) {
                Ok(()) => self.consumed_count += 1,
                Err(error) => self.lost = Some(error),
            }
        }
        streams.clear();
    }
}

impl Drop for CudaBatch {
    fn drop(&mut self) {
        self.let_go();
        // Freed memory must not be in use. What fails here failed before, and was told then.
        let _ = self.copied.synchronize();
        let _ = self.ready.synchronize();
        for event in &self.consumed[..self.consumed_count] {
            let _ = event.synchronize();
        }
    }
}

impl Outputs {
    /// Whether there is that much room.
    fn have(&self, room: &Room) -> bool {
        let has = |memory: &Option<DeviceMemory>, bytes: usize| {
            memory
                .as_ref()
                .is_some_and(|memory| memory.bytes() >= bytes)
        };
        let pinned = self.first_instances.as_ref();
        has(&self.image, room.image)
            && has(&self.masks, room.masks)
            && has(&self.instances, room.instances)
            && pinned.is_some_and(|memory| memory.bytes() >= room.first_instances)
    }

    /// Makes that much room, where there is less. Nobody uses the old memory any more.
    fn grow(&mut self, gpu: &Gpu, room: &Room) -> Result<(), CudaError> {
        grow(gpu, &mut self.image, "images", room.image)?;
        grow_with_slack(gpu, &mut self.masks, "masks", room.masks)?;
        let what = "boxes and labels";
        grow_with_slack(gpu, &mut self.instances, what, room.instances)?;
        let pinned = self.first_instances.as_ref();
        if pinned.is_none_or(|memory| memory.bytes() < room.first_instances) {
            self.first_instances = None;
            let memory = gpu.pinned_memory("instance counts", room.first_instances, false)?;
            self.first_instances = Some(memory);
        }
        Ok(())
    }
}

/// Gives `memory` at least that many bytes. The old one goes first.
fn grow(
    gpu: &Gpu,
    memory: &mut Option<DeviceMemory>,
    what: &'static str,
    bytes: usize,
) -> Result<(), CudaError> {
    if memory.as_ref().is_none_or(|memory| memory.bytes() < bytes) {
        *memory = None;
        *memory = Some(gpu.device_memory(what, bytes)?);
    }
    Ok(())
}

/// As [`grow`], for what changes from batch to batch: a quarter more than is needed now, and so mostly
/// no new memory later.
pub(super) fn grow_with_slack(
    gpu: &Gpu,
    memory: &mut Option<DeviceMemory>,
    what: &'static str,
    bytes: usize,
) -> Result<(), CudaError> {
    if memory
        .as_ref()
        .is_some_and(|memory| memory.bytes() >= bytes)
    {
        return Ok(());
    }
    grow(gpu, memory, what, bytes.saturating_add(bytes / 4))
}
