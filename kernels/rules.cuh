// Part 1 of the specification, rule by rule: src/compose/rules.rs for kernels, with its names.
//
// Where two channels of 8 bits fit into one word of 32 with 16 bits each, a function takes both at
// once: red in the low half and blue in the high one, or green and alpha ("packed").

#pragma once

#include "layout.cuh"

#define RULE __host__ __device__ __forceinline__

// Fraction bits of a rotated coordinate: distances are in 2^-19 of a resized pixel (rule 12).
constexpr u32 ROTATED_BITS = 19;

// The bytes of a packed word that hold its two channels.
constexpr u32 PACKED = 0x00ff00ff;

RULE i32 clamp(i32 value, i32 low, i32 high) {
    return value < low ? low : value > high ? high : value;
}

RULE i64 clamp(i64 value, i64 low, i64 high) {
    return value < low ? low : value > high ? high : value;
}

// Rule 1: twice the distance of canvas pixel `x`'s centre from the placed source's left edge.
RULE i64 doubled_distance(i32 x, i32 offset, u32 resized, u32 flip) {
    const i64 distance = 2 * (i64(x) - i64(offset)) + 1;
    return flip ? 2 * i64(resized) - distance : distance;
}

// Rule 2: one side of the mip level below a level.
RULE u32 next_level(u32 side) {
    return (side + 1) >> 1;
}

// Rule 2: the means of four texels, packed. The sums have 10 bits.
RULE u32 mean_of_four(u32 a, u32 b, u32 c, u32 d) {
    return ((a + b + c + d + 0x00020002) >> 2) & PACKED;
}

// Rule 4: two texels of an axis and the weight of the second, 0..=255 in 256ths.
struct Tap {
    u32 first;
    u32 second;
    u32 weight;
};

// Rule 4: where between texels a doubled distance lies, in 2^-32 of a texel.
//
// The rule clamps the distance to the source first. Callers need not while the product fits: a
// distance beyond an edge makes both texels the edge's own, whose blend is that texel for any
// weight. One pixel further on, the position is one step further on, to the bit.
RULE i64 position(i64 doubled, i64 step) {
    return ((step * doubled) >> 1) - (i64(1) << 31);
}

// Rule 4: the first texel of a position, not yet clamped to the level.
RULE i32 texel_at(i64 position) {
    return i32(position >> 32);
}

// Rule 4: the weight of the second texel of a position.
RULE u32 weight_at(i64 position) {
    return u32(u64(position) >> 24) & 255;
}

// Rule 4: the tap of a position.
RULE Tap tap_at(i64 position, u32 level_side) {
    const i32 first = texel_at(position);
    const i32 last = i32(level_side) - 1;
    return Tap{u32(clamp(first, 0, last)), u32(clamp(first + 1, 0, last)), weight_at(position)};
}

// Rule 12's form of rule 4: the tap of a distance in 2^-19 of a resized pixel.
RULE Tap rotated_tap(i64 distance, i64 step, u32 resized, u32 level_side) {
    const i64 clamped = clamp(distance, i64(0), i64(resized) << ROTATED_BITS);
    return tap_at(((step * clamped) >> 15) - (i64(1) << 31), level_side);
}

// Rule 12: whether a distance in 2^-19 of a resized pixel lies within the resized side.
RULE bool is_inside_rotated(i64 distance, u32 resized) {
    return 0 < distance && distance < i64(resized) << ROTATED_BITS;
}

// Rule 4: one blend along x, packed, kept in 256ths; at most 255·256, so it fits 16 bits.
RULE u32 blend_across(u32 first, u32 second, u32 weight) {
    return (256 - weight) * first + weight * second;
}

// Rule 4: the blend along y of one channel of two values of `blend_across`, before its shift by
// 16. It has 24 bits, so the result is byte 2 and byte 3 is 0.
RULE u32 blend_down(u32 top, u32 bottom, u32 weight) {
    return (256 - weight) * top + weight * bottom + 32768;
}

// Rule 5: the nearest texel of level 0 for a doubled distance that is inside.
RULE u32 nearest(i64 doubled, i64 step, u32 source_side) {
    return u32(clamp((step * doubled) >> 33, i64(0), i64(source_side) - 1));
}

// Rule 6: one row [m0, m1, m2, b] of a colour matrix in 1024ths. |m| ≤ 2^13 and |b| ≤ 2^20, so
// the sum fits; it is taken without a sign because that is the same sum and cannot overflow.
RULE u32 apply_colour_row(const i32 *row, u32 red, u32 green, u32 blue) {
    const u32 sum = u32(row[0]) * red + u32(row[1]) * green + u32(row[2]) * blue + u32(row[3]) + 512;
    return u32(clamp(i32(sum) >> 10, 0, 255));
}

// Rule 6: a colour, red in the lowest byte, through a matrix of 3 rows.
RULE u32 apply_colour(const i32 *matrix, u32 colour) {
    const u32 red = colour & 255;
    const u32 green = (colour >> 8) & 255;
    const u32 blue = (colour >> 16) & 255;
    return apply_colour_row(matrix, red, green, blue) |
           apply_colour_row(matrix + 4, red, green, blue) << 8 |
           apply_colour_row(matrix + 8, red, green, blue) << 16;
}

// Rule 8: whether a coverage belongs to the mask.
RULE bool in_mask(u32 coverage) {
    return coverage >= 128;
}

// Rule 9: the sum of one filter pass, rounded to 8 bits.
RULE u32 round_filtered(u32 sum) {
    return (sum + 32768) >> 16;
}

// Rule 11, packed: `foreground` over `background` with weight `a` in 255ths. All sums stay below
// 2^16, so no channel reaches the other.
RULE u32 blend_packed(u32 foreground, u32 background, u32 a) {
    const u32 u = foreground * a + background * (255 - a) + 0x00800080;
    return ((u + ((u >> 8) & PACKED)) >> 8) & PACKED;
}

// Rule 11 for a colour, red in the lowest byte.
RULE u32 blend(u32 foreground, u32 background, u32 a) {
    const u32 red_blue = blend_packed(foreground & PACKED, background & PACKED, a);
    const u32 green = blend_packed((foreground >> 8) & 255, (background >> 8) & 255, a);
    return red_blue | green << 8;
}

// Rule 14: how far the furthest of four edges moved. Edges are kept as in Measure, where the
// differences are the same.
RULE u32 largest_shift(const u32 *before, const u32 *after) {
    u32 largest = 0;
    for (u32 edge = 0; edge < 4; ++edge) {
        const u32 b = before[edge];
        const u32 a = after[edge];
        const u32 shift = a < b ? b - a : a - b;
        largest = shift > largest ? shift : largest;
    }
    return largest;
}

// Rule 14: whether a candidate stays.
RULE bool stays(const BatchParameters &keep, const Measure &measure) {
    const u64 visible = measure.area;
    if (visible == 0 || 1000 * visible < u64(keep.min_visible_permille) * measure.full_area) {
        return false;
    }
    return visible >= keep.min_area ||
           (keep.has_max_box_shift &&
            largest_shift(measure.full_edges, measure.edges) <= keep.max_box_shift);
}
