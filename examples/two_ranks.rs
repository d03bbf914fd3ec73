//! Two processes share every epoch, as two machines would.
//!
//! The example starts itself twice, as rank 0 and rank 1. Each streams its share and prints one
//! line a sample. Ends with exit code 1 unless both together have every sample of every epoch
//! exactly once, and the very bytes that one process alone has.
//!
//! ```sh
//! cargo run --release --example two_ranks
//! ```

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pastebank::loader::{Loader, LoaderOptions, Tail};
use pastebank::sampler::{RecipeSettings, Sampler};

#[derive(Parser)]
struct Flags {
    /// Folder for the data set and its packs [default: a temporary one].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Be this rank, over the packs that are in the folder.
    #[arg(long, requires = "out", hide = true)]
    rank: Option<usize>,
}

const RANKS: usize = 2;
const EPOCHS: u64 = 2;
/// No multiple of what both ranks take in a step, so that the last step is filled up.
const SCENES: u32 = 27;

/// The digest of each sample by its epoch and its place in it.
type Digests = BTreeMap<(u64, u64), u64>;

fn main() -> Result<()> {
    let flags = Flags::parse();
    if let (Some(rank), Some(folder)) = (flags.rank, &flags.out) {
        return stream(folder, rank, RANKS, |epoch, index, digest| {
            println!("{epoch} {index} {digest:016x}");
        });
    }
    let folder = common::Folder::new(flags.out.as_deref())?;
    common::draw_and_pack(folder.path(), SCENES, 0)?;
    // Both run at the same time.
    let ranks = (0..RANKS).map(|rank| start(folder.path(), rank));
    let ranks = ranks.collect::<Result<Vec<Child>>>()?;
    let mut together = Digests::new();
    for (rank, child) in ranks.into_iter().enumerate() {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "rank {rank}: {}", output.status);
        let lines = String::from_utf8(output.stdout)?;
        println!("rank {rank}: {} samples", lines.lines().count());
        for line in lines.lines() {
            let (epoch, index, digest) = parsed(line).context(format!("rank {rank}: {line:?}"))?;
            let other = together.insert((epoch, index), digest);
            ensure!(
                other.is_none(),
                "sample {index} of epoch {epoch} came twice"
            );
        }
    }
    let mut alone = Digests::new();
    stream(folder.path(), 0, 1, |epoch, index, digest| {
        alone.insert((epoch, index), digest);
    })?;
    ensure!(
        alone.len() as u64 == EPOCHS * u64::from(SCENES),
        "{} samples alone",
        alone.len()
    );
    ensure!(
        together == alone,
        "the ranks' samples are not those of one process"
    );
    println!(
        "together: {} samples of {EPOCHS} epochs, each once, equal to one process's",
        alone.len()
    );
    Ok(())
}

fn start(folder: &Path, rank: usize) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--out")
        .arg(folder)
        .args(["--rank", &rank.to_string()]);
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

fn parsed(line: &str) -> Option<(u64, u64, u64)> {
    let mut words = line.split(' ');
    let epoch = words.next()?.parse().ok()?;
    let index = words.next()?.parse().ok()?;
    Some((epoch, index, u64::from_str_radix(words.next()?, 16).ok()?))
}

/// Tells of epoch, place and digest of every sample of a rank.
fn stream(
    folder: &Path,
    rank: usize,
    world_size: usize,
    mut tell: impl FnMut(u64, u64, u64),
) -> Result<()> {
    let (scenes, bank) = common::open(folder)?;
    let recipe = Arc::new(RecipeSettings::xpaste());
    // Every rank has the same sampler: packs, recipe, canvas and seed.
    let sampler = Sampler::new(scenes, bank, recipe, [256, 192], 0)?;
    let options = LoaderOptions {
        batch_size: 4,
        epochs: Some(EPOCHS),
        rank,
        world_size,
        // All ranks have equally many batches, and no scene is left out.
        tail: Tail::Pad,
        ..LoaderOptions::default()
    };
    for batch in Loader::new(sampler, options)? {
        let batch = batch?;
        // Samples that only fill up the last step belong to nobody.
        let own = batch.len() - batch.padding();
        for (sample, index) in batch.indices().take(own).enumerate() {
            tell(batch.epoch(), index, common::digest(&batch, sample));
        }
    }
    Ok(())
}
