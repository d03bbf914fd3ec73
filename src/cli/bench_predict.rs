//! `pastebank bench --predict`: what it takes to feed a training job.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::bench_workload::{SourceFlags, WorkloadFlags};
use super::common::{Usage, say};
use crate::bench::predict::{Host, Job, Measured, Prediction, Shape};
use crate::bench::{Packs, Report};
use crate::pack::Encoding;

/// The job and the machine. Of the workload it takes --canvas, --layers, --scene-size, --instances and
/// --encoding; what is not given is as it was measured.
#[derive(Args, Clone)]
#[command(next_help_heading = "Prediction")]
pub(super) struct PredictFlags {
    /// Say what it takes to feed a training job, and which limit comes first; measures quickly unless
    /// --from is given.
    #[arg(long, conflicts_with_all = ["sweep", "baseline", "json"])]
    pub predict: bool,
    /// What `pastebank bench --json` wrote of cores like those of the machine.
    #[arg(long, value_name = "FILE", requires = "predict", conflicts_with_all = FIXED_BY_A_REPORT)]
    pub from: Option<PathBuf>,
    /// GPUs that train [default: 8].
    #[arg(long, value_name = "N", requires = "predict", value_parser = clap::value_parser!(u16).range(1..))]
    gpus: Option<u16>,
    /// Images that one of them trains on in a second [default: 180].
    #[arg(long, value_name = "RATE", requires = "predict", value_parser = parse_amount)]
    gpu_images_per_second: Option<f64>,
    /// Mean bytes of a scene as a JPEG file [default: 186000, or that of --scenes].
    #[arg(long, value_name = "BYTES", requires = "predict", value_parser = parse_amount)]
    jpeg_bytes: Option<f64>,
    /// Mean bytes of a cutout in the bank [default: that of what was measured].
    #[arg(long, value_name = "BYTES", requires = "predict", value_parser = parse_amount)]
    cutout_bytes: Option<f64>,
    /// Scenes of an epoch [default: 118287, or those of --scenes].
    #[arg(long, value_name = "N", requires = "predict", value_parser = parse_amount)]
    epoch_size: Option<f64>,
    /// Cutouts of the bank [default: 1000000, or those of --bank].
    #[arg(long, value_name = "N", requires = "predict", value_parser = parse_amount)]
    bank_size: Option<f64>,
    /// Memory of the machine that can hold files [default: 2000].
    #[arg(long, value_name = "GB", requires = "predict", value_parser = parse_amount)]
    memory_gb: Option<f64>,
    /// What the disk or file system reads [default: 6].
    #[arg(long, value_name = "GB/s", requires = "predict", value_parser = parse_amount)]
    disk_gbps: Option<f64>,
    /// Reads that it answers in a second [default: 500000].
    #[arg(long, value_name = "RATE", requires = "predict", value_parser = parse_amount)]
    disk_reads: Option<f64>,
    /// What the link of one GPU carries [default: 55].
    #[arg(long, value_name = "GB/s", requires = "predict", value_parser = parse_amount)]
    link_gbps: Option<f64>,
    /// Cores of the machine [default: 112].
    #[arg(long, value_name = "N", requires = "predict", value_parser = parse_amount)]
    cores: Option<f64>,
}

fn parse_amount(text: &str) -> Result<f64, String> {
    let amount: Option<f64> = text.parse().ok();
    amount
        .filter(|amount| *amount > 0.0 && *amount <= 1e18)
        .ok_or_else(|| "a number above 0 and up to 1e18 was expected".to_owned())
}

/// What COCO's photographs take as JPEG files: the mean of a sample of 56.
const JPEG_BYTES: f64 = 186_000.0;
/// Images of COCO's train2017.
const EPOCH: f64 = 118_287.0;
const BANK: f64 = 1e6;

/// Flags of what a report was measured with: nothing is measured anew.
const FIXED_BY_A_REPORT: [&str; 16] = [
    "scenes",
    "synthetic",
    "synthetic_scenes",
    "device",
    "quick",
    "seconds",
    "batch",
    "layer_side",
    "blend",
    "element",
    "layout",
    "masks",
    "threads",
    "prefetch",
    "cutout_cache",
    "simd",
];

/// Means over packs, or what stands for them.
struct Means {
    jpeg_bytes: f64,
    cutout_bytes: f64,
    scenes: f64,
    cutouts: f64,
}

impl PredictFlags {
    /// Prints the prediction from that report; `packs` are the user's own, if those were measured.
    pub fn tell(
        &self,
        report: &Report,
        packs: Option<&Packs>,
        workload: &WorkloadFlags,
        sources: &SourceFlags,
    ) -> Result<()> {
        let means = self.means(report, packs);
        let measured = Measured::of(report);
        check_encoding(sources, &measured)?;
        let job = self.job(&measured, &means, workload, sources);
        say(format_args!("cores     as those of {}", report.machine))?;
        let prediction = Prediction {
            job: &job,
            measured: &measured,
        };
        say(prediction.to_string().trim_end())
    }

    fn job(
        &self,
        measured: &Measured,
        means: &Means,
        workload: &WorkloadFlags,
        sources: &SourceFlags,
    ) -> Job {
        let at = measured.shape;
        Job {
            gpus: f64::from(self.gpus.unwrap_or(8)),
            gpu_images_per_second: self.gpu_images_per_second.unwrap_or(180.0),
            shape: Shape {
                canvas: workload
                    .canvas
                    .map_or(at.canvas, |sides| sides.map(f64::from)),
                layers: workload.layers.map_or(at.layers, f64::from),
                instances: sources.instances.map_or(at.instances, f64::from),
                scene: sources
                    .scene_size
                    .map_or(at.scene, |sides| sides.map(f64::from)),
                cutout_bytes: means.cutout_bytes,
            },
            is_jpeg: measured.is_jpeg,
            jpeg_bytes: means.jpeg_bytes,
            scenes: means.scenes,
            cutouts: means.cutouts,
            host: self.host(),
        }
    }

    fn means(&self, report: &Report, packs: Option<&Packs>) -> Means {
        let is_jpeg = report.workload.is_jpeg();
        let (mut jpeg_bytes, cutout_bytes) = (JPEG_BYTES, report.workload.cutout_bytes);
        let (mut scenes, mut cutouts) = (EPOCH, BANK);
        if let Some(Packs {
            scenes: pack, bank, ..
        }) = packs
        {
            let mean = |bytes: u64, rows: usize| bytes as f64 / rows.max(1) as f64;
            if is_jpeg {
                jpeg_bytes = mean(pack.manifest().bytes(), pack.len());
            }
            (scenes, cutouts) = (pack.len() as f64, bank.len() as f64);
        }
        Means {
            jpeg_bytes: self.jpeg_bytes.unwrap_or(jpeg_bytes),
            cutout_bytes: self.cutout_bytes.unwrap_or(cutout_bytes),
            scenes: self.epoch_size.unwrap_or(scenes),
            cutouts: self.bank_size.unwrap_or(cutouts),
        }
    }

    fn host(&self) -> Host {
        Host {
            memory: 1e9 * self.memory_gb.unwrap_or(2000.0),
            disk: 1e9 * self.disk_gbps.unwrap_or(6.0),
            reads: self.disk_reads.unwrap_or(500_000.0),
            link: 1e9 * self.link_gbps.unwrap_or(55.0),
            cores: self.cores.unwrap_or(112.0),
        }
    }
}

/// The figures are of one encoding of scenes, and do not say what the other one takes.
fn check_encoding(sources: &SourceFlags, measured: &Measured) -> Result<()> {
    let name = |is_jpeg| if is_jpeg { "jpeg" } else { "raw" };
    let asked = sources.encoding.map(|encoding| encoding == Encoding::Jpeg);
    match asked.filter(|is_jpeg| *is_jpeg != measured.is_jpeg) {
        None => Ok(()),
        Some(is_jpeg) => Err(Usage(format!(
            "--encoding {asked}: the figures of --from are of {} scenes; a report of `pastebank bench \
             --encoding {asked} --json FILE` was expected",
            name(measured.is_jpeg),
            asked = name(is_jpeg),
        ))
        .into()),
    }
}
