//! The driver's library: whether it is there, and whether it has all that we call.
//!
//! cudarc opens it at the first call and panics if it, or a function in it, is missing. So we look
//! first. cudarc's own `is_culib_present` is not there in builds where another crate, such as
//! candle with CUDA, makes cudarc link the library.

use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUresult};
use libloading::Library;

use super::context::check;
use super::driver::{DriverError, RawEvent};
use super::error::CudaError;

/// In cudarc's order, so that both open the same one.
#[cfg(not(windows))]
const NAMES: [&str; 2] = ["libcuda.so", "libcuda.so.1"];
/// In cudarc's order, so that both open the same one.
#[cfg(windows)]
const NAMES: [&str; 1] = ["nvcuda.dll"];

/// The oldest CUDA version whose driver has all of [`FUNCTIONS`] and whose numbers cudarc knows.
pub(super) const LEAST_VERSION: i32 = 11_040;

/// All that we call, but for the two names of the function that measures time.
const FUNCTIONS: [&str; 35] = [
    "cuCtxGetCurrent",
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent_v2",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncGetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamWaitEvent",
];

/// What memory pools take besides, which only tensors that own their memory need.
#[cfg(feature = "candle-cuda")]
const POOL_FUNCTIONS: [&str; 5] = [
    "cuMemAllocFromPoolAsync",
    "cuMemFreeAsync",
    "cuMemPoolCreate",
    "cuMemPoolDestroy",
    "cuMemPoolSetAttribute",
];
#[cfg(not(feature = "candle-cuda"))]
const POOL_FUNCTIONS: [&str; 0] = [];

/// `cuEventElapsedTime`: cudarc knows it by one name only, which depends on the CUDA version that
/// it was built for, and panics on a driver that has the other one only.
type ElapsedTime = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> u32;

/// The driver's library, open for as long as the process lives.
pub(super) struct DriverLibrary {
    library: Library,
    elapsed_time: Option<ElapsedTime>,
}

impl DriverLibrary {
    /// The machine's, or `None` if it has none.
    pub fn find() -> Option<&'static DriverLibrary> {
        static LIBRARY: OnceLock<Option<DriverLibrary>> = OnceLock::new();
        LIBRARY.get_or_init(DriverLibrary::open).as_ref()
    }

    fn open() -> Option<DriverLibrary> {
        let open = |name: &str| {
            // SAFETY: these are the names of NVIDIA's driver, which may be loaded at any time from
            // any thread; what it does then is what every CUDA program relies on.
            unsafe { Library::new(name) }
        };
        let library = NAMES.into_iter().find_map(|name| open(name).ok())?;
        let find = |name: &str| {
            // SAFETY: cuda.h declares both with this signature, CUresult being a 32-bit enum.
            let function = unsafe { library.get::<ElapsedTime>(name) };
            function.ok().map(|function| *function)
        };
        let elapsed_time = find("cuEventElapsedTime_v2").or_else(|| find("cuEventElapsedTime"));
        Some(DriverLibrary {
            library,
            elapsed_time,
        })
    }

    /// A function that we call and that is not there.
    pub fn missing_function(&self) -> Option<&'static str> {
        let is_there = |name: &str| {
            // SAFETY: the symbol is only looked for, never called through this type.
            unsafe { self.library.get::<*const ()>(name) }.is_ok()
        };
        let mut called = FUNCTIONS.into_iter().chain(POOL_FUNCTIONS);
        let missing = called.find(|name| !is_there(name));
        missing.or(self.elapsed_time.is_none().then_some("cuEventElapsedTime"))
    }

    /// Milliseconds from one event to another, both done; the context is current.
    pub fn elapsed_ms(&self, from: RawEvent, to: RawEvent) -> Result<f32, DriverError> {
        const CALL: &str = "cuEventElapsedTime";
        let Some(elapsed_time) = self.elapsed_time else {
            return Err(DriverError {
                call: CALL,
                code: CUresult::CUDA_ERROR_NOT_FOUND as u32,
                name: "the driver does not have it".to_owned(),
            });
        };
        let mut milliseconds = 0.0;
        // SAFETY: the place for the result is ours; the driver refuses events that it does not know.
        let code = unsafe { elapsed_time(&mut milliseconds, from.0 as _, to.0 as _) };
        match code {
            0 => Ok(milliseconds),
            code => Err(DriverError {
                call: CALL,
                code,
                name: "the events were not recorded with timing, or are not done".to_owned(),
            }),
        }
    }
}

/// The driver at work.
pub(super) struct Started {
    pub library: &'static DriverLibrary,
    /// The newest CUDA version that it knows, 1000·major + 10·minor.
    pub version: i32,
    pub device_count: usize,
}

/// Finds the driver and starts it; `ordinal` is the device that is wanted, for messages.
pub(super) fn start(ordinal: usize) -> Result<Started, CudaError> {
    let no_driver = |looked_for| CudaError::NoDriver { looked_for };
    let library = DriverLibrary::find().ok_or_else(|| no_driver(NAMES.join(", ")))?;
    let too_old = |found| CudaError::DriverTooOld {
        found,
        needed: version_text(LEAST_VERSION),
    };
    if let Some(function) = library.missing_function() {
        return Err(too_old(format!("without {function}")));
    }
    let failed = |source| failed_opening(ordinal, source);
    let mut version = 0;
    // SAFETY: the place for the number is ours; this call needs no start.
    let answer = unsafe { sys::cuDriverGetVersion(&mut version) };
    check("cuDriverGetVersion", answer).map_err(failed)?;
    // SAFETY: it may be called any number of times, from any thread.
    match unsafe { sys::cuInit(0) } {
        CUresult::CUDA_ERROR_NO_DEVICE => return Err(CudaError::NoDevice { ordinal, count: 0 }),
        CUresult::CUDA_ERROR_STUB_LIBRARY => {
            let stub = "the one that was found is the toolkit's stub";
            return Err(no_driver(stub.to_owned()));
        }
        answer => check("cuInit", answer).map_err(failed)?,
    }
    if version < LEAST_VERSION {
        return Err(too_old(version_text(version)));
    }
    let mut count = 0;
    // SAFETY: the place for the number is ours.
    let answer = unsafe { sys::cuDeviceGetCount(&mut count) };
    check("cuDeviceGetCount", answer).map_err(failed)?;
    Ok(Started {
        library,
        version,
        device_count: usize::try_from(count).unwrap_or(0),
    })
}

/// The error of a call that was made before there is a device that has a name.
pub(super) fn failed_opening(ordinal: usize, source: DriverError) -> CudaError {
    CudaError::Failed {
        stage: "opening",
        device: format!("CUDA device {ordinal}"),
        source,
    }
}

/// A version as the driver gives it, 1000·major + 10·minor, for people.
pub(super) fn version_text(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!(version_text(13_000), "13.0");
        assert_eq!(version_text(12_090), "12.9");
        assert_eq!(version_text(LEAST_VERSION), "11.4");
    }

    /// What is called through cudarc is looked for beforehand, so that nothing can be missing then.
    #[test]
    fn every_function_that_is_called_is_looked_for() {
        let sources = [
            include_str!("context.rs"),
            include_str!("device.rs"),
            include_str!("kernels.rs"),
            include_str!("library.rs"),
            #[cfg(feature = "candle-cuda")]
            include_str!("pool.rs"),
        ];
        let looked_for = || FUNCTIONS.into_iter().chain(POOL_FUNCTIONS);
        // These two are called by cudarc, for `check`.
        let mut called = ["cuGetErrorName", "cuGetErrorString"]
            .map(String::from)
            .to_vec();
        let prefix = ["sys", "::cu"].concat();
        for text in sources {
            let calls = text.split(&prefix).skip(1);
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = |rest: &str| format!("cu{}", rest.split(|c| !is_name(c)).next().unwrap());
            called.extend(calls.map(name));
        }
        assert!(called.len() > 30, "only {} calls were found", called.len());
        for name in &called {
            let known = looked_for().any(|f| f == name);
            assert!(known, "{name} is called but not looked for");
        }
        for name in looked_for() {
            let is_called = called.iter().any(|call| *call == name);
            assert!(is_called, "{name} is looked for but not called");
        }
    }
}
