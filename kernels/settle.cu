// What stays of a batch, and its results (rule 14).

#include "block.cuh"
#include "rules.cuh"

// Warps of the largest block.
constexpr u32 MOST_WARPS = 32;

// A candidate's sample and its number there: scene instances first, then layers.
struct Candidate {
    const SampleRegion *region;
    u64 base;
    u32 number;
    bool is_layer;
};

// The number `index` of a sample's candidates.
__device__ __forceinline__ Candidate candidate_of(const SampleEntry &entry, u32 index) {
    const SampleRegion *region = at_address<const SampleRegion>(entry.region);
    const u32 instances = region->sample.instance_count;
    const bool is_layer = index >= instances;
    return Candidate{region, entry.region, is_layer ? index - instances : index, is_layer};
}

// Rule 14: which candidates stay, and each one's place among those of its sample.
//
// Grid: a block a sample. Reads a Measure (40 bytes) and writes a slot (4 bytes) for each candidate,
// and the sample's count.
extern "C" __global__ void __launch_bounds__(256) settle(const BatchParameters parameters) {
    __shared__ u32 counts[MOST_WARPS];
    const SampleEntry *entry = at_address<const SampleEntry>(parameters.directory) + blockIdx.x;
    const u32 first = entry[0].first_candidate;
    const u32 end = entry[1].first_candidate;
    const Measure *measures = at_address<const Measure>(parameters.measures);
    u32 *slots = at_address<u32>(parameters.slots);

    u32 before = 0;
    for (u32 chunk = first; chunk < end; chunk += blockDim.x) {
        const u32 candidate = chunk + threadIdx.x;
        const bool kept = candidate < end && stays(parameters, measures[candidate]);
        const u32 votes = __ballot_sync(ALL_LANES, kept);
        if (lane_of_thread() == 0) {
            counts[warp_of_thread()] = __popc(votes);
        }
        __syncthreads();
        u32 place = before + __popc(votes & ((1u << lane_of_thread()) - 1));
        for (u32 warp = 0; warp < warps_of_block(); ++warp) {
            place += warp < warp_of_thread() ? counts[warp] : 0;
            before += counts[warp];
        }
        if (candidate < end) {
            slots[candidate] = kept ? place : DROPPED;
        }
        // The counts are read before the next chunk's are written.
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        at_address<u32>(parameters.counts)[blockIdx.x] = before;
    }
}

// The bits of an integer below 2^24 in single precision, which has them all.
__device__ __forceinline__ u32 float_bits(u32 value) {
    if (value == 0) {
        return 0;
    }
    const u32 exponent = 31 - u32(__clz(value));
    // The leading bit carries into the exponent, which is one less for it.
    return ((126 + exponent) << 23) + (value << (23 - exponent));
}

// The bits of part / whole in single precision, rounded once to nearest even. 0 < part ≤ whole, and
// whole ≤ 2^26, the pixels of the largest canvas.
__device__ __forceinline__ u32 fraction_bits(u32 part, u32 whole) {
    // So many bits up, the quotient has the 24 bits of a float, or 23.
    u32 shift = 23 + u32(__clz(part)) - u32(__clz(whole));
    u64 quotient = (u64(part) << shift) / whole;
    if (quotient < (1 << 23)) {
        ++shift;
        quotient = (u64(part) << shift) / whole;
    }
    const u64 twice = 2 * ((u64(part) << shift) - quotient * whole);
    u32 bits = u32(quotient);
    if (twice > whole || (twice == whole && bits % 2 == 1)) {
        ++bits;
    }
    // As in `float_bits`; a quotient that was rounded up to 2^24 carries once more, as it should.
    return ((126 + 23 - shift) << 23) + bits;
}

// Writes the outputs of one candidate that stays at place `slot` among all of the batch.
__device__ __forceinline__ void write_result(const BatchParameters &parameters,
                                             const Candidate &candidate, const Measure &measure,
                                             u32 slot) {
    const SampleRegion &region = *candidate.region;
    at_address<uint4>(parameters.boxes)[slot] =
        make_uint4(float_bits(EDGE_BASE - measure.edges[0]), float_bits(EDGE_BASE - measure.edges[1]),
                   float_bits(measure.edges[2]), float_bits(measure.edges[3]));
    at_address<u32>(parameters.areas)[slot] = measure.area;
    at_address<u32>(parameters.full_areas)[slot] = measure.full_area;
    at_address<u32>(parameters.visible_fractions)[slot] =
        fraction_bits(measure.area, measure.full_area);
    at_address<u8>(parameters.is_pasted)[slot] = candidate.is_layer;
    if (candidate.is_layer) {
        const EncodedLayer &layer =
            at_address<const EncodedLayer>(candidate.base + region.layers)[candidate.number];
        const LayerPlace &place =
            at_address<const LayerPlace>(candidate.base + region.layer_places)[candidate.number];
        at_address<i64>(parameters.labels)[slot] = layer.category;
        at_address<i64>(parameters.source_ids)[slot] = i64(layer.cutout);
        at_address<u8>(parameters.iscrowd)[slot] = 0;
        at_address<u8>(parameters.ignored)[slot] = u8(place.ignored);
        at_address<i32>(parameters.layers)[slot] = i32(candidate.number);
    } else {
        const EncodedInstance &instance =
            at_address<const EncodedInstance>(candidate.base + region.instances)[candidate.number];
        at_address<i64>(parameters.labels)[slot] = instance.category;
        at_address<i64>(parameters.source_ids)[slot] = instance.annotation;
        at_address<u8>(parameters.iscrowd)[slot] = u8(instance.iscrowd);
        at_address<u8>(parameters.ignored)[slot] = 0;
        at_address<i32>(parameters.layers)[slot] = -1;
    }
}

// Rule 14's order over the whole batch: the outputs of what stays, one after another, and slots that
// are places among them.
//
// Grid: a block a sample, after `settle`. Reads the counts of the samples before it and, for each
// candidate that stays, its measures and encoding; writes 55 bytes for it, its slot, and the sample's
// first instance. The last block also writes the number of all.
extern "C" __global__ void __launch_bounds__(256) compact(const BatchParameters parameters) {
    __shared__ u32 sums[MOST_WARPS];
    const u32 *counts = at_address<const u32>(parameters.counts);
    u32 sum = 0;
    for (u32 sample = threadIdx.x; sample < blockIdx.x; sample += blockDim.x) {
        sum += counts[sample];
    }
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(ALL_LANES, sum, distance);
    }
    if (lane_of_thread() == 0) {
        sums[warp_of_thread()] = sum;
    }
    __syncthreads();
    u32 base = 0;
    for (u32 warp = 0; warp < warps_of_block(); ++warp) {
        base += sums[warp];
    }
    if (threadIdx.x == 0) {
        u32 *first_instances = at_address<u32>(parameters.first_instances);
        first_instances[blockIdx.x] = base;
        if (blockIdx.x + 1 == parameters.sample_count) {
            first_instances[blockIdx.x + 1] = base + counts[blockIdx.x];
        }
    }
    const SampleEntry *entry = at_address<const SampleEntry>(parameters.directory) + blockIdx.x;
    const u32 first = entry[0].first_candidate;
    const u32 end = entry[1].first_candidate;
    const Measure *measures = at_address<const Measure>(parameters.measures);
    u32 *slots = at_address<u32>(parameters.slots);
    for (u32 candidate = first + threadIdx.x; candidate < end; candidate += blockDim.x) {
        const u32 place = slots[candidate];
        if (place != DROPPED) {
            slots[candidate] = base + place;
            write_result(parameters, candidate_of(entry[0], candidate - first),
                         measures[candidate], base + place);
        }
    }
}

// A candidate's visible bits: rows of words, and the words and rows that its box lies in.
struct VisibleBits {
    const u32 *words;
    u32 across;
    i32 first_word;
    i32 first_row;
    u32 left;
    u32 right;
    u32 top;
    u32 bottom;

    // Word `word` of canvas row `row`.
    __device__ __forceinline__ u32 at(u32 row, u32 word) const {
        if (row < top || row >= bottom || word < left || word >= right) {
            return 0;
        }
        return words[u64(i64(row) - first_row) * across + u64(i64(word) - first_word)];
    }
};

__device__ __forceinline__ VisibleBits visible_bits(const BatchParameters &parameters,
                                                    const SampleEntry &entry,
                                                    const Candidate &candidate,
                                                    const Measure &measure) {
    Rect rect;
    u64 word;
    if (candidate.is_layer) {
        const LayerPlace &place = at_address<const LayerPlace>(
            candidate.base + candidate.region->layer_places)[candidate.number];
        rect = place.mask_rect;
        word = place.mask_word;
    } else {
        const InstancePlace &place = at_address<const InstancePlace>(
            candidate.base + candidate.region->instance_places)[candidate.number];
        rect = place.rect;
        word = place.mask_word;
    }
    const u32 *words = at_address<const u32>(parameters.mask_words) + entry.first_mask_word + word;
    return VisibleBits{words,
                       u32(words_across(rect)),
                       first_word(rect),
                       rect.y0,
                       (EDGE_BASE - measure.edges[0]) / 32,
                       (measure.edges[2] + 31) / 32,
                       EDGE_BASE - measure.edges[1],
                       measure.edges[3]};
}

// The masks of what stays, each a canvas of bits.
//
// Grid: candidates × chunks of MASKS_CHUNK_WORDS words of a mask; blocks of what was dropped return
// at once. Reads the visible bits within a candidate's box and writes every word of its mask once,
// four at a time where a row is a multiple of four words.
extern "C" __global__ void __launch_bounds__(256) masks(const BatchParameters parameters) {
    const u32 row_words = parameters.words;
    const u32 mask_words = parameters.canvas[1] * row_words;
    const u32 chunks = (mask_words + MASKS_CHUNK_WORDS - 1) / MASKS_CHUNK_WORDS;
    const u32 index = blockIdx.x / chunks;
    const u32 slot = at_address<const u32>(parameters.slots)[index];
    if (slot == DROPPED) {
        return;
    }
    const SampleEntry *directory = at_address<const SampleEntry>(parameters.directory);
    const u32 sample = last_at_most(reinterpret_cast<u64>(&directory->first_candidate),
                                    sizeof(SampleEntry), parameters.sample_count, index);
    const SampleEntry &entry = directory[sample];
    const Candidate candidate = candidate_of(entry, index - entry.first_candidate);
    const VisibleBits bits = visible_bits(parameters, entry, candidate,
                                          at_address<const Measure>(parameters.measures)[index]);

    const u32 first = blockIdx.x % chunks * MASKS_CHUNK_WORDS;
    const u32 end = min(first + MASKS_CHUNK_WORDS, mask_words);
    u32 *mask = at_address<u32>(parameters.masks) + u64(slot) * mask_words;
    if (row_words % 4 == 0) {
        for (u32 word = first + 4 * threadIdx.x; word < end; word += 4 * blockDim.x) {
            const u32 row = word / row_words;
            const u32 column = word % row_words;
            *reinterpret_cast<uint4 *>(mask + word) =
                make_uint4(bits.at(row, column), bits.at(row, column + 1), bits.at(row, column + 2),
                           bits.at(row, column + 3));
        }
    } else {
        for (u32 word = first + threadIdx.x; word < end; word += blockDim.x) {
            mask[word] = bits.at(word / row_words, word % row_words);
        }
    }
}
