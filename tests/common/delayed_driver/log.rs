//! What the driver was asked for.

use std::sync::Arc;

use pastebank::cuda::driver::{Kernel, RawEvent, RawStream};

/// A call, in the order they came. Questions whether an event is done are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    AllocateDevice {
        address: u64,
        bytes: usize,
    },
    FreeDevice {
        address: u64,
    },
    AllocatePinned {
        address: usize,
        bytes: usize,
    },
    FreePinned {
        address: usize,
    },
    CreateStream(RawStream),
    DestroyStream(RawStream),
    CreateEvent(RawEvent),
    DestroyEvent(RawEvent),
    Record {
        event: RawEvent,
        stream: RawStream,
    },
    Wait {
        stream: RawStream,
        event: RawEvent,
    },
    Synchronize(RawEvent),
    CopyToDevice {
        stream: RawStream,
        to: u64,
        from: usize,
        /// What the host had written there by then.
        contents: Arc<[u8]>,
    },
    CopyToHost {
        stream: RawStream,
        to: usize,
        from: u64,
        bytes: usize,
    },
    CopyOnDevice {
        stream: RawStream,
        to: u64,
        from: u64,
        bytes: usize,
    },
    Clear {
        stream: RawStream,
        address: u64,
        bytes: usize,
    },
    Launch {
        stream: RawStream,
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        parameters: Vec<u8>,
    },
}
