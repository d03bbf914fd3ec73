//! Noise of images: every image has its own, whatever batch it is made in.

use candle_core::{Device, Result, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// The noise of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageNoise {
    seed: u64,
}

impl ImageNoise {
    /// The noise that `seed` stands for.
    pub fn new(seed: u64) -> ImageNoise {
        ImageNoise { seed }
    }

    /// Unit noise of a shape [C, H, W], F32 on the CPU: the same on every machine. Stream 0 is what an
    /// image starts from, stream n + 1 what is added at step n.
    ///
    /// # Errors
    /// Candle's.
    pub fn draw(self, stream: u64, shape: (usize, usize, usize)) -> Result<Tensor> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..].copy_from_slice(b"pastebank image's noise.");
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(stream);
        let count = shape.0 * shape.1 * shape.2;
        let numbers = (0..count).map(|_| StandardNormal.sample(&mut generator));
        let numbers: Vec<f32> = numbers.collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu)
    }
}

/// The noise of several images side by side, [N, C, H, W], on a device.
pub(super) fn drawn(
    noises: &[ImageNoise],
    stream: u64,
    shape: (usize, usize, usize),
    device: &Device,
) -> Result<Tensor> {
    let drawn = noises.iter().map(|noise| noise.draw(stream, shape));
    Tensor::stack(&drawn.collect::<Result<Vec<_>>>()?, 0)?.to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn an_images_noise_is_its_own_whatever_the_batch() {
        let shape = (4, 5, 6);
        let noises = [3, 9, 3].map(ImageNoise::new);
        let together = drawn(&noises, 2, shape, &Device::Cpu).unwrap();
        for (index, noise) in noises.iter().enumerate() {
            let alone = numbers(&noise.draw(2, shape).unwrap());
            assert_eq!(numbers(&together.get(index).unwrap()), alone);
        }
        let of = |seed, stream| numbers(&ImageNoise::new(seed).draw(stream, shape).unwrap());
        assert_ne!(of(3, 2), of(9, 2));
        assert_ne!(of(3, 2), of(3, 1));
    }

    #[test]
    fn it_is_normal() {
        let numbers = numbers(&ImageNoise::new(1).draw(0, (4, 100, 100)).unwrap());
        let count = numbers.len() as f64;
        let moment = |power: i32| {
            let powers = numbers.iter().map(|&number| f64::from(number).powi(power));
            powers.sum::<f64>() / count
        };
        // Five deviations of each moment's own error.
        let within = |value: f64, expected: f64, variance: f64| {
            assert!(
                (value - expected).abs() < 5.0 * (variance / count).sqrt(),
                "{value}"
            );
        };
        within(moment(1), 0.0, 1.0);
        within(moment(2), 1.0, 2.0);
        within(moment(3), 0.0, 15.0);
        within(moment(4), 3.0, 96.0);
    }

    /// Images must be made again by later versions, so these numbers stay.
    #[test]
    fn it_never_changes() {
        let numbers = numbers(&ImageNoise::new(7).draw(0, (1, 1, 4)).unwrap());
        assert_eq!(numbers, [1.5514488, 0.94690037, -0.8591763, -0.47382274]);
    }
}
