//! Packing against decoding the same JPEGs alone with the same threads.
//!
//! `cargo bench --bench pack`; with `PASTEBANK_TEST_DATA` the photographs are those of `coco_cc`
//! there, taken 16 times, else they are drawn.

mod common;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{machine, pack_options, spread};
use pastebank::pack::{Encoding, PackOptions, pack};
use serde_json::{Value, json};

const DRAWN_IMAGES: usize = 800;
const COPIES: i64 = 16;
const RUNS: usize = 5;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (options, what) = match std::env::var_os("PASTEBANK_TEST_DATA") {
        Some(data) => (
            real_photographs(&Path::new(&data).join("coco_cc"), folder.path()),
            "COCO",
        ),
        None => (pack_options(folder.path(), DRAWN_IMAGES), "drawn"),
    };
    let files = listed_files(&options);
    println!("machine: {}", machine());
    println!("{} {what} JPEGs, {RUNS} runs in turn: medians", files.len());
    for threads in [
        1,
        std::thread::available_parallelism().map_or(1, |n| n.get()),
    ] {
        compare(&options, &files, threads);
    }
}

/// The photographs of `data`, each listed several times under other ids.
fn real_photographs(data: &Path, folder: &Path) -> PackOptions {
    let text = fs::read(data.join("instances.json")).unwrap();
    let mut data_set: Value = serde_json::from_slice(&text).unwrap();
    for (list, keys) in [
        ("images", &["id"][..]),
        ("annotations", &["id", "image_id"]),
    ] {
        let entries = data_set[list].as_array().unwrap();
        let copies = (0..COPIES).flat_map(|copy| {
            entries.iter().map(move |entry| {
                let mut entry = entry.clone();
                for key in keys {
                    entry[key] = json!(entry[key].as_i64().unwrap() + (copy << 48));
                }
                entry
            })
        });
        data_set[list] = copies.collect();
    }
    let annotations = folder.join("instances.json");
    fs::write(&annotations, data_set.to_string()).unwrap();
    PackOptions::new(&annotations, &data.join("images"), folder, folder)
}

/// The files that the annotations list, as often as they list them.
fn listed_files(options: &PackOptions) -> Vec<PathBuf> {
    let text = fs::read(&options.annotations).unwrap();
    let data_set: Value = serde_json::from_slice(&text).unwrap();
    let images = data_set["images"].as_array().unwrap().iter();
    images
        .map(|image| options.images.join(image["file_name"].as_str().unwrap()))
        .collect()
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
    let rate = |seconds: f64| files.len() as f64 / seconds;
    println!(
        "{threads} threads: decode alone {:.0} images/s; pack raw {:.0} images/s = {:.2} times the \
         time of decoding; pack jpeg {:.0} images/s = {:.2} times",
        rate(decode),
        rate(raw),
        raw / decode,
        rate(jpeg),
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
    assert!(report.counts.cutouts > 0);
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
    std::hint::black_box(image.into_rgb8());
}
