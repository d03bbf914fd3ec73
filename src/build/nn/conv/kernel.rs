//! The innermost loops: sums of products in registers.

use pulp::{Simd, WithSimd};

/// Outputs whose weights lie together.
pub(super) const BLOCK: usize = 8;

/// Positions whose sums may be written past the last, on any machine.
pub(super) const OVERRUN: usize = 128;

/// The sums of one block of outputs over one packed tile: for the output `o` and the position `p`
/// the sum over channels `c` and taps `t` of `weights[c][t][o] * tile[c * plane + taps[t] + p]`.
pub(super) struct BlockSums<'a> {
    /// The channels of the tile, `plane` values each, and at least [`OVERRUN`] after the last
    /// position that any tap reads.
    pub tile: &'a [f32],
    /// Values of a channel.
    pub plane: usize,
    /// How far from a position each tap reads.
    pub taps: &'a [usize],
    /// By channel and tap.
    pub weights: &'a [[f32; BLOCK]],
    /// Outputs of the block that are wanted.
    pub outputs: usize,
    /// Positions.
    pub positions: usize,
    /// Where the sums go, by output: each gets at least `positions` and [`OVERRUN`].
    pub sums: &'a mut [f32],
}

impl WithSimd for BlockSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.sum::<S, BLOCK, 3>(simd, 0);
            return;
        }
        // Eight rows of three sums would not stay in 16 registers; four of two are the sums that a
        // core with two multipliers and a latency of four has under way.
        self.sum::<S, { BLOCK / 2 }, 2>(simd, 0);
        if self.outputs > BLOCK / 2 {
            self.sum::<S, { BLOCK / 2 }, 2>(simd, BLOCK / 2);
        }
    }
}

impl BlockSums<'_> {
    /// The sums of `OUTPUTS` outputs from the output `first`, `WIDTH` vectors of positions at once.
    #[inline(always)]
    fn sum<S: Simd, const OUTPUTS: usize, const WIDTH: usize>(&mut self, simd: S, first: usize) {
        let stride = self.sums.len() / BLOCK;
        let reach = WIDTH * S::F32_LANES;
        for position in (0..self.positions).step_by(reach) {
            let sums = self.sum_at::<S, OUTPUTS, WIDTH>(simd, first, position);
            let rows = self.sums.chunks_exact_mut(stride).skip(first);
            for (row, sums) in rows.zip(sums) {
                if let Some(row) = row.get_mut(position..position + reach) {
                    S::as_mut_simd_f32s(row).0.copy_from_slice(&sums);
                }
            }
        }
    }

    /// The sums of `OUTPUTS` outputs at a few positions.
    #[inline(always)]
    fn sum_at<S: Simd, const OUTPUTS: usize, const WIDTH: usize>(
        &self,
        simd: S,
        first: usize,
        position: usize,
    ) -> [[S::f32s; WIDTH]; OUTPUTS] {
        let reach = WIDTH * S::F32_LANES;
        let (tile, taps) = (self.tile, self.taps);
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; OUTPUTS];
        let mut start = position;
        for weights in self.weights.chunks_exact(taps.len()) {
            for (tap, weights) in taps.iter().zip(weights) {
                let at = start + tap;
                // Inside by construction. A way out with the sums so far, which nobody wants, would
                // cost registers; a panic has none.
                let values = S::as_simd_f32s(&tile[at..at + reach]).0;
                let values: [S::f32s; WIDTH] = std::array::from_fn(|index| values[index]);
                let weights = &weights[first..first + OUTPUTS];
                for (sums, weight) in sums.iter_mut().zip(weights) {
                    let weight = simd.splat_f32s(*weight);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = simd.mul_add_e_f32s(weight, value, *sum);
                    }
                }
            }
            start += self.plane;
        }
        sums
    }
}
