use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device};

use super::*;
use crate::build::models::names;
use crate::build::weights::Weights;

fn goldens(file: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens");
    Path::new(folder).join(file)
}

/// The folder of real data, where there is one.
fn data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PASTEBANK_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        // Written past the test runner's capture, which shows only what failed.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: PASTEBANK_TEST_DATA is not set"
        );
    }
    folder
}

fn u2netp(data: &Path) -> U2Net {
    let weights = data.join("weights/u2netp_fp16_bnfolded.safetensors");
    let files = ModelFiles::at("u2netp", &weights);
    U2Net::load(&files, &Config::u2netp(), &Compute::cpu()).unwrap()
}

fn picture(path: &Path) -> Picture {
    Picture {
        pixels: image::open(path).unwrap().to_rgb8(),
        alpha: None,
        category: String::new(),
    }
}

fn greatest(tensor: &Tensor) -> f32 {
    let flat = tensor.abs().unwrap().flatten_all().unwrap();
    flat.max(D::Minus1).unwrap().to_scalar().unwrap()
}

#[test]
fn a_narrow_network_is_pytorchs() {
    let file = goldens("u2net.safetensors");
    let goldens = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let config = Config::uniform(6, 4);
    for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-5)] {
        let compute = Compute {
            dtype,
            ..Compute::cpu()
        };
        let weights = Weights::open("u2net", &file).unwrap();
        let network = weights.build(&compute, |vb| Network::new(vb.pp("weights"), &config));
        let images = goldens["images"].to_dtype(dtype).unwrap();
        let map = network.unwrap().forward(&images).unwrap();
        let expected = &goldens["expected"];
        assert_eq!(map.shape(), expected.shape());
        let difference = (map.to_dtype(DType::F32).unwrap() - expected).unwrap();
        let error = greatest(&difference) / greatest(expected);
        assert!(error <= tolerance, "{dtype:?}: {error}");
    }
}

#[test]
fn the_published_names_and_shapes_are_asked_for() {
    let networks = [
        ("u2net", Config::u2net(), 176.0),
        ("u2netp", Config::u2netp(), 4.5),
    ];
    for (name, config, megabytes) in networks {
        let list = std::fs::read_to_string(goldens(&format!("{name}_names.txt"))).unwrap();
        let published = names::published(&list);
        let asked_for = names::asked_for(|vb| Network::new(vb, &config));
        names::assert_same(&asked_for, &published, &[]);
        let values: usize = asked_for
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum();
        let size = values as f64 * 4e-6;
        assert!((size / megabytes - 1.0).abs() < 0.02, "{name}: {size} MB");
    }
}

#[test]
fn real_weights_have_the_names() {
    let Some(data) = data("U²-NetP's names") else {
        return;
    };
    let file = data.join("weights/u2netp_fp16_bnfolded.safetensors");
    let weights = Weights::open("u2netp", &file).unwrap();
    let list = std::fs::read_to_string(goldens("u2netp_names.txt")).unwrap();
    let published = names::published(&list);
    let found = weights.names().map(|name| {
        let shape = weights.shape(name).unwrap();
        (name.to_owned(), shape.to_vec())
    });
    names::assert_same(&found.collect(), &published, &[]);
}

/// The map that a float32 forward of these weights in numpy gave for a picture of 320x320.
#[test]
fn real_weights_give_the_known_map() {
    let Some(data) = data("U²-NetP's exact map") else {
        return;
    };
    let folder = data.join("u2netp_golden/exact");
    let image = picture(&folder.join("dog-3277416_320.png")).pixels;
    let map = u2netp(&data)
        .network
        .forward(&input(&image, &Compute::cpu()).unwrap())
        .unwrap();
    let expected = Tensor::read_npy(folder.join("dog-3277416_d0.npy")).unwrap();
    let error = greatest(&(map.reshape((320, 320)).unwrap() - expected).unwrap());
    assert!(error <= 1e-3, "{error}");
}

#[test]
fn real_weights_give_the_authors_masks() {
    let Some(data) = data("U²-NetP's masks") else {
        return;
    };
    let folder = data.join("u2netp_golden");
    let names = [
        "horse.jpg",
        "im_14.png",
        "lamp2_meitu_1.jpg",
        "sailboat3.jpg",
        "whisk.png",
    ];
    let pictures = names.map(|name| picture(&folder.join(name)));
    let masks = u2netp(&data).segment(&pictures).unwrap();
    let overlaps = names.iter().zip(&masks).map(|(name, mask)| {
        let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
        let theirs = image::open(folder.join(format!("{stem}.u2netp.png")));
        let theirs = theirs.unwrap().to_luma8();
        assert_eq!(mask.dimensions(), theirs.dimensions());
        let pairs = mask.iter().zip(theirs.iter());
        let pairs = pairs.map(|(ours, theirs)| (*ours >= 128, *theirs >= 128));
        let both = pairs.clone().filter(|(ours, theirs)| *ours && *theirs);
        let any = pairs.filter(|(ours, theirs)| *ours || *theirs);
        both.count() as f64 / any.count() as f64
    });
    let overlaps: Vec<f64> = overlaps.collect();
    println!("{overlaps:?}");
    let good = overlaps.iter().filter(|overlap| **overlap >= 0.95);
    assert!(good.count() >= 4, "{overlaps:?}");
    assert!(
        overlaps.iter().all(|overlap| *overlap >= 0.9),
        "{overlaps:?}"
    );
}

/// Batches of one and of several, and pictures that have nothing to find.
#[test]
fn pictures_of_a_batch_do_not_meet() {
    let file = goldens("u2net.safetensors");
    let weights = Weights::open("u2net", &file).unwrap();
    let compute = Compute::cpu();
    let config = Config::uniform(6, 4);
    let model = U2Net {
        model: "narrow".to_owned(),
        network: weights
            .build(&compute, |vb| Network::new(vb.pp("weights"), &config))
            .unwrap(),
        compute,
    };
    let picture = |width, height, step: u32| Picture {
        pixels: RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * step) as u8, (y * step) as u8, (x * y * step) as u8])
        }),
        alpha: None,
        category: String::new(),
    };
    let pictures = [picture(50, 20, 0), picture(1, 1, 3), picture(30, 400, 3)];
    let together = model.segment(&pictures).unwrap();
    for (picture, mask) in pictures.iter().zip(&together) {
        assert_eq!(mask.dimensions(), picture.pixels.dimensions());
        let alone = model.segment(std::slice::from_ref(picture)).unwrap();
        assert_eq!(alone, [mask.clone()]);
    }
    assert_eq!(*together[2].iter().max().unwrap(), 255);
    assert!(model.segment(&[]).unwrap().is_empty());
}

#[test]
fn other_weights_are_told_by_name() {
    let file = goldens("u2net.safetensors");
    let files = ModelFiles::at("u2net", &file);
    let Err(error) = U2Net::load(&files, &Config::uniform(6, 4), &Compute::cpu()) else {
        panic!("names under a prefix were taken");
    };
    assert!(error.to_string().contains("stage1.rebnconvin"), "{error}");
}
