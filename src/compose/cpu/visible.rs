//! What is seen of each instance: areas, boxes and mask bits after occlusion (rules 5, 7 and 13).
//!
//! One pass over the top map serves all layers and leaves, as bits, where any layer is on top;
//! scene instances are held against those bits, 32 pixels at a time.

use super::compose::{Canvas, Full, NO_LAYER, nearest_texels};
use super::rows;
use crate::compose::batch::words_of;
use crate::compose::encode::{EncodedInstance, EncodedSample};
use crate::geometry::Rect;

/// Area and tight box of what is visible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub area: u32,
    pub rect: Rect,
}

const NOTHING_SEEN: Seen = Seen {
    area: 0,
    rect: Rect::NOTHING,
};

/// Scratch and results of one sample.
#[derive(Debug, Default)]
pub(super) struct Visible {
    /// Per layer, from the top map.
    pub layers: Vec<Seen>,
    /// A bit for each canvas pixel with a layer on top, rows of [`words_of`] the width.
    owned: Vec<u32>,
    columns: Vec<u32>,
    rows: Vec<u32>,
    cover: Vec<u32>,
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

impl Visible {
    /// Reads the top map within the layers' boxes.
    pub fn count_layers(&mut self, canvas: &Canvas, full: &[Full]) {
        self.layers.clear();
        self.layers.resize(full.len(), NOTHING_SEEN);
        let words = words_of(canvas.width);
        self.owned.clear();
        self.owned.resize(words * canvas.height, 0);
        let touched = full.iter().fold(Rect::NOTHING, |union, full| Rect {
            x0: union.x0.min(full.rect.x0),
            y0: union.y0.min(full.rect.y0),
            x1: union.x1.max(full.rect.x1),
            y1: union.y1.max(full.rect.y1),
        });
        if touched.is_empty() {
            return;
        }
        let (first, end) = (touched.x0 as usize / 32, words_of(touched.x1 as usize));
        for y in touched.y0..touched.y1 {
            let top = &canvas.top[y as usize * canvas.width..][..canvas.width];
            let owned = &mut self.owned[y as usize * words..][..words];
            for (word, owned) in owned.iter_mut().enumerate().take(end).skip(first) {
                *owned = count_word(&mut self.layers, top, word, y);
            }
        }
    }

    /// Rule 5 for all columns and rows of the scene on the canvas.
    pub fn place_scene(&mut self, sample: &EncodedSample) {
        let inside = sample.inside;
        if inside.is_empty() {
            self.columns.clear();
            self.rows.clear();
            return;
        }
        nearest_texels(sample, 0, (inside.x0, inside.x1), &mut self.columns);
        nearest_texels(sample, 1, (inside.y0, inside.y1), &mut self.rows);
    }

    /// The canvas pixels that can show the instance: those whose nearest texel lies in its box.
    pub fn instance_rect(&self, sample: &EncodedSample, instance: &EncodedInstance) -> Rect {
        let [x, y, width, height] = instance.bounding_box;
        // Nearest texels rise or fall along an axis, so those in the box lie side by side.
        let range = |texels: &[u32], start: u32, length: u32| {
            let within = |texel: &u32| *texel >= start && *texel - start < length;
            let first = texels.iter().position(within)?;
            let last = texels.iter().rposition(within)?;
            Some((first as i32, last as i32 + 1))
        };
        let found = range(&self.columns, x, width).zip(range(&self.rows, y, height));
        found.map_or(Rect::default(), |((x0, x1), (y0, y1))| Rect {
            x0: sample.inside.x0 + x0,
            y0: sample.inside.y0 + y0,
            x1: sample.inside.x0 + x1,
            y1: sample.inside.y0 + y1,
        })
    }

    /// Rules 7 and 13 for one instance: writes its visible bits within `rect`, which comes from
    /// [`Visible::instance_rect`], and returns what it covers before and after occlusion.
    pub fn instance(
        &mut self,
        sample: &EncodedSample,
        (instance, mask): (&EncodedInstance, &[u8]),
        rect: Rect,
        canvas_width: usize,
        slot: &mut Slot<'_>,
    ) -> (Full, Seen) {
        let mut full = Full {
            area: 0,
            rect: Rect::NOTHING,
        };
        let mut seen = NOTHING_SEEN;
        let words = words_of(canvas_width);
        let (first, end) = (rect.x0 as usize / 32, words_of(rect.x1 as usize));
        self.cover.clear();
        self.cover.resize(end - first, 0);
        let mut covered_row = None;
        for y in rect.y0..rect.y1 {
            let texel_row = self.rows[(y - sample.inside.y0) as usize];
            // An enlarged scene shows each of its rows several times.
            if covered_row != Some(texel_row) {
                let left = (rect.x0 - sample.inside.x0) as usize;
                let columns = &self.columns[left..][..rect.width()];
                let start = rect.x0 as usize - 32 * first;
                cover_row(instance, mask, texel_row, columns, start, &mut self.cover);
                covered_row = Some(texel_row);
            }
            let owned = &self.owned[y as usize * words + first..y as usize * words + end];
            let out = slot.words(y, first, end - first);
            let [covered, visible] = rows::occlude(&self.cover, owned, out);
            full.area += covered;
            seen.area += visible;
            include_bits(&mut full.rect, y, first, &self.cover);
            include_bits(&mut seen.rect, y, first, out);
        }
        (full, seen)
    }
}

/// The bits of one mask row under the given nearest columns, the first at bit `start` of `words`.
fn cover_row(
    instance: &EncodedInstance,
    mask: &[u8],
    texel_row: u32,
    columns: &[u32],
    start: usize,
    words: &mut [u32],
) {
    let [x, y, width, _] = instance.bounding_box;
    // The first bit of this row of the box; bits are counted from the mask's first byte.
    let row_start = (texel_row - y) as usize * width as usize;
    words.fill(0);
    for (position, &column) in (start..).zip(columns) {
        let bit = row_start + (column - x) as usize;
        let set = u32::from(mask[bit / 8] >> (bit % 8) & 1);
        words[position / 32] |= set << (position % 32);
    }
}

/// Grows `rect` by the bits that are set in a row of words, the first of which is canvas word
/// `first_word`.
fn include_bits(rect: &mut Rect, y: i32, first_word: usize, words: &[u32]) {
    let Some(first) = words.iter().position(|&word| word != 0) else {
        return;
    };
    let last = words.iter().rposition(|&word| word != 0).unwrap_or(first);
    let x0 = 32 * (first_word + first) as i32 + words[first].trailing_zeros() as i32;
    let x1 = 32 * (first_word + last) as i32 + 32 - words[last].leading_zeros() as i32;
    rect.include(y, x0, x1);
}

/// Counts the tops of 32 pixels and returns as bits which have a layer.
fn count_word(layers: &mut [Seen], top: &[u16], word: usize, y: i32) -> u32 {
    let x = 32 * word;
    let pixels = &top[x..top.len().min(x + 32)];
    if let Ok(pixels) = <&[u16; 32]>::try_from(pixels)
        && rows::is_uniform(pixels)
    {
        return match layers.get_mut(pixels[0] as usize) {
            Some(seen) => {
                seen.area += 32;
                seen.rect.include(y, x as i32, x as i32 + 32);
                u32::MAX
            }
            None => 0,
        };
    }
    let mut owned = 0;
    for (bit, &layer) in pixels.iter().enumerate() {
        if layer != NO_LAYER {
            let seen = &mut layers[layer as usize];
            let column = (x + bit) as i32;
            seen.area += 1;
            seen.rect.include(y, column, column + 1);
            owned |= 1 << bit;
        }
    }
    owned
}

/// Writes the bits of one layer's visible mask, which lies within `rect`.
pub(super) fn write_layer(canvas: &Canvas, number: u16, rect: Rect, slot: &mut Slot<'_>) {
    let (first, end) = (rect.x0 as usize / 32, words_of(rect.x1 as usize));
    for y in rect.y0..rect.y1 {
        let top = &canvas.top[y as usize * canvas.width..][..canvas.width];
        let top = &top[32 * first..canvas.width.min(32 * end)];
        rows::bits_of(top, number, slot.words(y, first, end - first));
    }
}
