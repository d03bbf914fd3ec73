// Rules 4, 8, 10 and 12: the pixels of a placed source, sampled downwards column by column.
//
// A lane has one or several columns of pixels, 32 apart, so that a warp reads neighbouring texels.
// Colours are two packed words: red and blue, green and alpha.

#pragma once

#include "block.cuh"
#include "rules.cuh"

// A colour in packed words; in between the passes of rule 4 with 16 bits a channel.
struct Colour {
    u32 red_blue;
    u32 green_alpha;
};

// The texel at byte `offset` from `texels`, a multiple of 4; red in the lowest byte. With 3 bytes a
// texel the highest byte is of no meaning, and only the words that hold the texel are read.
template <u32 CHANNELS>
__device__ __forceinline__ u32 load_texel(u64 texels, u32 offset) {
    if (CHANNELS == 4) {
        return __ldg(at_address<const u32>(texels + offset));
    }
    const u32 low = __ldg(at_address<const u32>(texels + (offset & ~3u)));
    const u32 high = __ldg(at_address<const u32>(texels + ((offset + 2) & ~3u)));
    return __funnelshift_r(low, high, 8 * (offset & 3));
}

// Rule 4's first blend: the texels `first` and `second` bytes into the row at byte `row`.
template <u32 CHANNELS>
__device__ __forceinline__ Colour sample_across(u64 texels, u32 row, const Tap &tap) {
    const u32 first = load_texel<CHANNELS>(texels, row + tap.first);
    const u32 second = load_texel<CHANNELS>(texels, row + tap.second);
    return Colour{blend_across(first & PACKED, second & PACKED, tap.weight),
                  blend_across((first >> 8) & PACKED, (second >> 8) & PACKED, tap.weight)};
}

// Rule 4's second blend for red, green and blue; red in the lowest byte, the highest is 0.
__device__ __forceinline__ u32 colour_down(const Colour &top, const Colour &bottom, u32 weight) {
    const u32 red = blend_down(top.red_blue & 0xffff, bottom.red_blue & 0xffff, weight);
    const u32 blue = blend_down(top.red_blue >> 16, bottom.red_blue >> 16, weight);
    const u32 green = blend_down(top.green_alpha & 0xffff, bottom.green_alpha & 0xffff, weight);
    // Of each sum byte 2 is the result and byte 3 is 0.
    return __byte_perm(__byte_perm(red, green, 0x3762), blue, 0x3610);
}

// Rule 4's second blend for alpha.
__device__ __forceinline__ u32 alpha_down(const Colour &top, const Colour &bottom, u32 weight) {
    return blend_down(top.green_alpha >> 16, bottom.green_alpha >> 16, weight) >> 16;
}

// An upright source, row by row downwards: COLUMNS columns of pixels a lane. Two texel rows blended
// along x are kept while consecutive rows of pixels need them again; which they are is the same for
// all lanes, so no warp diverges.
template <u32 CHANNELS, u32 COLUMNS>
struct UprightColumns {
    u64 texels;
    u32 row_bytes;
    i32 last_row;
    i64 down;
    i64 step_down;
    i32 held;
    Tap across[COLUMNS];
    Colour top[COLUMNS];
    Colour bottom[COLUMNS];

    // Begins at pixel (x, y). Pixels may lie a few hundred pixels outside the source: there, and
    // for sources of any size, no position reaches 2^63.
    __device__ __forceinline__ UprightColumns(const Sampling &sampling, u64 address, i32 x, i32 y) {
        // An address that is no multiple of 4 becomes one, and its rest a part of the offsets.
        const u32 rest = u32(address) & 3;
        texels = address - rest;
        row_bytes = CHANNELS * sampling.level[0];
        last_row = i32(sampling.level[1]) - 1;
        step_down = sampling.step[1];
        down = position(doubled_distance(y, sampling.offset[1], sampling.resized[1], 0), step_down);
        // No row, and none that is one before a row.
        held = -0x40000000;
        const i64 step = sampling.flip ? -sampling.step[0] : sampling.step[0];
        const i64 first = doubled_distance(x, sampling.offset[0], sampling.resized[0], sampling.flip);
        i64 along = position(first, sampling.step[0]);
        for (u32 column = 0; column < COLUMNS; ++column) {
            const Tap tap = tap_at(along, sampling.level[0]);
            across[column].first = CHANNELS * tap.first + rest;
            across[column].second = CHANNELS * tap.second + rest;
            across[column].weight = tap.weight;
            along += i64(WARP) * step;
        }
    }

    // Makes `top` and `bottom` those of the row of pixels.
    __device__ __forceinline__ void load() {
        const i32 row = texel_at(down);
        if (row == held) {
            return;
        }
        const bool follows = row == held + 1;
        const u32 first = row_bytes * u32(clamp(row, 0, last_row));
        const u32 second = row_bytes * u32(clamp(row + 1, 0, last_row));
        for (u32 column = 0; column < COLUMNS; ++column) {
            if (follows) {
                top[column] = bottom[column];
            } else {
                top[column] = sample_across<CHANNELS>(texels, first, across[column]);
            }
        }
        for (u32 column = 0; column < COLUMNS; ++column) {
            bottom[column] = sample_across<CHANNELS>(texels, second, across[column]);
        }
        held = row;
    }

    // After `load`: red, green and blue of a column's pixel, red in the lowest byte.
    __device__ __forceinline__ u32 colour(u32 column) const {
        return colour_down(top[column], bottom[column], weight_at(down));
    }

    // After `load`: alpha of a column's pixel.
    __device__ __forceinline__ u32 alpha(u32 column) const {
        return alpha_down(top[column], bottom[column], weight_at(down));
    }

    __device__ __forceinline__ bool is_inside() const {
        return true;
    }

    // On to the next row of pixels, whether this one was loaded or not.
    __device__ __forceinline__ void advance() {
        down += step_down;
    }
};

// Rule 12: a rotated cutout, one column of pixels a lane, with the same functions.
struct RotatedColumn {
    u64 texels;
    // Of the placement the steps are read again for each row: no lane has registers for them.
    const Sampling *sampling;
    u32 level[2];
    u32 resized[2];
    i64 distance[2];
    i64 step[2];
    u32 weight;
    Colour top;
    Colour bottom;

    __device__ __forceinline__ RotatedColumn(const Sampling &placed, u64 address, i32 x, i32 y)
        : texels(address),
          sampling(&placed),
          level{placed.level[0], placed.level[1]},
          resized{placed.resized[0], placed.resized[1]} {
        const i64 width = placed.resized[0];
        const i64 height = placed.resized[1];
        const i64 cos = placed.cos;
        const i64 sin = placed.sin;
        const i64 dx = 2 * i64(x) + 1 - (2 * i64(placed.offset[0]) + width);
        const i64 dy = 2 * i64(y) + 1 - (2 * i64(placed.offset[1]) + height);
        const i64 across = cos * dx - sin * dy + (width << (ROTATED_BITS - 1));
        distance[0] = placed.flip ? (width << ROTATED_BITS) - across : across;
        distance[1] = sin * dx + cos * dy + (height << (ROTATED_BITS - 1));
        // One row further down dy grows by 2.
        step[0] = placed.flip ? 2 * sin : -2 * sin;
        step[1] = 2 * cos;
    }

    __device__ __forceinline__ void load() {
        Tap across = rotated_tap(distance[0], sampling->step[0], resized[0], level[0]);
        const Tap down = rotated_tap(distance[1], sampling->step[1], resized[1], level[1]);
        across.first *= 4;
        across.second *= 4;
        top = sample_across<4>(texels, 4 * level[0] * down.first, across);
        bottom = sample_across<4>(texels, 4 * level[0] * down.second, across);
        weight = down.weight;
    }

    __device__ __forceinline__ u32 colour(u32) const {
        return colour_down(top, bottom, weight);
    }

    __device__ __forceinline__ u32 alpha(u32) const {
        return alpha_down(top, bottom, weight);
    }

    __device__ __forceinline__ bool is_inside() const {
        return is_inside_rotated(distance[0], resized[0]) &&
               is_inside_rotated(distance[1], resized[1]);
    }

    __device__ __forceinline__ void advance() {
        distance[0] += step[0];
        distance[1] += step[1];
    }
};
