//! Where cutouts of a bank made with models are from: further columns of its shards.
//!
//! | column | type and shape | meaning |
//! |---|---|---|
//! | `key` | text | what tells the image from all others of the state folder it was made in |
//! | `source_kind` | text | `folder` or `generated` |
//! | `segmenter` | text | who made the mask |
//! | `clip` | F32 [n] | 100 · cosine between the object and the text of its category; NaN: none |
//! | `similarity` | F32 [n] | mean cosine to real crops of the category; NaN: none |
//! | `area_fraction` | F32 [n] | part of the image whose mask is at least 128 |
//! | `prompt` | text | what a generated image was made from; empty: none |
//! | `seeded` | U8 [n] | 1 where there is a seed, else 0 |
//! | `seed` | U64 [n] | what a generated image was made with; 0 where there is none |
//! | `path` | text | the file that a found image was in; empty: none |
//! | `source` | text | where that file is from, such as an address; empty: none |
//! | `licence` | text | its licence; empty: none |
//!
//! A text is two columns, as any list of a shard: `NAME_start` U64 [n+1], which rises from 0, and
//! `NAME` U8: row r has the UTF-8 bytes from `NAME_start[r]` to `NAME_start[r+1]`. A shard has all
//! of these columns or is without provenance; `key` is what tells.

#[cfg(any(test, feature = "pack"))]
use safetensors::Dtype;
use serde::Serialize;

use super::cutouts::{CutoutBank, CutoutShard, locate};
use super::error::BankError;
#[cfg(any(test, feature = "pack"))]
use super::further::FurtherColumn;
use super::shard::{Element, Shard};

/// Where one cutout is from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Provenance {
    /// What tells its image from all others of the state folder it was made in.
    pub key: String,
    /// How the image came: `folder` or `generated`.
    pub source_kind: String,
    /// Who made the mask.
    pub segmenter: String,
    /// 100 · cosine between the object and the text of its category, where it was computed.
    pub clip: Option<f32>,
    /// Mean cosine to real crops of the category, where it was computed.
    pub similarity: Option<f32>,
    /// Part of the image whose mask is at least 128.
    pub area_fraction: f32,
    /// The text that the image was made from.
    pub prompt: Option<String>,
    /// The seed that it was made with.
    pub seed: Option<u64>,
    /// The file that it was found in.
    pub path: Option<String>,
    /// Where that file is from, such as an address.
    pub source: Option<String>,
    /// Its licence.
    pub licence: Option<String>,
}

/// A text's two columns: starts and bytes.
type TextNames = (&'static str, &'static str);
const KEY: TextNames = ("key_start", "key");
const SOURCE_KIND: TextNames = ("source_kind_start", "source_kind");
const SEGMENTER: TextNames = ("segmenter_start", "segmenter");
const PROMPT: TextNames = ("prompt_start", "prompt");
const PATH: TextNames = ("path_start", "path");
const SOURCE: TextNames = ("source_start", "source");
const LICENCE: TextNames = ("licence_start", "licence");
/// All texts, in the order of [`Provenance::cells`].
#[cfg(any(test, feature = "pack"))]
const TEXTS: [TextNames; 7] = [KEY, SOURCE_KIND, SEGMENTER, PROMPT, PATH, SOURCE, LICENCE];

#[cfg(any(test, feature = "pack"))]
impl Provenance {
    /// The columns that [`Provenance::cells`] fill.
    pub(crate) fn columns() -> Vec<FurtherColumn> {
        let texts = TEXTS.iter().map(|(_, name)| FurtherColumn::text(name));
        let values = [
            ("clip", Dtype::F32),
            ("similarity", Dtype::F32),
            ("area_fraction", Dtype::F32),
            ("seeded", Dtype::U8),
            ("seed", Dtype::U64),
        ];
        let values = values.map(|(name, dtype)| FurtherColumn::value(name, dtype));
        texts.chain(values).collect()
    }

    /// What a row has in each of [`Provenance::columns`].
    pub(crate) fn cells(&self) -> Vec<Vec<u8>> {
        let optional = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
        let score = |score: Option<f32>| score.unwrap_or(f32::NAN).to_le_bytes().to_vec();
        vec![
            self.key.clone().into_bytes(),
            self.source_kind.clone().into_bytes(),
            self.segmenter.clone().into_bytes(),
            optional(&self.prompt),
            optional(&self.path),
            optional(&self.source),
            optional(&self.licence),
            score(self.clip),
            score(self.similarity),
            self.area_fraction.to_le_bytes().to_vec(),
            vec![u8::from(self.seed.is_some())],
            self.seed.unwrap_or(0).to_le_bytes().to_vec(),
        ]
    }
}

impl CutoutBank {
    /// Where the cutout of that index is from; `None` past the end, and in shards without the
    /// columns of a bank made with models.
    ///
    /// These columns are looked at here and not when the bank is opened: a reader has no need of
    /// them.
    ///
    /// # Errors
    /// [`BankError::Column`] if one of the columns is missing while others are there, has another
    /// type or shape, or does not fit in this row.
    pub fn provenance(&self, index: usize) -> Result<Option<Provenance>, BankError> {
        let Some((shard, row)) = locate(&self.first_rows, index) else {
            return Ok(None);
        };
        self.shards
            .get(shard)
            .map_or(Ok(None), |shard| shard.provenance(row))
    }
}

impl CutoutShard {
    /// As [`CutoutBank::provenance`], of a row that the shard has.
    pub fn provenance(&self, row: usize) -> Result<Option<Provenance>, BankError> {
        let shard = &self.shard;
        shard.file().check_length()?;
        if shard.tensor_named(KEY.0).is_none() || shard.tensor_named(KEY.1).is_none() {
            return Ok(None);
        }
        let optional = |names| Ok(Some(text(shard, names, row)?).filter(|text| !text.is_empty()));
        let score =
            |name| Ok(Some(value::<f32>(shard, name, row)?).filter(|score| !score.is_nan()));
        let seed = match value::<u8>(shard, "seeded", row)? {
            0 => None,
            1 => Some(value(shard, "seed", row)?),
            other => {
                let problem = format!("{other}; 0 or 1 was expected");
                return Err(shard.column_error("seeded", Some(row), problem));
            }
        };
        Ok(Some(Provenance {
            key: text(shard, KEY, row)?,
            source_kind: text(shard, SOURCE_KIND, row)?,
            segmenter: text(shard, SEGMENTER, row)?,
            clip: score("clip")?,
            similarity: score("similarity")?,
            area_fraction: value(shard, "area_fraction", row)?,
            prompt: optional(PROMPT)?,
            seed,
            path: optional(PATH)?,
            source: optional(SOURCE)?,
            licence: optional(LICENCE)?,
        }))
    }
}

fn value<T: Element>(shard: &Shard, name: &'static str, row: usize) -> Result<T, BankError> {
    let column = shard.column::<T, 1>(name, shard.rows())?;
    Ok(column.value(shard, row))
}

fn text(shard: &Shard, (start, name): TextNames, row: usize) -> Result<String, BankError> {
    let bytes = shard.blob(&shard.bytes_of(name)?);
    let starts = shard.column::<u64, 1>(start, shard.rows().saturating_add(1))?;
    let [first, end] = [row, row + 1].map(|row| starts.value(shard, row));
    let range = usize::try_from(first).ok().zip(usize::try_from(end).ok());
    let text = range.and_then(|(first, end)| bytes.get(first..end));
    let text = text.ok_or_else(|| {
        let problem = format!("{first} to {end}; `{name}` has {} bytes", bytes.len());
        shard.column_error(start, Some(row), problem)
    })?;
    String::from_utf8(text.to_vec()).map_err(|error| {
        let problem = format!("no UTF-8: {}", error.utf8_error());
        shard.column_error(name, Some(row), problem)
    })
}

#[cfg(test)]
mod tests;
