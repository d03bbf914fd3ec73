//! Images as candle tensors on the GPU, without a copy (feature `candle-cuda`).
//!
//! A candle tensor owns its memory and frees it, in the order of candle's stream, when it is dropped.
//! A slot's memory is used again and cannot be given to it. So a batch that is to become a tensor is
//! composed into [`PoolMemory`], which it gives away: our stream allocates it, the kernels write it
//! once, candle's stream waits for the event behind them, and the tensor takes it over. When the
//! tensor is dropped the memory goes back to the pool, and a later batch gets it once the device has
//! come that far. In the steady state that is one allocation from the pool a batch and no copy.
//!
//! A device made with `Device::new_cuda` uses the default stream of whichever thread makes a call:
//! the tensor must then be used and dropped on the thread that it was made on. One made with
//! `Device::new_cuda_with_stream` has a stream of its own, for tensors that change threads.

use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::{Device, Shape, Storage, Tensor};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut};
use half::{bf16, f16};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::CudaBatch;
use super::driver::{Driver, RawStream};
use super::error::CudaError;
use super::memory::Event;
use super::memory::{Gpu, Stream};
use super::pool::{MemoryPool, PoolMemory};
use crate::compose::{ElementType, Layout};

/// Memory that could not become a tensor; it is freed.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The tensor is wanted on another device.
    #[error("the batch is on {ours}; a tensor on {theirs} was asked for")]
    Device {
        /// Where the batch is.
        ours: String,
        /// Where the tensor should be.
        theirs: String,
    },
    /// The tensor is longer than the memory.
    #[error("a tensor of {asked} bytes was asked for; there are {found}")]
    Length {
        /// What the shape needs.
        asked: usize,
        /// What there is.
        found: usize,
    },
    /// The event or the stream failed.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// candle's context failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A batch's images in memory of their own.
#[derive(Debug, Default)]
pub(super) struct OwnImages {
    /// Where the memory comes from, if they are to be their own.
    pool: Option<Arc<MemoryPool>>,
    /// The latest images; `None` once a tensor has them.
    memory: Mutex<Option<PoolMemory>>,
}

impl OwnImages {
    /// Whether they are composed into memory of their own.
    pub fn are_own(&self) -> bool {
        self.pool.is_some()
    }

    /// Whether a tensor has taken them over.
    pub fn are_taken(&self) -> bool {
        self.are_own() && self.lock().is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Option<PoolMemory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool for a GPU's images; `None` if it is no real one.
pub(super) fn pool(gpu: &Gpu) -> Result<Option<Arc<MemoryPool>>, CudaError> {
    gpu.device().map(MemoryPool::new).transpose()
}

impl CudaBatch {
    /// The batch with images in memory of that pool, if there is one.
    pub(super) fn with_own_images(mut self, pool: Option<&Arc<MemoryPool>>) -> CudaBatch {
        self.images.pool = pool.cloned();
        self
    }

    /// Memory for the next round's images, to be written on that stream; `None` if they are not to
    /// have their own. What was there, and no tensor took over, is freed behind the consumers' work.
    pub(super) fn allocate_images(
        &mut self,
        stream: &Arc<Stream>,
    ) -> Result<Option<u64>, CudaError> {
        let Some(pool) = self.images.pool.clone() else {
            return Ok(None);
        };
        self.hold_up_for_consumers(stream)?;
        let bytes = self.image_bytes();
        let mut memory = self.images.lock();
        *memory = None;
        let images = memory.insert(pool.allocate("images", bytes, stream)?);
        Ok(Some(images.address()))
    }

    /// The images as a tensor on candle's `device`, without a copy: `[batch, 3, height, width]`, or
    /// `[batch, height, width, 3]` in [`Layout::Hwc`]. The tensor takes their memory over and may live
    /// longer than the batch; candle's stream waits until they are composed. `None` if it was taken
    /// before, or if the loader was made without [`CudaOptions::tensors`](super::CudaOptions::tensors).
    ///
    /// # Errors
    /// [`TensorError`], for one if `device` is another GPU; the images are lost then.
    pub fn image_tensor(&self, device: &Device) -> Result<Option<Tensor>, TensorError> {
        let Some(memory) = self.images.lock().take() else {
            return Ok(None);
        };
        let [width, height] = [self.canvas().width(), self.canvas().height()];
        let [width, height] = [width as usize, height as usize];
        let shape = match self.spec().layout {
            Layout::Chw => (self.len(), 3, height, width),
            Layout::Hwc => (self.len(), height, width, 3),
        };
        let element = self.spec().element;
        memory
            .into_tensor(element, shape, device, &self.ready)
            .map(Some)
    }
}

impl PoolMemory {
    /// Hands the memory to a tensor of that shape, dense, on candle's `device`. What comes onto
    /// candle's stream from now on waits for `ready`, which is recorded behind the kernels that write
    /// the memory; nothing of ours may use it any more.
    ///
    /// # Errors
    /// [`TensorError`]; the memory is freed then.
    pub fn into_tensor(
        self,
        element: ElementType,
        shape: impl Into<Shape>,
        device: &Device,
        ready: &Event,
    ) -> Result<Tensor, TensorError> {
        let shape = shape.into();
        let candle = self.candle_device(device)?;
        let stream = candle.cuda_stream();
        let asked = shape.elem_count().saturating_mul(element.bytes());
        if asked > self.bytes() {
            let found = self.bytes();
            return Err(TensorError::Length { asked, found });
        }
        // Taking memory over makes events, and panics where that fails. A context that has failed is
        // found out here instead.
        let probe = stream.context().new_event(None);
        probe.map_err(candle_core::Error::wrap)?;
        // SAFETY: candle's stream is of this device and lives as long as its device does.
        ready.hold_up(unsafe {
            RawStream::from_handle(stream.cu_stream().expose_provenance() as u64)
        })?;
        let (address, length) = (self.give_away(), shape.elem_count());
        let storage = match element {
            ElementType::U8 => adopt::<u8>(&stream, address, length, candle),
            ElementType::F16 => adopt::<f16>(&stream, address, length, candle),
            ElementType::BF16 => adopt::<bf16>(&stream, address, length, candle),
            ElementType::F32 => adopt::<f32>(&stream, address, length, candle),
        };
        let storage = Storage::Cuda(storage);
        Ok(Tensor::from_storage(
            storage,
            shape,
            BackpropOp::none(),
            false,
        ))
    }

    /// candle's side of the device that the memory is on.
    fn candle_device<'a>(&self, device: &'a Device) -> Result<&'a CudaDevice, TensorError> {
        let ours = self.pool().device();
        if let Device::Cuda(candle) = device {
            // All libraries of a process share a device's primary context. A candle device in another
            // context could not free the memory.
            if ours.context().is(candle.cuda_stream().context().cu_ctx()) {
                return Ok(candle);
            }
        }
        Err(TensorError::Device {
            ours: ours.name(),
            theirs: format!("{:?}", device.location()),
        })
    }
}

/// Makes candle the owner of memory that a pool gave away.
fn adopt<T: CudaDType>(
    stream: &Arc<CudaStream>,
    address: u64,
    length: usize,
    device: &CudaDevice,
) -> CudaStorage {
    // SAFETY: the memory is from a pool of this device, at least `length` values long, aligned to 256
    // bytes, given away by its former owner and written by what the stream waits for. All bit
    // patterns are values of T. The slice frees it with cuMemFreeAsync, as memory of a pool may be.
    let mut slice: CudaSlice<T> = unsafe { stream.upgrade_device_ptr(address, length) };
    // Marks the memory as written at this point of the stream, so that other streams of candle's
    // context wait for it.
    let (_, written) = slice.device_ptr_mut(stream);
    drop(written);
    CudaStorage::wrap_cuda_slice(slice, device.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::device::CudaDevice;
    use crate::cuda::device_count;
    use crate::cuda::memory::Gpu;
    use crate::cuda::pool::MemoryPool;

    #[test]
    fn a_tensor_takes_the_memory_over_and_the_pool_gets_it_back() {
        if device_count() == 0 {
            println!("not run: this machine has no GPU");
            return;
        }
        let device = CudaDevice::open(0).unwrap();
        let gpu = Gpu::new(device.clone());
        let stream = Arc::new(gpu.stream().unwrap());
        let pool = MemoryPool::new(&device).unwrap();
        let candle = Device::new_cuda_with_stream(0).unwrap();
        let shape = (2, 3, 64, 48);
        let bytes = 2 * 3 * 64 * 48 * 4;
        let mut addresses = Vec::new();
        for _ in 0..4 {
            let memory = pool.allocate("a test", bytes, &stream).unwrap();
            addresses.push(memory.address());
            // SAFETY: the memory was allocated on this stream and is that long.
            unsafe { device.clear(stream.raw(), memory.address(), bytes) }.unwrap();
            let ready = gpu.event(false).unwrap();
            ready.record(stream.raw()).unwrap();
            let tensor = memory
                .into_tensor(ElementType::F32, shape, &candle, &ready)
                .unwrap();
            let sum = (tensor + 1.0).unwrap().sum_all().unwrap();
            assert_eq!(sum.to_scalar::<f32>().unwrap() as usize, bytes / 4);
        }
        addresses.sort_unstable();
        addresses.dedup();
        assert!(addresses.len() < 4, "the pool handed nothing out again");
        let memory = pool.allocate("a test", bytes, &stream).unwrap();
        let ready = gpu.event(false).unwrap();
        let error = memory.into_tensor(ElementType::F32, shape, &Device::Cpu, &ready);
        assert!(matches!(error, Err(TensorError::Device { .. })));
        let memory = pool.allocate("a test", bytes - 1, &stream).unwrap();
        let error = memory.into_tensor(ElementType::F32, shape, &candle, &ready);
        assert!(matches!(error, Err(TensorError::Length { .. })));
    }
}
