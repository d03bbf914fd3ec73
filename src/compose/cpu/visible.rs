//! What is seen of each instance: areas, boxes and mask bits after occlusion (rules 5, 7 and 13).
//!
//! One pass over the top map serves all layers and leaves, as bits, where any layer is on top;
//! scene instances are held against those bits, 32 pixels at a time.

use super::compose::{Canvas, Full};
use super::placed::{PlacedScene, run_of_bits};
use super::rows;
use crate::compose::batch::words_of;
use crate::compose::encode::{EncodedInstance, EncodedSample};
use crate::compose::simd::Simd;
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
    /// A bit for each pixel of a row whose top is another than its left neighbour's.
    changes: Vec<u32>,
    scene: PlacedScene,
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
    /// Reads the top map within the layers' boxes; returns how many bytes that moved.
    pub fn count_layers(&mut self, canvas: &Canvas, full: &[Full]) -> usize {
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
            return 4 * self.owned.len();
        }
        let (first, end) = (touched.x0 as usize / 32, words_of(touched.x1 as usize));
        for y in touched.y0..touched.y1 {
            let top = &canvas.top[y as usize * canvas.width..][..canvas.width];
            let owned = &mut self.owned[y as usize * words..][..words];
            let top = &top[32 * first..canvas.width.min(32 * end)];
            self.changes.resize(end - first, 0);
            rows::changes(canvas.simd, top, &mut self.changes);
            let words = owned[first..end].iter_mut().zip(&self.changes);
            for ((number, pixels), (owned, &changes)) in top.chunks(32).enumerate().zip(words) {
                let x = 32 * (first + number) as i32;
                *owned = count_word(&mut self.layers, pixels, changes, (x, y));
            }
        }
        4 * self.owned.len() + 64 * (end - first) * touched.height()
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
            let texel_row = self.scene.texel_row(y);
            // An enlarged scene shows each of its rows several times.
            if covered_row != Some(texel_row) {
                self.cover.fill(0);
                let origin = 32 * first as i32;
                self.scene
                    .cover_row(instance, mask, texel_row, origin, &mut self.cover);
                covered_row = Some(texel_row);
            }
            let owned = &self.owned[y as usize * words + first..y as usize * words + end];
            let out = slot.words(y, first, end - first);
            let [covered, visible] = rows::occlude(simd, &self.cover, owned, out);
            full.area += covered;
            seen.area += visible;
            include_bits(&mut full.rect, y, first, &self.cover);
            include_bits(&mut seen.rect, y, first, out);
        }
        (full, seen)
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

/// Counts the tops of up to 32 pixels from canvas position `x`, `y` on, run by run, and returns as
/// bits which have a layer. `changes` says where runs begin.
fn count_word(layers: &mut [Seen], top: &[u16], changes: u32, (x, y): (i32, i32)) -> u32 {
    let mut owned = 0;
    let mut rest = changes;
    let mut start = 0;
    while let Some(&layer) = top.get(start) {
        let end = top.len().min(rest.trailing_zeros() as usize);
        // The numbers of layers end before NO_LAYER.
        if let Some(seen) = layers.get_mut(usize::from(layer)) {
            seen.area += (end - start) as u32;
            seen.rect.include(y, x + start as i32, x + end as i32);
            owned |= run_of_bits(start as u32, end as u32);
        }
        rest &= rest.wrapping_sub(1);
        start = end;
    }
    owned
}

/// Writes the bits of one layer's visible mask, which lies within `rect`.
pub(super) fn write_layer(canvas: &Canvas, number: u16, rect: Rect, slot: &mut Slot<'_>) {
    let (first, end) = (rect.x0 as usize / 32, words_of(rect.x1 as usize));
    for y in rect.y0..rect.y1 {
        let top = &canvas.top[y as usize * canvas.width..][..canvas.width];
        let top = &top[32 * first..canvas.width.min(32 * end)];
        rows::bits_of(canvas.simd, top, number, slot.words(y, first, end - first));
    }
}
