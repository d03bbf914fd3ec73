//! Packing: small data sets made here, and the real ones where a folder with them is named.
#![cfg(feature = "pack")]

mod common;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use pastebank::annotations::problems::ProblemKind;
use pastebank::bank::{CutoutBank, ScenePack, ScenePixels};
use pastebank::pack::{Encoding, PackError, PackOptions, PackReport, pack};
use serde_json::{Value, json};

/// A folder with images, an annotation file and room for packs.
struct DataSet {
    folder: tempfile::TempDir,
    images: Vec<Value>,
    annotations: Vec<Value>,
}

impl DataSet {
    fn new() -> DataSet {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        DataSet {
            folder,
            images: Vec::new(),
            annotations: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An image of a colour slope, saved under `name` in the format of its ending.
    fn image(&mut self, id: i64, name: &str, [width, height]: [u32; 2]) {
        let image = RgbImage::from_fn(width, height, |x, y| {
            Rgb([(3 * x) as u8, (5 * y) as u8, id as u8])
        });
        image.save(self.path("images").join(name)).unwrap();
        self.list(id, name, [width, height]);
    }

    fn list(&mut self, id: i64, name: &str, [width, height]: [u32; 2]) {
        let image = json!({"id": id, "file_name": name, "width": width, "height": height});
        self.images.push(image);
    }

    /// A rectangle as a polygon.
    fn rectangle(&mut self, id: i64, image: i64, [x, y, w, h]: [f64; 4]) -> &mut Value {
        self.annotations.push(
            json!({"id": id, "image_id": image, "category_id": 1 + id % 2,
            "iscrowd": 0, "bbox": [x, y, w, h], "area": w * h,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}),
        );
        self.annotations.last_mut().unwrap()
    }

    fn options(&self, out: &str) -> PackOptions {
        let file = self.path("instances.json");
        let data = json!({"images": self.images, "annotations": self.annotations,
            "categories": [{"id": 1, "name": "cup", "supercategory": "kitchen"},
                           {"id": 2, "name": "fork"}],
            "info": {"year": 2026}});
        fs::write(&file, data.to_string()).unwrap();
        let out = self.path(out);
        PackOptions::new(
            &file,
            &self.path("images"),
            &out.join("scenes"),
            &out.join("bank"),
        )
    }
}

fn run(options: &PackOptions) -> PackReport {
    pack(options, |_| true).unwrap()
}

fn open(options: &PackOptions) -> (ScenePack, CutoutBank) {
    (
        ScenePack::open(options.scenes.as_ref().unwrap()).unwrap(),
        CutoutBank::open(options.bank.as_ref().unwrap()).unwrap(),
    )
}

#[test]
fn a_data_set_becomes_scenes_and_cutouts() {
    let mut data = DataSet::new();
    data.image(7, "a.png", [40, 30]);
    data.image(5, "b.png", [20, 20]);
    data.rectangle(1, 7, [10.0, 5.0, 12.0, 8.0])["score"] = json!(0.75);
    data.rectangle(2, 7, [0.0, 0.0, 4.0, 4.0])["iscrowd"] = json!(1);
    data.rectangle(3, 5, [15.0, 15.0, 5.0, 5.0]);
    let options = data.options("out");
    let report = run(&options);
    assert!(report.problems.is_empty(), "{}", report.problems);
    let (scenes, bank) = open(&options);
    assert_eq!((scenes.len(), bank.len()), (2, 2));
    let scene = scenes.get(0).unwrap();
    assert_eq!((scene.image, scene.file_name().as_str()), (7, "a.png"));
    let instances: Vec<_> = scene.instances().collect();
    assert_eq!(instances[0].bounding_box, [10, 5, 12, 8]);
    assert_eq!(instances[0].score, 0.75);
    assert_eq!(instances[1].iscrowd, 1);
    let ScenePixels::Raw(chain) = scene.pixels else {
        panic!("raw was asked for")
    };
    assert_eq!(chain[3 * (40 * 2 + 9)..][..3], [27, 10, 7]);
    let cutout = bank.get(0).unwrap();
    assert_eq!((cutout.size.width(), cutout.size.height()), (28, 21));
    assert_eq!(
        (cutout.origin, cutout.bounding_box),
        ([2, 0], [8, 5, 12, 8])
    );
    assert_eq!(
        (cutout.annotation, cutout.image, cutout.category),
        (1, 7, 2)
    );
    // Context is real colour with alpha 0.
    assert_eq!(cutout.chain[..4], [6, 0, 7, 0]);
    let last = bank.get(1).unwrap();
    assert_eq!((last.size.width(), last.size.height()), (13, 13));
    let manifest = scenes.manifest();
    assert_eq!(manifest.other["info"]["year"], 2026);
    assert_eq!(manifest.categories[0].other["supercategory"], "kitchen");
    let sizes = manifest.statistics[0];
    assert_eq!((sizes.category_id, sizes.instances), (2, 2));
    let expected = [(96.0f64 / 1200.0).sqrt(), 0.25];
    assert!((sizes.size_mean - (expected[0] + expected[1]) / 2.0).abs() < 1e-12);
    assert!((sizes.size_std - (expected[0] - expected[1]).abs() / 2.0).abs() < 1e-12);
}

/// A data set with something of everything that can be wrong.
fn broken_data() -> DataSet {
    let mut data = DataSet::new();
    data.image(1, "good.png", [30, 20]);
    data.list(2, "missing.jpg", [10, 10]);
    data.list(3, "text.jpg", [10, 10]);
    fs::write(data.path("images").join("text.jpg"), "no picture").unwrap();
    data.image(4, "cut.png", [50, 50]);
    let path = data.path("images").join("cut.png");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    data.image(5, "other.png", [10, 10]);
    data.images.last_mut().unwrap()["width"] = json!(11);
    data.image(1, "again.png", [10, 10]);
    data.image(6, "large.png", [100, 101]);
    data.rectangle(1, 1, [1.0, 1.0, 5.0, 5.0]);
    data.rectangle(2, 1, [0.0; 4])["segmentation"] = json!([[1.0, 1.0, 2.0, 2.0], [3.0, 3.0]]);
    data.rectangle(3, 1, [0.0; 4])["segmentation"] = json!([]);
    data.rectangle(4, 1, [0.0; 4])["segmentation"] = json!({"size": [19, 30], "counts": "0"});
    data.rectangle(5, 1, [25.0, 5.0, 20.0, 5.0]);
    data.rectangle(6, 1, [2.0, 2.0, 3.0, 3.0])["category_id"] = json!(99);
    data.rectangle(7, 99, [2.0, 2.0, 3.0, 3.0]);
    data.rectangle(1, 1, [2.0, 2.0, 3.0, 3.0]);
    let annotation = data.rectangle(8, 1, [2.0, 2.0, 3.0, 3.0]);
    annotation.as_object_mut().unwrap().remove("iscrowd");
    let annotation = data.rectangle(9, 1, [2.0, 2.0, 3.0, 3.0]);
    annotation.as_object_mut().unwrap().remove("iscrowd");
    annotation["is_crowd"] = json!(1);
    data.rectangle(10, 1, [0.0; 4])["segmentation"] = json!("outline");
    data.rectangle(11, 1, [50.0, 50.0, 5.0, 5.0]);
    data
}

#[test]
fn problems_are_counted_by_kind_and_the_rest_is_packed() {
    let data = broken_data();
    let mut options = data.options("out");
    options.max_pixels = 10_000;
    let report = run(&options);
    let expected = [
        (ProblemKind::DuplicateImageId, 1),
        (ProblemKind::DuplicateAnnotationId, 1),
        (ProblemKind::UnknownImage, 1),
        (ProblemKind::UnknownCategory, 1),
        (ProblemKind::MissingIscrowd, 1),
        (ProblemKind::MisspeltIscrowd, 1),
        (ProblemKind::MissingFile, 1),
        (ProblemKind::UndecodableImage, 2),
        (ProblemKind::TooManyPixels, 1),
        (ProblemKind::SizeMismatch, 1),
        (ProblemKind::DegeneratePolygon, 2),
        (ProblemKind::MalformedSegmentation, 2),
        (ProblemKind::EmptyMask, 3),
        (ProblemKind::BoxOutside, 2),
    ];
    for (kind, count) in expected {
        assert_eq!(report.problems.count(kind), count, "{}", report.problems);
    }
    assert_eq!(report.problems.iter().count(), expected.len());
    let text = report.problems.to_string();
    for part in [
        "missing.jpg",
        "30x20",
        "[25, 5, 20, 5]",
        "10x10",
        "11x10",
        "at most 10000",
        "category 99",
        "[20, 30] was expected",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let (scenes, bank) = open(&options);
    assert_eq!(scenes.len(), 1);
    let ids: Vec<i64> = scenes
        .get(0)
        .unwrap()
        .instances()
        .map(|i| i.annotation)
        .collect();
    assert_eq!(ids, [1, 5, 8, 9]);
    let cut: Vec<i64> = (0..bank.len())
        .map(|row| bank.get(row).unwrap().annotation)
        .collect();
    // Number 9 is a crowd, if a misspelt one.
    assert_eq!(cut, [1, 5, 8]);
}

#[test]
fn a_strict_run_ends_at_the_first_problem() {
    let data = broken_data();
    let mut options = data.options("out");
    options.strict = true;
    let error = pack(&options, |_| true).unwrap_err().to_string();
    assert!(
        error.contains("image 1") && error.contains("--strict"),
        "{error}"
    );
    assert!(!options.scenes.unwrap().join("manifest.json").exists());
}

fn many_images() -> DataSet {
    let mut data = DataSet::new();
    for id in 0..24 {
        let size = [20 + (id * 7 % 30) as u32, 20 + (id * 5 % 23) as u32];
        data.image(id, &format!("{id}.png"), size);
        for number in 0..id % 4 {
            data.rectangle(100 * id + number, id, [2.0, 3.0, 5.0 + number as f64, 6.0]);
        }
    }
    data
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn assert_equal_packs(a: &PackOptions, b: &PackOptions) {
    for (a, b) in [(&a.scenes, &b.scenes), (&a.bank, &b.bank)] {
        let [a, b] = [a, b].map(|folder| contents(folder.as_ref().unwrap()));
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert_eq!(a.0, b.0);
            assert!(a.1 == b.1, "{} differs", a.0);
        }
    }
}

#[test]
fn the_output_does_not_depend_on_threads_nor_on_interruptions() {
    let data = many_images();
    let with = |out: &str, threads: usize| {
        let mut options = data.options(out);
        options.threads = NonZero::new(threads);
        options.shard_bytes = 20_000;
        options
    };
    let one = with("one", 1);
    run(&one);
    assert!(open(&one).0.manifest().shards.len() > 3);
    let four = with("four", 4);
    run(&four);
    assert_equal_packs(&one, &four);
    let stopped = with("stopped", 3);
    for stop_after in [2, 9, 10, 17] {
        let result = pack(&stopped, |progress| progress.done < stop_after);
        assert!(matches!(result, Err(PackError::Stopped)));
        assert!(ScenePack::open(stopped.scenes.as_ref().unwrap()).is_err());
        // What a killed writer leaves is cleaned up by the next run.
        let left = stopped
            .scenes
            .as_ref()
            .unwrap()
            .join(".00009.safetensors.1.tmp");
        fs::write(left, "half").unwrap();
    }
    let mut first = None;
    let result = pack(&stopped, |progress| {
        first.get_or_insert(progress.first);
        true
    });
    assert!(result.unwrap().counts.sources == 24);
    assert!(first.unwrap() > 0, "finished shards were made again");
    assert_equal_packs(&one, &stopped);
    assert!(run(&stopped).was_finished);
}

#[test]
fn a_shard_that_cannot_be_sealed_ends_the_run() {
    let data = many_images();
    let mut options = data.options("out");
    options.shard_bytes = 20_000;
    let bank = options.bank.clone().unwrap();
    let result = pack(&options, |_| {
        // A folder where the second shard's file should go.
        fs::create_dir_all(bank.join("00001.safetensors/full")).unwrap();
        true
    });
    let error = result.unwrap_err().to_string();
    assert!(error.contains("00001.safetensors"), "{error}");
    fs::remove_dir_all(bank.join("00001.safetensors")).unwrap();
    run(&options);
    assert!(open(&options).0.len() == 24);
}

#[test]
fn a_strict_run_does_not_pass_over_what_an_earlier_one_counted() {
    let data = broken_data();
    let mut options = data.options("out");
    assert!(!run(&options).problems.is_empty());
    options.strict = true;
    let error = pack(&options, |_| true).unwrap_err().to_string();
    assert!(error.contains("--strict"), "{error}");
}

#[test]
fn folders_with_something_else_are_refused() {
    let data = many_images();
    let mut options = data.options("out");
    run(&options);
    options.margin = 3;
    let error = pack(&options, |_| true).unwrap_err().to_string();
    assert!(error.contains("`margin` was 8, now it is 3"), "{error}");
    options.force = true;
    run(&options);
    let bank = options.bank.clone().unwrap();
    for same in [bank.clone(), bank.join("../bank"), bank.join(".")] {
        options.scenes = Some(same);
        let error = pack(&options, |_| true).unwrap_err().to_string();
        assert!(error.contains("--bank"), "{error}");
    }
}

#[test]
fn jpeg_scenes_keep_the_file_and_low_scores_are_left_out() {
    let mut data = DataSet::new();
    data.image(1, "a.jpg", [33, 21]);
    data.image(2, "b.png", [24, 20]);
    data.rectangle(1, 1, [2.0, 2.0, 9.0, 9.0])["score"] = json!(0.4);
    data.rectangle(2, 1, [12.0, 2.0, 9.0, 9.0])["score"] = json!(0.6);
    data.rectangle(3, 2, [2.0, 2.0, 9.0, 9.0]);
    let mut options = data.options("out");
    options.encoding = Encoding::Jpeg;
    options.min_score = Some(0.5);
    let report = run(&options);
    assert_eq!((report.counts.below_score, report.counts.instances), (1, 2));
    let (scenes, bank) = open(&options);
    let ScenePixels::Jpeg(file) = scenes.get(0).unwrap().pixels else {
        panic!("JPEG was asked for")
    };
    assert_eq!(file, fs::read(data.path("images/a.jpg")).unwrap());
    assert!(matches!(
        scenes.get(1).unwrap().pixels,
        ScenePixels::Jpeg(_)
    ));
    assert_eq!(bank.get(0).unwrap().score, 0.6);
    options.bank = None;
    options.scenes = Some(data.path("only"));
    assert_eq!(run(&options).counts.cutouts, 0);
}

fn real_data(test: &str) -> Option<PathBuf> {
    common::folder_from_environment("PASTEBANK_TEST_DATA", test)
}

fn pack_real(data: &Path, name: &str, out: &Path) -> (PackReport, PackOptions) {
    let folder = data.join(name);
    let options = PackOptions::new(
        &folder.join("instances.json"),
        &folder.join("images"),
        &out.join("scenes"),
        &out.join("bank"),
    );
    (run(&options), options)
}

#[test]
fn real_photographs_are_packed_with_pycocotools_masks() {
    let Some(data) = real_data("real photographs") else {
        return;
    };
    let mut checked = 0;
    for (name, images) in [
        ("coco_cc", 56),
        ("pixabay17", 26),
        ("pixelwise_rle", 3),
        ("fruits_nuts", 8),
    ] {
        let out = tempfile::tempdir().unwrap();
        let (report, options) = pack_real(&data, name, out.path());
        assert_eq!(report.counts.scenes, images, "{name}: {}", report.problems);
        let text = fs::read(data.join(name).join("mask_goldens.json")).unwrap();
        let goldens: Value = serde_json::from_slice(&text).unwrap();
        let (scenes, bank) = open(&options);
        for instance in (0..scenes.len()).flat_map(|row| scenes.get(row).unwrap().instances()) {
            let golden = &goldens["masks"][instance.annotation.to_string()];
            assert_eq!(
                json!(instance.bounding_box.map(f64::from)),
                as_floats(&golden["bbox"])
            );
            let area: u32 = instance.mask.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(f64::from(area), golden["area"].as_f64().unwrap());
            checked += 1;
        }
        let crowds = report.counts.crowds;
        assert_eq!(bank.len() as u64, report.counts.instances - crowds);
    }
    println!("{checked} packed masks have pycocotools' boxes and areas");
}

fn as_floats(list: &Value) -> Value {
    list.as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect()
}

#[test]
fn exif_orientation_follows_the_annotated_size() {
    let Some(data) = real_data("EXIF orientation") else {
        return;
    };
    let images = data.join("jpeg_variants/exif");
    let mut set = DataSet::new();
    let upright = image::open(images.join("padlock-406986_640_no_exif.jpg")).unwrap();
    let stored = |name: &str| image::image_dimensions(images.join(name)).unwrap();
    let name = "padlock-406986_640_rotate_90.jpg";
    let (width, height) = stored(name);
    assert_ne!(width, height);
    set.list(1, name, [height, width]);
    set.list(2, name, [width, height]);
    set.list(3, name, [width + 1, height]);
    set.list(4, "padlock-406986_640_rotate_180.jpg", [640, 426]);
    set.images.push(json!({"id": 5, "file_name": name}));
    let mut options = set.options("out");
    options.images = images.clone();
    options.bank = None;
    let report = run(&options);
    assert_eq!(
        report.problems.count(ProblemKind::SizeMismatch),
        1 + u64::from(stored("padlock-406986_640_rotate_180.jpg") != (640, 426))
    );
    let text = report.problems.to_string();
    assert!(
        text.contains(&format!("{width}x{height} pixels; {}x{height}", width + 1)),
        "{text}"
    );
    let scenes = ScenePack::open(options.scenes.as_ref().unwrap()).unwrap();
    let size = |row| scenes.get(row).unwrap().size;
    assert_eq!((size(0).width(), size(0).height()), (height, width));
    assert_eq!((size(1).width(), size(1).height()), (width, height));
    // Turned, the picture looks like the one that was stored upright.
    let ScenePixels::Raw(chain) = scenes.get(0).unwrap().pixels else {
        panic!("raw was asked for")
    };
    let turned = RgbImage::from_raw(height, width, chain[..size(0).pixels() * 3].to_vec()).unwrap();
    if (turned.width(), turned.height()) == (upright.width(), upright.height()) {
        let difference: u64 = turned
            .iter()
            .zip(upright.to_rgb8().iter())
            .map(|(&a, &b)| u64::from(a.abs_diff(b)))
            .sum();
        assert!(
            difference < 8 * turned.len() as u64,
            "mean difference above 8"
        );
    }
}

#[test]
fn lvis_files_keep_all_their_keys() {
    let Some(data) = real_data("LVIS") else {
        return;
    };
    let out = tempfile::tempdir().unwrap();
    let mut options = PackOptions::new(
        &data.join("lvis/lvis_v0.5_mini.json"),
        &data.join("lvis/images"),
        &out.path().join("scenes"),
        &out.path().join("bank"),
    );
    options.threads = NonZero::new(2);
    let report = run(&options);
    let (scenes, _) = open(&options);
    assert!(!scenes.is_empty(), "{}", report.problems);
    assert_eq!(report.problems.count(ProblemKind::MissingIscrowd), 0);
    let scene = (0..scenes.len())
        .map(|row| scenes.get(row).unwrap())
        .find(|scene| scene.image == 577_932)
        .unwrap();
    assert_eq!(scene.negative_categories().next(), Some(197));
    assert_eq!(
        scene.not_exhaustive_categories().collect::<Vec<_>>(),
        [1045]
    );
    let category = &scenes.manifest().categories[0];
    for key in [
        "frequency",
        "synset",
        "synonyms",
        "def",
        "image_count",
        "instance_count",
    ] {
        assert!(category.other.contains_key(key), "{key}");
    }
}

/// A colour of the first scene, at `x`, `y`.
fn colour_at(scenes: &ScenePack, row: usize, x: usize, y: usize) -> [u8; 3] {
    let scene = scenes.get(row).unwrap();
    let ScenePixels::Raw(chain) = scene.pixels else {
        panic!("raw was asked for")
    };
    chain.as_chunks().0[y * scene.size.width() as usize + x]
}

#[test]
fn grey_deep_transparent_and_cmyk_images_become_rgb() {
    use image::{DynamicImage, ImageBuffer, Luma, LumaA, Rgba};
    let mut data = DataSet::new();
    let images = data.path("images");
    let pictures: [(&str, DynamicImage); 4] = [
        (
            "grey.png",
            ImageBuffer::from_pixel(4, 3, Luma([90u8])).into(),
        ),
        (
            "grey-alpha.png",
            ImageBuffer::from_pixel(4, 3, LumaA([90u8, 0])).into(),
        ),
        (
            "deep.png",
            ImageBuffer::from_pixel(4, 3, Rgb([0x80ffu16, 0x1000, 0xffff])).into(),
        ),
        (
            "clear.png",
            ImageBuffer::from_pixel(4, 3, Rgba([10u8, 20, 30, 0])).into(),
        ),
    ];
    for (id, (name, picture)) in pictures.iter().enumerate() {
        picture.save(images.join(name)).unwrap();
        data.list(id as i64, name, [4, 3]);
    }
    let cmyk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cmyk.jpg");
    fs::copy(cmyk, images.join("cmyk.jpg")).unwrap();
    data.list(9, "cmyk.jpg", [16, 8]);
    let options = data.options("out");
    let report = run(&options);
    assert!(report.problems.is_empty(), "{}", report.problems);
    let (scenes, _) = open(&options);
    assert_eq!(colour_at(&scenes, 0, 1, 1), [90; 3]);
    assert_eq!(colour_at(&scenes, 1, 1, 1), [90; 3]);
    assert_eq!(colour_at(&scenes, 2, 1, 1), [0x80, 0x10, 0xff]);
    assert_eq!(colour_at(&scenes, 3, 1, 1), [10, 20, 30]);
    let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) < 16);
    let (left, right) = (colour_at(&scenes, 4, 3, 3), colour_at(&scenes, 4, 12, 3));
    assert!(near(left, [220, 40, 60]), "{left:?}");
    assert!(near(right, [30, 90, 200]), "{right:?}");
}
