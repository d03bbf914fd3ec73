#![deny(unsafe_code)]
pub mod annotations;
pub mod bank;
pub mod compose;
pub mod geometry;
pub mod plan;
pub mod render;
pub mod sampler;
#[cfg(feature = "pack")]
pub mod pack;

/// What a panic that was caught or joined said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "view")]
pub mod view;
#[cfg(feature = "cli")]
pub mod cli;
