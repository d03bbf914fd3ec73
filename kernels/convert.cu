// Masks in the form that a user asks for.

#include "block.cuh"

// The lowest 4 bits of a word as 4 bytes of 0 or 1, the first in the lowest byte.
__device__ __forceinline__ u32 spread(u32 bits) {
    return ((bits & 15) * 0x00204081) & 0x01010101;
}

// Mask bits to bytes of 0 or 1.
//
// Grid: masks × chunks of EXPAND_CHUNK_WORDS words of a mask. Reads a bit and writes a byte a pixel,
// 16 at a time where the width is a multiple of 16.
extern "C" __global__ void __launch_bounds__(256) expand(const ExpandParameters parameters) {
    const u32 width = parameters.canvas[0];
    const u32 height = parameters.canvas[1];
    const u32 mask_words = height * parameters.words;
    const u32 chunks = (mask_words + EXPAND_CHUNK_WORDS - 1) / EXPAND_CHUNK_WORDS;
    const u32 mask = blockIdx.x / chunks;
    const u32 first = blockIdx.x % chunks * EXPAND_CHUNK_WORDS;
    const u32 count = min(EXPAND_CHUNK_WORDS, mask_words - first);
    const u32 *words = at_address<const u32>(parameters.masks) + u64(mask) * mask_words + first;
    const u64 bytes = parameters.bytes + u64(mask) * width * height;

    // Consecutive threads write consecutive pixels.
    const u32 pixels = width % 16 == 0 ? 16 : 1;
    for (u32 item = threadIdx.x; item < count * (32 / pixels); item += blockDim.x) {
        const u32 word = item * pixels / 32;
        const u32 bit = item * pixels % 32;
        const u32 row = (first + word) / parameters.words;
        const u32 x = (first + word) % parameters.words * 32 + bit;
        if (x >= width) {
            continue;
        }
        const u32 bits = words[word] >> bit;
        const u64 address = bytes + u64(row) * width + x;
        if (pixels == 16) {
            *at_address<uint4>(address) =
                make_uint4(spread(bits), spread(bits >> 4), spread(bits >> 8), spread(bits >> 12));
        } else {
            *at_address<u8>(address) = u8(bits & 1);
        }
    }
}
