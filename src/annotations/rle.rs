//! Run-length encoded binary masks, as COCO annotations store them.
//!
//! A mask is a list of run lengths over its pixels taken column by column, each column from top to bottom. Runs
//! alternate between zeros and ones and the first one counts zeros, so a mask whose first pixel is set begins with a
//! run of length 0. Encoding, compressed text, areas, boxes and unions agree to the bit with the COCO API (`maskApi`,
//! known as `pycocotools`).
//!
//! Pixels are numbered in 32 bits, as in the COCO API; larger images are refused.

use std::iter;
use std::ops::Range;

use multiversion::multiversion;
use thiserror::Error;

/// Why a mask could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RleError {
    /// The image has more pixels than a 32-bit number can count.
    #[error(
        "a mask of {width}x{height} pixels is too large: expected at most {} pixels",
        u32::MAX
    )]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The runs do not cover the image exactly.
    #[error("the run lengths add up to {found} pixels, expected {width}x{height} = {expected}")]
    WrongSum {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Pixels in the image.
        expected: u32,
        /// Pixels in all runs together.
        found: u64,
    },
    /// Compressed text holds a character that stands for no 6-bit group.
    #[error(
        "character {character:?} at byte {position} of a compressed mask, expected one of '0' to 'o'"
    )]
    UnexpectedCharacter {
        /// The character.
        character: char,
        /// Where it begins, in bytes from 0.
        position: usize,
    },
    /// Compressed text ends where its last number must go on.
    #[error(
        "a compressed mask of {length} bytes ends inside a number, expected a further character"
    )]
    Truncated {
        /// Length of the text in bytes.
        length: usize,
    },
    /// One number of compressed text has more characters than any run length needs.
    #[error(
        "a number of a compressed mask goes on at byte {position}, expected at most {limit} characters"
    )]
    NumberTooLong {
        /// Where the first character too many stands, in bytes from 0.
        position: usize,
        /// The most characters that one number may have.
        limit: u32,
    },
    /// A number of compressed text gives a negative run length or one beyond 32 bits.
    #[error(
        "run {run} of a compressed mask has length {length}, expected 0 to {}",
        u32::MAX
    )]
    LengthOutOfRange {
        /// Which run it is, from 0.
        run: usize,
        /// The length it would have.
        length: i64,
    },
    /// A box does not lie within its image.
    #[error(
        "the box {box_xywh:?} (x, y, width, height) leaves an image of {width}x{height} pixels"
    )]
    BoxOutsideImage {
        /// The box: left, top, width, height, in pixels.
        box_xywh: [u32; 4],
        /// Width of the image in pixels.
        width: u32,
        /// Height of the image in pixels.
        height: u32,
    },
    /// The rows of a bit plane are shorter than its box is wide.
    #[error("a bit plane has {found} words per row, expected at least {expected}")]
    RowTooShort {
        /// Words from one row to the next.
        found: usize,
        /// Words that one row of the box needs.
        expected: usize,
    },
    /// A bit plane ends before its box does.
    #[error("a bit plane has {found} words, expected at least {expected}")]
    PlaneTooShort {
        /// Words in the plane.
        found: usize,
        /// Words that the box needs.
        expected: usize,
    },
    /// A union of no masks has no size.
    #[error("a union of masks needs at least 1 mask, found none")]
    NoParts,
    /// Masks of different sizes cannot be united.
    #[error(
        "mask {part} of a union is {width}x{height} pixels, expected {expected_width}x{expected_height}"
    )]
    SizeMismatch {
        /// Which mask it is, from 0.
        part: usize,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
        /// Width of the first mask in pixels.
        expected_width: u32,
        /// Height of the first mask in pixels.
        expected_height: u32,
    },
}

/// Compressed text writes numbers in groups of 5 bits, lowest first.
const GROUP_BITS: u32 = 5;
/// In a group's 6-bit code: more groups of the same number follow.
const GROUP_CONTINUES: u32 = 0b10_0000;
/// The character of code 0.
const FIRST_CHARACTER: u8 = b'0';
/// Differences of 32-bit lengths have 33 bits and so fit 7 groups.
const MAX_GROUPS: u32 = 7;

/// A binary mask of `width` x `height` pixels as column-major run lengths.
///
/// The lengths always add up to `width * height`.
///
/// Zero-length runs are allowed anywhere and kept, as the COCO API does, so that what was read can be written back
/// unchanged. They do not change which pixels are set. Equality compares the lists of runs: two masks with the same
/// pixels are unequal if one of them has zero-length runs that the other lacks. Masks made from bits, from polygons or
/// by a union of several parts have none but perhaps the first run.
///
/// ```
/// use pastebank::annotations::rle::Rle;
///
/// // Two columns of three pixels; the lower two of the first column are set.
/// let mask = Rle::from_counts(2, 3, vec![1, 2, 3])?;
/// assert_eq!(mask.area(), 2);
/// assert_eq!(mask.bounding_box(), Some([0, 1, 1, 2]));
/// assert_eq!(mask.compressed(), "123");
/// # Ok::<(), pastebank::annotations::rle::RleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rle {
    width: u32,
    height: u32,
    counts: Vec<u32>,
}

impl Rle {
    /// A mask from its run lengths, the form that COCO calls uncompressed RLE.
    ///
    /// # Errors
    ///
    /// [`RleError::TooManyPixels`], or [`RleError::WrongSum`] where `counts` does not add up to `width * height`.
    pub fn from_counts(width: u32, height: u32, counts: Vec<u32>) -> Result<Rle, RleError> {
        let expected = pixel_count(width, height)?;
        // Fewer than 2^32 lengths of 32 bits, 16 GiB of them, cannot exceed 64 bits.
        let found = counts.iter().map(|&count| u64::from(count)).sum();
        if u64::from(expected) != found {
            return Err(RleError::WrongSum {
                width,
                height,
                expected,
                found,
            });
        }
        Ok(Rle {
            width,
            height,
            counts,
        })
    }

    /// A mask from compressed text, the form that COCO results and `pycocotools` use.
    ///
    /// Each run is written as a signed number in groups of 5 bits, lowest first, one character of `'0'` to `'o'` per
    /// group. From the fourth run on, the number is the difference to the run before the previous one. Numbers with
    /// more groups than they need are accepted up to 7 groups.
    ///
    /// # Errors
    ///
    /// [`RleError`], where the text is malformed, a length is negative or beyond 32 bits, or the lengths do not add up
    /// to `width * height`.
    pub fn from_string(width: u32, height: u32, text: &str) -> Result<Rle, RleError> {
        let mut counts: Vec<u32> = Vec::new();
        let mut number = 0;
        let mut groups = 0;
        for (position, character) in text.char_indices() {
            if groups == MAX_GROUPS {
                return Err(RleError::NumberTooLong {
                    position,
                    limit: MAX_GROUPS,
                });
            }
            let code = group_code(character, position)?;
            number |= i64::from(code % GROUP_CONTINUES) << (GROUP_BITS * groups);
            groups += 1;
            if code < GROUP_CONTINUES {
                let unused_bits = i64::BITS - GROUP_BITS * groups;
                let signed = (number << unused_bits) >> unused_bits;
                counts.push(next_length(&counts, signed)?);
                (number, groups) = (0, 0);
            }
        }
        if groups > 0 {
            return Err(RleError::Truncated { length: text.len() });
        }
        Rle::from_counts(width, height, counts)
    }

    /// A mask from a row-major bit plane that covers only the box `box_xywh` (left, top, width, height, in pixels);
    /// nothing is set outside the box.
    ///
    /// The bit of the pixel at `x`, `y` from the box's corner is bit `x % 32` of `bits[y * row_stride_words + x / 32]`.
    /// Bits of a row beyond the box's width are ignored. Takes time proportional to the words of the box plus the runs
    /// of the mask.
    ///
    /// ```
    /// use pastebank::annotations::rle::Rle;
    ///
    /// // An upright bar, two pixels of the second column in a box of 2x2 pixels at (1, 0).
    /// let mask = Rle::from_box_bits(4, 3, [1, 0, 2, 2], 1, &[0b10, 0b10])?;
    /// assert_eq!(mask.counts(), [6, 2, 4]);
    /// # Ok::<(), pastebank::annotations::rle::RleError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RleError::TooManyPixels`], [`RleError::BoxOutsideImage`], or [`RleError::RowTooShort`] and
    /// [`RleError::PlaneTooShort`] where `row_stride_words` or `bits` cannot hold the box.
    pub fn from_box_bits(
        width: u32,
        height: u32,
        box_xywh: [u32; 4],
        row_stride_words: usize,
        bits: &[u32],
    ) -> Result<Rle, RleError> {
        pixel_count(width, height)?;
        check_box(width, height, box_xywh)?;
        check_plane(box_xywh, row_stride_words, bits)?;
        let [left, top, box_width, box_height] = box_xywh;
        let mut changes = Vec::new();
        let mut column_changes: [Vec<u32>; 32] = Default::default();
        for word in 0..box_width.div_ceil(32) {
            let used_columns = u32::MAX >> (32 - (box_width - 32 * word).min(32));
            let words = bits
                .iter()
                .skip(word as usize)
                .step_by(row_stride_words)
                .take(box_height as usize)
                .map(|word| word & used_columns);
            collect_changes(words, &mut column_changes);
            for (x, rows) in (left + 32 * word..).zip(&mut column_changes) {
                changes.extend(rows.drain(..).map(|row| x * height + top + row));
            }
        }
        Rle::from_changes(width, height, changes)
    }

    /// A mask from the pixel numbers (`x * height + y`) at which it changes between zeros and ones, in ascending order
    /// and at most `width * height`. Two changes at the same place cancel each other.
    pub(crate) fn from_changes(
        width: u32,
        height: u32,
        changes: Vec<u32>,
    ) -> Result<Rle, RleError> {
        debug_assert!(changes.is_sorted());
        let pixels = pixel_count(width, height)?;
        let mut counts: Vec<u32> = Vec::with_capacity(changes.len() + 1);
        let mut start = 0;
        for same_place in changes.chunk_by(|a, b| a == b) {
            let change = same_place[0];
            if same_place.len() % 2 == 1 && change < pixels {
                counts.push(change - start);
                start = change;
            }
        }
        if start < pixels || counts.is_empty() {
            counts.push(pixels - start);
        }
        Rle::from_counts(width, height, counts)
    }

    /// The union of masks of one size: a pixel is set where any part has it set.
    ///
    /// A single part is returned as it is, as in the COCO API; the union of several has no zero-length runs but perhaps
    /// the first.
    ///
    /// # Errors
    ///
    /// [`RleError::NoParts`], or [`RleError::SizeMismatch`].
    pub fn union(parts: &[Rle]) -> Result<Rle, RleError> {
        let first = parts.first().ok_or(RleError::NoParts)?;
        for (part, rle) in parts.iter().enumerate() {
            if (rle.width, rle.height) != (first.width, first.height) {
                return Err(RleError::SizeMismatch {
                    part,
                    width: rle.width,
                    height: rle.height,
                    expected_width: first.width,
                    expected_height: first.height,
                });
            }
        }
        if parts.len() == 1 {
            return Ok(first.clone());
        }
        let mut runs: Vec<Range<u32>> = parts.iter().flat_map(Rle::runs_of_ones).collect();
        // The stable sort merges the parts' runs, which are in order already.
        runs.sort_by_key(|run| run.start);
        let mut changes: Vec<u32> = Vec::with_capacity(2 * runs.len());
        for run in runs {
            match changes.last_mut() {
                Some(end) if run.start <= *end => *end = run.end.max(*end),
                _ => changes.extend([run.start, run.end]),
            }
        }
        Rle::from_changes(first.width, first.height, changes)
    }

    /// Width of the image in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the image in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The run lengths in pixels, column-major, zeros first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// How many pixels are set.
    pub fn area(&self) -> u64 {
        self.runs_of_ones()
            .map(|run| u64::from(run.end - run.start))
            .sum()
    }

    /// The smallest box (left, top, width, height, in pixels) around the pixels that are set; `None` where none is.
    pub fn bounding_box(&self) -> Option<[u32; 4]> {
        let (mut left, mut right) = (u32::MAX, 0);
        let (mut top, mut bottom) = (u32::MAX, 0);
        for run in self.runs_of_ones() {
            let (first, last) = (run.start, run.end - 1);
            let (first_column, last_column) = (first / self.height, last / self.height);
            left = left.min(first_column);
            right = right.max(last_column);
            if first_column == last_column {
                top = top.min(first % self.height);
                bottom = bottom.max(last % self.height);
            } else {
                // A run that enters a further column holds the bottom of one and the top of the next.
                (top, bottom) = (0, self.height - 1);
            }
        }
        (left <= right).then(|| [left, top, right - left + 1, bottom - top + 1])
    }

    /// The mask as compressed text, the form that [`Rle::from_string`] reads.
    pub fn compressed(&self) -> String {
        let mut text = String::new();
        for (run, &count) in self.counts.iter().enumerate() {
            let reference = reference_length(&self.counts[..run]);
            push_number(i64::from(count) - reference, &mut text);
        }
        text
    }

    /// Calls `visit(x, y0..y1)` for each upright piece of set pixels, by ascending column, within a column downwards.
    ///
    /// Runs that go on in the next column are cut at the column's end. No piece is empty.
    pub fn for_each_run(&self, mut visit: impl FnMut(u32, Range<u32>)) {
        for run in self.runs_of_ones() {
            let mut start = run.start;
            while start < run.end {
                let top = start % self.height;
                let length = (self.height - top).min(run.end - start);
                visit(start / self.height, top..top + length);
                start += length;
            }
        }
    }

    /// Appends the pixels of the box `box_xywh` (left, top, width, height, in pixels) to `bytes`, one bit each.
    ///
    /// Bits are in row-major order without gaps between rows, the lowest bit of a byte first; zeros fill up the last
    /// byte. In all, `(width * height).div_ceil(8)` bytes of the box's width and height are appended.
    ///
    /// # Errors
    ///
    /// [`RleError::BoxOutsideImage`]; `bytes` is unchanged then.
    pub fn fill_bits(&self, box_xywh: [u32; 4], bytes: &mut Vec<u8>) -> Result<(), RleError> {
        pack_bits(&self.box_plane(box_xywh)?, bytes);
        Ok(())
    }

    /// The pixels of the box `box_xywh` (left, top, width, height, in pixels), row after row, one byte of 0 or 1 each.
    ///
    /// # Errors
    ///
    /// [`RleError::BoxOutsideImage`].
    pub fn box_plane(&self, box_xywh: [u32; 4]) -> Result<Vec<u8>, RleError> {
        check_box(self.width, self.height, box_xywh)?;
        let [left, top, box_width, box_height] = box_xywh;
        let (columns, bottom) = (left..left + box_width, top + box_height);
        let stride = box_width as usize;
        let mut plane = vec![0u8; stride * box_height as usize];
        // Only where columns change is noted; then each row takes on the one above. Writing whole columns into rows
        // would touch a cache line for every pixel.
        self.for_each_run(|x, rows| {
            let (first, end) = (rows.start.max(top), rows.end.min(bottom));
            if columns.contains(&x) && first < end {
                let mut change = |row: u32| {
                    plane[(row - top) as usize * stride + (x - left) as usize] ^= 1;
                };
                change(first);
                if end < bottom {
                    change(end);
                }
            }
        });
        for start in (stride..plane.len()).step_by(stride.max(1)) {
            let (above, row) = plane[start - stride..start + stride].split_at_mut(stride);
            row.iter_mut()
                .zip(above)
                .for_each(|(pixel, above)| *pixel ^= *above);
        }
        Ok(plane)
    }

    /// The runs of ones as ranges of pixel numbers, empty ones left out.
    fn runs_of_ones(&self) -> impl Iterator<Item = Range<u32>> {
        let mut end = 0;
        self.counts
            .chunks_exact(2)
            .map(move |zeros_and_ones| {
                let start = end + zeros_and_ones[0];
                end = start + zeros_and_ones[1];
                start..end
            })
            .filter(|run| !run.is_empty())
    }
}

/// Appends pixels of 0 or 1, eight to a byte, the first in the lowest bit.
#[multiversion(targets = "simd")]
pub(crate) fn pack_bits(pixels: &[u8], bytes: &mut Vec<u8>) {
    let (whole, rest) = pixels.as_chunks::<8>();
    let pack = |pixels: &[u8]| {
        let bits = pixels.iter().enumerate();
        bits.fold(0, |byte, (bit, pixel)| byte | pixel << bit)
    };
    bytes.extend(whole.iter().map(|pixels| {
        // One product gathers the lowest bits of eight bytes in the topmost byte.
        (u64::from_le_bytes(*pixels).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
    }));
    if !rest.is_empty() {
        bytes.push(pack(rest));
    }
}

/// How many pixels an image has, if they can be numbered in 32 bits.
pub(crate) fn pixel_count(width: u32, height: u32) -> Result<u32, RleError> {
    width
        .checked_mul(height)
        .ok_or(RleError::TooManyPixels { width, height })
}

/// Checks that a box lies within its image.
fn check_box(width: u32, height: u32, box_xywh: [u32; 4]) -> Result<(), RleError> {
    let [left, top, box_width, box_height] = box_xywh;
    let ends_within = |start: u32, length: u32, limit: u32| {
        start.checked_add(length).is_some_and(|end| end <= limit)
    };
    if ends_within(left, box_width, width) && ends_within(top, box_height, height) {
        Ok(())
    } else {
        Err(RleError::BoxOutsideImage {
            box_xywh,
            width,
            height,
        })
    }
}

/// Checks that a bit plane holds all rows of its box.
fn check_plane(box_xywh: [u32; 4], row_stride_words: usize, bits: &[u32]) -> Result<(), RleError> {
    let [_, _, box_width, box_height] = box_xywh;
    let row_words = box_width.div_ceil(32) as usize;
    if row_stride_words < row_words {
        return Err(RleError::RowTooShort {
            found: row_stride_words,
            expected: row_words,
        });
    }
    let Some(further_rows) = box_height.checked_sub(1) else {
        return Ok(());
    };
    // Saturated, the sum still exceeds what any slice can hold.
    let expected = row_stride_words
        .saturating_mul(further_rows as usize)
        .saturating_add(row_words);
    if row_words > 0 && bits.len() < expected {
        return Err(RleError::PlaneTooShort {
            found: bits.len(),
            expected,
        });
    }
    Ok(())
}

/// Appends to each of 32 columns the rows at which it changes, beginning and ending with zeros.
///
/// Comparing whole words visits only changes one by one, which keeps solid areas cheap.
fn collect_changes(words: impl Iterator<Item = u32>, columns: &mut [Vec<u32>; 32]) {
    let mut above = 0;
    for (row, word) in (0..).zip(words.chain(iter::once(0))) {
        let mut changed = word ^ above;
        while changed != 0 {
            columns[changed.trailing_zeros() as usize].push(row);
            changed &= changed - 1;
        }
        above = word;
    }
}

/// The 6-bit code that a character of compressed text stands for.
fn group_code(character: char, position: usize) -> Result<u32, RleError> {
    u32::from(character)
        .checked_sub(u32::from(FIRST_CHARACTER))
        .filter(|&code| code < 2 * GROUP_CONTINUES)
        .ok_or(RleError::UnexpectedCharacter {
            character,
            position,
        })
}

/// The length that compressed text gives the next run as a difference to: the last run of the same value, but not the
/// first run of the list, whose length says little about later ones.
fn reference_length(counts_before: &[u32]) -> i64 {
    match counts_before {
        [_, .., reference, _] => i64::from(*reference),
        _ => 0,
    }
}

/// The length of the run after `counts`, from its number in compressed text.
fn next_length(counts: &[u32], number: i64) -> Result<u32, RleError> {
    let length = reference_length(counts) + number;
    u32::try_from(length).map_err(|_| RleError::LengthOutOfRange {
        run: counts.len(),
        length,
    })
}

/// Writes a number in as few groups as keep its sign.
fn push_number(mut number: i64, text: &mut String) {
    loop {
        let group = (number & 0b1_1111) as u8;
        number >>= GROUP_BITS;
        // What is left must be what the reader fills in from the top bit of the last group.
        let sign_bit = group >> (GROUP_BITS - 1);
        let is_last = number == -i64::from(sign_bit);
        let continues = if is_last { 0 } else { GROUP_CONTINUES as u8 };
        text.push(char::from(FIRST_CHARACTER + (group | continues)));
        if is_last {
            break;
        }
    }
}

#[cfg(test)]
mod tests;
