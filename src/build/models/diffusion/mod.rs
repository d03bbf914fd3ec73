//! Text to image: Stable Diffusion 1.5, 2.1, XL and XL-Turbo.

pub mod config;
pub mod schedulers;
pub mod unet;
pub mod vae;

mod attention;
mod blocks;
