#![deny(unsafe_code)]
pub mod annotations;
pub mod bank;
pub mod compose;
pub mod geometry;
pub mod plan;
pub mod render;
