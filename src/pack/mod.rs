//! Packing: annotated photographs become a scene pack and a bank of cutouts.
//!
//! [`pack`] reads a COCO or LVIS instance file; [`import`] takes transparent pictures. Both decode
//! and cut on many threads, write in order (the output does not depend on the number of threads),
//! keep what is wrong with single entries in a report, and go on after the last finished shard
//! when they are called again.

pub(crate) mod cut;
pub(crate) mod decode;
mod error;
pub(crate) mod import;
mod journal;
pub(crate) mod run;

use std::num::NonZero;
use std::path::{Path, PathBuf};

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::annotations::coco::{AnnotationRecord, DataSet, ImageRecord};
use crate::annotations::problems::{Problem, ProblemKind, Problems};
use crate::annotations::rle::{Rle, pack_bits};
use crate::bank::write::InstanceRow;
use crate::bank::{SCENE_CHANNELS, mip};
use crate::geometry::Size;
use crate::ordered::threads_or_all;
pub use crate::resume::Progress;
use crate::resume::Settings;
pub use error::PackError;
pub use import::{ImportOptions, import};
pub use journal::Counts;
#[cfg(feature = "cli")]
pub(crate) use journal::remove_former_pack;

use cut::{CutoutRow, Identity, Object};
use decode::Photograph;
use run::{Output, Prepared, PreparedScene, Sources};

/// Pixels an image may have unless told otherwise: 64 million.
pub const DEFAULT_MAX_PIXELS: u64 = 64_000_000;
/// Context around a cutout's box unless told otherwise, in pixels.
pub const DEFAULT_MARGIN: u32 = 8;
/// Bytes after which a shard is finished unless told otherwise.
pub const DEFAULT_SHARD_BYTES: u64 = 256 << 20;
/// Quality of scenes that must be encoded as JPEG anew.
const JPEG_QUALITY: u8 = 95;
/// Bytes of one source's cutouts above which they are cut one by one while they are written.
const CUT_AT_ONCE: usize = 64 << 20;

/// How scenes are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// The RGB mip chain: larger, and exact on every machine.
    #[default]
    Raw,
    /// A JPEG file: the data set's own where it can be taken as it is.
    Jpeg,
}

/// What [`pack`] does.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The COCO or LVIS instance file.
    pub annotations: PathBuf,
    /// The folder of the images.
    pub images: PathBuf,
    /// Folder of the scene pack, if one is wanted.
    pub scenes: Option<PathBuf>,
    /// Folder of the bank, if one is wanted.
    pub bank: Option<PathBuf>,
    /// How scenes are stored.
    pub encoding: Encoding,
    /// Pixels of real context kept around a cutout's box.
    pub margin: u32,
    /// Leave out annotations with a lower score; those without a score stay.
    pub min_score: Option<f32>,
    /// Leave out images with more pixels.
    pub max_pixels: u64,
    /// Bytes after which a shard is finished.
    pub shard_bytes: u64,
    /// Threads that decode and cut; all the machine has where `None` is given.
    pub threads: Option<NonZero<usize>>,
    /// End at the first problem.
    pub strict: bool,
    /// Replace a pack that is in the output folders.
    pub force: bool,
}

impl PackOptions {
    /// Both packs with the defaults.
    pub fn new(annotations: &Path, images: &Path, scenes: &Path, bank: &Path) -> PackOptions {
        PackOptions {
            annotations: annotations.to_owned(),
            images: images.to_owned(),
            scenes: Some(scenes.to_owned()),
            bank: Some(bank.to_owned()),
            encoding: Encoding::Raw,
            margin: DEFAULT_MARGIN,
            min_score: None,
            max_pixels: DEFAULT_MAX_PIXELS,
            shard_bytes: DEFAULT_SHARD_BYTES,
            threads: None,
            strict: false,
            force: false,
        }
    }
}

/// What a finished run did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PackReport {
    /// What was written.
    pub counts: Counts,
    /// Bytes of the scene shards.
    pub scene_bytes: u64,
    /// Bytes of the bank's shards.
    pub bank_bytes: u64,
    /// What was wrong with the data, by kind.
    pub problems: Problems,
    /// Whether the pack was there already and nothing had to be done.
    pub was_finished: bool,
}

/// Packs an annotated data set. `progress` is told of every image that is done and answers whether
/// to go on.
///
/// # Errors
/// [`PackError`]. Finished shards stay, and the same call continues after them.
pub fn pack(
    options: &PackOptions,
    mut progress: impl FnMut(Progress) -> bool,
) -> Result<PackReport, PackError> {
    check(options)?;
    // The outlines wait on the disk that the packs go to, which has room for them.
    let temporary = options.scenes.as_ref().or(options.bank.as_ref());
    let temporary = temporary.map_or(Path::new("."), PathBuf::as_path);
    let was_there = temporary.is_dir();
    std::fs::create_dir_all(temporary)
        .map_err(|source| crate::bank::BankError::write(temporary, source))?;
    let data = DataSet::read(&options.annotations, temporary).inspect_err(|_| {
        if !was_there {
            // The folder was made for nothing.
            let _ = std::fs::remove_dir(temporary);
        }
    })?;
    let photographs = Photographs {
        options,
        data: &data,
    };
    let output = Output {
        scenes: options.scenes.as_deref(),
        bank: options.bank.as_deref(),
        categories: &data.categories,
        other: data.other.clone(),
        settings: settings(options, &data),
        shard_bytes: options.shard_bytes,
        threads: threads_or_all(options.threads),
        strict: options.strict,
        force: options.force,
        with_statistics: true,
    };
    run::run(&photographs, &output, &data.problems, &mut progress)
}

fn check(options: &PackOptions) -> Result<(), PackError> {
    let error = |option, problem: &str| {
        Err(PackError::Option {
            option,
            problem: problem.to_owned(),
        })
    };
    match (&options.scenes, &options.bank) {
        (None, None) => error("--scenes, --bank", "neither is given: nothing to write"),
        (Some(scenes), Some(bank)) if resolved(scenes) == resolved(bank) => error(
            "--bank",
            "it is the scenes' folder; a folder of its own was expected",
        ),
        _ if options.margin > 1024 => error("--margin", "more than 1024 pixels"),
        _ if !options.images.is_dir() => {
            let problem = format!("{} is no folder", options.images.display());
            error("--images", &problem)
        }
        _ => Ok(()),
    }
}

/// A folder's one name, whether it is there already or only its parent is.
fn resolved(folder: &Path) -> PathBuf {
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::canonicalize(folder)
        .or_else(
            |_| Ok(std::fs::canonicalize(parent)?.join(folder.file_name().unwrap_or_default())),
        )
        .or_else(|_: std::io::Error| std::path::absolute(folder))
        .unwrap_or_else(|_| folder.to_owned())
}

fn settings(options: &PackOptions, data: &DataSet) -> Settings {
    let encoding = match options.encoding {
        Encoding::Raw => "raw",
        Encoding::Jpeg => "jpeg",
    };
    let entries: [(&str, Value); 8] = [
        ("annotations_xxh3", json!(data.xxh3)),
        ("images", json!(options.images)),
        (
            "outputs",
            json!([options.scenes.is_some(), options.bank.is_some()]),
        ),
        ("encoding", json!(encoding)),
        ("margin", json!(options.margin)),
        ("min_score", json!(options.min_score)),
        ("max_pixels", json!(options.max_pixels)),
        ("shard_bytes", json!(options.shard_bytes)),
    ];
    entries.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The images of an annotated data set.
struct Photographs<'a> {
    options: &'a PackOptions,
    data: &'a DataSet,
}

impl Sources for Photographs<'_> {
    fn count(&self) -> usize {
        self.data.images.len()
    }

    fn estimate(&self, index: usize) -> usize {
        let image = &self.data.images[index];
        let [width, height] = self.expected_size(image).map(|side| side as usize);
        // Decoded once as it is and once as a mip chain.
        let pixels = width.saturating_mul(height).saturating_mul(8);
        pixels.saturating_add(self.cutout_bytes(image).min(CUT_AT_ONCE))
    }

    fn prepare(&self, index: usize) -> Prepared {
        let image = &self.data.images[index];
        let mut prepared = Prepared::default();
        let path = self.find(image);
        match decode::photograph(&path, image.size, self.options.max_pixels) {
            Ok(photograph) => self.prepare_decoded(image, photograph, &mut prepared),
            Err(problem) => prepared.problems.push(problem),
        }
        prepared
    }

    fn cut_later(&self, prepared: &Prepared, cutout: usize) -> Option<CutoutRow> {
        let scene = prepared.scene.as_ref()?;
        let objects = scene.instances.iter().filter(|i| i.iscrowd == 0);
        let instance = objects.clone().nth(cutout)?;
        let object = object_of_row(instance);
        self.cut(&scene.pixels, scene.size, &object, instance, scene.image)
    }
}

/// The first place in `folder` where the file is: as named, by its last part, or as LVIS's address
/// has it.
pub(crate) fn find_image(folder: &Path, image: &ImageRecord) -> PathBuf {
    let named = folder.join(&image.file_name);
    let last = |path: &str, parts: usize| {
        let all: Vec<&str> = path.split(['/', '\\']).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let url = image.coco_url.iter();
    let candidates = url
        .flat_map(|url| [last(url, 2), last(url, 1)])
        .chain([last(&image.file_name, 1)])
        .filter(|name| !name.is_empty())
        .map(|name| folder.join(name));
    std::iter::once(named.clone())
        .chain(candidates)
        .find(|path| path.is_file())
        .unwrap_or(named)
}

impl Photographs<'_> {
    fn find(&self, image: &ImageRecord) -> PathBuf {
        find_image(&self.options.images, image)
    }

    fn cutout_bytes(&self, image: &ImageRecord) -> usize {
        if self.options.bank.is_none() {
            return 0;
        }
        let objects = self
            .data
            .annotations_of(image)
            .iter()
            .filter(|a| !a.iscrowd);
        objects.fold(0, |sum, annotation| {
            // Without a box it may be as large as the image.
            let sides = match annotation.bbox {
                Some([_, _, width, height]) => [width, height],
                None => self.expected_size(image).map(|side| side as f32),
            };
            sum.saturating_add(cut::cutout_bytes(sides, self.options.margin))
        })
    }

    /// The annotated size, or the one that the file's header tells.
    fn expected_size(&self, image: &ImageRecord) -> [u32; 2] {
        image.size.unwrap_or_else(|| {
            // A header that cannot be read is reported when the image is decoded.
            image::image_dimensions(self.find(image)).map_or([1, 1], Into::into)
        })
    }

    fn prepare_decoded(
        &self,
        image: &ImageRecord,
        photograph: Photograph,
        prepared: &mut Prepared,
    ) {
        let size = photograph.size;
        let masks = self.masks(image, size, prepared);
        let cut_now = self.options.bank.is_some() && self.cutout_bytes(image) <= CUT_AT_ONCE;
        let mut instances = Vec::with_capacity(masks.len());
        for (annotation, mask) in &masks {
            let Some(object) = Object::new(mask) else {
                continue;
            };
            let row = instance_row(annotation, &object);
            if row.iscrowd == 0 {
                let [_, _, width, height] = row.bounding_box.map(f64::from);
                let share = width * height / size.pixels() as f64;
                prepared.sizes.push((row.category, share.sqrt()));
                if cut_now {
                    let pixels = &photograph.pixels;
                    let cutout = self.cut(pixels, size, &object, &row, image.id);
                    prepared.cutouts.extend(cutout);
                } else if self.options.bank.is_some() {
                    prepared.later += 1;
                }
            }
            instances.push(row);
        }
        match self.scene(image, photograph, instances) {
            Ok(scene) => prepared.scene = Some(scene),
            Err(problem) => prepared.problems.push(problem),
        }
    }

    /// The masks of all annotations that are kept.
    fn masks(
        &self,
        image: &ImageRecord,
        size: Size,
        prepared: &mut Prepared,
    ) -> Vec<(&AnnotationRecord, Rle)> {
        let sides = [size.width(), size.height()];
        let mut masks = Vec::new();
        for annotation in self.data.annotations_of(image) {
            if self
                .options
                .min_score
                .is_some_and(|least| annotation.score < least)
            {
                prepared.below_score += 1;
                continue;
            }
            prepared
                .problems
                .extend(box_problem(image, annotation, sides));
            let problems = &mut prepared.problems;
            let report = |problem| problems.push(problem);
            if let Some(mask) = self.data.mask(image, annotation, sides, report) {
                masks.push((annotation, mask));
            }
        }
        masks
    }

    fn cut(
        &self,
        pixels: &[u8],
        size: Size,
        object: &Object,
        instance: &InstanceRow,
        image: i64,
    ) -> Option<CutoutRow> {
        let identity = Identity {
            category: instance.category,
            annotation: instance.annotation,
            image,
            score: instance.score,
        };
        cut::cut(pixels, size, object, self.options.margin, identity)
    }

    fn scene(
        &self,
        image: &ImageRecord,
        photograph: Photograph,
        instances: Vec<InstanceRow>,
    ) -> Result<PreparedScene, Problem> {
        let Photograph {
            size,
            mut pixels,
            jpeg,
        } = photograph;
        let jpeg = match self.options.encoding {
            _ if self.options.scenes.is_none() => None,
            Encoding::Raw => {
                mip::append_chain::<SCENE_CHANNELS>(&mut pixels, size);
                None
            }
            Encoding::Jpeg => Some(match jpeg {
                Some(file) => file,
                None => encode_jpeg(&image.file_name, size, &pixels)?,
            }),
        };
        Ok(PreparedScene {
            size,
            image: image.id,
            pixels,
            jpeg,
            instances,
            file_name: image.file_name.clone(),
            negative_categories: image.neg_category_ids.clone(),
            not_exhaustive_categories: image.not_exhaustive_category_ids.clone(),
        })
    }
}

fn encode_jpeg(name: &str, size: Size, pixels: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)
        .encode(pixels, size.width(), size.height(), ExtendedColorType::Rgb8)
        .map_err(|error| {
            let text = format!("{name} cannot be encoded as JPEG: {error}");
            Problem::new(ProblemKind::UndecodableImage, text)
        })?;
    Ok(file)
}

/// The annotated box against the image: only a report, since the mask is what counts.
fn box_problem(
    image: &ImageRecord,
    annotation: &AnnotationRecord,
    [width, height]: [u32; 2],
) -> Option<Problem> {
    let [x, y, w, h] = annotation.bbox?;
    // Annotation tools round outwards, so a pixel over the edge is no mistake.
    let inside =
        x >= -1.0 && y >= -1.0 && x + w <= width as f32 + 1.0 && y + h <= height as f32 + 1.0;
    (!inside).then(|| {
        let text = format!(
            "annotation {} of {}: box [{x}, {y}, {w}, {h}] in an image of {width}x{height}",
            annotation.id, image.file_name
        );
        Problem::new(ProblemKind::BoxOutside, text)
    })
}

fn instance_row(annotation: &AnnotationRecord, object: &Object) -> InstanceRow {
    let mut mask = Vec::new();
    pack_bits(&object.plane, &mut mask);
    InstanceRow {
        category: annotation.category_id,
        annotation: annotation.id,
        iscrowd: u8::from(annotation.iscrowd),
        score: annotation.score,
        bounding_box: object.bounding_box,
        mask,
    }
}

/// The object that [`instance_row`] stored.
fn object_of_row(instance: &InstanceRow) -> Object {
    let [_, _, width, height] = instance.bounding_box.map(|side| side as usize);
    let plane: Vec<u8> = (0..width * height)
        .map(|bit| instance.mask[bit / 8] >> (bit % 8) & 1)
        .collect();
    Object {
        bounding_box: instance.bounding_box,
        area: plane.iter().map(|&pixel| u32::from(pixel)).sum(),
        plane,
    }
}
