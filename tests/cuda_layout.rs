//! What `kernels/layout.cuh` says, as the C++ compiler sees it, against what Rust says: every struct,
//! every field, every constant.
#![cfg(feature = "cuda")]

mod common;

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use pastebank::compose::encode::{
    EncodedInstance, EncodedLayer, EncodedSample, Sampling, WEIGHT_FILTERED, WEIGHT_HARD,
    WEIGHT_SOFT,
};
use pastebank::cuda::layout::*;
use pastebank::geometry::Rect;

fn field_size<S, F>(_: impl Fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Sizes of structs, offsets and sizes of their fields. Does not compile if a field is not listed.
macro_rules! structs {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        fn structs() -> BTreeMap<String, usize> {
            let mut found = BTreeMap::new();
            $(
                let _ = |$name { $($field: _),* }: $name| ();
                let name = stringify!($name);
                found.insert(name.to_owned(), size_of::<$name>());
                $(
                    let field = format!("{name}.{}", stringify!($field));
                    found.insert(format!("{field} size"), field_size(|value: &$name| &value.$field));
                    found.insert(field, offset_of!($name, $field));
                )*
            )*
            found
        }
    };
}

macro_rules! constants {
    ($($name:ident),* $(,)?) => {
        fn constants() -> BTreeMap<String, usize> {
            [$((stringify!($name).to_owned(), $name as usize)),*].into()
        }
    };
}

structs! {
    Rect { x0, y0, x1, y1 }
    Sampling { step, level, resized, offset, flip, rotated, cos, sin }
    EncodedSample {
        sampling, nearest_step, image, size, inside, color, source, first_instance,
        instance_count, first_layer, layer_count, padding,
    }
    EncodedLayer { sampling, cutout, category, extent, color, source, weight, filter, radius }
    EncodedInstance { category, annotation, bounding_box, iscrowd, padding }
    SampleEntry {
        region, scene, first_mask_word, first_weight, first_candidate, first_cover_tile,
        first_blur_tile, padding,
    }
    SampleRegion { sample, layers, layer_places, instances, instance_places, filters }
    LayerPlace {
        texels, mask_word, weight, mask_rect, rect, cover_tile, blur_tile, ignored, padding,
    }
    InstancePlace { mask, mask_word, rect }
    Measure { full_area, full_edges, area, edges }
    BatchParameters {
        directory, measures, mask_words, weights, slots, counts, table, image, masks,
        first_instances, boxes, labels, areas, full_areas, visible_fractions, iscrowd, ignored,
        is_pasted, source_ids, layers, canvas, words, sample_count, candidates, pad,
        element_bytes, interleaved, min_area, min_visible_permille, max_box_shift,
        has_max_box_shift,
    }
    MipJob { source, target, size, levels, first_tile }
    MipParameters { jobs, job_count, padding }
    StoreJob { source, target, bytes, first_chunk, padding }
    StoreParameters { jobs, job_count, padding }
    ExpandParameters { masks, bytes, canvas, words, count }
}

constants! {
    ALIGNMENT, MASK_TILE_WORDS, MASK_TILE_ROWS, BLUR_TILE_WIDTH, BLUR_TILE_ROWS,
    COMPOSE_TILE_WIDTH, COMPOSE_TILE_ROWS, MASKS_CHUNK_WORDS, MIP_TILE, MIP_LEVELS,
    STORE_CHUNK_BYTES, EXPAND_CHUNK_WORDS, DROPPED, EDGE_BASE, WEIGHT_HARD, WEIGHT_SOFT,
    WEIGHT_FILTERED,
}

/// Names of a file's public structs and constants, as they are written.
fn names(source: &str) -> Vec<String> {
    let lines = source.lines().map(str::trim_start);
    let named = lines.filter_map(|line| {
        let rest = line
            .strip_prefix("pub struct ")
            .or_else(|| line.strip_prefix("pub const "))?;
        Some(rest.split([' ', ':', '<', '(']).next()?.to_owned())
    });
    named.collect()
}

#[test]
fn both_compilers_see_one_layout() {
    if !common::host_driver::kernels("both_compilers_see_one_layout") {
        return;
    }
    let mut rust = structs();
    rust.extend(constants());
    let cpp: BTreeMap<String, usize> = pastebank_kernels_on_host::layout().into_iter().collect();
    for (name, value) in &rust {
        assert_eq!(cpp.get(name), Some(value), "{name} in layout.cuh");
    }
    for name in cpp.keys() {
        assert!(rust.contains_key(name), "layout.cuh alone has {name}");
    }
}

/// So that the lists above miss nothing.
#[test]
fn the_lists_have_all_that_is_in_the_files() {
    let (structs, constants) = (structs(), constants());
    let layout = names(include_str!("../src/cuda/layout.rs"));
    assert!(layout.len() > 20, "{layout:?}");
    let encode = names(include_str!("../src/compose/encode.rs"));
    // The others are not read by kernels.
    let host = ["Encoded", "Encoder", "LAYER_CHANNELS"];
    let encode = encode.iter().filter(|name| !host.contains(&name.as_str()));
    for name in layout.iter().chain(encode) {
        let listed = structs.contains_key(name) || constants.contains_key(name);
        assert!(listed, "{name} is not listed");
    }
}
