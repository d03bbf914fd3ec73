//! Bytes as a plan: read, checked and, where it is small, composed on a pack of one scene and one
//! cutout.

#![no_main]

// The other target uses the rest of it.
#[allow(dead_code)]
mod packs;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::plan::Plan;
use tempfile::TempDir;

/// Larger plans only take time.
const MOST_PIXELS: u64 = 64 * 64;
const LONGEST_SIDE: u32 = 512;
const MOST_SAMPLES: usize = 8;

static FOLDERS: LazyLock<[TempDir; 2]> = LazyLock::new(|| {
    let folder = || tempfile::tempdir().expect("there is a temporary folder");
    [folder(), folder()]
});
static BANK: LazyLock<CutoutBank> = LazyLock::new(|| packs::tiny_bank(FOLDERS[0].path()));
static SCENES: LazyLock<ScenePack> = LazyLock::new(|| packs::tiny_scenes(FOLDERS[1].path()));

fuzz_target!(|text: &[u8]| {
    let Ok(plan) = Plan::from_json(text) else {
        return;
    };
    let again = serde_json::to_vec(&plan).expect("a plan can be written");
    assert_eq!(Plan::from_json(&again).expect("and read again"), plan);
    if is_small(&plan) {
        packs::compose(&plan, &SCENES, &BANK);
    }
});

fn is_small(plan: &Plan) -> bool {
    let [width, height] = plan.canvas.map(u64::from);
    let scenes = plan.samples.iter().map(|sample| sample.scene.resized);
    let layers = plan.samples.iter().flat_map(|sample| &sample.layers);
    let mut sides = scenes.chain(layers.map(|layer| layer.resized)).flatten();
    width.saturating_mul(height) <= MOST_PIXELS
        && plan.samples.len() <= MOST_SAMPLES
        && sides.all(|side| side <= LONGEST_SIDE)
}
