//! What a batch's images look like: element type, layout and normalisation (rule 15).

use half::{bf16, f16};

use super::error::ComposeError;

/// Element type of the images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ElementType {
    /// The 8-bit pixels themselves; mean and std do not apply.
    #[default]
    U8,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE single precision.
    F32,
}

impl ElementType {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            ElementType::U8 => 1,
            ElementType::F16 | ElementType::BF16 => 2,
            ElementType::F32 => 4,
        }
    }
}

/// Order of the images' dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `[batch, 3, height, width]`.
    #[default]
    Chw,
    /// `[batch, height, width, 3]`.
    Hwc,
}

/// Form of the masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskOutput {
    /// No masks: only areas and boxes.
    None,
    /// One bit a pixel, each row in whole 32-bit words.
    #[default]
    Bits,
    /// COCO run lengths, which need no memory per pixel of the canvas.
    Rle,
}

/// Everything that a user chooses about a batch's form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputSpec {
    /// Element type of the images.
    pub element: ElementType,
    /// Order of the images' dimensions.
    pub layout: Layout,
    /// Subtracted from v/255, per channel.
    pub mean: [f64; 3],
    /// Divides after that, per channel.
    pub std: [f64; 3],
    /// Form of the masks.
    pub masks: MaskOutput,
}

impl Default for OutputSpec {
    fn default() -> OutputSpec {
        OutputSpec {
            element: ElementType::default(),
            layout: Layout::default(),
            mean: [0.0; 3],
            std: [1.0; 3],
            masks: MaskOutput::default(),
        }
    }
}

impl OutputSpec {
    /// Refuses means and deviations that give no finite numbers.
    ///
    /// # Errors
    /// [`ComposeError::Output`] with the field and its value.
    pub fn check(&self) -> Result<(), ComposeError> {
        let error = |field, values: [f64; 3], expected| {
            Err(ComposeError::Output {
                field,
                problem: format!("{values:?}; {expected} were expected"),
            })
        };
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return error("mean", self.mean, "finite numbers");
        }
        if !self.std.iter().all(|std| std.is_finite() && *std != 0.0) {
            return error("std", self.std, "finite numbers other than 0");
        }
        Ok(())
    }

    /// Rule 15's table: for channel c and value v, (v/255 − mean\[c\])/std\[c\].
    pub fn table<T: Copy>(&self, round: impl Fn(f64) -> T) -> [[T; 256]; 3] {
        let entry = |channel: usize, value: usize| {
            round((value as f64 / 255.0 - self.mean[channel]) / self.std[channel])
        };
        std::array::from_fn(|channel| std::array::from_fn(|value| entry(channel, value)))
    }
}

/// Rounds once, to nearest even.
pub fn round_to_f16(value: f64) -> f16 {
    f16::from_f32(round_to_odd(value))
}

/// Rounds once, to nearest even.
pub fn round_to_bf16(value: f64) -> bf16 {
    bf16::from_f32(round_to_odd(value))
}

/// Single precision, inexact values rounded to the neighbour whose last bit is 1. A second
/// rounding to a format at least two bits narrower then gives what one rounding would have given
/// (Boldo and Melquiond, 2008), which rounding to nearest twice does not.
fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if back == value || nearest.to_bits() & 1 == 1 || !nearest.is_finite() {
        return nearest;
    }
    let bits = nearest.to_bits();
    if back.abs() < value.abs() {
        f32::from_bits(bits + 1)
    } else {
        f32::from_bits(bits - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_is_broken_by_bits_that_single_precision_loses() {
        // 1 + 2^-11 lies half way between two halves; 2^-40 more must round up, not to even.
        let above = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(round_to_f16(above).to_bits(), 0x3c01);
        assert_eq!(round_to_f16(1.0 + 2f64.powi(-11)).to_bits(), 0x3c00);
        let below = 1.0 + 3.0 * 2f64.powi(-11) - 2f64.powi(-40);
        assert_eq!(round_to_f16(below).to_bits(), 0x3c01);
        assert_eq!(
            round_to_bf16(1.0 + 2f64.powi(-8) + 2f64.powi(-40)).to_bits(),
            0x3f81
        );
        assert_eq!(round_to_f16(-above).to_bits(), 0xbc01);
        assert_eq!(round_to_f16(0.0).to_bits(), 0);
    }

    #[test]
    fn useless_deviations_are_refused() {
        let spec = OutputSpec {
            std: [1.0, 0.0, 1.0],
            ..OutputSpec::default()
        };
        assert!(spec.check().unwrap_err().to_string().contains("`std`"));
    }
}
