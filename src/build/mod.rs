//! Banks made with models: from a list of categories, or from a pile of images, to a bank.
//!
//! X-Paste's offline pipeline (arXiv 2212.03863), on candle. Each stage reads what the stage before
//! it left in the state folder and appends to a shard of its own, so that it can be killed at any
//! moment and goes on where it was, on one machine or on many.
//!
//! 1. [`models`] hold the networks; [`weights`] finds and opens what they are made of.

pub mod device;
pub mod imaging;
pub mod models;
pub mod nn;
pub mod picture;
pub mod rows;
pub mod weights;
