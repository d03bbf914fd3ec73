// Levels of scenes that come without them, and texels on their way into the cutout cache.

#include "sample.cuh"

// Halves a tile's square of texels (rule 2): `size` is the part of `above` that there is, whose
// rows are `side` texels apart. A tile begins at even texels, so a clamped neighbour is in it.
__device__ __forceinline__ void halve(const u32 *above, u32 side, const u32 *size, u32 *below) {
    const u32 width = next_level(size[0]);
    const u32 height = next_level(size[1]);
    for (u32 item = threadIdx.x; item < side / 2 * height; item += blockDim.x) {
        const u32 x = item % (side / 2);
        const u32 y = item / (side / 2);
        if (x >= width) {
            continue;
        }
        const u32 *top = above + 2 * y * side;
        const u32 *bottom = above + min(2 * y + 1, size[1] - 1) * side;
        const u32 right = min(2 * x + 1, size[0] - 1);
        const u32 texels[4] = {top[2 * x], top[right], bottom[2 * x], bottom[right]};
        const u32 red_blue = mean_of_four(texels[0] & PACKED, texels[1] & PACKED,
                                          texels[2] & PACKED, texels[3] & PACKED);
        const u32 green = mean_of_four((texels[0] >> 8) & PACKED, (texels[1] >> 8) & PACKED,
                                       (texels[2] >> 8) & PACKED, (texels[3] >> 8) & PACKED);
        below[item] = red_blue | green << 8;
    }
}

// Rule 2: of each job's level the one `levels` further down.
//
// Grid: the tiles, MIP_TILE × MIP_TILE, of all jobs' levels. Reads 3 bytes a texel of the level that
// there is and writes 3 bytes a texel of the one to be made; those between lie in shared memory,
// 5 KiB.
extern "C" __global__ void __launch_bounds__(256) mip(const MipParameters parameters) {
    __shared__ u32 even[MIP_TILE * MIP_TILE];
    __shared__ u32 odd[MIP_TILE * MIP_TILE / 4];

    const MipJob *jobs = at_address<const MipJob>(parameters.jobs);
    const MipJob &job = jobs[last_at_most(reinterpret_cast<u64>(&jobs->first_tile), sizeof(MipJob),
                                          parameters.job_count, blockIdx.x)];
    const u32 tiles_across = (job.size[0] + MIP_TILE - 1) / MIP_TILE;
    const u32 tile_x = (blockIdx.x - job.first_tile) % tiles_across;
    const u32 tile_y = (blockIdx.x - job.first_tile) / tiles_across;
    const u32 left = MIP_TILE * tile_x;
    const u32 top = MIP_TILE * tile_y;
    u32 size[2] = {min(MIP_TILE, job.size[0] - left), min(MIP_TILE, job.size[1] - top)};
    for (u32 item = threadIdx.x; item < MIP_TILE * size[1]; item += blockDim.x) {
        if (item % MIP_TILE < size[0]) {
            const u32 texel = (top + item / MIP_TILE) * job.size[0] + left + item % MIP_TILE;
            const u32 rest = u32(job.source) & 3;
            even[item] = load_texel<3>(job.source - rest, 3 * texel + rest);
        }
    }
    u32 width = job.size[0];
    u32 height = job.size[1];
    u32 side = MIP_TILE;
    for (u32 level = 0; level < job.levels; ++level) {
        __syncthreads();
        halve(level % 2 == 0 ? even : odd, side, size, level % 2 == 0 ? odd : even);
        size[0] = next_level(size[0]);
        size[1] = next_level(size[1]);
        width = next_level(width);
        height = next_level(height);
        side /= 2;
    }
    __syncthreads();
    const u32 *made = job.levels % 2 == 0 ? even : odd;
    for (u32 item = threadIdx.x; item < side * size[1]; item += blockDim.x) {
        if (item % side < size[0]) {
            const u32 x = tile_x * side + item % side;
            const u32 y = tile_y * side + item / side;
            u8 *texel = at_address<u8>(job.target) + 3 * (u64(y) * width + x);
            texel[0] = u8(made[item]);
            texel[1] = u8(made[item] >> 8);
            texel[2] = u8(made[item] >> 16);
        }
    }
    // The last texel is read with the whole of its word, whose rest must have been written.
    const u64 bytes = 3 * u64(width) * height;
    if (blockIdx.x == job.first_tile && threadIdx.x < u32(0 - bytes) % 4) {
        at_address<u8>(job.target)[bytes + threadIdx.x] = 0;
    }
}

// Texels from the arena into the cutout cache.
//
// Grid: the chunks, STORE_CHUNK_BYTES each, of all jobs. Reads and writes each byte once, 16 at a
// time.
extern "C" __global__ void __launch_bounds__(256) store(const StoreParameters parameters) {
    const StoreJob *jobs = at_address<const StoreJob>(parameters.jobs);
    const StoreJob &job =
        jobs[last_at_most(reinterpret_cast<u64>(&jobs->first_chunk), sizeof(StoreJob),
                          parameters.job_count, blockIdx.x)];
    const u64 start = u64(blockIdx.x - job.first_chunk) * STORE_CHUNK_BYTES;
    const u64 left = job.bytes - start;
    const u32 bytes = left < STORE_CHUNK_BYTES ? u32(left) : STORE_CHUNK_BYTES;
    const uint4 *source = at_address<const uint4>(job.source + start);
    uint4 *target = at_address<uint4>(job.target + start);
    for (u32 item = threadIdx.x; item < bytes / 16; item += blockDim.x) {
        target[item] = source[item];
    }
    // At most 12 bytes are left over.
    for (u32 word = bytes / 16 * 4 + threadIdx.x; word < bytes / 4; word += blockDim.x) {
        reinterpret_cast<u32 *>(target)[word] = reinterpret_cast<const u32 *>(source)[word];
    }
}
