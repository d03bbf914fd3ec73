//! The driver's calls.

use std::collections::BTreeSet;
use std::ptr::NonNull;

use pastebank::cuda::driver::{Driver, DriverError, Kernel, MemoryInfo, RawEvent, RawStream};

use super::log::Call;
use super::{DelayedDriver, Event, Pace, Step, Stream, is_pending, unbroken};
use crate::common::RngExt;
use crate::common::host_driver::{Work, refused};

// SAFETY: pinned memory is a block of the host's, filled when it is made and kept until it is freed.
unsafe impl Driver for DelayedDriver {
    fn name(&self) -> String {
        "the host as a device, delayed".to_owned()
    }

    fn ordinal(&self) -> usize {
        0
    }

    fn memory(&self) -> Result<MemoryInfo, DriverError> {
        unbroken(&self.state(), "cuMemGetInfo")?;
        self.host.memory()
    }

    fn allocate_device(&self, bytes: usize) -> Result<u64, DriverError> {
        unbroken(&self.state(), "cuMemAlloc")?;
        let address = self.host.allocate_device(bytes)?;
        let call = Call::AllocateDevice { address, bytes };
        self.state().log.push(call);
        Ok(address)
    }

    fn free_device(&self, address: u64) {
        self.expect_unused(address as usize);
        self.state().log.push(Call::FreeDevice { address });
        self.host.free_device(address);
    }

    fn allocate_pinned(
        &self,
        bytes: usize,
        write_combined: bool,
    ) -> Result<NonNull<u8>, DriverError> {
        unbroken(&self.state(), "cuMemHostAlloc")?;
        let pointer = self.host.allocate_pinned(bytes, write_combined)?;
        let address = pointer.as_ptr() as usize;
        let call = Call::AllocatePinned { address, bytes };
        self.state().log.push(call);
        Ok(pointer)
    }

    fn free_pinned(&self, pointer: NonNull<u8>) {
        let address = pointer.as_ptr() as usize;
        self.expect_unused(address);
        self.state().log.push(Call::FreePinned { address });
        self.host.free_pinned(pointer);
    }

    fn create_stream(&self) -> Result<RawStream, DriverError> {
        let mut state = self.admit("cuStreamCreate")?;
        state.last_handle += 1;
        // SAFETY: this driver's own number, known to it until the stream is destroyed.
        let handle = unsafe { RawStream::from_handle(state.last_handle) };
        let eager = self.pace == Pace::Mixed && state.draw.random();
        let stream = Stream {
            eager,
            ..Stream::default()
        };
        state.streams.insert(handle.handle(), stream);
        state.log.push(Call::CreateStream(handle));
        Ok(handle)
    }

    fn destroy_stream(&self, stream: RawStream) {
        let mut state = self.state();
        self.expect_stream(&state, stream);
        state.log.push(Call::DestroyStream(stream));
        if let Some(stream) = state.streams.get_mut(&stream.handle()) {
            stream.destroyed = true;
        }
    }

    fn create_event(&self, timing: bool) -> Result<RawEvent, DriverError> {
        let mut state = self.admit("cuEventCreate")?;
        state.last_handle += 1;
        let handle = RawEvent(state.last_handle);
        let event = Event {
            timing,
            destroyed: false,
            records: 0,
            pending: BTreeSet::new(),
            reached: None,
        };
        state.events.insert(handle.0, event);
        state.log.push(Call::CreateEvent(handle));
        Ok(handle)
    }

    fn destroy_event(&self, event: RawEvent) {
        let mut state = self.state();
        self.expect_event(&state, event);
        state.log.push(Call::DestroyEvent(event));
        if let Some(event) = state.events.get_mut(&event.0) {
            event.destroyed = true;
        }
    }

    fn record(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError> {
        let mut state = self.admit("cuEventRecord")?;
        self.expect_event(&state, event);
        state.log.push(Call::Record { event, stream });
        let Some(it) = state.events.get_mut(&event.0) else {
            return Ok(());
        };
        it.records += 1;
        let record = (event, it.records);
        it.pending.insert(it.records);
        self.give(&mut state, stream, Step::Record(record));
        Ok(())
    }

    fn wait(&self, stream: RawStream, event: RawEvent) -> Result<(), DriverError> {
        let mut state = self.admit("cuStreamWaitEvent")?;
        self.expect_event(&state, event);
        self.expect_stream(&state, stream);
        state.log.push(Call::Wait { stream, event });
        // One that was never recorded holds nothing up.
        let records = state.events.get(&event.0).map_or(0, |it| it.records);
        if records > 0 {
            self.give(&mut state, stream, Step::Wait((event, records)));
        }
        Ok(())
    }

    fn is_done(&self, event: RawEvent) -> Result<bool, DriverError> {
        let mut state = self.admit("cuEventQuery")?;
        self.expect_event(&state, event);
        let record = (event, state.events.get(&event.0).map_or(0, |it| it.records));
        if is_pending(&state, record) && state.draw.random() {
            self.advance(&mut state, record);
        }
        unbroken(&state, "cuEventQuery")?;
        Ok(!is_pending(&state, record))
    }

    fn synchronize(&self, event: RawEvent) -> Result<(), DriverError> {
        let mut state = self.admit("cuEventSynchronize")?;
        self.expect_event(&state, event);
        state.log.push(Call::Synchronize(event));
        let record = (event, state.events.get(&event.0).map_or(0, |it| it.records));
        while is_pending(&state, record) {
            self.advance(&mut state, record);
        }
        unbroken(&state, "cuEventSynchronize")
    }

    fn elapsed_ms(&self, from: RawEvent, to: RawEvent) -> Result<f32, DriverError> {
        let state = self.admit("cuEventElapsedTime")?;
        self.expect_event(&state, from);
        self.expect_event(&state, to);
        let refusal = |code, words| Err(refused("cuEventElapsedTime", code, words));
        let (Some(from), Some(to)) = (state.events.get(&from.0), state.events.get(&to.0)) else {
            return refusal(400, "invalid handle");
        };
        if !from.timing || !to.timing || from.records == 0 || to.records == 0 {
            return refusal(400, "invalid handle");
        }
        match (from.reached, to.reached) {
            (Some(start), Some(end)) if from.pending.is_empty() && to.pending.is_empty() => {
                Ok(end.duration_since(start).as_secs_f32() * 1e3)
            }
            _ => refusal(600, "not ready"),
        }
    }

    unsafe fn copy_to_device(
        &self,
        stream: RawStream,
        to: u64,
        from: NonNull<u8>,
        bytes: usize,
    ) -> Result<(), DriverError> {
        // SAFETY: the caller's promise: so many bytes are there, and nobody writes them any more.
        let contents = unsafe { std::slice::from_raw_parts(from.as_ptr(), bytes) };
        let from = from.as_ptr() as usize;
        let call = Call::CopyToDevice {
            stream,
            to,
            from,
            contents: contents.into(),
        };
        let to = to as usize;
        let work = Work::ToDevice { to, from, bytes };
        self.enqueue("cuMemcpyHtoDAsync", call, stream, work)
    }

    unsafe fn copy_to_host(
        &self,
        stream: RawStream,
        to: NonNull<u8>,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let pointer = to;
        let to = to.as_ptr() as usize;
        let call = Call::CopyToHost {
            stream,
            to,
            from,
            bytes,
        };
        let from = from as usize;
        let work = Work::ToHost { to, from, bytes };
        if self.host.allocation_of(to).is_some() {
            // SAFETY: nobody may read or write it until the copy is done; whoever reads finds this.
            unsafe { pointer.write_bytes(0xE5, bytes) };
        }
        self.enqueue("cuMemcpyDtoHAsync", call, stream, work)
    }

    unsafe fn copy_on_device(
        &self,
        stream: RawStream,
        to: u64,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let call = Call::CopyOnDevice {
            stream,
            to,
            from,
            bytes,
        };
        let (to, from) = (to as usize, from as usize);
        let work = Work::OnDevice { to, from, bytes };
        self.enqueue("cuMemcpyDtoDAsync", call, stream, work)
    }

    unsafe fn clear(
        &self,
        stream: RawStream,
        address: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let call = Call::Clear {
            stream,
            address,
            bytes,
        };
        let address = address as usize;
        self.enqueue(
            "cuMemsetD8Async",
            call,
            stream,
            Work::Clear { address, bytes },
        )
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
        let call = Call::Launch {
            stream,
            kernel,
            blocks,
            threads,
            parameters: parameters.clone(),
        };
        let work = Work::Launch {
            kernel,
            blocks,
            threads,
            parameters,
        };
        self.enqueue("cuLaunchKernel", call, stream, work)
    }
}
