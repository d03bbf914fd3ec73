//! Filtering: a smaller bank of the cutouts that fit.

use std::path::Path;

use serde::Serialize;

use super::cutouts::{Cutout, CutoutBank, CutoutShard};
use super::error::BankError;
use super::further::FurtherColumns;
use super::manifest::{Manifest, PACK_SETTINGS_KEY, ShardEntry};
use super::write::{CutoutShardWriter, shard_file_name};

/// Which cutouts pass: those that break no rule. All bounds are inclusive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only these category ids.
    pub categories: Option<Vec<i64>>,
    /// Least score. Cutouts without a score pass.
    pub min_score: Option<f32>,
    /// Greatest score. Cutouts without a score pass.
    pub max_score: Option<f32>,
    /// Only cutouts that have a score.
    pub require_score: bool,
    /// Least `area`, in texels.
    pub min_area: Option<u32>,
    /// Greatest `area`, in texels.
    pub max_area: Option<u32>,
    /// Least sqrt(width × height) of the box, in pixels.
    pub min_side: Option<u32>,
    /// Greatest sqrt(width × height) of the box, in pixels.
    pub max_side: Option<u32>,
}

/// What [`filter`] did. A dropped cutout counts for the first rule that it breaks, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilterReport {
    /// Cutouts that passed.
    pub kept: u64,
    /// Dropped: another category.
    pub dropped_by_category: u64,
    /// Dropped: no score where one was required.
    pub dropped_without_score: u64,
    /// Dropped: score too low or too high.
    pub dropped_by_score: u64,
    /// Dropped: too few or too many texels.
    pub dropped_by_area: u64,
    /// Dropped: box too small or too large.
    pub dropped_by_side: u64,
    /// Shards that were written.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The rules, as far as a cutout can break them.
enum Rule {
    Category,
    NoScore,
    Score,
    Area,
    Side,
}

impl Filter {
    /// The first rule that a cutout breaks.
    fn broken(&self, cutout: &Cutout<'_>) -> Option<Rule> {
        let [_, _, width, height] = cutout.bounding_box.map(u64::from);
        // Squares compare as the roots do, and exactly.
        let square = |side: u32| u64::from(side).pow(2);
        let (score, area, box_area) = (cutout.score, cutout.area, width * height);
        let listed = |ids: &Vec<i64>| ids.contains(&cutout.category);
        if !self.categories.as_ref().is_none_or(listed) {
            Some(Rule::Category)
        } else if score.is_nan() && self.require_score {
            Some(Rule::NoScore)
        } else if self.min_score.is_some_and(|least| score < least)
            || self.max_score.is_some_and(|greatest| score > greatest)
        {
            Some(Rule::Score)
        } else if self.min_area.is_some_and(|least| area < least)
            || self.max_area.is_some_and(|greatest| area > greatest)
        {
            Some(Rule::Area)
        } else if self.min_side.is_some_and(|least| box_area < square(least))
            || self
                .max_side
                .is_some_and(|greatest| box_area > square(greatest))
        {
            Some(Rule::Side)
        } else {
            None
        }
    }
}

/// Copies the cutouts of `bank` that pass `filter`, in order, into a new bank in the folder
/// `output`, which is there and empty. A shard ends before it would hold more than `shard_bytes` of
/// pixels. The manifest comes last and keeps all categories, statistics and other keys but the
/// settings of the packing. Columns beyond the specification's go along: those that have a value or
/// a shape of values for each row, and lists such as texts.
///
/// `progress` is told how many cutouts were looked at and answers whether to go on.
///
/// # Errors
/// [`BankError`] if a shard cannot be read or written or has columns of another form, which copying
/// would lose; [`BankError::Stopped`] if `progress` said so. The shards written so far
/// are then removed.
pub fn filter(
    bank: &CutoutBank,
    output: &Path,
    filter: &Filter,
    shard_bytes: u64,
    progress: &dyn Fn(u64) -> bool,
) -> Result<FilterReport, BankError> {
    // All shards before anything is written.
    let further = bank
        .shards()
        .iter()
        .map(CutoutShard::further_columns)
        .collect::<Result<Vec<_>, _>>()?;
    let mut copy = Copy {
        output,
        shard_bytes,
        writer: None,
        entries: Vec::new(),
    };
    let written = copy_rows(bank, &further, filter, &mut copy, progress).and_then(|mut report| {
        report.shards = copy.entries.len() as u64;
        report.bytes = copy.entries.iter().map(|entry| entry.bytes).sum();
        write_manifest(bank.manifest(), output, copy.entries.clone())?;
        Ok(report)
    });
    if written.is_err() {
        remove_shards(output, &copy.entries);
    }
    written
}

fn copy_rows(
    bank: &CutoutBank,
    further: &[FurtherColumns<'_>],
    filter: &Filter,
    copy: &mut Copy<'_>,
    progress: &dyn Fn(u64) -> bool,
) -> Result<FilterReport, BankError> {
    let mut report = FilterReport::default();
    let mut seen = 0;
    for (shard, further) in bank.shards().iter().zip(further) {
        for row in 0..shard.shard.rows() {
            let cutout = shard.get_unchanged(row)?;
            match filter.broken(&cutout) {
                None => {
                    copy.push(&cutout, further, row)?;
                    report.kept += 1;
                }
                Some(Rule::Category) => report.dropped_by_category += 1,
                Some(Rule::NoScore) => report.dropped_without_score += 1,
                Some(Rule::Score) => report.dropped_by_score += 1,
                Some(Rule::Area) => report.dropped_by_area += 1,
                Some(Rule::Side) => report.dropped_by_side += 1,
            }
            seen += 1;
            if !progress(seen) {
                return Err(BankError::Stopped);
            }
        }
    }
    copy.finish_shard()?;
    Ok(report)
}

fn write_manifest(
    source: &Manifest,
    output: &Path,
    shards: Vec<ShardEntry>,
) -> Result<(), BankError> {
    let mut manifest = source.clone();
    manifest.shards = shards;
    manifest.other.remove(PACK_SETTINGS_KEY);
    manifest.write(output)
}

/// Shard after shard of a bank in the making.
struct Copy<'a> {
    output: &'a Path,
    shard_bytes: u64,
    writer: Option<CutoutShardWriter>,
    entries: Vec<ShardEntry>,
}

impl Copy<'_> {
    /// Appends a row of a shard. What shards have beside the specification's columns may differ, so
    /// where it does, a new shard begins.
    fn push(
        &mut self,
        cutout: &Cutout<'_>,
        further: &FurtherColumns<'_>,
        row: usize,
    ) -> Result<(), BankError> {
        let added = cutout.chain.len() as u64;
        let full = |writer: &CutoutShardWriter| {
            writer.bytes() + added > self.shard_bytes || !writer.has_further(further.columns())
        };
        if self.writer.as_ref().is_some_and(full) {
            self.finish_shard()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty => {
                let path = self.output.join(shard_file_name(self.entries.len()));
                empty.insert(CutoutShardWriter::with_further(&path, further.columns())?)
            }
        };
        writer.push_with(cutout, &further.cells(row)?)
    }

    fn finish_shard(&mut self) -> Result<(), BankError> {
        if let Some(writer) = self.writer.take() {
            self.entries.push(writer.finish()?);
        }
        Ok(())
    }
}

/// Removes what a run that failed wrote, as far as that is possible: without a manifest it would
/// only be in the way.
pub(crate) fn remove_shards(directory: &Path, entries: &[ShardEntry]) {
    for entry in entries {
        let _ = std::fs::remove_file(directory.join(&entry.file));
    }
}

#[cfg(test)]
mod tests;
