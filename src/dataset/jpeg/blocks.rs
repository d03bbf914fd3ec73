//! From pixels to quantized coefficients, a row of blocks at a time.
//!
//! The transform is the accurate integer one of the Independent JPEG Group (Loeffler, Ligtenberg and
//! Moschytz, 12 multiplications), rows first. Eight rows or columns are transformed side by side, so
//! that each step is the same for eight numbers.

use multiversion::multiversion;

use super::{COMPONENTS, SIDE};

/// Coefficients of a block.
pub(super) const BLOCK: usize = SIDE * SIDE;

/// Where the coefficients stand in a block, in the order in which they are coded.
const ZIGZAG: [u8; BLOCK] = zigzag();

const fn zigzag() -> [u8; BLOCK] {
    let (mut order, mut at) = ([0; BLOCK], 0);
    let mut diagonal = 0;
    while diagonal < 2 * SIDE - 1 {
        let mut step = 0;
        while step <= diagonal {
            let (from_left, from_top) = match diagonal % 2 {
                0 => (step, diagonal - step),
                _ => (diagonal - step, step),
            };
            if from_left < SIDE && from_top < SIDE {
                order[at] = (from_top * SIDE + from_left) as u8;
                at += 1;
            }
            step += 1;
        }
        diagonal += 1;
    }
    order
}

/// Divides coefficients by a table's steps.
#[derive(Clone, Copy)]
pub(super) struct Quantizer {
    /// Half a step by place in the block, and 1 more where the reciprocal was rounded down.
    halves: [i32; BLOCK],
    /// 2^15 / step, rounded to the nearest.
    reciprocals: [i32; BLOCK],
}

impl Default for Quantizer {
    fn default() -> Quantizer {
        Quantizer {
            halves: [0; BLOCK],
            reciprocals: [0; BLOCK],
        }
    }
}

impl Quantizer {
    /// One by the steps of a file's table, which are in zigzag order.
    pub fn new(table: &[u8]) -> Quantizer {
        let mut quantizer = Quantizer::default();
        for (&place, &step) in ZIGZAG.iter().zip(table) {
            // The transform's results are in eighths.
            let step = 8 * i32::from(step.max(1));
            let (whole, rest) = ((1 << 15) / step, (1 << 15) % step);
            let is_up = rest > step / 2;
            let place = usize::from(place);
            quantizer.reciprocals[place] = whole + i32::from(is_up);
            quantizer.halves[place] = step / 2 + i32::from(rest != 0 && !is_up);
        }
        quantizer
    }

    /// The nearest whole number of steps, as far as 15 bits of the reciprocal tell it.
    #[inline(always)]
    fn divide(&self, block: &[[i32; SIDE]; SIDE]) -> [i16; BLOCK] {
        let mut quantized = [0; BLOCK];
        let coefficients = block.as_flattened();
        for place in 0..BLOCK {
            let coefficient = coefficients[place];
            let size = coefficient.abs() + self.halves[place];
            let steps = (size * self.reciprocals[place]) >> 15;
            let sign = coefficient >> 31;
            quantized[place] = ((steps ^ sign) - sign) as i16;
        }
        quantized
    }
}

/// A quantized block.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// In zigzag order.
    pub values: [i16; BLOCK],
    /// A bit for each value that is not 0, the first lowest.
    pub set: u64,
}

const EMPTY: Block = Block {
    values: [0; BLOCK],
    set: 0,
};

/// One row of blocks of each component.
pub(super) struct Components {
    /// Rows of samples less 128, padded to whole blocks.
    planes: [Vec<i16>; COMPONENTS],
    blocks: [Vec<Block>; COMPONENTS],
    stride: usize,
}

impl Components {
    /// For images of so many columns.
    pub fn new(columns: usize) -> Components {
        let stride = columns.next_multiple_of(SIDE);
        Components {
            planes: [(); COMPONENTS].map(|()| vec![0; stride * SIDE]),
            blocks: [(); COMPONENTS].map(|()| vec![EMPTY; stride / SIDE]),
            stride,
        }
    }

    /// Takes eight rows of pixels, from row `top` on; the last row and column are repeated.
    pub fn fill(&mut self, pixels: &[u8], columns: usize, top: usize) {
        let rows = pixels.len() / (columns * COMPONENTS);
        let [luma, blue, red] = &mut self.planes;
        for row in 0..SIDE {
            let source = (top + row).min(rows - 1) * columns * COMPONENTS;
            let source = &pixels[source..][..columns * COMPONENTS];
            let range = row * self.stride..(row + 1) * self.stride;
            let mut out = [
                &mut luma[range.clone()],
                &mut blue[range.clone()],
                &mut red[range],
            ];
            convert_row(source, &mut out);
            for plane in out {
                let (row, padding) = plane.split_at_mut(columns);
                padding.fill(row[columns - 1]);
            }
        }
    }

    /// Transforms and quantizes what was taken.
    pub fn transform(&mut self, quantizers: &[Quantizer; 2]) {
        for (component, (plane, blocks)) in self.planes.iter().zip(&mut self.blocks).enumerate() {
            let quantizer = &quantizers[usize::from(component > 0)];
            transform_row(plane, self.stride, quantizer, blocks);
        }
    }

    /// The block of a component at a place of the row.
    pub fn block(&self, component: usize, place: usize) -> &Block {
        &self.blocks[component][place]
    }
}

/// RGB to brightness and two differences of colour less 128, in 65536ths.
#[multiversion(targets = "simd")]
fn convert_row(pixels: &[u8], [luma, blue, red]: &mut [&mut [i16]; COMPONENTS]) {
    let pixels = pixels.as_chunks::<COMPONENTS>().0;
    let out = luma.iter_mut().zip(blue.iter_mut()).zip(red.iter_mut());
    for (&[r, g, b], ((luma, blue), red)) in pixels.iter().zip(out) {
        let (r, g, b) = (i32::from(r), i32::from(g), i32::from(b));
        let round = |sum: i32| ((sum + 0x7FFF) >> 16) as i16;
        *luma = round(19_595 * r + 38_470 * g + 7_471 * b) - 128;
        // 128 is added for storing and taken off for the transform.
        *blue = round(-11_059 * r - 21_709 * g + 32_768 * b);
        *red = round(32_768 * r - 27_439 * g - 5_329 * b);
    }
}

#[multiversion(targets = "simd")]
fn transform_row(plane: &[i16], stride: usize, quantizer: &Quantizer, blocks: &mut [Block]) {
    for (place, out) in blocks.iter_mut().enumerate() {
        let mut block = [[0; SIDE]; SIDE];
        // A line for each column, so that the rows are transformed side by side.
        for y in 0..SIDE {
            let samples = &plane[y * stride + place * SIDE..][..SIDE];
            for x in 0..SIDE {
                block[x][y] = i32::from(samples[x]);
            }
        }
        let rows = transform::<11, -2>(&block);
        let columns = transform::<15, 2>(&transposed(&rows));
        let quantized = quantizer.divide(&columns);
        for (value, &place) in out.values.iter_mut().zip(&ZIGZAG) {
            *value = quantized[usize::from(place)];
        }
        out.set = 0;
        for (bit, &value) in out.values.iter().enumerate() {
            out.set |= u64::from(value != 0) << bit;
        }
    }
}

#[inline(always)]
fn transposed(block: &[[i32; SIDE]; SIDE]) -> [[i32; SIDE]; SIDE] {
    let mut out = [[0; SIDE]; SIDE];
    for y in 0..SIDE {
        for x in 0..SIDE {
            out[x][y] = block[y][x];
        }
    }
    out
}

/// Eight numbers side by side.
type Lanes = [i32; SIDE];

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    let mut out = a;
    for (out, b) in out.iter_mut().zip(b) {
        *out += b;
    }
    out
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    let mut out = a;
    for (out, b) in out.iter_mut().zip(b) {
        *out -= b;
    }
    out
}

#[inline(always)]
fn times(a: Lanes, factor: i32) -> Lanes {
    let mut out = a;
    for value in &mut out {
        *value *= factor;
    }
    out
}

/// Divided by 2^bits and rounded, or multiplied where the bits are negative.
#[inline(always)]
fn scaled<const BITS: i32>(a: Lanes) -> Lanes {
    let mut out = a;
    for value in &mut out {
        *value = match BITS {
            0.. => (*value + (1 << (BITS - 1))) >> BITS,
            _ => *value << -BITS,
        };
    }
    out
}

/// The cosine transform of eight inputs in 2^-13, for eight lines side by side: products lose
/// `PRODUCT` bits, plain sums `SUM`.
#[inline(always)]
fn transform<const PRODUCT: i32, const SUM: i32>(input: &[Lanes; SIDE]) -> [Lanes; SIDE] {
    let [i0, i1, i2, i3, i4, i5, i6, i7] = *input;
    let (t0, t7) = (add(i0, i7), sub(i0, i7));
    let (t1, t6) = (add(i1, i6), sub(i1, i6));
    let (t2, t5) = (add(i2, i5), sub(i2, i5));
    let (t3, t4) = (add(i3, i4), sub(i3, i4));
    let (outer, a) = (add(t0, t3), sub(t0, t3));
    let (inner, b) = (add(t1, t2), sub(t1, t2));
    let even = times(add(a, b), 4_433);
    // The odd half, by the names of the paper: z of pairs, then each input's own factor.
    let (z3, z4) = (add(t4, t6), add(t5, t7));
    let z5 = times(add(z3, z4), 9_633);
    let z1 = times(add(t4, t7), -7_373);
    let z2 = times(add(t5, t6), -20_995);
    let z3 = add(times(z3, -16_069), z5);
    let z4 = add(times(z4, -3_196), z5);
    [
        scaled::<SUM>(add(outer, inner)),
        scaled::<PRODUCT>(add(times(t7, 12_299), add(z1, z4))),
        scaled::<PRODUCT>(add(even, times(a, 6_270))),
        scaled::<PRODUCT>(add(times(t6, 25_172), add(z2, z3))),
        scaled::<SUM>(sub(outer, inner)),
        scaled::<PRODUCT>(add(times(t5, 16_819), add(z2, z4))),
        scaled::<PRODUCT>(add(even, times(b, -15_137))),
        scaled::<PRODUCT>(add(times(t4, 2_446), add(z1, z3))),
    ]
}
