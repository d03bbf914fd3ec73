//! What the benchmarks share: a data set, and medians.

// Several benchmarks include this module, and none of them uses all of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, Rgb, RgbImage};
use pastebank::pack::PackOptions;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

/// Median, least and greatest of some durations.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: Duration,
    pub least: Duration,
    pub greatest: Duration,
}

/// Runs `work` once to warm up and then `runs` times.
pub fn measure(runs: usize, mut work: impl FnMut()) -> Spread {
    work();
    let durations = (0..runs).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed()
    });
    spread(durations.collect())
}

pub fn spread(mut durations: Vec<Duration>) -> Spread {
    durations.sort();
    Spread {
        median: durations[durations.len() / 2],
        least: durations[0],
        greatest: durations[durations.len() - 1],
    }
}

/// The processor's name, so that a figure says where it is from.
pub fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    format!(
        "{} with {cores} cores",
        model.unwrap_or("unknown processor")
    )
}

/// Makes `images` JPEG photographs of 640x480 (hills of colour with noise) with 8 elliptic
/// instances each, and their COCO file: about 160 KB a file and 115 KB a cutout, as in COCO.
pub fn make_data_set(folder: &Path, images: usize) -> (PathBuf, PathBuf) {
    let (annotations_path, images_path) = (folder.join("instances.json"), folder.join("images"));
    fs::create_dir_all(&images_path).unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(1);
    let (mut listed, mut annotations) = (Vec::new(), Vec::new());
    for id in 0..images {
        let name = format!("{id:06}.jpg");
        fs::write(images_path.join(&name), photograph(&mut draw)).unwrap();
        listed.push(json!({"id": id, "file_name": name, "width": 640, "height": 480}));
        for number in 0..8 {
            let (w, h) = (
                draw.random_range(80.0..180.0),
                draw.random_range(80.0..180.0),
            );
            let (x, y) = (
                draw.random_range(0.0..640.0 - w),
                draw.random_range(0.0..480.0 - h),
            );
            annotations.push(json!({"id": 8 * id + number, "image_id": id, "iscrowd": 0,
                "category_id": 1 + number % 5, "bbox": [x, y, w, h], "area": w * h,
                "segmentation": [ellipse(x, y, w, h)]}));
        }
    }
    let categories: Vec<_> = (1..6)
        .map(|id| json!({"id": id, "name": format!("category {id}")}))
        .collect();
    let data = json!({"images": listed, "annotations": annotations, "categories": categories});
    fs::write(&annotations_path, data.to_string()).unwrap();
    (annotations_path, images_path)
}

fn photograph(draw: &mut ChaCha8Rng) -> Vec<u8> {
    let waves: [f32; 6] = std::array::from_fn(|_| draw.random_range(0.01..0.15));
    let image = RgbImage::from_fn(640, 480, |x, y| {
        let noise = draw.random_range(-12.0..12.0);
        let channel = |a: f32, b: f32| {
            (128.0 + 80.0 * (x as f32 * a).sin() * (y as f32 * b).cos() + noise) as u8
        };
        Rgb([
            channel(waves[0], waves[1]),
            channel(waves[2], waves[3]),
            channel(waves[4], waves[5]),
        ])
    });
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 90)
        .encode(&image, 640, 480, ExtendedColorType::Rgb8)
        .unwrap();
    file
}

fn ellipse(x: f64, y: f64, width: f64, height: f64) -> Vec<f64> {
    (0..48)
        .flat_map(|step| {
            let angle = f64::from(step) / 48.0 * std::f64::consts::TAU;
            [
                x + width / 2.0 * (1.0 + angle.cos()),
                y + height / 2.0 * (1.0 + angle.sin()),
            ]
        })
        .collect()
}

/// Options that pack such a data set below `folder`.
pub fn pack_options(folder: &Path, images: usize) -> PackOptions {
    let (annotations, photographs) = make_data_set(folder, images);
    PackOptions::new(
        &annotations,
        &photographs,
        &folder.join("scenes"),
        &folder.join("bank"),
    )
}
