//! A batch from the device to the host, for those who write files or compare.

use super::batch::CudaBatch;
use super::error::CudaError;
use super::memory::{Event, Gpu, PinnedMemory, Stream};
use crate::annotations::rle::Rle;
use crate::compose::batch::{SampleSlot, Settled, words_of};
use crate::compose::{Batch, ComposeError, InstanceSource, MaskOutput};
use crate::geometry::Rect;

/// Copies batches to the host through pinned memory that it keeps.
#[derive(Debug)]
pub(crate) struct Downloader {
    gpu: Gpu,
    stream: Stream,
    done: Event,
    staging: Option<PinnedMemory>,
}

impl Drop for Downloader {
    fn drop(&mut self) {
        // Of a download that failed a copy may still be under way. What fails here failed before.
        let _ = self.done.record(self.stream.raw());
        let _ = self.done.synchronize();
    }
}

/// The arrays of all instances, on the host.
struct Instances {
    boxes: Vec<[f32; 4]>,
    labels: Vec<i64>,
    areas: Vec<u32>,
    full_areas: Vec<u32>,
    iscrowd: Vec<u8>,
    ignored: Vec<u8>,
    is_pasted: Vec<u8>,
    source_ids: Vec<i64>,
    layers: Vec<i32>,
}

impl Downloader {
    pub fn new(gpu: &Gpu) -> Result<Downloader, CudaError> {
        Ok(Downloader {
            stream: gpu.stream()?,
            done: gpu.event(false)?,
            staging: None,
            gpu: gpu.clone(),
        })
    }

    /// Fills `batch`, whose former contents are lost, with what is in `from`.
    pub fn download(&mut self, from: &CudaBatch, batch: &mut Batch) -> Result<(), ComposeError> {
        batch.clear();
        if batch.spec() != from.spec() {
            return Err(ComposeError::Output {
                field: "element",
                problem: format!(
                    "the batch to fill was made for {:?}; {:?} was expected",
                    batch.spec(),
                    from.spec()
                ),
            });
        }
        let image = from.image_address().ok_or(CudaError::GivenAway)?;
        batch.begin(from.canvas(), from.len())?;
        // Not as a consumer: all copies are done when this returns, and the stream may go.
        from.ready.hold_up(self.stream.raw())?;
        let first = from.first_instances()?.to_vec();
        let count = first[from.len()] as usize;
        let instances = self.instances(from, count)?;
        let image_bytes = from.image_bytes() / from.len().max(1);
        for (sample, &image_id) in from.image_ids().iter().enumerate() {
            let slot = &mut batch.slots_mut()[sample];
            slot.image_id = image_id;
            let address = image + (sample * image_bytes) as u64;
            let image = self.fetch(address, image_bytes)?;
            slot.image.values_mut().copy_from_slice(image);
            let range = first[sample] as usize..first[sample + 1] as usize;
            let settled = range.clone().map(|index| instances.settled(index));
            slot.settled.extend(settled);
            self.masks(from, range, slot)?;
        }
        batch.finish(from.len());
        Ok(())
    }

    /// The masks of one sample, in the form that was asked for.
    fn masks(
        &mut self,
        from: &CudaBatch,
        range: std::ops::Range<usize>,
        slot: &mut SampleSlot,
    ) -> Result<(), ComposeError> {
        if !from.has_masks() {
            return Ok(());
        }
        let words = from.mask_words();
        let canvas = from.canvas();
        let stride = words_of(canvas.width() as usize);
        if from.spec().masks == MaskOutput::Bits {
            slot.masks
                .reserve(range.len(), stride, canvas.height() as usize)?;
        }
        for (number, index) in range.enumerate() {
            let address = from.addresses().masks + (index * 4 * words) as u64;
            let bytes = self.fetch(address, 4 * words)?;
            if from.spec().masks == MaskOutput::Bits {
                let bits = slot.masks.blank(number, canvas.rect());
                bytemuck::cast_slice_mut(bits).copy_from_slice(bytes);
                continue;
            }
            let bits: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
            let bounds = [0, 0, canvas.width(), canvas.height()];
            let rle = Rle::from_box_bits(canvas.width(), canvas.height(), bounds, stride, &bits)?;
            slot.settled[number].rle = Some(rle);
        }
        Ok(())
    }

    fn instances(&mut self, from: &CudaBatch, count: usize) -> Result<Instances, CudaError> {
        let addresses = *from.addresses();
        Ok(Instances {
            boxes: self.values(addresses.boxes, count)?,
            labels: self.values(addresses.labels, count)?,
            areas: self.values(addresses.areas, count)?,
            full_areas: self.values(addresses.full_areas, count)?,
            iscrowd: self.values(addresses.iscrowd, count)?,
            ignored: self.values(addresses.ignored, count)?,
            is_pasted: self.values(addresses.is_pasted, count)?,
            source_ids: self.values(addresses.source_ids, count)?,
            layers: self.values(addresses.layers, count)?,
        })
    }

    fn values<T: bytemuck::Pod>(
        &mut self,
        address: u64,
        count: usize,
    ) -> Result<Vec<T>, CudaError> {
        let bytes = self.fetch(address, count * size_of::<T>())?;
        Ok(bytemuck::pod_collect_to_vec(bytes))
    }

    /// Bytes of the batch that this downloader's stream waits for.
    fn fetch(&mut self, address: u64, bytes: usize) -> Result<&[u8], CudaError> {
        if bytes == 0 {
            return Ok(&[]);
        }
        if self
            .staging
            .as_ref()
            .is_none_or(|staging| staging.bytes() < bytes)
        {
            self.staging = None;
            self.staging = Some(self.gpu.pinned_memory("a download", bytes, false)?);
        }
        let Some(staging) = &self.staging else {
            return Ok(&[]);
        };
        // SAFETY: the outputs hold that many bytes at `address` for as long as the batch is
        // borrowed, and the staging memory does; nobody touches it before `done` below.
        let copied = unsafe {
            let driver = self.gpu.driver();
            driver.copy_to_host(self.stream.raw(), staging.pointer(), address, bytes)
        };
        copied.map_err(|error| self.gpu.failed("download", error))?;
        self.done.record(self.stream.raw())?;
        self.done.synchronize()?;
        // SAFETY: the copy that filled these bytes is done, and the next one needs `self` alone.
        Ok(unsafe { std::slice::from_raw_parts(staging.pointer().as_ptr(), bytes) })
    }
}

impl Instances {
    /// One of them, as a back end hands it over. Its mask comes apart.
    fn settled(&self, index: usize) -> Settled {
        let [x0, y0, x1, y1] = self.boxes[index].map(|edge| edge as i32);
        let id = self.source_ids[index];
        let is_pasted = self.is_pasted[index] != 0;
        Settled {
            category: self.labels[index],
            rect: Rect { x0, y0, x1, y1 },
            area: self.areas[index],
            full_area: self.full_areas[index],
            iscrowd: self.iscrowd[index],
            ignored: self.ignored[index],
            source: match is_pasted {
                true => InstanceSource::Cutout(id as u64),
                false => InstanceSource::Annotation(id),
            },
            layer: u16::try_from(self.layers[index]).ok(),
            rle: None,
        }
    }
}
