//! Part 2 of the specification: banks and scene packs, read into plain vectors.

use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Texels row after row, the channels of a texel next to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub texels: Vec<u8>,
}

/// A pack of cutouts. A cutout's index is its position over the shards in manifest order.
#[derive(Clone, Debug)]
pub struct Bank {
    pub categories: Vec<Value>,
    pub cutouts: Vec<Cutout>,
}

/// One row of a cutout shard.
#[derive(Clone, Debug)]
pub struct Cutout {
    /// Level 0, RGBA.
    pub picture: Picture,
    pub category_id: i64,
    pub area: u32,
    /// x, y, w, h.
    pub box_xywh: [u16; 4],
    pub score: f32,
    pub image: i64,
    pub annotation: i64,
    /// x, y.
    pub origin: [i32; 2],
    /// w, h.
    pub source_size: [u16; 2],
}

/// A pack of scenes. A scene's index is its position over the shards in manifest order.
#[derive(Clone, Debug)]
pub struct Scenes {
    pub categories: Vec<Value>,
    pub scenes: Vec<Scene>,
}

/// One row of a scene shard, with its instances.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Level 0, RGB.
    pub picture: Picture,
    pub image_id: i64,
    pub encoding: u8,
    pub instances: Vec<SceneInstance>,
}

/// One annotated instance of a scene.
#[derive(Clone, Debug)]
pub struct SceneInstance {
    pub category_id: i64,
    pub annotation: i64,
    pub iscrowd: u8,
    /// x, y, w, h at source resolution.
    pub box_xywh: [i64; 4],
    /// The w·h values of the box, row after row.
    pub box_mask: Vec<bool>,
}

/// Reads a folder of cutouts.
pub fn read_bank(dir: &Path) -> Bank {
    let manifest = read_manifest(dir, "cutouts");
    let mut cutouts = Vec::new();
    for (file, rows) in shard_list(&manifest) {
        let bytes = fs::read(dir.join(&file)).unwrap();
        let shard = SafeTensors::deserialize(&bytes).unwrap();
        let read = read_cutout_shard(&shard);
        assert_eq!(read.len(), rows, "rows of {file}");
        cutouts.extend(read);
    }
    Bank {
        categories: manifest["categories"].as_array().unwrap().clone(),
        cutouts,
    }
}

/// Reads a folder of scenes.
pub fn read_scenes(dir: &Path) -> Scenes {
    let manifest = read_manifest(dir, "scenes");
    let mut scenes = Vec::new();
    for (file, rows) in shard_list(&manifest) {
        let bytes = fs::read(dir.join(&file)).unwrap();
        let shard = SafeTensors::deserialize(&bytes).unwrap();
        let read = read_scene_shard(&shard);
        assert_eq!(read.len(), rows, "rows of {file}");
        scenes.extend(read);
    }
    Scenes {
        categories: manifest["categories"].as_array().unwrap().clone(),
        scenes,
    }
}

fn read_manifest(dir: &Path, kind: &str) -> Value {
    let manifest: Value =
        serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["format"], "pastebank");
    assert_eq!(manifest["version"], 1);
    assert_eq!(manifest["kind"], kind);
    manifest
}

/// The file name and the number of rows of every shard, in manifest order.
fn shard_list(manifest: &Value) -> Vec<(String, usize)> {
    manifest["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shard| {
            let file = shard["file"].as_str().unwrap().to_string();
            let rows = usize::try_from(shard["rows"].as_u64().unwrap()).unwrap();
            (file, rows)
        })
        .collect()
}

fn read_cutout_shard(shard: &SafeTensors) -> Vec<Cutout> {
    let size = column(shard, "size", Dtype::U16, u16::from_le_bytes);
    let offset = column(shard, "offset", Dtype::U64, u64::from_le_bytes);
    let pixels = column(shard, "pixels", Dtype::U8, u8::from_le_bytes);
    let category = column(shard, "category", Dtype::I64, i64::from_le_bytes);
    let area = column(shard, "area", Dtype::U32, u32::from_le_bytes);
    let boxes = column(shard, "box", Dtype::U16, u16::from_le_bytes);
    let score = column(shard, "score", Dtype::F32, f32::from_le_bytes);
    let image = column(shard, "image", Dtype::I64, i64::from_le_bytes);
    let annotation = column(shard, "annotation", Dtype::I64, i64::from_le_bytes);
    let origin = column(shard, "origin", Dtype::I32, i32::from_le_bytes);
    let source_size = column(shard, "source_size", Dtype::U16, u16::from_le_bytes);
    (0..category.len())
        .map(|row| {
            let start = usize::try_from(offset[row]).unwrap();
            Cutout {
                picture: level_zero(size[2 * row], size[2 * row + 1], 4, &pixels[start..]),
                category_id: category[row],
                area: area[row],
                box_xywh: boxes[4 * row..4 * row + 4].try_into().unwrap(),
                score: score[row],
                image: image[row],
                annotation: annotation[row],
                origin: origin[2 * row..2 * row + 2].try_into().unwrap(),
                source_size: source_size[2 * row..2 * row + 2].try_into().unwrap(),
            }
        })
        .collect()
}

fn read_scene_shard(shard: &SafeTensors) -> Vec<Scene> {
    let size = column(shard, "size", Dtype::U16, u16::from_le_bytes);
    let image = column(shard, "image", Dtype::I64, i64::from_le_bytes);
    let encoding = column(shard, "encoding", Dtype::U8, u8::from_le_bytes);
    let offset = column(shard, "offset", Dtype::U64, u64::from_le_bytes);
    let length = column(shard, "length", Dtype::U64, u64::from_le_bytes);
    let pixels = column(shard, "pixels", Dtype::U8, u8::from_le_bytes);
    let instance_start = column(shard, "instance_start", Dtype::U64, u64::from_le_bytes);
    let instances = read_scene_instances(shard);
    (0..image.len())
        .map(|row| {
            let start = usize::try_from(offset[row]).unwrap();
            let end = start + usize::try_from(length[row]).unwrap();
            let stored = &pixels[start..end];
            let (width, height) = (size[2 * row], size[2 * row + 1]);
            let first = usize::try_from(instance_start[row]).unwrap();
            let last = usize::try_from(instance_start[row + 1]).unwrap();
            Scene {
                picture: match encoding[row] {
                    0 => level_zero(width, height, 3, stored),
                    1 => level_zero(width, height, 3, &decode_jpeg(stored, width, height)),
                    other => panic!("unknown encoding {other}"),
                },
                image_id: image[row],
                encoding: encoding[row],
                instances: instances[first..last].to_vec(),
            }
        })
        .collect()
}

/// The instances of all rows of a shard, one after the other.
fn read_scene_instances(shard: &SafeTensors) -> Vec<SceneInstance> {
    let category = column(shard, "instance_category", Dtype::I64, i64::from_le_bytes);
    let annotation = column(shard, "instance_annotation", Dtype::I64, i64::from_le_bytes);
    let iscrowd = column(shard, "instance_iscrowd", Dtype::U8, u8::from_le_bytes);
    let boxes = column(shard, "instance_box", Dtype::I32, i32::from_le_bytes);
    let mask_offset = column(shard, "mask_offset", Dtype::U64, u64::from_le_bytes);
    let mask_bits = column(shard, "mask_bits", Dtype::U8, u8::from_le_bytes);
    (0..category.len())
        .map(|row| {
            let start = usize::try_from(mask_offset[row]).unwrap();
            let width = usize::try_from(boxes[4 * row + 2]).unwrap();
            let height = usize::try_from(boxes[4 * row + 3]).unwrap();
            SceneInstance {
                category_id: category[row],
                annotation: annotation[row],
                iscrowd: iscrowd[row],
                box_xywh: [0, 1, 2, 3].map(|side| i64::from(boxes[4 * row + side])),
                box_mask: (0..width * height)
                    .map(|bit| mask_bits[start + bit / 8] >> (bit % 8) & 1 == 1)
                    .collect(),
            }
        })
        .collect()
}

/// The first level of what may be a whole mip chain; the other levels are not looked at.
fn level_zero(width: u16, height: u16, channels: usize, stored: &[u8]) -> Picture {
    let (width, height) = (usize::from(width), usize::from(height));
    Picture {
        width,
        height,
        channels,
        texels: stored[..width * height * channels].to_vec(),
    }
}

fn decode_jpeg(stored: &[u8], width: u16, height: u16) -> Vec<u8> {
    let decoded = image::load_from_memory_with_format(stored, image::ImageFormat::Jpeg)
        .unwrap()
        .into_rgb8();
    assert_eq!(decoded.width(), u32::from(width));
    assert_eq!(decoded.height(), u32::from(height));
    decoded.into_raw()
}

/// All numbers of one column.
fn column<const BYTES: usize, Number>(
    shard: &SafeTensors,
    name: &str,
    expected: Dtype,
    from_bytes: fn([u8; BYTES]) -> Number,
) -> Vec<Number> {
    let tensor = shard.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), expected, "type of column {name}");
    tensor
        .data()
        .chunks_exact(BYTES)
        .map(|bytes| from_bytes(bytes.try_into().unwrap()))
        .collect()
}
