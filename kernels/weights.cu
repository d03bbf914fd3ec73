// Masks and blend weights of layers (rules 8 and 9).

#include "sample.cuh"

// Where a block's tile of a layer is.
struct LayerTile {
    const SampleEntry *entry;
    const SampleRegion *region;
    const EncodedLayer *layer;
    const LayerPlace *place;
    // The layer's number in its sample.
    u32 number;
    // The tile's number in its layer.
    u32 tile;
};

// Finds the tile of this block: `first_tile` is where a SampleEntry has its first tile of the
// kernel, `layer_tile` where a LayerPlace has its own.
__device__ __forceinline__ LayerTile find_layer_tile(const BatchParameters &parameters,
                                                     u32 SampleEntry::*first_tile,
                                                     u32 LayerPlace::*layer_tile) {
    const SampleEntry *directory = at_address<const SampleEntry>(parameters.directory);
    const u64 sample_keys = reinterpret_cast<u64>(&(directory->*first_tile));
    const u32 sample =
        last_at_most(sample_keys, sizeof(SampleEntry), parameters.sample_count, blockIdx.x);
    const SampleEntry *entry = directory + sample;
    const SampleRegion *region = at_address<const SampleRegion>(entry->region);
    const LayerPlace *places = at_address<const LayerPlace>(entry->region + region->layer_places);
    const u32 tile = blockIdx.x - entry->*first_tile;
    const u64 layer_keys = reinterpret_cast<u64>(&(places->*layer_tile));
    const u32 layer =
        last_at_most(layer_keys, sizeof(LayerPlace), region->sample.layer_count, tile);
    const EncodedLayer *layers = at_address<const EncodedLayer>(entry->region + region->layers);
    return LayerTile{entry,          region, layers + layer,
                     places + layer, layer,  tile - places[layer].*layer_tile};
}

// The mask bits of one column of words, WARP_ROWS rows from `y` on: each lane is a pixel across,
// and the lane whose word it is keeps it.
template <typename Columns>
__device__ __forceinline__ u32 cover_words(Columns columns, const Rect &mask, i32 x, i32 y,
                                           u32 word) {
    const bool within = mask.x0 <= x && x < mask.x1;
    const i32 end = min(y + i32(WARP_ROWS), mask.y1);
    u32 own = 0;
    for (u32 lane = word; y < end; ++y, lane += WARP_WORDS) {
        columns.load();
        const bool covered = within && columns.is_inside() && in_mask(columns.alpha(0));
        const u32 bits = __ballot_sync(ALL_LANES, covered);
        if (lane == lane_of_thread()) {
            own = bits;
        }
        columns.advance();
    }
    return own;
}

// Rule 8: the mask of every layer, and what of it is on the canvas before occlusion (rule 14).
//
// Grid: the tiles, MASK_TILE_WORDS × MASK_TILE_ROWS, of the words of all layers' `mask_rect`. A warp
// makes WARP_ROWS rows of a tile. Reads 8 bytes of texels for a pixel and another row of texels (the
// bilinear sample of alpha), most from the L1 cache; writes one bit a pixel.
extern "C" __global__ void __launch_bounds__(256) cover(const BatchParameters parameters) {
    const LayerTile found =
        find_layer_tile(parameters, &SampleEntry::first_cover_tile, &LayerPlace::cover_tile);
    const Sampling &sampling = found.layer->sampling;
    const u64 texels = found.place->texels;
    const Rect mask = found.place->mask_rect;
    const i32 words = words_across(mask);
    const u32 tiles_across = (u32(words) + MASK_TILE_WORDS - 1) / MASK_TILE_WORDS;
    const i32 left = MASK_TILE_WORDS * (found.tile % tiles_across);
    const i32 top = MASK_TILE_ROWS * (found.tile / tiles_across);

    u32 *stored = at_address<u32>(parameters.mask_words) + found.entry->first_mask_word +
                  found.place->mask_word;
    Measure *measured = at_address<Measure>(parameters.measures) + found.entry->first_candidate +
                        found.region->sample.instance_count + found.number;

    for (u32 part = warp_of_thread(); part < MASK_TILE_ROWS / WARP_ROWS; part += warps_of_block()) {
        const i32 y = mask.y0 + top + i32(part * WARP_ROWS);
        if (y >= mask.y1) {
            break;
        }
        u32 own = 0;
        for (u32 word = 0; word < WARP_WORDS && left + i32(word) < words; ++word) {
            const i32 x = 32 * (first_word(mask) + left + i32(word)) + i32(lane_of_thread());
            if (sampling.rotated) {
                own |= cover_words(RotatedColumn(sampling, texels, x, y), mask, x, y, word);
            } else {
                own |= cover_words(UprightColumns<4, 1>(sampling, texels, x, y), mask, x, y, word);
            }
        }
        const i32 column = left + i32(lane_of_thread() % WARP_WORDS);
        const i32 row = i32(lane_of_thread() / WARP_WORDS);
        if (column < words && y + row < mask.y1) {
            stored[u64(y + row - mask.y0) * words + column] = own;
        }
        const bool on_canvas = 0 <= y + row && y + row < i32(parameters.canvas[1]);
        const i32 first = first_word(mask) + left;
        own &= on_canvas ? bits_within(first + i32(lane_of_thread() % WARP_WORDS), 0,
                                       i32(parameters.canvas[0]))
                         : 0;
        measure(own, first, y, &measured->full_area, measured->full_edges);
    }
}

// Rule 9 allows no filter of a larger radius.
constexpr u32 MOST_RADIUS = 30;
// The widest window of a tile of `blur`: its pixels and the filter's radius on all sides.
constexpr u32 WINDOW_ROWS = BLUR_TILE_ROWS + 2 * MOST_RADIUS;
// Words of a window row, which begins at any bit of the first one.
constexpr u32 WINDOW_WORDS = (31 + BLUR_TILE_WIDTH + 2 * MOST_RADIUS + 31) / 32;
constexpr u32 TILE_QUADS = BLUR_TILE_WIDTH / 4;

// The sum of a filter's weights under the set bits of a window: run by run, since a mask has few.
// `sums` has the sums of the first 0, 1, 2 … weights.
__device__ __forceinline__ u32 weigh(u64 bits, const u32 *sums) {
    u32 sum = 0;
    while (bits != 0) {
        const u32 end = 64 - __clzll(i64(bits));
        const u64 below = (u64(1) << end) - 1;
        const u64 gap = ~bits & below;
        const u32 start = gap == 0 ? 0 : 64 - __clzll(i64(gap));
        sum += sums[end] - sums[start];
        bits &= (u64(1) << start) - 1;
    }
    return sum;
}

// Rule 9's second pass for four neighbouring pixels at once, whose filtered bytes are the words of
// `column`, TILE_QUADS apart. A filter is symmetric, so rows at equal distance share a product.
__device__ __forceinline__ u32 filter_down(const u32 *column, const u32 *filter, u32 radius) {
    const u32 centre = column[radius * TILE_QUADS];
    u32 sums[4];
    for (u32 pixel = 0; pixel < 4; ++pixel) {
        sums[pixel] = filter[radius] * ((centre >> (8 * pixel)) & 255);
    }
    for (u32 row = 0; row < radius; ++row) {
        const u32 above = column[row * TILE_QUADS];
        const u32 below = column[(2 * radius - row) * TILE_QUADS];
        const u32 even = (above & PACKED) + (below & PACKED);
        const u32 odd = ((above >> 8) & PACKED) + ((below >> 8) & PACKED);
        const u32 weight = filter[row];
        sums[0] += weight * (even & 0xffff);
        sums[1] += weight * (odd & 0xffff);
        sums[2] += weight * (even >> 16);
        sums[3] += weight * (odd >> 16);
    }
    return round_filtered(sums[0]) | round_filtered(sums[1]) << 8 | round_filtered(sums[2]) << 16 |
           round_filtered(sums[3]) << 24;
}

// Rule 9: the blend weights of the layers that have a filter.
//
// Grid: the tiles, BLUR_TILE_WIDTH × BLUR_TILE_ROWS, of these layers' `rect`. Reads the mask bits of
// the tile grown by the radius, which `cover` made (`visible` changes them: it must come after), and
// writes one byte a pixel, four at a time. Both passes lie in shared memory, 8 KiB. A filter's
// weights sum to 65536, so a window that is all mask gives 255 and one without mask gives 0.
extern "C" __global__ void __launch_bounds__(256) blur(const BatchParameters parameters) {
    __shared__ u32 filter[2 * MOST_RADIUS + 1];
    __shared__ u32 sums[2 * MOST_RADIUS + 2];
    __shared__ u32 window[WINDOW_ROWS * WINDOW_WORDS];
    __shared__ u32 across[WINDOW_ROWS * TILE_QUADS];

    const LayerTile found =
        find_layer_tile(parameters, &SampleEntry::first_blur_tile, &LayerPlace::blur_tile);
    const Rect mask = found.place->mask_rect;
    const Rect rect = found.place->rect;
    const u32 radius = found.layer->radius;
    const i32 width = rect.x1 - rect.x0;
    const u32 tiles_across = (u32(width) + BLUR_TILE_WIDTH - 1) / BLUR_TILE_WIDTH;
    const i32 left = BLUR_TILE_WIDTH * (found.tile % tiles_across);
    const i32 top = BLUR_TILE_ROWS * (found.tile / tiles_across);
    const i32 end_x = min(left + i32(BLUR_TILE_WIDTH), width);
    const i32 end_y = min(top + i32(BLUR_TILE_ROWS), rect.y1 - rect.y0);

    // The window on the canvas.
    const Rect seen = {rect.x0 + left - i32(radius), rect.y0 + top - i32(radius),
                       rect.x0 + end_x + i32(radius), rect.y0 + end_y + i32(radius)};
    const u32 rows = u32(seen.y1 - seen.y0);
    const u32 *stored = at_address<const u32>(parameters.mask_words) +
                        found.entry->first_mask_word + found.place->mask_word;
    bool some = false;
    bool all = true;
    for (u32 item = threadIdx.x; item < rows * WINDOW_WORDS; item += blockDim.x) {
        const i32 y = seen.y0 + i32(item / WINDOW_WORDS);
        const i32 word = first_word(seen) + i32(item % WINDOW_WORDS);
        const i32 column = word - first_word(mask);
        const u32 needed = bits_within(word, seen.x0, seen.x1);
        u32 bits = 0;
        if (needed != 0 && mask.y0 <= y && y < mask.y1 && 0 <= column && column < words_across(mask)) {
            bits = needed & stored[u64(y - mask.y0) * words_across(mask) + column];
        }
        window[item] = bits;
        some |= bits != 0;
        all &= bits == needed;
    }
    const u32 *weights = at_address<const u32>(found.entry->region + found.region->filters) +
                         found.layer->filter;
    for (u32 item = threadIdx.x; item < 2 * radius + 1; item += blockDim.x) {
        filter[item] = weights[item];
    }
    const bool empty = !__syncthreads_or(some);
    const bool full = __syncthreads_and(all);

    const u64 target = parameters.weights + found.entry->first_weight + found.place->weight;
    if (!empty && !full) {
        for (u32 item = threadIdx.x; item < 2 * radius + 2; item += blockDim.x) {
            u32 sum = 0;
            for (u32 before = 0; before < item; ++before) {
                sum += filter[before];
            }
            sums[item] = sum;
        }
        __syncthreads();
        for (u32 item = threadIdx.x; item < rows * BLUR_TILE_WIDTH; item += blockDim.x) {
            // The pixel's window begins at the same column of the tile's window.
            const u32 bit = u32(seen.x0 - 32 * first_word(seen)) + item % BLUR_TILE_WIDTH;
            const u32 *row = &window[item / BLUR_TILE_WIDTH * WINDOW_WORDS + bit / 32];
            const u64 bits = u64(__funnelshift_r(row[0], row[1], bit % 32)) |
                             u64(__funnelshift_r(row[1], row[2], bit % 32)) << 32;
            const u32 sum = weigh(bits & ((u64(1) << (2 * radius + 1)) - 1), sums);
            reinterpret_cast<u8 *>(across)[item] = u8(round_filtered(255 * sum));
        }
        __syncthreads();
    }
    for (u32 item = threadIdx.x; item < BLUR_TILE_ROWS * TILE_QUADS; item += blockDim.x) {
        const i32 x = left + 4 * i32(item % TILE_QUADS);
        const i32 y = top + i32(item / TILE_QUADS);
        if (x < end_x && y < end_y) {
            // The rows of a pixel's window begin at the same row of the tile's window.
            const u32 value = empty  ? 0
                              : full ? 0xffffffff
                                     : filter_down(&across[item], filter, radius);
            // A word may end in the row's padding.
            *at_address<u32>(target + u64(y) * weight_stride(rect) + u64(x)) = value;
        }
    }
}
