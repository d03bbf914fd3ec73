//! The report of choosing and filtering: counts by category and rule, and contact sheets.

mod page;
mod sheets;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::choose::{Choice, Rule, score};
use super::rows::{MaskRow, SourceRow};
use super::store::Material;
use crate::bank::write::replace_file;
use crate::bank::{BankError, Category, CutoutBank};
use crate::view::ViewError;
pub use sheets::SheetOptions;
use sheets::Sheets;

/// What [`filter_and_store`](super::store::filter_and_store) did.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterReport {
    /// What became of each image, in the order of the sources that were given.
    pub choices: Vec<Choice>,
    /// The categories that were given, in their order.
    pub categories: Vec<CategoryReport>,
    /// Cutouts in the bank.
    pub cutouts: u64,
    /// Bytes of its shards.
    pub bytes: u64,
    /// Whether the bank was there already and nothing had to be written.
    pub was_finished: bool,
}

/// What became of one category's images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryReport {
    /// Id of the category.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Images that came.
    pub came: u64,
    /// Images that fell, by the first rule that they broke.
    pub dropped: BTreeMap<Rule, u64>,
    /// Images that stayed: cutouts in the bank.
    pub kept: u64,
    /// The highest score of a chosen mask.
    pub best_clip: Option<f32>,
}

/// Counts what became of the images of each category.
pub(super) fn count(
    sources: &[SourceRow],
    masks: &[MaskRow],
    choices: &[Choice],
    categories: &[Category],
) -> Vec<CategoryReport> {
    let mut reports: HashMap<i64, CategoryReport> = HashMap::new();
    for category in categories {
        let report = CategoryReport {
            id: category.id,
            name: category.name.clone(),
            came: 0,
            dropped: BTreeMap::new(),
            kept: 0,
            best_clip: None,
        };
        reports.insert(category.id, report);
    }
    for (source, choice) in sources.iter().zip(choices) {
        let Some(report) = reports.get_mut(&source.category) else {
            continue;
        };
        report.came += 1;
        match &choice.dropped {
            None => report.kept += 1,
            Some(reason) => *report.dropped.entry(reason.rule()).or_default() += 1,
        }
        let clip = choice.mask.and_then(|mask| score(&masks[mask]));
        let best = report.best_clip.into_iter().chain(clip);
        report.best_clip = best.max_by(f32::total_cmp);
    }
    let reports = categories
        .iter()
        .map(|category| reports.remove(&category.id));
    reports.flatten().collect()
}

impl FilterReport {
    /// The counts as a table: a line for each category and one for all, a column for each rule at
    /// which any image fell.
    pub fn table(&self) -> String {
        let rules = self.rules();
        let mut rows = vec![heads(&rules).map(str::to_owned).collect()];
        rows.extend(self.categories.iter().map(|report| cells(report, &rules)));
        rows.push(cells(&self.total(), &rules));
        aligned(&rows)
    }

    /// The rules at which any image fell, in their order.
    fn rules(&self) -> Vec<Rule> {
        let fell = |rule: &Rule| self.categories.iter().any(|c| c.dropped.contains_key(rule));
        Rule::ALL.into_iter().filter(fell).collect()
    }

    /// All categories together.
    fn total(&self) -> CategoryReport {
        let mut total = CategoryReport {
            id: 0,
            name: "all".to_owned(),
            came: 0,
            dropped: BTreeMap::new(),
            kept: 0,
            best_clip: None,
        };
        for report in &self.categories {
            total.came += report.came;
            total.kept += report.kept;
            for (&rule, &count) in &report.dropped {
                *total.dropped.entry(rule).or_default() += count;
            }
            let best = total.best_clip.into_iter().chain(report.best_clip);
            total.best_clip = best.max_by(f32::total_cmp);
        }
        total
    }
}

/// The heads of the table's columns.
fn heads(rules: &[Rule]) -> impl Iterator<Item = &'static str> {
    let rules = rules.iter().map(|rule| rule.words());
    ["category", "came"]
        .into_iter()
        .chain(rules)
        .chain(["kept", "best clip"])
}

/// A category's line of the table.
fn cells(report: &CategoryReport, rules: &[Rule]) -> Vec<String> {
    let dropped = |rule: &Rule| report.dropped.get(rule).copied().unwrap_or(0).to_string();
    let mut cells = vec![report.name.clone(), report.came.to_string()];
    cells.extend(rules.iter().map(dropped));
    cells.push(report.kept.to_string());
    let best = report.best_clip.map(|best| format!("{best:.2}"));
    cells.push(best.unwrap_or_else(|| "-".to_owned()));
    cells
}

/// Rows of equal length as lines: the first column begins at the left, the others end at the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => text += &format!("{cell:<width$}"),
                _ => text += &format!("  {cell:>width$}"),
            }
        }
        text.push('\n');
    }
    text
}

/// Why the report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the report cannot be written, or the bank cannot be read.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A sheet cannot be made.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The caller's progress function asked to stop.
    #[error("stopped before the end, as was asked")]
    Stopped,
}

/// What a report is of: the rows that [`filter_and_store`](super::store::filter_and_store) was
/// given, and the bank that it wrote.
#[derive(Clone, Copy)]
pub struct Reported<'a> {
    /// The images.
    pub sources: &'a [SourceRow],
    /// Their masks.
    pub masks: &'a [MaskRow],
    /// Their pixels.
    pub material: &'a dyn Material,
    /// The folder of the bank.
    pub bank: &'a Path,
}

/// Writes the report into `folder`, which is made if it is not there: `report.json` (counts),
/// `report.txt` (the same as a table), `images.jsonl` (a line for every image: what became of it and
/// why), for every category a sheet of kept and one of dropped images (PNG), and `index.html`, which
/// shows all of this. `progress` is told how many of the categories are done, and of how many, and
/// answers whether to go on. Returns the files written.
///
/// # Errors
/// [`ReportError`]. Files that are finished stay.
pub fn write_report(
    report: &FilterReport,
    of: Reported<'_>,
    options: &SheetOptions,
    folder: &Path,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Vec<PathBuf>, ReportError> {
    fs::create_dir_all(folder).map_err(|source| BankError::write(folder, source))?;
    let mut written = Vec::new();
    let mut write = |name: &str, contents: &[u8]| {
        let path = folder.join(name);
        replace_file(&path, contents).map(|()| written.push(path))
    };
    write("report.json", json_of(report).as_bytes())?;
    write("report.txt", report.table().as_bytes())?;
    write("images.jsonl", images_of(report, of).as_bytes())?;
    let bank = CutoutBank::open(of.bank)?;
    let sheets = Sheets::new(report, of, &bank, options)?;
    let mut names = Vec::new();
    for (done, category) in report.categories.iter().enumerate() {
        if !progress(done, report.categories.len()) {
            return Err(ReportError::Stopped);
        }
        names.push(sheets.write(category, folder)?);
    }
    write("index.html", page::page(report, &names).as_bytes())?;
    written.extend(names.iter().flatten().map(|name| folder.join(name)));
    Ok(written)
}

fn json_of(report: &FilterReport) -> String {
    let total = report.total();
    let text = json!({
        "came": total.came,
        "kept": total.kept,
        "dropped": total.dropped,
        "cutouts": report.cutouts,
        "bytes": report.bytes,
        "categories": report.categories,
    });
    format!("{text:#}\n")
}

/// A line of JSON for each image.
fn images_of(report: &FilterReport, of: Reported<'_>) -> String {
    let lines = of
        .sources
        .iter()
        .zip(&report.choices)
        .map(|(source, choice)| {
            let mask = choice.mask.and_then(|mask| of.masks.get(mask));
            let line = json!({
                "key": source.key,
                "category": source.category,
                "segmenter": mask.map(|mask| &mask.segmenter),
                "clip": mask.and_then(score),
                "kept": choice.dropped.is_none(),
                "dropped": choice.dropped,
            });
            format!("{line}\n")
        });
    lines.collect()
}

#[cfg(test)]
mod tests;
