//! An image on one thread, stage by stage: from drawing it to its last byte.

use std::num::NonZero;
use std::time::Instant;

use super::report::{ceiling, percent};
use super::{Bench, BenchError, Packs, Spread, Stage, Work};
use crate::compose::{Backend, Batch, CpuBackend, Encoded, Encoder};
use crate::loader::read_ahead;
use crate::plan::{CheckedPlan, LayerPlan, SamplePlan};

/// Times of one stage, and its bytes.
struct Series {
    name: &'static str,
    /// Seconds of each run, that of the warm-up first.
    seconds: Vec<f64>,
    /// Bytes of one run: it is the same work in all.
    bytes: u64,
}

/// One thread that does all by itself, again and again.
struct Runner<'a, 'b> {
    bench: &'b Bench<'a>,
    work: &'b Work<'a>,
    checked: Option<CheckedPlan<'a>>,
    encoder: Encoder<'a>,
    backend: CpuBackend,
    batch: Batch,
    /// In order.
    stages: Vec<Series>,
    /// Seconds of composing.
    composing: Vec<f64>,
}

/// The stages, and the images a second that one thread composes.
pub(super) fn measure<'a>(
    bench: &mut Bench<'a>,
    work: &Work<'a>,
) -> Result<(Vec<Stage>, Spread), BenchError> {
    let mut runner = Runner {
        bench,
        work,
        checked: None,
        encoder: Encoder::default(),
        backend: CpuBackend::new(Some(NonZero::<usize>::MIN)),
        batch: Batch::new(bench.options.output),
        stages: Vec::new(),
        composing: Vec::new(),
    };
    bench.repeat(|| runner.run())?;
    let Runner {
        batch,
        stages,
        composing,
        ..
    } = runner;
    bench.check("composing on one thread", &batch, &work.expected)?;
    let images = bench.options.batch as f64;
    let composing = Spread::of(composing.into_iter().skip(1).collect());
    let stages = stages
        .into_iter()
        .map(|stage| stage.told(bench, composing.median))
        .collect();
    Ok((stages, composing.map(|seconds| images / seconds)))
}

impl<'a> Runner<'a, '_> {
    /// The batch once; the seconds of composing it.
    fn run(&mut self) -> Result<f64, BenchError> {
        let Packs { scenes, bank, .. } = self.bench.packs;
        let samples = self.bench.options.batch as u64;
        let started = Instant::now();
        let plan = self.work.sampler.plan(0..samples);
        let planned = Instant::now();
        let checked = match &mut self.checked {
            Some(checked) => {
                checked.renew(&plan, scenes, bank)?;
                checked
            }
            none => none.insert(CheckedPlan::new(&plan, scenes, bank)?),
        };
        read_ahead(checked, scenes, bank, |_, _| true);
        let encoded = self.encoder.encode(checked)?;
        let gathered = Instant::now();
        let before = self.backend.costs();
        self.backend.compose(encoded, &mut self.batch)?;
        let composing = gathered.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let (drawn, arrays) = (plan_bytes(&plan.samples), array_bytes(encoded));
        let preparing = [
            ("plan", planned - started, drawn),
            ("gather", gathered - planned, arrays),
        ];
        let costs = before.named().into_iter().zip(self.backend.costs().named());
        let costs = costs.map(|((name, before), (_, after))| {
            (name, after.time - before.time, after.bytes - before.bytes)
        });
        let all = preparing.into_iter().chain(costs);
        for (number, (name, time, bytes)) in all.enumerate() {
            if self.stages.len() <= number {
                self.stages.push(Series {
                    name,
                    seconds: Vec::new(),
                    bytes,
                });
            }
            self.stages[number].seconds.push(time.as_secs_f64());
        }
        self.composing.push(composing);
        Ok(composing)
    }
}

impl Series {
    /// `composing` is the seconds of composing the batch.
    fn told(self, bench: &Bench<'_>, composing: f64) -> Stage {
        let images = bench.options.batch as f64;
        let seconds = Spread::of(self.seconds.into_iter().skip(1).collect());
        let moved = match seconds.median > 0.0 {
            true => self.bytes as f64 / seconds.median / 1e9,
            false => 0.0,
        };
        Stage {
            name: self.name.to_owned(),
            microseconds_per_image: seconds.map(|seconds| 1e6 * seconds / images),
            bytes_per_image: self.bytes as f64 / images,
            gigabytes_per_second: moved,
            share: seconds.median / composing.max(f64::MIN_POSITIVE),
            percent_of_ceiling: percent(moved, bench.ceiling(ceiling::COPY_ONE_THREAD)),
        }
    }
}

/// What a drawn plan takes in memory.
fn plan_bytes(samples: &[SamplePlan]) -> u64 {
    let layers: usize = samples.iter().map(|sample| sample.layers.len()).sum();
    (size_of_val(samples) + layers * size_of::<LayerPlan>()) as u64
}

/// What an encoded plan takes in memory, without the pixels that it refers to.
fn array_bytes(encoded: &Encoded<'_>) -> u64 {
    let arrays = [
        size_of_val(&encoded.samples[..]),
        size_of_val(&encoded.layers[..]),
        size_of_val(&encoded.instances[..]),
        size_of_val(&encoded.filters[..]),
        size_of_val(&encoded.sources[..]),
        size_of_val(&encoded.masks[..]),
    ];
    arrays.iter().sum::<usize>() as u64
}
