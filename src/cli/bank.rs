//! `pastebank bank`.

use anyhow::Result;
use clap::Subcommand;

/// Look at, check, merge and filter packs.
#[derive(Subcommand)]
pub(super) enum Bank {}

impl Bank {
    pub fn run(self) -> Result<()> {
        match self {}
    }
}
