//! One sample into the arena: its encoding, its masks and those texels that the device lacks.
//!
//! All sizes that the kernels need are computed here, on the thread that gathers the sample: which
//! pixels a layer touches, how many tiles that is, how much scratch memory it takes. Of each source
//! only the one mip level that rule 3 asks for crosses the link, and none of a layer that does not
//! touch the canvas.

use std::borrow::Cow;
use std::mem::size_of;

use super::arena::{Arena, ClaimWriter, padded};
use super::cache::{Cutouts, Found};
use super::layout::{
    BLUR_TILE_ROWS, BLUR_TILE_WIDTH, InstancePlace, LayerPlace, MASK_TILE_ROWS, MASK_TILE_WORDS,
    SampleRegion, weight_stride, word_range,
};
use crate::compose::ComposeError;
use crate::compose::encode::{
    Encoded, EncodedInstance, EncodedLayer, EncodedSample, LAYER_CHANNELS, Source, WEIGHT_FILTERED,
};
use crate::compose::rules;
use crate::geometry::{Rect, Size};

/// What launching a batch needs to know of one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gathered {
    /// Id of the scene's image.
    pub image: i64,
    /// Address of the sample's region.
    pub region: u64,
    /// Address of the scene's texels: of the chosen level, or of level 0 if that must be made.
    pub scene: u64,
    /// Size of level 0 and the wanted level, where that must be made on the device.
    pub mip: Option<(Size, usize)>,
    /// Words of scratch for mask bits.
    pub mask_words: u64,
    /// Bytes of scratch for weights, a multiple of 4.
    pub weights: u64,
    /// Scene instances and layers.
    pub candidates: u32,
    /// Tiles of the kernel `cover`.
    pub cover_tiles: u32,
    /// Tiles of the kernel `blur`.
    pub blur_tiles: u32,
    /// Texels that the cutout cache takes.
    pub stores: Vec<Store>,
    /// Bytes of the arena.
    pub shipped: u64,
    /// Bytes of texels that were on the device already.
    pub cached: u64,
}

/// Texels in the arena that the cutout cache takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    /// Address in the arena.
    pub source: u64,
    /// Address in the cache.
    pub target: u64,
    pub bytes: u64,
}

/// Why a sample could not be gathered.
#[derive(Debug)]
pub(crate) enum GatherError {
    Compose(ComposeError),
    /// The arena has no more room.
    Full,
}

impl From<ComposeError> for GatherError {
    fn from(error: ComposeError) -> GatherError {
        GatherError::Compose(error)
    }
}

/// One thread's scratch.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    layers: Vec<EncodedLayer>,
    layer_places: Vec<LayerPlace>,
    instance_places: Vec<InstancePlace>,
    filters: Vec<u32>,
    found: Vec<Found>,
}

/// Which texels are on the device already, and which ticket asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatherFrom<'a> {
    pub cutouts: Option<&'a Cutouts>,
    /// The batch's number, which the cache goes by.
    pub ticket: u64,
}

impl Gatherer {
    /// Gathers sample `sample` of `encoded`, which must have it. `ignored` says which layers' labels
    /// were dropped; of those past its end none was.
    pub fn gather(
        &mut self,
        encoded: &Encoded<'_>,
        sample: usize,
        ignored: &[bool],
        arena: &Arena,
        from: GatherFrom<'_>,
        gathered: &mut Gathered,
    ) -> Result<(), GatherError> {
        let sample = &encoded.samples[sample];
        gathered.stores.clear();
        *gathered = Gathered {
            image: sample.image,
            candidates: sample.instance_count + sample.layer_count,
            stores: std::mem::take(&mut gathered.stores),
            ..Gathered::default()
        };
        // A picture that cannot be decoded must not leave anything in the cache.
        let scene = scene_texels(&encoded.sources[sample.source as usize], gathered)?;
        self.place_layers(encoded, sample, ignored, gathered)?;
        self.place_instances(encoded, sample, gathered);
        self.find_texels(from, gathered);
        let (region, bytes) = self.lay_out(encoded, sample, scene.len());
        let claim = arena.claim(bytes).ok_or(GatherError::Full)?;
        self.settle_addresses(claim.address, gathered);
        gathered.region = claim.address;
        gathered.scene = claim.address + region.scene;
        gathered.shipped = bytes as u64;
        self.write(
            encoded,
            sample,
            &region.head,
            &scene,
            ClaimWriter::new(claim),
        );
        Ok(())
    }

    /// Which pixels each layer touches, and the scratch and tiles that follow.
    fn place_layers(
        &mut self,
        encoded: &Encoded<'_>,
        sample: &EncodedSample,
        ignored: &[bool],
        gathered: &mut Gathered,
    ) -> Result<(), ComposeError> {
        self.layers.clear();
        self.layer_places.clear();
        self.filters.clear();
        for (number, layer) in encoded.layers_of(sample).iter().enumerate() {
            let [mask_rect, rect] = touched(layer, encoded.canvas.rect());
            self.layer_places.push(LayerPlace {
                texels: 0,
                mask_word: gathered.mask_words,
                weight: gathered.weights,
                mask_rect,
                rect,
                cover_tile: gathered.cover_tiles,
                blur_tile: gathered.blur_tiles,
                ignored: u32::from(ignored.get(number).copied().unwrap_or(false)),
                padding: 0,
            });
            gathered.mask_words += mask_words(mask_rect);
            let sides = [word_range(mask_rect).len(), mask_rect.height()];
            let tiles = tiles_of(sides, [MASK_TILE_WORDS, MASK_TILE_ROWS]);
            gathered.cover_tiles = add_tiles(gathered.cover_tiles, tiles)?;
            let mut filter = 0;
            if layer.weight == WEIGHT_FILTERED {
                filter = self.filters.len() as u32;
                self.filters.extend_from_slice(encoded.filter_of(layer));
                let sides = [rect.width(), rect.height()];
                gathered.weights += weight_stride(rect) as u64 * rect.height() as u64;
                let tiles = tiles_of(sides, [BLUR_TILE_WIDTH, BLUR_TILE_ROWS]);
                gathered.blur_tiles = add_tiles(gathered.blur_tiles, tiles)?;
            }
            self.layers.push(EncodedLayer {
                source: 0,
                filter,
                ..*layer
            });
        }
        self.layer_places.push(LayerPlace {
            cover_tile: gathered.cover_tiles,
            blur_tile: gathered.blur_tiles,
            ..LayerPlace::default()
        });
        Ok(())
    }

    /// Which pixels can show each scene instance.
    fn place_instances(
        &mut self,
        encoded: &Encoded<'_>,
        sample: &EncodedSample,
        gathered: &mut Gathered,
    ) {
        self.instance_places.clear();
        for (instance, _) in encoded.instances_of(sample) {
            let rect = instance_rect(sample, instance);
            self.instance_places.push(InstancePlace {
                mask: 0,
                mask_word: gathered.mask_words,
                rect,
            });
            gathered.mask_words += mask_words(rect);
        }
    }

    /// Which texels are on the device already, and which of the others the cache takes.
    fn find_texels(&mut self, from: GatherFrom<'_>, gathered: &mut Gathered) {
        self.found.clear();
        for (layer, place) in self.layers.iter().zip(&self.layer_places) {
            let bytes = texel_bytes(layer);
            let found = match from.cutouts {
                // Of a layer that touches nothing no texel is ever read.
                _ if place.rect.is_empty() => Found::There(0),
                None => Found::Ship,
                Some(cutouts) => {
                    let found =
                        cutouts.look_up(from.ticket, layer.cutout, layer.sampling.level, bytes);
                    if matches!(found, Found::There(_)) {
                        gathered.cached += bytes as u64;
                    }
                    found
                }
            };
            self.found.push(found);
        }
    }

    /// Where everything lies in the region, and how long that is.
    fn lay_out(
        &mut self,
        encoded: &Encoded<'_>,
        sample: &EncodedSample,
        scene_bytes: usize,
    ) -> (Region, usize) {
        let mut end = 0usize;
        let mut take = |bytes: usize| {
            let start = end;
            end = padded(end.saturating_add(bytes));
            start as u64
        };
        take(size_of::<SampleRegion>());
        let head = SampleRegion {
            sample: EncodedSample {
                source: 0,
                first_instance: 0,
                first_layer: 0,
                ..*sample
            },
            layers: take(size_of_val(&self.layers[..])),
            layer_places: take(size_of_val(&self.layer_places[..])),
            instances: take(sample.instance_count as usize * size_of::<EncodedInstance>()),
            instance_places: take(size_of_val(&self.instance_places[..])),
            filters: take(size_of_val(&self.filters[..])),
        };
        let masks = encoded.instances_of(sample).map(|(_, mask)| mask);
        for (place, mask) in self.instance_places.iter_mut().zip(masks) {
            place.mask = take(mask.len());
        }
        let scene = take(scene_bytes);
        let layers = self.layers.iter().zip(&self.found);
        for (place, (layer, found)) in self.layer_places.iter_mut().zip(layers) {
            place.texels = match *found {
                Found::There(address) => address,
                Found::Store(_) | Found::Ship => take(texel_bytes(layer)),
            };
        }
        (Region { head, scene }, end)
    }

    /// Turns the offsets of shipped texels into addresses.
    fn settle_addresses(&mut self, region: u64, gathered: &mut Gathered) {
        let layers = self.layers.iter().zip(&self.found);
        for (place, (layer, found)) in self.layer_places.iter_mut().zip(layers) {
            if let Found::There(_) = found {
                continue;
            }
            place.texels += region;
            if let Found::Store(target) = *found {
                gathered.stores.push(Store {
                    source: place.texels,
                    target,
                    bytes: texel_bytes(layer) as u64,
                });
            }
        }
    }

    /// Writes the region in the order of [`Gatherer::lay_out`].
    fn write(
        &self,
        encoded: &Encoded<'_>,
        sample: &EncodedSample,
        head: &SampleRegion,
        scene: &[u8],
        mut region: ClaimWriter<'_>,
    ) {
        region.write(std::slice::from_ref(head));
        region.write(&self.layers);
        region.write(&self.layer_places);
        let first = sample.first_instance as usize;
        region.write(&encoded.instances[first..][..sample.instance_count as usize]);
        region.write(&self.instance_places);
        region.write(&self.filters);
        for (_, mask) in encoded.instances_of(sample) {
            region.write(mask);
        }
        region.write(scene);
        for (layer, found) in encoded.layers_of(sample).iter().zip(&self.found) {
            // Cutouts are always mapped; only scenes can be JPEG files.
            if let (Found::Store(_) | Found::Ship, Source::Mapped(texels)) =
                (found, &encoded.sources[layer.source as usize])
            {
                region.write(texels);
            }
        }
    }
}

/// A region's head, and where the scene's texels are.
struct Region {
    head: SampleRegion,
    scene: u64,
}

/// The texels that are shipped of a scene: the chosen level as it is stored, or a JPEG's level 0, of
/// which the device makes the chosen one.
fn scene_texels<'a>(
    source: &Source<'a>,
    gathered: &mut Gathered,
) -> Result<Cow<'a, [u8]>, ComposeError> {
    match *source {
        Source::Mapped(texels) => Ok(Cow::Borrowed(texels)),
        Source::Jpeg {
            scene,
            size,
            level,
            file,
        } => {
            gathered.mip = (level > 0).then_some((size, level));
            let level0 = crate::compose::jpeg::decode(file, size);
            let level0 = level0.map_err(|problem| ComposeError::Decode { scene, problem })?;
            Ok(Cow::Owned(level0))
        }
    }
}

/// Where a layer's mask must be known, and which canvas pixels it can change; both nothing if it
/// changes none.
fn touched(layer: &EncodedLayer, canvas: Rect) -> [Rect; 2] {
    let radius = layer.radius as i32;
    let mask_rect = layer.extent.intersect(canvas.grown(radius));
    let rect = layer.extent.grown(radius).intersect(canvas);
    if mask_rect.is_empty() || rect.is_empty() {
        return [Rect::default(); 2];
    }
    [mask_rect, rect]
}

/// The canvas pixels whose nearest texel lies in the box of the instance's mask (rule 5).
fn instance_rect(sample: &EncodedSample, instance: &EncodedInstance) -> Rect {
    let [x, y, width, height] = instance.bounding_box;
    let inside = sample.inside;
    let across = nearest_range(sample, 0, (inside.x0, inside.x1), (x, width));
    let down = nearest_range(sample, 1, (inside.y0, inside.y1), (y, height));
    let rect = Rect {
        x0: across.0,
        y0: down.0,
        x1: across.1,
        y1: down.1,
    };
    rect.or_zero()
}

/// The pixels of `from..to` along an axis whose nearest texel is one of `count` from `start` on.
/// Nearest texels rise along an axis, or fall if it is flipped, so those pixels lie side by side.
fn nearest_range(
    sample: &EncodedSample,
    axis: usize,
    (from, to): (i32, i32),
    (start, count): (u32, u32),
) -> (i32, i32) {
    let sampling = &sample.sampling;
    let flip = axis == 0 && sampling.flip != 0;
    let texel = |position: i32| {
        let doubled = rules::doubled_distance(
            position,
            sampling.offset[axis],
            sampling.resized[axis],
            flip,
        );
        rules::nearest(doubled, sample.nearest_step[axis], sample.size[axis])
    };
    let end = start.saturating_add(count);
    if flip {
        let first = partition(from, to, |position| texel(position) >= end);
        (
            first,
            partition(first, to, |position| texel(position) >= start),
        )
    } else {
        let first = partition(from, to, |position| texel(position) < start);
        (
            first,
            partition(first, to, |position| texel(position) < end),
        )
    }
}

/// The first of `from..to` for which `is_before` no longer holds, or `to`.
fn partition(from: i32, to: i32, is_before: impl Fn(i32) -> bool) -> i32 {
    let (mut low, mut high) = (from, to.max(from));
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Words of the mask bits of a rectangle.
fn mask_words(rect: Rect) -> u64 {
    word_range(rect).len() as u64 * rect.height() as u64
}

/// Tiles of `tile` that cover `sides`.
fn tiles_of(sides: [usize; 2], tile: [u32; 2]) -> u64 {
    sides[0].div_ceil(tile[0] as usize) as u64 * sides[1].div_ceil(tile[1] as usize) as u64
}

fn add_tiles(tiles: u32, more: u64) -> Result<u32, ComposeError> {
    let sum = u64::from(tiles) + more;
    u32::try_from(sum).map_err(|_| ComposeError::TooLarge {
        count: sum as usize,
    })
}

/// Bytes of a layer's chosen level.
fn texel_bytes(layer: &EncodedLayer) -> usize {
    let [width, height] = layer.sampling.level.map(|side| side as usize);
    width * height * LAYER_CHANNELS
}
