// What host and kernels agree on: src/cuda/layout.rs, the structs of src/compose/encode.rs and
// Rect of src/geometry.rs, field by field. A test holds sizes, offsets and constants against
// those files; what the fields mean is said there.

#pragma once

// Neither NVRTC nor the device needs a header for these.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

constexpr u32 ALIGNMENT = 16;
constexpr u32 MASK_TILE_WORDS = 4;
constexpr u32 MASK_TILE_ROWS = 32;
constexpr u32 BLUR_TILE_WIDTH = 64;
constexpr u32 BLUR_TILE_ROWS = 32;
constexpr u32 COMPOSE_TILE_WIDTH = 64;
constexpr u32 COMPOSE_TILE_ROWS = 32;
constexpr u32 MASKS_CHUNK_WORDS = 4096;
constexpr u32 MIP_TILE = 32;
constexpr u32 MIP_LEVELS = 4;
constexpr u32 STORE_CHUNK_BYTES = 16384;
constexpr u32 EXPAND_CHUNK_WORDS = 1024;
constexpr u32 DROPPED = 0xffffffff;
constexpr u32 EDGE_BASE = 16384;

constexpr u32 WEIGHT_HARD = 0;
constexpr u32 WEIGHT_SOFT = 1;
constexpr u32 WEIGHT_FILTERED = 2;

struct Rect {
    i32 x0;
    i32 y0;
    i32 x1;
    i32 y1;
};

struct Sampling {
    i64 step[2];
    u32 level[2];
    u32 resized[2];
    i32 offset[2];
    u32 flip;
    u32 rotated;
    i32 cos;
    i32 sin;
};

struct EncodedSample {
    Sampling sampling;
    i64 nearest_step[2];
    i64 image;
    u32 size[2];
    Rect inside;
    i32 color[12];
    u32 source;
    u32 first_instance;
    u32 instance_count;
    u32 first_layer;
    u32 layer_count;
    u32 padding;
};

struct EncodedLayer {
    Sampling sampling;
    u64 cutout;
    i64 category;
    Rect extent;
    i32 color[12];
    u32 source;
    u32 weight;
    u32 filter;
    u32 radius;
};

struct EncodedInstance {
    i64 category;
    i64 annotation;
    u32 bounding_box[4];
    u32 iscrowd;
    u32 padding;
};

struct SampleEntry {
    u64 region;
    u64 scene;
    u64 first_mask_word;
    u64 first_weight;
    u32 first_candidate;
    u32 first_cover_tile;
    u32 first_blur_tile;
    u32 padding;
};

struct SampleRegion {
    EncodedSample sample;
    u64 layers;
    u64 layer_places;
    u64 instances;
    u64 instance_places;
    u64 filters;
};

struct LayerPlace {
    u64 texels;
    u64 mask_word;
    u64 weight;
    Rect mask_rect;
    Rect rect;
    u32 cover_tile;
    u32 blur_tile;
    u32 ignored;
    u32 padding;
};

struct InstancePlace {
    u64 mask;
    u64 mask_word;
    Rect rect;
};

struct Measure {
    u32 full_area;
    u32 full_edges[4];
    u32 area;
    u32 edges[4];
};

struct BatchParameters {
    u64 directory;
    u64 measures;
    u64 mask_words;
    u64 weights;
    u64 slots;
    u64 counts;
    u64 table;
    u64 image;
    u64 masks;
    u64 first_instances;
    u64 boxes;
    u64 labels;
    u64 areas;
    u64 full_areas;
    u64 visible_fractions;
    u64 iscrowd;
    u64 ignored;
    u64 is_pasted;
    u64 source_ids;
    u64 layers;
    u32 canvas[2];
    u32 words;
    u32 sample_count;
    u32 candidates;
    u32 pad;
    u32 element_bytes;
    u32 interleaved;
    u32 min_area;
    u32 min_visible_permille;
    u32 max_box_shift;
    u32 has_max_box_shift;
};

struct MipJob {
    u64 source;
    u64 target;
    u32 size[2];
    u32 levels;
    u32 first_tile;
};

struct MipParameters {
    u64 jobs;
    u32 job_count;
    u32 padding;
};

struct StoreJob {
    u64 source;
    u64 target;
    u64 bytes;
    u32 first_chunk;
    u32 padding;
};

struct StoreParameters {
    u64 jobs;
    u32 job_count;
    u32 padding;
};

struct ExpandParameters {
    u64 masks;
    u64 bytes;
    u32 canvas[2];
    u32 words;
    u32 count;
};

static_assert(sizeof(u8) == 1 && sizeof(u16) == 2 && sizeof(u32) == 4 && sizeof(u64) == 8, "");
static_assert(sizeof(Rect) == 16, "");
static_assert(sizeof(Sampling) == 56, "");
static_assert(sizeof(EncodedSample) == 176, "");
static_assert(sizeof(EncodedLayer) == 152, "");
static_assert(sizeof(EncodedInstance) == 40, "");
static_assert(sizeof(SampleEntry) == 48, "");
static_assert(sizeof(SampleRegion) == 216, "");
static_assert(sizeof(LayerPlace) == 72, "");
static_assert(sizeof(InstancePlace) == 32, "");
static_assert(sizeof(Measure) == 40, "");
static_assert(sizeof(BatchParameters) == 208, "");
static_assert(sizeof(MipJob) == 32, "");
static_assert(sizeof(MipParameters) == 16, "");
static_assert(sizeof(StoreJob) == 32, "");
static_assert(sizeof(StoreParameters) == 16, "");
static_assert(sizeof(ExpandParameters) == 32, "");
