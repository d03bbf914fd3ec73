use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device};
use image::{Rgb, RgbImage};

use super::segmenter::Frame;
use super::*;
use crate::build::device::Compute;
use crate::build::models::names::{asked_for, assert_same, published};
use crate::build::models::{ModelError, Segmenter};
use crate::build::picture::Picture;
use crate::build::weights::{ModelFiles, Weights, WeightsError};

macro_rules! golden {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/", $name)
    };
}

const WIDTH: usize = 24;

fn decoder() -> DecoderConfig {
    DecoderConfig {
        width: WIDTH,
        depth: 2,
        heads: 4,
        mlp: 48,
    }
}

/// The sizes of `vit` in scripts/goldens/sam.py.
fn small_vit() -> SamConfig {
    SamConfig {
        image_size: 128,
        encoder: EncoderConfig::Vit(VitConfig {
            width: 32,
            depth: 2,
            heads: 2,
            global: vec![1],
            window: 3,
            patch: 16,
        }),
        decoder: decoder(),
    }
}

/// The sizes of `tiny_vit` in scripts/goldens/sam.py.
fn small_mobile() -> SamConfig {
    SamConfig {
        image_size: 112,
        encoder: EncoderConfig::TinyVit(TinyVitConfig {
            widths: [8, 16, 24, 32],
            depths: [1, 1, 2, 1],
            heads: [1, 2, 4, 4],
            windows: [7, 7, 4, 7],
        }),
        decoder: decoder(),
    }
}

/// A reference: weights, inputs and outputs.
struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn vit() -> (Golden, SamConfig) {
        (Golden::open(golden!("sam.safetensors")), small_vit())
    }

    fn mobile() -> (Golden, SamConfig) {
        (
            Golden::open(golden!("mobile_sam.safetensors")),
            small_mobile(),
        )
    }

    fn open(path: &str) -> Golden {
        Golden(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn weights(&self) -> Weights {
        let tensors = self.0.clone();
        let weights = Weights::from_tensors("small", Path::new("golden"), tensors);
        weights.rename(|name| name.strip_prefix("weights.").map(str::to_owned))
    }

    fn segmenter(&self, config: &SamConfig, options: SamOptions) -> SamSegmenter {
        let compute = Compute::cpu();
        let sam = self.weights().build(&compute, |vb| Sam::new(config, vb));
        SamSegmenter::new("small", sam.unwrap(), options, &compute).unwrap()
    }

    fn image(&self, name: &str) -> RgbImage {
        let tensor = &self.0[name];
        let (height, width, _) = tensor.dims3().unwrap();
        let bytes = tensor.flatten_all().unwrap().to_vec1().unwrap();
        RgbImage::from_raw(width as u32, height as u32, bytes).unwrap()
    }

    /// The greatest error in parts of the greatest value.
    fn error(&self, name: &str, ours: &Tensor) -> f32 {
        let reference = &self.0[name];
        assert_eq!(ours.elem_count(), reference.elem_count(), "{name}");
        let flat =
            |tensor: &Tensor| -> Vec<f32> { tensor.flatten_all().unwrap().to_vec1().unwrap() };
        let (ours, reference) = (flat(ours), flat(reference));
        let pairs = ours.iter().zip(&reference);
        let error = pairs.fold(0_f32, |error, (ours, theirs)| {
            error.max((ours - theirs).abs())
        });
        let greatest = reference
            .iter()
            .fold(0_f32, |most, value| most.max(value.abs()));
        error / greatest
    }

    fn assert_close(&self, name: &str, ours: &Tensor) {
        let error = self.error(name, ours);
        assert!(error <= 1e-4, "{name}: {error}");
    }
}

fn network(golden: &Golden, config: &SamConfig) -> Sam {
    let sam = golden
        .weights()
        .build(&Compute::cpu(), |vb| Sam::new(config, vb));
    sam.unwrap()
}

fn row(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// Points in pixels of an image, as `SamPredictor` places them on the square.
fn points(points: &[(f64, f64, bool)], frame: &Frame) -> Vec<Point> {
    let scale = |axis: usize| frame.scaled[axis] as f64 / frame.image[axis] as f64;
    let point = |&(x, y, inside): &(f64, f64, bool)| Point {
        x: x * scale(0),
        y: y * scale(1),
        inside,
    };
    points.iter().map(point).collect()
}

#[test]
fn networks_compute_what_the_authors_do() {
    for (golden, config) in [Golden::vit(), Golden::mobile()] {
        let segmenter = golden.segmenter(&config, SamOptions::corners());
        let sam = network(&golden, &config);
        let images = ["wide", "tall"].map(|kind| golden.image(&format!("{kind}.image")));
        // Both images in one batch: neither changes what the other gives.
        let batch = segmenter.prepare(&images.each_ref()).unwrap();
        let maps = sam.encode(&batch).unwrap();
        for (index, kind) in ["wide", "tall"].into_iter().enumerate() {
            let maps = maps.narrow(0, index, 1).unwrap();
            golden.assert_close(&format!("{kind}.maps"), &maps);
            let frame = Frame::new(&images[index], config.image_size);
            let right = f64::from(images[index].width() - 1);
            let bottom = f64::from(images[index].height() - 1);
            let prompts = [
                ("centre", vec![(right / 2.0, bottom / 2.0, true)]),
                (
                    "mixed",
                    vec![(10.0, 20.0, true), (40.0, 50.0, false), (30.5, 7.0, false)],
                ),
            ];
            for (prompt, places) in prompts {
                let prediction = sam.predict(&maps, &points(&places, &frame)).unwrap();
                golden.assert_close(&format!("{kind}.{prompt}.low"), &prediction.logits);
                let quality = row(&prediction.quality);
                golden.assert_close(&format!("{kind}.{prompt}.quality"), &quality);
            }
        }
    }
}

#[test]
fn corners_and_centre_give_the_predictors_masks() {
    for (golden, config) in [Golden::vit(), Golden::mobile()] {
        let prompts = [
            ("corners", SamOptions::corners()),
            ("centre", SamOptions::centre()),
        ];
        for (prompt, options) in prompts {
            let segmenter = golden.segmenter(&config, options);
            for kind in ["wide", "tall"] {
                let image = golden.image(&format!("{kind}.image"));
                let frame = Frame::new(&image, config.image_size);
                let maps = golden.0[&format!("{kind}.maps")].clone();
                let sam = network(&golden, &config);
                let prediction = sam.predict(&maps, &segmenter.points(&frame)).unwrap();
                golden.assert_close(&format!("{kind}.{prompt}.low"), &prediction.logits);
                let logits = frame
                    .enlarge(&segmenter.choose(&prediction).unwrap())
                    .unwrap();
                golden.assert_close(&format!("{kind}.{prompt}.logits"), &logits);
                check_mask(&golden, &segmenter, kind, prompt, image);
            }
        }
    }
}

/// The mask is the logistic function of the reference's logits, for the corners of their negative:
/// what is not background is the object.
fn check_mask(
    golden: &Golden,
    segmenter: &SamSegmenter,
    kind: &str,
    prompt: &str,
    image: RgbImage,
) {
    let logits = &golden.0[&format!("{kind}.{prompt}.logits")];
    let logits: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
    let sign = if prompt == "corners" { -1.0 } else { 1.0 };
    let picture = Picture {
        pixels: image.clone(),
        alpha: None,
        category: String::new(),
    };
    let masks = segmenter.segment(&[picture.clone(), picture]).unwrap();
    assert_eq!(masks[0], masks[1]);
    assert_eq!(masks[0].dimensions(), image.dimensions());
    let mut inside = 0;
    for (value, logit) in masks[0].as_raw().iter().zip(&logits) {
        let expected = 255.0 / (1.0 + (-sign * logit).exp());
        assert!(
            (f32::from(*value) - expected).abs() <= 0.51,
            "{value}, {expected}"
        );
        inside += usize::from(*value >= 128);
    }
    assert!(
        inside > 0 && inside < logits.len(),
        "{inside} of {}",
        logits.len()
    );
}

#[test]
fn corners_keep_their_margin() {
    let (golden, config) = Golden::vit();
    let places = |width: u32, height: u32, margin: u32| {
        let options = SamOptions {
            prompt: Prompt::Corners { margin },
            ..SamOptions::corners()
        };
        let frame = Frame::new(&RgbImage::new(width, height), config.image_size);
        let points = golden.segmenter(&config, options).points(&frame);
        assert!(points.iter().all(|point| point.inside));
        let places = points.iter().map(|point| (point.x, point.y));
        places.collect::<Vec<_>>()
    };
    // Images of the network's own size: pixels are what they are.
    let corners = [(5.0, 5.0), (122.0, 5.0), (5.0, 122.0), (122.0, 122.0)];
    assert_eq!(places(128, 128, 5), corners);
    assert_eq!(places(64, 64, 0)[3], (126.0, 126.0));
    // No margin is wider than half of the image.
    let middle = places(128, 4, 900);
    assert_eq!(middle, [(63.0, 1.0), (64.0, 1.0), (63.0, 2.0), (64.0, 2.0)]);
    assert_eq!(places(1, 1, 5), [(0.0, 0.0); 4]);
}

#[test]
fn frames_are_rounded_as_the_authors_round() {
    let frame = |width, height| Frame::new(&RgbImage::new(width, height), 1024).scaled;
    assert_eq!(frame(1024, 1024), [1024, 1024]);
    assert_eq!(frame(640, 427), [1024, 683]);
    assert_eq!(frame(427, 640), [683, 1024]);
    assert_eq!(frame(3000, 2001), [1024, 683]);
    // 0.49 pixels would be none.
    assert_eq!(frame(2090, 1), [1024, 1]);
}

#[test]
fn masks_have_the_images_size_also_where_it_is_extreme() {
    let (golden, config) = Golden::vit();
    let segmenter = golden.segmenter(&config, SamOptions::centre());
    assert_eq!(segmenter.name(), "small-centre");
    let picture = |width, height| Picture {
        pixels: RgbImage::from_pixel(width, height, Rgb([90, 10, 200])),
        alpha: None,
        category: String::new(),
    };
    let pictures = [
        picture(1, 1),
        picture(700, 1),
        picture(1, 300),
        picture(128, 128),
    ];
    let masks = segmenter.segment(&pictures).unwrap();
    for (picture, mask) in pictures.iter().zip(&masks) {
        assert_eq!(picture.pixels.dimensions(), mask.dimensions());
    }
    assert!(segmenter.segment(&[]).unwrap().is_empty());
}

#[test]
fn alternatives_that_there_are_not_are_refused() {
    let (golden, config) = Golden::vit();
    let options = SamOptions {
        mask: MaskChoice::Alternative(3),
        ..SamOptions::corners()
    };
    let sam = network(&golden, &config);
    let Err(error) = SamSegmenter::new("small", sam, options, &Compute::cpu()) else {
        panic!("an error was expected");
    };
    assert!(matches!(error, ModelError::Setting { .. }));
    assert_eq!(
        error.to_string(),
        "small: there is no mask 3; 0, 1 or 2 was expected"
    );
}

#[test]
fn published_files_have_the_names_that_are_asked_for() {
    // Of boxes and of masks as prompts, which nothing here asks by, and counters of training.
    let unused = [
        "prompt_encoder.mask_downscaling",
        "prompt_encoder.point_embeddings.2",
        "prompt_encoder.point_embeddings.3",
    ];
    let lists = [
        include_str!(golden!("sam_vit_b.names")),
        include_str!(golden!("sam_vit_l.names")),
        include_str!(golden!("sam_vit_h.names")),
        include_str!(golden!("sam_mobile.names")),
    ];
    for (variant, list) in Variant::ALL.into_iter().zip(lists) {
        let mut published = published(list);
        published.retain(|name, _| !name.ends_with("num_batches_tracked"));
        let asked = asked_for(&published, |vb| Sam::new(&variant.config(), vb));
        assert!(asked.len() > 200, "{}", asked.len());
        assert_same(&asked, &published, &unused);
    }
}

#[test]
fn files_are_found_by_their_published_names() {
    let folder = tempfile::tempdir().unwrap();
    for variant in Variant::ALL {
        let files = ModelFiles::at(variant.name(), folder.path());
        let load = || SamSegmenter::load(&files, variant, SamOptions::corners(), &Compute::cpu());
        let Err(ModelError::Weights(WeightsError::Missing { file, remedy, .. })) = load() else {
            panic!("an error was expected");
        };
        assert!(remedy.contains("https://"), "{remedy}");
        let name = file.split(" or ").next().unwrap();
        assert!(remedy.contains(name), "{remedy}");
        // A file of another network is told by the first tensor that it has not.
        let tensor = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let tensors = HashMap::from([("other".to_owned(), tensor)]);
        let path = folder.path().join(
            name.replace(".pth", ".safetensors")
                .replace(".pt", ".safetensors"),
        );
        candle_core::safetensors::save(&tensors, path).unwrap();
        let Err(ModelError::Weights(WeightsError::Tensor { tensor, .. })) = load() else {
            panic!("an error was expected");
        };
        assert!(tensor.starts_with("image_encoder."), "{tensor}");
    }
}
