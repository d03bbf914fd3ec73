//! Random plans that visit every rule: all blends, rotations, flips, colour matrices, layers
//! larger than the canvas and off it, single pixels, no layers, every keep rule.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// A plan of `samples` samples over packs of those sizes.
pub fn random_plan(draw: &mut ChaCha8Rng, samples: usize, scenes: usize, cutouts: usize) -> Value {
    let mut plan = Map::new();
    let canvas = match draw.random_range(0..12) {
        0 => [1, 1],
        1 => [draw.random_range(1..4), draw.random_range(30..90)],
        2 => [64, 32],
        // Rows of many words and registers.
        3 => [draw.random_range(200..700), draw.random_range(5..20)],
        _ => [draw.random_range(20..80), draw.random_range(20..80)],
    };
    plan.insert("canvas".into(), json!(canvas));
    if draw.random_bool(0.5) {
        plan.insert("pad".into(), json!([7, 200, draw.random::<u8>()]));
    }
    if draw.random_bool(0.6) {
        plan.insert("keep".into(), random_keep(draw));
    }
    let samples: Vec<Value> = (0..samples)
        .map(|_| random_sample(draw, canvas, scenes, cutouts))
        .collect();
    plan.insert("samples".into(), Value::Array(samples));
    Value::Object(plan)
}

fn random_keep(draw: &mut ChaCha8Rng) -> Value {
    let mut keep = Map::new();
    if draw.random_bool(0.6) {
        keep.insert("min_area".into(), json!(draw.random_range(0..400)));
    }
    if draw.random_bool(0.5) {
        let permille = [0, 100, 333, 500, 900, 1000][draw.random_range(0..6)];
        keep.insert("min_visible_permille".into(), json!(permille));
    }
    if draw.random_bool(0.5) {
        keep.insert("max_box_shift".into(), json!(draw.random_range(0..12)));
    }
    Value::Object(keep)
}

pub fn random_sample(
    draw: &mut ChaCha8Rng,
    canvas: [i32; 2],
    scenes: usize,
    cutouts: usize,
) -> Value {
    let mut scene = placement(draw, canvas, 1.0);
    scene.insert("index".into(), json!(draw.random_range(0..scenes)));
    let layers = match draw.random_range(0..6) {
        0 => 0,
        1 => 1,
        _ => draw.random_range(2..8),
    };
    let layers: Vec<Value> = (0..layers)
        .map(|_| Value::Object(random_layer(draw, canvas, cutouts)))
        .collect();
    json!({"scene": scene, "layers": layers})
}

pub fn random_layer(draw: &mut ChaCha8Rng, canvas: [i32; 2], cutouts: usize) -> Map<String, Value> {
    let mut layer = placement(draw, canvas, 0.5);
    layer.insert("cutout".into(), json!(draw.random_range(0..cutouts)));
    let blend = match draw.random_range(0..6) {
        0 => Some(json!("hard")),
        1 => Some(json!("soft")),
        2 => Some(json!({"box": {"radius": draw.random_range(1..=30)}})),
        3 => Some(json!({"gaussian": {"sigma": draw.random_range(0.1..=10.0)}})),
        4 => Some(json!({"gaussian": {"sigma": 2.0}})),
        _ => None,
    };
    if let Some(blend) = blend {
        layer.insert("blend".into(), blend);
    }
    let angle = match draw.random_range(0..8) {
        0 => Some(draw.random_range(-360.0..=360.0)),
        1 => Some([90.0, -90.0, 180.0, 270.0, 45.0, 30.0, 3600.0][draw.random_range(0..7)]),
        2 => Some(0.0),
        _ => None,
    };
    if let Some(angle) = angle {
        layer.insert("angle".into(), json!(angle));
    }
    layer
}

fn placement(draw: &mut ChaCha8Rng, canvas: [i32; 2], share: f64) -> Map<String, Value> {
    let mut placement = Map::new();
    let side = |draw: &mut ChaCha8Rng, canvas: i32| match draw.random_range(0..12) {
        0 => 1,
        1 => draw.random_range(1..4),
        2 => draw.random_range(100..300),
        _ => ((f64::from(canvas) * share * draw.random_range(0.3..1.8)) as i32).max(1),
    };
    let resized = canvas.map(|canvas| side(draw, canvas));
    let offset = [0, 1].map(|axis| match draw.random_range(0..12) {
        0 => [-65_536, 65_536, 500, -500][draw.random_range(0..4)],
        1 => 0,
        _ => draw.random_range(-resized[axis]..=canvas[axis]),
    });
    placement.insert("resized".into(), json!(resized));
    placement.insert("offset".into(), json!(offset));
    if draw.random_bool(0.6) {
        placement.insert("flip".into(), json!(draw.random_bool(0.6)));
    }
    if draw.random_bool(0.3) {
        placement.insert("color".into(), random_color(draw));
    }
    placement
}

fn random_color(draw: &mut ChaCha8Rng) -> Value {
    let wild = draw.random_bool(0.2);
    let rows: Vec<[i32; 4]> = (0..3)
        .map(|row| {
            let mut values = if wild {
                [0; 4].map(|_| draw.random_range(-8192..=8192))
            } else {
                [0; 4].map(|_| draw.random_range(-200..=200))
            };
            if wild {
                values[3] = draw.random_range(-(1 << 20)..=1 << 20);
            } else {
                values[row] += 1024;
                values[3] *= 100;
            }
            values
        })
        .collect();
    json!(rows)
}
