use candle_core::{D, Device};
use proptest::prelude::*;

use super::*;

/// Seeded values between -1 and 1.
fn noise(shape: &[usize], seed: u32) -> Tensor {
    let count: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    let values: Vec<f32> = (0..count).map(|_| next()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The greatest difference, in parts of the greatest value expected.
fn difference(found: &Tensor, expected: &Tensor) -> f32 {
    difference_beside(found, expected, greatest(expected))
}

/// The greatest difference, in parts of `magnitude`: sums whose terms cancel one another out are as far off as
/// their terms are large.
fn difference_beside(found: &Tensor, expected: &Tensor, magnitude: f32) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    greatest(&(found - expected).unwrap()) / magnitude.max(1e-3)
}

fn greatest(tensor: &Tensor) -> f32 {
    let flat = tensor.abs().unwrap().flatten_all().unwrap();
    flat.max(D::Minus1).unwrap().to_scalar().unwrap()
}

#[derive(Clone, Debug)]
struct Case {
    /// Images, channels, height and width.
    maps: [usize; 4],
    outputs: usize,
    kernel: [usize; 2],
    config: Conv2dConfig,
    relu: bool,
    bias: bool,
    /// How the maps lie in memory.
    layout: u8,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1..3usize, 1..7usize, 1..40usize, 1..110usize, 1..20usize);
    let kernel = (1..5usize, 1..5usize);
    let config = (0..5usize, 1..4usize, 1..4usize);
    let rest = (any::<bool>(), any::<bool>(), 0..4u8);
    (sizes, kernel, config, rest).prop_map(|(sizes, kernel, config, rest)| Case {
        maps: [sizes.0, sizes.1, sizes.2, sizes.3],
        outputs: sizes.4,
        kernel: [kernel.0, kernel.1],
        config: Conv2dConfig {
            padding: config.0,
            stride: config.1,
            dilation: config.2,
            ..Conv2dConfig::default()
        },
        relu: rest.0,
        bias: rest.1,
        layout: rest.2,
    })
}

/// The same maps, lying in memory in one of several ways.
fn laid_out(maps: &Tensor, layout: u8) -> Tensor {
    let [_, channels, height, width] = maps.dims() else {
        panic!("four dimensions");
    };
    let turned = |from, to| {
        let turned = maps.transpose(from, to).unwrap().contiguous().unwrap();
        turned.transpose(from, to).unwrap()
    };
    let within = |dimension, length: usize| {
        let padded = maps.pad_with_zeros(dimension, 2, 1).unwrap();
        padded.narrow(dimension, 2, length).unwrap()
    };
    match layout {
        0 => maps.clone(),
        1 => turned(2, 3),
        2 => turned(1, 3),
        _ => within(1 + width % 3, [*channels, *height, *width][width % 3]),
    }
}

/// What candle makes of it.
fn stock(case: &Case, maps: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let config = &case.config;
    let result =
        maps.contiguous()?
            .conv2d(weight, config.padding, config.stride, config.dilation, 1)?;
    let result = match bias {
        Some(bias) => result.broadcast_add(&bias.reshape((1, case.outputs, 1, 1))?)?,
        None => result,
    };
    if case.relu { result.relu() } else { Ok(result) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_is_candles(case in cases(), seed in any::<u32>()) {
        let weight = noise(&[case.outputs, case.maps[1], case.kernel[0], case.kernel[1]], seed);
        let bias = case.bias.then(|| noise(&[case.outputs], seed ^ 1));
        let maps = noise(&case.maps, seed ^ 2);
        let fits = (0..2).all(|axis| {
            let spread = (case.kernel[axis] - 1) * case.config.dilation;
            case.maps[2 + axis] + 2 * case.config.padding > spread
        });
        let conv = Conv2d::new(weight.clone(), bias.clone(), case.config, case.relu).unwrap();
        let found = conv.forward(&laid_out(&maps, case.layout));
        if fits {
            let expected = stock(&case, &maps, &weight, bias.as_ref()).unwrap();
            let [maps, weight] = [&maps, &weight].map(|terms| terms.abs().unwrap());
            let bias = bias.map(|bias| bias.abs().unwrap());
            let terms = stock(&case, &maps, &weight, bias.as_ref()).unwrap();
            prop_assert!(difference_beside(&found.unwrap(), &expected, greatest(&terms)) < 5e-6);
        } else {
            prop_assert!(found.is_err());
        }
    }

    #[test]
    fn joined_maps_are_as_one(case in cases(), seed in any::<u32>(), split in 0..6usize) {
        let weight = noise(&[case.outputs, case.maps[1] + 2, 3, 3], seed);
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let [images, channels, height, width] = case.maps;
        let maps = noise(&[images, channels + 2, height, width], seed ^ 2);
        let base = noise(&[images, case.outputs, height, width], seed ^ 3);
        let split = 1 + split.min(channels);
        let first = maps.narrow(1, 0, split).unwrap();
        let second = maps.narrow(1, split, channels + 2 - split).unwrap();
        let conv = Conv2d::new(weight, None, config, case.relu).unwrap();
        let whole = conv.forward(&maps).unwrap();
        let joined = conv.forward_joined(&first, &second).unwrap();
        prop_assert!(difference(&joined, &whole) == 0.0);
        let onto = conv.forward_joined_onto(&first, &second, &base).unwrap();
        let terms = greatest(&whole) + greatest(&base);
        prop_assert!(difference_beside(&onto, &(whole + base).unwrap(), terms) < 1e-6);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let conv = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let config = Conv2dConfig {
            padding: 2,
            dilation: 2,
            ..Conv2dConfig::default()
        };
        let conv = Conv2d::new(noise(&[9, 5, 3, 3], 1), None, config, true).unwrap();
        let forward = || conv.forward(&noise(&[2, 5, 50, 130], 2)).unwrap();
        let result = pool.build().unwrap().install(forward);
        result.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(conv(1), conv(5));
}

#[test]
fn groups_and_other_element_types_are_candles() {
    let config = Conv2dConfig {
        groups: 2,
        padding: 1,
        ..Conv2dConfig::default()
    };
    let (weight, bias) = (noise(&[4, 3, 3, 3], 1), noise(&[4], 2));
    let maps = noise(&[1, 6, 7, 5], 3);
    let grouped = Conv2d::new(weight.clone(), Some(bias.clone()), config, true).unwrap();
    let halves = (0..2).map(|half| {
        let weight = weight.narrow(0, 2 * half, 2).unwrap();
        let bias = bias.narrow(0, 2 * half, 2).unwrap();
        let config = Conv2dConfig {
            groups: 1,
            ..config
        };
        let conv = Conv2d::new(weight, Some(bias), config, true).unwrap();
        conv.forward(&maps.narrow(1, 3 * half, 3).unwrap()).unwrap()
    });
    let halves: Vec<Tensor> = halves.collect();
    let expected = Tensor::cat(&halves, 1).unwrap();
    assert!(difference(&grouped.forward(&maps).unwrap(), &expected) < 1e-6);

    let config = Conv2dConfig {
        groups: 1,
        ..config
    };
    let weight = noise(&[4, 6, 3, 3], 4);
    let double = weight.to_dtype(DType::F64).unwrap();
    let double = Conv2d::new(double, None, config, true).unwrap();
    let found = double.forward(&maps.to_dtype(DType::F64).unwrap()).unwrap();
    let expected = Conv2d::new(weight, None, config, true).unwrap();
    let expected = expected.forward(&maps).unwrap();
    assert!(difference(&found.to_dtype(DType::F32).unwrap(), &expected) < 1e-6);
}

#[test]
fn what_does_not_fit_is_refused() {
    let weight = noise(&[2, 3, 3, 3], 1);
    let new = |bias, config| Conv2d::new(weight.clone(), bias, config, false);
    let zero = Conv2dConfig {
        stride: 0,
        ..Conv2dConfig::default()
    };
    assert!(new(None, zero).is_err());
    assert!(new(Some(noise(&[3], 1)), Conv2dConfig::default()).is_err());
    let conv = new(None, Conv2dConfig::default()).unwrap();
    let maps = noise(&[1, 3, 5, 5], 2);
    assert!(conv.forward(&noise(&[1, 4, 5, 5], 2)).is_err());
    assert!(conv.forward(&noise(&[3, 5, 5], 2)).is_err());
    assert!(conv.forward(&maps.to_dtype(DType::F64).unwrap()).is_err());
    let [first, second] = [noise(&[1, 1, 5, 5], 1), noise(&[1, 2, 5, 5], 1)];
    assert!(
        conv.forward_joined(&first, &noise(&[1, 2, 5, 6], 1))
            .is_err()
    );
    let base = noise(&[1, 2, 3, 2], 1);
    assert!(conv.forward_joined_onto(&first, &second, &base).is_err());
}

#[test]
fn what_is_not_a_number_stays() {
    let maps = (noise(&[1, 1, 4, 4], 1) * f64::NAN).unwrap();
    let config = Conv2dConfig::default();
    let conv = Conv2d::new(noise(&[1, 1, 1, 1], 2), None, config, false).unwrap();
    let values = conv.forward(&maps).unwrap().flatten_all().unwrap();
    assert!(
        values
            .to_vec1::<f32>()
            .unwrap()
            .iter()
            .all(|value| value.is_nan())
    );
}
