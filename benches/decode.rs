//! Decoding JPEG photographs on one core: through the image crate, with zune-jpeg in place as the
//! library does, and with libjpeg-turbo.
//!
//! `cargo bench --bench decode --features turbojpeg`; with `PASTEBANK_TEST_DATA` the photographs are
//! those of `coco_cc` and `pixabay17` there, else they are drawn. Without the feature the rows of
//! libjpeg-turbo are left out.
//!
//! All decoders take every photograph in turn in each round, so that a drift of the machine meets
//! all alike; figures are medians over the rounds.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{machine, pack_options, spread};

const DRAWN_IMAGES: usize = 64;
const ROUNDS: usize = 9;

/// Decodes a JPEG file to RGB in the given memory; gives width and height.
type Decode = fn(&[u8], &mut Vec<u8>) -> [usize; 2];

fn main() {
    println!("machine: {}", machine());
    let folder = tempfile::tempdir().unwrap();
    for (what, files) in photographs(folder.path()) {
        let files: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
        println!(
            "{} {what}, {ROUNDS} rounds in turn, 1 thread: medians",
            files.len()
        );
        compare(&files);
    }
}

/// Sets of files, with what they are.
fn photographs(folder: &Path) -> Vec<(&'static str, Vec<PathBuf>)> {
    match std::env::var_os("PASTEBANK_TEST_DATA") {
        Some(data) => ["coco_cc", "pixabay17"]
            .map(|set| (set, jpegs(&Path::new(&data).join(set).join("images"))))
            .into(),
        None => {
            let options = pack_options(folder, DRAWN_IMAGES);
            vec![("drawn", jpegs(&options.images))]
        }
    }
}

fn jpegs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|ending| ending == "jpg"))
        .collect();
    files.sort();
    files
}

fn decoders() -> Vec<(&'static str, Decode)> {
    let zune_jpeg: [(&'static str, Decode); 2] = [
        ("zune-jpeg through the image crate", through_image),
        ("zune-jpeg by itself, in place", zune),
    ];
    zune_jpeg.into_iter().chain(turbo::decoders()).collect()
}

fn compare(files: &[Vec<u8>]) {
    let decoders = decoders();
    let mut times = vec![Vec::new(); decoders.len()];
    let mut pixels = Vec::new();
    for round in 0..=ROUNDS {
        let mut sums = vec![Duration::ZERO; decoders.len()];
        for file in files {
            for ((_, decode), sum) in decoders.iter().zip(&mut sums) {
                let started = Instant::now();
                decode(file, &mut pixels);
                *sum += started.elapsed();
                std::hint::black_box(&pixels);
            }
        }
        // The first round warms up.
        if round > 0 {
            times
                .iter_mut()
                .zip(sums)
                .for_each(|(times, sum)| times.push(sum));
        }
    }
    let decoded: usize = files
        .iter()
        .map(|file| through_image(file, &mut pixels))
        .map(|[w, h]| w * h)
        .sum();
    let bytes: usize = files.iter().map(Vec::len).sum();
    let first = spread(times[0].clone()).median;
    for ((name, decode), times) in decoders.iter().zip(times) {
        let seconds = spread(times).median.as_secs_f64();
        println!(
            "{name:>38}: {:6.1} images/s, {:5.1} MB/s of files, {:6.1} MB/s of pixels, {:.2} times the first; {}",
            files.len() as f64 / seconds,
            bytes as f64 / seconds / 1e6,
            3.0 * decoded as f64 / seconds / 1e6,
            first.as_secs_f64() / seconds,
            difference(files, *decode)
        );
    }
}

/// How the pixels differ from those that the image crate gives.
fn difference(files: &[Vec<u8>], decode: Decode) -> String {
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let (mut all, mut differ, mut greatest) = (0usize, 0usize, 0u8);
    for file in files {
        if through_image(file, &mut expected) != decode(file, &mut found) {
            return "another size".to_owned();
        }
        for (a, b) in expected
            .as_chunks::<3>()
            .0
            .iter()
            .zip(found.as_chunks::<3>().0)
        {
            all += 1;
            differ += usize::from(a != b);
            let distance = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max();
            greatest = greatest.max(distance.unwrap_or(0));
        }
    }
    if differ == 0 {
        return "equal pixels".to_owned();
    }
    let share = 100.0 * differ as f64 / all as f64;
    format!("{share:.2} % of the pixels differ, by at most {greatest}")
}

fn through_image(file: &[u8], pixels: &mut Vec<u8>) -> [usize; 2] {
    let image = image::load_from_memory(file).unwrap().into_rgb8();
    let size = [image.width(), image.height()].map(|side| side as usize);
    *pixels = image.into_raw();
    size
}

fn zune(file: &[u8], pixels: &mut Vec<u8>) -> [usize; 2] {
    use zune_jpeg::zune_core::bytestream::ZCursor;
    use zune_jpeg::zune_core::colorspace::ColorSpace;
    use zune_jpeg::zune_core::options::DecoderOptions;
    let options = DecoderOptions::new_fast().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    pixels.resize(width * height * 3, 0);
    decoder.decode_into(pixels).unwrap();
    [width, height]
}

#[cfg(feature = "turbojpeg")]
mod turbo {
    use super::Decode;
    use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

    pub fn decoders() -> [(&'static str, Decode); 2] {
        [
            ("libjpeg-turbo", whole),
            ("libjpeg-turbo at half size (inexact)", half),
        ]
    }

    fn whole(file: &[u8], pixels: &mut Vec<u8>) -> [usize; 2] {
        scaled(file, pixels, ScalingFactor::ONE)
    }

    fn half(file: &[u8], pixels: &mut Vec<u8>) -> [usize; 2] {
        scaled(file, pixels, ScalingFactor::ONE_HALF)
    }

    fn scaled(file: &[u8], pixels: &mut Vec<u8>, scale: ScalingFactor) -> [usize; 2] {
        let mut decoder = Decompressor::new().unwrap();
        decoder.set_scaling_factor(scale).unwrap();
        let header = decoder.read_header(file).unwrap().scaled(scale);
        pixels.resize(header.width * header.height * 3, 0);
        let image = Image {
            pixels: pixels.as_mut_slice(),
            width: header.width,
            pitch: 3 * header.width,
            height: header.height,
            format: PixelFormat::RGB,
        };
        decoder.decompress(file, image).unwrap();
        [header.width, header.height]
    }
}

#[cfg(not(feature = "turbojpeg"))]
mod turbo {
    use super::Decode;

    pub fn decoders() -> [(&'static str, Decode); 0] {
        []
    }
}
