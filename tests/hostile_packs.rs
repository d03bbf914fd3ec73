//! Packs of damaged bytes: opening and reading them never panics and never reads outside, and what
//! is refused is refused by an error that names the shard, the row and the column.

mod common;

use std::fs;
use std::hint::black_box;
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};

use common::packs::{write_bank, write_scenes};
use common::{ChaCha8Rng, RngExt, SeedableRng};
use pastebank::bank::{BankError, CUTOUT_CHANNELS, CutoutBank, Kind, SCENE_CHANNELS};
use pastebank::bank::{Scene, ScenePack, ScenePixels, mip};
use pastebank::compose::{Backend, Batch, ComposeError, CpuBackend, Encoded, OutputSpec};
use pastebank::geometry::Size;
use pastebank::plan::{CheckedPlan, Plan};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Rows of every pack here; the fifth scene is a JPEG.
const ROWS: usize = 6;
const JPEG_ROW: usize = 4;
const SHARD: &str = "part-0.safetensors";
/// Random damages a test.
const DAMAGES: u64 = 800;

// ---- Packs to be damaged ----

/// A shard taken apart, to be damaged and put together again.
#[derive(Clone)]
struct Shard {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Shard {
    fn read(path: &Path) -> Shard {
        let bytes = fs::read(path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let (header, data) = bytes[8..].split_at(length);
        Shard {
            header: serde_json::from_slice(header).unwrap(),
            data: data.to_vec(),
        }
    }

    fn header_text(&self) -> String {
        Value::from(self.header.clone()).to_string()
    }

    fn bytes(&self) -> Vec<u8> {
        join(self.header_text().as_bytes(), &self.data)
    }

    fn columns(&self) -> Vec<String> {
        self.header.keys().cloned().collect()
    }

    /// Where a column lies in `data`.
    fn range(&self, column: &str) -> Range<usize> {
        let offset = |end: usize| {
            let offsets = &self.header[column]["data_offsets"];
            offsets[end].as_u64().unwrap() as usize
        };
        offset(0)..offset(1)
    }

    /// Overwrites one row, whose whole contents are `value`.
    fn set(&mut self, column: &str, row: usize, value: &[u8]) {
        let start = self.range(column).start + row * value.len();
        self.data[start..start + value.len()].copy_from_slice(value);
    }

    fn u64_at(&self, column: &str, row: usize) -> u64 {
        let start = self.range(column).start + 8 * row;
        u64::from_le_bytes(self.data[start..start + 8].try_into().unwrap())
    }

    fn append(&mut self, column: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        let start = self.data.len();
        self.data.extend(bytes);
        let tensor = json!({"dtype": dtype, "shape": shape,
            "data_offsets": [start, self.data.len()]});
        self.header.insert(column.to_owned(), tensor);
    }

    /// The first row that has an instance, and the number of that instance.
    fn first_instance(&self) -> (usize, usize) {
        let row = (0..ROWS).find(|row| self.u64_at("instance_start", row + 1) > 0);
        (row.unwrap(), 0)
    }
}

/// The safetensors layout: the header's length, the header, the data.
fn join(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

fn u16_bytes(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn i32_bytes(values: &[i32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn u64_bytes(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A new file, not the old one shortened: some file systems write that to disk at once.
fn replace(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

/// A pack in a temporary folder, and the valid shard that it was made with.
struct Pack {
    folder: TempDir,
    kind: Kind,
    shard: Shard,
    manifest: Value,
}

impl Pack {
    fn new(kind: Kind) -> Pack {
        let folder = tempfile::tempdir().unwrap();
        let mut draw = ChaCha8Rng::seed_from_u64(11);
        match kind {
            Kind::Cutouts => write_bank(folder.path(), &mut draw, ROWS, 1),
            Kind::Scenes => write_scenes(folder.path(), &mut draw, ROWS, 1),
        }
        let manifest = fs::read(folder.path().join("manifest.json")).unwrap();
        Pack {
            kind,
            shard: Shard::read(&folder.path().join(SHARD)),
            manifest: serde_json::from_slice(&manifest).unwrap(),
            folder,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn write_manifest(&self, text: impl AsRef<[u8]>) {
        replace(&self.path("manifest.json"), text.as_ref());
    }

    /// Writes a shard and a manifest that agrees with its length, so that the damage is reached.
    fn write_shard(&self, bytes: &[u8]) {
        replace(&self.path(SHARD), bytes);
        let mut manifest = self.manifest.clone();
        manifest["shards"][0]["bytes"] = json!(bytes.len());
        self.write_manifest(manifest.to_string());
    }

    fn open(&self) -> Result<Opened, BankError> {
        match self.kind {
            Kind::Cutouts => CutoutBank::open(self.folder.path()).map(Opened::Bank),
            Kind::Scenes => ScenePack::open(self.folder.path()).map(Opened::Scenes),
        }
    }

    fn open_shard(&self, bytes: &[u8]) -> Result<Opened, BankError> {
        self.write_shard(bytes);
        self.open()
    }

    /// The error of a shard that must not open.
    #[track_caller]
    fn refuses(&self, bytes: &[u8], expected: &[&str]) {
        let error = self.open_shard(bytes).expect_err("the shard is damaged");
        assert_names(&error.to_string(), SHARD, expected);
    }

    #[track_caller]
    fn refuses_column(&self, column: &str, row: usize, value: &[u8], expected: &[&str]) {
        let mut shard = self.shard.clone();
        shard.set(column, row, value);
        self.refuses(&shard.bytes(), expected);
    }

    #[track_caller]
    fn refuses_manifest(&self, text: impl AsRef<[u8]>, expected: &[&str]) {
        self.write_manifest(text);
        let error = self.open().expect_err("the manifest is damaged");
        assert_names(&error.to_string(), "", expected);
    }
}

#[track_caller]
fn assert_names(error: &str, file: &str, expected: &[&str]) {
    for piece in expected.iter().chain([&file]) {
        assert!(error.contains(piece), "{piece:?} is not in: {error}");
    }
}

// ---- Everything that an opened pack hands out ----

enum Opened {
    Bank(CutoutBank),
    Scenes(ScenePack),
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a pack that opened")
    }
}

/// Valid packs to compose damaged ones with.
struct Companions {
    _folders: [Pack; 2],
    bank: CutoutBank,
    scenes: ScenePack,
}

impl Companions {
    fn new() -> Companions {
        let [bank, scenes] = [Kind::Cutouts, Kind::Scenes].map(Pack::new);
        Companions {
            bank: CutoutBank::open(bank.folder.path()).unwrap(),
            scenes: ScenePack::open(scenes.folder.path()).unwrap(),
            _folders: [bank, scenes],
        }
    }

    /// Reads all of a pack, and composes each of its rows. Returns how many rows gave an image.
    fn exercise(&self, opened: &Opened) -> usize {
        match opened {
            Opened::Bank(bank) => {
                walk_bank(bank);
                compose_all(&self.scenes, bank)
            }
            Opened::Scenes(scenes) => {
                walk_scenes(scenes);
                compose_all(scenes, &self.bank)
            }
        }
    }
}

/// Reads every byte: one outside the map would end the process.
fn touch(bytes: &[u8]) {
    black_box(bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
}

fn walk_bank(bank: &CutoutBank) {
    for index in 0..bank.len() {
        let cutout = bank.get(index).expect("an opened bank hands out its rows");
        let levels = mip::levels(cutout.size).count();
        let mut bytes = 0;
        for level in 0..levels {
            let (size, texels) = cutout.level(level).expect("the chain is whole");
            assert_eq!(texels.len(), size.pixels() * CUTOUT_CHANNELS);
            touch(texels);
            bytes += texels.len();
        }
        assert_eq!(bytes, cutout.chain.len());
        assert!(cutout.level(levels).is_none());
        black_box(format!(
            "{:?}",
            (cutout.category, cutout.score, cutout.image)
        ));
        black_box((cutout.annotation, cutout.origin, cutout.source_size));
    }
    assert_eq!(bank.category_ids().count(), bank.len());
    assert!(bank.get(bank.len()).is_none());
    assert!(bank.get(usize::MAX).is_none());
    black_box((bank.manifest().rows(), bank.manifest().names()));
}

fn walk_scenes(scenes: &ScenePack) {
    for index in 0..scenes.len() {
        let scene = scenes
            .get(index)
            .expect("an opened pack hands out its rows");
        match scene.pixels {
            ScenePixels::Raw(chain) => {
                assert_eq!(chain.len(), mip::chain_bytes(scene.size, SCENE_CHANNELS));
                touch(chain);
            }
            ScenePixels::Jpeg(file) => touch(file),
        }
        walk_instances(&scene);
        black_box((scene.image, scene.file_name()));
        black_box(scene.negative_categories().count());
        black_box(scene.not_exhaustive_categories().count());
    }
    assert!(scenes.get(scenes.len()).is_none());
    assert!(scenes.get(usize::MAX).is_none());
    black_box((scenes.manifest().rows(), scenes.manifest().names()));
}

fn walk_instances(scene: &Scene<'_>) {
    let mut count = 0;
    for instance in scene.instances() {
        let [x, y, width, height] = instance.bounding_box;
        assert!(x + width <= scene.size.width() && y + height <= scene.size.height());
        touch(instance.mask);
        let bits = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        black_box(bits.filter(|&(x, y)| instance.has(x, y)).count());
        assert!(!instance.has(u32::MAX, u32::MAX) || instance.mask.is_empty());
        black_box(format!("{:?}", (instance.category, instance.score)));
        count += 1;
    }
    assert_eq!(count, scene.instance_count());
}

/// One plan a scene, every cutout on it. On the caller's thread, so that a panic ends the test.
fn compose_all(scenes: &ScenePack, bank: &CutoutBank) -> usize {
    let mut backend = CpuBackend::new(NonZero::new(1));
    let mut batch = Batch::new(OutputSpec::default());
    (0..scenes.len())
        .filter(|&scene| compose(scene, scenes, bank, &mut backend, &mut batch).is_ok())
        .count()
}

fn compose(
    scene: usize,
    scenes: &ScenePack,
    bank: &CutoutBank,
    backend: &mut CpuBackend,
    batch: &mut Batch,
) -> Result<(), ComposeError> {
    let blends = [json!("hard"), json!("soft"), json!({"box": {"radius": 2}})];
    let layers: Vec<Value> = (0..bank.len())
        .map(|cutout| {
            json!({"cutout": cutout, "resized": [13, 9], "offset": [3 * cutout, cutout],
                "flip": cutout % 2 == 0, "angle": 40 * (cutout % 2),
                "blend": blends[cutout % 3]})
        })
        .collect();
    let scene = json!({"index": scene, "resized": [22, 18], "offset": [1, -2], "flip": true});
    let plan = json!({"canvas": [24, 20], "samples": [{"scene": scene, "layers": layers}]});
    let plan = Plan::from_json(plan.to_string().as_bytes())?;
    let checked = CheckedPlan::new(&plan, scenes, bank)?;
    backend.compose(&Encoded::new(&checked)?, batch)
}

// ---- Valid packs and their limits ----

#[test]
fn valid_packs_can_be_read_whole() {
    let companions = Companions::new();
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let pack = Pack::new(kind);
        let opened = pack.open_shard(&pack.shard.bytes()).unwrap();
        assert_eq!(companions.exercise(&opened), ROWS);
    }
}

#[test]
fn values_without_a_rule_are_handed_out_as_they_are() {
    let companions = Companions::new();
    let mut bank = Pack::new(Kind::Cutouts);
    let scores = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        f32::MIN,
        1e-45,
    ];
    for (row, score) in scores.into_iter().enumerate() {
        bank.shard.set("score", row, &score.to_le_bytes());
        bank.shard.set("category", row, &i64::MIN.to_le_bytes());
        bank.shard
            .set("origin", row, &i32_bytes(&[i32::MIN, i32::MAX]));
        bank.shard
            .set("source_size", row, &u16_bytes(&[0, u16::MAX]));
    }
    let opened = bank.open_shard(&bank.shard.bytes()).unwrap();
    assert_eq!(companions.exercise(&opened), ROWS);
    let Opened::Bank(opened) = opened else {
        unreachable!()
    };
    for (row, score) in scores.into_iter().enumerate() {
        let cutout = opened.get(row).unwrap();
        assert_eq!(cutout.score.to_bits(), score.to_bits());
        assert_eq!(
            (cutout.category, cutout.origin),
            (i64::MIN, [i32::MIN, i32::MAX])
        );
    }
}

#[test]
fn rows_may_share_their_pixels() {
    let companions = Companions::new();
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let mut pack = Pack::new(kind);
        let pixels = pack.shard.range("pixels").len() as u64;
        // The last row's chain is the shortest that every row's offset can be moved onto.
        for row in 0..ROWS {
            let length = match kind {
                Kind::Scenes => pack.shard.u64_at("length", row),
                Kind::Cutouts => chain_length(&pack.shard, row),
            };
            pack.shard
                .set("offset", row, &(pixels - length).to_le_bytes());
        }
        let opened = pack.open_shard(&pack.shard.bytes()).unwrap();
        assert!(companions.exercise(&opened) >= ROWS - 1);
    }
}

fn chain_length(shard: &Shard, row: usize) -> u64 {
    let start = shard.range("size").start + 4 * row;
    let side = |at: usize| u32::from(u16::from_le_bytes([shard.data[at], shard.data[at + 1]]));
    let size = Size::new(side(start), side(start + 2)).unwrap();
    mip::chain_bytes(size, CUTOUT_CHANNELS) as u64
}

#[test]
fn packs_without_rows_open() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let folder = tempfile::tempdir().unwrap();
        let mut draw = ChaCha8Rng::seed_from_u64(0);
        match kind {
            Kind::Cutouts => write_bank(folder.path(), &mut draw, 0, 1),
            Kind::Scenes => write_scenes(folder.path(), &mut draw, 0, 1),
        }
        match kind {
            Kind::Cutouts => walk_bank(&CutoutBank::open(folder.path()).unwrap()),
            Kind::Scenes => walk_scenes(&ScenePack::open(folder.path()).unwrap()),
        }
    }
}

// ---- Named damages: columns ----

#[test]
fn cutout_rows_that_do_not_fit_are_named() {
    let pack = Pack::new(Kind::Cutouts);
    let pixels = pack.shard.range("pixels").len() as u64;
    let blob = format!("`pixels` has {pixels} bytes");
    for (size, found) in [
        ([0, 5], "0x5; sides of 1..=16384"),
        ([5, 0], "5x0; sides of 1..=16384"),
        ([u16::MAX, u16::MAX], "65535x65535; sides of 1..=16384"),
        ([16_385, 1], "16385x1; sides of 1..=16384"),
    ] {
        let expected = ["row 2, column `size`: ", found];
        pack.refuses_column("size", 2, &u16_bytes(&size), &expected);
    }
    let expected = [
        "row 5, column `offset`: a mip chain of 1431655764 bytes at ",
        &blob,
    ];
    pack.refuses_column("size", 5, &u16_bytes(&[16_384, 16_384]), &expected);
    for offset in [
        pixels,
        pixels - 3,
        u64::MAX,
        u64::MAX - 3,
        1 << 63,
        u64::from(u32::MAX),
    ] {
        let expected = [
            "row 0, column `offset`: ",
            &format!("bytes at {offset}; {blob}"),
        ];
        pack.refuses_column("offset", 0, &offset.to_le_bytes(), &expected);
    }
    for bounding_box in [[60_000, 0, 1, 1], [0, 0, 1, 60_000], [u16::MAX; 4]] {
        let found = format!("row 3, column `box`: {bounding_box:?} does not fit in the cutout's ");
        pack.refuses_column("box", 3, &u16_bytes(&bounding_box), &[&found]);
    }
    let expected = ["row 1, column `area`: 4294967295 texels; the box ["];
    pack.refuses_column("area", 1, &u32::MAX.to_le_bytes(), &expected);
}

#[test]
fn scene_rows_that_do_not_fit_are_named() {
    let pack = Pack::new(Kind::Scenes);
    let pixels = pack.shard.range("pixels").len() as u64;
    let blob = format!("`pixels` has {pixels} bytes");
    for (size, found) in [([0, 5], "0x5"), ([u16::MAX, 1], "65535x1")] {
        let found = format!("row 2, column `size`: {found}; sides of 1..=16384");
        pack.refuses_column("size", 2, &u16_bytes(&size), &[&found]);
    }
    for offset in [pixels, u64::MAX, u64::MAX - 1] {
        let expected = [
            "row 1, column `offset`: ",
            &format!("bytes at {offset}; {blob}"),
        ];
        pack.refuses_column("offset", 1, &offset.to_le_bytes(), &expected);
    }
    let expected = [
        "row 1, column `offset`: 18446744073709551615 bytes at ",
        &blob,
    ];
    pack.refuses_column("length", 1, &u64::MAX.to_le_bytes(), &expected);
    let length = pack.shard.u64_at("length", 1);
    let expected = [
        "row 1, column `length`: ",
        "; the mip chain of ",
        &format!("{length} bytes"),
    ];
    pack.refuses_column("length", 1, &(length - 1).to_le_bytes(), &expected);
    pack.refuses_column("length", 1, &0u64.to_le_bytes(), &expected);
    let expected = ["row 0, column `encoding`: 2; 0 (raw) or 1 (JPEG) expected"];
    pack.refuses_column("encoding", 0, &[2], &expected);
}

#[test]
fn instance_lists_that_do_not_rise_are_named() {
    let pack = Pack::new(Kind::Scenes);
    let total = pack.shard.u64_at("instance_start", ROWS);
    let rises = format!("starts that rise from 0 to {total} were expected");
    for (row, start) in [
        (0, 1),
        (2, total + 1),
        (2, u64::MAX),
        (1, 1 << 63),
        (ROWS, total - 1),
    ] {
        let found = format!("row {row}, column `instance_start`: {start} after ");
        let value = start.to_le_bytes();
        pack.refuses_column("instance_start", row, &value, &[&found, &rises]);
    }
    let before = pack.shard.u64_at("instance_start", 3);
    assert!(before > 0, "the seed gives row 3 a start to fall from");
    let found = format!(
        "row 4, column `instance_start`: {} after {before}",
        before - 1
    );
    let value = (before - 1).to_le_bytes();
    pack.refuses_column("instance_start", 4, &value, &[&found, &rises]);
}

#[test]
fn instances_that_do_not_fit_are_named() {
    let pack = Pack::new(Kind::Scenes);
    let (row, instance) = pack.shard.first_instance();
    let place = |column: &str| format!("row {row}, column `{column}`: instance {instance}: ");
    for bounding_box in [
        [-1, 0, 1, 1],
        [0, -1, 1, 1],
        [0, 0, -1, 1],
        [0, 0, 1, i32::MIN],
        [0, 0, 51, 1],
        [50, 50, 1, 1],
        [i32::MAX; 4],
    ] {
        let found = format!("{bounding_box:?} does not fit in the scene's ");
        let expected = [&place("instance_box")[..], &found];
        pack.refuses_column(
            "instance_box",
            instance,
            &i32_bytes(&bounding_box),
            &expected,
        );
    }
    let bits = pack.shard.range("mask_bits").len() as u64;
    for offset in [bits, u64::MAX, 1 << 63] {
        let found = format!("bytes at {offset}; `mask_bits` has {bits} bytes");
        let expected = [&place("mask_offset")[..], &found];
        pack.refuses_column("mask_offset", instance, &offset.to_le_bytes(), &expected);
    }
}

#[test]
fn jpeg_scenes_that_cannot_be_decoded_name_their_scene() {
    let companions = Companions::new();
    let decode_error = |damage: &dyn Fn(&mut Shard)| {
        let mut pack = Pack::new(Kind::Scenes);
        damage(&mut pack.shard);
        let opened = pack.open_shard(&pack.shard.bytes()).unwrap();
        assert_eq!(companions.exercise(&opened), ROWS - 1);
        let Opened::Scenes(scenes) = opened else {
            unreachable!()
        };
        let mut backend = CpuBackend::new(NonZero::new(1));
        let mut batch = Batch::new(OutputSpec::default());
        let result = compose(
            JPEG_ROW,
            &scenes,
            &companions.bank,
            &mut backend,
            &mut batch,
        );
        result.unwrap_err().to_string()
    };
    let empty = decode_error(&|shard| shard.set("length", JPEG_ROW, &[0; 8]));
    assert_names(&empty, "scene 4: no valid JPEG: ", &[]);
    let cut = decode_error(&|shard| shard.set("length", JPEG_ROW, &40u64.to_le_bytes()));
    assert_names(&cut, "scene 4: ", &["JPEG"]);
    let size = decode_error(&|shard| shard.set("size", JPEG_ROW, &u16_bytes(&[60, 70])));
    assert_names(&size, "scene 4: the JPEG has ", &["; its row says 60x70"]);
    let huge = decode_error(&|shard| shard.set("size", JPEG_ROW, &u16_bytes(&[16_384; 2])));
    assert_names(
        &huge,
        "scene 4: the JPEG has ",
        &["; its row says 16384x16384"],
    );
}

// ---- Named damages: optional columns ----

/// A scene shard with every optional column; one name is no UTF-8.
fn shard_with_lists(pack: &Pack) -> Shard {
    let mut shard = pack.shard.clone();
    let instances = shard.range("instance_category").len() / 8;
    let scores: Vec<u8> = [f32::NAN.to_le_bytes(), f32::MAX.to_le_bytes()].concat();
    let scores = scores.repeat(instances)[..4 * instances].to_vec();
    shard.append("instance_score", "F32", &[instances], &scores);
    shard.append("file_name", "U8", &[5], b"a\xff\xfebc");
    shard.append(
        "file_name_start",
        "U64",
        &[ROWS + 1],
        &u64_bytes(&[0, 1, 1, 4, 5, 5, 5]),
    );
    for list in ["neg_category_ids", "not_exhaustive_category_ids"] {
        shard.append(list, "I64", &[2], &u64_bytes(&[3, u64::MAX]));
        let starts = u64_bytes(&[0, 0, 2, 2, 2, 2, 2]);
        shard.append(&format!("{list}_start"), "U64", &[ROWS + 1], &starts);
    }
    shard
}

#[test]
fn optional_columns_are_read() {
    let pack = Pack::new(Kind::Scenes);
    let opened = pack.open_shard(&shard_with_lists(&pack).bytes()).unwrap();
    assert_eq!(Companions::new().exercise(&opened), ROWS);
    let Opened::Scenes(scenes) = opened else {
        unreachable!()
    };
    let scene = |row: usize| scenes.get(row).unwrap();
    assert_eq!(scene(0).file_name(), "a");
    assert_eq!(scene(1).file_name(), "");
    assert_eq!(scene(2).file_name(), "\u{fffd}\u{fffd}b");
    assert_eq!(scene(1).negative_categories().collect::<Vec<_>>(), [3, -1]);
    assert_eq!(scene(2).not_exhaustive_categories().count(), 0);
}

#[test]
fn optional_columns_that_do_not_fit_are_named() {
    let pack = Pack::new(Kind::Scenes);
    let valid = shard_with_lists(&pack);
    for (list, total) in [
        ("file_name", 5),
        ("neg_category_ids", 2),
        ("not_exhaustive_category_ids", 2),
    ] {
        let starts = format!("{list}_start");
        let place = format!("column `{starts}`: ");
        let rises = format!("starts that rise from 0 to {total} were expected");
        for (row, start) in [(0, 1), (3, 0), (3, u64::MAX), (5, 6), (6, 1)] {
            let mut shard = valid.clone();
            shard.set(&starts, row, &u64::to_le_bytes(start));
            let row = format!(", row {row}, {place}{start} after ");
            pack.refuses(&shard.bytes(), &[&row, &rises]);
        }
        let mut shard = valid.clone();
        let tensor = shard.header.remove(&starts).unwrap();
        shard.header.insert("nothing".into(), tensor);
        pack.refuses(
            &shard.bytes(),
            &[&place, "the shard does not have this column"],
        );
        let mut shard = valid.clone();
        shard.header[list]["shape"] = json!([total, 1]);
        let expected = [
            &format!("column `{list}`: ")[..],
            "one dimension was expected",
        ];
        pack.refuses(&shard.bytes(), &expected);
    }
    let mut shard = valid.clone();
    shard.header["instance_score"]["dtype"] = json!("I32");
    let expected = ["column `instance_score`: type I32; F32 was expected"];
    pack.refuses(&shard.bytes(), &expected);
}

// ---- Named damages: headers ----

#[test]
fn missing_columns_are_named() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let pack = Pack::new(kind);
        for column in pack.shard.columns() {
            let mut shard = pack.shard.clone();
            let tensor = shard.header.remove(&column).unwrap();
            // Under another name: the data stay covered, and the unknown column is ignored.
            shard.header.insert("unknown".into(), tensor);
            let expected = format!("column `{column}`: the shard does not have this column");
            pack.refuses(&shard.bytes(), &[&expected]);
        }
    }
}

#[test]
fn columns_of_another_type_or_shape_are_named() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let pack = Pack::new(kind);
        for column in pack.shard.columns() {
            let place = format!("column `{column}`: ");
            let mut shard = pack.shard.clone();
            let dtype = shard.header[&column]["dtype"].as_str().unwrap().to_owned();
            // Of the same width, so that only the name of the type is wrong.
            let other = match &dtype[..] {
                "U8" => "I8",
                "U16" => "F16",
                "U32" | "I32" => "F32",
                "F32" => "U32",
                _ => "F64",
            };
            shard.header[&column]["dtype"] = json!(other);
            let found = format!("{place}type {other}; {dtype} was expected");
            pack.refuses(&shard.bytes(), &[&found]);
            let mut shard = pack.shard.clone();
            let shape = shard.header[&column]["shape"].as_array().unwrap().clone();
            let shape: Value = [vec![json!(1)], shape].concat().into();
            shard.header[&column]["shape"] = shape.clone();
            let found = format!("{place}shape {shape}; ").replace(',', ", ");
            pack.refuses(&shard.bytes(), &[&found, " was expected"]);
        }
    }
}

#[test]
fn headers_that_lie_about_lengths_are_refused() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let pack = Pack::new(kind);
        let valid = pack.shard.bytes();
        let header = pack.shard.header_text().len() as u64;
        for (length, problem) in [
            (u64::MAX, "bytes in a file of"),
            (u64::MAX - 7, "bytes in a file of"),
            (1 << 62, "bytes in a file of"),
            (100_000_001, "bytes in a file of"),
            (99_999_999, "a header of 99999999 bytes in a file of"),
            (valid.len() as u64 - 7, "bytes in a file of"),
            (valid.len() as u64 - 8, "line 1 column"),
            (header - 1, "line 1 column"),
            (header + 1, "line 1 column"),
            (0, "line 1 column 0"),
        ] {
            let mut bytes = valid.clone();
            bytes[..8].copy_from_slice(&length.to_le_bytes());
            pack.refuses(&bytes, &["no valid safetensors header: ", problem]);
        }
    }
}

#[test]
fn headers_that_are_no_header_are_refused() {
    let pack = Pack::new(Kind::Cutouts);
    let deep = [&b"{\"a\": "[..], &b"[".repeat(100_000)].concat();
    for header in [
        &b"{"[..],
        b"null",
        b"[]",
        b"\"text\"",
        b"{\"size\": 5}",
        b"{\"size\": {\"dtype\": \"U17\", \"shape\": [1], \"data_offsets\": [0, 1]}}",
        b"{\"size\": {\"dtype\": \"U8\", \"shape\": [-1], \"data_offsets\": [0, 1]}}",
        b"{\"size\": {\"dtype\": \"U8\", \"shape\": [1.0], \"data_offsets\": [0, 1]}}",
        b"{\"size\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0]}}",
        b"{\"size\": {\"dtype\": \"U8\", \"shape\": [18446744073709551616]}}",
        b"{\"__metadata__\": {\"key\": {}}}",
        b"{\"\xff\": 1}",
        &deep,
    ] {
        let bytes = join(header, &pack.shard.data);
        pack.refuses(&bytes, &["no valid safetensors header: ", "line 1 column"]);
    }
    let bytes = join(b"{}", &pack.shard.data);
    pack.refuses(
        &bytes,
        &["its tensors have 0 bytes; ", " bytes follow the header"],
    );
    pack.refuses(
        &join(b"{}", b""),
        &["column `size`: the shard does not have this column"],
    );
}

#[test]
fn tensors_that_lie_about_their_place_are_refused() {
    let pack = Pack::new(Kind::Cutouts);
    let range = pack.shard.range("offset");
    let (start, end) = (range.start as u64, range.end as u64);
    let data = pack.shard.data.len() as u64;
    for offsets in [
        [start + 1, end],
        [start, end + 1],
        [end, start],
        [start, u64::MAX],
        [data, data + end - start],
        [u64::MAX, u64::MAX],
    ] {
        let mut shard = pack.shard.clone();
        shard.header["offset"]["data_offsets"] = json!(offsets);
        pack.refuses(&shard.bytes(), &["no valid safetensors header: "]);
    }
    for (shape, problem) in [
        (vec![1 << 33, 1 << 33], "overflow computing buffer size"),
        (vec![u64::MAX], "overflow computing buffer size"),
        (vec![0, u64::MAX], "invalid shape, data type, or offset"),
        (vec![1 << 50], "invalid shape, data type, or offset"),
    ] {
        let mut shard = pack.shard.clone();
        shard.header["offset"]["shape"] = json!(shape);
        pack.refuses(&shard.bytes(), &["no valid safetensors header: ", problem]);
    }
    let mut shard = pack.shard.clone();
    shard.header["pixels"]["dtype"] = json!("F4");
    pack.refuses(&shard.bytes(), &["no valid safetensors header: "]);
}

#[test]
fn tensors_whose_lengths_sum_past_64_bits_are_refused() {
    // Each length fits; their sum reaches the largest number, and the header comes on top.
    let most = (1u64 << 61) - 1;
    let mut header = Map::new();
    let mut start = 0;
    for (number, length) in [most, most, most, most, most, most, most, most, 7]
        .iter()
        .enumerate()
    {
        let end = start + length;
        let tensor = json!({"dtype": "U8", "shape": [length], "data_offsets": [start, end]});
        header.insert(format!("column {number}"), tensor);
        start = end;
    }
    assert_eq!(start, u64::MAX);
    let header = Value::from(header).to_string();
    let pack = Pack::new(Kind::Cutouts);
    pack.refuses(
        &join(header.as_bytes(), &pack.shard.data),
        &["no valid safetensors header: "],
    );
}

#[test]
fn duplicate_columns_cannot_contradict_each_other() {
    let pack = Pack::new(Kind::Cutouts);
    let companions = Companions::new();
    let text = pack.shard.header_text();
    let again = |tensor: &Value| format!("{}, \"size\": {tensor}}}", &text[..text.len() - 1]);
    // Said twice alike, there is nothing to doubt.
    let same = again(&pack.shard.header["size"]);
    let opened = pack
        .open_shard(&join(same.as_bytes(), &pack.shard.data))
        .unwrap();
    assert_eq!(companions.exercise(&opened), ROWS);
    let other = again(&pack.shard.header["source_size"]);
    let bytes = join(other.as_bytes(), &pack.shard.data);
    pack.refuses(
        &bytes,
        &["no valid safetensors header: invalid offset for tensor"],
    );
}

// ---- Named damages: manifests ----

/// The valid manifest with one value replaced.
fn changed(manifest: &Value, pointer: &str, value: Value) -> String {
    let mut manifest = manifest.clone();
    match manifest.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => manifest[&pointer[1..]] = value,
    }
    manifest.to_string()
}

#[test]
fn manifests_of_another_format_version_or_kind_are_refused() {
    let pack = Pack::new(Kind::Cutouts);
    let refuses = |pointer: &str, value: Value, expected: &str| {
        let text = changed(&pack.manifest, pointer, value);
        pack.refuses_manifest(text, &["manifest.json: ", expected]);
    };
    for version in [
        json!(2),
        json!(0),
        json!(-1),
        json!(1.0),
        json!("1"),
        json!(null),
    ] {
        let found = match &version {
            Value::Null => "nothing".to_owned(),
            version => version.to_string(),
        };
        let expected = format!("`version`: found {found}; this program reads 1");
        refuses("/version", version, &expected);
    }
    let expected = "`format`: found \"paste\"; this program reads \"pastebank\"";
    refuses("/format", json!("paste"), expected);
    let expected = "`kind`: the folder holds scenes; cutouts were expected";
    refuses("/kind", json!("scenes"), expected);
    refuses("/kind", json!("videos"), "`kind`: unknown variant `videos`");
    let scenes = Pack::new(Kind::Scenes);
    let error = CutoutBank::open(scenes.folder.path())
        .unwrap_err()
        .to_string();
    assert_names(&error, "manifest.json", &[expected]);
    let error = ScenePack::open(pack.folder.path()).unwrap_err().to_string();
    assert_names(&error, "manifest.json", &[]);
}

/// A place in the manifest, a value that does not belong there, and what the error says.
const WRONG_VALUES: [(&str, &str, &str); 11] = [
    ("/shards", "{}", "`shards`: invalid type: map"),
    ("/shards/0", "{}", "`shards[0]`: missing field `file`"),
    (
        "/shards/0/file",
        "5",
        "`shards[0].file`: invalid type: integer `5`",
    ),
    (
        "/shards/0/rows",
        "-1",
        "`shards[0].rows`: invalid value: integer `-1`",
    ),
    (
        "/shards/0/rows",
        "6.5",
        "`shards[0].rows`: invalid type: floating point `6.5`",
    ),
    (
        "/shards/0/bytes",
        "\"7\"",
        "`shards[0].bytes`: invalid type: string \"7\"",
    ),
    (
        "/shards/0/xxh3",
        "null",
        "`shards[0].xxh3`: invalid type: null",
    ),
    (
        "/categories",
        "true",
        "`categories`: invalid type: boolean `true`",
    ),
    (
        "/categories/2",
        "{\"id\": 1}",
        "`categories[2]`: missing field `name`",
    ),
    (
        "/categories/1/id",
        "1.5",
        "`categories[1].id`: invalid type: floating point `1.5`",
    ),
    (
        "/statistics",
        "[{\"category_id\": 1}]",
        "`statistics[0]`: missing field",
    ),
];

#[test]
fn values_of_another_type_name_their_place() {
    let pack = Pack::new(Kind::Cutouts);
    for (pointer, value, place) in WRONG_VALUES {
        let value = serde_json::from_str(value).unwrap();
        let text = changed(&pack.manifest, pointer, value);
        pack.refuses_manifest(text, &["manifest.json: ", place]);
    }
    for key in ["shards", "categories", "kind", "format", "version"] {
        let mut manifest = pack.manifest.clone();
        manifest.as_object_mut().unwrap().remove(key);
        pack.refuses_manifest(
            manifest.to_string(),
            &["manifest.json: ", &format!("`{key}`")],
        );
    }
}

#[test]
fn manifests_that_are_no_manifest_are_refused() {
    let pack = Pack::new(Kind::Scenes);
    let valid = pack.manifest.to_string();
    let deep = format!(
        "{}, \"deep\": {}",
        &valid[..valid.len() - 1],
        "[".repeat(100_000)
    );
    let twice = format!("{}, \"kind\": \"scenes\"}}", &valid[..valid.len() - 1]);
    for text in [
        &b""[..],
        b"{",
        b"\x00\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[1, 2]",
        b"null",
        b"{}",
        &b"[".repeat(100_000),
        deep.as_bytes(),
        twice.as_bytes(),
        format!("{valid} {{}}").as_bytes(),
        &valid.as_bytes()[..valid.len() - 1],
    ] {
        pack.refuses_manifest(text, &["manifest.json: `"]);
    }
    fs::remove_file(pack.path("manifest.json")).unwrap();
    let error = pack.open().unwrap_err().to_string();
    assert_names(&error, "manifest.json", &["holds no manifest.json"]);
    fs::create_dir(pack.path("manifest.json")).unwrap();
    let error = pack.open().unwrap_err().to_string();
    assert_names(&error, "manifest.json", &["cannot read "]);
}

#[test]
fn shards_outside_the_folder_are_refused() {
    let pack = Pack::new(Kind::Cutouts);
    let absolute = pack.path(SHARD);
    for file in [
        "",
        ".",
        "..",
        "../part-0.safetensors",
        "./part-0.safetensors",
        "folder/part-0.safetensors",
        "folder\\part-0.safetensors",
        "C:part-0.safetensors",
        "part-0.safetensors\0",
        absolute.to_str().unwrap(),
    ] {
        let text = changed(&pack.manifest, "/shards/0/file", json!(file));
        let found = format!("`shards[0].file`: found {file:?}; a file name without folders");
        pack.refuses_manifest(text, &["manifest.json: ", &found]);
    }
    let text = changed(&pack.manifest, "/shards/0/file", json!("missing"));
    pack.refuses_manifest(text, &["cannot read ", "missing: "]);
    fs::create_dir(pack.path("folder")).unwrap();
    let text = changed(&pack.manifest, "/shards/0/file", json!("folder"));
    pack.refuses_manifest(text, &["folder: it is empty or no regular file"]);
    fs::write(pack.path("empty"), b"").unwrap();
    let text = changed(&pack.manifest, "/shards/0/file", json!("empty"));
    pack.refuses_manifest(text, &["empty: it is empty or no regular file"]);
}

#[test]
fn manifests_that_disagree_with_their_shards_are_refused() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let pack = Pack::new(kind);
        let bytes = pack.shard.bytes().len() as u64;
        pack.write_shard(&pack.shard.bytes());
        for said in [0, bytes - 1, bytes + 1, u64::MAX] {
            let mut manifest = pack.manifest.clone();
            manifest["shards"][0]["bytes"] = json!(said);
            let found = format!("the file has {bytes} bytes; the manifest says {said}");
            pack.refuses_manifest(manifest.to_string(), &[SHARD, &found]);
        }
        let said = ROWS as u64;
        for rows in [0, said - 1, said + 1, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut manifest = pack.manifest.clone();
            manifest["shards"][0]["bytes"] = json!(bytes);
            manifest["shards"][0]["rows"] = json!(rows);
            let found = format!("column `size`: shape [6, 2]; [{rows}, 2] was expected");
            pack.refuses_manifest(manifest.to_string(), &[SHARD, &found]);
        }
    }
}

#[test]
fn the_row_at_fault_is_counted_in_its_own_shard() {
    let folder = tempfile::tempdir().unwrap();
    write_bank(folder.path(), &mut ChaCha8Rng::seed_from_u64(3), 9, 3);
    let path = folder.path().join("part-2.safetensors");
    let mut shard = Shard::read(&path);
    shard.set("size", 1, &[0; 4]);
    fs::write(&path, shard.bytes()).unwrap();
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(folder.path().join("manifest.json")).unwrap()).unwrap();
    manifest["shards"][2]["bytes"] = json!(shard.bytes().len());
    fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
    let error = CutoutBank::open(folder.path()).unwrap_err().to_string();
    assert_names(
        &error,
        "part-2.safetensors",
        &[", row 1, column `size`: 0x0"],
    );
}

#[test]
fn unknown_keys_of_a_manifest_are_kept() {
    let pack = Pack::new(Kind::Cutouts);
    let mut manifest = pack.manifest.clone();
    let deep: Value = (0..100).fold(json!("end"), |inner, _| json!([inner]));
    manifest["later"] = deep.clone();
    manifest["shards"][0]["later"] = json!({"ignored": true});
    pack.write_manifest(manifest.to_string());
    let bank = CutoutBank::open(pack.folder.path()).unwrap();
    assert_eq!(bank.manifest().other["later"], deep);
    assert_eq!(bank.manifest().other["made_by"], "a test");
    assert_eq!(bank.manifest().categories[0].other["colour"], "kept");
    bank.manifest().write(pack.folder.path()).unwrap();
    let bank = CutoutBank::open(pack.folder.path()).unwrap();
    assert_eq!(bank.manifest().other["later"], deep);
    assert_eq!(bank.manifest().categories[2].other["colour"], "kept");
}

// ---- Truncation ----

#[test]
fn truncated_shards_are_refused_at_every_length_class() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let pack = Pack::new(kind);
        let valid = pack.shard.bytes();
        let data = valid.len() - pack.shard.data.len();
        let mut lengths = vec![0, 1, 7, 8, 9, data / 2, data - 1, data, data + 1];
        for column in pack.shard.columns() {
            let Range { start, end } = pack.shard.range(&column);
            lengths.extend([start + 1, (start + end) / 2, end - 1, end].map(|at| data + at));
        }
        for length in lengths.into_iter().filter(|&length| length < valid.len()) {
            let problem = match length {
                0 => "it is empty or no regular file",
                1..8 => "fewer than 8 bytes",
                _ if length < data => "bytes in a file of",
                _ => "bytes follow the header",
            };
            pack.refuses(&valid[..length], &[problem]);
        }
        let longer = [&valid[..], &[0; 9]].concat();
        pack.refuses(&longer, &["bytes follow the header"]);
    }
}

/// Says in a child process how many bytes to keep.
#[cfg(unix)]
const KEEP_VARIABLE: &str = "PASTEBANK_TEST_KEEP_BYTES";

/// In child processes: a touch past a file's end would take all tests of this program with it.
#[cfg(unix)]
#[test]
fn shards_that_shrink_after_they_were_opened_are_refused() {
    if let Ok(keep) = std::env::var(KEEP_VARIABLE) {
        for kind in [Kind::Cutouts, Kind::Scenes] {
            refuses_a_shard_cut_to(kind, keep.parse().unwrap());
        }
        return;
    }
    // Columns lie at a shard's end or at its start: everything from nothing to all but a page.
    for keep in [8 * 4096, 4096, 0] {
        let name = "shards_that_shrink_after_they_were_opened_are_refused";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(KEEP_VARIABLE, keep.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "kept {keep}: {}: {text}",
            output.status
        );
    }
}

#[cfg(unix)]
fn refuses_a_shard_cut_to(kind: Kind, keep: u64) {
    let companions = Companions::new();
    let folder = tempfile::tempdir().unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(6);
    match kind {
        Kind::Cutouts => write_bank(folder.path(), &mut draw, 60, 1),
        Kind::Scenes => write_scenes(folder.path(), &mut draw, 60, 1),
    }
    let path = folder.path().join(SHARD);
    let length = fs::metadata(&path).unwrap().len();
    assert!(length > keep + 4096, "{length} bytes are too few to cut");
    let cut = || {
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(keep)
            .unwrap()
    };
    let mut backend = CpuBackend::new(NonZero::new(1));
    let mut batch = Batch::new(OutputSpec::default());
    let result = match kind {
        Kind::Cutouts => {
            let bank = CutoutBank::open(folder.path()).unwrap();
            cut();
            compose(0, &companions.scenes, &bank, &mut backend, &mut batch)
        }
        Kind::Scenes => {
            let scenes = ScenePack::open(folder.path()).unwrap();
            cut();
            compose(0, &scenes, &companions.bank, &mut backend, &mut batch)
        }
    };
    let found = format!("the file shrank from {length} to {keep} bytes after it was opened");
    assert_names(&result.unwrap_err().to_string(), SHARD, &[&found]);
}

// ---- Random damages ----

/// Damages a shard many times and exercises what still opens; returns how many did.
fn damage_often(kind: Kind, mut damage: impl FnMut(&mut ChaCha8Rng, &Shard) -> Vec<u8>) -> u64 {
    let companions = Companions::new();
    let pack = Pack::new(kind);
    let mut opened = 0;
    for seed in 0..DAMAGES {
        // Shown if the test fails.
        println!("{kind:?}, damage {seed}");
        let bytes = damage(&mut ChaCha8Rng::seed_from_u64(seed), &pack.shard);
        match pack.open_shard(&bytes) {
            Ok(pack) => {
                companions.exercise(&pack);
                opened += 1;
            }
            Err(error) => assert_names(&error.to_string(), SHARD, &[]),
        }
    }
    opened
}

/// Flips one to four bits of a part of the file.
fn flip_bits(draw: &mut ChaCha8Rng, bytes: &mut [u8], part: Range<usize>) {
    for _ in 0..draw.random_range(1..=4) {
        bytes[draw.random_range(part.clone())] ^= 1 << draw.random_range(0..8);
    }
}

#[test]
fn flipped_bits_do_no_harm() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let in_header = damage_often(kind, |draw, shard| {
            let mut bytes = shard.bytes();
            flip_bits(draw, &mut bytes, 0..8 + shard.header_text().len());
            bytes
        });
        let in_pixels = damage_often(kind, |draw, shard| {
            let mut shard = shard.clone();
            let pixels = shard.range("pixels");
            flip_bits(draw, &mut shard.data, pixels);
            shard.bytes()
        });
        let in_columns = damage_often(kind, |draw, shard| {
            let mut shard = shard.clone();
            let columns = shard.columns();
            let part = shard.range(&columns[draw.random_range(0..columns.len())]);
            flip_bits(draw, &mut shard.data, part);
            shard.bytes()
        });
        println!("{kind:?} opened: {in_header} headers, {in_columns} columns, {in_pixels} pixels");
        // A damage that never opens or never shows would test nothing.
        assert!(in_header < DAMAGES / 2 && in_pixels == DAMAGES);
        assert!(in_columns > DAMAGES / 10 && in_columns < DAMAGES);
    }
}

/// Numbers at which computations break.
fn edge(draw: &mut ChaCha8Rng) -> u64 {
    let edges = [
        0,
        1,
        2,
        7,
        255,
        16_384,
        65_535,
        1 << 31,
        1 << 32,
        1 << 61,
        1 << 63,
        u64::MAX,
    ];
    let near: i64 = draw.random_range(-2..=2);
    edges[draw.random_range(0..edges.len())].wrapping_add(near as u64)
}

#[test]
fn edge_values_in_columns_do_no_harm() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let opened = damage_often(kind, |draw, shard| {
            let mut shard = shard.clone();
            let columns = shard.columns();
            for _ in 0..draw.random_range(1..=3) {
                let column = &columns[draw.random_range(0..columns.len())];
                let width = match shard.header[column]["dtype"].as_str().unwrap() {
                    "U8" => 1,
                    "U16" => 2,
                    "U32" | "I32" | "F32" => 4,
                    _ => 8,
                };
                let values = shard.range(column).len() / width;
                let value = edge(draw).to_le_bytes();
                shard.set(column, draw.random_range(0..values), &value[..width]);
            }
            shard.bytes()
        });
        println!("{kind:?}: {opened} of {DAMAGES} opened");
        assert!(opened > DAMAGES / 20 && opened < DAMAGES);
    }
}

#[test]
fn edge_values_in_headers_do_no_harm() {
    for kind in [Kind::Cutouts, Kind::Scenes] {
        damage_often(kind, |draw, shard| {
            let mut shard = shard.clone();
            let columns = shard.columns();
            let column = &columns[draw.random_range(0..columns.len())];
            let key = ["shape", "data_offsets"][draw.random_range(0..2)];
            let numbers = shard.header[column][key].as_array_mut().unwrap();
            let place = draw.random_range(0..numbers.len());
            match draw.random_range(0..4) {
                0 => drop(numbers.remove(place)),
                1 => numbers.insert(place, json!(edge(draw))),
                _ => numbers[place] = json!(edge(draw)),
            }
            shard.bytes()
        });
    }
}

#[test]
fn random_damage_to_manifests_does_no_harm() {
    let companions = Companions::new();
    for kind in [Kind::Cutouts, Kind::Scenes] {
        let pack = Pack::new(kind);
        for seed in 0..DAMAGES {
            println!("{kind:?}, damage {seed}");
            let mut draw = ChaCha8Rng::seed_from_u64(seed);
            let mut text = pack.manifest.to_string().into_bytes();
            let all = 0..text.len();
            flip_bits(&mut draw, &mut text, all);
            pack.write_manifest(&text);
            if let Ok(opened) = pack.open() {
                companions.exercise(&opened);
            }
        }
    }
}
