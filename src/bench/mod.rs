//! `pastebank bench`: how fast will this feed a training run, and what holds it back?
//!
//! One run measures one workload, which its report names in full. Everything is measured in the same
//! run, so that it was measured under the same conditions: first the ceilings, what copying memory
//! reaches here; then the stages of composing one by one on one thread; composing on all threads; the
//! whole loader; with a GPU also that. Each measurement is made once to warm up and then repeated
//! until its median is steady ([`Spread`] says when that is) or its time is over.
//!
//! # How to read the figures
//!
//! - **Median** \[least..greatest\]. A `~` before a median says that it was not steady when the time
//!   was over: give `--seconds` more, or a quieter machine.
//! - **Ceilings** are rates of plain memory copies in GB/s, bytes read and bytes written both counted.
//!   The **floor** is the bytes that an image needs moved at least ([`Floor`]). Ceiling by floor is the
//!   images a second of a composer that would do nothing but move bytes. A share of the ceiling near
//!   100 % says that memory is the limit; far below it arithmetic is, or a decoder.
//! - **Stages** are on one thread: `plan` draws the samples, `gather` holds them against the packs,
//!   asks for their pages and encodes them; `decode` to `convert` are
//!   [composing](crate::compose::StageCosts). `share` is of composing. A stage's bytes are those that
//!   it reads and writes itself, what it keeps for the next stage included, so they are more than the
//!   floor's.
//! - **Composing** is the same batch again and again, its plan drawn and encoded before. It is what the
//!   loader can at most be. Scaling is against one thread.
//! - **Loader** is the whole way from mapped files to batches in order, into the hands of a training
//!   loop that does nothing: it waits for batches nearly all of the time, and the threads should not
//!   wait for work. If they do, `--prefetch` is too small or the training loop's thread too busy with
//!   assembling.
//! - **Headspace** is the same loader, with the same threads, queues, draws, checks and encoding, that
//!   finds each sample composed: the same finished batch is handed over again and again. No training
//!   loop gets more from this loader, however fast composing were.
//! - **First batch** is the time from making a loader until it has one.
//!
//! # What is checked
//!
//! The last batch of composing and of the loader is compared with a reference: composed anew, sample for
//! sample, by a back end of its own on one thread, with the instruction set that any machine has. The
//! headspace run composes nothing and the first batch is the loader's own, so these are not. The
//! tests hold that one against a separate, naive reading of the specification's rules. Where a bit
//! differs the run ends with an error, and no figure of it is told.
//!
//! # Comparing two runs
//!
//! [`compare`](mod@compare) holds a report against an earlier one and says what became slower beyond
//! the noise of both.
//!
//! # Beyond one workload
//!
//! [`sweep`] varies one thing of the workload and [`plot`] draws what comes of it; [`predict`] says what
//! it takes to feed a training job from the measured figures.
//!
//! [`Workload`] is the recipe that all benchmarks of this crate draw by.

pub mod check;
pub mod compare;
mod described;
#[cfg(feature = "cuda")]
mod device;
#[cfg(not(feature = "cuda"))]
#[path = "no_device.rs"]
mod device;
mod error;
mod floor;
mod free;
mod host;
mod load;
mod machine;
mod million;
pub mod names;
mod options;
pub mod plot;
pub mod predict;
mod report;
mod spread;
mod stages;
pub mod sweep;
mod synthetic;
mod table;
mod verdict;
mod workload;

use std::num::NonZero;
use std::sync::Arc;

use crate::compose::{Batch, Encoded};
use crate::plan::CheckedPlan;
use crate::sampler::Sampler;

pub use compare::{Comparison, compare};
pub use described::WorkloadReport;
pub use error::BenchError;
pub use floor::Floor;
pub use machine::Machine;
pub use million::{DISTINCT_CUTOUTS, write_large_bank};
pub use options::{BenchOptions, CutoutCache, On, Packs};
pub use report::{
    Ceiling, Ceilings, Checked, CheckedBatch, Composing, Headspace, LoaderReport, Measurement,
    OneThread, Report, Share, Stage, Wait, Waits, ceiling,
};
pub use spread::{Effort, Spread, seconds_of};
pub use synthetic::{LEAST_SIDE, SyntheticOptions, draw_data_set, synthetic_packs};
pub use workload::{Workload, output};

/// What a benchmark tells while it runs. All but [`Told::Begins`] print themselves as a part of the
/// table.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// Where and what, before anything is measured.
    Head(&'a Machine, &'a WorkloadReport),
    /// This comes next.
    Begins(&'a str),
    /// What can be done at most, and the least that must be.
    Ceilings(&'a Ceilings, &'a Floor),
    /// An image on one thread.
    Stages(&'a [Stage]),
    /// Composing alone.
    Composing(&'a Composing),
    /// What a GPU does.
    Device(&'a [Measurement]),
    /// The whole loader.
    Loader(&'a LoaderReport),
    /// Everything: what was checked, and what holds the loader up.
    Done(&'a Report),
}

/// What is composed, and how it must look.
struct Work<'a> {
    sampler: Sampler,
    encoded: Encoded<'a>,
    expected: Arc<Batch>,
    floor: Floor,
}

/// A run: what all measurements share.
struct Bench<'a> {
    packs: &'a Packs,
    options: &'a BenchOptions,
    threads: NonZero<usize>,
    /// How many of the threads can run at once.
    cores: f64,
    prefetch: usize,
    goes_on: &'a dyn Fn() -> bool,
    ceilings: Ceilings,
    checked: Vec<CheckedBatch>,
}

/// Measures everything. `goes_on` is asked before each run of each measurement; `tell` is told what
/// there is as soon as it is there.
///
/// # Errors
/// [`BenchError::Stopped`] if `goes_on` says so, [`BenchError::Wrong`] if anything that was timed is
/// not equal to what the reference gives, [`BenchError::Loader`] for a batch size or a prefetch of no
/// use, or whatever composing failed with.
pub fn run(
    packs: &Packs,
    on: &On,
    options: &BenchOptions,
    goes_on: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Report, BenchError> {
    let machine = Machine::here(on.gpu());
    let workload = WorkloadReport::of(packs, on, options);
    tell(Told::Head(&machine, &workload));
    let mut bench = Bench::new(packs, on, options, goes_on);
    // A loader that could not be made is told now, and not after all else.
    load::loader_options(&bench).check()?;
    tell(Told::Begins("composing the reference"));
    let work = bench.work()?;
    tell(Told::Begins("copying memory"));
    host::copy_bandwidth(&mut bench)?;
    let mut device = device::Device::new(on, &mut bench)?;
    tell(Told::Ceilings(&bench.ceilings, &work.floor));
    tell(Told::Begins("composing on one thread, stage by stage"));
    let (stages, one_thread) = stages::measure(&mut bench, &work)?;
    tell(Told::Stages(&stages));
    tell(Told::Begins("composing on all threads"));
    let composing = host::compose(&mut bench, &work, one_thread)?;
    tell(Told::Composing(&composing));
    let (device, loader) = match &mut device {
        Some(device) => device.measure(&mut bench, &work, &composing, tell)?,
        None => {
            tell(Told::Begins("loading"));
            (Vec::new(), load::on_cpu(&mut bench, &work, &composing)?)
        }
    };
    tell(Told::Loader(&loader));
    let report = Report {
        machine,
        workload,
        ceilings: bench.ceilings,
        floor: work.floor,
        stages,
        composing,
        device,
        loader,
        checked: Checked {
            reference: REFERENCE.to_owned(),
            batches: bench.checked,
        },
    };
    tell(Told::Done(&report));
    Ok(report)
}

/// What everything is compared with.
const REFERENCE: &str = "composed anew on one thread with the instruction set that any machine has";

impl<'a> Bench<'a> {
    fn new(
        packs: &'a Packs,
        on: &On,
        options: &'a BenchOptions,
        goes_on: &'a dyn Fn() -> bool,
    ) -> Bench<'a> {
        let threads = options.thread_count();
        let cores = std::thread::available_parallelism().unwrap_or(threads);
        Bench {
            packs,
            options,
            threads,
            cores: cores.min(threads).get() as f64,
            prefetch: options.prefetch_on(on),
            goes_on,
            ceilings: Ceilings::new(),
            checked: Vec::new(),
        }
    }

    /// The batch that is composed, and the reference.
    fn work(&self) -> Result<Work<'a>, BenchError> {
        let Packs { scenes, bank, .. } = self.packs;
        let recipe = Arc::new(self.options.workload());
        let canvas = self.options.canvas;
        let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, canvas, 0)?;
        let plan = sampler.plan(0..self.options.batch as u64);
        let encoded = Encoded::new(&CheckedPlan::new(&plan, scenes, bank)?)?;
        let expected = Arc::new(host::reference(self.options.output, &encoded)?);
        Ok(Work {
            floor: Floor::of(&encoded, &expected),
            sampler,
            encoded,
            expected,
        })
    }

    /// The median of a ceiling; 0 if there is none of that name.
    fn ceiling(&self, name: &str) -> f64 {
        let ceiling = self.ceilings.get(name);
        ceiling.map_or(0.0, |ceiling| ceiling.spread.median)
    }

    fn add_ceiling(&mut self, name: &str, spread: Spread) {
        let unit = "GB/s".to_owned();
        self.ceilings
            .insert(name.to_owned(), Ceiling { spread, unit });
    }

    fn repeat(&self, work: impl FnMut() -> Result<f64, BenchError>) -> Result<Spread, BenchError> {
        self.options.effort.repeat(self.goes_on, work)
    }

    /// An error unless `found` is equal to the bit to what the reference gives.
    fn check(
        &mut self,
        what: &'static str,
        found: &Batch,
        expected: &Batch,
    ) -> Result<(), BenchError> {
        if let Some(problem) = check::difference(found, expected) {
            return Err(BenchError::Wrong { what, problem });
        }
        self.checked.push(CheckedBatch {
            what: what.to_owned(),
            samples: found.len(),
        });
        Ok(())
    }
}
