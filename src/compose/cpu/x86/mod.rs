//! Inner loops in the words of x86's instruction sets: those that compilers do not find by themselves.
//!
//! Each file has the same stages with the registers of its own; what one lacks it takes from the one
//! below. The tokens of [`pulp`] prove that the machine has the instructions, so nothing here is unsafe.
//! Closures and arrays' `map` are not used inside of these loops: they are no part of the function that
//! has the instructions.

pub(super) mod avx2;
pub(super) mod avx512;
pub(super) mod sse;

use super::bilinear::WINDOW_TEXEL;

/// Texels lie below zero by this, so that they are the signed side of a product.
const SIGN: u8 = 0x80;
/// A byte that a shuffle makes 0.
const NOTHING: u8 = 0x80;

/// From twelve bytes of RGB in 128 bits to four texels of four bytes.
const WIDE: [u8; 16] = [
    0, 1, 2, NOTHING, 3, 4, 5, NOTHING, 6, 7, 8, NOTHING, 9, 10, 11, NOTHING,
];

const fn repeat<const N: usize, const M: usize>(piece: [u8; N]) -> [u8; M] {
    let mut all = [0; M];
    let mut at = 0;
    while at < M {
        all[at] = piece[at % N];
        at += 1;
    }
    all
}

/// The window that begins with texel number `first` of a row, in two registers of `BYTES`.
#[inline(always)]
fn window_of<const BYTES: usize>(texels: &[u8], first: u32) -> &[[u8; BYTES]; 2] {
    let window = &texels[WINDOW_TEXEL * first as usize..][..2 * BYTES];
    // A slice of two registers is an array of two.
    window
        .as_chunks()
        .0
        .first_chunk()
        .unwrap_or(&[[0; BYTES]; 2])
}
