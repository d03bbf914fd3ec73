//! `pastebank import`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::common::{catch_interrupts, category_file};
use super::pack::{PackFlags, finish, with_bar};
use crate::pack::{DEFAULT_MARGIN, ImportOptions};

/// Import transparent pictures, one folder per category, into a bank.
#[derive(Args)]
pub(super) struct Import {
    /// Folder whose folders are named by category name or id and hold the pictures.
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// Folder to write the bank to.
    #[arg(long, value_name = "DIR")]
    bank: PathBuf,
    /// JSON with the categories (a COCO file, a manifest, or a list of {id, name}); made from the
    /// folders' names unless given.
    #[arg(long, value_name = "FILE")]
    categories: Option<PathBuf>,
    /// Transparent texels kept around what is visible.
    #[arg(long, value_name = "PIXELS", default_value_t = DEFAULT_MARGIN)]
    margin: u32,
    #[command(flatten)]
    common: PackFlags,
}

impl Import {
    pub fn run(self) -> Result<()> {
        let categories = self.categories.as_deref().map(category_file);
        let options = ImportOptions {
            input: self.input,
            bank: self.bank,
            categories: categories.transpose()?,
            margin: self.margin,
            max_pixels: self.common.max_pixels,
            shard_bytes: self.common.shard_bytes,
            threads: self.common.threads.threads,
            strict: self.common.strict,
            force: self.common.force,
        };
        catch_interrupts()?;
        let report = with_bar("importing", |progress| {
            crate::pack::import(&options, progress)
        })?;
        finish(&report, self.common.report.as_deref())
    }
}
