// What is visible of each layer and each scene instance (rules 5, 7 and 13).

#include "block.cuh"
#include "rules.cuh"

// A warp's part of the canvas: WARP_WORDS words across, WARP_ROWS rows. Each lane has one word.
struct Part {
    Rect rect;
    i32 left_word;
    // The lane's word column and row.
    i32 word;
    i32 row;
    // The word's pixels that are on the canvas.
    u32 valid;
};

// The address of the lane's word in mask words that are rows of `rect`, or 0 if it is not there.
__device__ __forceinline__ u64 word_address(const Part &part, const Rect &rect, u64 words) {
    const i32 column = part.word - first_word(rect);
    const i32 across = words_across(rect);
    if (column < 0 || column >= across || part.row < rect.y0 || part.row >= rect.y1) {
        return 0;
    }
    return words + 4 * (u64(part.row - rect.y0) * u64(across) + u64(column));
}

// Rule 13 for layers, from the last to the first: what is visible of each is stored in place of its
// mask. Returns the union of all masks in the lane's word.
__device__ __forceinline__ u32 uncover_layers(const Part &part, const SampleRegion &region,
                                              const LayerPlace *places, u64 words,
                                              Measure *measures) {
    u32 covered = 0;
    const u32 count = region.sample.layer_count;
    for (u32 end = (count + WARP - 1) / WARP * WARP; end > 0; end -= WARP) {
        const u32 tested = end - WARP + lane_of_thread();
        u32 listed = __ballot_sync(
            ALL_LANES, tested < count && touches(places[tested].mask_rect, part.rect));
        while (listed != 0) {
            const u32 last = 31 - u32(__clz(listed));
            listed ^= 1u << last;
            const LayerPlace &place = places[end - WARP + last];
            const u64 address = word_address(part, place.mask_rect, words + 4 * place.mask_word);
            u32 visible = 0;
            if (address != 0) {
                const u32 mask = *at_address<const u32>(address) & part.valid;
                visible = mask & ~covered;
                covered |= mask;
                *at_address<u32>(address) = visible;
            }
            Measure &measured = measures[region.sample.instance_count + end - WARP + last];
            measure(visible, part.left_word, part.rect.y0, &measured.area, measured.edges);
        }
    }
    return covered;
}

// Rules 5 and 7: the lane's word of a scene instance's cover. The warp makes one word after the
// other, each lane a pixel; an enlarged scene shows each of its rows several times.
__device__ __forceinline__ u32 cover_instance(const Part &part, const EncodedSample &sample,
                                              const EncodedInstance &instance, u64 mask,
                                              const Rect &rect, const u32 *columns) {
    const u32 box_x = instance.bounding_box[0];
    const u32 box_y = instance.bounding_box[1];
    const u32 box_width = instance.bounding_box[2];
    const i32 y0 = max(part.rect.y0, rect.y0);
    const i32 y1 = min(part.rect.y1, rect.y1);
    u32 bits[WARP_WORDS];
    u32 own = 0;
    u32 held = 0xffffffff;
    for (i32 y = y0; y < y1; ++y) {
        const i64 doubled =
            doubled_distance(y, sample.sampling.offset[1], sample.sampling.resized[1], 0);
        const u32 texel_row = nearest(doubled, sample.nearest_step[1], sample.size[1]);
        const u32 row_bit = (texel_row - box_y) * box_width;
        const i32 row_lane = WARP_WORDS * (y - part.rect.y0);
        for (u32 word = 0; word < WARP_WORDS; ++word) {
            if (texel_row != held) {
                // Within `rect` nearest texels lie in the box; the lane's pixel may be beside it.
                const i32 x = 32 * (part.left_word + i32(word)) + i32(lane_of_thread());
                bool set = false;
                if (rect.x0 <= x && x < rect.x1) {
                    const u32 bit = row_bit + columns[word] - box_x;
                    set = __ldg(at_address<const u8>(mask + bit / 8)) >> (bit % 8) & 1;
                }
                bits[word] = __ballot_sync(ALL_LANES, set);
            }
            if (i32(lane_of_thread()) == row_lane + i32(word)) {
                own = bits[word];
            }
        }
        held = texel_row;
    }
    return own;
}

// Rules 5, 7, 13 and 14 for scene instances: covers, what no layer hides of them, and both measures.
__device__ __forceinline__ void uncover_instances(const Part &part, const SampleEntry &entry,
                                                  const SampleRegion &region, u64 words,
                                                  u32 covered, Measure *measures) {
    const EncodedSample &sample = region.sample;
    const EncodedInstance *instances =
        at_address<const EncodedInstance>(entry.region + region.instances);
    const InstancePlace *places =
        at_address<const InstancePlace>(entry.region + region.instance_places);
    // Rule 5 for the pixels across. Only those inside the scene are used; the others are clamped to
    // it, so that no product is too large.
    u32 columns[WARP_WORDS];
    for (u32 word = 0; word < WARP_WORDS; ++word) {
        const i32 x = 32 * (part.left_word + i32(word)) + i32(lane_of_thread());
        const u32 resized = sample.sampling.resized[0];
        const i64 doubled =
            doubled_distance(x, sample.sampling.offset[0], resized, sample.sampling.flip);
        columns[word] =
            nearest(clamp(doubled, i64(0), 2 * i64(resized)), sample.nearest_step[0], sample.size[0]);
    }
    for (u32 first = 0; first < sample.instance_count; first += WARP) {
        const u32 tested = first + lane_of_thread();
        u32 listed = __ballot_sync(
            ALL_LANES, tested < sample.instance_count && touches(places[tested].rect, part.rect));
        while (listed != 0) {
            const u32 number = first + u32(__ffs(listed)) - 1;
            listed &= listed - 1;
            const InstancePlace &place = places[number];
            const u32 cover = cover_instance(part, sample, instances[number],
                                             entry.region + place.mask, place.rect, columns);
            const u32 visible = cover & ~covered;
            const u64 address = word_address(part, place.rect, words + 4 * place.mask_word);
            if (address != 0) {
                *at_address<u32>(address) = visible;
            }
            Measure &measured = measures[number];
            measure(cover, part.left_word, part.rect.y0, &measured.full_area, measured.full_edges);
            measure(visible, part.left_word, part.rect.y0, &measured.area, measured.edges);
        }
    }
}

// Rules 5, 7 and 13: what is visible of each layer and each scene instance, as bits, and its area
// and edges for rule 14.
//
// Grid: samples × tiles of the canvas, MASK_TILE_WORDS × MASK_TILE_ROWS, row-major. A warp has
// WARP_ROWS rows of a tile and waits for no other. Reads and writes one bit for each pixel of a
// layer's mask, reads about one bit for each pixel of an instance's cover and writes one. It changes
// the masks that `blur` reads, so it must come after it; `compose` reads none.
extern "C" __global__ void __launch_bounds__(256) visible(const BatchParameters parameters) {
    const u32 height = parameters.canvas[1];
    const u32 tiles_across = (parameters.words + MASK_TILE_WORDS - 1) / MASK_TILE_WORDS;
    const u32 tiles_down = (height + MASK_TILE_ROWS - 1) / MASK_TILE_ROWS;
    const u32 number = blockIdx.x / (tiles_across * tiles_down);
    const u32 tile = blockIdx.x % (tiles_across * tiles_down);
    const i32 left_word = MASK_TILE_WORDS * (tile % tiles_across);
    const i32 top = MASK_TILE_ROWS * (tile / tiles_across);

    const SampleEntry &entry = at_address<const SampleEntry>(parameters.directory)[number];
    const SampleRegion &region = *at_address<const SampleRegion>(entry.region);
    const LayerPlace *places = at_address<const LayerPlace>(entry.region + region.layer_places);
    const u64 words = parameters.mask_words + 4 * entry.first_mask_word;
    Measure *measures = at_address<Measure>(parameters.measures) + entry.first_candidate;

    for (u32 index = warp_of_thread(); index < MASK_TILE_ROWS / WARP_ROWS;
         index += warps_of_block()) {
        const i32 y = top + i32(index * WARP_ROWS);
        if (y >= i32(height)) {
            break;
        }
        const i32 right = min(32 * (left_word + i32(MASK_TILE_WORDS)), i32(parameters.canvas[0]));
        const Rect rect = {32 * left_word, y, right, min(y + i32(WARP_ROWS), i32(height))};
        const i32 word = left_word + i32(lane_of_thread() % WARP_WORDS);
        const i32 row = y + i32(lane_of_thread() / WARP_WORDS);
        const u32 valid = row < rect.y1 ? bits_within(word, 0, rect.x1) : 0;
        const Part part = {rect, left_word, word, row, valid};
        const u32 covered = uncover_layers(part, region, places, words, measures);
        uncover_instances(part, entry, region, words, covered, measures);
    }
}
