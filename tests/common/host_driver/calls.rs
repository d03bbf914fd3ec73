//! The driver's calls.

use std::ptr::NonNull;
use std::time::Instant;

use pastebank::cuda::driver::{Driver, DriverError, Kernel, MemoryInfo, RawEvent, RawStream};

use super::{HostDriver, HostEvent, Work, refused};

// SAFETY: pinned memory is a block of the host's, filled when it is made and kept until it is freed.
unsafe impl Driver for HostDriver {
    fn name(&self) -> String {
        "the host as a device".to_owned()
    }

    fn ordinal(&self) -> usize {
        0
    }

    fn memory(&self) -> Result<MemoryInfo, DriverError> {
        self.admit("cuMemGetInfo")?;
        let state = self.state();
        Ok(MemoryInfo {
            free: state.device_limit.saturating_sub(state.device.live_bytes()),
            total: state.device_limit,
        })
    }

    fn allocate_device(&self, bytes: usize) -> Result<u64, DriverError> {
        self.admit_allocation("cuMemAlloc")?;
        let mut state = self.state();
        if state.device.live_bytes() + bytes as u64 > state.device_limit {
            let code = DriverError::OUT_OF_MEMORY;
            return Err(refused("cuMemAlloc", code, "out of memory"));
        }
        Ok(state.device.allocate(bytes, 256) as u64)
    }

    fn free_device(&self, address: u64) {
        let freed = self.state().device.free(address as usize, self.keeps_freed);
        if let Err(problem) = freed {
            self.misused(format!("device memory: {problem}"));
        }
    }

    fn allocate_pinned(&self, bytes: usize, _: bool) -> Result<NonNull<u8>, DriverError> {
        self.admit_allocation("cuMemHostAlloc")?;
        let address = self.state().pinned.allocate(bytes, 64);
        Ok(NonNull::new(address as *mut u8).expect("an allocation"))
    }

    fn free_pinned(&self, pointer: NonNull<u8>) {
        let address = pointer.as_ptr() as usize;
        let freed = self.state().pinned.free(address, self.keeps_freed);
        if let Err(problem) = freed {
            self.misused(format!("pinned memory: {problem}"));
        }
    }

    fn create_stream(&self) -> Result<RawStream, DriverError> {
        self.admit("cuStreamCreate")?;
        let mut state = self.state();
        let handle = HostDriver::new_handle(&mut state);
        state.streams.insert(handle);
        // SAFETY: this driver's own number, known to it until the stream is destroyed.
        Ok(unsafe { RawStream::from_handle(handle) })
    }

    fn destroy_stream(&self, stream: RawStream) {
        self.expect_stream(stream);
        self.state().streams.remove(&stream.handle());
    }

    fn create_event(&self, timing: bool) -> Result<RawEvent, DriverError> {
        self.admit("cuEventCreate")?;
        let mut state = self.state();
        let handle = HostDriver::new_handle(&mut state);
        let event = HostEvent {
            timing,
            recorded: None,
        };
        state.events.insert(handle, event);
        Ok(RawEvent(handle))
    }

    fn destroy_event(&self, event: RawEvent) {
        self.expect_event(event);
        self.state().events.remove(&event.0);
    }

    fn record(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError> {
        self.expect_stream(stream);
        self.expect_event(event);
        self.admit("cuEventRecord")?;
        if let Some(event) = self.state().events.get_mut(&event.0) {
            event.recorded = Some(Instant::now());
        }
        Ok(())
    }

    fn wait(&self, stream: RawStream, event: RawEvent) -> Result<(), DriverError> {
        self.expect_stream(stream);
        self.expect_event(event);
        self.admit("cuStreamWaitEvent")
    }

    fn is_done(&self, event: RawEvent) -> Result<bool, DriverError> {
        self.expect_event(event);
        self.admit("cuEventQuery")?;
        Ok(true)
    }

    fn synchronize(&self, event: RawEvent) -> Result<(), DriverError> {
        self.expect_event(event);
        self.admit("cuEventSynchronize")
    }

    fn elapsed_ms(&self, from: RawEvent, to: RawEvent) -> Result<f32, DriverError> {
        self.expect_event(from);
        self.expect_event(to);
        self.admit("cuEventElapsedTime")?;
        let state = self.state();
        let time = |event: RawEvent| {
            let event = state.events.get(&event.0)?;
            event.recorded.filter(|_| event.timing)
        };
        match (time(from), time(to)) {
            (Some(from), Some(to)) => Ok(to.duration_since(from).as_secs_f32() * 1e3),
            _ => Err(refused("cuEventElapsedTime", 400, "invalid handle")),
        }
    }

    unsafe fn copy_to_device(
        &self,
        stream: RawStream,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let (to, from) = (to as usize, from.as_ptr() as usize);
        self.at_once(
            "cuMemcpyHtoDAsync",
            stream,
            &Work::ToDevice { to, from, bytes },
        )
    }

    unsafe fn copy_to_host(
        &self,
        stream: RawStream,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let (to, from) = (to.as_ptr() as usize, from as usize);
        self.at_once(
            "cuMemcpyDtoHAsync",
            stream,
            &Work::ToHost { to, from, bytes },
        )
    }

    unsafe fn copy_on_device(
        &self,
        stream: RawStream,
        to: u64,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let (to, from) = (to as usize, from as usize);
        self.at_once(
            "cuMemcpyDtoDAsync",
            stream,
            &Work::OnDevice { to, from, bytes },
        )
    }

    unsafe fn clear(
        &self,
        stream: RawStream,
        address: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let address = address as usize;
        self.at_once("cuMemsetD8Async", stream, &Work::Clear { address, bytes })
    }

    unsafe fn launch(
        &self,
        stream: RawStream,
        kernel: Kernel,
        blocks: u32,
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), DriverError> {
        let parameters = parameters.to_vec();
        let work = Work::Launch {
            kernel,
            blocks,
            threads,
            parameters,
        };
        self.at_once("cuLaunchKernel", stream, &work)
    }
}
