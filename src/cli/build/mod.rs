//! `pastebank build`.

mod all;
mod common;
mod filter;
mod folder;
mod generate;
mod merge;
mod model;
mod references;
mod score;
mod segment;
mod status;

use anyhow::Result;
use clap::Subcommand;

/// Make banks with models: from a list of categories, or from a pile of images.
///
/// Stages: `folder` or `generate`, then `segment`, then `score` where there are weights of CLIP,
/// then `filter`. Each goes on where it was stopped; all of them keep what they did in the folder
/// --state. `all` runs them by a settings file.
#[derive(Subcommand)]
pub(super) enum Build {
    Folder(folder::Folder),
    Generate(Box<generate::Generate>),
    Segment(Box<segment::Segment>),
    References(Box<references::References>),
    Score(Box<score::Score>),
    Filter(Box<filter::Filter>),
    Merge(merge::Merge),
    All(all::All),
    Status(status::Status),
    Models(model::Models),
}

impl Build {
    pub fn run(self) -> Result<()> {
        match self {
            Build::Folder(folder) => folder.run(),
            Build::Generate(generate) => generate.run(),
            Build::Segment(segment) => segment.run(),
            Build::References(references) => references.run(),
            Build::Score(score) => score.run(),
            Build::Filter(filter) => filter.run(),
            Build::Merge(merge) => merge.run(),
            Build::All(all) => all.run(),
            Build::Status(status) => status.run(),
            Build::Models(models) => models.run(),
        }
    }
}
