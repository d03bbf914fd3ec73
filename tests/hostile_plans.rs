//! Plans past every limit: each is refused by an error that names the sample, the layer, the field
//! and the value, each limit itself is accepted, and no plan of any bytes ends in a panic.

mod common;

use std::cell::Cell;
use std::num::NonZero;
use std::sync::LazyLock;

use common::packs::{write_bank, write_pack, write_scenes};
use common::{ChaCha8Rng, SeedableRng};
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{Backend, Batch, CpuBackend, Encoded, MaskOutput, OutputSpec};
use pastebank::plan::{Blend, CheckedPlan, Plan};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

const SCENES: usize = 5;
const CUTOUTS: usize = 7;
/// Plans with larger sides are checked and encoded, but not composed: that would take too long.
const COMPOSED_CANVAS_PIXELS: u64 = 256 * 256;
const COMPOSED_SIDE: u32 = 2048;
/// Random changes of the valid plan.
const CHANGED_PLANS: u32 = 8000;

struct Packs {
    _folder: TempDir,
    scenes: ScenePack,
    bank: CutoutBank,
}

static PACKS: LazyLock<Packs> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(21);
    let [scenes, bank] = ["scenes", "bank"].map(|name| folder.path().join(name));
    write_scenes(&scenes, &mut draw, SCENES, 2);
    write_bank(&bank, &mut draw, CUTOUTS, 2);
    Packs {
        scenes: ScenePack::open(&scenes).unwrap(),
        bank: CutoutBank::open(&bank).unwrap(),
        _folder: folder,
    }
});

/// Two samples with every key; the second has a layer of each filtered blend.
fn valid_plan() -> Value {
    let color = json!([[1000, 20, 0, 0], [0, 1024, 0, 512], [0, 0, 900, -512]]);
    let layer = |cutout: usize, blend: Value| {
        json!({"cutout": cutout, "resized": [14, 11], "offset": [3, -2], "flip": true,
            "angle": 12.5, "blend": blend, "color": color})
    };
    let sample = |layers: Vec<Value>| {
        let scene = json!({"index": 1, "resized": [30, 22], "offset": [0, 1], "flip": false,
            "color": color});
        json!({"scene": scene, "layers": layers})
    };
    let filtered = vec![
        layer(2, json!({"box": {"radius": 3}})),
        layer(6, json!({"gaussian": {"sigma": 2.0}})),
    ];
    json!({"canvas": [32, 24], "pad": [1, 2, 3],
        "keep": {"min_area": 1, "min_visible_permille": 10, "max_box_shift": 4},
        "samples": [sample(vec![layer(0, json!("soft"))]), sample(filtered)]})
}

/// Where the second sample's scene and layers are.
const SCENE: &str = "/samples/1/scene";
const BOX_LAYER: &str = "/samples/1/layers/0";
const GAUSSIAN_LAYER: &str = "/samples/1/layers/1";

fn with(pointer: &str, value: Value) -> Value {
    let mut plan = valid_plan();
    *plan.pointer_mut(pointer).expect("the valid plan has it") = value;
    plan
}

fn without(parent: &str, key: &str) -> Value {
    let mut plan = valid_plan();
    let object = plan.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    object.remove(key).expect("the valid plan has it");
    plan
}

fn with_key(parent: &str, key: &str) -> Value {
    let mut plan = valid_plan();
    plan.pointer_mut(parent).unwrap()[key] = json!(1);
    plan
}

/// Everything that happens to a plan; the error's text where it is refused.
fn run(text: &[u8]) -> Result<(), String> {
    let plan = Plan::from_json(text).map_err(|error| error.to_string())?;
    compose(&plan, &PACKS.scenes, &PACKS.bank)
}

fn compose(plan: &Plan, scenes: &ScenePack, bank: &CutoutBank) -> Result<(), String> {
    let checked = CheckedPlan::new(plan, scenes, bank).map_err(|error| error.to_string())?;
    let encoded = Encoded::new(&checked).map_err(|error| error.to_string())?;
    if !is_small(plan) {
        return Ok(());
    }
    let mut batch = Batch::new(OutputSpec {
        masks: MaskOutput::Rle,
        ..OutputSpec::default()
    });
    // On the caller's thread, so that a panic ends the test.
    let mut backend = CpuBackend::new(NonZero::new(1));
    let result = backend.compose(&encoded, &mut batch);
    result.map_err(|error| error.to_string())
}

fn is_small(plan: &Plan) -> bool {
    let [width, height] = plan.canvas.map(u64::from);
    let scenes = plan.samples.iter().map(|sample| sample.scene.resized);
    let layers = plan.samples.iter().flat_map(|sample| &sample.layers);
    let mut sides = scenes.chain(layers.map(|layer| layer.resized)).flatten();
    width * height <= COMPOSED_CANVAS_PIXELS && sides.all(|side| side <= COMPOSED_SIDE)
}

#[track_caller]
fn refuses_text(text: &str, place: &str, pieces: &[&str]) {
    let error = run(text.as_bytes()).expect_err("the plan is not valid");
    assert!(
        error.starts_with(place),
        "{place:?} does not begin: {error}"
    );
    for piece in pieces {
        assert!(error.contains(piece), "{piece:?} is not in: {error}");
    }
}

#[track_caller]
fn refuses(plan: &Value, place: &str, pieces: &[&str]) {
    refuses_text(&plan.to_string(), place, pieces);
}

#[track_caller]
fn accepts(plan: &Value) {
    run(plan.to_string().as_bytes()).expect("the plan is valid");
}

// ---- Limits ----

#[test]
fn the_valid_plan_is_composed() {
    accepts(&valid_plan());
    accepts(&json!({"canvas": [5, 5], "samples": []}));
}

#[test]
fn sides_past_their_limits_are_refused() {
    for (pointer, place) in [
        ("/canvas".to_owned(), "`canvas`: "),
        (format!("{SCENE}/resized"), "sample 1, `scene.resized`: "),
        (
            format!("{BOX_LAYER}/resized"),
            "sample 1, layer 0, `resized`: ",
        ),
        (
            format!("{GAUSSIAN_LAYER}/resized"),
            "sample 1, layer 1, `resized`: ",
        ),
    ] {
        for sides in [[0, 24], [24, 0], [8193, 24], [24, 8193], [u32::MAX, 1]] {
            let place = format!("{place}{sides:?}; sides of 1..=8192 were expected");
            refuses(&with(&pointer, json!(sides)), &place, &[]);
        }
        for sides in [[1, 1], [1, 8192], [8192, 1], [8192, 8192]] {
            accepts(&with(&pointer, json!(sides)));
        }
    }
}

#[test]
fn offsets_past_their_limits_are_refused() {
    for (pointer, place) in [
        (format!("{SCENE}/offset"), "sample 1, `scene.offset`: "),
        (
            format!("{BOX_LAYER}/offset"),
            "sample 1, layer 0, `offset`: ",
        ),
    ] {
        for offset in [
            [65_537, 0],
            [0, 65_537],
            [-65_537, 0],
            [0, i32::MIN],
            [i32::MAX, 0],
        ] {
            let place = format!("{place}{offset:?}; values within ±65536 were expected");
            refuses(&with(&pointer, json!(offset)), &place, &[]);
        }
        for offset in [[65_536, -65_536], [-65_536, 65_536], [0, 0]] {
            accepts(&with(&pointer, json!(offset)));
        }
    }
}

#[test]
fn colours_past_their_limits_are_refused() {
    for (parent, place) in [
        (SCENE, "sample 1, `scene.color["),
        (GAUSSIAN_LAYER, "sample 1, layer 1, `color["),
    ] {
        for row in 0..3 {
            for (column, limit) in [(0, 8192), (1, 8192), (2, 8192), (3, 1 << 20)] {
                let pointer = format!("{parent}/color/{row}/{column}");
                for value in [limit + 1, -limit - 1, i32::MIN, i32::MAX] {
                    let place = format!("{place}{row}]`: [");
                    let found = value.to_string();
                    let expected = "|m| ≤ 8192 and |b| ≤ 2^20 expected";
                    refuses(&with(&pointer, json!(value)), &place, &[&found, expected]);
                }
                accepts(&with(&pointer, json!(limit)));
                accepts(&with(&pointer, json!(-limit)));
            }
        }
        let most = json!([
            [8192, 8192, 8192, 1 << 20],
            [-8192, -8192, -8192, -(1 << 20)],
            [0, 0, 0, 0]
        ]);
        accepts(&with(&format!("{parent}/color"), most));
    }
}

#[test]
fn filters_past_their_limits_are_refused() {
    let sigma = format!("{GAUSSIAN_LAYER}/blend/gaussian/sigma");
    let place = "sample 1, layer 1, `blend.gaussian.sigma`: ";
    for value in [0.0999, 10.01, 0.0, -1.0, 1e300, -1e300, 5e-324] {
        let place = format!("{place}{value}; a value in 0.1..=10 was expected");
        refuses(&with(&sigma, json!(value)), &place, &[]);
    }
    for value in [json!(0.1), json!(10), json!(10.0), json!(0.333)] {
        accepts(&with(&sigma, value));
    }
    let radius = format!("{BOX_LAYER}/blend/box/radius");
    let place = "sample 1, layer 0, `blend.box.radius`: ";
    for value in [0, 31, u32::MAX] {
        let place = format!("{place}{value}; a value in 1..=30 was expected");
        refuses(&with(&radius, json!(value)), &place, &[]);
    }
    for value in [1, 30] {
        accepts(&with(&radius, json!(value)));
    }
}

#[test]
fn indices_past_the_end_are_refused() {
    for index in [SCENES as u64, 1 << 32, u64::MAX] {
        let place = format!("sample 1, `scene.index`: {index}; the pack has {SCENES} scenes");
        refuses(&with(&format!("{SCENE}/index"), json!(index)), &place, &[]);
    }
    for index in [CUTOUTS as u64, 1 << 32, u64::MAX] {
        let place = format!("sample 1, layer 0, `cutout`: {index}; the bank has {CUTOUTS} cutouts");
        refuses(
            &with(&format!("{BOX_LAYER}/cutout"), json!(index)),
            &place,
            &[],
        );
    }
    for index in 0..SCENES {
        accepts(&with(&format!("{SCENE}/index"), json!(index)));
    }
    for index in 0..CUTOUTS {
        accepts(&with(&format!("{BOX_LAYER}/cutout"), json!(index)));
    }
}

#[test]
fn layers_past_their_number_are_refused() {
    let mut plan = valid_plan();
    plan["canvas"] = json!([3, 2]);
    let layer = json!({"cutout": 0, "resized": [2, 1], "offset": [1, 1]});
    plan["samples"][1]["layers"] = vec![layer.clone(); 65_534].into();
    accepts(&plan);
    plan["samples"][1]["layers"]
        .as_array_mut()
        .unwrap()
        .push(layer);
    let place = "sample 1, `layers`: 65535 layers; at most 65534 were expected";
    refuses(&plan, place, &[]);
}

/// A pack of one 1x1 scene with that many instances of its one pixel.
fn crowded_pack(instances: usize) -> (TempDir, ScenePack) {
    let folder = tempfile::tempdir().unwrap();
    let numbers = |values: &[u64]| -> Vec<u8> {
        let bytes = values.iter().map(|value| value.to_le_bytes());
        bytes.flatten().collect()
    };
    let zeros = |bytes: usize| vec![0; bytes * instances];
    let boxes = [0, 0, 1, 1].map(i32::to_le_bytes).concat();
    let starts = numbers(&[0, instances as u64]);
    let list = vec![instances];
    let columns = vec![
        ("size", Dtype::U16, vec![1, 2], vec![1, 0, 1, 0]),
        ("image", Dtype::I64, vec![1], numbers(&[7])),
        ("encoding", Dtype::U8, vec![1], vec![0]),
        ("offset", Dtype::U64, vec![1], numbers(&[0])),
        ("length", Dtype::U64, vec![1], numbers(&[3])),
        ("pixels", Dtype::U8, vec![3], vec![9; 3]),
        ("instance_start", Dtype::U64, vec![2], starts),
        ("instance_category", Dtype::I64, list.clone(), zeros(8)),
        ("instance_annotation", Dtype::I64, list.clone(), zeros(8)),
        ("instance_iscrowd", Dtype::U8, list.clone(), zeros(1)),
        (
            "instance_box",
            Dtype::I32,
            vec![instances, 4],
            boxes.repeat(instances),
        ),
        ("mask_offset", Dtype::U64, list, zeros(8)),
        ("mask_bits", Dtype::U8, vec![1], vec![1]),
    ];
    write_pack(folder.path(), "scenes", vec![(1, columns)]);
    let pack = ScenePack::open(folder.path()).unwrap();
    (folder, pack)
}

#[test]
fn instances_past_their_number_are_refused() {
    let text = r#"{"canvas": [2, 2], "samples": [
        {"scene": {"index": 0, "resized": [1, 1], "offset": [0, 0]}, "layers": []}]}"#;
    let plan = Plan::from_json(text.as_bytes()).unwrap();
    let (_folder, most) = crowded_pack(65_535);
    compose(&plan, &most, &PACKS.bank).unwrap();
    let (_folder, too_many) = crowded_pack(65_536);
    let error = compose(&plan, &too_many, &PACKS.bank).unwrap_err();
    let expected = "sample 0, `scene.index`: scene 0 has 65536 instances; at most 65535";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn numbers_that_are_none_are_refused_through_the_library() {
    let plan = || Plan::from_json(valid_plan().to_string().as_bytes()).unwrap();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut angle = plan();
        angle.samples[1].layers[1].angle = value;
        let error = compose(&angle, &PACKS.scenes, &PACKS.bank).unwrap_err();
        let expected = format!("sample 1, layer 1, `angle`: {value}; a finite angle");
        assert!(error.starts_with(&expected), "{error}");
        let mut sigma = plan();
        sigma.samples[1].layers[1].blend = Blend::Gaussian { sigma: value };
        let error = compose(&sigma, &PACKS.scenes, &PACKS.bank).unwrap_err();
        let expected = format!("sample 1, layer 1, `blend.gaussian.sigma`: {value}; ");
        assert!(error.starts_with(&expected), "{error}");
    }
    for value in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, -0.0, 1e-320, 3600.0] {
        let mut angle = plan();
        angle.samples[1].layers[1].angle = value;
        compose(&angle, &PACKS.scenes, &PACKS.bank).unwrap();
    }
}

#[test]
fn every_keep_rule_is_accepted() {
    for keep in [
        json!({}),
        json!({"min_area": 0}),
        json!({"min_area": u32::MAX, "min_visible_permille": u32::MAX}),
        json!({"min_area": u32::MAX, "max_box_shift": u32::MAX}),
        json!({"max_box_shift": 0}),
    ] {
        accepts(&with("/keep", keep));
    }
}

// ---- Form ----

/// Objects of the valid plan, how an error names them, and the keys that they need.
const OBJECTS: [(&str, &str, &[&str]); 7] = [
    ("", "`", &["canvas", "samples"]),
    ("/keep", "`keep", &[]),
    ("/samples/1", "sample 1, `", &["scene", "layers"]),
    (SCENE, "sample 1, `scene", &["index", "resized", "offset"]),
    (
        BOX_LAYER,
        "sample 1, layer 0, `",
        &["cutout", "resized", "offset"],
    ),
    (
        "/samples/1/layers/0/blend/box",
        "sample 1, layer 0, `blend",
        &["radius"],
    ),
    (
        "/samples/1/layers/1/blend/gaussian",
        "sample 1, layer 1, `blend",
        &["sigma"],
    ),
];

#[test]
fn unknown_keys_are_refused_at_every_level() {
    for (parent, place, _) in OBJECTS {
        for key in ["colour", "Flip", ""] {
            let found = format!("unknown field `{key}`");
            refuses(&with_key(parent, key), place, &[&found]);
        }
    }
    let blend = format!("{BOX_LAYER}/blend");
    for value in [json!("feather"), json!({"feather": {}}), json!("Hard")] {
        let place = "sample 1, layer 0, `blend";
        refuses(
            &with(&blend, value),
            place,
            &["found ", "expected \"hard\", \"soft\""],
        );
    }
}

#[test]
fn missing_keys_are_named_at_every_level() {
    for (parent, place, keys) in OBJECTS {
        for key in keys {
            let found = format!("missing field `{key}`");
            refuses(&without(parent, key), place, &[&found]);
        }
    }
    for (parent, key) in [
        ("", "pad"),
        ("", "keep"),
        ("/keep", "min_area"),
        (SCENE, "flip"),
        (SCENE, "color"),
        (BOX_LAYER, "angle"),
        (BOX_LAYER, "blend"),
    ] {
        accepts(&without(parent, key));
    }
}

/// Every value of the valid plan as a JSON pointer.
fn pointers(value: &Value, prefix: String, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                pointers(inner, format!("{prefix}/{key}"), found);
            }
        }
        Value::Array(array) => {
            for (index, inner) in array.iter().enumerate() {
                pointers(inner, format!("{prefix}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(prefix);
}

/// How an error names the place of a pointer: `/samples/1/layers/0/…` is sample 1, layer 0.
fn place_of(pointer: &str) -> String {
    let parts: Vec<&str> = pointer.split('/').skip(1).collect();
    match parts[..] {
        ["samples", sample, "layers", layer, ..] => format!("sample {sample}, layer {layer}, `"),
        ["samples", sample, ..] => format!("sample {sample}, `"),
        [first, ..] => format!("`{first}"),
        [] => "`".to_owned(),
    }
}

#[test]
fn values_of_another_type_are_refused_everywhere() {
    let valid = valid_plan();
    let mut all = Vec::new();
    pointers(&valid, String::new(), &mut all);
    for pointer in all {
        let place = place_of(&pointer);
        let value = valid.pointer(&pointer).unwrap();
        let mut others = vec![json!({"colour": 1}), json!("x"), json!(-0.5)];
        if !value.is_array() && !value.is_object() {
            others.push(json!([]));
        }
        if pointer != "/keep/max_box_shift" {
            // Which may be said to be none.
            others.push(Value::Null);
        }
        let is_float = value.is_f64();
        for other in others.iter().filter(|other| !(is_float && other.is_f64())) {
            refuses(&with(&pointer, other.clone()), &place, &[]);
        }
        if value.is_i64() {
            let fraction = json!(value.as_f64().unwrap());
            refuses(
                &with(&pointer, fraction),
                &place,
                &["invalid type: floating point"],
            );
        }
        if !value.is_boolean() {
            refuses(&with(&pointer, json!(true)), &place, &["boolean `true`"]);
        }
    }
    let null = with("/keep/max_box_shift", Value::Null);
    refuses(&null, "`keep.max_box_shift`", &["null"]);
}

#[test]
fn lists_in_place_of_objects_are_refused() {
    for (parent, place, _) in OBJECTS {
        // The values in the order of their keys, as some readers take them.
        let place = place.trim_end_matches('`');
        for list in [
            json!([]),
            json!([1]),
            json!([0, [4, 4], [0, 0]]),
            json!([2.0]),
        ] {
            refuses(&with(parent, list), place, &[]);
        }
    }
}

#[test]
fn lists_of_another_length_are_refused() {
    for (pointer, values) in [
        ("/canvas".to_owned(), vec![1, 3]),
        ("/pad".to_owned(), vec![2, 4]),
        (format!("{SCENE}/offset"), vec![0, 1, 3]),
        (format!("{BOX_LAYER}/resized"), vec![1, 3]),
        (format!("{BOX_LAYER}/color/1"), vec![3, 5]),
    ] {
        for length in values {
            let value = json!(vec![1; length]);
            refuses(&with(&pointer, value), &place_of(&pointer), &[]);
        }
    }
    let color = format!("{BOX_LAYER}/color");
    refuses(
        &with(&color, json!([[1; 4]; 4].to_vec())),
        "sample 1, layer 0, `color",
        &[],
    );
    refuses(
        &with(&color, json!([[1; 4]; 2].to_vec())),
        "sample 1, layer 0, `color",
        &[],
    );
}

/// A part of the valid plan's text, one of its numbers replaced, and what the error says.
const WRONG_NUMBERS: [(&str, &str, &str, &str); 8] = [
    (
        "\"angle\":12.5",
        "\"angle\":1e999",
        "sample 0, layer 0, `angle`",
        "out of range",
    ),
    (
        "\"angle\":12.5",
        "\"angle\":NaN",
        "sample 0, layer 0, `angle`",
        "expected value",
    ),
    (
        "\"sigma\":2.0",
        "\"sigma\":-1e999",
        "sample 1, layer 1, `blend",
        "out of range",
    ),
    (
        "[32,24]",
        "[32,4294967296]",
        "`canvas[1]`",
        "integer `4294967296`",
    ),
    (
        "[32,24]",
        "[32,18446744073709551616]",
        "`canvas[1]`",
        "`1.8446744073709552e+19`",
    ),
    (
        "\"cutout\":2",
        "\"cutout\":-4",
        "sample 1, layer 0, `cutout`",
        "integer `-4`",
    ),
    (
        "[3,-2]",
        "[2147483648,-2]",
        "sample 0, layer 0, `offset[0]`",
        "integer `2147483648`",
    ),
    ("[1,2,3]", "[1,256,3]", "`pad[1]`", "integer `256`"),
];

#[test]
fn numbers_that_no_type_holds_are_refused() {
    let text = valid_plan().to_string();
    for (from, to, place, piece) in WRONG_NUMBERS {
        assert!(text.contains(from), "{from} is not in the valid plan");
        refuses_text(&text.replace(from, to), place, &[piece]);
    }
}

#[test]
fn keys_said_twice_are_refused_at_every_level() {
    let text = valid_plan().to_string();
    for (from, key, place) in [
        ("\"canvas\":[32,24]", "canvas", "`plan"),
        ("\"min_area\":1", "min_area", "`keep"),
        ("\"index\":1", "index", "sample 0, `scene"),
        ("\"cutout\":2", "cutout", "sample 1, layer 0, `"),
        ("\"flip\":true", "flip", "sample 0, layer 0, `"),
        ("\"radius\":3", "radius", "sample 1, layer 0, `blend"),
        ("\"sigma\":2.0", "sigma", "sample 1, layer 1, `blend"),
    ] {
        assert!(text.contains(from), "{from} is not in the valid plan");
        let twice = text.replace(from, &format!("{from},{from}"));
        refuses_text(&twice, place, &[&format!("duplicate field `{key}`")]);
    }
    let blend = format!("{BOX_LAYER}/blend");
    let two = json!({"box": {"radius": 3}, "gaussian": {"sigma": 2.0}});
    refuses(&with(&blend, two), "sample 1, layer 0, `blend", &[]);
    refuses(&with(&blend, json!({})), "sample 1, layer 0, `blend", &[]);
}

#[test]
fn bytes_that_are_no_plan_are_refused() {
    let valid = valid_plan().to_string();
    let deep = "[".repeat(100_000);
    for text in [
        "",
        " ",
        "{",
        "[]",
        "null",
        "7",
        "\u{feff}{}",
        "{\"canvas\": ",
        &deep,
    ] {
        refuses_text(text, "`", &[]);
    }
    for ending in ["x", "{}", "]", ",", "\0"] {
        let place = "`the end of the JSON`: trailing characters";
        refuses_text(&format!("{valid}{ending}"), place, &[]);
    }
    accepts(&serde_json::from_str(&format!("{valid} \n")).unwrap());
    for length in 0..valid.len() {
        assert!(Plan::from_json(&valid.as_bytes()[..length]).is_err());
    }
    assert!(run(b"{\"canvas\": \"\xff\xfe\"}").is_err());
}

// ---- Random damage ----

/// One random change of a plan.
#[derive(Clone, Debug)]
enum Change {
    /// Puts a value at a place.
    Set(usize, Value),
    /// Removes a key or an element.
    Remove(usize),
    /// Adds a key.
    Add(usize, String, Value),
    /// Copies the value of one place to another.
    Copy(usize, usize),
    /// Repeats the elements of a list.
    Repeat(usize, usize),
}

/// Limits, their neighbours and the ends of types.
const EDGES: [i64; 24] = [
    i64::MIN,
    -(1 << 31) - 1,
    -65_537,
    -65_536,
    -8193,
    -1,
    0,
    1,
    2,
    6,
    7,
    30,
    31,
    255,
    256,
    1024,
    2048,
    8192,
    8193,
    65_534,
    65_536,
    1 << 20,
    1 << 32,
    i64::MAX,
];

fn any_value() -> impl Strategy<Value = Value> {
    let floats = prop::sample::select(vec![0.1, 0.0999, 10.0, 10.01, -0.0, 1e308, 90.0]);
    let words = prop::sample::select(vec!["hard", "soft", "box", "gaussian", "", "\u{0}"]);
    let others = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(u64::MAX),
    ];
    prop_oneof![
        6 => prop::sample::select(EDGES.to_vec()).prop_map(|value| json!(value)),
        1 => any::<i32>().prop_map(|value| json!(value)),
        2 => floats.prop_map(|value| json!(value)),
        1 => any::<f64>().prop_map(|value| json!(value)),
        1 => words.prop_map(|value| json!(value)),
        2 => prop::sample::select(others.to_vec()),
        1 => vec(-9i32..9000, 0..5).prop_map(|values| json!(values)),
        1 => (1..32).prop_map(|radius| json!({"box": {"radius": radius}})),
        1 => (0.05..11.0).prop_map(|sigma| json!({"gaussian": {"sigma": sigma}})),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    let key = prop::sample::select(vec!["pad", "flip", "angle", "color", "blend", "x"]);
    prop_oneof![
        6 => (any::<usize>(), any_value()).prop_map(|(at, value)| Change::Set(at, value)),
        1 => any::<usize>().prop_map(Change::Remove),
        1 => (any::<usize>(), key, any_value())
            .prop_map(|(at, key, value)| Change::Add(at, key.to_owned(), value)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Change::Copy(from, to)),
        1 => (any::<usize>(), 0..4usize).prop_map(|(at, times)| Change::Repeat(at, times)),
    ]
}

fn apply(plan: &mut Value, change: Change) {
    let mut all = Vec::new();
    pointers(plan, String::new(), &mut all);
    let pointer = |at: usize| all[at % all.len()].clone();
    match change {
        Change::Set(at, value) => *plan.pointer_mut(&pointer(at)).unwrap() = value,
        Change::Remove(at) => remove(plan, &pointer(at)),
        Change::Add(at, key, value) => {
            if let Some(object) = plan.pointer_mut(&pointer(at)).unwrap().as_object_mut() {
                object.insert(key, value);
            }
        }
        Change::Copy(from, to) => {
            let value = plan.pointer(&pointer(from)).unwrap().clone();
            *plan.pointer_mut(&pointer(to)).unwrap() = value;
        }
        Change::Repeat(at, times) => {
            if let Some(array) = plan.pointer_mut(&pointer(at)).unwrap().as_array_mut() {
                *array = vec![array.clone(); times].concat();
            }
        }
    }
}

fn remove(plan: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    match plan.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.remove(key)),
        Value::Array(array) => drop(array.remove(key.parse().unwrap())),
        _ => unreachable!("only lists and objects have parts"),
    }
}

#[test]
fn changed_plans_never_panic() {
    let composed = Cell::new(0);
    let mut runner = TestRunner::new(cases(CHANGED_PLANS));
    let result = runner.run(&vec(any_change(), 1..5), |changes| {
        let mut plan = valid_plan();
        for change in changes {
            apply(&mut plan, change);
        }
        match run(plan.to_string().as_bytes()) {
            Ok(()) => composed.set(composed.get() + 1),
            Err(error) => prop_assert!(error.contains('`'), "no field is named: {error}"),
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    println!("{} of {CHANGED_PLANS} plans are valid", composed.get());
    // Were all of them refused at once, nothing behind the reading would be tested.
    assert!(composed.get() > CHANGED_PLANS / 20);
}

/// Failures are shown, not kept in files.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn changed_bytes_never_panic(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut text = valid_plan().to_string().into_bytes();
        for (index, byte) in changes {
            let at = index.index(text.len());
            text[at] = byte;
        }
        if let Err(error) = run(&text) {
            prop_assert!(error.contains('`'), "no field is named: {error}");
        }
    }

    #[test]
    fn random_bytes_never_panic(text in vec(any::<u8>(), 0..200)) {
        prop_assert!(run(&text).is_err());
    }
}
