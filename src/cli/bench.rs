//! `pastebank bench`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::common::{Interrupted, Threads, catch_interrupts, goes_on, parse_canvas, say};
use super::device::DeviceFlag;
use crate::bank::write::replace_file;
use crate::bank::{CutoutBank, ScenePack};
use crate::bench::{
    BenchError, BenchOptions, Effort, Packs, Report, TABLE_HEAD, Told, synthetic_packs,
};

/// Measure how fast batches are composed and loaded here, against what memory and link can do.
///
/// Everything is measured in one run and repeated: median [least..greatest]. Batches of all that is
/// timed are compared with the CPU's; a wrong result ends with an error and gives no figure.
#[derive(Args)]
pub(super) struct Bench {
    #[command(flatten)]
    device: DeviceFlag,
    /// Folder of a scene pack; several follow one another.
    #[arg(long, value_name = "DIR", requires = "bank")]
    scenes: Vec<PathBuf>,
    /// Folder of a bank; several follow one another.
    #[arg(long, value_name = "DIR", requires = "scenes")]
    bank: Vec<PathBuf>,
    /// Draw packs to measure with, in a temporary folder: the default without --scenes and --bank.
    #[arg(long, conflicts_with_all = ["scenes", "bank"])]
    synthetic: bool,
    /// Size of the images; several are measured one after another [default: 640, 1024 and 1536].
    #[arg(long, value_name = "WxH", value_parser = parse_canvas, num_args = 1..)]
    canvas: Vec<[u32; 2]>,
    /// Images of a batch [default: 16 and 64].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096), num_args = 1..)]
    batch: Vec<u16>,
    /// Layers of an image [default: 0, 20 and 100].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=10_000), num_args = 1..)]
    layers: Vec<u16>,
    /// Fewer and shorter runs over a smaller synthetic set: a look, no figure to quote.
    #[arg(long)]
    quick: bool,
    /// Time for each measurement, warm-up apart [default: 3, with --quick 0.5].
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Also write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    threads: Threads,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let expected = "a number above 0 and up to 3600 was expected";
    let seconds: f64 = text.parse().map_err(|_| expected)?;
    match seconds > 0.0 && seconds <= 3600.0 {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(expected.to_owned()),
    }
}

/// Photographs of the synthetic set: several times what processors' caches hold.
const SCENES: usize = 256;
/// The same for a look.
const QUICK_SCENES: usize = 64;

impl Bench {
    pub fn run(self) -> Result<()> {
        let options = self.options();
        catch_interrupts()?;
        let on = self.device.on()?;
        // Removed when the run ends, however it ends.
        let folder = tempfile::tempdir()?;
        let packs = self.packs(folder.path()).map_err(explain)?;
        let report = crate::bench::run(&packs, &on, &options, &goes_on, &mut tell);
        let report = report.map_err(explain)?;
        if let Some(path) = &self.json {
            write_json(&report, path)?;
        }
        Ok(())
    }

    fn options(&self) -> BenchOptions {
        let default = BenchOptions::default();
        let given = |given: &[u16], default: Vec<usize>| match given.is_empty() {
            true => default,
            false => given.iter().map(|&value| value.into()).collect(),
        };
        let effort = match self.quick {
            true => Effort::quick(),
            false => Effort::default(),
        };
        BenchOptions {
            batches: given(&self.batch, default.batches),
            layers: given(&self.layers, default.layers),
            canvases: match self.canvas.is_empty() {
                true => default.canvases,
                false => self.canvas.clone(),
            },
            threads: self.threads.threads,
            effort: Effort {
                time: self.seconds.unwrap_or(effort.time),
                ..effort
            },
        }
    }

    /// The user's packs, or drawn ones.
    fn packs(&self, folder: &Path) -> Result<Packs, BenchError> {
        if self.scenes.is_empty() {
            let images = if self.quick { QUICK_SCENES } else { SCENES };
            eprintln!("drawing and packing {images} photographs …");
            let (scenes, bank) = synthetic_packs(folder, images, &goes_on)?;
            let name = "synthetic, drawn for this run".to_owned();
            return Ok(Packs { name, scenes, bank });
        }
        let scenes = self.scenes.iter().map(|folder| ScenePack::open(folder));
        let banks = self.bank.iter().map(|folder| CutoutBank::open(folder));
        let folders = self.scenes.iter().chain(&self.bank);
        let folders: Vec<String> = folders.map(|path| path.display().to_string()).collect();
        Ok(Packs {
            name: folders.join(", "),
            scenes: ScenePack::join(scenes.collect::<Result<_, _>>()?)?.into(),
            bank: CutoutBank::join(banks.collect::<Result<_, _>>()?)?.into(),
        })
    }
}

/// Prints what there is, as soon as it is there. A closed pipe does not end the run: its JSON may
/// still be wanted.
fn tell(told: Told<'_>) {
    let _ = match told {
        Told::Head(machine, workload) => say(format_args!(
            "machine   {machine}\nworkload  {}\n\n{TABLE_HEAD}",
            workload.to_string().replace('\n', "\n          ")
        )),
        Told::Ceiling(ceiling) => say(ceiling.row()),
        Told::Begins(case) => {
            eprintln!("{case} …");
            Ok(())
        }
        Told::Measured(report) => report
            .measurements
            .iter()
            .try_for_each(|measurement| say(report.case.row(measurement))),
    };
}

fn write_json(report: &Report, path: &Path) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    Ok(replace_file(path, &json)?)
}

fn explain(error: BenchError) -> anyhow::Error {
    match error {
        BenchError::Stopped => Interrupted("stopped; nothing is left behind".to_owned()).into(),
        error => error.into(),
    }
}
