//! Draws a small annotated data set to try things out on: no input, no network.
//!
//! The images show textured figures of ten categories on textured grounds. The annotations follow
//! the drawn pixels as people would outline them: what other figures hide is left out, a figure
//! behind a bar falls into several polygons, and a swarm of small figures is one crowd annotation.

mod annotation;
mod canvas;
mod colour;
mod geometry;
mod ground;
mod layout;
mod outline;
mod render;
mod shapes;
#[cfg(test)]
mod tests;
mod texture;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;

use crate::bank::BankError;
use crate::bank::write::replace_file;
use annotation::{Annotation, Image, Info, Instances};
use canvas::Canvas;
use layout::Scene;
use shapes::CATEGORIES;
use texture::Noise;

const JPEG_QUALITY: u8 = 92;

/// The lengths that a side of an image may have, before the sizes are varied.
const SIDES: std::ops::RangeInclusive<u32> = 64..=4096;

/// The largest data set: its file names still have six digits.
const MOST_IMAGES: u32 = 999_999;

/// What to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrawOptions {
    /// How many images.
    pub images: u32,
    /// The width of most images; some are smaller or stand upright.
    pub width: u32,
    /// The height of most images.
    pub height: u32,
    /// Equal seeds draw equal data sets.
    pub seed: u64,
}

impl Default for DrawOptions {
    fn default() -> Self {
        Self {
            images: 48,
            width: 640,
            height: 480,
            seed: 0,
        }
    }
}

/// A data set that has been drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnDataSet {
    /// The annotation file.
    pub annotations: PathBuf,
    /// The folder of the images.
    pub images: PathBuf,
    /// How many images there are.
    pub image_count: usize,
    /// How many annotations they have together.
    pub annotation_count: usize,
    /// The categories with the numbers of their annotations, the most frequent ones first.
    pub categories: Vec<(String, usize)>,
}

/// Why a data set could not be drawn.
#[derive(Debug, Error)]
pub enum DrawError {
    /// The images' sides are out of range.
    #[error(
        "{width} x {height} is no size to draw: the sides must be from {} to {}",
        SIDES.start(),
        SIDES.end()
    )]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// More images than file names.
    #[error("{images} images are more than the {MOST_IMAGES} that can be numbered")]
    Count {
        /// How many were asked for.
        images: u32,
    },
    /// A folder could not be made.
    #[error("cannot create the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An image could not be encoded.
    #[error("cannot encode {}", path.display())]
    Encode {
        /// The image's file.
        path: PathBuf,
        /// The encoder's error.
        source: ImageError,
    },
    /// The annotations could not be put into JSON.
    #[error("cannot put {} into JSON", path.display())]
    Json {
        /// The annotation file.
        path: PathBuf,
        /// The serialiser's error.
        source: serde_json::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] BankError),
}

/// Draws a data set into a folder: `annotations.json`, and `images/000001.jpg` and so on.
///
/// Files of these names are replaced; others are left as they are.
pub fn draw(directory: &Path, options: &DrawOptions) -> Result<DrawnDataSet, DrawError> {
    check(options)?;
    let images = directory.join("images");
    fs::create_dir_all(&images).map_err(|source| DrawError::Folder {
        path: images.clone(),
        source,
    })?;
    let mut instances = Instances {
        info: Info {
            description: format!("Synthetic demonstration data set, seed {}", options.seed),
            version: "1.0",
        },
        images: Vec::new(),
        annotations: Vec::new(),
        categories: annotation::named_categories(),
    };
    for number in 0..options.images {
        let (canvas, annotations) = draw_image(options, number);
        let file_name = format!("{:06}.jpg", number + 1);
        write_image(&images.join(&file_name), &canvas)?;
        instances.images.push(Image {
            id: number + 1,
            file_name,
            width: canvas.width,
            height: canvas.height,
        });
        instances.annotations.extend(annotations);
    }
    for (id, annotation) in (1..).zip(&mut instances.annotations) {
        annotation.id = id;
    }
    let path = directory.join("annotations.json");
    write_instances(&path, &instances)?;
    Ok(summary(path, images, &instances))
}

fn check(options: &DrawOptions) -> Result<(), DrawError> {
    let DrawOptions { width, height, .. } = *options;
    if !SIDES.contains(&width) || !SIDES.contains(&height) {
        return Err(DrawError::Size { width, height });
    }
    if options.images > MOST_IMAGES {
        let images = options.images;
        return Err(DrawError::Count { images });
    }
    Ok(())
}

/// Draws and annotates one image. It depends on its number, but on no other image.
fn draw_image(options: &DrawOptions, number: u32) -> (Canvas, Vec<Annotation>) {
    let mut shared = ChaCha8Rng::seed_from_u64(options.seed);
    let start = shared.random();
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    random.set_stream(u64::from(number) + 1);
    let scene = Scene::plan(&mut random, number, [options.width, options.height], start);
    let noise = Noise::new(&mut random);
    let canvas = render::render(&scene, &noise);
    let annotations = annotation::annotate(&scene, &canvas, number + 1);
    (canvas, annotations)
}

fn write_image(path: &Path, canvas: &Canvas) -> Result<(), DrawError> {
    let mut encoded = Vec::new();
    JpegEncoder::new_with_quality(&mut encoded, JPEG_QUALITY)
        .encode(
            &canvas.bytes(),
            canvas.width as u32,
            canvas.height as u32,
            ExtendedColorType::Rgb8,
        )
        .map_err(|source| DrawError::Encode {
            path: path.to_owned(),
            source,
        })?;
    Ok(replace_file(path, &encoded)?)
}

fn write_instances(path: &Path, instances: &Instances) -> Result<(), DrawError> {
    let encoded = serde_json::to_vec(instances).map_err(|source| DrawError::Json {
        path: path.to_owned(),
        source,
    })?;
    Ok(replace_file(path, &encoded)?)
}

fn summary(annotations: PathBuf, images: PathBuf, instances: &Instances) -> DrawnDataSet {
    let count_of = |id: u32| {
        let of_category = |annotation: &&Annotation| annotation.category_id == id;
        instances.annotations.iter().filter(of_category).count()
    };
    let mut categories: Vec<(String, usize)> = CATEGORIES
        .iter()
        .map(|category| (category.name.to_owned(), count_of(category.id)))
        .collect();
    categories.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    DrawnDataSet {
        annotations,
        images,
        image_count: instances.images.len(),
        annotation_count: instances.annotations.len(),
        categories,
    }
}
