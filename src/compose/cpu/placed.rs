//! The scene's masks on the canvas (rule 5): which texels its columns and rows show.
//!
//! Nearest texels rise or fall along an axis, so the pixels that show a run of texels are a run, and
//! masks are placed run by run instead of pixel by pixel.

use crate::compose::encode::{EncodedInstance, EncodedSample};
use crate::compose::rules;
use crate::geometry::Rect;

/// The canvas pixels of one axis that show each texel of level 0.
#[derive(Debug, Default)]
struct Axis {
    /// For each texel, and behind the last one, how many pixels inside the scene show a lower one.
    before: Vec<i32>,
    /// The first canvas pixel inside the scene, and the one behind the last.
    inside: [i32; 2],
    is_flipped: bool,
}

impl Axis {
    /// Rule 5 for the pixels `from..to` of an axis.
    fn place(&mut self, sample: &EncodedSample, axis: usize, (from, to): (i32, i32)) {
        let sampling = &sample.sampling;
        self.is_flipped = axis == 0 && sampling.flip != 0;
        self.inside = [from, to];
        let texels = sample.size[axis] as usize;
        self.before.clear();
        self.before.resize(texels + 1, 0);
        let (offset, resized) = (sampling.offset[axis], sampling.resized[axis]);
        for position in from..to {
            let doubled = rules::doubled_distance(position, offset, resized, self.is_flipped);
            let texel = rules::nearest(doubled, sample.nearest_step[axis], sample.size[axis]);
            self.before[texel as usize + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut self.before {
            sum += *count;
            *count = sum;
        }
    }

    /// The pixels that show texels `start..end`.
    fn pixels(&self, start: u32, end: u32) -> (i32, i32) {
        let [from, to] = self.inside;
        let [start, end] = [start, end].map(|texel| {
            let last = self.before.len().saturating_sub(1);
            let before = self.before.get((texel as usize).min(last));
            before.copied().unwrap_or_default()
        });
        if self.is_flipped {
            (to - end, to - start)
        } else {
            (from + start, from + end)
        }
    }
}

/// The scene of one sample, placed.
#[derive(Debug, Default)]
pub(super) struct PlacedScene {
    columns: Axis,
    rows: Axis,
    /// The texel row of each canvas row inside.
    texel_rows: Vec<u32>,
}

impl PlacedScene {
    /// Rule 5 for all columns and rows of the scene on the canvas.
    pub fn place(&mut self, sample: &EncodedSample) {
        let inside = match sample.inside.is_empty() {
            true => Rect::default(),
            false => sample.inside,
        };
        self.columns.place(sample, 0, (inside.x0, inside.x1));
        self.rows.place(sample, 1, (inside.y0, inside.y1));
        self.texel_rows.clear();
        for (texel, pair) in (0..).zip(self.rows.before.windows(2)) {
            let count = (pair[1] - pair[0]) as usize;
            self.texel_rows.extend(std::iter::repeat_n(texel, count));
        }
    }

    /// The canvas pixels that show texels of the box x, y, width, height.
    pub fn rect_of(&self, [x, y, width, height]: [u32; 4]) -> Rect {
        let (x0, x1) = self.columns.pixels(x, x.saturating_add(width));
        let (y0, y1) = self.rows.pixels(y, y.saturating_add(height));
        let rect = Rect { x0, y0, x1, y1 };
        match rect.is_empty() {
            true => Rect::default(),
            false => rect,
        }
    }

    /// The texel row that canvas row `y`, which is inside, shows.
    pub fn texel_row(&self, y: i32) -> u32 {
        self.texel_rows[(y - self.rows.inside[0]) as usize]
    }

    /// Sets the bits of the pixels that show one mask row; the first bit of `words` is canvas column
    /// `origin`, which is no further right than any of them.
    pub fn cover_row(
        &self,
        instance: &EncodedInstance,
        mask: &[u8],
        texel_row: u32,
        origin: i32,
        words: &mut [u32],
    ) {
        let [x, y, width, _] = instance.bounding_box;
        // The first bit of this row of the box; bits are counted from the mask's first byte.
        let row_start = (texel_row - y) as usize * width as usize;
        for_each_run(mask, row_start, width, |start, end| {
            let (from, to) = self.columns.pixels(x + start, x + end);
            set_bits(words, (from - origin) as usize, (to - origin) as usize);
        });
    }
}

/// Calls `run` with the first and the end of each run of set bits among the `length` bits from bit
/// `start` of `mask` on, in pieces of up to 32 bits.
fn for_each_run(mask: &[u8], start: usize, length: u32, mut run: impl FnMut(u32, u32)) {
    for first in (0..length).step_by(32) {
        let count = (length - first).min(32);
        let mut bits = bits_from(mask, start + first as usize) & run_of_bits(0, count);
        while bits != 0 {
            let from = bits.trailing_zeros();
            let to = from + (!(bits >> from)).trailing_zeros().min(32 - from);
            run(first + from, first + to);
            bits &= !run_of_bits(from, to);
        }
    }
}

/// The 32 bits from bit `start` of `mask` on; behind its end there are none.
fn bits_from(mask: &[u8], start: usize) -> u32 {
    let bytes = &mask[(start / 8).min(mask.len())..];
    let bits = match bytes.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => {
            let bytes = bytes.iter().rev();
            bytes.fold(0, |bits, &byte| bits << 8 | u64::from(byte))
        }
    };
    (bits >> (start % 8)) as u32
}

/// Bits `start..end` of a word of 32.
fn run_of_bits(start: u32, end: u32) -> u32 {
    let below = |bit: u32| ((1u64 << bit) - 1) as u32;
    below(end) & !below(start)
}

fn set_bits(words: &mut [u32], start: usize, end: usize) {
    if start >= end {
        return;
    }
    let (first, last) = (start / 32, (end - 1) / 32);
    for (number, word) in (first..).zip(&mut words[first..=last]) {
        let from = if number == first { start % 32 } else { 0 };
        let to = if number == last {
            (end - 1) % 32 + 1
        } else {
            32
        };
        *word |= run_of_bits(from as u32, to as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_at_any_bit() {
        let mask: Vec<u8> = (0..40u32)
            .map(|byte| ((byte * byte * 37) >> 3) as u8)
            .collect();
        let bit = |at: usize| mask[at / 8] >> (at % 8) & 1 == 1;
        for start in 0..70 {
            for length in [0, 1, 31, 32, 33, 64, 100, 250] {
                let mut found = vec![false; length];
                for_each_run(&mask, start, length as u32, |from, to| {
                    assert!(from < to);
                    found[from as usize..to as usize].fill(true);
                });
                let expected: Vec<bool> = (start..start + length).map(bit).collect();
                assert_eq!(found, expected, "{length} bits from {start}");
            }
        }
        let mut all = Vec::new();
        for_each_run(&[255; 8], 0, 64, |from, to| all.push((from, to)));
        assert_eq!(all, [(0, 32), (32, 64)]);
    }

    #[test]
    fn bits_are_set_across_words() {
        for start in 0..70 {
            for end in start..96 {
                let mut words = [0; 3];
                set_bits(&mut words, start, end);
                for bit in 0..96 {
                    let is_set = words[bit / 32] >> (bit % 32) & 1 == 1;
                    assert_eq!(is_set, (start..end).contains(&bit));
                }
            }
        }
    }
}
