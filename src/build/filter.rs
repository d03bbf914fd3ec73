//! The stage `filter`: what the stages before have found out, ready for the rules, and the pixels
//! behind it.

use std::collections::HashMap;
use std::path::Path;

use image::{GrayImage, RgbImage};

use super::choose::MaterialError;
use super::error::BuildError;
use super::images::Images;
use super::references::floats;
use super::rows::{MaskRow, SourceRow};
use super::score::{SCORE_STAGE, Scored, open_masks, read_mask, score_key};
use super::segment::Segmented;
use super::state::{Shard, StageReader};
use super::store::Material;

/// Everything that the stages before wrote down of a state folder.
pub struct Scores {
    images: Images,
    segmenters: HashMap<String, StageReader<Segmented>>,
    scores: Option<StageReader<Scored>>,
    sources: Vec<SourceRow>,
    masks: Vec<MaskRow>,
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
        let mut readers = HashMap::new();
        for segmenter in segmenters {
            readers.insert(segmenter.clone(), open_masks(state, segmenter)?);
        }
        let mut masks = Vec::new();
        for row in &sources {
            for segmenter in segmenters {
                let found = readers
                    .get(segmenter)
                    .and_then(|reader| reader.items.get(&row.key));
                if let Some(segmented) = found.and_then(|(line, _)| line.row.as_ref()) {
                    masks.push(mask_row(row, segmenter, segmented, scores.as_ref()));
                }
            }
        }
        Ok(Scores {
            images,
            segmenters: readers,
            scores,
            sources,
            masks,
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
    pub fn broken(&self) -> &[(String, String)] {
        self.images.broken()
    }

    /// Whether any model has scored the masks.
    pub fn has_scores(&self) -> bool {
        self.scores.is_some()
    }
}

fn mask_row(
    row: &SourceRow,
    segmenter: &str,
    segmented: &Segmented,
    scores: Option<&StageReader<Scored>>,
) -> MaskRow {
    let line = scores.and_then(|scores| scores.items.get(&score_key(segmenter, &row.key)));
    let scored = line.and_then(|(line, _)| line.row.as_ref());
    MaskRow {
        key: row.key.clone(),
        segmenter: segmenter.to_owned(),
        clip: scored.map(|scored| scored.clip),
        similarity: scored.and_then(|scored| scored.similarity),
        area: segmented.area,
    }
}

impl Material for Scores {
    fn picture(&self, row: &SourceRow) -> Result<RgbImage, MaterialError> {
        Ok(self.images.picture(row)?.pixels)
    }

    fn mask(&self, row: &MaskRow) -> Result<GrayImage, MaterialError> {
        let reader = self.segmenters.get(&row.segmenter);
        let reader = reader.ok_or_else(|| format!("no masks of {:?}", row.segmenter))?;
        let source = self
            .sources
            .binary_search_by(|source| source.key.cmp(&row.key));
        let source = source.map_err(|_| format!("no image {:?}", row.key))?;
        Ok(read_mask(reader, &self.sources[source])?)
    }

    fn embedding(&self, row: &MaskRow) -> Result<Vec<f32>, MaterialError> {
        let key = score_key(&row.segmenter, &row.key);
        let scores = self.scores.as_ref().ok_or("the masks have no scores")?;
        let bytes = scores.blob(&key)?;
        Ok(floats(
            &bytes.ok_or_else(|| format!("{key} has no embedding"))?,
        ))
    }
}
