//! Importing transparent pictures, one folder per category, into a bank.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::hash::{Hash, Hasher};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use image::RgbaImage;
use serde_json::{Map, json};
use twox_hash::XxHash3_64;

use super::cut::CutoutRow;
use super::run::{self, Output, Prepared, Sources};
use super::{PackError, PackReport, Progress, Settings, decode, threads_or_all};
use crate::annotations::problems::{Problem, ProblemKind, Problems};
use crate::bank::{BankError, CUTOUT_CHANNELS, Category, mip};
use crate::compose::rules::in_mask;
use crate::geometry::Size;

/// Endings of files that are taken for pictures.
const PICTURE_ENDINGS: [&str; 6] = ["png", "webp", "gif", "tif", "tiff", "bmp"];

/// What [`import`] does.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The folder whose folders are the categories, by name or by id.
    pub input: PathBuf,
    /// Folder of the bank.
    pub bank: PathBuf,
    /// The categories that the folders' names are looked up in; made from the names, in
    /// alphabetical order from id 1, where `None` is given.
    pub categories: Option<Vec<Category>>,
    /// Transparent texels kept around what is visible, so that edges fade.
    pub margin: u32,
    /// Leave out pictures with more pixels.
    pub max_pixels: u64,
    /// Bytes after which a shard is finished.
    pub shard_bytes: u64,
    /// Threads; all the machine has where `None` is given.
    pub threads: Option<NonZero<usize>>,
    /// End at the first problem.
    pub strict: bool,
    /// Replace a bank that is in the output folder.
    pub force: bool,
}

/// Imports transparent pictures: each is cropped to what its alpha shows, and colour is bled
/// outwards under the transparent texels, so that no filter drags in what was hidden there.
///
/// # Errors
/// [`PackError`]. Finished shards stay, and the same call continues after them.
pub fn import(
    options: &ImportOptions,
    mut progress: impl FnMut(Progress) -> bool,
) -> Result<PackReport, PackError> {
    if options.margin > 1024 {
        return Err(PackError::Option {
            option: "--margin",
            problem: "more than 1024 pixels".into(),
        });
    }
    let folders = category_folders(&options.input)?;
    let categories = match &options.categories {
        Some(categories) => categories.clone(),
        None => categories_named(folders.iter().map(|(name, _)| name.clone()).collect()),
    };
    let pictures = list_pictures(&folders, &categories)?;
    let output = Output {
        scenes: None,
        bank: Some(&options.bank),
        categories: &categories,
        other: Map::new(),
        settings: settings(options, &pictures),
        shard_bytes: options.shard_bytes,
        threads: threads_or_all(options.threads),
        strict: options.strict,
        force: options.force,
        // How large an object is in its own picture says nothing of photographs.
        with_statistics: false,
    };
    let pictures = Pictures { options, pictures };
    run::run(&pictures, &output, &Problems::default(), &mut progress)
}

fn settings(options: &ImportOptions, pictures: &[Picture]) -> Settings {
    let entries = [
        ("input", json!(options.input)),
        ("pictures", json!(pictures.len())),
        ("pictures_xxh3", json!(fingerprint(pictures))),
        ("margin", json!(options.margin)),
        ("max_pixels", json!(options.max_pixels)),
        ("shard_bytes", json!(options.shard_bytes)),
    ];
    entries.map(|(key, value)| (key.to_owned(), value)).into()
}

/// What would make another bank of the same folder: names, categories, lengths and times of the
/// pictures in order.
fn fingerprint(pictures: &[Picture]) -> String {
    let mut hasher = XxHash3_64::new();
    for picture in pictures {
        let metadata = fs::metadata(&picture.path).ok();
        let modified = metadata.as_ref().and_then(|file| file.modified().ok());
        (&picture.path, picture.category).hash(&mut hasher);
        (metadata.map(|file| file.len()), modified).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// The folders in `input` by name.
fn category_folders(input: &Path) -> Result<Vec<(String, PathBuf)>, PackError> {
    let folders: Vec<_> = entries(input)?
        .into_iter()
        .filter(|(_, path)| path.is_dir())
        .collect();
    if folders.is_empty() {
        return Err(PackError::Option {
            option: "input",
            problem: format!(
                "{} holds no folders; one per category was expected, with pictures in it",
                input.display()
            ),
        });
    }
    Ok(folders)
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, PackError> {
    let error = |source| BankError::read(folder, source);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push((name, entry.path()));
    }
    entries.sort();
    Ok(entries)
}

/// Ids are the names where all of these are numbers, else 1, 2, … in their order.
pub(crate) fn categories_named(names: Vec<String>) -> Vec<Category> {
    let ids: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    let ids = ids.unwrap_or_else(|| (1..).take(names.len()).collect());
    let category = |(id, name)| Category {
        id,
        name,
        other: Map::new(),
    };
    ids.into_iter().zip(names).map(category).collect()
}

/// One picture and the category of its folder.
struct Picture {
    path: PathBuf,
    category: i64,
    pixels: usize,
}

fn list_pictures(
    folders: &[(String, PathBuf)],
    categories: &[Category],
) -> Result<Vec<Picture>, PackError> {
    let by_name: HashMap<String, i64> = categories
        .iter()
        .flat_map(|category| {
            [category.name.clone(), category.id.to_string()].map(|key| (key, category.id))
        })
        .collect();
    let mut pictures = Vec::new();
    for (name, folder) in folders {
        let Some(&category) = by_name.get(name) else {
            return Err(PackError::Option {
                option: "--categories",
                problem: format!(
                    "folder {name:?} is neither a name nor an id among the {} categories",
                    categories.len()
                ),
            });
        };
        let paths = entries(folder)?.into_iter().map(|(_, path)| path);
        for path in paths.filter(|path| path.is_file() && is_picture(path)) {
            // A header that cannot be read is reported when the picture is decoded.
            let size = image::image_dimensions(&path).unwrap_or((1, 1));
            pictures.push(Picture {
                path,
                category,
                pixels: (size.0 as usize).saturating_mul(size.1 as usize),
            });
        }
    }
    Ok(pictures)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    PICTURE_ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
}

struct Pictures<'a> {
    options: &'a ImportOptions,
    pictures: Vec<Picture>,
}

impl Sources for Pictures<'_> {
    fn count(&self) -> usize {
        self.pictures.len()
    }

    fn estimate(&self, index: usize) -> usize {
        // The picture, its crop with a mip chain, and the marks of the bleeding.
        self.pictures[index].pixels.saturating_mul(20)
    }

    fn prepare(&self, index: usize) -> Prepared {
        let picture = &self.pictures[index];
        let mut prepared = Prepared::default();
        let cutout =
            decode::transparent(&picture.path, self.options.max_pixels).and_then(|image| {
                let name = picture.path.display().to_string();
                cut_picture(&image, &name, picture.category, self.options.margin)
            });
        match cutout {
            Ok(cutout) => prepared.cutouts.push(cutout),
            Err(problem) => prepared.problems.push(problem),
        }
        prepared
    }

    fn cut_later(&self, _: &Prepared, _: usize) -> Option<CutoutRow> {
        None
    }
}

/// Crops a picture to its texels that are not wholly transparent, with a transparent margin.
pub(crate) fn cut_picture(
    image: &RgbaImage,
    name: &str,
    category: i64,
    margin: u32,
) -> Result<CutoutRow, Problem> {
    let nothing = |what: &str| {
        let text = format!("{name}: {what}");
        Problem::new(ProblemKind::NothingOpaque, text)
    };
    let [x, y, width, height] =
        tight_box(image, |alpha| alpha > 0).ok_or_else(|| nothing("every texel is transparent"))?;
    let margin = margin.min((crate::geometry::MAX_SOURCE_SIDE - width.max(height)) / 2);
    let size = Size::new(width + 2 * margin, height + 2 * margin)
        .ok_or_else(|| nothing("its sides are too long"))?;
    let mut cut = RgbaImage::new(size.width(), size.height());
    for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
        let texel = image.get_pixel(x + column, y + row);
        cut.put_pixel(margin + column, margin + row, *texel);
    }
    bleed(&mut cut);
    let bounding_box = tight_box(&cut, in_mask).unwrap_or_default();
    let area = cut.pixels().filter(|texel| in_mask(texel.0[3])).count();
    let mut chain = cut.into_raw();
    mip::append_chain::<CUTOUT_CHANNELS>(&mut chain, size);
    Ok(CutoutRow {
        size,
        chain,
        category,
        area: area as u32,
        bounding_box: bounding_box.map(|side| side as u16),
        score: f32::NAN,
        image: -1,
        annotation: -1,
        origin: [x as i32 - margin as i32, y as i32 - margin as i32],
        source_size: [image.width() as u16, image.height() as u16],
        provenance: None,
    })
}

/// x, y, width and height of the texels whose alpha `counts`.
fn tight_box(image: &RgbaImage, counts: impl Fn(u8) -> bool) -> Option<[u32; 4]> {
    let mut bounds: Option<[u32; 4]> = None;
    for (x, y, texel) in image.enumerate_pixels() {
        if counts(texel.0[3]) {
            let [x0, y0, x1, y1] = bounds.unwrap_or([x, y, x, y]);
            bounds = Some([x0.min(x), y0.min(y), x1.max(x), y1.max(y)]);
        }
    }
    bounds.map(|[x0, y0, x1, y1]| [x0, y0, x1 - x0 + 1, y1 - y0 + 1])
}

/// Gives every wholly transparent texel the mean colour of its neighbours that are nearer to the
/// object, ring after ring.
fn bleed(image: &mut RgbaImage) {
    let (width, height) = image.dimensions();
    let place = |x: u32, y: u32| y as usize * width as usize + x as usize;
    let neighbours = |x: u32, y: u32| {
        let around = [
            (-1, 0),
            (1, 0),
            (0, -1),
            (0, 1),
            (-1, -1),
            (1, -1),
            (-1, 1),
            (1, 1),
        ];
        around.into_iter().filter_map(move |(dx, dy)| {
            let (x, y) = (x.checked_add_signed(dx)?, y.checked_add_signed(dy)?);
            (x < width && y < height).then_some((x, y))
        })
    };
    // The ring in which a texel got its colour; 0 is the object, u32::MAX has none yet.
    let mut ring: Vec<u32> = image
        .pixels()
        .map(|texel| if texel.0[3] > 0 { 0 } else { u32::MAX })
        .collect();
    // Only the object's edge: what lies deeper has no transparent neighbour.
    let is_edge = |x: u32, y: u32| neighbours(x, y).any(|(x, y)| image.get_pixel(x, y).0[3] == 0);
    let mut queue: VecDeque<(u32, u32)> = image
        .enumerate_pixels()
        .filter(|&(x, y, texel)| texel.0[3] > 0 && is_edge(x, y))
        .map(|(x, y, _)| (x, y))
        .collect();
    while let Some((x, y)) = queue.pop_front() {
        let own = ring[place(x, y)];
        if own > 0 {
            let inner = neighbours(x, y).filter(|&(x, y)| ring[place(x, y)] < own);
            let colour = mean_colour(image, inner);
            image.get_pixel_mut(x, y).0[..3].copy_from_slice(&colour);
        }
        for (x, y) in neighbours(x, y) {
            if ring[place(x, y)] == u32::MAX {
                ring[place(x, y)] = own + 1;
                queue.push_back((x, y));
            }
        }
    }
}

fn mean_colour(image: &RgbaImage, texels: impl Iterator<Item = (u32, u32)>) -> [u8; 3] {
    let (mut sums, mut count) = ([0u32; 3], 0);
    for (x, y) in texels {
        let texel = image.get_pixel(x, y).0;
        for (sum, &value) in sums.iter_mut().zip(&texel[..3]) {
            *sum += u32::from(value);
        }
        count += 1;
    }
    sums.map(|sum| sum.checked_div(count).unwrap_or(0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    #[test]
    fn colour_is_bled_under_transparent_texels() {
        let mut image = RgbaImage::new(9, 7);
        image.put_pixel(4, 3, Rgba([200, 100, 50, 255]));
        image.put_pixel(5, 3, Rgba([200, 100, 50, 90]));
        let row = cut_picture(&image, "x.png", 2, 3).unwrap();
        assert_eq!((row.size.width(), row.size.height()), (8, 7));
        assert_eq!((row.area, row.bounding_box), (1, [3, 3, 1, 1]));
        assert_eq!(row.origin, [1, 0]);
        let texels = row.chain.as_chunks::<4>().0;
        assert!(texels.iter().all(|texel| texel[..3] == [200, 100, 50]));
        let black = RgbaImage::new(3, 3);
        let problem = cut_picture(&black, "x.png", 2, 3).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::NothingOpaque);
    }
}
