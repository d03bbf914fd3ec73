//! What the back end asks of a GPU.
//!
//! A small trait between our host logic and the CUDA driver, so that the logic is tested without a
//! GPU: the tests have a driver that runs the kernels' sources on the CPU, and one that records,
//! delays and refuses. [`Gpu::open`](super::memory::Gpu::open) has the real one.

use std::fmt;
use std::ptr::NonNull;

/// A kernel; `kernels/` has a function of the same name. Each takes one struct by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kernel {
    /// Makes levels of JPEG scenes: [`MipParameters`](super::layout::MipParameters).
    Mip,
    /// Copies texels into the cutout cache: [`StoreParameters`](super::layout::StoreParameters).
    Store,
    /// Coverage and masks of layers, areas and boxes before occlusion (rules 8 and 14):
    /// [`BatchParameters`](super::layout::BatchParameters), as all that follow but the last.
    Cover,
    /// Filtered weights of layers (rule 9).
    Blur,
    /// The images (rules 7, 10, 11 and 15).
    Compose,
    /// Visible bits, areas and boxes (rules 5, 7 and 13).
    Visible,
    /// What stays of each sample (rule 14).
    Settle,
    /// Boxes, labels and all else of what stays, one after another.
    Compact,
    /// The masks of what stays, one after another.
    Masks,
    /// Mask bits to bytes: [`ExpandParameters`](super::layout::ExpandParameters).
    Expand,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Kernel; 10] = [
        Kernel::Mip,
        Kernel::Store,
        Kernel::Cover,
        Kernel::Blur,
        Kernel::Compose,
        Kernel::Visible,
        Kernel::Settle,
        Kernel::Compact,
        Kernel::Masks,
        Kernel::Expand,
    ];

    /// The function's name in `kernels/`.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Mip => "mip",
            Kernel::Store => "store",
            Kernel::Cover => "cover",
            Kernel::Blur => "blur",
            Kernel::Compose => "compose",
            Kernel::Visible => "visible",
            Kernel::Settle => "settle",
            Kernel::Compact => "compact",
            Kernel::Masks => "masks",
            Kernel::Expand => "expand",
        }
    }
}

/// A call that the driver refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {name} ({code})")]
pub struct DriverError {
    /// The call, as the driver names it.
    pub call: &'static str,
    /// CUDA's number for what went wrong.
    pub code: u32,
    /// CUDA's name and words for it.
    pub name: String,
}

impl DriverError {
    /// CUDA's number for want of memory.
    pub const OUT_OF_MEMORY: u32 = 2;
}

/// A CUDA stream, ours or another library's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawStream(u64);

impl RawStream {
    /// The default stream of all threads, which waits for all streams but the non-blocking ones.
    pub const LEGACY: RawStream = RawStream(1);
    /// The default stream of the thread that makes the call.
    pub const PER_THREAD: RawStream = RawStream(2);

    /// The stream of that handle: the driver's pointer (`CUstream`, `cudaStream_t`) as a number.
    ///
    /// # Safety
    /// It is a live stream of the device that it will be used with, and stays one for as long as
    /// anything it was handed to lives: a batch that was made to wait on it marks, when it is dropped,
    /// how far the stream has come.
    #[allow(unsafe_code)]
    pub unsafe fn from_handle(handle: u64) -> RawStream {
        RawStream(handle)
    }

    /// The driver's pointer as a number.
    pub fn handle(self) -> u64 {
        self.0
    }
}

/// An event's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawEvent(pub u64);

/// Device memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    /// What can still be allocated.
    pub free: u64,
    /// What there is.
    pub total: u64,
}

/// A GPU: memory, streams, events, copies and launches, one call of the CUDA driver each.
///
/// Calls may come from any thread. Handles belong to the driver that made them, and addresses and
/// handles that were given back are not used again: this crate's memory, streams and events see to
/// that, and give no one else the driver. Operations on one stream run in the order they were given;
/// only events order those on different ones.
///
/// # Safety
/// Pinned memory that is given out is readable and writable, initialised, as long and as aligned as it
/// was asked for, and nobody else's until it is given back.
#[allow(unsafe_code)]
pub unsafe trait Driver: fmt::Debug + Send + Sync {
    /// The device in words: name, number, compute capability.
    fn name(&self) -> String;
    /// The device's number.
    fn ordinal(&self) -> usize;
    /// Free and total device memory.
    fn memory(&self) -> Result<MemoryInfo, DriverError>;
    /// Device memory, aligned to 256 bytes at least. Its contents are anything.
    fn allocate_device(&self, bytes: usize) -> Result<u64, DriverError>;
    /// Gives back what [`Driver::allocate_device`] gave. Nothing may use it any more.
    fn free_device(&self, address: u64);
    /// Pinned host memory, aligned to 64 bytes at least, of any contents. `write_combined` memory is
    /// only ever written by the host.
    fn allocate_pinned(
        &self,
        bytes: usize,
        write_combined: bool,
    ) -> Result<NonNull<u8>, DriverError>;
    /// Gives back what [`Driver::allocate_pinned`] gave. Nothing may use it any more.
    fn free_pinned(&self, pointer: NonNull<u8>);
    /// A stream that does not wait for the default one.
    fn create_stream(&self) -> Result<RawStream, DriverError>;
    /// Gives a stream back; what is on it still runs.
    fn destroy_stream(&self, stream: RawStream);
    /// An event; one with `timing` can be given to [`Driver::elapsed_ms`].
    fn create_event(&self, timing: bool) -> Result<RawEvent, DriverError>;
    /// Gives an event back.
    fn destroy_event(&self, event: RawEvent);
    /// The event is done when all that is on the stream by now is.
    fn record(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError>;
    /// What comes onto the stream from now on waits for the event's latest record.
    fn wait(&self, stream: RawStream, event: RawEvent) -> Result<(), DriverError>;
    /// Whether the event's latest record is done; one that was never recorded is.
    fn is_done(&self, event: RawEvent) -> Result<bool, DriverError>;
    /// Waits on this thread for the event's latest record.
    fn synchronize(&self, event: RawEvent) -> Result<(), DriverError>;
    /// Milliseconds between two events that are done.
    fn elapsed_ms(&self, from: RawEvent, to: RawEvent) -> Result<f32, DriverError>;
    /// Copies `bytes` from pinned memory to the device.
    ///
    /// # Safety
    /// Both are allocations of this driver of at least that many bytes from there on; the host
    /// neither writes nor frees `from` before the copy is done.
    #[allow(unsafe_code)]
    unsafe fn copy_to_device(
        &self,
        stream: RawStream,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> Result<(), DriverError>;
    /// Copies `bytes` from the device to pinned memory.
    ///
    /// # Safety
    /// Both are allocations of this driver of at least that many bytes from there on; the host
    /// neither reads, writes nor frees `to` before the copy is done.
    #[allow(unsafe_code)]
    unsafe fn copy_to_host(
        &self,
        stream: RawStream,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError>;
    /// Copies `bytes` within the device's memory.
    ///
    /// # Safety
    /// Both are device allocations of at least that many bytes from there on, and do not overlap.
    #[allow(unsafe_code)]
    unsafe fn copy_on_device(
        &self,
        stream: RawStream,
        to: u64,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError>;
    /// Sets `bytes` of device memory to 0.
    ///
    /// # Safety
    /// It is a device allocation of at least that many bytes from there on.
    #[allow(unsafe_code)]
    unsafe fn clear(
        &self,
        stream: RawStream,
        address: u64,
        bytes: usize,
    ) -> Result<(), DriverError>;
    /// Runs a kernel with `blocks` blocks (1..2^31) of `threads` threads (a multiple of 32, at most
    /// 1024).
    ///
    /// # Safety
    /// `parameters` are the bytes of the struct that the kernel takes, and everything that it refers
    /// to is there for as long as the kernel runs.
    #[allow(unsafe_code)]
    unsafe fn launch(
        &self,
        stream: RawStream,
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), DriverError>;
}
