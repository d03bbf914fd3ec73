//! Layers of the bank, as X-Paste draws them (arXiv 2212.03863).

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};

use super::layer::{Matcher, blend_at};
use super::scene::{carried, pixels};
use super::settings::{BankSettings, Categories, Limits, Region, Reject};
use super::streams;
use super::values::SizeSource;
use crate::bank::Cutout;
use crate::geometry::Size;
use crate::plan::{LayerPlan, ScenePlan};
use crate::sampler::colour::{Affine, ColorJitter};
use crate::sampler::groups::Candidate;
use crate::sampler::placement::{ObjectBox, PlacementMode};
use crate::sampler::random::Draws;
use crate::sampler::{Ground, Sample, Scratch};

/// A layer without its place.
struct Drawn<'a> {
    row: u32,
    cutout: Cutout<'a>,
    resized: [u32; 2],
    object: ObjectBox,
    variations: Variations,
}

/// What is drawn of a layer besides cutout, size and place: one number each, whatever the
/// settings are.
struct Variations {
    flip: bool,
    aspect: f64,
    angle: f64,
    blend: f64,
    ignore: f64,
    color: Affine,
}

impl BankSettings {
    /// Appends the layers of a sample whose scene is placed.
    pub(super) fn draw(&self, ground: &Ground, draws: &Draws, sample: &mut Sample) {
        let [least, greatest] = self.count;
        let count = draws.stream(streams::COUNT).random_range(least..=greatest);
        let scene = ground.scenes.get(sample.plan.scene.index as usize);
        let is_among = self.prepare(ground, sample);
        let region = self.region(ground, &sample.plan.scene);
        let Sample {
            plan,
            ignored,
            scratch,
        } = sample;
        let matcher = Matcher::new(self.matching, ground, &plan.scene, &mut scratch.mip);
        for number in 0..u64::from(count) {
            let candidates = is_among.then_some(scratch.candidates.as_slice());
            let Some(drawn) = self.layer(ground, region, candidates, draws, number) else {
                continue;
            };
            let mut draw = draws.stream(streams::layer(number, 0, streams::PLACE));
            let (canvas, object) = (ground.canvas, drawn.object);
            let mode = self.placement;
            let offset = mode.place(
                &mut draw,
                region,
                object,
                number as usize,
                &mut scratch.taken,
            );
            let Some(offset) = offset else {
                continue;
            };
            let Variations { ignore, color, .. } = drawn.variations;
            let change = matcher.change(&drawn.cutout, object.on(canvas, offset));
            let category = drawn.cutout.category;
            ignored.push(self.ignore.drops(category, scene.as_ref(), ignore));
            plan.layers.push(LayerPlan {
                cutout: drawn.row.into(),
                resized: drawn.resized,
                offset,
                flip: drawn.variations.flip,
                angle: drawn.variations.angle,
                blend: blend_at(&self.blend, drawn.variations.blend),
                color: change.then(&color).to_matrix(),
            });
        }
    }

    /// What the layers are measured by. The jitter never leaves room left of or above a scene, so
    /// the region starts at the canvas's first pixel.
    fn region(&self, ground: &Ground, scene: &ScenePlan) -> Size {
        if self.relative_to == Region::Canvas {
            return ground.canvas;
        }
        let canvas = [ground.canvas.width(), ground.canvas.height()];
        let [width, height] = std::array::from_fn(|axis| {
            let end = i64::from(scene.offset[axis]) + i64::from(scene.resized[axis]);
            end.clamp(1, i64::from(canvas[axis])) as u32
        });
        Size::canvas(width, height).unwrap_or(ground.canvas)
    }

    /// Lists what is in the scene, as far as the settings ask for it; whether layers are of the
    /// listed candidates alone.
    fn prepare(&self, ground: &Ground, sample: &mut Sample) -> bool {
        let Scratch {
            candidates,
            categories,
            taken,
            ..
        } = &mut sample.scratch;
        candidates.clear();
        categories.clear();
        taken.clear();
        let plan = &sample.plan.scene;
        let Some(scene) = ground.scenes.get(plan.index as usize) else {
            return false;
        };
        let size = [scene.size.width(), scene.size.height()];
        let on_canvas = |bounding_box: [u32; 4]| {
            let rect = carried(plan, size, bounding_box.map(i64::from));
            rect.intersect(ground.canvas.rect())
        };
        if self.categories == Categories::Present {
            let own = scene.instances().filter(|instance| {
                instance.iscrowd == 0 && !on_canvas(instance.bounding_box).is_empty()
            });
            categories.extend(own.map(|instance| instance.category));
            categories.sort_unstable();
            categories.dedup();
            ground.candidates(categories, candidates);
        }
        if matches!(self.placement, PlacementMode::Overlap { .. }) {
            for instance in scene.instances() {
                taken.push(on_canvas(instance.bounding_box));
            }
        }
        !categories.is_empty()
    }

    /// Draws a layer, and draws it anew where it is rejected and the settings say so.
    fn layer<'a>(
        &self,
        ground: &'a Ground,
        region: Size,
        candidates: Option<&[Candidate]>,
        draws: &Draws,
        number: u64,
    ) -> Option<Drawn<'a>> {
        let attempts = match self.reject {
            Reject::Drop => 1,
            Reject::Redraw => 1 + streams::MOST_REDRAWS,
        };
        (0..attempts).find_map(|attempt| {
            let stream = |purpose| draws.stream(streams::layer(number, attempt, purpose));
            let mut draw = stream(streams::CUTOUT);
            let row = match candidates {
                None => ground.draw_cutout(&mut draw),
                Some(candidates) => ground.draw_among(candidates, &mut draw),
            }?;
            let cutout = ground.bank.get(row as usize)?;
            let variations = self.variations(&mut stream(streams::VARIATIONS));
            let side = self.side(ground, region, cutout.category, &mut stream(streams::SIZE));
            let resized = self.resized(&cutout, side, variations.aspect);
            let upright = object_in(&cutout, resized, variations.flip);
            self.accepts(&upright, region).then(|| Drawn {
                row,
                cutout,
                resized,
                object: rotated(&upright, resized, variations.angle),
                variations,
            })
        })
    }

    fn variations(&self, draw: &mut impl Rng) -> Variations {
        let [flip, aspect, angle, blend, ignore] = std::array::from_fn(|_| draw.random::<f64>());
        let [least, greatest] = self.angle;
        Variations {
            flip: flip < self.flip,
            aspect: 1.0 + self.aspect_jitter * (2.0 * aspect - 1.0),
            angle: least + angle * (greatest - least),
            blend,
            ignore,
            color: ColorJitter::draw(&self.color, draw),
        }
    }

    /// The side of the pasted box in pixels.
    fn side(&self, ground: &Ground, region: Size, category: i64, draw: &mut impl Rng) -> f64 {
        let size = match &self.sizes {
            SizeSource::Packs => ground.measured_size(category),
            SizeSource::Table(table) => table.of(category),
        };
        let relative = match (size, self.unmeasured) {
            (None, Some([least, greatest])) => least + draw.random::<f64>() * (greatest - least),
            (size, _) => {
                let size = size.unwrap_or_else(|| ground.sizes_of_all());
                let normal = Normal::new(size.mean, size.std);
                normal.map_or(size.mean, |normal| normal.sample(draw))
            }
        };
        self.clipped(relative * (region.pixels() as f64).sqrt(), region)
    }

    /// A side as the limits let it be; where they contradict one another, in a small region, the
    /// greatest holds.
    pub(super) fn clipped(&self, side: f64, region: Size) -> f64 {
        let [width, height] = [region.width(), region.height()].map(f64::from);
        let [least, greatest] = match self.limits {
            Limits::Side => [self.min_side, self.max_side * width.min(height)],
            Limits::Area => {
                let root = (width * height).sqrt();
                [self.min_side / height * root, self.max_side * root]
            }
        };
        side.clamp(least.min(greatest), greatest)
    }

    /// X-Paste's rule: a box that is too narrow or fills the region is no use.
    fn accepts(&self, object: &ObjectBox, region: Size) -> bool {
        // A margin's rounding moves a box off its whole pixels by less than half of one.
        let whole = |side: f64| match self.limits {
            Limits::Side => side,
            Limits::Area => side.round(),
        };
        let fits = |side: f64, most: u32| side >= self.reject_below && side < f64::from(most);
        fits(whole(object.width), region.width()) && fits(whole(object.height), region.height())
    }

    /// The size that gives the cutout's box the area side², its aspect ratio changed by `aspect`;
    /// with [`Limits::Area`] the box's own sides are cut to whole pixels.
    fn resized(&self, cutout: &Cutout<'_>, side: f64, aspect: f64) -> [u32; 2] {
        let [_, _, width, height] = object_box(cutout);
        let scale = side / (width * height).sqrt();
        let stretch = aspect.sqrt();
        let size = [cutout.size.width(), cutout.size.height()].map(f64::from);
        match self.limits {
            Limits::Side => [size[0] * scale * stretch, size[1] * scale / stretch].map(pixels),
            Limits::Area => {
                let cut = [width * scale * stretch, height * scale / stretch].map(f64::floor);
                [size[0] * cut[0] / width, size[1] * cut[1] / height].map(pixels)
            }
        }
    }
}

/// The cutout's box inside it, as x, y, width and height; all of it if nothing in it is opaque.
pub(super) fn object_box(cutout: &Cutout<'_>) -> [f64; 4] {
    let [x, y, width, height] = cutout.bounding_box.map(f64::from);
    if width * height > 0.0 {
        [x, y, width, height]
    } else {
        let size = [cutout.size.width(), cutout.size.height()].map(f64::from);
        [0.0, 0.0, size[0], size[1]]
    }
}

/// The cutout's box in the resized, perhaps mirrored layer.
fn object_in(cutout: &Cutout<'_>, resized: [u32; 2], flip: bool) -> ObjectBox {
    let [x, y, width, height] = object_box(cutout);
    let across = f64::from(resized[0]) / f64::from(cutout.size.width());
    let down = f64::from(resized[1]) / f64::from(cutout.size.height());
    let [x, width] = [x * across, width * across];
    ObjectBox {
        x: if flip {
            f64::from(resized[0]) - x - width
        } else {
            x
        },
        y: y * down,
        width,
        height: height * down,
    }
}

/// The box around the object once its layer is rotated about its rectangle's centre (rule 12).
pub(super) fn rotated(object: &ObjectBox, resized: [u32; 2], angle: f64) -> ObjectBox {
    if angle == 0.0 {
        return *object;
    }
    let (sin, cos) = angle.to_radians().sin_cos();
    let centre = resized.map(|side| f64::from(side) / 2.0);
    let middle = [
        object.x + object.width / 2.0 - centre[0],
        object.y + object.height / 2.0 - centre[1],
    ];
    let width = object.width * cos.abs() + object.height * sin.abs();
    let height = object.width * sin.abs() + object.height * cos.abs();
    ObjectBox {
        x: centre[0] + cos * middle[0] + sin * middle[1] - width / 2.0,
        y: centre[1] - sin * middle[0] + cos * middle[1] - height / 2.0,
        width,
        height,
    }
}
