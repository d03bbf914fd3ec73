use std::collections::HashMap;

use candle_core::{D, DType, Device};

use super::*;

fn goldens() -> HashMap<String, Tensor> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/goldens/imaging.safetensors"
    );
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn resizing_is_pillows_to_the_byte() {
    let goldens = goldens();
    let image = RgbImage::from_raw(47, 61, bytes(&goldens["image"])).unwrap();
    let red = GrayImage::from_fn(47, 61, |x, y| image::Luma([image.get_pixel(x, y).0[0]]));
    let filters = [
        ("bilinear", Filter::Bilinear),
        ("bicubic", Filter::Bicubic),
        ("lanczos", Filter::Lanczos),
    ];
    for (name, filter) in filters {
        for (width, height) in [(20, 13), (90, 77), (47, 12), (31, 61), (5, 3)] {
            let key = format!("{name}.{width}x{height}");
            let rgb = resize(&image, width, height, filter);
            assert_eq!(*rgb, bytes(&goldens[&format!("rgb.{key}")]), "{key}");
            let gray = resize_gray(&red, width, height, filter);
            assert_eq!(*gray, bytes(&goldens[&format!("gray.{key}")]), "{key}");
        }
    }
}

#[test]
fn an_image_without_pixels_becomes_black() {
    let black = resize(&RgbImage::new(0, 3), 2, 2, Filter::Bicubic);
    assert_eq!(black, RgbImage::new(2, 2));
    let none = resize_gray(&GrayImage::new(3, 3), 0, 2, Filter::Bilinear);
    assert_eq!(none.dimensions(), (0, 2));
}

#[test]
fn upsampling_is_pytorchs_also_of_strided_maps() {
    let goldens = goldens();
    let maps = &goldens["maps"];
    let strided = maps.transpose(2, 3).unwrap().contiguous().unwrap();
    let strided = strided.transpose(2, 3).unwrap();
    for (height, width) in [(7, 9), (16, 20), (5, 5), (3, 1)] {
        for corners in [false, true] {
            let expected = &goldens[&format!("maps.{height}x{width}.{corners}")];
            for maps in [maps, &strided] {
                let found = upsample_bilinear(maps, height, width, corners).unwrap();
                let difference = (found - expected).unwrap().abs().unwrap();
                let most = difference.flatten_all().unwrap().max(D::Minus1).unwrap();
                let most: f32 = most.to_scalar().unwrap();
                assert!(most < 5e-6, "{height}x{width} {corners}: {most}");
            }
        }
    }
}

#[test]
fn tensors_are_normalised_by_channel() {
    let image = RgbImage::from_fn(3, 2, |x, y| Rgb([255, (x * 10) as u8, (y * 51) as u8]));
    let tensor = to_tensor(
        std::slice::from_ref(&image),
        [0.5, 0.0, 0.25],
        [0.5, 0.1, 2.0],
        &Compute::cpu(),
    );
    let values: Vec<f32> = tensor.unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let (ten, twenty) = (10.0 / 25.5, 20.0 / 25.5);
    let expected = [
        [1.0; 6],
        [0.0, ten, twenty, 0.0, ten, twenty],
        [-0.125, -0.125, -0.125, -0.025, -0.025, -0.025],
    ];
    for (value, expected) in values.iter().zip(expected.as_flattened()) {
        assert!((value - expected).abs() < 1e-6, "{values:?}");
    }
    let half = Compute {
        dtype: DType::F16,
        ..Compute::cpu()
    };
    let both = to_tensor(&[image.clone(), image.clone()], [0.0; 3], [1.0; 3], &half).unwrap();
    assert_eq!((both.dims(), both.dtype()), (&[2, 3, 2, 3][..], DType::F16));
    let other = RgbImage::new(2, 3);
    assert!(to_tensor(&[image, other], [0.0; 3], [1.0; 3], &half).is_err());
    assert!(to_tensor(&[], [0.0; 3], [1.0; 3], &half).is_err());
}

#[test]
fn maps_are_stretched_each_for_itself() {
    let maps = Tensor::new(&[[2f32, 4.0, 3.0], [7.0, 7.0, 7.0]], &Device::Cpu).unwrap();
    let stretched: Vec<Vec<f32>> = min_max(&maps).unwrap().to_vec2().unwrap();
    assert_eq!(stretched, [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]);
}

#[test]
fn white_shows_through_what_is_transparent() {
    let image = RgbImage::from_pixel(3, 1, Rgb([0, 100, 255]));
    let alpha = GrayImage::from_raw(2, 1, vec![255, 51]).unwrap();
    let shown = on_white(&image, &alpha);
    let expected = [[0, 100, 255], [204, 224, 255], [255, 255, 255]];
    assert_eq!(*shown, *expected.as_flattened());
}
