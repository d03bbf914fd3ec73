//! `pastebank build merge`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::bank::manifest::MANIFEST_FILE;

/// Make one bank of the parts that `build filter --shard` wrote.
#[derive(Args)]
pub(in crate::cli) struct Merge {
    /// Folder that holds the parts 0-of-N to N-1-of-N.
    parts: PathBuf,
    /// Folder to write the bank to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace a bank that is in the output folder.
    #[arg(long)]
    force: bool,
}

impl Merge {
    pub fn run(self) -> Result<()> {
        let parts = parts_in(&self.parts)?;
        super::super::bank::merge(&parts, &self.out, self.force)
    }
}

/// All parts, in order; those of a whole or none.
fn parts_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let error = || format!("cannot read the folder {}", folder.display());
    let mut count = None;
    for entry in std::fs::read_dir(folder).with_context(error)? {
        let name = entry.with_context(error)?.file_name();
        let name = name.to_string_lossy().into_owned();
        let Some((_, of)) = name.split_once("-of-").filter(|_| !name.contains("report")) else {
            continue;
        };
        let of: u32 = of
            .parse()
            .with_context(|| format!("{name:?} is no part I-of-N"))?;
        if count.replace(of).is_some_and(|other| other != of) {
            bail!("{} holds parts of different wholes", folder.display());
        }
    }
    let count = count.with_context(|| {
        format!(
            "{} holds no parts; `build filter --shard` writes them",
            folder.display()
        )
    })?;
    let parts: Vec<PathBuf> = (0..count)
        .map(|part| folder.join(format!("{part}-of-{count}")))
        .collect();
    for part in &parts {
        if !part.join(MANIFEST_FILE).is_file() {
            bail!("{} is not there or not finished", part.display());
        }
    }
    Ok(parts)
}
