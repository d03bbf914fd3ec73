//! Device memory that is allocated and freed in the order of streams, for outputs that leave us.
//!
//! A batch's outputs stay in their slot and are used again. A tensor that takes over its memory frees
//! it instead, so that each batch needs memory of its own: an allocation that the host would wait for
//! is too slow for that. CUDA's memory pools hand out what was freed before without asking the
//! system: about a microsecond on the host and nothing on the device.

use std::fmt;
use std::sync::Arc;

use cudarc::driver::sys;

use super::context::check;
use super::device::{CudaDevice, stream_handle};
use super::driver::DriverError;
use super::error::CudaError;
use super::memory::{Gpu, Stream};

/// A pool of our own, so that settings of the one that other libraries use are left alone. Memory
/// that is given back stays in the pool, whose size is that of all that was in use at one time.
pub struct MemoryPool {
    device: Arc<CudaDevice>,
    gpu: Gpu,
    raw: sys::CUmemoryPool,
}

// SAFETY: a pool is a handle; the driver's calls with it are thread-safe.
unsafe impl Send for MemoryPool {}
// SAFETY: as above; nothing behind the handle is read here.
unsafe impl Sync for MemoryPool {}

impl fmt::Debug for MemoryPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a memory pool of {:?}", self.device)
    }
}

/// `CUmemPoolProps` of cuda.h. The fields that cudarc's has depend on the CUDA version that it is
/// built for; size and places are the same in all, and what is 0 is as it was before it had a name.
#[repr(C)]
struct PoolProperties {
    allocation_type: u32,
    handle_types: u32,
    location_type: u32,
    location_id: i32,
    reserved: [u64; 9],
}

const _: () = assert!(size_of::<PoolProperties>() == size_of::<sys::CUmemPoolProps>());

impl MemoryPool {
    /// An empty pool.
    ///
    /// # Errors
    /// [`CudaError::Failed`] on a device without memory pools.
    pub fn new(device: &Arc<CudaDevice>) -> Result<Arc<MemoryPool>, CudaError> {
        let gpu = Gpu::new(device.clone());
        let failed = |source| gpu.failed("making a memory pool", source);
        let _bound = device.context().bind().map_err(failed)?;
        let properties = PoolProperties {
            allocation_type: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED as u32,
            handle_types: 0,
            location_type: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE as u32,
            location_id: device.raw(),
            reserved: [0; 9],
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the properties are laid out as cuda.h has them; the place for the handle is ours.
        let answer = unsafe { sys::cuMemPoolCreate(&mut raw, (&raw const properties).cast()) };
        check("cuMemPoolCreate", answer).map_err(failed)?;
        let pool = MemoryPool {
            device: device.clone(),
            gpu: gpu.clone(),
            raw,
        };
        pool.keep_what_comes_back().map_err(failed)?;
        Ok(Arc::new(pool))
    }

    /// Nothing goes back to the system before the pool does; and no allocation waits on the device
    /// for what another stream is about to free, since that stream is a consumer's, and composing
    /// the next batch would wait for training on this one.
    fn keep_what_comes_back(&self) -> Result<(), DriverError> {
        use sys::CUmemPool_attribute as Attribute;
        let mut threshold = u64::MAX;
        let attribute = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: this attribute's value is 64 bits.
        let answer =
            unsafe { sys::cuMemPoolSetAttribute(self.raw, attribute, (&raw mut threshold).cast()) };
        check("cuMemPoolSetAttribute", answer)?;
        let mut allowed = 0i32;
        let attribute = Attribute::CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
        // SAFETY: this attribute's value is an int.
        let answer =
            unsafe { sys::cuMemPoolSetAttribute(self.raw, attribute, (&raw mut allowed).cast()) };
        check("cuMemPoolSetAttribute", answer)
    }

    /// Memory that what comes onto `stream` from now on may use; its contents are anything. `what`
    /// is for messages.
    ///
    /// # Errors
    /// [`CudaError::Memory`], or [`CudaError::Failed`].
    pub fn allocate(
        self: &Arc<Self>,
        what: &'static str,
        bytes: usize,
        stream: &Arc<Stream>,
    ) -> Result<PoolMemory, CudaError> {
        let bytes = bytes.max(1);
        let mut address = 0;
        let result = self.device.context().bind().and_then(|_bound| {
            let stream = stream_handle(stream.raw());
            // SAFETY: pool and stream are alive; the place for the address is ours.
            let answer =
                unsafe { sys::cuMemAllocFromPoolAsync(&mut address, bytes, self.raw, stream) };
            check("cuMemAllocFromPoolAsync", answer)
        });
        result.map_err(|error| self.gpu.no_memory(what, bytes, error))?;
        Ok(PoolMemory {
            pool: self.clone(),
            stream: stream.clone(),
            address: Some(address),
            bytes,
        })
    }

    /// The device whose memory it is.
    pub fn device(&self) -> &Arc<CudaDevice> {
        &self.device
    }
}

impl Drop for MemoryPool {
    fn drop(&mut self) {
        let destroy = || {
            let _bound = self.device.context().bind()?;
            // SAFETY: made once, in `new`. Memory of it that a tensor has taken over stays valid:
            // the driver keeps what it needs until that is freed.
            check("cuMemPoolDestroy", unsafe {
                sys::cuMemPoolDestroy(self.raw)
            })
        };
        let result = destroy();
        self.device
            .context()
            .log_failure("giving a memory pool back", result);
    }
}

/// Memory of a pool. Dropped, it is freed once what is on its stream by then is done; whoever uses
/// it on another stream has that one wait first.
pub struct PoolMemory {
    pool: Arc<MemoryPool>,
    stream: Arc<Stream>,
    /// `None` once it is given away.
    address: Option<u64>,
    bytes: usize,
}

impl PoolMemory {
    /// Where it begins; 0 if it was given away.
    pub fn address(&self) -> u64 {
        self.address.unwrap_or(0)
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pool that it is from.
    pub fn pool(&self) -> &Arc<MemoryPool> {
        &self.pool
    }

    /// Hands the memory over: the new owner frees it with `cuMemFreeAsync`, in the order of any
    /// stream of the device.
    pub fn give_away(mut self) -> u64 {
        self.address.take().unwrap_or(0)
    }
}

impl Drop for PoolMemory {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let context = self.pool.device.context();
        let free = || {
            let _bound = context.bind()?;
            let stream = stream_handle(self.stream.raw());
            // SAFETY: allocated once and not given away; the stream is alive, and what uses the
            // memory was put on it before.
            check("cuMemFreeAsync", unsafe {
                sys::cuMemFreeAsync(address, stream)
            })
        };
        context.log_failure("freeing device memory", free());
    }
}

impl fmt::Debug for PoolMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, address) = (self.bytes, self.address());
        write!(formatter, "{bytes} bytes of a memory pool at {address:#x}")
    }
}
