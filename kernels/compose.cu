// The images: the scene, its layers, and the table (rules 7, 9, 10, 11 and 15).

#include "sample.cuh"

// Rows of a tile that one warp composes: it goes down them, so that texel rows are blended once.
constexpr u32 STRIP_ROWS = 8;
constexpr u32 STRIPS = COMPOSE_TILE_ROWS / STRIP_ROWS;
// Columns of a strip that a lane has, WARP pixels apart.
constexpr u32 STRIP_COLUMNS = COMPOSE_TILE_WIDTH / WARP;
constexpr u32 STRIP_QUADS = COMPOSE_TILE_WIDTH / 4;

// A block's sample. It lies in shared memory, since registers are what limits how many warps fit.
struct Sample {
    const EncodedSample *encoded;
    const EncodedLayer *layers;
    const LayerPlace *places;
    u64 scene;
    u64 weights;

    __device__ __forceinline__ void load(const BatchParameters &parameters, u32 number) {
        const SampleEntry &entry = at_address<const SampleEntry>(parameters.directory)[number];
        const SampleRegion &region = *at_address<const SampleRegion>(entry.region);
        encoded = &region.sample;
        layers = at_address<const EncodedLayer>(entry.region + region.layers);
        places = at_address<const LayerPlace>(entry.region + region.layer_places);
        scene = entry.scene;
        weights = parameters.weights + entry.first_weight;
    }
};

// A strip in shared memory: a word a pixel, red in the lowest byte. A pixel belongs to one lane from
// the scene to the last layer.
struct Strip {
    u32 *pixels;
    // Room for the colour matrix at work, which every pixel needs and no lane has registers for.
    i32 *matrix;
    // Its part of the canvas.
    Rect rect;

    __device__ __forceinline__ u32 &at(i32 x, i32 y) const {
        return pixels[(y - rect.y0) * i32(COMPOSE_TILE_WIDTH) + (x - rect.x0)];
    }
};

// Rule 6 where a matrix changes anything.
struct ColourMatrix {
    bool identity;
    const i32 *values;

    // All lanes bring it to the strip's shared memory together.
    __device__ __forceinline__ ColourMatrix(const i32 *matrix, const Strip &strip) {
        const u32 lane = lane_of_thread();
        const i32 value = lane < 12 ? matrix[lane] : 0;
        identity = __all_sync(ALL_LANES, lane >= 12 || value == (lane % 5 == 0 ? 1024 : 0));
        values = strip.matrix;
        // No lane may still read the matrix before, or read this one too early.
        __syncwarp();
        if (lane < 12) {
            strip.matrix[lane] = value;
        }
        __syncwarp();
    }

    __device__ __forceinline__ u32 apply(u32 colour) const {
        return identity ? colour : apply_colour(values, colour);
    }
};

// Rule 7.
__device__ __forceinline__ void compose_scene(const EncodedSample &sample, u64 texels, u32 pad,
                                              const Strip &strip) {
    const i32 x = strip.rect.x0 + i32(lane_of_thread());
    const Rect inside = sample.inside;
    const i32 y0 = max(strip.rect.y0, inside.y0);
    const i32 y1 = min(strip.rect.y1, inside.y1);
    for (i32 y = strip.rect.y0; y < strip.rect.y1; ++y) {
        for (u32 column = 0; column < STRIP_COLUMNS; ++column) {
            strip.at(x + i32(WARP * column), y) = pad;
        }
    }
    if (!touches(inside, strip.rect)) {
        return;
    }
    const ColourMatrix matrix(sample.color, strip);
    UprightColumns<3, STRIP_COLUMNS> scene(sample.sampling, texels, x, y0);
    for (i32 y = y0; y < y1; ++y) {
        scene.load();
        for (u32 column = 0; column < STRIP_COLUMNS; ++column) {
            const i32 at = x + i32(WARP * column);
            if (inside.x0 <= at && at < inside.x1) {
                strip.at(at, y) = matrix.apply(scene.colour(column));
            }
        }
        scene.advance();
    }
}

// Rules 9, 10 and 11 for one lane's column of a layer: rows y0..y1. `weights` is the address of the
// stored weight at row y0, if the layer has a filter.
template <typename Columns>
__device__ __forceinline__ void compose_column(const EncodedLayer &layer, const Rect &rect,
                                               u64 weights, Columns columns, const Strip &strip,
                                               i32 x, i32 y0, i32 y1) {
    const bool within = rect.x0 <= x && x < rect.x1;
    const ColourMatrix matrix(layer.color, strip);
    // Not in the loop, whose stores could change it for all that the compiler knows.
    const u32 kind = layer.weight;
    for (i32 y = y0; y < y1; ++y) {
        u32 a = 0;
        bool sampled = true;
        if (kind == WEIGHT_FILTERED) {
            a = within ? __ldg(at_address<const u8>(weights)) : 0;
            weights += weight_stride(rect);
            sampled = __any_sync(ALL_LANES, a != 0);
        }
        if (sampled) {
            columns.load();
            if (kind != WEIGHT_FILTERED && within && columns.is_inside()) {
                const u32 coverage = columns.alpha(0);
                a = kind == WEIGHT_SOFT ? coverage : in_mask(coverage) ? 255 : 0;
            }
            // Without weight rule 11 changes nothing, and with all of it the layer's colour is left.
            if (a != 0) {
                const u32 colour = matrix.apply(columns.colour(0));
                u32 &pixel = strip.at(x, y);
                pixel = a == 255 ? colour : blend(colour, pixel, a);
            }
        }
        columns.advance();
    }
}

// One layer over the strip, a column of each lane after the other.
__device__ __forceinline__ void compose_layer(const EncodedLayer &layer, const LayerPlace &place,
                                              u64 first_weight, const Strip &strip) {
    const Rect rect = place.rect;
    const i32 y0 = max(strip.rect.y0, rect.y0);
    const i32 y1 = min(strip.rect.y1, rect.y1);
    for (i32 left = strip.rect.x0; left < strip.rect.x1; left += WARP) {
        if (rect.x0 >= left + i32(WARP) || rect.x1 <= left) {
            continue;
        }
        const i32 x = left + i32(lane_of_thread());
        const u64 weights = first_weight + place.weight + u64(y0 - rect.y0) * weight_stride(rect) +
                            u64(i64(x - rect.x0));
        if (layer.sampling.rotated) {
            const RotatedColumn column(layer.sampling, place.texels, x, y0);
            compose_column(layer, rect, weights, column, strip, x, y0, y1);
        } else {
            const UprightColumns<4, 1> column(layer.sampling, place.texels, x, y0);
            compose_column(layer, rect, weights, column, strip, x, y0, y1);
        }
    }
}

// All layers over the strip in plan order. Each lane looks whether one of 32 layers touches it.
__device__ __forceinline__ void compose_layers(const Sample &sample, const Strip &strip) {
    const u32 count = sample.encoded->layer_count;
    for (u32 first = 0; first < count; first += WARP) {
        const u32 tested = first + lane_of_thread();
        const bool touched = tested < count && touches(sample.places[tested].rect, strip.rect);
        u32 listed = __ballot_sync(ALL_LANES, touched);
        while (listed != 0) {
            const u32 number = first + u32(__ffs(listed)) - 1;
            listed &= listed - 1;
            compose_layer(sample.layers[number], sample.places[number], sample.weights, strip);
        }
    }
}

// Four elements side by side, stored at once. `address` is a multiple of their size.
__device__ __forceinline__ void store_elements(u64 address, u32 element_bytes, u32 a, u32 b, u32 c,
                                               u32 d) {
    if (element_bytes == 1) {
        *at_address<u32>(address) = a | b << 8 | c << 16 | d << 24;
    } else if (element_bytes == 2) {
        *at_address<uint2>(address) = make_uint2(a | b << 16, c | d << 16);
    } else {
        *at_address<uint4>(address) = make_uint4(a, b, c, d);
    }
}

__device__ __forceinline__ void store_element(u64 address, u32 element_bytes, u32 element) {
    if (element_bytes == 1) {
        *at_address<u8>(address) = u8(element);
    } else if (element_bytes == 2) {
        *at_address<u16>(address) = u16(element);
    } else {
        *at_address<u32>(address) = element;
    }
}

// Where a sample's image is, and what its elements are.
struct Image {
    u64 address;
    u32 element_bytes;
    // Elements of a channel's plane.
    u32 plane;
    // Rule 15's table in shared memory, an element a word; the values themselves for 8 bits.
    const u32 *table;

    __device__ __forceinline__ u32 element(u32 pixel, u32 channel) const {
        return table[256 * channel + ((pixel >> (8 * channel)) & 255)];
    }

    // Pixel number `first` and the three after it, a multiple of 4. Three stores take 12 elements:
    // one a plane, or side by side.
    template <bool INTERLEAVED>
    __device__ __forceinline__ void store_quad(u32 first, uint4 quad) const {
        const u32 pixels[4] = {quad.x, quad.y, quad.z, quad.w};
        for (u32 store = 0; store < 3; ++store) {
            u32 elements[4];
            for (u32 place = 0; place < 4; ++place) {
                const u32 flat = 4 * store + place;
                elements[place] = INTERLEAVED ? element(pixels[flat / 3], flat % 3)
                                              : element(pixels[place], store);
            }
            const u32 index = INTERLEAVED ? 3 * first + 4 * store : store * plane + first;
            store_elements(address + u64(index) * element_bytes, element_bytes, elements[0],
                           elements[1], elements[2], elements[3]);
        }
    }

    __device__ __forceinline__ void store_pixel(u32 number, u32 pixel, u32 interleaved) const {
        for (u32 channel = 0; channel < 3; ++channel) {
            const u32 index = interleaved ? 3 * number + channel : channel * plane + number;
            store_element(address + u64(index) * element_bytes, element_bytes,
                          element(pixel, channel));
        }
    }
};

// Rule 15: a strip into its image, four pixels a lane.
__device__ __forceinline__ void store_strip(const Strip &strip, const Image &image, u32 width,
                                            u32 interleaved) {
    for (u32 quad = lane_of_thread(); quad < STRIP_ROWS * STRIP_QUADS; quad += WARP) {
        const i32 x = strip.rect.x0 + 4 * i32(quad % STRIP_QUADS);
        const i32 y = strip.rect.y0 + i32(quad / STRIP_QUADS);
        if (x >= strip.rect.x1 || y >= strip.rect.y1) {
            continue;
        }
        const uint4 pixels = reinterpret_cast<const uint4 *>(strip.pixels)[quad];
        const u32 first = u32(y) * width + u32(x);
        if (width % 4 != 0) {
            const u32 each[4] = {pixels.x, pixels.y, pixels.z, pixels.w};
            for (u32 pixel = 0; pixel < 4; ++pixel) {
                if (u32(x) + pixel < width) {
                    image.store_pixel(first + pixel, each[pixel], interleaved);
                }
            }
        } else if (interleaved) {
            image.store_quad<true>(first, pixels);
        } else {
            image.store_quad<false>(first, pixels);
        }
    }
}

// Rule 15's table, an element a word.
__device__ __forceinline__ void load_table(const BatchParameters &parameters, u32 *table) {
    for (u32 item = threadIdx.x; item < 3 * 256; item += blockDim.x) {
        if (parameters.element_bytes == 1) {
            table[item] = item % 256;
        } else if (parameters.element_bytes == 2) {
            table[item] = at_address<const u16>(parameters.table)[item];
        } else {
            table[item] = at_address<const u32>(parameters.table)[item];
        }
    }
}

// Rules 7, 9, 10, 11 and 15: the images.
//
// Grid: samples × tiles of the canvas, COMPOSE_TILE_WIDTH × COMPOSE_TILE_ROWS, row-major. A warp
// composes a strip of STRIP_ROWS rows in shared memory (11 KiB a block with the table) and waits for
// no other. Reads the scene's texels (3 bytes) and the layers' (4 bytes) about once a pixel, and a
// byte of stored weight where there is a filter; writes each element of the image once, 4 pixels at
// a time where the width is a multiple of 4.
extern "C" __global__ void __launch_bounds__(128, 7) compose(const BatchParameters parameters) {
    __shared__ u32 table[3 * 256];
    __shared__ uint4 strips[STRIPS * STRIP_ROWS * STRIP_QUADS];
    __shared__ uint4 matrices[STRIPS * 3];
    __shared__ Sample sample;

    const u32 width = parameters.canvas[0];
    const u32 height = parameters.canvas[1];
    const u32 tiles_across = (width + COMPOSE_TILE_WIDTH - 1) / COMPOSE_TILE_WIDTH;
    const u32 tiles_down = (height + COMPOSE_TILE_ROWS - 1) / COMPOSE_TILE_ROWS;
    const u32 number = blockIdx.x / (tiles_across * tiles_down);
    const u32 tile = blockIdx.x % (tiles_across * tiles_down);
    const i32 left = COMPOSE_TILE_WIDTH * (tile % tiles_across);
    const i32 top = COMPOSE_TILE_ROWS * (tile / tiles_across);

    load_table(parameters, table);
    if (threadIdx.x == 0) {
        sample.load(parameters, number);
    }
    __syncthreads();
    for (u32 part = warp_of_thread(); part < STRIPS; part += warps_of_block()) {
        const i32 y = top + i32(part * STRIP_ROWS);
        if (y >= i32(height)) {
            break;
        }
        uint4 *pixels = &strips[part * STRIP_ROWS * STRIP_QUADS];
        const Rect rect = {left, y, min(left + i32(COMPOSE_TILE_WIDTH), i32(width)),
                           min(y + i32(STRIP_ROWS), i32(height))};
        const Strip strip = {reinterpret_cast<u32 *>(pixels),
                             reinterpret_cast<i32 *>(&matrices[part * 3]), rect};
        compose_scene(*sample.encoded, sample.scene, parameters.pad, strip);
        compose_layers(sample, strip);
        __syncwarp();
        const u32 plane = width * height;
        const u64 before = u64(number) * 3 * plane * parameters.element_bytes;
        const Image image = {parameters.image + before, parameters.element_bytes, plane, table};
        store_strip(strip, image, width, parameters.interleaved);
    }
}
