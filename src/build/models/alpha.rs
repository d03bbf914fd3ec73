//! The image's own transparency, taken for a segmenter's mask.

use image::GrayImage;

use super::{ModelError, Segmenter};
use crate::build::picture::Picture;

/// Gives each picture's own transparency.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alpha;

impl Segmenter for Alpha {
    fn name(&self) -> &str {
        "alpha"
    }

    /// # Errors
    /// [`ModelError::Picture`] for a picture without transparency, or with one of another size.
    fn segment(&self, pictures: &[Picture]) -> Result<Vec<GrayImage>, ModelError> {
        let masks = pictures.iter().map(|picture| {
            let (width, height) = picture.pixels.dimensions();
            let error = |problem: String| ModelError::Picture {
                model: self.name().to_owned(),
                problem: format!(
                    "a picture of {:?}, {width}x{height}, {problem}",
                    picture.category
                ),
            };
            let alpha = picture.alpha.as_ref().ok_or_else(|| {
                error(
                    "has no transparency of its own; PNG or WebP with an alpha channel was \
                     expected, or another segmenter"
                        .into(),
                )
            })?;
            match alpha.dimensions() == (width, height) {
                true => Ok(alpha.clone()),
                false => Err(error(format!(
                    "has a transparency of {}x{}",
                    alpha.width(),
                    alpha.height()
                ))),
            }
        });
        masks.collect()
    }
}

#[cfg(test)]
mod tests {
    use image::{Luma, RgbImage};

    use super::*;

    fn picture(alpha: Option<GrayImage>) -> Picture {
        Picture {
            pixels: RgbImage::new(3, 2),
            alpha,
            category: "tea cup".into(),
        }
    }

    #[test]
    fn transparency_is_the_mask() {
        let alpha = GrayImage::from_fn(3, 2, |x, y| Luma([(x + 10 * y) as u8]));
        let masks = Alpha.segment(&[picture(Some(alpha.clone()))]).unwrap();
        assert_eq!(masks, [alpha]);
        assert!(Alpha.segment(&[]).unwrap().is_empty());
    }

    #[test]
    fn pictures_without_it_are_told() {
        let told = |alpha| Alpha.segment(&[picture(alpha)]).unwrap_err().to_string();
        let none = told(None);
        assert!(
            none.contains("\"tea cup\", 3x2, has no transparency"),
            "{none}"
        );
        let other = told(Some(GrayImage::new(2, 2)));
        assert!(other.ends_with("has a transparency of 2x2"), "{other}");
    }
}
