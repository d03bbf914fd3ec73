//! How bright and how contrasted a cutout and the scene under it are, and making the one match the
//! other.

#[cfg(test)]
mod tests;

use super::{Affine, LUMA};
use crate::bank::{Cutout, SCENE_CHANNELS, Scene, ScenePixels, mip};
use crate::compose::jpeg;
use crate::geometry::{Rect, Size};
use crate::plan::ScenePlan;

/// Longest side of a level that is measured, in texels.
const SMALL_SIDE: u32 = 64;

/// Mean and standard deviation of Rec. 601 luma, in grey levels of 0..=255.
///
/// Cutouts and scenes are both measured at a small mip level, of which a few kilobytes are read.
/// The mean there is that of level 0 within the rounding of rule 2, a fraction of a grey level. The
/// deviation is smaller than level 0's wherever there is texture finer than a texel of the level,
/// since a mip averages it away. It is so for both sides, and matching takes only their ratio; but
/// a deviation from here must not be held against one of level 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Luma {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, as the small level has it; 0 where all is one grey.
    pub deviation: f64,
}

impl Luma {
    /// The luma of a cutout's first mip level of at most 64 texels a side, each texel weighted by
    /// its straight alpha; `None` if nothing in that level has any alpha.
    ///
    /// Rule 2 averages colour without regard to alpha, so texels at the object's edge hold some of
    /// what surrounds it; their own alpha is low and makes them count for less.
    pub fn of_cutout(cutout: &Cutout<'_>) -> Option<Luma> {
        let (_, texels) = cutout.level(small_level(cutout.size))?;
        let mut moments = Moments::default();
        for &[red, green, blue, alpha] in texels.as_chunks().0 {
            moments.add(luma([red, green, blue].map(f64::from)), f64::from(alpha));
        }
        moments.luma()
    }
}

/// The first level of at most [`SMALL_SIDE`] texels a side.
fn small_level(size: Size) -> usize {
    let large = |level: &Size| level.longer_side() > SMALL_SIDE;
    mip::levels(size).take_while(large).count()
}

fn luma([red, green, blue]: [f64; 3]) -> f64 {
    LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
}

/// Weighted sums of lumas as distances from the first: so one grey has the deviation 0, not the
/// rounding of large sums.
#[derive(Default)]
struct Moments {
    first: Option<f64>,
    weight: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, luma: f64, weight: f64) {
        if weight > 0.0 {
            let distance = luma - *self.first.get_or_insert(luma);
            self.weight += weight;
            self.sum += weight * distance;
            self.squares += weight * distance * distance;
        }
    }

    fn luma(&self) -> Option<Luma> {
        let mean = self.sum / self.weight;
        let variance = self.squares / self.weight - mean * mean;
        self.first.map(|first| Luma {
            mean: first + mean,
            deviation: variance.max(0.0).sqrt(),
        })
    }
}

/// A scene's first mip level of at most 64 texels a side, kept to be measured under many layers.
///
/// Holds no scene until [`SceneMip::read`].
#[derive(Clone, Debug, Default)]
pub struct SceneMip {
    /// The row that [`SceneMip::read_row`] was asked for last.
    row: Option<u64>,
    /// Of level 0; `None` if no scene was read.
    source: Option<Size>,
    level: usize,
    /// RGB interleaved.
    texels: Vec<u8>,
}

impl SceneMip {
    /// Takes another scene, in the memory of the last one: at most 12 KiB are copied from a raw
    /// scene's mip chain. A JPEG scene is decoded whole, which takes memory and most of the time
    /// that composing it does.
    ///
    /// False if the scene cannot be decoded; nothing can be measured then.
    pub fn read(&mut self, scene: &Scene<'_>) -> bool {
        self.row = None;
        self.level = small_level(scene.size);
        self.texels.clear();
        self.source = self.copy(scene).map(|()| scene.size);
        self.source.is_some()
    }

    /// As [`SceneMip::read`] for the scene in `row` of a pack, but nothing is read, or decoded, if
    /// that row was the last one. [`SceneMip::forget`] comes before a row of another pack.
    pub fn read_row(&mut self, row: u64, scene: &Scene<'_>) -> bool {
        if self.row != Some(row) {
            self.read(scene);
            self.row = Some(row);
        }
        self.source.is_some()
    }

    /// Holds no scene any more; the memory stays.
    pub fn forget(&mut self) {
        self.row = None;
        self.source = None;
    }

    fn copy(&mut self, scene: &Scene<'_>) -> Option<()> {
        match scene.pixels {
            ScenePixels::Raw(chain) => {
                let (_, range) = mip::level_range(scene.size, self.level, SCENE_CHANNELS)?;
                self.texels.extend_from_slice(chain.get(range)?);
            }
            ScenePixels::Jpeg(file) => {
                jpeg::decode_into(file, scene.size, &mut self.texels).ok()?;
                mip::reduce_to_level::<SCENE_CHANNELS>(&mut self.texels, scene.size, self.level);
            }
        }
        Some(())
    }

    /// The luma of what the scene shows in `rect`, a rectangle of the canvas, when it is placed and
    /// coloured by `plan`; `None` if the rectangle does not meet the placed scene.
    ///
    /// Each texel counts by the area of it that lies under the rectangle. Parts of the rectangle
    /// that lie beside the scene count for nothing, parts of the scene beside the canvas do: clip
    /// the rectangle to the canvas to have only what is seen.
    pub fn luma(&self, plan: &ScenePlan, rect: Rect) -> Option<Luma> {
        let source = self.source.filter(|_| !rect.is_empty())?;
        let sides = [source.width(), source.height()];
        let [mut across, down] =
            [[rect.x0, rect.x1], [rect.y0, rect.y1]].map(|edges| edges.map(f64::from));
        if plan.flip {
            let [left, right] = across;
            let mirror = 2.0 * f64::from(plan.offset[0]) + f64::from(plan.resized[0]);
            across = [mirror - right, mirror - left];
        }
        let [across, down] = [(0, across), (1, down)].map(|(axis, edges)| {
            let scale = f64::from(sides[axis]) / f64::from(plan.resized[axis]);
            let offset = f64::from(plan.offset[axis]);
            edges.map(|edge| ((edge - offset) * scale).clamp(0.0, f64::from(sides[axis])))
        });
        self.under(source, across, down, &Affine::from(plan.color))
    }

    /// The luma of the texels under a rectangle of level 0, as left and right, top and bottom.
    fn under(
        &self,
        source: Size,
        across: [f64; 2],
        down: [f64; 2],
        color: &Affine,
    ) -> Option<Luma> {
        let size = mip::levels(source).nth(self.level)?;
        let rows = self
            .texels
            .chunks_exact(size.width() as usize * SCENE_CHANNELS);
        let mut moments = Moments::default();
        for (row, height) in overlaps(down, source.height(), self.level, rows) {
            let texels = row.as_chunks::<SCENE_CHANNELS>().0.iter();
            for (texel, width) in overlaps(across, source.width(), self.level, texels) {
                let shown = color.apply(texel.map(f64::from));
                let shown = shown.map(|channel| channel.clamp(0.0, 255.0));
                moments.add(luma(shown), width * height);
            }
        }
        moments.luma()
    }
}

/// Those `texels` along an axis of a level that lie under [from, to] of level 0, each with the
/// length that does. Texel t of level k covers [t·2^k, (t+1)·2^k), as far as the source goes.
fn overlaps<T>(
    [from, to]: [f64; 2],
    side: u32,
    level: usize,
    texels: impl Iterator<Item = T>,
) -> impl Iterator<Item = (T, f64)> {
    let covered = f64::from(1u32 << level);
    let first = (from / covered).floor() as usize;
    let last = (to / covered).ceil() as usize;
    let side = f64::from(side);
    texels
        .enumerate()
        .skip(first)
        .take(last.saturating_sub(first))
        .map(move |(index, texel)| {
            let start = index as f64 * covered;
            let end = (start + covered).min(side);
            (texel, to.min(end) - from.max(start))
        })
}

/// The transform that gives a layer the brightness and contrast of the scene under it.
///
/// out = g·(rgb − layer.mean) + layer.mean + strength·(scene.mean − layer.mean), the same for all
/// three channels: it matches brightness and contrast, not a cast of colour. The gain g is
/// scene.deviation / layer.deviation, kept within 0.5..=2 and raised to `strength`, which
/// interpolates geometrically; it is 1 where either deviation is 0. At strength 0 nothing changes,
/// at 1 mean and deviation become the scene's.
pub fn matching(layer: Luma, scene: Luma, strength: f64) -> Affine {
    let gain = if layer.deviation > 0.0 && scene.deviation > 0.0 {
        let ratio = scene.deviation / layer.deviation;
        ratio.clamp(0.5, 2.0).powf(strength)
    } else {
        1.0
    };
    let bias = layer.mean * (1.0 - gain) + strength * (scene.mean - layer.mean);
    Affine::grey(gain, bias)
}
