//! The device's context, and the driver's answers as our errors.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUresult};

use super::driver::DriverError;

/// The answer to `call`: nothing, or the error with CUDA's name and words for it.
pub(super) fn check(call: &'static str, answer: CUresult) -> Result<(), DriverError> {
    if answer == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let error = result::DriverError(answer);
    let name = match (error.error_name(), error.error_string()) {
        (Ok(name), Ok(words)) => {
            format!("{}: {}", name.to_string_lossy(), words.to_string_lossy())
        }
        _ => "an error that the driver has no name for".to_owned(),
    };
    Err(DriverError {
        call,
        code: answer as u32,
        name,
    })
}

/// The device's primary context, which all of the process's CUDA libraries share.
pub(super) struct PrimaryContext {
    device: sys::CUdevice,
    raw: sys::CUcontext,
    /// The last error that could only be logged: a failed context fails every call, and once is
    /// enough to say so.
    last_logged: AtomicU32,
}

// SAFETY: a context is a handle that any thread may make current; the driver's calls are thread-safe.
unsafe impl Send for PrimaryContext {}
// SAFETY: as above; this type only reads the handle.
unsafe impl Sync for PrimaryContext {}

impl PrimaryContext {
    /// That of a device that the driver gave us.
    pub fn retain(device: sys::CUdevice) -> Result<PrimaryContext, DriverError> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the place for the handle is ours; Drop gives back what is retained here.
        let answer = unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) };
        check("cuDevicePrimaryCtxRetain", answer)?;
        Ok(PrimaryContext {
            device,
            raw,
            last_logged: AtomicU32::new(0),
        })
    }

    /// Whether it is this one.
    #[cfg(feature = "candle-cuda")]
    pub fn is(&self, other: sys::CUcontext) -> bool {
        self.raw == other
    }

    /// Makes it the calling thread's current context for as long as the answer lives. The thread may
    /// belong to a user whose other libraries work on another device, so it gets back what it had.
    pub fn bind(&self) -> Result<Bound, DriverError> {
        let mut current = std::ptr::null_mut();
        // SAFETY: the place for the handle is ours.
        check("cuCtxGetCurrent", unsafe {
            sys::cuCtxGetCurrent(&mut current)
        })?;
        if current == self.raw {
            return Ok(Bound::new(false));
        }
        // SAFETY: the context is retained for as long as this value lives.
        check("cuCtxPushCurrent", unsafe {
            sys::cuCtxPushCurrent_v2(self.raw)
        })?;
        Ok(Bound::new(true))
    }

    /// Says in the log that something could not be given back, which nobody can be told otherwise.
    pub fn log_failure(&self, what: &str, result: Result<(), DriverError>) {
        let Err(error) = result else {
            return;
        };
        let is_known = self.last_logged.swap(error.code, Ordering::Relaxed) == error.code;
        // While the process ends the driver may be gone before us, which hurts nobody.
        if is_known || error.code == CUresult::CUDA_ERROR_DEINITIALIZED as u32 {
            log::debug!("{what}: {error}");
        } else {
            log::warn!("{what}: {error}");
        }
    }
}

impl Drop for PrimaryContext {
    fn drop(&mut self) {
        // SAFETY: retained once, in `retain`; everything made in it holds it by an Arc and is gone.
        let answer = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
        let result = check("cuDevicePrimaryCtxRelease", answer);
        self.log_failure("giving the device's context back", result);
    }
}

/// Our context is the current one of the thread that this value lives on.
pub(super) struct Bound {
    pushed: bool,
    /// Not for another thread, which has a stack of contexts of its own.
    _of_this_thread: PhantomData<*const ()>,
}

impl Bound {
    fn new(pushed: bool) -> Bound {
        Bound {
            pushed,
            _of_this_thread: PhantomData,
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if !self.pushed {
            return;
        }
        let mut popped = std::ptr::null_mut();
        // SAFETY: what `bind` pushed is on top: nothing that runs in between pushes or pops.
        let answer = unsafe { sys::cuCtxPopCurrent_v2(&mut popped) };
        if let Err(error) = check("cuCtxPopCurrent", answer) {
            log::debug!("restoring the thread's context: {error}");
        }
    }
}
