//! Colour jitter and matching, each as one matrix (rule 6).
//!
//! Everything here ends in an [`Affine`] transform of a pixel's red, green and blue. Transforms are
//! chained in double precision and rounded once, by [`Affine::to_matrix`]; a back end then only
//! applies integers. Only the result is clamped to 0..=255, not what lies between two steps.

mod luma;
#[cfg(test)]
mod tests;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::plan::ColorMatrix;

pub use luma::{Luma, SceneMip, matching};

/// The weights of red, green and blue in luma, as Rec. 601 has them.
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];
/// What contrast leaves as it is: the middle of 0..=255.
const MID_GREY: f64 = 127.5;
/// 1 in a plan's matrices.
const ONE: f64 = 1024.0;
/// Greatest |m| and |b| in a plan's matrices (rule 6).
const MAX_FACTOR: f64 = 8192.0;
const MAX_BIAS: f64 = (1 << 20) as f64;
/// Greatest amount of a jitter: the factor 1 + 7 is the largest that rule 6 can hold.
const MAX_AMOUNT: f64 = 7.0;

/// An affine transform of colours: out = M·rgb + b.
///
/// One row a channel of the result, [m0, m1, m2, b], for red, green and blue in 0..=255; b is in
/// grey levels.
///
/// ```
/// use pastebank::plan::ColorMatrix;
/// use pastebank::sampler::colour::Affine;
/// let brighter = Affine([[1.5, 0., 0., 0.], [0., 1.5, 0., 0.], [0., 0., 1.5, 0.]]);
/// let lifted = Affine([[1., 0., 0., 10.], [0., 1., 0., 10.], [0., 0., 1., 10.]]);
/// assert_eq!(brighter.then(&lifted).apply([100., 0., 20.]), [160., 10., 40.]);
/// assert_eq!(Affine::default().to_matrix(), ColorMatrix::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 4]; 3]);

impl Default for Affine {
    /// The one that changes nothing.
    fn default() -> Affine {
        Affine::grey(1.0, 0.0)
    }
}

impl From<ColorMatrix> for Affine {
    fn from(matrix: ColorMatrix) -> Affine {
        Affine(matrix.0.map(|row| row.map(|value| f64::from(value) / ONE)))
    }
}

impl Affine {
    /// Each channel times `gain`, plus `bias` grey levels.
    fn grey(gain: f64, bias: f64) -> Affine {
        let mut rows = [[0.0, 0.0, 0.0, bias]; 3];
        for (channel, row) in rows.iter_mut().enumerate() {
            row[channel] = gain;
        }
        Affine(rows)
    }

    /// Away from or towards the pixel's own luma: 0 is grey, 1 changes nothing.
    fn saturation(factor: f64) -> Affine {
        let Affine(mut rows) = Affine::grey(factor, 0.0);
        for row in &mut rows {
            for (value, weight) in row.iter_mut().zip(LUMA) {
                *value += (1.0 - factor) * weight;
            }
        }
        Affine(rows)
    }

    /// Rodrigues' rotation by `turns` about the grey axis (1, 1, 1); positive ones turn red into
    /// green.
    fn hue(turns: f64) -> Affine {
        let (sin, cos) = (turns * std::f64::consts::TAU).sin_cos();
        let (mean, cross) = ((1.0 - cos) / 3.0, sin / 3f64.sqrt());
        let (same, next, previous) = (cos + mean, mean - cross, mean + cross);
        Affine([
            [same, next, previous, 0.0],
            [previous, same, next, 0.0],
            [next, previous, same, 0.0],
        ])
    }

    /// The colour that `rgb`, in 0..=255, becomes; it is not clamped.
    pub fn apply(&self, [red, green, blue]: [f64; 3]) -> [f64; 3] {
        self.0
            .map(|[m0, m1, m2, bias]| m0 * red + m1 * green + m2 * blue + bias)
    }

    /// This transform first, then `next`.
    pub fn then(&self, next: &Affine) -> Affine {
        let column = |column: usize| self.0.map(|row| row[column]);
        Affine(next.0.map(|[m0, m1, m2, bias]| {
            let through = |values: [f64; 3]| m0 * values[0] + m1 * values[1] + m2 * values[2];
            let [c0, c1, c2, c3] = [0, 1, 2, 3].map(|index| through(column(index)));
            [c0, c1, c2, c3 + bias]
        }))
    }

    /// The matrix of a plan: rounded to 1024ths, and clamped to the limits of rule 6, which are
    /// factors of ±8 and a bias of ±1024 grey levels.
    ///
    /// Applied by rule 6 it stays within one grey level of the transform where nothing was clamped:
    /// three factors that are half a 1024th off change 255 by at most 0.38, and the result is
    /// rounded by at most 0.5.
    pub fn to_matrix(&self) -> ColorMatrix {
        let rounded = |value: f64, limit: f64| (value * ONE).round().clamp(-limit, limit) as i32;
        ColorMatrix(self.0.map(|[m0, m1, m2, bias]| {
            let [m0, m1, m2] = [m0, m1, m2].map(|factor| rounded(factor, MAX_FACTOR));
            [m0, m1, m2, rounded(bias, MAX_BIAS)]
        }))
    }
}

/// Random changes of brightness, contrast, saturation and hue, in this order, as one matrix.
///
/// The amounts and their ranges are those of torchvision's `ColorJitter`; the default changes
/// nothing. What differs from torchvision, since a matrix that is fixed before any pixel is read
/// cannot do otherwise:
///
/// - Contrast turns about mid grey, 127.5. A matrix cannot know the image's mean, about which
///   torchvision turns.
/// - Hue is Rodrigues' rotation about the grey axis (1, 1, 1), where torchvision shifts the angle of
///   HSV, which is not linear. Both keep greys, and both are the same exchange of channels at a
///   third of a turn. Over 9³ evenly spaced colours the rotation is 5.0 grey levels a channel away
///   from the shift at 0.02 of a turn, 11.1 at 0.05 and 17.7 at 0.1; a rotation of the chroma of
///   YIQ, the other usual choice, is 5.8, 13.4 and 23.0 away.
/// - The order is fixed, and nothing is clamped between the steps.
///
/// ```
/// use pastebank::sampler::colour::ColorJitter;
/// let jitter: ColorJitter = serde_json::from_str(r#"{"brightness": 0.4, "hue": 0.05}"#)?;
/// assert_eq!((jitter.probability, jitter.contrast), (1.0, 0.0));
/// assert!(jitter.check().is_ok());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Probability that anything is changed at all, 0..=1. The default is 1: with all amounts 0
    /// that is nothing, and an amount that is set takes effect by itself, as in torchvision.
    pub probability: f64,
    /// b: all channels times a uniform factor of [max(0, 1−b), 1+b]; 0..=7.
    pub brightness: f64,
    /// c: the distance from mid grey times a uniform factor of [max(0, 1−c), 1+c]; 0..=7.
    pub contrast: f64,
    /// s: the distance from the pixel's Rec. 601 luma times a uniform factor of
    /// [max(0, 1−s), 1+s]; 0..=7.
    pub saturation: f64,
    /// h: colours turned about the grey axis by a uniform angle of [−h, h] turns; 0..=0.5.
    pub hue: f64,
}

impl Default for ColorJitter {
    fn default() -> ColorJitter {
        ColorJitter {
            probability: 1.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.0,
        }
    }
}

impl ColorJitter {
    /// Refuses settings out of their ranges.
    ///
    /// # Errors
    /// The field, and what was found in it and what was expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let settings = [
            ("probability", self.probability, 1.0),
            ("brightness", self.brightness, MAX_AMOUNT),
            ("contrast", self.contrast, MAX_AMOUNT),
            ("saturation", self.saturation, MAX_AMOUNT),
            ("hue", self.hue, 0.5),
        ];
        settings
            .into_iter()
            .find(|(_, value, greatest)| !(0.0..=*greatest).contains(value))
            .map_or(Ok(()), |(field, value, greatest)| {
                Err((field, format!("{value}; 0..={greatest}")))
            })
    }

    /// Draws a transform. It takes five numbers whatever the settings, so that changing one range
    /// changes none of the other factors, nor anything that is drawn later.
    pub fn draw(&self, draw: &mut impl Rng) -> Affine {
        let [applied, brightness, contrast, saturation, hue] =
            std::array::from_fn(|_| draw.random::<f64>());
        if applied >= self.probability {
            return Affine::default();
        }
        let contrast = factor(contrast, self.contrast);
        Affine::grey(factor(brightness, self.brightness), 0.0)
            .then(&Affine::grey(contrast, MID_GREY * (1.0 - contrast)))
            .then(&Affine::saturation(factor(saturation, self.saturation)))
            .then(&Affine::hue((2.0 * hue - 1.0) * self.hue))
    }
}

/// The number at `unit`, of 0..1, in [1 − amount, 1 + amount], whose lower end is at least 0.
fn factor(unit: f64, amount: f64) -> f64 {
    let least = (1.0 - amount).max(0.0);
    least + unit * (1.0 + amount - least)
}
