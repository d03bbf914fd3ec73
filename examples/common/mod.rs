//! What the examples share: a data set to work on, and one number for all that a sample is.

// Each example includes this module, and none of them uses all of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::Batch;
use pastebank::demo::{DrawOptions, draw};
use pastebank::pack::{PackOptions, pack};
use twox_hash::XxHash3_64;

/// A folder that the user named, or one that is removed at the end.
pub enum Folder {
    Named(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    pub fn new(named: Option<&Path>) -> Result<Folder> {
        Ok(match named {
            Some(path) => Folder::Named(path.to_owned()),
            None => Folder::Temporary(tempfile::tempdir()?),
        })
    }

    pub fn path(&self) -> &Path {
        match self {
            Folder::Named(path) => path,
            Folder::Temporary(folder) => folder.path(),
        }
    }
}

/// Draws a data set of ten categories into the folder and packs it. Your own data begin at
/// [`pack`], or with `pastebank pack`.
pub fn draw_and_pack(folder: &Path, images: u32, seed: u64) -> Result<()> {
    let options = DrawOptions {
        images,
        width: 320,
        height: 240,
        seed,
    };
    let data = draw(&folder.join("data"), &options)?;
    let [scenes, bank] = ["scenes", "bank"].map(|name| folder.join(name));
    let options = PackOptions::new(&data.annotations, &data.images, &scenes, &bank);
    pack(&options, |_| true)?;
    Ok(())
}

/// Opens what [`draw_and_pack`] wrote.
pub fn open(folder: &Path) -> Result<(Arc<ScenePack>, Arc<CutoutBank>)> {
    let scenes = ScenePack::open(&folder.join("scenes"))?;
    let bank = CutoutBank::open(&folder.join("bank"))?;
    Ok((Arc::new(scenes), Arc::new(bank)))
}

/// Image, masks, boxes, labels and sources of one sample as one number: equal samples have equal
/// numbers, and others have not.
pub fn digest(batch: &Batch, sample: usize) -> u64 {
    let length = batch.image_bytes().len() / batch.len().max(1);
    let image = &batch.image_bytes()[sample * length..][..length];
    let instances = format!("{:?}", batch.sample(sample));
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(image), instances.as_bytes())
}
