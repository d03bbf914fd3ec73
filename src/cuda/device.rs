//! A real GPU: the CUDA driver behind [`Driver`].
//!
//! Each call of the trait is a call of the driver, through cudarc, whose objects are not used: they
//! free in the order of one stream, while ours are ordered by events. A failed kernel spoils the
//! context; the driver then answers every later call with that error, and so do we.

use std::ffi::{c_char, c_void};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUresult};

use super::context::{PrimaryContext, check};
use super::driver::{Driver, DriverError, Kernel, MemoryInfo, RawEvent, RawStream};
use super::error::CudaError;
use super::kernels::{Kernels, parameter_bytes};
use super::library::{self, DriverLibrary, version_text};

/// A GPU of this machine with the kernels loaded.
pub struct CudaDevice {
    library: &'static DriverLibrary,
    ordinal: usize,
    #[cfg(feature = "candle-cuda")]
    raw: sys::CUdevice,
    name: String,
    /// Before the context, which they are in.
    kernels: Kernels,
    context: Arc<PrimaryContext>,
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// GPUs of this machine that CUDA shows; 0 without a driver.
pub fn device_count() -> usize {
    library::start(0).map_or(0, |started| started.device_count)
}

impl CudaDevice {
    /// The GPU of that number, counted from 0 as CUDA counts those that `CUDA_VISIBLE_DEVICES`
    /// leaves.
    ///
    /// # Errors
    /// [`CudaError`]: no driver or too old a one, no such device or too old a one, or what the driver
    /// said.
    pub fn open(ordinal: usize) -> Result<Arc<CudaDevice>, CudaError> {
        let started = library::start(ordinal)?;
        let count = started.device_count;
        let number = i32::try_from(ordinal).ok().filter(|_| ordinal < count);
        let Some(number) = number else {
            return Err(CudaError::NoDevice { ordinal, count });
        };
        let failed = |source| library::failed_opening(ordinal, source);
        let mut raw = 0;
        // SAFETY: the place for the handle is ours, and the driver has that many devices.
        let answer = unsafe { sys::cuDeviceGet(&mut raw, number) };
        check("cuDeviceGet", answer).map_err(failed)?;
        let capability = capability(raw).map_err(failed)?;
        let name = format!(
            "{} (CUDA device {ordinal}, compute capability {}.{})",
            device_name(raw).map_err(failed)?,
            capability / 10,
            capability % 10
        );
        let context = Arc::new(PrimaryContext::retain(raw).map_err(failed)?);
        let kernels = Kernels::load(&context, &name, capability, started.version)?;
        log::info!("{name}, driver for CUDA {}", version_text(started.version));
        Ok(Arc::new(CudaDevice {
            library: started.library,
            ordinal,
            #[cfg(feature = "candle-cuda")]
            raw,
            name,
            kernels,
            context,
        }))
    }

    /// The driver's number of the device, for its memory pools.
    #[cfg(feature = "candle-cuda")]
    pub(super) fn raw(&self) -> sys::CUdevice {
        self.raw
    }

    /// The context that everything of the device is in.
    #[cfg(feature = "candle-cuda")]
    pub(super) fn context(&self) -> &Arc<PrimaryContext> {
        &self.context
    }

    /// Makes a call with the context current on this thread.
    fn call(&self, name: &'static str, call: impl FnOnce() -> CUresult) -> Result<(), DriverError> {
        let _bound = self.context.bind()?;
        check(name, call())
    }
}

/// A device's compute capability, 10·major + minor.
fn capability(device: sys::CUdevice) -> Result<u32, DriverError> {
    use sys::CUdevice_attribute as Attribute;
    let mut digits = [0; 2];
    let attributes = [
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
        Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    ];
    for (digit, attribute) in digits.iter_mut().zip(attributes) {
        // SAFETY: the place for the number is ours, and the device is one that the driver gave.
        let answer = unsafe { sys::cuDeviceGetAttribute(digit, attribute, device) };
        check("cuDeviceGetAttribute", answer)?;
    }
    let [major, minor] = digits.map(|digit| u32::try_from(digit).unwrap_or(0));
    Ok(10 * major + minor)
}

fn device_name(device: sys::CUdevice) -> Result<String, DriverError> {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is as long as it is said to be.
    let answer = unsafe {
        sys::cuDeviceGetName(
            name.as_mut_ptr().cast::<c_char>(),
            name.len() as i32,
            device,
        )
    };
    check("cuDeviceGetName", answer)?;
    let length = name.iter().position(|&byte| byte == 0);
    let name = &name[..length.unwrap_or(name.len())];
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// cudarc's type for a stream; 0, 1 and 2 are default streams.
pub(super) fn stream_handle(stream: RawStream) -> sys::CUstream {
    std::ptr::with_exposed_provenance_mut(stream.handle() as usize)
}

fn event_handle(event: RawEvent) -> sys::CUevent {
    std::ptr::with_exposed_provenance_mut(event.0 as usize)
}

/// The thread that waits for an event sleeps: its core belongs to those who gather.
fn event_flags(timing: bool) -> u32 {
    let blocking = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32;
    match timing {
        true => blocking,
        false => blocking | sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32,
    }
}

// SAFETY: pinned memory is the driver's: as long as it was asked for, aligned to a page, and ours until
// it is given back; what the system gives has contents.
unsafe impl Driver for CudaDevice {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn ordinal(&self) -> usize {
        self.ordinal
    }

    fn memory(&self) -> Result<MemoryInfo, DriverError> {
        let (mut free, mut total) = (0, 0);
        self.call("cuMemGetInfo", || {
            // SAFETY: the places for the numbers are ours.
            unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }
        })?;
        Ok(MemoryInfo {
            free: free as u64,
            total: total as u64,
        })
    }

    fn allocate_device(&self, bytes: usize) -> Result<u64, DriverError> {
        let mut address = 0;
        self.call("cuMemAlloc", || {
            // SAFETY: the place for the address is ours.
            unsafe { sys::cuMemAlloc_v2(&mut address, bytes) }
        })?;
        Ok(address)
    }

    fn free_device(&self, address: u64) {
        let result = self.call("cuMemFree", || {
            // SAFETY: the driver refuses what it has not allocated; whoever frees says that nothing
            // uses it any more.
            unsafe { sys::cuMemFree_v2(address) }
        });
        self.context.log_failure("freeing device memory", result);
    }

    fn allocate_pinned(
        &self,
        bytes: usize,
        write_combined: bool,
    ) -> Result<NonNull<u8>, DriverError> {
        let flags = match write_combined {
            true => sys::CU_MEMHOSTALLOC_WRITECOMBINED,
            false => 0,
        };
        let mut pointer: *mut c_void = std::ptr::null_mut();
        self.call("cuMemHostAlloc", || {
            // SAFETY: the place for the pointer is ours.
            unsafe { sys::cuMemHostAlloc(&mut pointer, bytes, flags) }
        })?;
        NonNull::new(pointer.cast()).ok_or_else(|| DriverError {
            call: "cuMemHostAlloc",
            code: DriverError::OUT_OF_MEMORY,
            name: "the driver gave no memory".to_owned(),
        })
    }

    fn free_pinned(&self, pointer: NonNull<u8>) {
        let result = self.call("cuMemFreeHost", || {
            // SAFETY: the driver refuses what it has not allocated; whoever frees says that nothing
            // uses it any more.
            unsafe { sys::cuMemFreeHost(pointer.as_ptr().cast()) }
        });
        self.context.log_failure("freeing pinned memory", result);
    }

    fn create_stream(&self) -> Result<RawStream, DriverError> {
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        let mut stream: sys::CUstream = std::ptr::null_mut();
        self.call("cuStreamCreate", || {
            // SAFETY: the place for the handle is ours.
            unsafe { sys::cuStreamCreate(&mut stream, flags) }
        })?;
        // SAFETY: it was made just now and lives until `destroy_stream`.
        Ok(unsafe { RawStream::from_handle(stream.expose_provenance() as u64) })
    }

    fn destroy_stream(&self, stream: RawStream) {
        let result = self.call("cuStreamDestroy", || {
            // SAFETY: made by `create_stream` and given back once, by its owner.
            unsafe { sys::cuStreamDestroy_v2(stream_handle(stream)) }
        });
        self.context.log_failure("giving a stream back", result);
    }

    fn create_event(&self, timing: bool) -> Result<RawEvent, DriverError> {
        let mut event: sys::CUevent = std::ptr::null_mut();
        self.call("cuEventCreate", || {
            // SAFETY: the place for the handle is ours.
            unsafe { sys::cuEventCreate(&mut event, event_flags(timing)) }
        })?;
        Ok(RawEvent(event.expose_provenance() as u64))
    }

    fn destroy_event(&self, event: RawEvent) {
        let result = self.call("cuEventDestroy", || {
            // SAFETY: made by `create_event` and given back once, by its owner.
            unsafe { sys::cuEventDestroy_v2(event_handle(event)) }
        });
        self.context.log_failure("giving an event back", result);
    }

    fn record(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError> {
        self.call("cuEventRecord", || {
            // SAFETY: both are alive; 0, 1 and 2 are the default streams, which the driver knows.
            unsafe { sys::cuEventRecord(event_handle(event), stream_handle(stream)) }
        })
    }

    fn wait(&self, stream: RawStream, event: RawEvent) -> Result<(), DriverError> {
        self.call("cuStreamWaitEvent", || {
            // SAFETY: both are alive; 0, 1 and 2 are the default streams, which the driver knows.
            unsafe { sys::cuStreamWaitEvent(stream_handle(stream), event_handle(event), 0) }
        })
    }

    fn is_done(&self, event: RawEvent) -> Result<bool, DriverError> {
        let mut answer = CUresult::CUDA_SUCCESS;
        self.call("cuEventQuery", || {
            // SAFETY: the event is alive.
            answer = unsafe { sys::cuEventQuery(event_handle(event)) };
            match answer {
                CUresult::CUDA_ERROR_NOT_READY => CUresult::CUDA_SUCCESS,
                answer => answer,
            }
        })?;
        Ok(answer == CUresult::CUDA_SUCCESS)
    }

    fn synchronize(&self, event: RawEvent) -> Result<(), DriverError> {
        self.call("cuEventSynchronize", || {
            // SAFETY: the event is alive.
            unsafe { sys::cuEventSynchronize(event_handle(event)) }
        })
    }

    fn elapsed_ms(&self, from: RawEvent, to: RawEvent) -> Result<f32, DriverError> {
        let _bound = self.context.bind()?;
        self.library.elapsed_ms(from, to)
    }

    unsafe fn copy_to_device(
        &self,
        stream: RawStream,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let from = from.as_ptr().cast_const().cast::<c_void>();
        self.call("cuMemcpyHtoDAsync", || {
            // SAFETY: both are that long and left alone until the copy is done, says the caller.
            unsafe { sys::cuMemcpyHtoDAsync_v2(to, from, bytes, stream_handle(stream)) }
        })
    }

    unsafe fn copy_to_host(
        &self,
        stream: RawStream,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let to = to.as_ptr().cast::<c_void>();
        self.call("cuMemcpyDtoHAsync", || {
            // SAFETY: both are that long and left alone until the copy is done, says the caller.
            unsafe { sys::cuMemcpyDtoHAsync_v2(to, from, bytes, stream_handle(stream)) }
        })
    }

    unsafe fn copy_on_device(
        &self,
        stream: RawStream,
        to: u64,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        self.call("cuMemcpyDtoDAsync", || {
            // SAFETY: both are that long and do not overlap, says the caller.
            unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, stream_handle(stream)) }
        })
    }

    unsafe fn clear(
        &self,
        stream: RawStream,
        address: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        self.call("cuMemsetD8Async", || {
            // SAFETY: it is that long, says the caller.
            unsafe { sys::cuMemsetD8Async(address, 0, bytes, stream_handle(stream)) }
        })
    }

    unsafe fn launch(
        &self,
        stream: RawStream,
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), DriverError> {
        let expected = parameter_bytes(kernel);
        if parameters.len() != expected {
            return Err(DriverError {
                call: "cuLaunchKernel",
                code: CUresult::CUDA_ERROR_INVALID_VALUE as u32,
                name: format!(
                    "{} takes {expected} bytes of parameters, not {}",
                    kernel.name(),
                    parameters.len()
                ),
            });
        }
        let function = self.kernels.function(kernel);
        let mut pointers = [parameters.as_ptr().cast_mut().cast::<c_void>()];
        self.call("cuLaunchKernel", || {
            // SAFETY: one parameter of the length that the kernel declares, which the driver copies
            // before the call returns; what it refers to is there, says the caller.
            unsafe {
                sys::cuLaunchKernel(
                    function,
                    blocks,
                    1,
                    1,
                    threads,
                    1,
                    1,
                    0,
                    stream_handle(stream),
                    pointers.as_mut_ptr(),
                    std::ptr::null_mut(),
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::memory::Gpu;

    /// The first GPU, or `None` and a line that says so.
    fn gpu() -> Option<Arc<CudaDevice>> {
        if device_count() == 0 {
            println!("not run: this machine has no GPU");
            return None;
        }
        Some(CudaDevice::open(0).unwrap())
    }

    #[test]
    fn a_machine_without_a_driver_is_told_so() {
        if DriverLibrary::find().is_some() {
            println!("not run: this machine has a CUDA driver");
            return;
        }
        assert_eq!(device_count(), 0);
        let error = CudaDevice::open(0).unwrap_err();
        assert!(matches!(error, CudaError::NoDriver { .. }), "{error}");
        let message = error.to_string();
        for part in ["no CUDA driver", "libcuda.so.1", "install NVIDIA's driver"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_named_with_the_count() {
        if gpu().is_none() {
            return;
        }
        for ordinal in [device_count(), usize::MAX] {
            let error = CudaDevice::open(ordinal).unwrap_err();
            assert!(matches!(error, CudaError::NoDevice { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_copied_there_and_back_is_the_same() {
        let Some(device) = gpu() else { return };
        let gpu = Gpu::new(device.clone());
        const BYTES: usize = 1 << 20;
        let there = gpu.pinned_memory("a test", BYTES, true).unwrap();
        let back = gpu.pinned_memory("a test", BYTES, false).unwrap();
        let memory = [0, 1].map(|_| gpu.device_memory("a test", BYTES).unwrap());
        let [copying, computing] = [0, 1].map(|_| gpu.stream().unwrap());
        let [begin, copied, end] = [true, false, true].map(|timing| gpu.event(timing).unwrap());
        assert!(end.is_done().unwrap(), "never recorded");
        let expected: Vec<u8> = (0..BYTES).map(|i| (i * 7 % 251) as u8).collect();
        // SAFETY: the pinned memory is that long and no copy uses it yet.
        unsafe {
            std::ptr::copy_nonoverlapping(expected.as_ptr(), there.pointer().as_ptr(), BYTES)
        };
        begin.record(copying.raw()).unwrap();
        let [first, second] = memory.each_ref().map(|memory| memory.address());
        // SAFETY: all four are BYTES long, alive until `end` is done, and untouched until then.
        unsafe {
            device
                .copy_to_device(copying.raw(), first, there.pointer(), BYTES)
                .unwrap();
            copied.record(copying.raw()).unwrap();
            computing.wait(&copied).unwrap();
            device
                .copy_on_device(computing.raw(), second, first, BYTES)
                .unwrap();
            device.clear(computing.raw(), second, 256).unwrap();
            device
                .copy_to_host(computing.raw(), back.pointer(), second, BYTES)
                .unwrap();
        }
        end.record(computing.raw()).unwrap();
        end.synchronize().unwrap();
        assert!(end.is_done().unwrap() && end.elapsed_ms(&begin).unwrap() > 0.0);
        // SAFETY: the pinned memory is that long, and the copy into it is done.
        let found = unsafe { std::slice::from_raw_parts(back.pointer().as_ptr(), BYTES) };
        assert!(found[..256].iter().all(|&byte| byte == 0));
        assert!(found[256..] == expected[256..], "the bytes differ");
    }

    #[test]
    fn consumers_default_streams_can_be_recorded_and_held_up() {
        let Some(device) = gpu() else { return };
        let gpu = Gpu::new(device);
        let event = gpu.event(false).unwrap();
        for stream in [RawStream::LEGACY, RawStream::PER_THREAD] {
            event.record(stream).unwrap();
            event.hold_up(stream).unwrap();
            event.synchronize().unwrap();
        }
    }

    #[test]
    fn errors_name_the_call_and_cudas_number() {
        let Some(device) = gpu() else { return };
        let error = device.allocate_device(1 << 60).unwrap_err();
        assert_eq!(
            (error.call, error.code),
            ("cuMemAlloc", DriverError::OUT_OF_MEMORY)
        );
        assert!(
            error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY"),
            "{error}"
        );
        // SAFETY: nothing is launched: a struct of this length is no kernel's.
        let launched = unsafe { device.launch(RawStream::LEGACY, Kernel::Cover, 1, 32, &[0; 3]) };
        assert!(launched.unwrap_err().name.contains("bytes of parameters"));
    }
}
