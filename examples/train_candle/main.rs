//! Trains a small network on composed batches and shows that it learns.
//!
//! Every pixel has a class: the category of the object that is visible there, or background. The
//! network sees only composed batches of the training data; what it has learnt is measured on plain
//! scenes of other data. Ends with exit code 1 unless the loss falls and the held-out IoU rises.
//!
//! ```sh
//! cargo run --release --example train_candle -- --steps 2000 --out trained
//! ```

#[path = "../common/mod.rs"]
mod common;
mod network;
mod score;
mod targets;

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::{Device, Module, Var};
use candle_nn::{AdamW, Optimizer};
use clap::Parser;
use pastebank::bank::{CutoutBank, ScenePack};
use pastebank::compose::{Backend, Batch, CpuBackend, ElementType, Encoded, OutputSpec};
use pastebank::loader::{Loader, LoaderOptions};
use pastebank::plan::{CheckedPlan, ColorMatrix, Keep, Plan, SamplePlan, ScenePlan};
use pastebank::sampler::{RecipeSettings, Sampler};

use network::Network;
use score::Score;
use targets::{Classes, Targets};

const CANVAS: [u32; 2] = [96, 96];
const LEARNING_RATE: f64 = 1e-2;

#[derive(Parser)]
struct Flags {
    /// Batches to train on.
    #[arg(long, default_value_t = 400)]
    steps: usize,
    /// Samples of a batch.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Threads that compose batches [default: all the machine has].
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Folder for the data sets, their packs and a picture of what was learnt [default: a
    /// temporary one].
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let folder = common::Folder::new(flags.out.as_deref())?;
    let [training, held_out] = ["training", "held_out"].map(|name| folder.path().join(name));
    common::draw_and_pack(&training, 96, 0)?;
    common::draw_and_pack(&held_out, 24, 1)?;
    let (scenes, bank) = common::open(&training)?;
    let categories = &scenes.manifest().categories;
    let ids = categories.iter().map(|category| category.id);
    let classes: Classes = ids.zip(1..).collect();

    let device = Device::cuda_if_available(0)?;
    let (held_out_scenes, held_out_bank) = common::open(&held_out)?;
    let held_out = plain_scenes(&held_out_scenes, &held_out_bank)?;
    let images = held_out.image_tensor(&device)?;
    let targets = Targets::new(&held_out, &classes, &device)?;
    let (network, variables) = Network::new(classes.len() + 1, &device)?;

    let before = Score::new(&network, &images, &targets)?;
    println!("held out, before: {before}");
    let losses = train(&flags, scenes, bank, &classes, &network, variables)?;
    let after = Score::new(&network, &images, &targets)?;
    println!("held out, after: {after}");
    if flags.out.is_some() {
        let picture = folder.path().join("held_out.png");
        score::draw(&network, &images, &targets)?.save(&picture)?;
        println!("{}", picture.display());
    }
    let tenth = losses.len() / 10;
    let [first, last] = [&losses[..tenth], &losses[losses.len() - tenth..]].map(mean);
    println!("loss: {first:.3} in the first tenth, {last:.3} in the last");
    ensure!(last < first, "the loss did not fall");
    let least = before.mean_iou.max(after.constant_iou);
    let risen = after.mean_iou;
    ensure!(
        risen > least,
        "the held-out IoU, {risen:.3}, did not rise above {least:.3}"
    );
    Ok(())
}

/// Trains the network on composed batches. Returns the loss of each step.
fn train(
    flags: &Flags,
    scenes: Arc<ScenePack>,
    bank: Arc<CutoutBank>,
    classes: &Classes,
    network: &Network,
    variables: Vec<Var>,
) -> Result<Vec<f32>> {
    let recipe = Arc::new(RecipeSettings::xpaste());
    let sampler = Sampler::new(scenes, bank, recipe, CANVAS, 0)?;
    let options = LoaderOptions {
        batch_size: flags.batch_size,
        threads: flags.threads,
        output: output(),
        ..LoaderOptions::default()
    };
    let mut loader = Loader::new(sampler, options)?;
    let device = variables[0].device().clone();
    let mut optimizer = AdamW::new_lr(variables, LEARNING_RATE)?;
    let mut losses = Vec::new();
    // The loader goes on for ever: as many batches as are wanted are taken.
    for batch in loader.by_ref().take(flags.steps) {
        let batch = batch?;
        let targets = Targets::new(&batch, classes, &device)?;
        let logits = network.forward(&batch.image_tensor(&device)?)?;
        let loss = targets.loss(&logits)?;
        // A short warm-up, then down to nothing.
        let done = batch.step() as f64 / flags.steps as f64;
        optimizer.set_learning_rate(LEARNING_RATE * (0.1 + 9.0 * done).min(1.0 - done));
        optimizer.backward_step(&loss)?;
        losses.push(loss.to_scalar()?);
        if losses.len().is_multiple_of(20) {
            let mean = mean(&losses[losses.len() - 20..]);
            println!("step {:4}: loss {mean:.3}", losses.len());
        }
    }
    println!("{}", loader.statistics());
    Ok(losses)
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

/// What the network wants to see: single precision, about -2..=2.
fn output() -> OutputSpec {
    OutputSpec {
        element: ElementType::F32,
        mean: [0.5; 3],
        std: [0.25; 3],
        ..OutputSpec::default()
    }
}

/// All scenes as they are: each as large as fits the canvas, nothing pasted.
fn plain_scenes(scenes: &ScenePack, bank: &CutoutBank) -> Result<Batch> {
    let plain = |index: usize| {
        let size = scenes.get(index)?.size;
        let [width, height] = [size.width(), size.height()].map(f64::from);
        let scale = (f64::from(CANVAS[0]) / width).min(f64::from(CANVAS[1]) / height);
        let scene = ScenePlan {
            index: index as u64,
            resized: [width, height].map(|side| (side * scale).round() as u32),
            offset: [0, 0],
            flip: false,
            color: ColorMatrix::default(),
        };
        Some(SamplePlan {
            scene,
            layers: Vec::new(),
        })
    };
    let plan = Plan {
        canvas: CANVAS,
        pad: [114; 3],
        keep: Keep::default(),
        samples: (0..scenes.len()).filter_map(plain).collect(),
    };
    let mut batch = Batch::new(output());
    let checked = CheckedPlan::new(&plan, scenes, bank)?;
    CpuBackend::new(None).compose(&Encoded::new(&checked)?, &mut batch)?;
    Ok(batch)
}
