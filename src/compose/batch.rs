//! What composing gives: images, masks, boxes and labels of a batch.

use half::{bf16, f16};

use super::encode::Encoded;
use super::error::ComposeError;
use super::output::{ElementType, MaskOutput, OutputSpec};
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
    image: ImageData,
    image_ids: Vec<i64>,
    /// The first instance of each sample, and behind the last one the number of all.
    first_instances: Vec<usize>,
    boxes: Vec<[f32; 4]>,
    labels: Vec<i64>,
    areas: Vec<u32>,
    full_areas: Vec<u32>,
    visible_fractions: Vec<f32>,
    iscrowd: Vec<u8>,
    sources: Vec<InstanceSource>,
    layers: Vec<Option<u16>>,
    /// Where each sample's masks begin: there is room for all of its candidates.
    first_masks: Vec<usize>,
    mask_bits: Vec<u32>,
    run_lengths: Vec<Rle>,
    settled: Vec<Vec<Settled>>,
}

/// The images of a batch in one of the element types.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageData {
    /// 8-bit pixels.
    U8(Vec<u8>),
    /// Half precision.
    F16(Vec<f16>),
    /// bfloat16.
    BF16(Vec<bf16>),
    /// Single precision.
    F32(Vec<f32>),
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
    pub source: InstanceSource,
    pub layer: Option<u16>,
    pub rle: Option<Rle>,
}

/// One sample's image in the batch.
pub(crate) enum ImageSlice<'a> {
    U8(&'a mut [u8]),
    F16(&'a mut [f16]),
    BF16(&'a mut [bf16]),
    F32(&'a mut [f32]),
}

/// Where one sample goes.
pub(crate) struct SampleTarget<'a> {
    /// Position in the encoded plan.
    pub sample: usize,
    pub image: ImageSlice<'a>,
    pub mask_output: MaskOutput,
    pub mask_bits: &'a mut [u32],
    pub settled: &'a mut Vec<Settled>,
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
        self.mask_bits
            .get(instance * words..(instance + 1) * words)
            .filter(|bits| !bits.is_empty())
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
            canvas: Size::new(1, 1).unwrap_or_else(|| unreachable!("1x1 is a size")),
            image: match spec.element {
                ElementType::U8 => ImageData::U8(Vec::new()),
                ElementType::F16 => ImageData::F16(Vec::new()),
                ElementType::BF16 => ImageData::BF16(Vec::new()),
                ElementType::F32 => ImageData::F32(Vec::new()),
            },
            image_ids: Vec::new(),
            first_instances: vec![0],
            boxes: Vec::new(),
            labels: Vec::new(),
            areas: Vec::new(),
            full_areas: Vec::new(),
            visible_fractions: Vec::new(),
            iscrowd: Vec::new(),
            sources: Vec::new(),
            layers: Vec::new(),
            first_masks: vec![0],
            mask_bits: Vec::new(),
            run_lengths: Vec::new(),
            settled: Vec::new(),
        }
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

    /// All images, one after another.
    pub fn image(&self) -> &ImageData {
        &self.image
    }

    /// Instances over all samples.
    pub fn instance_count(&self) -> usize {
        self.labels.len()
    }

    /// The 8-bit pixels of one image in the batch's layout; `None` for another element type or a
    /// sample that is not there.
    pub fn pixels(&self, sample: usize) -> Option<&[u8]> {
        let length = 3 * self.canvas.pixels();
        match &self.image {
            ImageData::U8(_) if sample >= self.len() => None,
            ImageData::U8(values) => values.get(sample * length..(sample + 1) * length),
            _ => None,
        }
    }

    /// The instances of one sample, or `None` past the end.
    pub fn sample(&self, sample: usize) -> Option<SampleView<'_>> {
        let image_id = *self.image_ids.get(sample)?;
        let range = self.first_instances[sample]..self.first_instances[sample + 1];
        let mask_bits = match self.spec.masks {
            MaskOutput::Bits => {
                let first = self.first_masks[sample];
                &self.mask_bits[first..first + range.len() * self.mask_words()]
            }
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

    /// Words of one mask.
    fn mask_words(&self) -> usize {
        words_of(self.canvas.width() as usize) * self.canvas.height() as usize
    }

    /// Makes room for the samples of `encoded` and gives each its place. The batch is empty until
    /// [`Batch::collect`].
    pub(crate) fn prepare(
        &mut self,
        encoded: &Encoded<'_>,
        samples: &[usize],
    ) -> Result<Vec<SampleTarget<'_>>, ComposeError> {
        self.clear();
        let count = encoded.samples.len();
        if let Some(&sample) = samples.iter().find(|&&sample| sample >= count) {
            return Err(ComposeError::NoSample { sample, count });
        }
        let chosen = || samples.iter().map(|&sample| &encoded.samples[sample]);
        self.canvas = encoded.canvas;
        self.settled.resize_with(samples.len(), Vec::new);
        self.first_masks.clear();
        self.first_masks.push(0);
        if self.spec.masks == MaskOutput::Bits {
            let words = self.mask_words();
            let mut end = 0;
            for sample in chosen() {
                end += (sample.instance_count + sample.layer_count) as usize * words;
                self.first_masks.push(end);
            }
            resize(&mut self.mask_bits, end, "masks")?;
        } else {
            self.first_masks.resize(samples.len() + 1, 0);
        }
        self.targets(samples)
    }

    fn targets(&mut self, samples: &[usize]) -> Result<Vec<SampleTarget<'_>>, ComposeError> {
        let pixels = 3 * self.canvas.pixels();
        let mut bits = &mut self.mask_bits[..];
        let images = self.image.split(samples.len(), pixels)?;
        let places = images.into_iter().zip(&mut self.settled).enumerate();
        let targets = places
            .map(|(index, (image, settled))| {
                let length = self.first_masks[index + 1] - self.first_masks[index];
                let (mask_bits, rest) = std::mem::take(&mut bits).split_at_mut(length);
                bits = rest;
                SampleTarget {
                    sample: samples[index],
                    image,
                    mask_output: self.spec.masks,
                    mask_bits,
                    settled,
                }
            })
            .collect();
        Ok(targets)
    }

    /// Forgets all samples but keeps the memory.
    fn clear(&mut self) {
        self.image_ids.clear();
        self.boxes.clear();
        self.labels.clear();
        self.areas.clear();
        self.full_areas.clear();
        self.visible_fractions.clear();
        self.iscrowd.clear();
        self.sources.clear();
        self.layers.clear();
        self.run_lengths.clear();
        self.first_instances.clear();
        self.first_instances.push(0);
    }

    /// Gathers what stayed of all prepared samples into the batch's columns.
    pub(crate) fn collect(&mut self, encoded: &Encoded<'_>, samples: &[usize]) {
        let images = samples.iter().map(|&sample| encoded.samples[sample].image);
        self.image_ids.extend(images);
        for settled in &mut self.settled {
            for instance in settled.drain(..) {
                let Rect { x0, y0, x1, y1 } = instance.rect;
                // Canvas coordinates are at most 8192 and so exact in single precision.
                self.boxes.push([x0, y0, x1, y1].map(|edge| edge as f32));
                self.labels.push(instance.category);
                self.areas.push(instance.area);
                self.full_areas.push(instance.full_area);
                self.visible_fractions
                    .push((f64::from(instance.area) / f64::from(instance.full_area)) as f32);
                self.iscrowd.push(instance.iscrowd);
                self.sources.push(instance.source);
                self.layers.push(instance.layer);
                self.run_lengths.extend(instance.rle);
            }
            self.first_instances.push(self.labels.len());
        }
    }
}

impl ImageData {
    /// Resizes to `samples` images of `length` values and splits into them.
    fn split(
        &mut self,
        samples: usize,
        length: usize,
    ) -> Result<Vec<ImageSlice<'_>>, ComposeError> {
        fn chunks<T: Clone + Default>(
            values: &mut Vec<T>,
            samples: usize,
            length: usize,
        ) -> Result<std::slice::ChunksExactMut<'_, T>, ComposeError> {
            resize(values, samples.saturating_mul(length), "images")?;
            Ok(values.chunks_exact_mut(length))
        }
        Ok(match self {
            ImageData::U8(values) => chunks(values, samples, length)?
                .map(ImageSlice::U8)
                .collect(),
            ImageData::F16(values) => chunks(values, samples, length)?
                .map(ImageSlice::F16)
                .collect(),
            ImageData::BF16(values) => chunks(values, samples, length)?
                .map(ImageSlice::BF16)
                .collect(),
            ImageData::F32(values) => chunks(values, samples, length)?
                .map(ImageSlice::F32)
                .collect(),
        })
    }
}

/// Resizes, or says how much memory is missing.
fn resize<T: Clone + Default>(
    values: &mut Vec<T>,
    length: usize,
    what: &'static str,
) -> Result<(), ComposeError> {
    values
        .try_reserve(length.saturating_sub(values.len()))
        .map_err(|_| ComposeError::Memory {
            what,
            bytes: length.saturating_mul(size_of::<T>()),
        })?;
    values.resize(length, T::default());
    Ok(())
}
