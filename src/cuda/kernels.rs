//! The kernels that the crate carries, and how they get onto a device.
//!
//! `kernels/ptx/` has PTX for three architectures, made ahead by `scripts/build-kernels`; the driver
//! compiles it for its device, and keeps the result for the next time. The best one that the device
//! can run is loaded. PTX of a new compiler can be too new for an old driver, though; the next older
//! one, made by an older compiler, may not be.

use std::ffi::{CStr, CString, c_void};
use std::sync::Arc;

use cudarc::driver::sys::{self, CUresult};

use super::context::{PrimaryContext, check};
use super::driver::{DriverError, Kernel};
use super::error::CudaError;
use super::layout;
use super::library::version_text;

/// Compute capabilities that there is PTX for, 10·major + minor, the best first.
pub(super) const ARCHITECTURES: [u32; 3] = [90, 80, 75];

/// A file of `kernels/`: the kernels in it, and its PTX in the order of [`ARCHITECTURES`].
struct Source {
    kernels: &'static [Kernel],
    ptx: [&'static str; ARCHITECTURES.len()],
}

/// The driver takes PTX as a C string, so that each one gets its zero byte here.
macro_rules! source {
    ($name:literal, $kernels:expr) => {
        Source {
            kernels: &$kernels,
            ptx: [
                concat!(
                    include_str!(concat!("../../kernels/ptx/", $name, ".compute_90.ptx")),
                    "\0"
                ),
                concat!(
                    include_str!(concat!("../../kernels/ptx/", $name, ".compute_80.ptx")),
                    "\0"
                ),
                concat!(
                    include_str!(concat!("../../kernels/ptx/", $name, ".compute_75.ptx")),
                    "\0"
                ),
            ],
        }
    };
}

static SOURCES: [Source; 6] = [
    source!("weights", [Kernel::Cover, Kernel::Blur]),
    source!("compose", [Kernel::Compose]),
    source!("visible", [Kernel::Visible]),
    source!("settle", [Kernel::Settle, Kernel::Compact, Kernel::Masks]),
    source!("convert", [Kernel::Expand]),
    source!("mip", [Kernel::Mip, Kernel::Store]),
];

/// Bytes of the struct that a kernel takes.
pub(super) fn parameter_bytes(kernel: Kernel) -> usize {
    match kernel {
        Kernel::Mip => size_of::<layout::MipParameters>(),
        Kernel::Store => size_of::<layout::StoreParameters>(),
        Kernel::Expand => size_of::<layout::ExpandParameters>(),
        Kernel::Cover
        | Kernel::Blur
        | Kernel::Compose
        | Kernel::Visible
        | Kernel::Settle
        | Kernel::Compact
        | Kernel::Masks => size_of::<layout::BatchParameters>(),
    }
}

/// All kernels, loaded.
pub(super) struct Kernels {
    /// In the order of [`Kernel::ALL`].
    functions: [Function; Kernel::ALL.len()],
    /// What the functions are in.
    _modules: Vec<Module>,
}

#[derive(Clone, Copy)]
struct Function(sys::CUfunction);

// SAFETY: a function is a handle; the driver's calls with it are thread-safe.
unsafe impl Send for Function {}
// SAFETY: as above; nothing behind the handle is read here.
unsafe impl Sync for Function {}

/// What one PTX becomes.
struct Module {
    context: Arc<PrimaryContext>,
    raw: sys::CUmodule,
}

// SAFETY: a module is a handle; the driver's calls with it are thread-safe.
unsafe impl Send for Module {}
// SAFETY: as above; nothing behind the handle is read here.
unsafe impl Sync for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        let unload = || {
            let _bound = self.context.bind()?;
            // SAFETY: loaded once, in `Module::load`, and its functions are not called any more.
            check("cuModuleUnload", unsafe { sys::cuModuleUnload(self.raw) })
        };
        self.context.log_failure("unloading kernels", unload());
    }
}

impl Kernels {
    /// The best ones that a device of that compute capability, 10·major + minor, and its driver take.
    pub fn load(
        context: &Arc<PrimaryContext>,
        device: &str,
        capability: u32,
        driver_version: i32,
    ) -> Result<Kernels, CudaError> {
        let refusal = match best_accepted(capability, |architecture| {
            Kernels::load_all(context, architecture)
        }) {
            Ok((architecture, kernels)) => {
                log::debug!("{device}: kernels of compute_{architecture}");
                return Ok(kernels);
            }
            Err(refusal) => refusal,
        };
        Err(match refusal {
            None => CudaError::DeviceTooOld {
                device: device.to_owned(),
                found: format!("{}.{}", capability / 10, capability % 10),
                needed: "7.5".to_owned(),
            },
            Some(error) if is_too_new_for_driver(&error) => CudaError::DriverTooOld {
                found: version_text(driver_version),
                needed: oldest_needed(capability),
            },
            Some(source) => CudaError::Failed {
                stage: "loading the kernels",
                device: device.to_owned(),
                source,
            },
        })
    }

    fn load_all(context: &Arc<PrimaryContext>, index: usize) -> Result<Kernels, DriverError> {
        let mut functions = [Function(std::ptr::null_mut()); Kernel::ALL.len()];
        let mut modules = Vec::with_capacity(SOURCES.len());
        for source in &SOURCES {
            let module = Module::load(context, source.ptx[index])?;
            for &kernel in source.kernels {
                functions[kernel as usize] = module.function(kernel)?;
            }
            modules.push(module);
        }
        Ok(Kernels {
            functions,
            _modules: modules,
        })
    }

    /// A kernel's handle.
    pub fn function(&self, kernel: Kernel) -> sys::CUfunction {
        self.functions[kernel as usize].0
    }
}

impl Module {
    /// Has the driver compile PTX, which ends with a zero byte.
    fn load(context: &Arc<PrimaryContext>, ptx: &'static str) -> Result<Module, DriverError> {
        let _bound = context.bind()?;
        let mut log = vec![0u8; 4096];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // A number that an option takes goes where a pointer would.
        let mut values = [
            log.as_mut_ptr().cast::<c_void>(),
            std::ptr::without_provenance_mut(log.len()),
        ];
        let mut raw = std::ptr::null_mut();
        // SAFETY: the text ends with a zero byte; there are two options with their values, and the
        // log outlives the call.
        let answer = unsafe {
            sys::cuModuleLoadDataEx(
                &mut raw,
                ptx.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        check("cuModuleLoadDataEx", answer).map_err(|error| with_log(error, &log))?;
        Ok(Module {
            context: context.clone(),
            raw,
        })
    }

    /// Finds a kernel, and has the driver load it now rather than at its first launch, which would
    /// wait for everything that runs on the device.
    fn function(&self, kernel: Kernel) -> Result<Function, DriverError> {
        let _bound = self.context.bind()?;
        let name = CString::new(kernel.name()).map_err(|_| DriverError {
            call: "cuModuleGetFunction",
            code: CUresult::CUDA_ERROR_NOT_FOUND as u32,
            name: format!("{:?} is no name of a kernel", kernel.name()),
        })?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the module is loaded and the name ends with a zero byte.
        let answer = unsafe { sys::cuModuleGetFunction(&mut raw, self.raw, name.as_ptr()) };
        check("cuModuleGetFunction", answer)?;
        let mut registers = 0;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS;
        // SAFETY: the function was found just now.
        let answer = unsafe { sys::cuFuncGetAttribute(&mut registers, attribute, raw) };
        check("cuFuncGetAttribute", answer)?;
        log::debug!("{}: {registers} registers", kernel.name());
        Ok(Function(raw))
    }
}

/// Adds what the driver's compiler said.
fn with_log(mut error: DriverError, log: &[u8]) -> DriverError {
    let text = CStr::from_bytes_until_nul(log).map(|text| text.to_string_lossy());
    if let Some(text) = text.ok().filter(|text| !text.trim().is_empty()) {
        error.name = format!("{} ({})", error.name, text.trim());
    }
    error
}

/// Whether a driver that is old enough says this of PTX that a newer one would take.
fn is_too_new_for_driver(error: &DriverError) -> bool {
    let codes = [
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
        CUresult::CUDA_ERROR_INVALID_PTX,
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU,
    ];
    codes.iter().any(|&code| code as u32 == error.code)
}

/// Positions in [`ARCHITECTURES`] of what a device can run.
fn candidates(capability: u32) -> impl Iterator<Item = usize> {
    let can_run = move |&index: &usize| ARCHITECTURES[index] <= capability;
    (0..ARCHITECTURES.len()).filter(can_run)
}

/// Tries what the device can run, the best first, and goes on to the next only if the driver finds
/// it too new. With what is loaded comes its architecture; the error is the last refusal, or `None`
/// if there is nothing for such a device.
fn best_accepted<T>(
    capability: u32,
    mut load: impl FnMut(usize) -> Result<T, DriverError>,
) -> Result<(u32, T), Option<DriverError>> {
    let mut refusal = None;
    for index in candidates(capability) {
        match load(index) {
            Ok(loaded) => return Ok((ARCHITECTURES[index], loaded)),
            Err(error) if is_too_new_for_driver(&error) => {
                log::info!(
                    "the driver does not take the kernels of compute_{}: {error}",
                    ARCHITECTURES[index]
                );
                refusal = Some(error);
            }
            Err(error) => return Err(Some(error)),
        }
    }
    Err(refusal)
}

/// The oldest CUDA version that takes one of the sets that a device can run.
fn oldest_needed(capability: u32) -> String {
    let of_set = |index: usize| {
        let versions = SOURCES.iter().filter_map(|s| ptx_version(s.ptx[index]));
        versions.max()
    };
    match candidates(capability).filter_map(of_set).min() {
        Some(version) => cuda_version(version),
        None => "a newer one".to_owned(),
    }
}

/// The version of the language that PTX says it is in.
fn ptx_version(ptx: &str) -> Option<(u32, u32)> {
    let line = ptx.lines().find_map(|line| line.strip_prefix(".version"))?;
    let (major, minor) = line.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The first CUDA version whose driver takes PTX of that version, from the release notes in NVIDIA's
/// description of the language.
fn cuda_version((major, minor): (u32, u32)) -> String {
    match (major, minor) {
        (7, minor) => format!("11.{minor}"),
        (8, minor @ 0..=5) => format!("12.{minor}"),
        (8, minor) => format!("12.{}", minor + 1),
        (major, minor) if major > 8 => format!("{}.{minor}", major + 4),
        _ => version_text(super::library::LEAST_VERSION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: CUresult) -> DriverError {
        DriverError {
            call: "cuModuleLoadDataEx",
            code: code as u32,
            name: String::new(),
        }
    }

    #[test]
    fn the_best_that_device_and_driver_take_is_chosen() {
        for (capability, expected) in [(75, 75), (79, 75), (80, 80), (89, 80), (90, 90), (120, 90)]
        {
            let (chosen, index) = best_accepted(capability, Ok).unwrap();
            assert_eq!((chosen, ARCHITECTURES[index]), (expected, expected));
        }
        assert_eq!(best_accepted(70, Ok).unwrap_err(), None);
    }

    #[test]
    fn only_what_is_too_new_is_passed_over() {
        let too_new = CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
        let mut tried = Vec::new();
        let chosen = best_accepted(90, |index| {
            tried.push(ARCHITECTURES[index]);
            if index == 2 {
                Ok(())
            } else {
                Err(refused(too_new))
            }
        });
        assert_eq!(chosen, Ok((75, ())));
        assert_eq!(tried, [90, 80, 75]);
        let mut tried = 0;
        let memory = CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let error = best_accepted::<()>(90, |_| {
            tried += 1;
            Err(refused(memory))
        });
        assert_eq!((tried, error), (1, Err(Some(refused(memory)))));
        let error = best_accepted::<()>(80, |_| Err(refused(too_new)));
        assert_eq!(error, Err(Some(refused(too_new))));
    }

    #[test]
    fn each_kernel_is_in_one_source_and_has_an_entry_in_its_ptx() {
        for kernel in Kernel::ALL {
            assert_eq!(Kernel::ALL[kernel as usize], kernel);
            let holds = |source: &&Source| source.kernels.contains(&kernel);
            let sources: Vec<&Source> = SOURCES.iter().filter(holds).collect();
            assert_eq!(sources.len(), 1, "{kernel:?}");
            for (ptx, architecture) in sources[0].ptx.iter().zip(ARCHITECTURES) {
                let entry = format!(".entry {}(", kernel.name());
                assert!(ptx.contains(&entry), "{kernel:?}, {architecture}: no entry");
                let target = format!(".target sm_{architecture}");
                assert!(ptx.contains(&target), "{kernel:?}: not for {architecture}");
                assert_eq!(ptx.matches('\0').count(), 1);
                assert!(ptx.ends_with('\0'));
            }
        }
    }

    /// The size that the launch copies is the one that the kernel declares.
    #[test]
    fn parameters_are_as_long_as_the_ptx_says() {
        for source in &SOURCES {
            for (ptx, &kernel) in source
                .ptx
                .iter()
                .flat_map(|ptx| source.kernels.iter().map(move |kernel| (ptx, kernel)))
            {
                let entry = format!(".entry {}(", kernel.name());
                let rest = &ptx[ptx.find(&entry).unwrap()..];
                let head = &rest[..rest.find(')').unwrap_or(rest.len())];
                let head = head.split_once('(').unwrap().1;
                assert_eq!(head.matches(".param").count(), 1, "{kernel:?}: {head}");
                let bytes = head.split_once('[').unwrap().1.split_once(']').unwrap().0;
                assert_eq!(bytes.parse(), Ok(parameter_bytes(kernel)), "{kernel:?}");
            }
        }
    }

    #[test]
    fn a_version_of_ptx_is_read_and_named_by_its_cuda() {
        let text = "//\n// Generated\n//\n\n.version 8.5\n.target sm_75\n";
        assert_eq!(ptx_version(text), Some((8, 5)));
        assert_eq!(ptx_version("nothing"), None);
        let named = [
            ((7, 8), "11.8"),
            ((8, 0), "12.0"),
            ((8, 5), "12.5"),
            ((8, 7), "12.8"),
            ((8, 8), "12.9"),
            ((9, 0), "13.0"),
            ((9, 1), "13.1"),
        ];
        for (version, cuda) in named {
            assert_eq!(cuda_version(version), cuda);
        }
        assert!(oldest_needed(90).contains('.'));
    }
}
