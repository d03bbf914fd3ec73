//! What composing gives: images, masks, boxes and labels of a batch.

use half::{bf16, f16};

use super::error::ComposeError;
use super::masks::Masks;
use super::output::{ElementType, MaskOutput, OutputSpec};
use super::pixels::{Piece, Pixels};
use crate::annotations::rle::Rle;
use crate::geometry::{Rect, Size};

/// A composed batch. Its memory is used again by the next batch that is composed into it.
///
/// Images lie in one array, `[batch, 3, height, width]` or `[batch, height, width, 3]`. Instances of
/// all samples lie one after another; [`Batch::sample`] gives those of one.
#[derive(Debug)]
pub struct Batch {
    spec: OutputSpec,
    canvas: Size,
    pixels: Pixels,
    /// Samples in the batch; `slots` may hold more, whose memory later batches use again.
    len: usize,
    slots: Vec<SampleSlot>,
    image_ids: Vec<i64>,
    /// The first instance of each sample, and behind the last one the number of all.
    first_instances: Vec<usize>,
    boxes: Vec<[f32; 4]>,
    labels: Vec<i64>,
    areas: Vec<u32>,
    full_areas: Vec<u32>,
    visible_fractions: Vec<f32>,
    iscrowd: Vec<u8>,
    ignored: Vec<u8>,
    sources: Vec<InstanceSource>,
    layers: Vec<Option<u16>>,
    run_lengths: Vec<Rle>,
}

/// The images of a batch in one of the element types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ImageData<'a> {
    /// 8-bit pixels.
    U8(&'a [u8]),
    /// Half precision.
    F16(&'a [f16]),
    /// bfloat16.
    BF16(&'a [bf16]),
    /// Single precision.
    F32(&'a [f32]),
}

/// Where an instance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceSource {
    /// The scene's annotation of that id.
    Annotation(i64),
    /// The bank's cutout of that index.
    Cutout(u64),
}

/// An instance that stays, as a back end hands it over.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub category: i64,
    pub rect: Rect,
    pub area: u32,
    pub full_area: u32,
    pub iscrowd: u8,
    pub ignored: u8,
    pub source: InstanceSource,
    pub layer: Option<u16>,
    pub rle: Option<Rle>,
}

/// What one sample becomes. It owns its memory, so that a thread that outlives the batch can fill
/// it; its image is a piece of the batch's.
#[derive(Debug, Default)]
pub(crate) struct SampleSlot {
    pub image: Piece,
    pub image_id: i64,
    /// The masks of what stays; what lies behind them is of earlier samples.
    pub masks: Masks,
    pub settled: Vec<Settled>,
}

/// The instances of one sample, in the order of rule 14. All slices have the same length n.
#[derive(Clone, Copy, Debug)]
pub struct SampleView<'a> {
    /// Id of the scene's image.
    pub image_id: i64,
    /// Visible boxes as x0, y0, x1, y1 in pixels, half open: `[n, 4]`.
    pub boxes: &'a [[f32; 4]],
    /// Category ids: `[n]`.
    pub labels: &'a [i64],
    /// Visible pixels: `[n]`.
    pub areas: &'a [u32],
    /// Pixels on the canvas before occlusion: `[n]`.
    pub full_areas: &'a [u32],
    /// Visible share of the pixels before occlusion, 0..=1: `[n]`.
    pub visible_fractions: &'a [f32],
    /// COCO's crowd flags: `[n]`.
    pub iscrowd: &'a [u8],
    /// 1 where the label was dropped: the object is in the picture, but a loss should neither
    /// reward nor punish finding it. `[n]`.
    pub ignored: &'a [u8],
    /// Where each instance comes from: `[n]`.
    pub sources: &'a [InstanceSource],
    /// The layer of pasted instances, `None` for those of the scene: `[n]`.
    pub layers: &'a [Option<u16>],
    /// Visible masks, `[n, height, words]`: bit x % 32 of word x / 32 is pixel x. Empty unless the
    /// output is [`MaskOutput::Bits`].
    pub mask_bits: &'a [u32],
    /// Visible masks as COCO run lengths: `[n]`, or empty unless the output is [`MaskOutput::Rle`].
    pub run_lengths: &'a [Rle],
}

impl<'a> SampleView<'a> {
    /// The mask bits of one instance, or `None` if there are none.
    pub fn mask(&self, instance: usize) -> Option<&'a [u32]> {
        let words = self.mask_bits.len().checked_div(self.labels.len())?;
        // Without masks there are no words to make chunks of.
        let mut masks = self.mask_bits.chunks_exact(words.max(1));
        masks.nth(instance)
    }
}

/// 32-bit words of a row of `width` mask bits.
pub fn words_of(width: usize) -> usize {
    width.div_ceil(32)
}

impl Batch {
    /// An empty batch of that form.
    pub fn new(spec: OutputSpec) -> Batch {
        Batch {
            spec,
            canvas: Size::SMALLEST,
            pixels: Pixels::default(),
            len: 0,
            slots: Vec::new(),
            image_ids: Vec::new(),
            first_instances: vec![0],
            boxes: Vec::new(),
            labels: Vec::new(),
            areas: Vec::new(),
            full_areas: Vec::new(),
            visible_fractions: Vec::new(),
            iscrowd: Vec::new(),
            ignored: Vec::new(),
            sources: Vec::new(),
            layers: Vec::new(),
            run_lengths: Vec::new(),
        }
    }

    /// The form it was made for.
    pub fn spec(&self) -> &OutputSpec {
        &self.spec
    }

    /// Samples in the batch.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Size of every image.
    pub fn canvas(&self) -> Size {
        self.canvas
    }

    /// All images, one after another: `[batch, 3, height, width]` or `[batch, height, width, 3]`.
    /// They begin at a multiple of 64 bytes.
    pub fn image(&self) -> ImageData<'_> {
        match self.spec.element {
            ElementType::U8 => ImageData::U8(self.pixels.values()),
            ElementType::F16 => ImageData::F16(self.pixels.values()),
            ElementType::BF16 => ImageData::BF16(self.pixels.values()),
            ElementType::F32 => ImageData::F32(self.pixels.values()),
        }
    }

    /// The images as bytes of this machine's order, for those who pass them on without looking.
    pub fn image_bytes(&self) -> &[u8] {
        self.pixels.values()
    }

    /// Instances over all samples.
    pub fn instance_count(&self) -> usize {
        self.labels.len()
    }

    /// The 8-bit pixels of one image in the batch's layout; `None` for another element type or a
    /// sample that is not there.
    pub fn pixels(&self, sample: usize) -> Option<&[u8]> {
        let length = 3 * self.canvas.pixels();
        match self.image() {
            ImageData::U8(values) => values.chunks_exact(length).nth(sample),
            _ => None,
        }
    }

    /// The instances of one sample, or `None` past the end.
    pub fn sample(&self, sample: usize) -> Option<SampleView<'_>> {
        let image_id = *self.image_ids.get(sample)?;
        let range = self.first_instances[sample]..self.first_instances[sample + 1];
        let mask_bits = match self.spec.masks {
            MaskOutput::Bits => self.slots[sample].masks.bits(range.len()),
            _ => &[],
        };
        let run_lengths = match self.spec.masks {
            MaskOutput::Rle => &self.run_lengths[range.clone()],
            _ => &[],
        };
        Some(SampleView {
            image_id,
            boxes: &self.boxes[range.clone()],
            labels: &self.labels[range.clone()],
            areas: &self.areas[range.clone()],
            full_areas: &self.full_areas[range.clone()],
            visible_fractions: &self.visible_fractions[range.clone()],
            iscrowd: &self.iscrowd[range.clone()],
            ignored: &self.ignored[range.clone()],
            sources: &self.sources[range.clone()],
            layers: &self.layers[range],
            mask_bits,
            run_lengths,
        })
    }

    /// The masks of one sample as bytes of 0 or 1, `[n, height, width]`, appended to `masks`. Does
    /// nothing unless the output is [`MaskOutput::Bits`].
    pub fn masks_u8(&self, sample: usize, masks: &mut Vec<u8>) {
        let Some(view) = self.sample(sample) else {
            return;
        };
        let width = self.canvas.width() as usize;
        masks.reserve(view.mask_bits.len() * 32);
        for row in view.mask_bits.chunks_exact(words_of(width)) {
            let bits = row
                .iter()
                .flat_map(|&word| (0..32).map(move |bit| (word >> bit & 1) as u8));
            masks.extend(bits.take(width));
        }
    }

    /// The mask of one instance as COCO run lengths, whichever form the masks have; `None` if it
    /// is not there or the output is [`MaskOutput::None`].
    pub fn run_lengths(&self, sample: usize, instance: usize) -> Option<Rle> {
        let view = self.sample(sample)?;
        if let Some(rle) = view.run_lengths.get(instance) {
            return Some(rle.clone());
        }
        let bits = view.mask(instance)?;
        let [x0, y0, x1, y1] = view.boxes[instance].map(|edge| edge as u32);
        let stride = words_of(self.canvas.width() as usize);
        // The box begins at a whole word, as the run lengths' constructor wants it.
        let left = x0 / 32;
        Rle::from_box_bits(
            self.canvas.width(),
            self.canvas.height(),
            [32 * left, y0, x1 - 32 * left, y1 - y0],
            stride,
            &bits[y0 as usize * stride + left as usize..],
        )
        .ok()
    }

    /// Empties the batch and makes a slot, with its piece of the image, for each of `count` samples
    /// of that canvas. The batch stays empty until [`Batch::finish`].
    pub(crate) fn begin(&mut self, canvas: Size, count: usize) -> Result<(), ComposeError> {
        self.clear();
        self.canvas = canvas;
        // Pieces of a batch that was never finished go back first.
        self.pixels
            .join(self.slots.iter_mut().map(|slot| &mut slot.image));
        let length = 3 * canvas.pixels() * self.spec.element.bytes();
        self.pixels.reserve(count, length)?;
        if self.slots.len() < count {
            self.slots.resize_with(count, SampleSlot::default);
        }
        for slot in &mut self.slots[..count] {
            slot.image = self.pixels.split(length);
            slot.settled.clear();
        }
        Ok(())
    }

    /// The slots, in sample order: the first ones are those of [`Batch::begin`].
    pub(crate) fn slots_mut(&mut self) -> &mut [SampleSlot] {
        &mut self.slots
    }

    /// Joins the pieces of the image and gathers what stayed of all `count` samples.
    pub(crate) fn finish(&mut self, count: usize) {
        self.pixels
            .join(self.slots.iter_mut().map(|slot| &mut slot.image));
        self.len = count;
        for slot in &mut self.slots[..count] {
            self.image_ids.push(slot.image_id);
            for instance in slot.settled.drain(..) {
                let Rect { x0, y0, x1, y1 } = instance.rect;
                // Canvas coordinates are at most 8192 and so exact in single precision.
                self.boxes.push([x0, y0, x1, y1].map(|edge| edge as f32));
                self.labels.push(instance.category);
                self.areas.push(instance.area);
                self.full_areas.push(instance.full_area);
                self.visible_fractions
                    .push((f64::from(instance.area) / f64::from(instance.full_area)) as f32);
                self.iscrowd.push(instance.iscrowd);
                self.ignored.push(instance.ignored);
                self.sources.push(instance.source);
                self.layers.push(instance.layer);
                self.run_lengths.extend(instance.rle);
            }
            self.first_instances.push(self.labels.len());
        }
    }

    /// Forgets all samples but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.pixels.clear();
        self.image_ids.clear();
        self.boxes.clear();
        self.labels.clear();
        self.areas.clear();
        self.full_areas.clear();
        self.visible_fractions.clear();
        self.iscrowd.clear();
        self.ignored.clear();
        self.sources.clear();
        self.layers.clear();
        self.run_lengths.clear();
        self.first_instances.clear();
        self.first_instances.push(0);
    }
}
