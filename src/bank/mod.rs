//! Banks and scene packs: folders of a `manifest.json` and memory-mapped safetensors shards.
//!
//! Opening is a map of each shard and one validity pass ([`CutoutBank::open`],
//! [`ScenePack::open`]); afterwards rows are handed out as slices of the map and cannot fail. The
//! layout is part 2 of the specification; [`map`] says what keeps the maps sound.

mod cutouts;
mod error;
mod filter;
pub(crate) mod further;
mod info;
mod join;
pub(crate) mod manifest;
pub mod map;
mod merge;
pub mod mip;
pub mod provenance;
mod scenes;
mod shard;
#[cfg(test)]
pub(crate) mod test_banks;
mod verify;
pub(crate) mod write;

pub use cutouts::{CUTOUT_CHANNELS, Cutout, CutoutBank};
pub use error::BankError;
pub use filter::{Filter, FilterReport, filter};
pub use info::{
    BankInfo, CategoryInfo, Frequency, GroupInfo, Quantiles, SceneInfo, ShardInfo, info, scene_info,
};
pub use join::Part;
pub use manifest::{Category, Kind, MANIFEST_FILE, Manifest, ShardEntry, SizeStatistics};
pub use merge::{MergeError, MergeReport, Renumbered, merge};
pub use provenance::Provenance;
pub use scenes::{SCENE_CHANNELS, Scene, SceneInstance, ScenePack, ScenePixels};
pub use verify::{PROBLEMS_PER_SHARD, Problem, VerifyReport, verify};
