//! Packs of random pictures in the specification's layout, made without the crate.

use std::fs;
use std::path::Path;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

/// Columns of one shard: name, type, shape, little-endian bytes.
type Columns = Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>;

macro_rules! bytes {
    ($values:expr) => {
        $values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<u8>>()
    };
}

/// A bank of `rows` random cutouts over `shards` shards.
pub fn write_bank(directory: &Path, draw: &mut ChaCha8Rng, rows: usize, shards: usize) {
    let per_shard = rows.div_ceil(shards);
    let counts = (0..shards).map(|shard| per_shard.min(rows.saturating_sub(shard * per_shard)));
    let shards: Vec<(usize, Columns)> = counts.map(|rows| (rows, bank_shard(draw, rows))).collect();
    write_pack(directory, "cutouts", shards);
}

fn bank_shard(draw: &mut ChaCha8Rng, rows: usize) -> Columns {
    let (mut size, mut offset, mut pixels) = (vec![], vec![], vec![]);
    let (mut category, mut area, mut boxes) = (vec![], vec![], vec![]);
    for row in 0..rows {
        let (width, height) = (draw.random_range(1..40), draw.random_range(1..40));
        let texels = random_cutout(draw, width, height);
        let opaque: Vec<(usize, usize)> = (0..width * height)
            .filter(|&texel| texels[4 * texel + 3] >= 128)
            .map(|texel| (texel % width, texel / width))
            .collect();
        size.extend([width as u16, height as u16]);
        offset.push(pixels.len() as u64);
        category.push(1 + (row % 3) as i64);
        area.push(opaque.len() as u32);
        boxes.extend(tight_box(&opaque).map(|side| side as u16));
        pixels.extend(chain(texels, width, height, 4));
    }
    vec![
        ("size", Dtype::U16, vec![rows, 2], bytes!(size)),
        ("offset", Dtype::U64, vec![rows], bytes!(offset)),
        ("pixels", Dtype::U8, vec![pixels.len()], pixels),
        ("category", Dtype::I64, vec![rows], bytes!(category)),
        ("area", Dtype::U32, vec![rows], bytes!(area)),
        ("box", Dtype::U16, vec![rows, 4], bytes!(boxes)),
        (
            "score",
            Dtype::F32,
            vec![rows],
            bytes!(vec![f32::NAN; rows]),
        ),
        ("image", Dtype::I64, vec![rows], bytes!(vec![-1i64; rows])),
        (
            "annotation",
            Dtype::I64,
            vec![rows],
            bytes!(vec![-1i64; rows]),
        ),
        (
            "origin",
            Dtype::I32,
            vec![rows, 2],
            bytes!(vec![0i32; 2 * rows]),
        ),
        (
            "source_size",
            Dtype::U16,
            vec![rows, 2],
            bytes!(vec![50u16; 2 * rows]),
        ),
    ]
}

/// A bank of so many cutouts of 64x64 texels (discs), each with bytes of its own: about 22 KB a
/// row, 10,000 rows a shard.
pub fn write_distinct_bank(directory: &Path, rows: usize) {
    let disc = |x: usize, y: usize| (x as i32 - 32).pow(2) + (y as i32 - 32).pow(2) < 900;
    let texels = (0..64 * 64).flat_map(|texel| {
        let (x, y) = (texel % 64, texel / 64);
        [(4 * x) as u8, (4 * y) as u8, 90, 255 * u8::from(disc(x, y))]
    });
    let chain = chain(texels.collect(), 64, 64, 4);
    let shard = |rows: usize| -> (usize, Columns) {
        let mut columns = large_shard(rows, &chain);
        for (name, _, shape, bytes) in &mut columns {
            if *name == "pixels" {
                *bytes = chain.repeat(rows);
                *shape = vec![bytes.len()];
            }
            if *name == "offset" {
                *bytes = bytes!(
                    (0..rows)
                        .map(|row| (row * chain.len()) as u64)
                        .collect::<Vec<_>>()
                );
            }
        }
        (rows, columns)
    };
    let first = (0..rows).step_by(10_000);
    let shards = first.map(|first| shard((rows - first).min(10_000)));
    write_pack(directory, "cutouts", shards);
}

/// A bank of so many equal cutouts of 64x64 texels that share one mip chain: as many rows as a
/// large bank has without its bytes.
pub fn write_large_bank(directory: &Path, rows: usize, shards: usize) {
    let texels = chain(vec![255; 64 * 64 * 4], 64, 64, 4);
    let per_shard = rows / shards;
    let shards = (0..shards).map(|_| (per_shard, large_shard(per_shard, &texels)));
    write_pack(directory, "cutouts", shards);
}

/// So many rows of 64x64 texels that share one mip chain.
fn large_shard(rows: usize, chain: &[u8]) -> Columns {
    vec![
        (
            "size",
            Dtype::U16,
            vec![rows, 2],
            bytes!(vec![64u16; 2 * rows]),
        ),
        ("offset", Dtype::U64, vec![rows], vec![0; 8 * rows]),
        ("pixels", Dtype::U8, vec![chain.len()], chain.to_vec()),
        (
            "category",
            Dtype::I64,
            vec![rows],
            bytes!((0..rows as i64).map(|row| 1 + row % 3).collect::<Vec<_>>()),
        ),
        ("area", Dtype::U32, vec![rows], bytes!(vec![4096u32; rows])),
        (
            "box",
            Dtype::U16,
            vec![rows, 4],
            bytes!([0u16, 0, 64, 64].repeat(rows)),
        ),
        (
            "score",
            Dtype::F32,
            vec![rows],
            bytes!(vec![f32::NAN; rows]),
        ),
        ("image", Dtype::I64, vec![rows], bytes!(vec![-1i64; rows])),
        (
            "annotation",
            Dtype::I64,
            vec![rows],
            bytes!(vec![-1i64; rows]),
        ),
        ("origin", Dtype::I32, vec![rows, 2], vec![0; 8 * rows]),
        (
            "source_size",
            Dtype::U16,
            vec![rows, 2],
            bytes!(vec![640u16; 2 * rows]),
        ),
    ]
}

/// A scene pack of `rows` random scenes over `shards` shards; every fifth one is a JPEG.
pub fn write_scenes(directory: &Path, draw: &mut ChaCha8Rng, rows: usize, shards: usize) {
    let per_shard = rows.div_ceil(shards);
    let mut next_id = 100;
    let shards: Vec<(usize, Columns)> = (0..shards)
        .map(|shard| per_shard.min(rows.saturating_sub(shard * per_shard)))
        .map(|rows| (rows, scene_shard(draw, rows, &mut next_id)))
        .collect();
    write_pack(directory, "scenes", shards);
}

fn scene_shard(draw: &mut ChaCha8Rng, rows: usize, next_id: &mut i64) -> Columns {
    let (mut size, mut image, mut encoding) = (vec![], vec![], vec![]);
    let (mut offset, mut length, mut pixels) = (vec![], vec![], vec![]);
    let (mut start, mut category, mut annotation) = (vec![0u64], vec![], vec![]);
    let (mut crowd, mut boxes, mut mask_offset, mut mask_bits) = (vec![], vec![], vec![], vec![]);
    for row in 0..rows {
        let (width, height) = (draw.random_range(1..50), draw.random_range(1..50));
        let texels = random_texels(draw, width, height, 3);
        let is_jpeg = row % 5 == 4;
        let stored = if is_jpeg {
            jpeg(&texels, width, height)
        } else {
            chain(texels, width, height, 3)
        };
        size.extend([width as u16, height as u16]);
        image.push(1000 + row as i64);
        encoding.push(u8::from(is_jpeg));
        offset.push(pixels.len() as u64);
        length.push(stored.len() as u64);
        pixels.extend(stored);
        for _ in 0..draw.random_range(0..5) {
            let (x, y) = (draw.random_range(0..width), draw.random_range(0..height));
            let (w, h) = (
                draw.random_range(1..=width - x),
                draw.random_range(1..=height - y),
            );
            boxes.extend([x, y, w, h].map(|side| side as i32));
            category.push(draw.random_range(1..4i64));
            annotation.push(*next_id);
            *next_id += 1;
            crowd.push(u8::from(draw.random_bool(0.2)));
            mask_offset.push(mask_bits.len() as u64);
            mask_bits.extend((0..(w * h).div_ceil(8)).map(|_| draw.random::<u8>() | 0x5a));
        }
        start.push(category.len() as u64);
    }
    let instances = category.len();
    vec![
        ("size", Dtype::U16, vec![rows, 2], bytes!(size)),
        ("image", Dtype::I64, vec![rows], bytes!(image)),
        ("encoding", Dtype::U8, vec![rows], encoding),
        ("offset", Dtype::U64, vec![rows], bytes!(offset)),
        ("length", Dtype::U64, vec![rows], bytes!(length)),
        ("pixels", Dtype::U8, vec![pixels.len()], pixels),
        ("instance_start", Dtype::U64, vec![rows + 1], bytes!(start)),
        (
            "instance_category",
            Dtype::I64,
            vec![instances],
            bytes!(category),
        ),
        (
            "instance_annotation",
            Dtype::I64,
            vec![instances],
            bytes!(annotation),
        ),
        ("instance_iscrowd", Dtype::U8, vec![instances], crowd),
        (
            "instance_box",
            Dtype::I32,
            vec![instances, 4],
            bytes!(boxes),
        ),
        (
            "mask_offset",
            Dtype::U64,
            vec![instances],
            bytes!(mask_offset),
        ),
        ("mask_bits", Dtype::U8, vec![mask_bits.len()], mask_bits),
    ]
}

/// Serialised with the safetensors library, listed in a manifest.
pub fn write_pack(
    directory: &Path,
    kind: &str,
    shards: impl IntoIterator<Item = (usize, Columns)>,
) {
    fs::create_dir_all(directory).unwrap();
    let mut entries = Vec::new();
    for (number, (rows, columns)) in shards.into_iter().enumerate() {
        let views = columns.iter().map(|(name, dtype, shape, bytes)| {
            (
                *name,
                TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
            )
        });
        let file = serialize(views, None).unwrap();
        let name = format!("part-{number}.safetensors");
        fs::write(directory.join(&name), &file).unwrap();
        let xxh3 = format!("{:016x}", xxh3_64(&file));
        entries.push(json!({"file": name, "rows": rows, "bytes": file.len(), "xxh3": xxh3}));
    }
    let categories: Vec<_> = (1..4)
        .map(|id| json!({"id": id, "name": format!("category {id}"), "colour": "kept"}))
        .collect();
    let manifest = json!({"format": "pastebank", "version": 1, "kind": kind, "shards": entries,
        "categories": categories, "made_by": "a test"});
    fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
}

fn random_texels(draw: &mut ChaCha8Rng, width: usize, height: usize, channels: usize) -> Vec<u8> {
    let noise: u8 = draw.random_range(1..=255);
    let slope: usize = draw.random_range(0..9);
    (0..width * height * channels)
        .map(|index| {
            let (x, y) = (index / channels % width, index / channels / width);
            ((x + y) * slope + draw.random_range(0..=noise) as usize) as u8
        })
        .collect()
}

/// Texels whose alpha is a soft disc, noise, everything or nothing.
fn random_cutout(draw: &mut ChaCha8Rng, width: usize, height: usize) -> Vec<u8> {
    let mut texels = random_texels(draw, width, height, 4);
    let kind = draw.random_range(0..8);
    let (centre_x, centre_y) = (width as f64 / 2.0, height as f64 / 2.0);
    for (index, texel) in texels.chunks_exact_mut(4).enumerate() {
        let (x, y) = ((index % width) as f64 + 0.5, (index / width) as f64 + 0.5);
        let distance = ((x - centre_x) / centre_x).hypot((y - centre_y) / centre_y);
        texel[3] = match kind {
            0 => 255,
            1 => 0,
            2 => draw.random(),
            3 => u8::from(distance < 0.9) * 255,
            _ => ((1.2 - distance) * 400.0).clamp(0.0, 255.0) as u8,
        };
    }
    texels
}

/// Rule 2, written down once more.
pub fn chain(level0: Vec<u8>, width: usize, height: usize, channels: usize) -> Vec<u8> {
    let mut all = level0.clone();
    let (mut above, mut w, mut h) = (level0, width, height);
    while w > 1 || h > 1 {
        let (next_w, next_h) = (w.div_ceil(2), h.div_ceil(2));
        let texel = |x: usize, y: usize, channel: usize| {
            u32::from(above[(y.min(h - 1) * w + x.min(w - 1)) * channels + channel])
        };
        let mut below = Vec::new();
        for y in 0..next_h {
            for x in 0..next_w {
                for channel in 0..channels {
                    let sum = texel(2 * x, 2 * y, channel)
                        + texel(2 * x + 1, 2 * y, channel)
                        + texel(2 * x, 2 * y + 1, channel)
                        + texel(2 * x + 1, 2 * y + 1, channel);
                    below.push(((sum + 2) >> 2) as u8);
                }
            }
        }
        all.extend(&below);
        (above, w, h) = (below, next_w, next_h);
    }
    all
}

fn jpeg(texels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 90)
        .encode(texels, width as u32, height as u32, ExtendedColorType::Rgb8)
        .unwrap();
    file
}

fn tight_box(pixels: &[(usize, usize)]) -> [usize; 4] {
    let Some(x0) = pixels.iter().map(|pixel| pixel.0).min() else {
        return [0; 4];
    };
    let x1 = pixels.iter().map(|pixel| pixel.0).max().unwrap() + 1;
    let y0 = pixels.iter().map(|pixel| pixel.1).min().unwrap();
    let y1 = pixels.iter().map(|pixel| pixel.1).max().unwrap() + 1;
    [x0, y0, x1 - x0, y1 - y0]
}
