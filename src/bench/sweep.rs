//! The workload again and again with one thing varied: what grows with what, and what does not.
//!
//! Every point is a whole run of its own, ceilings and self-checks included, but shorter than the main
//! one: a measurement ends when its median is steady, or after half the time.
//!
//! Points are measured one after another. What a busy machine does to one of them shows in its own
//! ceiling: where that moves and the floor's bytes do not, compare shares of the ceiling, or measure
//! again.
//!
//! A sweep of the bank's size needs banks that nobody has packed. [`write_large_bank`] makes them of the
//! workload's own cutouts, so that composing does the same work at all sizes; opening the bank and
//! drawing a sample's plan are measured beside it.

mod output;

use std::fmt;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    BenchError, BenchOptions, Effort, On, Packs, Report, Spread, SyntheticOptions, draw_data_set,
    run, seconds_of, write_large_bank,
};
use crate::bank::{CutoutBank, ScenePack};
use crate::pack::{PackError, PackOptions, pack};
use crate::sampler::Sampler;
pub use output::csv_of;

/// What a sweep varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Varied {
    /// Threads that gather and compose.
    Threads,
    /// Width and height of the images.
    Canvas,
    /// Layers of an image.
    Layers,
    /// Instances of a scene.
    Instances,
    /// Cutouts in the bank.
    BankSize,
    /// Images of a batch.
    Batch,
}

/// A place on a sweep's axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number of something.
    Number(usize),
    /// Width and height of a canvas.
    Canvas([u32; 2]),
}

/// One thing varied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// What.
    pub axis: Varied,
    /// What was measured, from the least value to the greatest.
    pub points: Vec<SweepPoint>,
}

/// What was measured at one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// The value.
    pub value: Value,
    /// The run.
    #[serde(flatten)]
    pub report: Report,
    /// What the bank costs before anything is composed, where its size is varied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bank: Option<BankCosts>,
}

/// What a bank costs before anything is composed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BankCosts {
    /// Length of its files.
    pub bytes: u64,
    /// Opening it: a map of each shard and the validity pass over all rows.
    pub opening_seconds: Spread,
    /// Drawing a sample's plan.
    pub drawing_microseconds: Spread,
}

impl Varied {
    /// All of them.
    pub const ALL: [Varied; 6] = [
        Varied::Threads,
        Varied::Canvas,
        Varied::Layers,
        Varied::Instances,
        Varied::BankSize,
        Varied::Batch,
    ];

    /// As it is given on the command line and written in files.
    pub fn name(self) -> &'static str {
        match self {
            Varied::Threads => "threads",
            Varied::Canvas => "canvas",
            Varied::Layers => "layers",
            Varied::Instances => "instances",
            Varied::BankSize => "bank-size",
            Varied::Batch => "batch",
        }
    }

    /// The values where none are given; of threads powers of two up to the machine's `cores`.
    pub fn default_values(self, cores: usize) -> Vec<Value> {
        let numbers: &[usize] = match self {
            Varied::Threads => {
                let powers = (0..10).map(|power| 1 << power);
                let below = powers.take_while(|&threads| threads < cores);
                return below.chain([cores]).map(Value::Number).collect();
            }
            Varied::Canvas => {
                return [256, 512, 1024, 2048]
                    .map(|side| Value::Canvas([side; 2]))
                    .to_vec();
            }
            Varied::Layers => &[0, 5, 10, 20, 50, 100],
            Varied::Instances => &[1, 4, 8, 16, 32],
            Varied::BankSize => &[1000, 10_000, 100_000, 1_000_000],
            Varied::Batch => &[1, 4, 16, 64],
        };
        numbers.iter().copied().map(Value::Number).collect()
    }

    /// The numbers that a value may be; of canvases each side.
    pub fn range(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Varied::Threads => 1..=crate::MOST_THREADS.get(),
            Varied::Canvas => 1..=crate::geometry::MAX_CANVAS_SIDE as usize,
            Varied::Layers => 0..=10_000,
            Varied::Instances => 1..=10_000,
            Varied::BankSize => 1..=10_000_000,
            Varied::Batch => 1..=4096,
        }
    }

    /// Reads a value: a number, or WIDTHxHEIGHT of a canvas.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let (least, most) = (self.range().min(), self.range().max());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        let expected = || match self {
            Varied::Canvas => format!("WIDTHxHEIGHT with sides of {least}..={most} was expected"),
            _ => format!("a number in {least}..={most} was expected"),
        };
        let number = |text: &str| {
            let number = text.trim().parse().ok();
            let number = number.filter(|number| self.range().contains(number));
            number.ok_or_else(|| format!("{text:?}: {}", expected()))
        };
        if self != Varied::Canvas {
            return Ok(Value::Number(number(text)?));
        }
        let (width, height) = text.split_once(['x', 'X', '×']).unwrap_or((text, text));
        let side = |text| Ok::<_, String>(number(text)? as u32);
        Ok(Value::Canvas([side(width)?, side(height)?]))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Canvas([width, height]) => write!(f, "{width}x{height}"),
        }
    }
}

/// What all points of a sweep share.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The workload's packs.
    pub packs: &'a Packs,
    /// How they were drawn, if they were.
    pub drawn: Option<SyntheticOptions>,
    /// Where to compose.
    pub on: &'a On,
    /// The workload, with the main run's effort.
    pub options: &'a BenchOptions,
    /// Where packs are written that a point needs; they are removed after it.
    pub folder: &'a Path,
    /// Whether to go on.
    pub goes_on: &'a dyn Fn() -> bool,
}

/// Samples whose plans are drawn in one run.
const DRAWN: u64 = 1000;

impl Ground<'_> {
    /// Measures at each of these values, and tells each point as soon as it is there.
    ///
    /// # Errors
    /// Those of [`run`] and [`write_large_bank`], and [`BenchError::Sweep`] for instances of packs that
    /// were not drawn.
    pub fn sweep(
        &self,
        axis: Varied,
        values: &[Value],
        tell: &mut dyn FnMut(&SweepPoint),
    ) -> Result<Sweep, BenchError> {
        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        let mut points = Vec::with_capacity(values.len());
        for value in values {
            let point = self.point(axis, value)?;
            tell(&point);
            points.push(point);
        }
        Ok(Sweep { axis, points })
    }

    fn point(&self, axis: Varied, value: Value) -> Result<SweepPoint, BenchError> {
        let mut options = BenchOptions {
            effort: shorter(self.options.effort),
            ..self.options.clone()
        };
        let mut packs = self.packs.clone();
        let mut bank = None;
        // Removed at the end, however it ends.
        let folder = tempfile::tempdir_in(self.folder);
        let folder = folder.map_err(|error| BenchError::file(self.folder, error))?;
        match (axis, value) {
            (_, Value::Canvas(canvas)) => options.canvas = canvas,
            (Varied::Threads, Value::Number(threads)) => options.threads = NonZero::new(threads),
            (Varied::Layers, Value::Number(layers)) => options.layers = layers,
            (Varied::Batch, Value::Number(batch)) => options.batch = batch,
            (Varied::Instances, Value::Number(instances)) => {
                packs.scenes = self.scenes_with(folder.path(), instances)?;
            }
            (Varied::BankSize, Value::Number(rows)) => {
                write_large_bank(folder.path(), &packs.bank, rows, self.goes_on)?;
                packs.bank = Arc::new(CutoutBank::open(folder.path())?);
                bank = Some(self.bank_costs(&packs, &options)?);
            }
            (Varied::Canvas, Value::Number(side)) => options.canvas = [side as u32; 2],
        }
        let report = run(&packs, self.on, &options, self.goes_on, &mut |_| ())?;
        Ok(SweepPoint {
            value,
            report,
            bank,
        })
    }

    /// Scenes like those of the workload, with so many instances; the bank stays what it is.
    fn scenes_with(&self, folder: &Path, instances: usize) -> Result<Arc<ScenePack>, BenchError> {
        let drawn = self.drawn.ok_or_else(|| BenchError::Sweep {
            axis: Varied::Instances.name(),
            problem: "scenes that were not drawn have the instances that they have; --synthetic \
                      was expected with it",
        })?;
        let drawn = SyntheticOptions { instances, ..drawn };
        let options = PackOptions {
            bank: None,
            ..draw_data_set(folder, &drawn, self.goes_on)?
        };
        pack(&options, |_| (self.goes_on)()).map_err(|error| match error {
            PackError::Stopped => BenchError::Stopped,
            error => error.into(),
        })?;
        let scenes = options.scenes.as_deref().unwrap_or(folder);
        Ok(Arc::new(ScenePack::open(scenes)?))
    }

    fn bank_costs(&self, packs: &Packs, options: &BenchOptions) -> Result<BankCosts, BenchError> {
        let Packs { scenes, bank, .. } = packs;
        let effort = options.effort;
        let opening_seconds = effort.repeat(self.goes_on, || {
            seconds_of(|| {
                CutoutBank::open(bank.directory())?;
                Ok::<_, BenchError>(())
            })
        })?;
        let recipe = Arc::new(options.workload());
        let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, options.canvas, 0)?;
        let drawing = effort.repeat(self.goes_on, || {
            seconds_of(|| {
                std::hint::black_box(sampler.plan(0..DRAWN));
                Ok::<_, BenchError>(())
            })
        })?;
        Ok(BankCosts {
            bytes: bank.manifest().bytes(),
            opening_seconds,
            drawing_microseconds: drawing.map(|seconds| 1e6 * seconds / DRAWN as f64),
        })
    }
}

/// Half the time: points are many.
fn shorter(effort: Effort) -> Effort {
    Effort {
        time: effort.time / 2,
        ..effort
    }
}

#[cfg(test)]
mod tests;
