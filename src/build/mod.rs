//! Banks made with models: from a list of categories, or from a pile of images, to a bank.
//!
//! X-Paste's offline pipeline (arXiv 2212.03863), on candle. Each stage reads what the stage before
//! it left in the [`state`] folder and appends to a shard of its own, so that it can be killed at any
//! moment and goes on where it was, on one machine or on many ([`stage`]).
//!
//! 1. Images come in: [`collect`] takes those that are there ([`sources`]), [`mod@generate`] makes
//!    them from text ([`prompts`]).
//! 2. [`mod@segment`] has a model find the object on each; any number of models may.
//! 3. [`mod@score`] says how well the object fits its category's name, and how alike it is to the
//!    real objects of [`mod@references`].
//! 4. [`filter`] gathers all that; [`choose`] says which masks become cutouts, [`shape`] cleans them,
//!    [`store`] writes the bank, [`report`] what became of every image.
//!
//! [`guide`] goes the way with commands. [`models`] hold the networks, [`weights`] finds and opens
//! what they are made of, [`device`] says where they run.

mod alike;
pub mod batches;
pub mod choose;
pub mod collect;
pub mod device;
pub mod embeddings;
mod error;
pub mod filter;
pub mod generate;
pub mod guide;
pub mod images;
pub mod imaging;
pub mod models;
pub mod nn;
pub mod npy;
pub mod picture;
pub mod prompts;
pub mod references;
pub mod report;
pub mod rows;
pub mod score;
pub mod segment;
pub mod shape;
pub mod sources;
pub mod stage;
pub mod state;
pub mod store;
pub mod tokenizer;
pub mod weights;

pub use error::BuildError;
