//! What is seen of each instance: areas, boxes and mask bits after occlusion (rules 5, 7, 13 and 14).
//!
//! Masks are bits, 32 pixels to a word. From the last layer to the first, each shows what of its mask no
//! later one has; scene instances are held against what all layers have together. Until the sample is
//! done, every layer takes a bit for each pixel of its extent on the canvas.

use super::layer::LayerPixels;
use super::placed::PlacedScene;
use super::rows;
use crate::compose::batch::words_of;
use crate::compose::encode::{EncodedInstance, EncodedSample};
use crate::compose::error::ComposeError;
use crate::compose::simd::Simd;
use crate::geometry::{Rect, Size};

/// Area and tight box of some mask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub area: u32,
    pub rect: Rect,
}

impl Measure {
    const NOTHING: Measure = Measure {
        area: 0,
        rect: Rect::NOTHING,
    };
}

/// Scratch and results of one sample.
#[derive(Debug, Default)]
pub(super) struct Visible {
    layers: Vec<LayerMask>,
    /// The mask bits of all layers, each mask's rows behind one another, and what is left of earlier
    /// samples behind them.
    bits: Vec<u32>,
    /// A bit for each canvas pixel that a layer's mask has, rows of [`words_of`] the width.
    owned: Vec<u32>,
    /// Words of a row of `owned`.
    stride: usize,
    scene: PlacedScene,
    cover: Vec<u32>,
    tallies: [Tally; 2],
}

/// A layer's mask on the canvas.
#[derive(Clone, Copy, Debug)]
struct LayerMask {
    /// Canvas pixels around the mask, of which no row is without a bit at the top or at the bottom.
    rect: Rect,
    /// Where its bits begin.
    start: usize,
    /// Before occlusion: rule 14's full area and box0.
    full: Measure,
    /// After it.
    seen: Measure,
}

impl LayerMask {
    /// Where the bits of the next mask begin.
    fn end(&self) -> usize {
        let (first, end) = words_around(self.rect);
        self.start + (end - first) * self.rect.height()
    }
}

/// Where mask bits go: rows of `stride` words that begin at canvas position `x0` (a multiple of
/// 32), `y0`.
pub(super) struct Slot<'a> {
    pub x0: i32,
    pub y0: i32,
    pub stride: usize,
    pub bits: &'a mut [u32],
}

impl Slot<'_> {
    /// The words of canvas row `y` from canvas word `word` on, `count` of them.
    fn words(&mut self, y: i32, word: usize, count: usize) -> &mut [u32] {
        let start = (y - self.y0) as usize * self.stride + word - self.x0 as usize / 32;
        &mut self.bits[start..][..count]
    }
}

/// The words of a row that hold a rectangle's columns: the first and the one behind the last.
fn words_around(rect: Rect) -> (usize, usize) {
    (rect.x0 as usize / 32, words_of(rect.x1 as usize))
}

/// Measures mask bits that come row by row.
#[derive(Debug, Default)]
struct Tally {
    area: u32,
    /// All rows together: which columns have a bit.
    columns: Vec<u32>,
    /// The first row with a bit, and the one behind the last.
    rows: Option<(i32, i32)>,
}

impl Tally {
    fn begin(&mut self, words: usize) {
        self.area = 0;
        self.rows = None;
        self.columns.clear();
        self.columns.resize(words, 0);
    }

    /// Row `y`, of whose words `count` bits are set.
    fn row(&mut self, y: i32, count: u32) {
        self.area += count;
        if count > 0 {
            let first = self.rows.map_or(y, |(first, _)| first);
            self.rows = Some((first, y + 1));
        }
    }

    /// What all rows were together, the first word being canvas word `first`.
    fn measure(&self, first: usize) -> Measure {
        let columns = &self.columns;
        let (Some((y0, y1)), Some(left), Some(right)) = (
            self.rows,
            columns.iter().position(|&word| word != 0),
            columns.iter().rposition(|&word| word != 0),
        ) else {
            return Measure::NOTHING;
        };
        let rect = Rect {
            x0: (32 * (first + left) as u32 + columns[left].trailing_zeros()) as i32,
            y0,
            x1: (32 * (first + right + 1) as u32 - columns[right].leading_zeros()) as i32,
            y1,
        };
        Measure {
            area: self.area,
            rect,
        }
    }
}

impl Visible {
    /// Forgets the layers of the last sample; the next is on a canvas of this size.
    pub fn reset(&mut self, canvas: Size) {
        self.layers.clear();
        self.stride = words_of(canvas.width() as usize);
        self.owned.clear();
        self.owned.resize(self.stride * canvas.height() as usize, 0);
    }

    /// Takes the mask of the next layer (rule 8), as it is on the canvas. Its pixels are known in `rect`.
    ///
    /// # Errors
    /// [`ComposeError::Memory`].
    pub fn add_layer(
        &mut self,
        simd: Simd,
        pixels: &LayerPixels,
        rect: Rect,
        canvas: Rect,
    ) -> Result<(), ComposeError> {
        // A mask that lies wholly outside can still reach the canvas through its blur.
        let rect = rect.intersect(canvas).or_zero();
        let (first, end) = words_around(rect);
        let words = end - first;
        let start = self.layers.last().map_or(0, LayerMask::end);
        self.make_room(start.saturating_add(words * rect.height()))?;
        let tally = &mut self.tallies[0];
        tally.begin(words);
        let rows = self.bits[start..].chunks_exact_mut(words.max(1));
        for (y, row) in (rect.y0..rect.y1).zip(rows) {
            let alpha = pixels.alpha(y, (rect.x0, rect.x1));
            rows::mask_bits(simd, alpha, rect.width(), rect.x0 as u32 % 32, row);
            let count = rows::tally(simd, row, &mut tally.columns);
            tally.row(y, count);
        }
        let full = tally.measure(first);
        // Rows without a bit are left out.
        let rows = full.rect.or_zero();
        let layer = LayerMask {
            rect: Rect {
                y0: rows.y0,
                y1: rows.y1,
                ..rect
            },
            start: start + (rows.y0 - rect.y0).max(0) as usize * words,
            full,
            seen: full,
        };
        self.layers.push(layer);
        Ok(())
    }

    /// Makes room for so many words of mask bits.
    fn make_room(&mut self, words: usize) -> Result<(), ComposeError> {
        let missing = words.saturating_sub(self.bits.len());
        self.bits
            .try_reserve(missing)
            .map_err(|_| ComposeError::Memory {
                what: "masks of layers",
                bytes: words.saturating_mul(size_of::<u32>()),
            })?;
        self.bits.resize(self.bits.len() + missing, 0);
        Ok(())
    }

    /// Rule 13 for all layers, each of which then holds what is visible of it. Returns how many bytes
    /// that moved.
    pub fn occlude_layers(&mut self, simd: Simd) -> usize {
        let mut moved = 0;
        let tally = &mut self.tallies[0];
        for layer in self.layers.iter_mut().rev() {
            let rect = layer.rect;
            let (first, end) = words_around(rect);
            let words = end - first;
            tally.begin(words);
            let rows = self.bits[layer.start..].chunks_exact_mut(words.max(1));
            for (y, row) in (rect.y0..rect.y1).zip(rows) {
                let owned = &mut self.owned[y as usize * self.stride..][first..end];
                let count = rows::take_ownership(simd, row, owned, &mut tally.columns);
                tally.row(y, count);
            }
            layer.seen = tally.measure(first);
            // Both are read and written.
            moved += 16 * words * rect.height();
        }
        moved
    }

    /// Layer number `number` before and after occlusion.
    pub fn layer(&self, number: usize) -> (Measure, Measure) {
        let layer = &self.layers[number];
        (layer.full, layer.seen)
    }

    /// Writes the bits of what is visible of a layer, which lie within its box.
    pub fn write_layer(&self, number: usize, slot: &mut Slot<'_>) {
        let layer = &self.layers[number];
        let (rect, seen) = (layer.rect, layer.seen.rect);
        let (first, end) = words_around(rect);
        let (seen_first, seen_end) = words_around(seen);
        for y in seen.y0..seen.y1 {
            let row = (y - rect.y0) as usize * (end - first);
            let bits = &self.bits[layer.start + row..][seen_first - first..seen_end - first];
            slot.words(y, seen_first, bits.len()).copy_from_slice(bits);
        }
    }

    /// Rule 5 for all columns and rows of the scene on the canvas.
    pub fn place_scene(&mut self, sample: &EncodedSample) {
        self.scene.place(sample);
    }

    /// The canvas pixels that can show the instance: those whose nearest texel lies in its box.
    pub fn instance_rect(&self, instance: &EncodedInstance) -> Rect {
        self.scene.rect_of(instance.bounding_box)
    }

    /// Rules 7 and 13 for one instance: writes its visible bits within `rect`, which comes from
    /// [`Visible::instance_rect`], and returns what it covers before and after occlusion.
    pub fn instance(
        &mut self,
        simd: Simd,
        (instance, mask): (&EncodedInstance, &[u8]),
        rect: Rect,
        slot: &mut Slot<'_>,
    ) -> (Measure, Measure) {
        let (first, end) = words_around(rect);
        self.cover.clear();
        self.cover.resize(end - first, 0);
        let [full, seen] = &mut self.tallies;
        full.begin(end - first);
        seen.begin(end - first);
        let (mut covered_row, mut covered) = (None, 0);
        for y in rect.y0..rect.y1 {
            let texel_row = self.scene.texel_row(y);
            // An enlarged scene shows each of its rows several times.
            if covered_row != Some(texel_row) {
                self.cover.fill(0);
                let origin = 32 * first as i32;
                self.scene
                    .cover_row(instance, mask, texel_row, origin, &mut self.cover);
                covered = rows::tally(simd, &self.cover, &mut full.columns);
                covered_row = Some(texel_row);
            }
            full.row(y, covered);
            let owned = &self.owned[y as usize * self.stride..][first..end];
            let out = slot.words(y, first, end - first);
            let visible = rows::occlude(simd, &self.cover, owned, out, &mut seen.columns);
            seen.row(y, visible);
        }
        (full.measure(first), seen.measure(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_the_tight_box() {
        let mut tally = Tally::default();
        for (left, right) in [(0, 0), (0, 95), (31, 32), (64, 65), (95, 95)] {
            tally.begin(3);
            assert_eq!(tally.measure(1).area, 0);
            assert!(tally.measure(1).rect.is_empty());
            for y in 0..9 {
                let mut row = [0u32; 3];
                if y == 3 {
                    row[left / 32] |= 1 << (left % 32);
                }
                if y == 6 {
                    row[right / 32] |= 1 << (right % 32);
                }
                let count = rows::tally(Simd::Baseline, &row, &mut tally.columns);
                tally.row(y, count);
            }
            let measure = tally.measure(1);
            let (x0, x1) = (32 + left as i32, 33 + right as i32);
            assert_eq!(measure.area, 2);
            assert_eq!(
                measure.rect,
                Rect {
                    x0,
                    y0: 3,
                    x1,
                    y1: 7
                }
            );
        }
    }
}
