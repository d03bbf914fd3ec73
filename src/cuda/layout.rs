//! The structs that the kernels read, and the tiles that they work in.
//!
//! `kernels/layout.cuh` is this file in C++, together with the structs of
//! [`encode`](crate::compose::encode) and [`Rect`]; a test compares the sizes of all structs, the
//! offsets of all fields and all constants. Structs hold no pointers of this machine: an address is
//! 64 bits, of the device.
//!
//! A sample's **region** is one piece of the arena, written by one thread: a [`SampleRegion`], the
//! arrays that it says the places of, the masks of its scene instances and the texels that are not
//! on the device already. The arena's **directory** has a [`SampleEntry`] for each sample. What the
//! kernels leave for one another lies in **scratch** memory of the device.

use bytemuck::{Pod, Zeroable};

use crate::compose::encode::EncodedSample;
use crate::geometry::Rect;

/// Regions, arrays in them and texels begin at multiples of this many bytes.
pub const ALIGNMENT: usize = 16;

/// Mask words across a tile of the kernels `cover` and `visible`: 128 pixels.
pub const MASK_TILE_WORDS: u32 = 4;
/// Rows of a tile of the kernels `cover` and `visible`.
pub const MASK_TILE_ROWS: u32 = 32;
/// Pixels across a tile of the kernel `blur`.
pub const BLUR_TILE_WIDTH: u32 = 64;
/// Rows of a tile of the kernel `blur`.
pub const BLUR_TILE_ROWS: u32 = 32;
/// Pixels across a tile of the kernel `compose`.
pub const COMPOSE_TILE_WIDTH: u32 = 64;
/// Rows of a tile of the kernel `compose`.
pub const COMPOSE_TILE_ROWS: u32 = 32;
/// Words of a final mask that a block of the kernel `masks` writes.
pub const MASKS_CHUNK_WORDS: u32 = 4096;
/// Texels along a side of level 0 that a block of the kernel `mip` reads.
pub const MIP_TILE: u32 = 32;
/// Levels that one pass of the kernel `mip` makes at most: a tile becomes 2×2 texels.
pub const MIP_LEVELS: u32 = 4;
/// Bytes that a block of the kernel `store` copies.
pub const STORE_CHUNK_BYTES: u32 = 16_384;
/// Words of a final mask that a block of the kernel `expand` turns into bytes.
pub const EXPAND_CHUNK_WORDS: u32 = 1024;

/// The slot of a candidate that does not stay.
pub const DROPPED: u32 = u32::MAX;

/// Where a sample's region is, and what lies before it in the arrays that all samples share. The
/// directory has one more, whose `first_` fields are the totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SampleEntry {
    /// Address of its [`SampleRegion`].
    pub region: u64,
    /// Address of the scene's texels of the chosen level.
    pub scene: u64,
    /// Its first word in the scratch for mask bits.
    pub first_mask_word: u64,
    /// Its first byte in the scratch for weights, a multiple of 4.
    pub first_weight: u64,
    /// Its first candidate: scene instances in stored order, then layers in plan order.
    pub first_candidate: u32,
    /// Its first tile of the kernel `cover`.
    pub first_cover_tile: u32,
    /// Its first tile of the kernel `blur`.
    pub first_blur_tile: u32,
    /// Fills the struct to a multiple of its alignment.
    pub padding: u32,
}

/// The head of a sample's region. Offsets are in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SampleRegion {
    /// The sample; its `source` and `first_` fields are 0.
    pub sample: EncodedSample,
    /// `EncodedLayer[layer_count]`.
    pub layers: u64,
    /// [`LayerPlace`]`[layer_count + 1]`: the last one's tiles are the totals.
    pub layer_places: u64,
    /// `EncodedInstance[instance_count]`.
    pub instances: u64,
    /// [`InstancePlace`]`[instance_count]`.
    pub instance_places: u64,
    /// `u32[]`: the filters that its layers use; `EncodedLayer::filter` indexes it.
    pub filters: u64,
}

/// What of a layer depends on the canvas and on where its texels are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct LayerPlace {
    /// Address of the texels of the chosen level, a multiple of 4.
    pub texels: u64,
    /// First word of its mask bits, counted from the sample's first: rows of `mask_rect`, each from
    /// the word of its first column to that of its last, words being counted from the canvas's left
    /// edge.
    pub mask_word: u64,
    /// First byte of its weights, a multiple of 4 counted from the sample's first: rows of `rect`,
    /// [`weight_stride`] bytes apart. None are stored unless the layer's weight is filtered.
    pub weight: u64,
    /// Where its mask is known: the extent, clipped to the canvas grown by the filter's radius, since
    /// what lies outside takes part in the blur.
    pub mask_rect: Rect,
    /// Canvas pixels that it can change.
    pub rect: Rect,
    /// Its first tile of the kernel `cover`, counted from the sample's first.
    pub cover_tile: u32,
    /// Its first tile of the kernel `blur`, counted from the sample's first.
    pub blur_tile: u32,
    /// 1 where the label was dropped.
    pub ignored: u32,
    /// Fills the struct to a multiple of its alignment.
    pub padding: u32,
}

/// What of a scene instance depends on the canvas and on where its mask is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct InstancePlace {
    /// Its mask bits, in bytes from the region's start.
    pub mask: u64,
    /// First word of its visible bits, counted from the sample's first mask word: rows of `rect`, as
    /// in [`LayerPlace::mask_word`].
    pub mask_word: u64,
    /// Canvas pixels whose nearest texel lies in the mask's box; empty where there are none.
    pub rect: Rect,
}

/// Areas and boxes of a candidate before and after occlusion. All zero at first and grown by
/// maxima, so that nothing needs another start: a left or top edge e is kept as [`EDGE_BASE`] − e.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Measure {
    /// Rule 14's full.
    pub full_area: u32,
    /// Rule 14's box0.
    pub full_edges: [u32; 4],
    /// Rule 14's visible.
    pub area: u32,
    /// Rule 14's box.
    pub edges: [u32; 4],
}

/// What a left or top edge is taken from in a [`Measure`]: more than any edge.
pub const EDGE_BASE: u32 = 16_384;

/// Parameters of the kernels that compose, passed by value. Addresses are of device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BatchParameters {
    /// [`SampleEntry`]`[sample_count + 1]`.
    pub directory: u64,
    /// Scratch: [`Measure`]`[candidates]`, zeroed.
    pub measures: u64,
    /// Scratch: `u32[]`, the layers' mask bits and then their visible ones; the scene instances'
    /// visible bits.
    pub mask_words: u64,
    /// Scratch: `u8[]`.
    pub weights: u64,
    /// Scratch: `u32[candidates]`, each one's place among what stays, or [`DROPPED`].
    pub slots: u64,
    /// Scratch: `u32[sample_count]`, how many stay of each sample.
    pub counts: u64,
    /// Rule 15's table: 3·256 elements. Not read for 8-bit output.
    pub table: u64,
    /// Output: the images.
    pub image: u64,
    /// Output: `u32[n, height, words]`, the visible masks of what stays.
    pub masks: u64,
    /// Output: `u32[sample_count + 1]`, the first instance of each sample, and the number of all.
    pub first_instances: u64,
    /// Output: `f32[n, 4]`, x0, y0, x1, y1.
    pub boxes: u64,
    /// Output: `i64[n]`.
    pub labels: u64,
    /// Output: `u32[n]`.
    pub areas: u64,
    /// Output: `u32[n]`.
    pub full_areas: u64,
    /// Output: `f32[n]`, area / full area, rounded once.
    pub visible_fractions: u64,
    /// Output: `u8[n]`.
    pub iscrowd: u64,
    /// Output: `u8[n]`.
    pub ignored: u64,
    /// Output: `u8[n]`, 1 for layers.
    pub is_pasted: u64,
    /// Output: `i64[n]`, a scene instance's annotation or a layer's cutout.
    pub source_ids: u64,
    /// Output: `i32[n]`, a layer's number or -1.
    pub layers: u64,
    /// Width and height of the canvas.
    pub canvas: [u32; 2],
    /// Words of a mask row.
    pub words: u32,
    /// Samples in the batch.
    pub sample_count: u32,
    /// Candidates in the batch.
    pub candidates: u32,
    /// The pad colour: red in the lowest byte, then green, then blue.
    pub pad: u32,
    /// Bytes of an image element: 1, 2 or 4.
    pub element_bytes: u32,
    /// 0: [batch, 3, height, width]; 1: [batch, height, width, 3].
    pub interleaved: u32,
    /// Rule 14's `keep.min_area`.
    pub min_area: u32,
    /// Rule 14's `keep.min_visible_permille`.
    pub min_visible_permille: u32,
    /// Rule 14's `keep.max_box_shift`.
    pub max_box_shift: u32,
    /// 1 if there is a `keep.max_box_shift`.
    pub has_max_box_shift: u32,
}

/// A JPEG scene whose level must be made. A pass's list has one more, whose `first_tile` is the
/// total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MipJob {
    /// Address of the level that there is, RGB interleaved.
    pub source: u64,
    /// Address of the level to be made, a multiple of 4. The last texel's word is filled with zeros,
    /// since texels are read by whole words.
    pub target: u64,
    /// Width and height of the level that there is.
    pub size: [u32; 2],
    /// How many levels further down: 1..=[`MIP_LEVELS`].
    pub levels: u32,
    /// Its first tile.
    pub first_tile: u32,
}

/// Parameters of the kernel `mip`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MipParameters {
    /// [`MipJob`]`[job_count + 1]`.
    pub jobs: u64,
    /// How many.
    pub job_count: u32,
    /// Fills the struct to a multiple of its alignment.
    pub padding: u32,
}

/// Texels that go from the arena into the cutout cache. A list has one more, whose `first_chunk` is
/// the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct StoreJob {
    /// Address in the arena, a multiple of [`ALIGNMENT`].
    pub source: u64,
    /// Address in the cache, a multiple of [`ALIGNMENT`].
    pub target: u64,
    /// Bytes, a multiple of 4.
    pub bytes: u64,
    /// Its first chunk.
    pub first_chunk: u32,
    /// Fills the struct to a multiple of its alignment.
    pub padding: u32,
}

/// Parameters of the kernel `store`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct StoreParameters {
    /// [`StoreJob`]`[job_count + 1]`.
    pub jobs: u64,
    /// How many.
    pub job_count: u32,
    /// Fills the struct to a multiple of its alignment.
    pub padding: u32,
}

/// Parameters of the kernel `expand`, which turns mask bits into bytes of 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ExpandParameters {
    /// `u32[count, height, words]`.
    pub masks: u64,
    /// `u8[count, height, width]`.
    pub bytes: u64,
    /// Width and height of a mask.
    pub canvas: [u32; 2],
    /// Words of a mask row.
    pub words: u32,
    /// Masks.
    pub count: u32,
}

/// Word columns that pixels x0..x1 of a row lie in, counted from the canvas's left edge.
pub fn word_range(rect: Rect) -> std::ops::Range<i32> {
    (rect.x0 >> 5)..((rect.x1 + 31) >> 5)
}

/// Bytes from one row of the weights of `rect` to the next: a multiple of 4, so that weights are
/// stored a word at a time.
pub fn weight_stride(rect: Rect) -> usize {
    rect.width().next_multiple_of(4)
}
