//! Mask bits of one sample.
//!
//! Most of a mask is nothing: an object fills a small part of its canvas. Batches use their memory
//! again, so each mask remembers where it was written, and only that is cleared for the next one.

use super::error::ComposeError;
use crate::geometry::Rect;

/// The masks of a sample's instances, one after another, and memory for those of larger samples.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    bits: Vec<u32>,
    /// Words of a row and rows of a mask.
    stride: usize,
    height: usize,
    /// The canvas pixels of each mask outside which no bit is set.
    written: Vec<Rect>,
}

impl Masks {
    /// Makes room for `count` masks of `height` rows of `stride` words.
    ///
    /// # Errors
    /// [`ComposeError::Memory`].
    pub fn reserve(
        &mut self,
        count: usize,
        stride: usize,
        height: usize,
    ) -> Result<(), ComposeError> {
        if (self.stride, self.height) != (stride, height) {
            self.bits.clear();
            self.written.clear();
            (self.stride, self.height) = (stride, height);
        }
        let length = count.saturating_mul(stride).saturating_mul(height);
        let missing = length.saturating_sub(self.bits.len());
        self.bits
            .try_reserve(missing)
            .map_err(|_| ComposeError::Memory {
                what: "masks",
                bytes: length.saturating_mul(size_of::<u32>()),
            })?;
        self.bits.resize(self.bits.len() + missing, 0);
        let count = count.max(self.written.len());
        self.written.resize(count, Rect::default());
        Ok(())
    }

    /// The first `count` masks.
    pub fn bits(&self, count: usize) -> &[u32] {
        &self.bits[..count * self.stride * self.height]
    }

    /// Mask number `index` of those that were reserved, without a bit set. All that will be set lies
    /// within `rect`, or in the words that it begins and ends in.
    pub fn blank(&mut self, index: usize, rect: Rect) -> &mut [u32] {
        let size = self.stride * self.height;
        let mask = &mut self.bits[index * size..][..size];
        let written = std::mem::replace(&mut self.written[index], rect);
        if !written.is_empty() {
            let words = written.x0 as usize / 32..(written.x1 as usize).div_ceil(32);
            for y in written.y0..written.y1 {
                mask[y as usize * self.stride..][words.clone()].fill(0);
            }
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_that_is_used_again_is_blank() {
        let mut masks = Masks::default();
        masks.reserve(2, 3, 5).unwrap();
        let rect = Rect {
            x0: 33,
            y0: 1,
            x1: 70,
            y1: 4,
        };
        for index in [0, 1, 1, 0] {
            let mask = masks.blank(index, rect);
            assert_eq!(mask, [0; 15]);
            for y in 1..4 {
                mask[3 * y + 1..3 * y + 3].fill(u32::MAX);
            }
        }
        // More of them, and others of as many words.
        masks.reserve(4, 3, 5).unwrap();
        assert_eq!(masks.blank(3, rect), [0; 15]);
        assert_eq!(masks.bits(2).iter().filter(|&&word| word != 0).count(), 12);
        masks.reserve(1, 5, 3).unwrap();
        assert_eq!(masks.blank(0, Rect::default()), [0; 15]);
    }
}
