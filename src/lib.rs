//! Copy-paste augmentation for instance segmentation, exact to the bit.
//!
//! Simple Copy-Paste (arXiv 2012.07177) and X-Paste (arXiv 2212.03863) paste object cutouts onto
//! training images and correct the masks and boxes of what they cover. This crate does it from
//! memory-mapped files, a whole batch at a time. It has one idea: **decide first, then execute**.
//! All randomness ends in a [`plan`], plain data that says what goes where; all floating point ends
//! in its [encoding](compose::encode); everything after is integer arithmetic that any device
//! repeats to the bit.
//!
//! # The flow
//!
//! 1. [`pack`] turns a COCO or LVIS data set into a [`bank::ScenePack`] and a [`bank::CutoutBank`]:
//!    folders of safetensors shards. [`annotations`] makes the masks as pycocotools makes them;
//!    [`pack::import`] takes transparent pictures.
//!    [`mod@build`] makes banks with models instead, from a pile of images or a list of categories.
//! 2. [`bank`] opens packs: a memory map and one validity pass. It also verifies, merges, filters
//!    and counts them.
//! 3. [`sampler`] draws a [`plan::Plan`] by a [recipe](sampler::recipe): Simple Copy-Paste, X-Paste,
//!    both, or one of your own. Draws are keyed by seed, epoch and sample, so any sample can be drawn
//!    by itself, again, anywhere.
//! 4. [`plan::CheckedPlan`] holds a plan against its packs: every index, every limit, once.
//! 5. [`compose::Encoded`] is the checked plan as flat arrays of integers.
//! 6. A [`compose::Backend`] executes it and fills a [`compose::Batch`]: images, masks, boxes,
//!    labels. [`compose::CpuBackend`] does so over rows, a sample per thread.
//! 7. [`loader`] does 3 to 6 on many threads and hands batches to a training loop, in order, the same
//!    for any number of threads and ranks, and resumable.
//! 8. [`cuda`] does 6 and 7 on a GPU, byte for byte, and leaves the batches there.
//! 9. [`dataset`] writes composed data sets to disk instead, and [`view`] shows any of these.
//!    [`mod@bench`] measures them.
//!
//! ```no_run
//! use std::sync::Arc;
//! use pastebank::bank::{CutoutBank, ScenePack};
//! use pastebank::compose::{ElementType, OutputSpec};
//! use pastebank::loader::{Loader, LoaderOptions};
//! use pastebank::sampler::{RecipeSettings, Sampler};
//!
//! let scenes = Arc::new(ScenePack::open("scenes".as_ref())?);
//! let bank = Arc::new(CutoutBank::open("bank".as_ref())?);
//! let recipe = Arc::new(RecipeSettings::both());
//! let sampler = Sampler::new(scenes, bank, recipe, [1024, 1024], 0)?;
//! let options = LoaderOptions {
//!     batch_size: 16,
//!     epochs: Some(12),
//!     output: OutputSpec {
//!         element: ElementType::F16,
//!         ..OutputSpec::default()
//!     },
//!     ..LoaderOptions::default()
//! };
//! for batch in Loader::new(sampler, options)? {
//!     let batch = batch?;
//!     for index in 0..batch.len() {
//!         if let Some(sample) = batch.sample(index) {
//!             println!("{} boxes in image {}", sample.boxes.len(), sample.image_id);
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The [guide] goes the whole way, from a data set to a training loop.
//!
//! # Features
//!
//! All but the last two are on by default and need nothing but a stable Rust toolchain.
//!
//! | feature | what it adds |
//! |---|---|
//! | `cli` | the `pastebank` binary; needs the four below |
//! | `pack` | reading annotations, packing, importing |
//! | `dataset` | composed data sets on disk |
//! | `view` | overlays, contact sheets and HTML pages |
//! | `demo` | the data set that `pastebank demo` draws |
//! | `candle` | batches as candle tensors |
//! | `build` | making banks with models: generate, segment, score, filter; needs `pack`, `view`, `candle` |
//! | `cuda` | composing on NVIDIA GPUs; the driver is looked for at run time |
//! | `turbojpeg` | libjpeg-turbo in the benchmark of JPEG decoders; needs a C compiler, cmake and nasm |
//! | `candle-cuda` | models on GPUs, and batches as candle's CUDA tensors without a copy; needs nvcc to build and CUDA's libraries to start |
//!
//! `unsafe` is denied but for the two calls in [`bank::map`] and in [`cuda`].

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod annotations;
pub mod bank;
#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "build")]
pub mod build;
#[cfg(feature = "cli")]
pub mod cli;
pub mod compose;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "dataset")]
pub mod dataset;
#[cfg(feature = "demo")]
pub mod demo;
pub mod geometry;
#[cfg(all(feature = "pack", feature = "candle"))]
pub mod guide;
pub mod loader;
#[cfg(any(feature = "pack", feature = "dataset"))]
mod ordered;
#[cfg(feature = "pack")]
pub mod pack;
pub mod plan;
mod png;
pub mod render;
#[cfg(any(feature = "pack", feature = "dataset"))]
mod resume;
pub mod sampler;
#[cfg(feature = "view")]
pub mod view;

/// Threads past this number would only wait for one another.
pub(crate) const MOST_THREADS: std::num::NonZero<usize> = std::num::NonZero::new(1024).unwrap();

/// The README's examples compile, or the tests say so.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What a panic that was caught or joined said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
