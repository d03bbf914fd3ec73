//! Bytes as a shard: opened, walked and composed.
//!
//! The first byte chooses the kind, and whether the rest is a whole file or data behind a header
//! that is right; the second and third are the numbers of rows and of instances.

#![no_main]

mod packs;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use packs::Kind;
use pastebank::bank::{CutoutBank, ScenePack, ScenePixels};
use tempfile::TempDir;

/// A JPEG of any size may be said to be in a few bytes: larger ones only take time.
const MOST_PIXELS: usize = 1 << 16;

static FOLDERS: LazyLock<[TempDir; 3]> = LazyLock::new(|| {
    let folder = || tempfile::tempdir().expect("there is a temporary folder");
    [folder(), folder(), folder()]
});
static BANK: LazyLock<CutoutBank> = LazyLock::new(|| packs::tiny_bank(FOLDERS[1].path()));
static SCENES: LazyLock<ScenePack> = LazyLock::new(|| packs::tiny_scenes(FOLDERS[2].path()));

fuzz_target!(|bytes: &[u8]| {
    let [choice, rows, instances, data @ ..] = bytes else {
        return;
    };
    let kind = match choice & 1 {
        0 => Kind::Cutouts,
        _ => Kind::Scenes,
    };
    let (rows, instances) = (usize::from(*rows), usize::from(*instances));
    let folder = FOLDERS[0].path();
    if choice & 2 == 0 {
        packs::write_pack(folder, kind, rows, data);
    } else {
        let shard = packs::shard_with_header(kind, rows, instances, data);
        packs::write_pack(folder, kind, rows, &shard);
    }
    if kind == Kind::Cutouts {
        open_bank();
    } else {
        open_scenes();
    }
});

fn open_bank() {
    if let Ok(bank) = CutoutBank::open(FOLDERS[0].path()) {
        packs::walk_bank(&bank);
        if !bank.is_empty() {
            packs::compose_all(&SCENES, &bank);
        }
    }
}

fn open_scenes() {
    if let Ok(scenes) = ScenePack::open(FOLDERS[0].path()) {
        packs::walk_scenes(&scenes);
        let is_small = |index| match scenes.get(index) {
            Some(scene) => match scene.pixels {
                ScenePixels::Raw(_) => true,
                ScenePixels::Jpeg(_) => scene.size.pixels() <= MOST_PIXELS,
            },
            None => false,
        };
        if !scenes.is_empty() && (0..scenes.len()).all(is_small) {
            packs::compose_all(&scenes, &BANK);
        }
    }
}
