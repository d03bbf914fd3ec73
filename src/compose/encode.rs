//! From a checked plan to flat arrays: the last place where anything is looked up or rounded.
//!
//! Sines and Gaussians end here (rules 9 and 12); what follows is integers. The structs are
//! `#[repr(C)]` and hold no pointers, so that a device takes them as they are.

use std::borrow::Cow;
use std::collections::HashMap;

use bytemuck::{Pod, Zeroable};

use super::error::ComposeError;
use super::rules::{self, IDENTITY_COLOUR};
use crate::bank::{CUTOUT_CHANNELS, SCENE_CHANNELS, Scene, ScenePixels, mip};
use crate::geometry::{Placement, Rect, Size};
use crate::plan::{Blend, CheckedLayer, CheckedPlan, CheckedSample, ColorMatrix, Keep};

/// A plan in the form that back ends execute.
#[derive(Debug)]
pub struct Encoded<'a> {
    /// Size of every output image.
    pub canvas: Size,
    /// Colour outside the scene.
    pub pad: [u8; 3],
    /// Which instances stay.
    pub keep: Keep,
    /// One a sample.
    pub samples: Vec<EncodedSample>,
    /// The layers of all samples, in plan order.
    pub layers: Vec<EncodedLayer>,
    /// The scene instances of all samples, in stored order.
    pub instances: Vec<EncodedInstance>,
    /// Filter weights in 65536ths (rule 9), each filter's 2·radius + 1 in a row.
    pub filters: Vec<u32>,
    /// The pixels that sampling reads: `samples[i].source` and `layers[i].source` index it.
    pub sources: Vec<Source<'a>>,
    /// The mask bits of `instances`, one slice each.
    pub masks: Vec<&'a [u8]>,
}

/// How one source is sampled onto the canvas (rules 1 to 4 and 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sampling {
    /// Floor(n·2^32 / m) a side, or floor(n·2^28 / m) if rotated.
    pub step: [i64; 2],
    /// Width and height of the chosen mip level, n.
    pub level: [u32; 2],
    /// Width and height that the source is resized to, m.
    pub resized: [u32; 2],
    /// Canvas position of the top left pixel.
    pub offset: [i32; 2],
    /// 1 if mirrored left-right.
    pub flip: u32,
    /// 1 if rule 12 applies.
    pub rotated: u32,
    /// C of rule 12.
    pub cos: i32,
    /// S of rule 12.
    pub sin: i32,
}

impl Sampling {
    /// Bytes of the chosen level whose pixels lie on the canvas. A rotated layer counts as if it were
    /// not: the same share of it is there, about.
    pub(crate) fn bytes_on(&self, canvas: Rect, channels: usize) -> f64 {
        let [x0, y0] = self.offset;
        let [width, height] = self.resized;
        let placed = Rect {
            x0,
            y0,
            x1: x0 + width as i32,
            y1: y0 + height as i32,
        };
        let area = |rect: Rect| rect.width() as f64 * rect.height() as f64;
        let shown = area(placed.intersect(canvas)) / area(placed).max(1.0);
        let [across, down] = self.level.map(f64::from);
        across * down * channels as f64 * shown
    }
}

/// A scene placement and the ranges of what belongs to its sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct EncodedSample {
    /// How the scene's pixels are sampled.
    pub sampling: Sampling,
    /// Rule 5's step a side: level 0 onto the resized size.
    pub nearest_step: [i64; 2],
    /// Id of the image.
    pub image: i64,
    /// Width and height of level 0.
    pub size: [u32; 2],
    /// Canvas pixels that are inside the scene.
    pub inside: Rect,
    /// Colour matrix, row after row.
    pub color: [i32; 12],
    /// Index into `sources`.
    pub source: u32,
    /// First of `instances`.
    pub first_instance: u32,
    /// How many instances.
    pub instance_count: u32,
    /// First of `layers`.
    pub first_layer: u32,
    /// How many layers.
    pub layer_count: u32,
    /// Fills the struct to a multiple of its alignment.
    pub padding: u32,
}

/// A layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct EncodedLayer {
    /// How the cutout's pixels are sampled.
    pub sampling: Sampling,
    /// Index of the cutout in the bank.
    pub cutout: u64,
    /// Category id.
    pub category: i64,
    /// The pixels, on the canvas or off it, outside which the coverage is 0.
    pub extent: Rect,
    /// Colour matrix, row after row.
    pub color: [i32; 12],
    /// Index into `sources`.
    pub source: u32,
    /// One of the `WEIGHT_` constants.
    pub weight: u32,
    /// Where the filter begins in `filters`, if there is one.
    pub filter: u32,
    /// Radius of the filter; 0 if there is none.
    pub radius: u32,
}

/// A scene instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct EncodedInstance {
    /// Category id.
    pub category: i64,
    /// Annotation id.
    pub annotation: i64,
    /// x, y, width and height of the mask's box, at source resolution.
    pub bounding_box: [u32; 4],
    /// COCO's crowd flag.
    pub iscrowd: u32,
    /// Fills the struct to a multiple of its alignment.
    pub padding: u32,
}

/// Weight 255 on the mask (rule 9, `hard`).
pub const WEIGHT_HARD: u32 = 0;
/// Weight is the coverage (rule 9, `soft`).
pub const WEIGHT_SOFT: u32 = 1;
/// Weight is the filtered mask (rule 9, `gaussian` and `box`).
pub const WEIGHT_FILTERED: u32 = 2;

/// Pixels of one mip level: as they lie in the map, or to be decoded from a JPEG scene.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Texels, channels interleaved.
    Mapped(&'a [u8]),
    /// A JPEG file.
    Jpeg {
        /// Index of the scene, for messages.
        scene: usize,
        /// Size of level 0.
        size: Size,
        /// The mip level that is wanted.
        level: usize,
        /// The file.
        file: &'a [u8],
    },
}

impl<'a> Source<'a> {
    /// Bytes of the map that are read for it.
    pub fn stored_bytes(&self) -> usize {
        match *self {
            Source::Mapped(texels) => texels.len(),
            Source::Jpeg { file, .. } => file.len(),
        }
    }

    /// The texels: borrowed from the map where they lie there.
    ///
    /// # Errors
    /// [`ComposeError::Decode`] if a JPEG scene cannot be decoded or has another size than its row
    /// says.
    pub fn texels(&self) -> Result<Cow<'a, [u8]>, ComposeError> {
        match *self {
            Source::Mapped(texels) => Ok(Cow::Borrowed(texels)),
            Source::Jpeg { .. } => {
                let mut memory = Vec::new();
                self.texels_into(&mut memory)?;
                Ok(Cow::Owned(memory))
            }
        }
    }

    /// As [`Source::texels`], for callers that keep their memory from one source to the next: a JPEG
    /// scene is decoded into `memory`, whose former contents are lost. Texels of the map leave it
    /// alone.
    ///
    /// # Errors
    /// Those of [`Source::texels`].
    pub fn texels_into<'b>(&self, memory: &'b mut Vec<u8>) -> Result<&'b [u8], ComposeError>
    where
        'a: 'b,
    {
        match *self {
            Source::Mapped(texels) => Ok(texels),
            Source::Jpeg {
                scene,
                size,
                level,
                file,
            } => {
                super::jpeg::decode_into(file, size, memory)
                    .map_err(|problem| ComposeError::Decode { scene, problem })?;
                mip::reduce_to_level::<SCENE_CHANNELS>(memory, size, level);
                Ok(memory)
            }
        }
    }
}

impl<'a> Encoded<'a> {
    /// Encodes all samples of a plan.
    ///
    /// # Errors
    /// [`ComposeError::TooLarge`] if a batch holds more than 2^32 layers or instances.
    pub fn new(plan: &CheckedPlan<'a>) -> Result<Encoded<'a>, ComposeError> {
        let mut encoder = Encoder::default();
        encoder.encode(plan)?;
        Ok(encoder.encoded)
    }

    /// The layers of one sample.
    pub fn layers_of(&self, sample: &EncodedSample) -> &[EncodedLayer] {
        &self.layers[sample.first_layer as usize..][..sample.layer_count as usize]
    }

    /// The scene instances of one sample, each with its mask bits.
    pub fn instances_of<'b>(
        &'b self,
        sample: &EncodedSample,
    ) -> impl Iterator<Item = (&'b EncodedInstance, &'a [u8])> + 'b {
        let first = sample.first_instance as usize;
        let range = first..first + sample.instance_count as usize;
        let masks = self.masks[range.clone()].iter().copied();
        self.instances[range].iter().zip(masks)
    }

    /// Bytes of the maps that composing all samples reads: of scenes, and of layers that touch the
    /// canvas.
    pub(crate) fn read_bytes(&self) -> u64 {
        let scenes = self.samples.iter().map(|sample| sample.source);
        let canvas = self.canvas.rect();
        let touching = |layer: &&EncodedLayer| {
            let reach = canvas.grown(layer.radius as i32);
            !layer.extent.intersect(reach).is_empty()
        };
        let layers = self.layers.iter().filter(touching);
        let sources = scenes.chain(layers.map(|layer| layer.source));
        sources
            .map(|source| self.sources[source as usize].stored_bytes() as u64)
            .sum()
    }

    /// The weights of a filtered layer: 2·radius + 1 of them.
    pub fn filter_of(&self, layer: &EncodedLayer) -> &[u32] {
        &self.filters[layer.filter as usize..][..2 * layer.radius as usize + 1]
    }
}

/// Encodes one plan after another in the same memory.
#[derive(Debug)]
pub struct Encoder<'a> {
    encoded: Encoded<'a>,
    /// Where each distinct filter begins, so that layers with equal blends share one. Filters are
    /// kept from plan to plan.
    filter_starts: HashMap<(u32, u64), u32>,
}

/// More filter weights than this are thrown away: of continuous sigmas none comes twice.
const MOST_KEPT_WEIGHTS: usize = 1 << 14;

impl Default for Encoder<'_> {
    fn default() -> Self {
        Encoder {
            encoded: Encoded {
                canvas: Size::SMALLEST,
                pad: [0; 3],
                keep: Keep::default(),
                samples: Vec::new(),
                layers: Vec::new(),
                instances: Vec::new(),
                filters: Vec::new(),
                sources: Vec::new(),
                masks: Vec::new(),
            },
            filter_starts: HashMap::new(),
        }
    }
}

impl<'a> Encoder<'a> {
    /// Encodes all samples of a plan.
    ///
    /// # Errors
    /// Those of [`Encoded::new`].
    pub fn encode(&mut self, plan: &CheckedPlan<'a>) -> Result<&Encoded<'a>, ComposeError> {
        let encoded = &mut self.encoded;
        (encoded.canvas, encoded.pad, encoded.keep) = (plan.canvas(), plan.pad(), plan.keep());
        encoded.samples.clear();
        encoded.layers.clear();
        encoded.instances.clear();
        encoded.sources.clear();
        encoded.masks.clear();
        if encoded.filters.len() > MOST_KEPT_WEIGHTS {
            encoded.filters.clear();
            self.filter_starts.clear();
        }
        for sample in plan.samples() {
            self.sample(sample)?;
        }
        Ok(&self.encoded)
    }

    fn sample(&mut self, sample: &CheckedSample<'a>) -> Result<(), ComposeError> {
        let scene = &sample.scene;
        let placement = &sample.placement;
        let level = rules::choose_level(scene.size, placement.resized);
        let (level_size, source) = scene_source(sample.scene_index, scene, level)?;
        let first_instance = self.count(self.encoded.instances.len())?;
        for instance in scene.instances() {
            self.encoded.masks.push(instance.mask);
            self.encoded.instances.push(EncodedInstance {
                category: instance.category,
                annotation: instance.annotation,
                bounding_box: instance.bounding_box,
                iscrowd: u32::from(instance.iscrowd),
                padding: 0,
            });
        }
        let source = self.push_source(source)?;
        let first_layer = self.count(self.encoded.layers.len())?;
        for layer in &sample.layers {
            self.layer(layer)?;
        }
        let [resized_width, resized_height] = sides(placement.resized);
        let encoded = EncodedSample {
            sampling: upright(placement, level_size),
            nearest_step: [
                rules::step(scene.size.width(), resized_width),
                rules::step(scene.size.height(), resized_height),
            ],
            image: scene.image,
            size: sides(scene.size),
            inside: placement.rect().intersect(self.encoded.canvas.rect()),
            color: flatten(&sample.color),
            source,
            first_instance,
            instance_count: self.count(self.encoded.instances.len())? - first_instance,
            first_layer,
            layer_count: self.count(self.encoded.layers.len())? - first_layer,
            padding: 0,
        };
        self.encoded.samples.push(encoded);
        Ok(())
    }

    fn layer(&mut self, layer: &CheckedLayer<'a>) -> Result<(), ComposeError> {
        let placement = &layer.placement;
        let level = rules::choose_level(layer.cutout.size, placement.resized);
        let (level_size, texels) = layer.cutout.level(level).ok_or(ComposeError::Changed)?;
        let sampling = if layer.angle == 0.0 {
            upright(placement, level_size)
        } else {
            rotated(placement, level_size, layer.angle)
        };
        let (weight, filter, radius) = self.weight(layer.blend)?;
        let source = self.push_source(Source::Mapped(texels))?;
        self.encoded.layers.push(EncodedLayer {
            extent: extent(&sampling),
            sampling,
            cutout: layer.cutout_index,
            category: layer.cutout.category,
            color: flatten(&layer.color),
            source,
            weight,
            filter,
            radius,
        });
        Ok(())
    }

    fn weight(&mut self, blend: Blend) -> Result<(u32, u32, u32), ComposeError> {
        let (key, weights): (_, fn(u64) -> Vec<u32>) = match blend {
            Blend::Hard => return Ok((WEIGHT_HARD, 0, 0)),
            Blend::Soft => return Ok((WEIGHT_SOFT, 0, 0)),
            Blend::Gaussian { sigma } => ((0, sigma.to_bits()), |bits| {
                gaussian_weights(f64::from_bits(bits))
            }),
            Blend::Box { radius } => ((1, u64::from(radius)), |radius| {
                box_weights(radius as usize)
            }),
        };
        let end = self.count(self.encoded.filters.len())?;
        let start = *self.filter_starts.entry(key).or_insert(end);
        if start == end {
            self.encoded.filters.extend(weights(key.1));
        }
        let radius = match blend {
            Blend::Gaussian { sigma } => gaussian_radius(sigma),
            Blend::Box { radius } => radius,
            _ => 0,
        };
        Ok((WEIGHT_FILTERED, start, radius))
    }

    fn push_source(&mut self, source: Source<'a>) -> Result<u32, ComposeError> {
        let index = self.count(self.encoded.sources.len())?;
        self.encoded.sources.push(source);
        Ok(index)
    }

    fn count(&self, count: usize) -> Result<u32, ComposeError> {
        u32::try_from(count).map_err(|_| ComposeError::TooLarge { count })
    }
}

fn scene_source<'a>(
    index: usize,
    scene: &Scene<'a>,
    level: usize,
) -> Result<(Size, Source<'a>), ComposeError> {
    let (level_size, range) =
        mip::level_range(scene.size, level, SCENE_CHANNELS).ok_or(ComposeError::Changed)?;
    let source = match scene.pixels {
        ScenePixels::Raw(chain) => Source::Mapped(chain.get(range).ok_or(ComposeError::Changed)?),
        ScenePixels::Jpeg(file) => Source::Jpeg {
            scene: index,
            size: scene.size,
            level,
            file,
        },
    };
    Ok((level_size, source))
}

fn upright(placement: &Placement, level: Size) -> Sampling {
    let (level, resized) = (sides(level), sides(placement.resized));
    Sampling {
        step: [
            rules::step(level[0], resized[0]),
            rules::step(level[1], resized[1]),
        ],
        level,
        resized,
        offset: placement.offset,
        flip: u32::from(placement.flip),
        rotated: 0,
        cos: 0,
        sin: 0,
    }
}

/// Rule 12: sine and cosine in 2^-18, from double precision.
fn rotated(placement: &Placement, level: Size, angle: f64) -> Sampling {
    let (sin, cos) = angle.to_radians().sin_cos();
    let fixed = |value: f64| (value * f64::from(1 << 18) + 0.5).floor() as i32;
    let (level, resized) = (sides(level), sides(placement.resized));
    Sampling {
        step: [
            rules::rotated_step(level[0], resized[0]),
            rules::rotated_step(level[1], resized[1]),
        ],
        rotated: 1,
        cos: fixed(cos),
        sin: fixed(sin),
        ..upright(
            placement,
            Size::new(level[0], level[1]).unwrap_or(placement.resized),
        )
    }
}

/// The pixels that can be inside. A rotated rectangle's corners are at most (|C|·w + |S|·h) / 2^18
/// doubled pixels from its centre; two more pixels cover the rounding of C and S.
fn extent(sampling: &Sampling) -> Rect {
    let [width, height] = sampling.resized.map(i64::from);
    let [x, y] = sampling.offset;
    if sampling.rotated == 0 {
        return Rect {
            x0: x,
            y0: y,
            x1: x + width as i32,
            y1: y + height as i32,
        };
    }
    let (cos, sin) = (i64::from(sampling.cos.abs()), i64::from(sampling.sin.abs()));
    let half = |a: i64, b: i64| (((a * width + b * height) >> 19) + 3) as i32;
    let (half_width, half_height) = (half(cos, sin), half(sin, cos));
    let (centre_x, centre_y) = (x + (width / 2) as i32, y + (height / 2) as i32);
    Rect {
        x0: centre_x - half_width,
        y0: centre_y - half_height,
        x1: centre_x + half_width + 1,
        y1: centre_y + half_height + 1,
    }
}

fn gaussian_radius(sigma: f64) -> u32 {
    (3.0 * sigma).ceil() as u32
}

/// Rule 9: floor(65536·g_j/Σg + 0.5), summed from j = −r upwards, w_0 corrected to a sum of 65536.
fn gaussian_weights(sigma: f64) -> Vec<u32> {
    let radius = i64::from(gaussian_radius(sigma));
    let gaussian = |j: i64| (-((j * j) as f64) / (2.0 * sigma * sigma)).exp();
    let sum = (-radius..=radius).map(gaussian).fold(0.0, |sum, g| sum + g);
    let weight = |j| (65_536.0 * gaussian(j) / sum + 0.5).floor() as i64;
    corrected((-radius..=radius).map(weight).collect())
}

/// Rule 9: floor(65536/(2r+1) + 0.5), w_0 corrected to a sum of 65536.
fn box_weights(radius: usize) -> Vec<u32> {
    let count = 2 * radius + 1;
    let weight = (65_536.0 / count as f64 + 0.5).floor() as i64;
    corrected(vec![weight; count])
}

fn corrected(mut weights: Vec<i64>) -> Vec<u32> {
    let centre = weights.len() / 2;
    let missing = 65_536 - weights.iter().sum::<i64>();
    weights[centre] += missing;
    weights.into_iter().map(|weight| weight as u32).collect()
}

fn sides(size: Size) -> [u32; 2] {
    [size.width(), size.height()]
}

fn flatten(color: &ColorMatrix) -> [i32; 12] {
    let mut flat = IDENTITY_COLOUR;
    for (row, values) in color.0.iter().enumerate() {
        flat[4 * row..4 * row + 4].copy_from_slice(values);
    }
    flat
}

/// Channels of a layer's texels.
pub const LAYER_CHANNELS: usize = CUTOUT_CHANNELS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_sums_to_one() {
        let sigmas = (1..=100).map(|tenths| f64::from(tenths) / 10.0);
        for weights in sigmas
            .map(gaussian_weights)
            .chain((1..=30).map(box_weights))
        {
            assert_eq!(weights.iter().sum::<u32>(), 65_536);
            assert!(weights.iter().all(|&weight| weight <= 65_536));
            let reversed: Vec<u32> = weights.iter().rev().copied().collect();
            assert_eq!(weights, reversed);
        }
        assert_eq!(gaussian_weights(0.1), [0, 65_536, 0]);
        assert_eq!(gaussian_weights(10.0).len(), 61);
    }
}
