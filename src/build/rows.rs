//! What the stages write down: one row of a journal for each image, mask and score.

use serde::{Deserialize, Serialize};

/// How an image came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Found in a folder or a list.
    Folder,
    /// Made by a text-to-image model.
    Generated,
}

impl SourceKind {
    /// The name that rows and columns carry.
    pub fn name(self) -> &'static str {
        match self {
            SourceKind::Folder => "folder",
            SourceKind::Generated => "generated",
        }
    }
}

/// One image that came in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRow {
    /// What tells it from all others of the state folder, the same on every machine and in every
    /// run: `category/index` of a generated image, the path below its folder of a found one.
    pub key: String,
    /// Id of its category.
    pub category: i64,
    /// How it came.
    pub kind: SourceKind,
    /// Width and height of the upright image.
    pub size: [u32; 2],
    /// XXH3-64 of the file.
    pub xxh3: u64,
    /// Perceptual hash: pictures that look alike differ in few bits.
    pub look: u64,
    /// The text that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The seed that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The file that it was found in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where the file is from, such as an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The licence that a list gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// What was found out about one mask of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskRow {
    /// Whose image.
    pub key: String,
    /// Who made the mask.
    pub segmenter: String,
    /// 100 · cosine between the object on white and the text of its category; none where no model
    /// scored it: then the segmenter that was asked first wins, and no bar applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
    /// Mean cosine to real crops of the category (DiverGen, arXiv 2405.10185), where these were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// Part of the image whose mask is at least 128.
    pub area: f32,
}
