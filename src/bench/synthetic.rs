//! A data set for benchmarks, drawn: photographs of hills of colour with noise, and ellipses.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{BenchError, Packs};
use crate::bank::{CutoutBank, ScenePack};
use crate::pack::{Encoding, PackError, PackOptions};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntheticOptions {
    /// Photographs.
    pub scenes: usize,
    /// Width and height of each, at least [`LEAST_SIDE`] each.
    pub scene_size: [u32; 2],
    /// Instances of each.
    pub instances: usize,
    /// How scenes are packed.
    pub encoding: Encoding,
}

impl Default for SyntheticOptions {
    /// 256 photographs of 640×480 with 8 instances, packed raw: several times what processors' caches
    /// hold.
    fn default() -> SyntheticOptions {
        SyntheticOptions {
            scenes: 256,
            scene_size: [640, 480],
            instances: 8,
            encoding: Encoding::Raw,
        }
    }
}

/// The least side of a photograph in pixels.
pub const LEAST_SIDE: u32 = 16;
/// An instance's sides in pixels, where the photograph is large enough.
const SIDES: std::ops::Range<f64> = 80.0..180.0;
/// Corners of an ellipse's polygon.
const CORNERS: u32 = 48;

/// Draws JPEG photographs with elliptic instances below `folder`, with their COCO file: at 640×480
/// about 160 KB a file and 115 KB a cutout, as in COCO. Gives the options that pack them there.
/// `goes_on` is asked before each photograph.
///
/// # Errors
/// [`BenchError::File`] if something cannot be written, [`BenchError::Stopped`] if `goes_on` says so.
pub fn draw_data_set(
    folder: &Path,
    options: &SyntheticOptions,
    goes_on: &dyn Fn() -> bool,
) -> Result<PackOptions, BenchError> {
    let (annotations_path, images_path) = (folder.join("instances.json"), folder.join("images"));
    fs::create_dir_all(&images_path).map_err(|error| BenchError::file(&images_path, error))?;
    let mut draw = ChaCha8Rng::seed_from_u64(1);
    let size = options.scene_size.map(|side| side.max(LEAST_SIDE));
    let (mut listed, mut annotations) = (Vec::new(), Vec::new());
    for id in 0..options.scenes {
        if !goes_on() {
            return Err(BenchError::Stopped);
        }
        let name = format!("{id:06}.jpg");
        write(&images_path.join(&name), &photograph(&mut draw, size)?)?;
        listed.push(json!({"id": id, "file_name": name, "width": size[0], "height": size[1]}));
        annotations.extend((0..options.instances).map(|number| {
            let annotation = id * options.instances + number;
            instance(&mut draw, size, (id, annotation), 1 + number % 5)
        }));
    }
    let categories: Vec<_> = (1..6)
        .map(|id| json!({"id": id, "name": format!("category {id}")}))
        .collect();
    let data = json!({"images": listed, "annotations": annotations, "categories": categories});
    write(&annotations_path, data.to_string().as_bytes())?;
    Ok(PackOptions {
        encoding: options.encoding,
        ..PackOptions::new(
            &annotations_path,
            &images_path,
            &folder.join("scenes"),
            &folder.join("bank"),
        )
    })
}

/// As [`draw_data_set`], and packs and opens them.
///
/// # Errors
/// Those of [`draw_data_set`], and [`BenchError::Pack`] and [`BenchError::Bank`].
pub fn synthetic_packs(
    folder: &Path,
    options: &SyntheticOptions,
    goes_on: &dyn Fn() -> bool,
) -> Result<Packs, BenchError> {
    let options = draw_data_set(folder, options, goes_on)?;
    crate::pack::pack(&options, |_| goes_on()).map_err(|error| match error {
        PackError::Stopped => BenchError::Stopped,
        error => error.into(),
    })?;
    let path = |path: Option<PathBuf>| path.unwrap_or_else(|| folder.to_owned());
    Ok(Packs {
        name: "synthetic, drawn for this run".to_owned(),
        scenes: Arc::new(ScenePack::open(&path(options.scenes))?),
        bank: Arc::new(CutoutBank::open(&path(options.bank))?),
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BenchError> {
    fs::write(path, bytes).map_err(|error| BenchError::file(path, error))
}

fn photograph(draw: &mut ChaCha8Rng, [width, height]: [u32; 2]) -> Result<Vec<u8>, BenchError> {
    let waves: [f32; 6] = std::array::from_fn(|_| draw.random_range(0.01..0.15));
    // Hills are products of a wave across and one down.
    let across: [Vec<f32>; 3] =
        [0, 2, 4].map(|wave| (0..width).map(|x| (x as f32 * waves[wave]).sin()).collect());
    let down: [Vec<f32>; 3] = [1, 3, 5].map(|wave| {
        (0..height)
            .map(|y| (y as f32 * waves[wave]).cos())
            .collect()
    });
    let image = RgbImage::from_fn(width, height, |x, y| {
        let noise = draw.random_range(-12.0..12.0);
        let (x, y) = (x as usize, y as usize);
        Rgb([0, 1, 2].map(|channel: usize| {
            (128.0 + 80.0 * across[channel][x] * down[channel][y] + noise) as u8
        }))
    });
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 90)
        .encode(&image, width, height, ExtendedColorType::Rgb8)
        .map_err(BenchError::Encode)?;
    Ok(file)
}

fn instance(
    draw: &mut ChaCha8Rng,
    size: [u32; 2],
    (image, id): (usize, usize),
    category: usize,
) -> Value {
    // In a small photograph at most half of it.
    let [width, height] = size.map(f64::from);
    let [w, h] = [width, height].map(|side| draw.random_range(SIDES).min(side / 2.0));
    let (x, y) = (
        draw.random_range(0.0..width - w),
        draw.random_range(0.0..height - h),
    );
    json!({"id": id, "image_id": image, "iscrowd": 0, "category_id": category,
        "bbox": [x, y, w, h], "area": w * h, "segmentation": [ellipse(x, y, w, h)]})
}

fn ellipse(x: f64, y: f64, width: f64, height: f64) -> Vec<f64> {
    (0..CORNERS)
        .flat_map(|step| {
            let angle = f64::from(step) / f64::from(CORNERS) * std::f64::consts::TAU;
            [
                x + width / 2.0 * (1.0 + angle.cos()),
                y + height / 2.0 * (1.0 + angle.sin()),
            ]
        })
        .collect()
}
