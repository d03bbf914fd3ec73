//! Packs in temporary folders, and a walk over everything that they hand out.

use std::fs;
use std::hint::black_box;
use std::num::NonZero;
use std::path::Path;

use pastebank::bank::{CutoutBank, ScenePack, ScenePixels, mip};
use pastebank::compose::{Backend, Batch, CpuBackend, Encoded, OutputSpec};
use pastebank::plan::{CheckedPlan, Plan};
use serde_json::{Map, Value, json};

/// Name, type, values a row and bytes a value of each column; `pixels` and `mask_bits` take what
/// is left.
type Columns = &'static [(&'static str, &'static str, usize, usize)];
const CUTOUT_COLUMNS: Columns = &[
    ("size", "U16", 2, 2),
    ("offset", "U64", 1, 8),
    ("category", "I64", 1, 8),
    ("area", "U32", 1, 4),
    ("box", "U16", 4, 2),
    ("score", "F32", 1, 4),
    ("image", "I64", 1, 8),
    ("annotation", "I64", 1, 8),
    ("origin", "I32", 2, 4),
    ("source_size", "U16", 2, 2),
];
const SCENE_COLUMNS: Columns = &[
    ("size", "U16", 2, 2),
    ("image", "I64", 1, 8),
    ("encoding", "U8", 1, 1),
    ("offset", "U64", 1, 8),
    ("length", "U64", 1, 8),
];
const INSTANCE_COLUMNS: Columns = &[
    ("instance_category", "I64", 1, 8),
    ("instance_annotation", "I64", 1, 8),
    ("instance_iscrowd", "U8", 1, 1),
    ("instance_box", "I32", 4, 4),
    ("mask_offset", "U64", 1, 8),
];

/// What a shard holds.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Cutouts,
    Scenes,
}

/// A header over `data` in which every column has its right type and shape, and the bytes that it
/// covers: short data are filled up with zeros.
pub fn shard_with_header(kind: Kind, rows: usize, instances: usize, data: &[u8]) -> Vec<u8> {
    let mut header = Map::new();
    let mut end = 0;
    let mut column = |name: &str, dtype: &str, shape: &[usize], bytes: usize| {
        let tensor = json!({"dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes]});
        header.insert(name.to_owned(), tensor);
        end += bytes;
        end
    };
    let mut columns = |columns: Columns, rows: usize| {
        for &(name, dtype, values, bytes) in columns {
            match values {
                1 => column(name, dtype, &[rows], rows * bytes),
                _ => column(name, dtype, &[rows, values], rows * values * bytes),
            };
        }
    };
    if kind == Kind::Cutouts {
        columns(CUTOUT_COLUMNS, rows);
    } else {
        columns(SCENE_COLUMNS, rows);
        columns(INSTANCE_COLUMNS, instances);
        column("instance_start", "U64", &[rows + 1], 8 * (rows + 1));
        column("mask_bits", "U8", &[8], 8);
    }
    let end = column("pixels", "U8", &[0], 0);
    let pixels = data.len().saturating_sub(end);
    header["pixels"] =
        json!({"dtype": "U8", "shape": [pixels], "data_offsets": [end, end + pixels]});
    let mut data = data.to_vec();
    data.resize(end + pixels, 0);
    let header = Value::from(header).to_string();
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        &data,
    ]
    .concat()
}

/// A pack of one shard, its manifest in agreement with it.
pub fn write_pack(directory: &Path, kind: Kind, rows: usize, shard: &[u8]) {
    let kind = match kind {
        Kind::Cutouts => "cutouts",
        Kind::Scenes => "scenes",
    };
    let entry = json!({"file": "shard", "rows": rows, "bytes": shard.len(), "xxh3": ""});
    let manifest = json!({"format": "pastebank", "version": 1, "kind": kind, "shards": [entry],
        "categories": []});
    for (file, bytes) in [
        ("shard", shard),
        ("manifest.json", manifest.to_string().as_bytes()),
    ] {
        let path = directory.join(file);
        // A new file each time: a shorter one under a map would end the process.
        let _ = fs::remove_file(&path);
        fs::write(path, bytes).expect("the temporary folder takes files");
    }
}

/// The value of a little-endian column's row.
fn number(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A bank of one cutout of 2x1 texels.
pub fn tiny_bank(directory: &Path) -> CutoutBank {
    let columns = [
        &[2, 0, 1, 0][..],
        &number(&[0, 5]),
        &[2, 0, 0, 0],
        &[0, 0, 0, 0, 2, 0, 1, 0],
        &[0; 4],
        &number(&[1, 2]),
        &[0; 8],
        &[2, 0, 1, 0],
        &[200, 10, 10, 255, 10, 200, 10, 130, 105, 105, 10, 193],
    ];
    let shard = shard_with_header(Kind::Cutouts, 1, 0, &columns.concat());
    write_pack(directory, Kind::Cutouts, 1, &shard);
    CutoutBank::open(directory).expect("the tiny bank is valid")
}

/// A pack of one scene of 2x2 pixels with one instance.
pub fn tiny_scenes(directory: &Path) -> ScenePack {
    let columns = [
        &[2, 0, 2, 0][..],
        &number(&[9]),
        &[0],
        &number(&[0, 15, 5, 7]),
        &[0],
        &[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
        &number(&[0, 0, 1]),
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[
            10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 55, 65, 75,
        ],
    ];
    let shard = shard_with_header(Kind::Scenes, 1, 1, &columns.concat());
    write_pack(directory, Kind::Scenes, 1, &shard);
    ScenePack::open(directory).expect("the tiny scene pack is valid")
}

/// Reads every byte: one outside the map would end the process.
fn touch(bytes: &[u8]) {
    black_box(bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
}

/// Every row, level and column of a bank.
pub fn walk_bank(bank: &CutoutBank) {
    for index in 0..bank.len() {
        let cutout = bank.get(index).expect("an opened bank hands out its rows");
        for level in 0..mip::levels(cutout.size).count() {
            let (_, texels) = cutout.level(level).expect("the chain is whole");
            touch(texels);
        }
        black_box(format!(
            "{:?}",
            (cutout.bounding_box, cutout.score, cutout.origin)
        ));
    }
    assert_eq!(bank.category_ids().count(), bank.len());
    assert!(bank.get(bank.len()).is_none());
}

/// Every row, instance, mask bit and list of a scene pack.
pub fn walk_scenes(scenes: &ScenePack) {
    for index in 0..scenes.len() {
        let scene = scenes
            .get(index)
            .expect("an opened pack hands out its rows");
        let (ScenePixels::Raw(bytes) | ScenePixels::Jpeg(bytes)) = scene.pixels;
        touch(bytes);
        assert_eq!(scene.instances().count(), scene.instance_count());
        for instance in scene.instances() {
            let [_, _, width, height] = instance.bounding_box;
            let bits = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            black_box(bits.filter(|&(x, y)| instance.has(x, y)).count());
        }
        black_box((scene.file_name(), scene.negative_categories().count()));
        black_box(scene.not_exhaustive_categories().count());
    }
    assert!(scenes.get(scenes.len()).is_none());
}

/// One small plan for each pair of rows.
pub fn compose_all(scenes: &ScenePack, bank: &CutoutBank) {
    let rows = scenes.len().max(bank.len());
    let samples: Vec<Value> = (0..rows)
        .map(|row| {
            let scene = json!({"index": row % scenes.len(), "resized": [9, 7], "offset": [-1, 1]});
            let layer = json!({"cutout": row % bank.len(), "resized": [5, 6], "offset": [2, 0],
                "blend": {"box": {"radius": 1}}, "angle": row % 2});
            json!({"scene": scene, "layers": [layer]})
        })
        .collect();
    let plan = json!({"canvas": [8, 8], "samples": samples}).to_string();
    let plan = Plan::from_json(plan.as_bytes()).expect("the plan has the right form");
    compose(&plan, scenes, bank);
}

/// Errors are as good as images; only a panic is a finding.
pub fn compose(plan: &Plan, scenes: &ScenePack, bank: &CutoutBank) {
    let Ok(checked) = CheckedPlan::new(plan, scenes, bank) else {
        return;
    };
    let Ok(encoded) = Encoded::new(&checked) else {
        return;
    };
    let mut batch = Batch::new(OutputSpec::default());
    // On the caller's thread, where a panic is seen.
    let _ = CpuBackend::new(NonZero::new(1)).compose(&encoded, &mut batch);
}
