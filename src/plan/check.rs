//! Holding a plan against its packs and the specification's limits, before any work.

use std::fmt::Display;

use super::{Blend, ColorMatrix, Keep, LayerPlan, Plan, PlanError, SamplePlan, ScenePlan};
use crate::bank::{Cutout, CutoutBank, Scene, ScenePack};
use crate::geometry::{MAX_CANVAS_SIDE, MAX_OFFSET, Placement, Size};

/// Most layers of a sample: their numbers and "none" fit 16 bits.
const MAX_LAYERS: usize = 65_534;
/// Most instances of a scene.
const MAX_INSTANCES: usize = 65_535;

/// A plan whose every index and value was checked against the packs that it borrows. Back ends
/// take only this and check nothing again.
#[derive(Debug)]
pub struct CheckedPlan<'a> {
    canvas: Size,
    pad: [u8; 3],
    keep: Keep,
    samples: Vec<CheckedSample<'a>>,
    /// Memory of earlier samples' layers, for the next ones.
    spare_layers: Vec<Vec<CheckedLayer<'a>>>,
    /// Scratch of [`CheckedPlan::check_lengths`].
    shards: Vec<usize>,
}

/// A sample with its scene and cutouts resolved.
#[derive(Debug)]
pub struct CheckedSample<'a> {
    pub(crate) scene_index: usize,
    pub(crate) scene: Scene<'a>,
    pub(crate) placement: Placement,
    pub(crate) color: ColorMatrix,
    pub(crate) layers: Vec<CheckedLayer<'a>>,
}

/// A layer with its cutout resolved.
#[derive(Debug)]
pub struct CheckedLayer<'a> {
    pub(crate) cutout_index: u64,
    pub(crate) cutout: Cutout<'a>,
    pub(crate) placement: Placement,
    pub(crate) angle: f64,
    pub(crate) blend: Blend,
    pub(crate) color: ColorMatrix,
}

impl<'a> CheckedPlan<'a> {
    /// Checks `plan` against the packs.
    ///
    /// # Errors
    /// [`PlanError::Field`] for a value past its limit or an index that the packs do not have,
    /// naming sample, layer and field; [`PlanError::Bank`] if a shard that the plan needs has
    /// shrunk since it was opened.
    pub fn new(
        plan: &Plan,
        scenes: &'a ScenePack,
        bank: &'a CutoutBank,
    ) -> Result<CheckedPlan<'a>, PlanError> {
        let mut checked = CheckedPlan {
            canvas: Size::SMALLEST,
            pad: plan.pad,
            keep: plan.keep,
            samples: Vec::with_capacity(plan.samples.len()),
            spare_layers: Vec::new(),
            shards: Vec::new(),
        };
        checked.renew(plan, scenes, bank)?;
        Ok(checked)
    }

    /// Checks another plan against packs, as [`CheckedPlan::new`] does, and uses the memory of the
    /// one before again.
    ///
    /// # Errors
    /// Those of [`CheckedPlan::new`]; there are no samples then.
    pub fn renew(
        &mut self,
        plan: &Plan,
        scenes: &'a ScenePack,
        bank: &'a CutoutBank,
    ) -> Result<(), PlanError> {
        for mut sample in self.samples.drain(..) {
            sample.layers.clear();
            self.spare_layers.push(sample.layers);
        }
        let [width, height] = plan.canvas;
        self.canvas = Size::canvas(width, height)
            .ok_or_else(|| PlanError::new(None, None, "canvas", sides_problem(plan.canvas)))?;
        (self.pad, self.keep) = (plan.pad, plan.keep);
        // First of all, since what follows reads the mapped files.
        self.check_lengths(plan, scenes, bank)?;
        for (index, sample) in plan.samples.iter().enumerate() {
            let layers = self.spare_layers.pop().unwrap_or_default();
            match check_sample(index, sample, scenes, bank, layers) {
                Ok(sample) => self.samples.push(sample),
                Err(error) => {
                    self.samples.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Asks each shard that the plan touches once whether its file is still as long as its map.
    fn check_lengths(
        &mut self,
        plan: &Plan,
        scenes: &ScenePack,
        bank: &CutoutBank,
    ) -> Result<(), PlanError> {
        let samples = plan.samples.iter();
        let touched = samples.filter_map(|sample| scenes.shard_of(sample.scene.index as usize));
        let shards = distinct(&mut self.shards, touched);
        shards
            .iter()
            .try_for_each(|&shard| scenes.check_shard_length(shard))?;
        let layers = plan.samples.iter().flat_map(|sample| &sample.layers);
        let touched = layers.filter_map(|layer| bank.shard_of(layer.cutout as usize));
        let shards = distinct(&mut self.shards, touched);
        Ok(shards
            .iter()
            .try_for_each(|&shard| bank.check_shard_length(shard))?)
    }

    /// Size of every output image.
    pub fn canvas(&self) -> Size {
        self.canvas
    }

    /// Colour outside the scene.
    pub fn pad(&self) -> [u8; 3] {
        self.pad
    }

    /// Which instances stay.
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// The samples in plan order.
    pub fn samples(&self) -> &[CheckedSample<'a>] {
        &self.samples
    }
}

/// Says which field of which layer is at fault.
struct Reporter {
    sample: usize,
    layer: Option<usize>,
    prefix: &'static str,
}

impl Reporter {
    fn error(&self, field: &str, problem: impl Display) -> PlanError {
        let field = format!("{}{field}", self.prefix);
        PlanError::new(Some(self.sample), self.layer, field, problem)
    }
}

fn check_sample<'a>(
    index: usize,
    sample: &SamplePlan,
    scenes: &'a ScenePack,
    bank: &'a CutoutBank,
    mut layers: Vec<CheckedLayer<'a>>,
) -> Result<CheckedSample<'a>, PlanError> {
    let reporter = Reporter {
        sample: index,
        layer: None,
        prefix: "",
    };
    if sample.layers.len() > MAX_LAYERS {
        let problem = format!(
            "{} layers; at most {MAX_LAYERS} were expected",
            sample.layers.len()
        );
        return Err(reporter.error("layers", problem));
    }
    let (scene_index, scene, placement) = check_scene(index, &sample.scene, scenes)?;
    for (layer, plan) in sample.layers.iter().enumerate() {
        layers.push(check_layer(index, layer, plan, bank)?);
    }
    Ok(CheckedSample {
        scene_index,
        scene,
        placement,
        color: sample.scene.color,
        layers,
    })
}

fn check_scene<'a>(
    sample: usize,
    plan: &ScenePlan,
    scenes: &'a ScenePack,
) -> Result<(usize, Scene<'a>, Placement), PlanError> {
    let reporter = Reporter {
        sample,
        layer: None,
        prefix: "scene.",
    };
    let found = usize::try_from(plan.index)
        .ok()
        .and_then(|index| Some((index, scenes.get(index)?)));
    let (index, scene) = found.ok_or_else(|| {
        reporter.error(
            "index",
            format!("{}; the pack has {} scenes", plan.index, scenes.len()),
        )
    })?;
    if scene.instance_count() > MAX_INSTANCES {
        let problem = format!(
            "scene {index} has {} instances; at most {MAX_INSTANCES} were expected",
            scene.instance_count()
        );
        return Err(reporter.error("index", problem));
    }
    check_color(&reporter, &plan.color)?;
    let placement = check_placement(&reporter, plan.resized, plan.offset, plan.flip)?;
    Ok((index, scene, placement))
}

fn check_layer<'a>(
    sample: usize,
    layer: usize,
    plan: &LayerPlan,
    bank: &'a CutoutBank,
) -> Result<CheckedLayer<'a>, PlanError> {
    let reporter = Reporter {
        sample,
        layer: Some(layer),
        prefix: "",
    };
    let cutout = usize::try_from(plan.cutout)
        .ok()
        .and_then(|index| bank.get(index))
        .ok_or_else(|| {
            reporter.error(
                "cutout",
                format!("{}; the bank has {} cutouts", plan.cutout, bank.len()),
            )
        })?;
    if !plan.angle.is_finite() {
        return Err(reporter.error("angle", format!("{}; a finite angle expected", plan.angle)));
    }
    check_blend(&reporter, plan.blend)?;
    check_color(&reporter, &plan.color)?;
    Ok(CheckedLayer {
        cutout_index: plan.cutout,
        cutout,
        placement: check_placement(&reporter, plan.resized, plan.offset, plan.flip)?,
        angle: plan.angle,
        blend: plan.blend,
        color: plan.color,
    })
}

fn check_placement(
    reporter: &Reporter,
    resized: [u32; 2],
    offset: [i32; 2],
    flip: bool,
) -> Result<Placement, PlanError> {
    let size = Size::canvas(resized[0], resized[1])
        .ok_or_else(|| reporter.error("resized", sides_problem(resized)))?;
    if offset.iter().any(|side| side.unsigned_abs() > MAX_OFFSET) {
        let problem = format!("{offset:?}; values within ±{MAX_OFFSET} were expected");
        return Err(reporter.error("offset", problem));
    }
    Ok(Placement {
        resized: size,
        offset,
        flip,
    })
}

fn check_blend(reporter: &Reporter, blend: Blend) -> Result<(), PlanError> {
    match blend {
        Blend::Gaussian { sigma } if !(0.1..=10.0).contains(&sigma) => Err(reporter.error(
            "blend.gaussian.sigma",
            format!("{sigma}; a value in 0.1..=10 was expected"),
        )),
        Blend::Box { radius } if !(1..=30).contains(&radius) => Err(reporter.error(
            "blend.box.radius",
            format!("{radius}; a value in 1..=30 was expected"),
        )),
        _ => Ok(()),
    }
}

fn check_color(reporter: &Reporter, color: &ColorMatrix) -> Result<(), PlanError> {
    for (row, [m0, m1, m2, b]) in color.0.iter().enumerate() {
        let fits = [m0, m1, m2].iter().all(|m| m.unsigned_abs() <= 8192);
        if !fits || b.unsigned_abs() > 1 << 20 {
            let problem = format!("[{m0}, {m1}, {m2}, {b}]; |m| ≤ 8192 and |b| ≤ 2^20 expected");
            return Err(reporter.error(&format!("color[{row}]"), problem));
        }
    }
    Ok(())
}

/// The values of `all`, each once.
fn distinct(scratch: &mut Vec<usize>, all: impl Iterator<Item = usize>) -> &[usize] {
    scratch.clear();
    scratch.extend(all);
    scratch.sort_unstable();
    scratch.dedup();
    scratch
}

fn sides_problem([width, height]: [u32; 2]) -> String {
    format!("[{width}, {height}]; sides of 1..={MAX_CANVAS_SIDE} were expected")
}
