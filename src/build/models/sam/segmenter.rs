//! Objects found with Segment Anything: by the image's corners, and by its centre.

use candle_core::{Device, Result, Tensor};
use image::{GrayImage, RgbImage};

use super::{Point, Prediction, Sam, Variant};
use crate::build::device::Compute;
use crate::build::imaging::{
    Filter, IMAGENET_MEAN, IMAGENET_STD, resize, to_tensor, upsample_bilinear,
};
use crate::build::models::{ModelError, Segmenter};
use crate::build::picture::Picture;
use crate::build::weights::ModelFiles;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// The background, by the image's four corners, and everything else is the object. This is
    /// DiverGen's way (arXiv 2405.10185, "SAM-bg"): a generated image shows one object before a
    /// plain background, and that background is easier to point at than the object.
    ///
    /// As in `segmentation/get_background_sam_mask.py` of github.com/aim-uofa/DiverGen, the corners
    /// are points *inside* of what is looked for (label 1), the mask is inverted afterwards, and
    /// the margin is 5 pixels. That script gives its points as row and column where x and y are
    /// expected, and one of them without the margin; here they are at the four corners.
    Corners {
        /// How far from the image's edges the points are, in pixels of the image.
        margin: u32,
    },
    /// What is at the image's centre.
    Centre,
}

/// Which of a prompt's masks is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskChoice {
    /// One of the three alternatives, from 0: part, whole, or all that may be meant.
    Alternative(usize),
    /// The alternative that the network expects to be the best.
    Best,
}

/// How objects are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamOptions {
    /// What is asked for.
    pub prompt: Prompt,
    /// Which mask is taken.
    pub mask: MaskChoice,
}

impl SamOptions {
    /// DiverGen's: the corners, 5 pixels in, and the last alternative (`masks[2]` in its script).
    pub fn corners() -> SamOptions {
        SamOptions {
            prompt: Prompt::Corners { margin: 5 },
            mask: MaskChoice::Alternative(2),
        }
    }

    /// The centre, and the best of the alternatives, as in the examples of Segment Anything.
    pub fn centre() -> SamOptions {
        SamOptions {
            prompt: Prompt::Centre,
            mask: MaskChoice::Best,
        }
    }
}

/// Finds objects with Segment Anything. Images are prepared and masks enlarged as the authors'
/// `SamPredictor` does it; masks are soft: the logistic function of the logits.
pub struct SamSegmenter {
    name: String,
    options: SamOptions,
    sam: Sam,
    compute: Compute,
}

impl SamSegmenter {
    /// Loads a published network.
    ///
    /// # Errors
    /// [`ModelError::Weights`]; [`ModelError::Setting`] for an alternative that there is not.
    pub fn load(
        files: &ModelFiles,
        variant: Variant,
        options: SamOptions,
        compute: &Compute,
    ) -> std::result::Result<SamSegmenter, ModelError> {
        let weights = files.weights(variant.files())?;
        let sam = weights.build(compute, |vb| Sam::new(&variant.config(), vb))?;
        SamSegmenter::new(variant.name(), sam, options, compute)
    }

    /// Finds objects with a network; by the centre, `-centre` is added to its name.
    ///
    /// # Errors
    /// [`ModelError::Setting`] for an alternative that there is not.
    pub fn new(
        name: &str,
        sam: Sam,
        options: SamOptions,
        compute: &Compute,
    ) -> std::result::Result<SamSegmenter, ModelError> {
        if let MaskChoice::Alternative(index @ 3..) = options.mask {
            return Err(ModelError::Setting {
                model: name.to_owned(),
                problem: format!("there is no mask {index}; 0, 1 or 2 was expected"),
            });
        }
        Ok(SamSegmenter {
            name: match options.prompt {
                Prompt::Corners { .. } => name.to_owned(),
                Prompt::Centre => format!("{name}-centre"),
            },
            options,
            sam,
            compute: compute.clone(),
        })
    }

    /// Images [images, 3, size, size]: the longer side fills the square, zeros the rest.
    pub(super) fn prepare(&self, images: &[&RgbImage]) -> Result<Tensor> {
        let size = self.sam.image_size();
        let squares = images.iter().map(|image| {
            let frame = Frame::new(image, size);
            let [width, height] = frame.scaled;
            let small = resize(image, width as u32, height as u32, Filter::Bilinear);
            to_tensor(&[small], IMAGENET_MEAN, IMAGENET_STD, &Compute::cpu())?
                .pad_with_zeros(2, 0, size - height)?
                .pad_with_zeros(3, 0, size - width)
        });
        Tensor::cat(&squares.collect::<Result<Vec<_>>>()?, 0)?
            .to_dtype(self.compute.dtype)?
            .to_device(&self.compute.device)
    }

    /// The prompt's points, in pixels of the square.
    pub(super) fn points(&self, frame: &Frame) -> Vec<Point> {
        let [right, bottom] = frame.image.map(|side| side.saturating_sub(1) as f64);
        let places = match self.options.prompt {
            Prompt::Centre => vec![(right / 2.0, bottom / 2.0)],
            Prompt::Corners { margin } => {
                // On a small image corners meet in the middle and do not pass each other.
                let [x, y] =
                    [right, bottom].map(|side| f64::from(margin).min((side / 2.0).floor()));
                vec![
                    (x, y),
                    (right - x, y),
                    (x, bottom - y),
                    (right - x, bottom - y),
                ]
            }
        };
        let point = |(x, y): (f64, f64)| Point {
            x: x * frame.scaled[0] as f64 / frame.image[0] as f64,
            y: y * frame.scaled[1] as f64 / frame.image[1] as f64,
            inside: true,
        };
        places.into_iter().map(point).collect()
    }

    /// The chosen alternative's logits, [size / 4, size / 4].
    pub(super) fn choose(&self, prediction: &Prediction) -> Result<Tensor> {
        // The first mask is for prompts that leave no doubt.
        let alternatives = prediction.quality.get(1..).unwrap_or_default();
        let best = |best: usize, index: usize| {
            if alternatives.get(index) > alternatives.get(best) {
                index
            } else {
                best
            }
        };
        let index = match self.options.mask {
            MaskChoice::Alternative(index) => index,
            MaskChoice::Best => (0..alternatives.len()).fold(0, best),
        };
        prediction.logits.get(index + 1)
    }

    fn find(&self, pictures: &[Picture]) -> Result<Vec<GrayImage>> {
        let images: Vec<&RgbImage> = pictures.iter().map(|picture| &picture.pixels).collect();
        let maps = self.sam.encode(&self.prepare(&images)?)?;
        let masks = images.iter().enumerate().map(|(index, image)| {
            let frame = Frame::new(image, self.sam.image_size());
            let maps = maps.narrow(0, index, 1)?;
            let prediction = self.sam.predict(&maps, &self.points(&frame))?;
            let logits = frame.enlarge(&self.choose(&prediction)?)?;
            let logits = match self.options.prompt {
                Prompt::Corners { .. } => logits.neg()?,
                Prompt::Centre => logits,
            };
            soft_mask(&logits)
        });
        masks.collect()
    }
}

impl Segmenter for SamSegmenter {
    fn name(&self) -> &str {
        &self.name
    }

    fn segment(&self, pictures: &[Picture]) -> std::result::Result<Vec<GrayImage>, ModelError> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        self.find(pictures)
            .map_err(ModelError::computing(&self.name))
    }
}

/// How an image lies in the network's square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Width and height of the image.
    pub(super) image: [usize; 2],
    /// Width and height of the part of the square that it fills, from the upper left corner.
    pub(super) scaled: [usize; 2],
    size: usize,
}

impl Frame {
    pub(super) fn new(image: &RgbImage, size: usize) -> Frame {
        let image = [
            image.width().max(1) as usize,
            image.height().max(1) as usize,
        ];
        let scale = size as f64 / image[0].max(image[1]) as f64;
        // Rounded as the authors do it, but for images so narrow that nothing would be left.
        let scaled = image.map(|side| ((side as f64 * scale + 0.5) as usize).clamp(1, size));
        Frame {
            image,
            scaled,
            size,
        }
    }

    /// Logits of the square, [height, width], at the size of the image.
    pub(super) fn enlarge(&self, logits: &Tensor) -> Result<Tensor> {
        let square = logits.unsqueeze(0)?.unsqueeze(0)?;
        let square = upsample_bilinear(&square, self.size, self.size, false)?;
        let part = square
            .narrow(2, 0, self.scaled[1])?
            .narrow(3, 0, self.scaled[0])?;
        let [width, height] = self.image;
        upsample_bilinear(&part, height, width, false)?
            .squeeze(0)?
            .squeeze(0)
    }
}

/// The logistic function of logits [height, width], in steps of 1/255.
fn soft_mask(logits: &Tensor) -> Result<GrayImage> {
    let (height, width) = logits.dims2()?;
    let shares = candle_nn::ops::sigmoid(&logits.to_device(&Device::Cpu)?)?;
    let values: Vec<f32> = (shares * 255.0)?.flatten_all()?.to_vec1()?;
    let bytes = values.into_iter().map(|value| value.round() as u8);
    GrayImage::from_raw(width as u32, height as u32, bytes.collect())
        .ok_or_else(|| candle_core::Error::Msg("a mask of the wrong length".into()))
}
