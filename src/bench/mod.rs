//! `pastebank bench`: how fast composing and loading are on this machine, against what its memories
//! and its link can do.
//!
//! Everything is measured in one run: the ceilings (copying memory, on the device and over the link)
//! first, then each case of a grid of canvases, batch sizes and numbers of layers. Every measurement
//! is repeated, warm-up apart, and told as median, least and greatest. A batch of everything that is
//! timed is compared with one that the CPU back end composed by itself; if they are not equal to the
//! bit the run ends with an error, and no figure is told.
//!
//! [`Workload`] is the recipe that all benchmarks of this crate draw by, and [`Floor`] the bytes that
//! it needs moved, whoever composes.

pub mod check;
#[cfg(feature = "cuda")]
mod device;
#[cfg(not(feature = "cuda"))]
#[path = "no_device.rs"]
mod device;
mod error;
mod floor;
mod host;
mod machine;
mod million;
pub mod plot;
pub mod predict;

mod report;
mod spread;
mod synthetic;
mod workload;

use std::num::NonZero;
use std::sync::Arc;

use crate::bank::{CutoutBank, ScenePack};
use crate::compose::{Batch, Encoded};
use crate::plan::CheckedPlan;
use crate::sampler::Sampler;

pub use error::BenchError;
pub use floor::Floor;
pub use machine::Machine;
pub use million::{DISTINCT_CUTOUTS, write_large_bank};
pub use report::{Case, CaseReport, Measurement, Report, Share, TABLE_HEAD};
pub use spread::{Effort, Spread, seconds_of};
pub use synthetic::{draw_data_set, synthetic_packs};
pub use workload::{Workload, WorkloadReport, output};

/// What is measured, and how long.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchOptions {
    /// Widths and heights of the images.
    pub canvases: Vec<[u32; 2]>,
    /// Images of a batch.
    pub batches: Vec<usize>,
    /// Layers of an image.
    pub layers: Vec<usize>,
    /// Threads that gather and compose; all the machine has where `None`.
    pub threads: Option<NonZero<usize>>,
    /// How long to measure.
    pub effort: Effort,
}

impl Default for BenchOptions {
    /// Batches of 16 and 64 images of 640², 1024² and 1536² with 0, 20 and 100 layers.
    fn default() -> BenchOptions {
        BenchOptions {
            canvases: [640, 1024, 1536].map(|side| [side; 2]).to_vec(),
            batches: vec![16, 64],
            layers: vec![0, 20, 100],
            threads: None,
            effort: Effort::default(),
        }
    }
}

impl BenchOptions {
    /// The grid: each canvas with each batch size and each number of layers.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &canvas in &self.canvases {
            for &batch in &self.batches {
                let case = |&layers| Case {
                    canvas,
                    batch,
                    layers,
                };
                cases.extend(self.layers.iter().map(case));
            }
        }
        cases
    }
}

/// Scenes and cutouts to compose.
#[derive(Clone, Debug)]
pub struct Packs {
    /// Where they come from, in words.
    pub name: String,
    /// The scenes.
    pub scenes: Arc<ScenePack>,
    /// The cutouts.
    pub bank: Arc<CutoutBank>,
}

/// Where to compose.
#[derive(Clone, Debug)]
pub enum On {
    /// On this machine's processor.
    Cpu,
    /// On a GPU; the processor is measured beside it.
    #[cfg(feature = "cuda")]
    Gpu {
        /// The GPU.
        gpu: crate::cuda::memory::Gpu,
        /// How long it took to open it and to load the kernels.
        opened_in: std::time::Duration,
    },
}

/// What a benchmark tells while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// Where and what, before anything is measured.
    Head(&'a Machine, &'a WorkloadReport),
    /// A ceiling.
    Ceiling(&'a Measurement),
    /// This case comes next.
    Begins(Case),
    /// It is measured.
    Measured(&'a CaseReport),
}

/// What is composed in one case, and how it must look.
struct Work<'a> {
    case: Case,
    sampler: Sampler,
    encoded: Encoded<'a>,
    expected: Batch,
    floor: Floor,
}

/// A run: what all measurements share.
struct Bench<'a> {
    packs: &'a Packs,
    options: &'a BenchOptions,
    threads: NonZero<usize>,
    goes_on: &'a dyn Fn() -> bool,
    ceilings: Vec<Measurement>,
}

/// Measures everything. `goes_on` is asked before each run of each measurement; `tell` is told what
/// there is as soon as it is there.
///
/// # Errors
/// [`BenchError::Stopped`] if `goes_on` says so, [`BenchError::Wrong`] if anything that was timed is
/// not equal to what the CPU back end gives, or whatever composing failed with.
pub fn run(
    packs: &Packs,
    on: &On,
    options: &BenchOptions,
    goes_on: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Report, BenchError> {
    let all = std::thread::available_parallelism();
    let threads = options
        .threads
        .or(all.ok())
        .unwrap_or(NonZero::<usize>::MIN);
    let machine = Machine::here(on.gpu());
    let workload = WorkloadReport::of(&packs.name, &packs.scenes, &packs.bank, threads.get());
    tell(Told::Head(&machine, &workload));
    let mut bench = Bench {
        packs,
        options,
        threads,
        goes_on,
        ceilings: Vec::new(),
    };
    let ceiling = host::copy_bandwidth(&bench)?;
    tell(Told::Ceiling(&ceiling));
    bench.ceilings.push(ceiling);
    let mut device = device::Device::new(on, &mut bench, tell)?;
    let mut cases = Vec::new();
    for case in options.cases() {
        tell(Told::Begins(case));
        let measured = bench.case(case, device.as_mut())?;
        tell(Told::Measured(&measured));
        cases.push(measured);
    }
    Ok(Report {
        machine,
        workload,
        ceilings: bench.ceilings,
        cases,
    })
}

impl On {
    /// The GPU's name, and the seconds that opening it took.
    fn gpu(&self) -> Option<(String, f64)> {
        match self {
            On::Cpu => None,
            #[cfg(feature = "cuda")]
            On::Gpu { gpu, opened_in } => Some((gpu.driver().name(), opened_in.as_secs_f64())),
        }
    }
}

impl Bench<'_> {
    /// One case: on the GPU if there is one, and on the CPU.
    fn case(
        &self,
        case: Case,
        device: Option<&mut device::Device>,
    ) -> Result<CaseReport, BenchError> {
        let Packs { scenes, bank, .. } = self.packs;
        let recipe = Arc::new(Workload {
            layers: case.layers,
        });
        let sampler = Sampler::new(scenes.clone(), bank.clone(), recipe, case.canvas, 0)?;
        let plan = sampler.plan(0..case.batch as u64);
        let checked = CheckedPlan::new(&plan, scenes, bank)?;
        let encoded = Encoded::new(&checked)?;
        let expected = host::reference(self.threads, &encoded)?;
        let work = Work {
            floor: Floor::of(&encoded, &expected),
            case,
            sampler,
            encoded,
            expected,
        };
        let composing = host::compose(self, &work)?;
        let measurements = match device {
            Some(device) => device.measure(self, &work, composing)?,
            None => host::load(self, &work, composing)?,
        };
        Ok(CaseReport {
            case,
            floor: work.floor,
            measurements,
        })
    }

    /// The median of a ceiling; 0 if there is none of that name.
    fn ceiling(&self, what: &str) -> f64 {
        let ceiling = self.ceilings.iter().find(|ceiling| ceiling.what == what);
        ceiling.map_or(0.0, |ceiling| ceiling.spread.median)
    }

    fn repeat(&self, work: impl FnMut() -> Result<f64, BenchError>) -> Result<Spread, BenchError> {
        self.options.effort.repeat(self.goes_on, work)
    }
}
