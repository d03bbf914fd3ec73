//! The steady state of the loader allocates nothing: counted, in a process of its own.

mod common;

use std::alloc::System;
use std::num::NonZero;
use std::sync::Arc;

use common::packs::{chain, write_distinct_bank, write_pack};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::loader::{Loader, LoaderOptions};
use pastebank::sampler::{RecipeSettings, Sampler};
use safetensors::Dtype;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Scenes that are all raw: a JPEG decoder allocates.
fn write_raw_scenes(directory: &std::path::Path, rows: usize) {
    let (width, height) = (96, 64);
    let texels: Vec<u8> = (0..width * height * 3)
        .map(|index| (index % 251) as u8)
        .collect();
    let pixels = chain(texels, width, height, 3);
    let bytes_of = |values: &[u64]| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let lengths = vec![pixels.len() as u64; rows];
    let size = [width as u16, height as u16].repeat(rows);
    // One instance a scene: its lower right quarter.
    let boxes = [48i32, 32, 48, 32].repeat(rows);
    let ids: Vec<u64> = (0..rows as u64).collect();
    let columns = vec![
        (
            "size",
            Dtype::U16,
            vec![rows, 2],
            size.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        ("image", Dtype::I64, vec![rows], bytes_of(&ids)),
        ("encoding", Dtype::U8, vec![rows], vec![0; rows]),
        ("offset", Dtype::U64, vec![rows], vec![0; 8 * rows]),
        ("length", Dtype::U64, vec![rows], bytes_of(&lengths)),
        ("pixels", Dtype::U8, vec![pixels.len()], pixels),
        (
            "instance_start",
            Dtype::U64,
            vec![rows + 1],
            bytes_of(&(0..=rows as u64).collect::<Vec<_>>()),
        ),
        (
            "instance_category",
            Dtype::I64,
            vec![rows],
            bytes_of(&vec![1; rows]),
        ),
        (
            "instance_annotation",
            Dtype::I64,
            vec![rows],
            bytes_of(&ids),
        ),
        ("instance_iscrowd", Dtype::U8, vec![rows], vec![0; rows]),
        (
            "instance_box",
            Dtype::I32,
            vec![rows, 4],
            boxes.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        ("mask_offset", Dtype::U64, vec![rows], vec![0; 8 * rows]),
        ("mask_bits", Dtype::U8, vec![192], vec![255; 192]),
    ];
    write_pack(directory, "scenes", [(rows, columns)]);
}

#[test]
fn the_steady_state_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
    write_raw_scenes(&scenes, 40);
    write_distinct_bank(&bank, 300);
    let scenes = Arc::new(ScenePack::open(&scenes).unwrap());
    let bank = Arc::new(CutoutBank::open(&bank).unwrap());
    let recipe = Arc::new(RecipeSettings::xpaste());
    let sampler = Sampler::new(scenes, bank, recipe, [160, 120], 0).unwrap();
    let options = LoaderOptions {
        batch_size: 4,
        threads: NonZero::new(2),
        ..LoaderOptions::default()
    };
    let mut loader = Loader::new(sampler, options).unwrap();
    let mut rounds = Vec::new();
    // Lists grow to the longest that they will hold: by and by, and then no more.
    for _ in 0..8 {
        let region = Region::new(ALLOCATOR);
        for _ in 0..300 {
            drop(loader.next().unwrap().unwrap());
        }
        let change = region.change();
        rounds.push(change.allocations + change.reallocations);
    }
    println!("allocations in each 300 batches of 4: {rounds:?}");
    // A thread may still meet a sample with more layers than any it has had, and a list grows once
    // more. Whatever is allocated for each batch would be 300 times a round.
    let steady = &rounds[2..];
    assert!(
        steady.contains(&0) && steady.iter().all(|&count| count < 100),
        "{rounds:?}"
    );
}
