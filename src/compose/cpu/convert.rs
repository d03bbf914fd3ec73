//! From planes of 8 bits to the batch's element type and layout (rule 15).

use half::{bf16, f16};

use super::compose::Canvas;
use crate::compose::output::{ElementType, Layout, OutputSpec, round_to_bf16, round_to_f16};
use crate::compose::pixels::Piece;
use crate::compose::simd::Simd;

/// Rule 15's look-up tables, one a channel.
#[derive(Debug)]
pub(super) enum Tables {
    U8,
    F16(Box<[[f16; 256]; 3]>),
    BF16(Box<[[bf16; 256]; 3]>),
    F32(Box<[[f32; 256]; 3]>),
}

impl Tables {
    pub fn new(spec: &OutputSpec) -> Tables {
        match spec.element {
            ElementType::U8 => Tables::U8,
            ElementType::F16 => Tables::F16(Box::new(spec.table(round_to_f16))),
            ElementType::BF16 => Tables::BF16(Box::new(spec.table(round_to_bf16))),
            ElementType::F32 => Tables::F32(Box::new(spec.table(|value| value as f32))),
        }
    }
}

/// Writes a finished canvas into its place in the batch.
pub(super) fn convert(
    simd: Simd,
    canvas: &Canvas,
    tables: &Tables,
    layout: Layout,
    image: &mut Piece,
) {
    match tables {
        Tables::U8 => copy(canvas, layout, image.values_mut()),
        Tables::F16(tables) => {
            let tables = bytemuck::cast_ref(&**tables);
            look_up_words(simd, canvas, tables, layout, image.values_mut());
        }
        Tables::BF16(tables) => {
            let tables = bytemuck::cast_ref(&**tables);
            look_up_words(simd, canvas, tables, layout, image.values_mut());
        }
        Tables::F32(tables) => look_up(canvas, tables, layout, image.values_mut()),
    }
}

fn copy(canvas: &Canvas, layout: Layout, out: &mut [u8]) {
    let rows = (0..canvas.height).map(|y| canvas.row(y));
    match layout {
        Layout::Chw => {
            for (y, row) in rows.enumerate() {
                for (out, row) in out_rows(canvas, y, out).zip(row) {
                    out.copy_from_slice(row);
                }
            }
        }
        Layout::Hwc => {
            let out = out.as_chunks_mut().0.chunks_exact_mut(canvas.width);
            for (out, [red, green, blue]) in out.zip(rows) {
                let pixels = red.iter().zip(green).zip(blue);
                for (out, ((&red, &green), &blue)) in out.iter_mut().zip(pixels) {
                    *out = [red, green, blue];
                }
            }
        }
    }
}

/// Row `y` of each of an image's three planes.
fn out_rows<'a, T>(
    canvas: &Canvas,
    y: usize,
    out: &'a mut [T],
) -> impl Iterator<Item = &'a mut [T]> {
    let width = canvas.width;
    out.chunks_exact_mut(width * canvas.height)
        .map(move |plane| &mut plane[y * width..][..width])
}

/// [`look_up`] of elements of 16 bits, whatever they mean.
fn look_up_words(
    simd: Simd,
    canvas: &Canvas,
    tables: &[[u16; 256]; 3],
    layout: Layout,
    out: &mut [u16],
) {
    match (simd, layout) {
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx512(token), Layout::Chw) => {
            for y in 0..canvas.height {
                let rows = canvas.row(y).into_iter().zip(tables);
                for (out, (row, table)) in out_rows(canvas, y, out).zip(rows) {
                    super::x86::avx512::look_up(token, row, table, out);
                }
            }
        }
        _ => look_up(canvas, tables, layout, out),
    }
}

fn look_up<T: Copy>(canvas: &Canvas, tables: &[[T; 256]; 3], layout: Layout, out: &mut [T]) {
    let rows = (0..canvas.height).map(|y| canvas.row(y));
    match layout {
        Layout::Chw => {
            for (y, row) in rows.enumerate() {
                let rows = row.into_iter().zip(tables);
                for (out, (row, table)) in out_rows(canvas, y, out).zip(rows) {
                    for (out, &value) in out.iter_mut().zip(row) {
                        *out = table[usize::from(value)];
                    }
                }
            }
        }
        Layout::Hwc => {
            let out = out.as_chunks_mut().0.chunks_exact_mut(canvas.width);
            for (out, [red, green, blue]) in out.zip(rows) {
                let pixels = red.iter().zip(green).zip(blue);
                for (out, ((&red, &green), &blue)) in out.iter_mut().zip(pixels) {
                    *out = [
                        tables[0][usize::from(red)],
                        tables[1][usize::from(green)],
                        tables[2][usize::from(blue)],
                    ];
                }
            }
        }
    }
}
