//! Text to image: Stable Diffusion 1.5, 2.1, XL and XL-Turbo, each from the folder that its authors
//! published in diffusers' layout.
//!
//! [`text`] turns prompts into vectors, [`unet`] predicts the noise in latents that a
//! [scheduler](schedulers) takes away step by step, [`vae`] makes images of them. [`pipeline`] is all
//! of it together, with [`noise`] that depends on nothing but each image's seed.

pub mod config;
pub mod noise;
pub mod pipeline;
pub mod schedulers;
pub mod text;
pub mod unet;
pub mod vae;

mod attention;
mod blocks;
mod files;
#[cfg(test)]
mod tests;

pub use pipeline::{Diffusion, DiffusionOptions};
pub use schedulers::SchedulerKind;
