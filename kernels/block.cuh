// What the kernels share: how a block finds its work, rectangles against tiles, and measures.
//
// Blocks are of any size that is a multiple of 32, and most kernels work warp by warp: a warp needs
// no barrier, and its votes and shuffles name all 32 lanes.

#pragma once

#include "layout.cuh"

constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffff;

// Pixels across and rows of a mask that one warp works on: each lane has one word of it, lane
// 4·row + word, so that a row's words are stored side by side.
constexpr u32 WARP_WORDS = MASK_TILE_WORDS;
constexpr u32 WARP_ROWS = WARP / WARP_WORDS;

__device__ __forceinline__ u32 lane_of_thread() {
    return threadIdx.x % WARP;
}

__device__ __forceinline__ u32 warp_of_thread() {
    return threadIdx.x / WARP;
}

__device__ __forceinline__ u32 warps_of_block() {
    return blockDim.x / WARP;
}

template <typename T>
__device__ __forceinline__ T *at_address(u64 address) {
    return reinterpret_cast<T *>(address);
}

// The last of `count` keys that is at most `value`. The keys rise, `stride` bytes apart, and the
// first is at most `value`. All lanes search together: two loads deep for up to 1024 keys.
__device__ __forceinline__ u32 last_at_most(u64 keys, u32 stride, u32 count, u32 value) {
    u32 start = 0;
    while (count > 1) {
        const u32 step = (count + WARP - 1) / WARP;
        const u32 probe = lane_of_thread() * step;
        const bool reached =
            probe < count && *at_address<const u32>(keys + u64(start + probe) * stride) <= value;
        // At least lane 0 has reached it.
        const u32 last = (__popc(__ballot_sync(ALL_LANES, reached)) - 1) * step;
        start += last;
        count = min(step, count - last);
    }
    return start;
}

// Whether two rectangles share a pixel. One of them must not be empty; the other may be.
__device__ __forceinline__ bool touches(const Rect &rect, const Rect &tile) {
    return rect.x0 < tile.x1 && rect.x1 > tile.x0 && rect.y0 < tile.y1 && rect.y1 > tile.y0;
}

// A rectangle's first word column, words being counted from the canvas's left edge.
__device__ __forceinline__ i32 first_word(const Rect &rect) {
    return rect.x0 >> 5;
}

// How many word columns a rectangle's pixels lie in.
__device__ __forceinline__ i32 words_across(const Rect &rect) {
    return ((rect.x1 + 31) >> 5) - first_word(rect);
}

// Bytes from one row of a rectangle's weights to the next: a multiple of 4.
__device__ __forceinline__ u32 weight_stride(const Rect &rect) {
    return u32(rect.x1 - rect.x0 + 3) & ~3u;
}

// The bits of word column `word` whose pixels lie in x0..x1.
__device__ __forceinline__ u32 bits_within(i32 word, i32 x0, i32 x1) {
    const i32 from = max(x0 - 32 * word, 0);
    const i32 to = min(x1 - 32 * word, 32);
    if (from >= to) {
        return 0;
    }
    return (ALL_LANES << from) & (ALL_LANES >> (32 - to));
}

// Adds the pixels of a warp's words to a candidate's area and edges: lane 4·row + word has the
// bits of word column `left_word` + word and row `top_row` + row. All lanes call it.
__device__ __forceinline__ void measure(u32 bits, i32 left_word, i32 top_row, u32 *area,
                                        u32 *edges) {
    const u32 filled = __ballot_sync(ALL_LANES, bits != 0);
    if (filled == 0) {
        return;
    }
    u32 count = __popc(bits);
    u32 column = bits;
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        count += __shfl_xor_sync(ALL_LANES, count, distance);
        if (distance >= WARP_WORDS) {
            column |= __shfl_xor_sync(ALL_LANES, column, distance);
        }
    }
    // Lanes 0..4 now have the union of all rows.
    const u32 columns = __ballot_sync(ALL_LANES, column != 0) % (1 << WARP_WORDS);
    const u32 left = __ffs(columns) - 1;
    const u32 right = 31 - __clz(columns);
    const u32 left_bits = __shfl_sync(ALL_LANES, column, left);
    const u32 right_bits = __shfl_sync(ALL_LANES, column, right);
    if (lane_of_thread() == 0) {
        const u32 x0 = 32 * (left_word + left) + __ffs(left_bits) - 1;
        const u32 x1 = 32 * (left_word + right) + 32 - __clz(right_bits);
        const u32 y0 = top_row + (__ffs(filled) - 1) / WARP_WORDS;
        const u32 y1 = top_row + (31 - __clz(filled)) / WARP_WORDS + 1;
        atomicAdd(area, count);
        atomicMax(&edges[0], EDGE_BASE - x0);
        atomicMax(&edges[1], EDGE_BASE - y0);
        atomicMax(&edges[2], x1);
        atomicMax(&edges[3], y1);
    }
}
