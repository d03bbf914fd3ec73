//! What the network has learnt, as numbers and as pictures.

use std::fmt;

use anyhow::Result;
use candle_core::{Module, Tensor};
use image::{Rgb, RgbImage};
use pastebank::view::{Sheet, tint};

use crate::network::Network;
use crate::targets::Targets;

/// How well the network names the classes of pixels.
pub struct Score {
    /// Intersection over union, the mean over all classes that occur.
    pub mean_iou: f64,
    /// The same for always saying "background".
    pub constant_iou: f64,
    /// Of all that is no background, whatever its class.
    pub foreground_iou: f64,
}

impl Score {
    pub fn new(network: &Network, images: &Tensor, targets: &Targets) -> Result<Score> {
        let logits = network.forward(images)?;
        let said: Vec<u32> = logits.argmax(1)?.flatten_all()?.to_vec1()?;
        let truth: Vec<u32> = targets.classes.flatten_all()?.to_vec1()?;
        let weights: Vec<f32> = targets.weights.flatten_all()?.to_vec1()?;
        let pixels = truth.into_iter().zip(said).zip(weights);
        let pixels = pixels.filter(|(_, weight)| *weight > 0.0);
        let pixels: Vec<(u32, u32)> = pixels.map(|(pixel, _)| pixel).collect();
        let classes = 0..logits.dim(1)? as u32;
        let ious = classes.filter_map(|class| iou(&pixels, |other| other == class));
        let ious: Vec<f64> = ious.collect();
        let background = pixels.iter().filter(|(truth, _)| *truth == 0).count();
        Ok(Score {
            mean_iou: ious.iter().sum::<f64>() / ious.len() as f64,
            constant_iou: background as f64 / pixels.len() as f64 / ious.len() as f64,
            foreground_iou: iou(&pixels, |class| class > 0).unwrap_or(0.0),
        })
    }
}

/// Of the pixels, as (truth, said), that are or are said to be inside, the share where both hold.
fn iou(pixels: &[(u32, u32)], is_inside: impl Fn(u32) -> bool) -> Option<f64> {
    let (mut both, mut any) = (0, 0);
    for &(truth, said) in pixels {
        let (truth, said) = (is_inside(truth), is_inside(said));
        both += u32::from(truth && said);
        any += u32::from(truth || said);
    }
    (any > 0).then(|| f64::from(both) / f64::from(any))
}

impl fmt::Display for Score {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Score {
            mean_iou,
            constant_iou,
            foreground_iou,
        } = self;
        write!(
            formatter,
            "mean IoU {mean_iou:.3} (all background: {constant_iou:.3}), \
             foreground IoU {foreground_iou:.3}"
        )
    }
}

/// A sheet of the images, of their classes and of what the network says.
pub fn draw(network: &Network, images: &Tensor, targets: &Targets) -> Result<Sheet> {
    let said = network.forward(images)?.argmax(1)?;
    let mut sheet = Sheet::new("scenes, classes, what the network says", 6, (192, 192));
    for sample in 0..images.dim(0)? {
        let image: Vec<Vec<Vec<f32>>> = images.get(sample)?.permute((1, 2, 0))?.to_vec3()?;
        let (height, width) = (image.len() as u32, image[0].len() as u32);
        let image = RgbImage::from_fn(width, height, |x, y| {
            let pixel = &image[y as usize][x as usize];
            // Back from `output`'s mean and deviation.
            Rgb([0, 1, 2].map(|channel| (255.0 * (0.25 * pixel[channel] + 0.5)).round() as u8))
        });
        sheet.add(&image, &[]);
        for classes in [&targets.classes, &said] {
            let classes: Vec<Vec<u32>> = classes.get(sample)?.to_vec2()?;
            let colour = |x, y| match classes[y as usize][x as usize] {
                0 => Rgb([0; 3]),
                class => Rgb(tint(class as usize)),
            };
            sheet.add(&RgbImage::from_fn(width, height, colour), &[]);
        }
    }
    Ok(sheet)
}
