//! Small packs for tests, and how to spoil them.

use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Map;

use super::cutouts::{CUTOUT_CHANNELS, Cutout};
use super::manifest::{Category, Kind, Manifest};
use super::mip;
use super::scenes::SCENE_CHANNELS;
use super::write::{
    CutoutShardWriter, InstanceRow, SceneRow, SceneShardWriter, hash_file, shard_file_name,
};
use crate::bank::ScenePixels;
use crate::geometry::Size;

/// A cutout to be made: `side`² texels, the inner ones (a margin of 1 around) opaque.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub side: u32,
    pub category: i64,
    pub image: i64,
    pub score: f32,
}

pub(crate) fn row(side: u32, category: i64, image: i64) -> Row {
    Row {
        side,
        category,
        image,
        score: f32::NAN,
    }
}

pub(crate) fn category(id: i64, name: &str) -> Category {
    Category {
        id,
        name: name.to_owned(),
        other: Map::new(),
    }
}

/// A bank of these shards; returns its manifest as it was written.
pub(crate) fn write_bank(
    directory: &Path,
    categories: &[Category],
    shards: &[Vec<Row>],
) -> Manifest {
    fs::create_dir_all(directory).unwrap();
    let entries = shards.iter().enumerate().map(|(number, rows)| {
        let path = directory.join(shard_file_name(number));
        let mut writer = CutoutShardWriter::create(&path).unwrap();
        for row in rows {
            push(&mut writer, row);
        }
        writer.finish().unwrap()
    });
    let manifest = Manifest::new(Kind::Cutouts, entries.collect(), categories.to_vec());
    manifest.write(directory).unwrap();
    manifest
}

fn push(writer: &mut CutoutShardWriter, row: &Row) {
    let size = Size::new(row.side, row.side).unwrap();
    let mut chain = Vec::new();
    for y in 0..row.side {
        for x in 0..row.side {
            let inner = [x, y].iter().all(|&v| v > 0 && v < row.side - 1);
            let grey = (i64::from(x * 31 + y * 17) + row.image) as u8;
            chain.extend([grey, grey / 2, 255 - grey, if inner { 200 } else { 90 }]);
        }
    }
    mip::append_chain::<CUTOUT_CHANNELS>(&mut chain, size);
    let inner = (row.side - 2) as u16;
    let cutout = Cutout {
        size,
        chain: &chain,
        category: row.category,
        area: u32::from(inner).pow(2),
        bounding_box: [1, 1, inner, inner],
        score: row.score,
        image: row.image,
        annotation: row.image * 10,
        origin: [3, -4],
        source_size: [640, 480],
    };
    writer.push(&cutout).unwrap();
}

/// A pack of one shard with raw scenes of `side`² pixels, each with these instances.
pub(crate) fn write_scenes(
    directory: &Path,
    categories: &[Category],
    sides: &[u32],
    instances: &[InstanceRow],
) {
    fs::create_dir_all(directory).unwrap();
    let path = directory.join(shard_file_name(0));
    let mut writer = SceneShardWriter::create(&path).unwrap();
    for (index, &side) in sides.iter().enumerate() {
        let size = Size::new(side, side).unwrap();
        let mut chain: Vec<u8> = (0..side * side * 3).map(|v| (v * 7) as u8).collect();
        mip::append_chain::<SCENE_CHANNELS>(&mut chain, size);
        let scene = SceneRow {
            size,
            image: index as i64,
            pixels: ScenePixels::Raw(&chain),
            instances,
            file_name: "a.jpg",
            negative_categories: &[],
            not_exhaustive_categories: &[],
        };
        writer.push(&scene).unwrap();
    }
    let entry = writer.finish().unwrap();
    let manifest = Manifest::new(Kind::Scenes, vec![entry], categories.to_vec());
    manifest.write(directory).unwrap();
}

/// An instance whose mask has every bit of its box.
pub(crate) fn instance(category: i64, bounding_box: [u32; 4], iscrowd: u8) -> InstanceRow {
    let bytes = super::scenes::mask_bytes(bounding_box);
    InstanceRow {
        category,
        annotation: 7,
        iscrowd,
        score: f32::NAN,
        bounding_box,
        mask: vec![255; bytes],
    }
}

/// Overwrites bytes of a column of the first shard, from byte `at` of the column.
pub(crate) fn spoil(directory: &Path, column: &str, at: usize, bytes: &[u8]) {
    let path = directory.join(shard_file_name(0));
    let mut file = fs::read(&path).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&file).unwrap();
    let start = header + 8 + metadata.info(column).unwrap().data_offsets.0 + at;
    file[start..start + bytes.len()].copy_from_slice(bytes);
    fs::write(&path, file).unwrap();
}

/// Makes the manifest say what the shards are now: lengths and checksums.
pub(crate) fn list_again(directory: &Path, kind: Kind) {
    let mut manifest = Manifest::read(directory, kind).unwrap();
    for shard in &mut manifest.shards {
        (shard.bytes, shard.xxh3) = hash_file(&directory.join(&shard.file)).unwrap();
    }
    manifest.write(directory).unwrap();
}

/// Adds a tensor of a type and shape to the first shard, and lists it.
pub(crate) fn add_tensor(
    directory: &Path,
    name: &str,
    (dtype, shape): (Dtype, &[usize]),
    bytes: &[u8],
    kind: Kind,
) {
    let path = directory.join(shard_file_name(0));
    let file = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let added = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let mut all = tensors.tensors();
    all.push((name.to_owned(), added));
    let bytes = safetensors::serialize(all, None).unwrap();
    fs::write(&path, bytes).unwrap();
    list_again(directory, kind);
}

/// Adds a text for each row to the first shard, and lists it.
pub(crate) fn add_texts(directory: &Path, name: &str, texts: &[&str]) {
    let mut starts = vec![0u64];
    starts.extend(texts.iter().scan(0, |end, text| {
        *end += text.len() as u64;
        Some(*end)
    }));
    let starts: Vec<u8> = starts
        .iter()
        .flat_map(|start| start.to_le_bytes())
        .collect();
    let shape = &[texts.len() + 1];
    let text = texts.concat();
    let start_name = format!("{name}_start");
    add_tensor(
        directory,
        &start_name,
        (Dtype::U64, shape),
        &starts,
        Kind::Cutouts,
    );
    let shape = &[text.len()];
    add_tensor(
        directory,
        name,
        (Dtype::U8, shape),
        text.as_bytes(),
        Kind::Cutouts,
    );
}
