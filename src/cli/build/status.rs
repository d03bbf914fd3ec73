//! `pastebank build status`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::super::common::say;
use crate::build::state::status;

/// Say how far the stages of a state folder are.
#[derive(Args)]
pub(in crate::cli) struct Status {
    /// Folder that holds what every stage has done.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn run(self) -> Result<()> {
        let shards = status(&self.state)
            .with_context(|| format!("no state folder: {}", self.state.display()))?;
        if self.json {
            return say(serde_json::to_string_pretty(&shards)?);
        }
        if shards.is_empty() {
            return say("no stage has been begun");
        }
        say(format_args!(
            "{:<24} {:>8} {:>10} {:>8}  state",
            "stage", "part", "done", "failed"
        ))?;
        for shard in shards {
            let state = match (&shard.held_by, shard.is_complete) {
                (Some(holder), _) => format!("being worked on by {holder}"),
                (None, true) => "finished".to_owned(),
                (None, false) => "stopped; the same command goes on".to_owned(),
            };
            let (stage, part) = (&shard.stage, &shard.shard);
            let done = shard.lines - shard.failed;
            say(format_args!(
                "{stage:<24} {part:>8} {done:>10} {:>8}  {state}",
                shard.failed
            ))?;
        }
        Ok(())
    }
}
