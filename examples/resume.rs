//! A run that is interrupted in mid-epoch goes on as if nothing had happened.
//!
//! One run goes through all its epochs. Another one, of other threads, saves its state, takes some
//! more batches and is dropped, with others composed ahead; a third begins at the saved state. Ends
//! with exit code 1 unless the batches after the state are those of the first run, to the bit.
//!
//! ```sh
//! cargo run --release --example resume
//! ```

mod common;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use pastebank::loader::{LoadedBatch, Loader, LoaderOptions, LoaderState};
use pastebank::sampler::{RecipeSettings, Sampler};

#[derive(Parser)]
struct Flags {
    /// Folder for the data set, its packs and the state [default: a temporary one].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Batches before the state is saved: the second of three epochs has begun.
const BEFORE: usize = 9;
/// Batches after that, which are lost.
const LOST: usize = 2;

fn main() -> Result<()> {
    let flags = Flags::parse();
    let folder = common::Folder::new(flags.out.as_deref())?;
    common::draw_and_pack(folder.path(), 24, 0)?;
    let all = Loader::new(sampler(folder.path(), 0)?, options(3, 2))?;
    let all = all.map(|batch| Ok(of_samples(&batch?)));
    let all: Vec<Vec<OfSample>> = all.collect::<Result<_>>()?;

    let path = folder.path().join("loader.json");
    interrupted(folder.path(), &path)?;
    let state = LoaderState::from_json(&fs::read(&path)?)?;
    let resumed = Loader::resume(sampler(folder.path(), 0)?, options(4, 1), &state)?;
    let mut compared = 0;
    let mut expected = all[BEFORE..].iter();
    for batch in resumed {
        let batch = of_samples(&batch?);
        let expected = expected
            .next()
            .context("the resumed run has more batches")?;
        ensure!(batch == *expected, "{batch:?} instead of {expected:?}");
        compared += batch.len();
    }
    ensure!(
        expected.next().is_none(),
        "the resumed run has fewer batches"
    );
    println!(
        "resumed at step {}: {} batches of {} equal, {compared} samples",
        state.step(),
        all.len() - BEFORE,
        all.len()
    );

    // A state is one of its own run.
    match Loader::resume(sampler(folder.path(), 1)?, options(1, 1), &state) {
        Err(error) => println!("another run is refused: {error}"),
        Ok(_) => bail!("a state of another run was taken"),
    }
    Ok(())
}

/// Saves the state in mid-epoch, goes on a little and ends without a word.
fn interrupted(folder: &Path, path: &Path) -> Result<()> {
    let mut loader = Loader::new(sampler(folder, 0)?, options(1, 5))?;
    loader
        .by_ref()
        .take(BEFORE)
        .try_for_each(|batch| batch.map(drop))?;
    let state = loader.state().to_json();
    fs::write(path, &state)?;
    loader
        .by_ref()
        .take(LOST)
        .try_for_each(|batch| batch.map(drop))?;
    println!(
        "saved after {BEFORE} batches, in epoch {}: {} bytes of JSON; dropped after {LOST} more",
        loader.state().epoch(),
        state.len()
    );
    Ok(())
}

fn sampler(folder: &Path, seed: u64) -> Result<Sampler> {
    let (scenes, bank) = common::open(folder)?;
    let recipe = Arc::new(RecipeSettings::xpaste());
    Ok(Sampler::new(scenes, bank, recipe, [256, 192], seed)?)
}

fn options(threads: usize, prefetch: usize) -> LoaderOptions {
    LoaderOptions {
        batch_size: 4,
        epochs: Some(3),
        threads: NonZero::new(threads),
        prefetch,
        ..LoaderOptions::default()
    }
}

/// Step, epoch, place in the epoch and digest of a sample.
type OfSample = (u64, u64, u64, u64);

fn of_samples(batch: &LoadedBatch) -> Vec<OfSample> {
    let samples = batch.indices().enumerate();
    let of_sample = |(sample, index)| {
        let digest = common::digest(batch, sample);
        (batch.step(), batch.epoch(), index, digest)
    };
    samples.map(of_sample).collect()
}
