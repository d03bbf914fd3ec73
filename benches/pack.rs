//! Packing against decoding the same JPEGs alone with the same threads.
//!
//! `cargo bench --bench pack`

mod common;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{machine, pack_options, spread};
use pastebank::pack::{Encoding, PackOptions, pack};

const IMAGES: usize = 400;
const RUNS: usize = 7;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let options = pack_options(folder.path(), IMAGES);
    let files: Vec<PathBuf> = fs::read_dir(&options.images)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    println!("machine: {}", machine());
    println!("{IMAGES} JPEGs of 640x480 with 8 instances each, {RUNS} runs in turn: medians");
    for threads in [
        1,
        std::thread::available_parallelism().map_or(1, |n| n.get()),
    ] {
        compare(&options, &files, threads);
    }
}

/// Decoding, packing raw and packing JPEG in turn, so that a drift of the machine meets all.
fn compare(options: &PackOptions, files: &[PathBuf], threads: usize) {
    let mut times: [Vec<Duration>; 3] = Default::default();
    for run in 0..=RUNS {
        let [raw, jpeg] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let figures = [
            time(|| decode_all(files, threads)),
            time(|| pack_all(options, raw.path(), Encoding::Raw, threads)),
            time(|| pack_all(options, jpeg.path(), Encoding::Jpeg, threads)),
        ];
        // The first round warms up.
        if run > 0 {
            times
                .iter_mut()
                .zip(figures)
                .for_each(|(times, figure)| times.push(figure));
        }
    }
    let [decode, raw, jpeg] = times.map(|times| spread(times).median.as_secs_f64());
    println!(
        "{threads} threads: decode alone {:.0} images/s; pack raw {:.0} images/s = {:.2} times the \
         time of decoding; pack jpeg {:.0} images/s = {:.2} times",
        IMAGES as f64 / decode,
        IMAGES as f64 / raw,
        raw / decode,
        IMAGES as f64 / jpeg,
        jpeg / decode
    );
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn pack_all(options: &PackOptions, out: &Path, encoding: Encoding, threads: usize) {
    let options = PackOptions {
        encoding,
        threads: NonZero::new(threads),
        scenes: Some(out.join("scenes")),
        bank: Some(out.join("bank")),
        ..options.clone()
    };
    let report = pack(&options, |_| true).unwrap();
    assert_eq!(report.counts.cutouts as usize, 8 * IMAGES);
}

fn decode_all(files: &[PathBuf], threads: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    decode(path);
                }
            });
        }
    });
}

fn decode(path: &Path) {
    let image = image::load_from_memory(&fs::read(path).unwrap()).unwrap();
    assert_eq!(std::hint::black_box(image.into_rgb8()).width(), 640);
}
