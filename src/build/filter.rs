//! The stage `filter`: what the stages before have found out, ready for the rules, and the pixels
//! behind it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use image::{GrayImage, RgbImage};

use super::choose::MaterialError;
use super::error::BuildError;
use super::images::Images;
use super::references::floats;
use super::rows::{MaskRow, SourceRow};
use super::score::{SCORE_STAGE, Scored, mask_line, open_masks, read_mask, score_key};
use super::segment::{Segmented, mask_key};
use super::stage::Trouble;
use super::state::{Line, Shard, StageReader, StateError};
use super::store::Material;

/// Everything that the stages before wrote down of a state folder.
pub struct Scores {
    images: Images,
    segmenters: HashMap<String, StageReader<Segmented>>,
    scores: Option<StageReader<Scored>>,
    sources: Vec<SourceRow>,
    masks: Vec<MaskRow>,
    shard: Shard,
}

impl Scores {
    /// Reads masks of `segmenters` and their scores, if there are any, for the categories that
    /// belong to `shard`.
    ///
    /// # Errors
    /// [`BuildError`] if a stage is not finished.
    pub fn open(
        state: &Path,
        images: Images,
        segmenters: &[String],
        shard: Shard,
    ) -> Result<Scores, BuildError> {
        let scores = StageReader::<Scored>::open(state, SCORE_STAGE)?;
        let is_ours = |row: &&SourceRow| shard.takes(&row.category.to_string());
        let sources: Vec<SourceRow> = images.rows().iter().filter(is_ours).cloned().collect();
        let mut readers = Vec::new();
        for segmenter in segmenters {
            readers.push(open_masks(state, segmenter)?);
        }
        let repeats: HashSet<&str> = repeats_of(&images);
        let mut masks = Vec::new();
        for row in sources.iter().filter(|row| !repeats.contains(&row.key[..])) {
            for (segmenter, reader) in segmenters.iter().zip(&readers) {
                let line = mask_line(state, reader, segmenter, row)?;
                masks.extend(mask_row(state, row, segmenter, line, scores.as_ref())?);
            }
        }
        let segmenters = segmenters.iter().cloned().zip(readers).collect();
        Ok(Scores {
            images,
            segmenters,
            scores,
            sources,
            masks,
            shard,
        })
    }

    /// The images, in order of their keys.
    pub fn sources(&self) -> &[SourceRow] {
        &self.sources
    }

    /// Their masks, image after image, in the order in which the segmenters were named.
    pub fn masks(&self) -> &[MaskRow] {
        &self.masks
    }

    /// Those that came and could not be opened: key and reason.
    pub fn broken(&self) -> impl Iterator<Item = &(String, String)> {
        // Their category is not known: each is told by one of the shards.
        let shard = self.shard;
        self.images
            .broken()
            .iter()
            .filter(move |(key, _)| shard.takes(key))
    }

    /// Whether any mask was compared with real objects.
    pub fn has_similarities(&self) -> bool {
        self.masks.iter().any(|mask| mask.similarity.is_some())
    }

    /// Whether any model has scored the masks.
    pub fn has_scores(&self) -> bool {
        self.scores.is_some()
    }
}

/// Keys of the images that repeat an earlier one: no model has seen them.
fn repeats_of(images: &Images) -> HashSet<&str> {
    let mut repeats: HashSet<&str> = images.rows().iter().map(|row| &row.key[..]).collect();
    for row in images.distinct() {
        repeats.remove(&row.key[..]);
    }
    repeats
}

/// A mask with its score, where masks are scored; none where there is no mask, or no score could be
/// computed.
fn mask_row(
    state: &Path,
    row: &SourceRow,
    segmenter: &str,
    mask: &Line<Segmented>,
    scores: Option<&StageReader<Scored>>,
) -> Result<Option<MaskRow>, StateError> {
    let Some(segmented) = &mask.row else {
        return Ok(None);
    };
    let scored = match scores {
        None => None,
        Some(scores) => {
            let line = scores.items.get(&score_key(segmenter, row, mask));
            let (line, _) = line.ok_or_else(|| StateError::Unfinished {
                state: state.to_owned(),
                stage: SCORE_STAGE.to_owned(),
                problem: format!("{} by {segmenter} has no score yet; run it again", row.key),
            })?;
            match &line.row {
                Some(scored) => Some(scored),
                None => return Ok(None),
            }
        }
    };
    Ok(Some(MaskRow {
        key: row.key.clone(),
        segmenter: segmenter.to_owned(),
        clip: scored.map(|scored| scored.clip),
        similarity: scored.and_then(|scored| scored.similarity),
        area: segmented.area,
    }))
}

impl Scores {
    fn source(&self, key: &str) -> Result<&SourceRow, String> {
        let found = self
            .sources
            .binary_search_by(|source| source.key.as_str().cmp(key));
        let found = found.map_err(|_| format!("no image {key:?}"))?;
        Ok(&self.sources[found])
    }

    fn masks_of(&self, segmenter: &str) -> Result<&StageReader<Segmented>, String> {
        let reader = self.segmenters.get(segmenter);
        reader.ok_or_else(|| format!("no masks of {segmenter:?}"))
    }
}

impl Material for Scores {
    fn picture(&self, row: &SourceRow) -> Result<RgbImage, MaterialError> {
        let picture = self.images.picture(row);
        Ok(picture.map_err(Trouble::into_words)?.pixels)
    }

    fn mask(&self, row: &MaskRow) -> Result<GrayImage, MaterialError> {
        Ok(read_mask(
            self.masks_of(&row.segmenter)?,
            self.source(&row.key)?,
        )?)
    }

    fn embedding(&self, row: &MaskRow) -> Result<Vec<f32>, MaterialError> {
        let scores = self.scores.as_ref().ok_or("the masks have no scores")?;
        let source = self.source(&row.key)?;
        let masks = self.masks_of(&row.segmenter)?;
        let mask = masks.items.get(&mask_key(source)).ok_or("it has no mask")?;
        let key = score_key(&row.segmenter, source, &mask.0);
        let bytes = scores.blob(&key)?;
        Ok(floats(
            &bytes.ok_or_else(|| format!("{key} has no embedding"))?,
        ))
    }
}
