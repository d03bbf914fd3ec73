//! pastebank's CUDA kernels on a CPU.
//!
//! The files of `kernels/`, compiled by the host's C++ compiler over a shim that runs a block's
//! threads as fibers, so that barriers, votes and shuffles work. For tests: a kernel here gives what
//! it must give on a GPU, whatever the order of blocks and threads.
//!
//! Where no C++ compiler was found, [`available`] says so and nothing can be launched.

#![warn(missing_docs)]

#[cfg(not(no_kernels))]
mod shim;

/// In which order blocks run, and which of a block's threads runs until it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The first block, the first thread that can.
    #[default]
    Forward,
    /// The last block, the last thread that can.
    Reverse,
    /// Any, by this seed.
    Shuffled(u64),
}

/// Whether the kernels were compiled.
pub fn available() -> bool {
    cfg!(not(no_kernels))
}

/// Whether they were compiled with AddressSanitizer and UBSan.
pub fn sanitized() -> bool {
    option_env!("PASTEBANK_SANITIZE") == Some("1")
}

/// Runs a kernel of `blocks` blocks of `threads` threads each and returns when it is done. Launches
/// from several threads run one after another.
///
/// # Errors
/// A message if there is no such kernel, a number is out of range, `parameters` have another size
/// than the kernel's struct, threads wait for one another for ever, or a lane takes part in a vote
/// whose mask leaves it out.
///
/// # Safety
/// `parameters` are the bytes of the struct that the kernel takes. Its addresses are of this
/// process, and nothing else uses what they refer to while the kernel runs.
pub unsafe fn launch(
    kernel: &str,
    blocks: u32,
    threads: u32,
    parameters: &[u8],
    order: Order,
) -> Result<(), String> {
    #[cfg(not(no_kernels))]
    // SAFETY: the caller's promise.
    return unsafe { shim::launch(kernel, blocks, threads, parameters, order) };
    #[cfg(no_kernels)]
    {
        let _ = (blocks, threads, parameters, order);
        Err(format!("kernel {kernel} was not compiled"))
    }
}

/// The most threads a block may have, by the kernel's `__launch_bounds__`; none if there is no such
/// kernel.
pub fn most_threads(kernel: &str) -> Option<u32> {
    #[cfg(not(no_kernels))]
    return shim::most_threads(kernel);
    #[cfg(no_kernels)]
    {
        let _ = kernel;
        None
    }
}

/// What `layout.cuh` defines, as the C++ compiler sees it: `Struct` and its size, `Struct.field` and
/// its offset, `Struct.field size` and its size, `CONSTANT` and its value.
pub fn layout() -> Vec<(String, usize)> {
    #[cfg(not(no_kernels))]
    return shim::layout();
    #[cfg(no_kernels)]
    Vec::new()
}
