//! Composed data sets: images a second with one thread and with all, and where the time of a sample
//! goes.
//!
//! `cargo bench --bench dataset`; with `PASTEBANK_TEST_DATA` the scenes and cutouts are those of
//! `coco_cc` there, else they are drawn. 1024x1024, recipe `xpaste`.
//!
//! `TMPDIR=/dev/shm` leaves the disk out: every image is synced before its journal tells of it.
//!
//! Utilisation is the processor's time over time passed and threads: what is missing to 100 % was
//! waited, for the disk or for another thread.

mod common;

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{machine, pack_options, spread};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{Batch, MaskOutput};
use pastebank::dataset::{self, Annotations, Composer, DatasetOptions, ImageFormat, outlines};
use pastebank::pack::{Encoding, PackOptions, pack};
use pastebank::sampler::{RecipeSettings, Sampler};

const DRAWN_IMAGES: usize = 64;
const SAMPLES: u64 = 48;
const RUNS: usize = 3;
const JPEG: ImageFormat = ImageFormat::Jpeg {
    quality: dataset::DEFAULT_QUALITY,
};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    println!("machine: {}", machine());
    for encoding in [Encoding::Raw, Encoding::Jpeg] {
        let sampler = sampler(folder.path(), encoding);
        println!("\n{encoding:?} scenes, a sample on one thread, medians of {SAMPLES}:");
        stages(&sampler);
        println!("{encoding:?} scenes, whole data sets of {SAMPLES}, medians of {RUNS} in turn:");
        let cases = [
            ("JPEG, run lengths", JPEG, Annotations::Rle),
            ("JPEG, polygons", JPEG, Annotations::Polygons),
            ("PNG, run lengths", ImageFormat::Png, Annotations::Rle),
            ("PNG, polygons", ImageFormat::Png, Annotations::Polygons),
        ];
        for (name, format, annotations) in cases {
            whole(&sampler, folder.path(), name, format, annotations);
        }
    }
}

fn sampler(folder: &Path, encoding: Encoding) -> Sampler {
    let folder = folder.join(format!("{encoding:?}"));
    let options = match std::env::var_os("PASTEBANK_TEST_DATA") {
        Some(data) => {
            let data = Path::new(&data).join("coco_cc");
            let (scenes, bank) = (folder.join("scenes"), folder.join("bank"));
            PackOptions::new(
                &data.join("instances.json"),
                &data.join("images"),
                &scenes,
                &bank,
            )
        }
        None => pack_options(&folder, DRAWN_IMAGES),
    };
    let options = PackOptions {
        encoding,
        ..options
    };
    pack(&options, |_| true).unwrap();
    let scenes = ScenePack::open(options.scenes.as_ref().unwrap()).unwrap();
    let bank = CutoutBank::open(options.bank.as_ref().unwrap()).unwrap();
    let recipe = Arc::new(RecipeSettings::xpaste());
    Sampler::new(Arc::new(scenes), Arc::new(bank), recipe, [1024; 2], 0).unwrap()
}

/// One stage's name and what it does with a composed sample; gives bytes, where it makes any.
type Stage = (&'static str, fn(&Batch) -> usize);

const STAGES: [Stage; 4] = [
    ("encode JPEG", |batch| encode(batch, JPEG)),
    ("encode PNG", |batch| encode(batch, ImageFormat::Png)),
    ("run lengths as text", |batch| {
        let masks = batch.sample(0).unwrap().run_lengths.iter();
        masks.map(|mask| mask.compressed().len()).sum()
    }),
    ("polygons", |batch| {
        let masks = batch.sample(0).unwrap().run_lengths.iter();
        masks.map(|mask| outlines(mask).unwrap().len()).sum()
    }),
];

fn encode(batch: &Batch, format: ImageFormat) -> usize {
    let pixels = batch.pixels(0).unwrap();
    format.encode(pixels, batch.canvas()).unwrap().len()
}

/// What each stage of a sample takes by itself.
fn stages(sampler: &Sampler) {
    let mut composer = Composer::new(MaskOutput::Rle);
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); STAGES.len() + 1];
    let mut bytes = [0; STAGES.len()];
    composer.compose(sampler, 0).unwrap();
    for number in 0..SAMPLES {
        let started = Instant::now();
        let batch = composer.compose(sampler, number).unwrap();
        times[0].push(started.elapsed());
        for (index, (_, stage)) in STAGES.iter().enumerate() {
            let started = Instant::now();
            bytes[index] += std::hint::black_box(stage(batch));
            times[index + 1].push(started.elapsed());
        }
    }
    let milliseconds = |times: &[Duration]| spread(times.to_vec()).median.as_secs_f64() * 1e3;
    println!(
        "{:>22}: {:6.2} ms",
        "draw and compose",
        milliseconds(&times[0])
    );
    for (index, (name, _)) in STAGES.iter().enumerate() {
        let each = bytes[index] as u64 / SAMPLES;
        println!(
            "{name:>22}: {:6.2} ms, {each}",
            milliseconds(&times[index + 1])
        );
    }
}

/// Whole runs of one form, with one thread and with all in turn.
fn whole(
    sampler: &Sampler,
    folder: &Path,
    name: &str,
    format: ImageFormat,
    annotations: Annotations,
) {
    let all = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut times = [Vec::new(), Vec::new()];
    let mut busy = [Duration::ZERO; 2];
    for run in 0..=RUNS {
        for (index, threads) in [1, all].into_iter().enumerate() {
            let options = DatasetOptions {
                format,
                annotations,
                threads: NonZero::new(threads),
                force: true,
                ..DatasetOptions::new(&folder.join("composed"), SAMPLES)
            };
            let (started, before) = (Instant::now(), processor_time());
            dataset::write(sampler, &options, |_| true).unwrap();
            // The first round warms up.
            if run > 0 {
                times[index].push(started.elapsed());
                busy[index] += processor_time() - before;
            }
        }
    }
    for (index, threads) in [1, all].into_iter().enumerate() {
        let passed: Duration = times[index].iter().sum();
        let share = busy[index].as_secs_f64() / passed.as_secs_f64() / threads as f64;
        let median = spread(times[index].clone()).median.as_secs_f64();
        println!(
            "{name:>22}, {threads} threads: {:6.1} images/s, processors busy {:.0} %",
            SAMPLES as f64 / median,
            100.0 * share
        );
    }
}

/// What this process has used of the processors, from the system's own count; nothing where it
/// keeps none.
fn processor_time() -> Duration {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else {
        return Duration::ZERO;
    };
    // The name in brackets may hold spaces; user and system time are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(10 * ticks)
}
