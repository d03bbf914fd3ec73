//! Banks and scene packs: folders of a `manifest.json` and memory-mapped safetensors shards.
//!
//! Opening is a map of each shard and one validity pass ([`CutoutBank::open`],
//! [`ScenePack::open`]); afterwards rows are handed out as slices of the map and cannot fail. The
//! layout is part 2 of the specification; [`map`] says what keeps the maps sound.

mod cutouts;
mod error;
mod manifest;
pub mod map;
pub mod mip;
mod scenes;
mod shard;
pub(crate) mod write;

pub use cutouts::{CUTOUT_CHANNELS, Cutout, CutoutBank};
pub use error::BankError;
pub use manifest::{Category, Kind, MANIFEST_FILE, Manifest, ShardEntry, SizeStatistics};
pub use scenes::{SCENE_CHANNELS, Scene, SceneInstance, ScenePack, ScenePixels};
