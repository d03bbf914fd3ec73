//! The innermost loops: sums of products in registers.

use pulp::{Simd, WithSimd};

/// Outputs whose weights lie together.
pub(super) const BLOCK: usize = 8;

/// Vectors of neighbouring positions that are summed at once.
const WIDTH: usize = 3;

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
            self.sum::<S, BLOCK>(simd, 0);
            return;
        }
        // Eight rows of three sums would not stay in 16 registers.
        self.sum::<S, { BLOCK / 2 }>(simd, 0);
        if self.outputs > BLOCK / 2 {
            self.sum::<S, { BLOCK / 2 }>(simd, BLOCK / 2);
        }
    }
}

impl BlockSums<'_> {
    /// The sums of `OUTPUTS` outputs from the output `first`.
    #[inline(always)]
    fn sum<S: Simd, const OUTPUTS: usize>(&mut self, simd: S, first: usize) {
        let stride = self.sums.len() / BLOCK;
        let reach = WIDTH * S::F32_LANES;
        for position in (0..self.positions).step_by(reach) {
            let sums = self.sum_at::<S, OUTPUTS>(simd, first, position);
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
    fn sum_at<S: Simd, const OUTPUTS: usize>(
        &self,
        simd: S,
        first: usize,
        position: usize,
    ) -> [[S::f32s; WIDTH]; OUTPUTS] {
        let reach = WIDTH * S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; OUTPUTS];
        let mut start = position;
        for weights in self.weights.chunks_exact(self.taps.len()) {
            for (tap, weights) in self.taps.iter().zip(weights) {
                let at = start + tap;
                let values = self.tile.get(at..at + reach).unwrap_or_default();
                let Some(values) = S::as_simd_f32s(values).0.first_chunk::<WIDTH>() else {
                    continue;
                };
                for (sums, weight) in sums.iter_mut().zip(&weights[first..]) {
                    let weight = simd.splat_f32s(*weight);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = simd.mul_add_e_f32s(weight, *value, *sum);
                    }
                }
            }
            start += self.plane;
        }
        sums
    }
}
