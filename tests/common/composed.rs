//! Composed data sets of random packs, and what every one of them must hold.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pastebank::annotations::polygon::polygon_to_rle;
use pastebank::annotations::rle::Rle;
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::dataset::{DatasetOptions, DatasetReport, write};
use pastebank::pack::PackOptions;
use pastebank::sampler::{RecipeSettings, Sampler};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::packs::{write_bank, write_scenes};

pub const CANVAS: [u32; 2] = [97, 64];

pub const SEED: u64 = 5;

/// Packs of random pictures, every fifth scene a JPEG.
pub struct Packs {
    pub folder: tempfile::TempDir,
    pub scenes: Arc<ScenePack>,
    pub bank: Arc<CutoutBank>,
}

impl Packs {
    pub fn new() -> Packs {
        Packs::changed(|_| ())
    }

    /// Packs whose folder is changed before they are opened.
    pub fn changed(change: impl Fn(&Path)) -> Packs {
        let folder = tempfile::tempdir().unwrap();
        let mut draw = ChaCha8Rng::seed_from_u64(21);
        write_scenes(&folder.path().join("scenes"), &mut draw, 20, 2);
        write_bank(&folder.path().join("bank"), &mut draw, 30, 2);
        change(folder.path());
        let scenes = Arc::new(ScenePack::open(&folder.path().join("scenes")).unwrap());
        let bank = Arc::new(CutoutBank::open(&folder.path().join("bank")).unwrap());
        Packs {
            folder,
            scenes,
            bank,
        }
    }

    pub fn sampler(&self) -> Sampler {
        self.sampler_of(recipe(), SEED)
    }

    pub fn sampler_of(&self, recipe: RecipeSettings, seed: u64) -> Sampler {
        let (scenes, bank) = (self.scenes.clone(), self.bank.clone());
        Sampler::new(scenes, bank, Arc::new(recipe), CANVAS, seed).unwrap()
    }

    pub fn options(&self, out: &str, count: u64) -> DatasetOptions {
        DatasetOptions {
            threads: NonZero::new(2),
            ..DatasetOptions::new(&self.folder.path().join(out), count)
        }
    }

    pub fn write(&self, options: &DatasetOptions) -> DatasetReport {
        write(&self.sampler(), options, |_| true).unwrap()
    }
}

/// X-Paste's recipe for small canvases: it keeps whatever can be seen.
pub fn recipe() -> RecipeSettings {
    let mut recipe = RecipeSettings::xpaste();
    recipe.keep.0.min_area = 1;
    recipe
}

pub fn instances(options: &DatasetOptions) -> Value {
    let text = fs::read(options.folder.join("instances.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

pub fn list<'a>(data: &'a Value, key: &str) -> &'a [Value] {
    data[key].as_array().unwrap()
}

/// All files below a folder.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

#[track_caller]
pub fn assert_equal_folders(a: &Path, b: &Path) {
    let relative = |folder: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let files = contents(folder).into_iter();
        files
            .map(|(path, bytes)| (path.strip_prefix(folder).unwrap().to_owned(), bytes))
            .collect()
    };
    let [a, b] = [a, b].map(relative);
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&a), names(&b));
    for (a, b) in a.iter().zip(&b) {
        assert!(a.1 == b.1, "{} differs", a.0.display());
    }
}

/// The mask of a written segmentation.
pub fn mask(segmentation: &Value, [width, height]: [u32; 2]) -> Rle {
    if let Some(counts) = segmentation["counts"].as_str() {
        assert_eq!(segmentation["size"], json!([height, width]));
        return Rle::from_string(width, height, counts).unwrap();
    }
    let parts: Vec<Vec<f64>> = serde_json::from_value(segmentation.clone()).unwrap();
    let parts = parts
        .iter()
        .map(|part| polygon_to_rle(part, width, height).unwrap());
    Rle::union(&parts.collect::<Vec<_>>()).unwrap()
}

/// Areas and boxes are those of the segmentations; ids are counted; gives the number.
pub fn check_masks(data: &Value) -> usize {
    let images: HashMap<u64, [u32; 2]> = list(data, "images")
        .iter()
        .map(|image| {
            let side = |key: &str| image[key].as_u64().unwrap() as u32;
            (
                image["id"].as_u64().unwrap(),
                [side("width"), side("height")],
            )
        })
        .collect();
    for (number, annotation) in (1u64..).zip(list(data, "annotations")) {
        assert_eq!(annotation["id"], number);
        let size = images[&annotation["image_id"].as_u64().unwrap()];
        let mask = mask(&annotation["segmentation"], size);
        assert_eq!(annotation["area"], mask.area());
        assert_eq!(annotation["bbox"], json!(mask.bounding_box().unwrap()));
    }
    list(data, "annotations").len()
}

/// A data set in `folder`, whose images are in `images`, and where it is packed to.
pub fn packing(folder: &Path, data: &Value) -> PackOptions {
    let file = folder.join("made.json");
    fs::write(&file, data.to_string()).unwrap();
    let [images, scenes, bank] = ["images", "scenes", "bank"].map(|name| folder.join(name));
    PackOptions::new(&file, &images, &scenes, &bank)
}

pub fn open(options: &PackOptions) -> (Arc<ScenePack>, Arc<CutoutBank>) {
    let scenes = ScenePack::open(options.scenes.as_ref().unwrap()).unwrap();
    let bank = CutoutBank::open(options.bank.as_ref().unwrap()).unwrap();
    (Arc::new(scenes), Arc::new(bank))
}
