//! DLPack: arrays for any library that reads its structs (PyTorch, JAX, CuPy, TVM, …).
//!
//! The structs are those of dlpack.h (<https://github.com/dmlc/dlpack>), both the one of versions
//! below 1 and the versioned one. A Python binding puts the pointer into a capsule of the name
//! [`CAPSULE`] or [`CAPSULE_VERSIONED`]. The consumer's stream is [`hand_over`](super::CudaBatch::hand_over)'s
//! business.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use super::interop::{DeviceArray, Element, Owner};

/// Name of the Python capsule that holds a [`DLManagedTensor`].
pub const CAPSULE: &str = "dltensor";
/// Name of the Python capsule that holds a [`DLManagedTensorVersioned`].
pub const CAPSULE_VERSIONED: &str = "dltensor_versioned";
/// [`DLManagedTensorVersioned::flags`]: nobody may write to the tensor.
pub const READ_ONLY: u64 = 1;

/// dlpack.h's `kDLCUDA`.
const CUDA: i32 = 2;

/// The version of the structs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DLPackVersion {
    /// Another one means another layout.
    pub major: u32,
    /// Another one means more values of the enums.
    pub minor: u32,
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DLDevice {
    /// 2: CUDA.
    pub device_type: i32,
    /// Its number.
    pub device_id: i32,
}

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DLDataType {
    /// 0 signed, 1 unsigned, 2 IEEE floating point, 4 bfloat, 6 boolean.
    pub code: u8,
    /// Bits of a value.
    pub bits: u8,
    /// Values of a vector: 1.
    pub lanes: u16,
}

/// An array that is somebody else's.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DLTensor {
    /// Its address on the device; null if it has no values.
    pub data: *mut c_void,
    /// Where it is.
    pub device: DLDevice,
    /// Dimensions.
    pub ndim: i32,
    /// Element type.
    pub dtype: DLDataType,
    /// `[ndim]`, on the host.
    pub shape: *mut i64,
    /// `[ndim]`, on the host, in values.
    pub strides: *mut i64,
    /// What is to be added to `data`: 0.
    pub byte_offset: u64,
}

/// An array with what lets go of it, as in versions below 1.
#[derive(Debug)]
#[repr(C)]
pub struct DLManagedTensor {
    /// The array.
    pub dl_tensor: DLTensor,
    /// Ours.
    pub manager_ctx: *mut c_void,
    /// Called once by whoever has the struct, on any thread; the struct is gone then.
    pub deleter: Option<unsafe extern "C" fn(*mut DLManagedTensor)>,
}

/// An array with what lets go of it, as from version 1 on.
#[derive(Debug)]
#[repr(C)]
pub struct DLManagedTensorVersioned {
    /// 1.0.
    pub version: DLPackVersion,
    /// Ours.
    pub manager_ctx: *mut c_void,
    /// Called once by whoever has the struct, on any thread; the struct is gone then.
    pub deleter: Option<unsafe extern "C" fn(*mut DLManagedTensorVersioned)>,
    /// [`READ_ONLY`] or 0.
    pub flags: u64,
    /// The array.
    pub dl_tensor: DLTensor,
}

/// One of the two structs: [`DLManagedTensor`] and [`DLManagedTensorVersioned`].
pub trait Managed: Sized + private::Sealed {
    /// The struct.
    #[doc(hidden)]
    fn new(tensor: DLTensor, context: *mut c_void, flags: u64) -> Self;
    /// Its `manager_ctx`.
    #[doc(hidden)]
    fn context(&self) -> *mut c_void;
}

mod private {
    /// Only the two structs are laid out as consumers expect.
    pub trait Sealed {}
    impl Sealed for super::DLManagedTensor {}
    impl Sealed for super::DLManagedTensorVersioned {}
}

impl Managed for DLManagedTensor {
    fn new(dl_tensor: DLTensor, manager_ctx: *mut c_void, _flags: u64) -> DLManagedTensor {
        DLManagedTensor {
            dl_tensor,
            manager_ctx,
            deleter: Some(delete::<DLManagedTensor>),
        }
    }

    fn context(&self) -> *mut c_void {
        self.manager_ctx
    }
}

impl Managed for DLManagedTensorVersioned {
    fn new(dl_tensor: DLTensor, manager_ctx: *mut c_void, flags: u64) -> DLManagedTensorVersioned {
        DLManagedTensorVersioned {
            version: DLPackVersion { major: 1, minor: 0 },
            manager_ctx,
            deleter: Some(delete::<DLManagedTensorVersioned>),
            flags,
            dl_tensor,
        }
    }

    fn context(&self) -> *mut c_void {
        self.manager_ctx
    }
}

/// A DLPack struct that nobody has taken yet; dropped, it lets go of the array.
#[derive(Debug)]
pub struct Exported<M: Managed> {
    managed: NonNull<M>,
}

// SAFETY: the struct and all that it points to belong to this value alone, and its owner is Send.
unsafe impl<M: Managed> Send for Exported<M> {}

/// All that a DLPack struct needs to live.
struct Export<M> {
    /// Filled in once the addresses of the rest are known.
    managed: Option<M>,
    shape: Vec<i64>,
    strides: Vec<i64>,
    _owner: Owner,
}

impl DeviceArray {
    /// The array as versions of DLPack below 1 have it.
    pub fn to_dlpack(&self) -> Exported<DLManagedTensor> {
        Exported::new(self, 0)
    }

    /// The array as DLPack 1 has it; `flags` is [`READ_ONLY`] or 0.
    pub fn to_dlpack_versioned(&self, flags: u64) -> Exported<DLManagedTensorVersioned> {
        Exported::new(self, flags)
    }
}

impl<M: Managed> Exported<M> {
    fn new(array: &DeviceArray, flags: u64) -> Exported<M> {
        let mut export = Box::new(Export {
            managed: None,
            shape: array.shape().to_vec(),
            strides: array.strides(),
            _owner: array.owner().clone(),
        });
        let tensor = DLTensor {
            data: match array.is_empty() {
                true => std::ptr::null_mut(),
                false => std::ptr::without_provenance_mut(array.pointer() as usize),
            },
            device: DLDevice {
                device_type: CUDA,
                device_id: array.device(),
            },
            ndim: export.shape.len() as i32,
            dtype: data_type(array.element()),
            shape: export.shape.as_mut_ptr(),
            strides: export.strides.as_mut_ptr(),
            byte_offset: 0,
        };
        let export = Box::into_raw(export);
        // SAFETY: the box is ours alone until the deleter takes it back.
        let managed = unsafe { &mut (*export).managed };
        let managed = managed.insert(M::new(tensor, export.cast(), flags));
        Exported {
            managed: NonNull::from(managed),
        }
    }

    /// The struct, to be read.
    pub fn as_ptr(&self) -> *const M {
        self.managed.as_ptr()
    }

    /// Hands the struct to a consumer, who calls its deleter once.
    pub fn into_raw(self) -> NonNull<M> {
        ManuallyDrop::new(self).managed
    }
}

impl<M: Managed> Drop for Exported<M> {
    fn drop(&mut self) {
        // SAFETY: nobody has taken the struct, so that its deleter was not called.
        unsafe { delete(self.managed.as_ptr()) };
    }
}

/// The deleter of both structs.
///
/// # Safety
/// `managed` is null, or comes from [`Exported::into_raw`] and was not deleted before.
unsafe extern "C" fn delete<M: Managed>(managed: *mut M) {
    let Some(managed) = NonNull::new(managed) else {
        return;
    };
    // SAFETY: it is a struct of ours that is still there, says the caller.
    let export = unsafe { managed.as_ref() }.context().cast::<Export<M>>();
    // SAFETY: the context is the box that `Exported::new` leaked, and is taken back once.
    let export = unsafe { Box::from_raw(export) };
    // What the owner does when it is dropped may fail, but must not unwind into a consumer's code.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(export))) {
        let message = crate::panic_message(&*panic);
        log::error!("letting go of a DLPack tensor panicked: {message}");
    }
}

fn data_type(element: Element) -> DLDataType {
    let code = match element {
        Element::I32 | Element::I64 => 0,
        Element::U8 | Element::U32 => 1,
        Element::F16 | Element::F32 => 2,
        Element::BF16 => 4,
        Element::Bool => 6,
    };
    DLDataType {
        code,
        bits: 8 * element.bytes() as u8,
        lanes: 1,
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What a C compiler says of dlpack.h on a 64-bit machine.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn structs_are_laid_out_as_the_header_has_them() {
        assert_eq!((size_of::<DLDevice>(), size_of::<DLDataType>()), (8, 4));
        assert_eq!(size_of::<DLTensor>(), 48);
        assert_eq!(offset_of!(DLTensor, data), 0);
        assert_eq!(offset_of!(DLTensor, device), 8);
        assert_eq!(offset_of!(DLTensor, ndim), 16);
        assert_eq!(offset_of!(DLTensor, dtype), 20);
        assert_eq!(offset_of!(DLTensor, shape), 24);
        assert_eq!(offset_of!(DLTensor, strides), 32);
        assert_eq!(offset_of!(DLTensor, byte_offset), 40);
        assert_eq!(size_of::<DLManagedTensor>(), 64);
        assert_eq!(offset_of!(DLManagedTensor, dl_tensor), 0);
        assert_eq!(offset_of!(DLManagedTensor, manager_ctx), 48);
        assert_eq!(offset_of!(DLManagedTensor, deleter), 56);
        assert_eq!(size_of::<DLManagedTensorVersioned>(), 80);
        assert_eq!(offset_of!(DLManagedTensorVersioned, version), 0);
        assert_eq!(offset_of!(DLManagedTensorVersioned, manager_ctx), 8);
        assert_eq!(offset_of!(DLManagedTensorVersioned, deleter), 16);
        assert_eq!(offset_of!(DLManagedTensorVersioned, flags), 24);
        assert_eq!(offset_of!(DLManagedTensorVersioned, dl_tensor), 32);
    }

    /// Counts how often it is dropped, and then panics if it is told to.
    struct Keeper(Arc<AtomicUsize>, bool);

    impl Drop for Keeper {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            assert!(!self.1, "asked to");
        }
    }

    fn array(drops: &Arc<AtomicUsize>, panics: bool) -> DeviceArray {
        let owner = Arc::new(Keeper(drops.clone(), panics));
        DeviceArray::new(0x7f00_0100, vec![2, 5, 7], Element::Bool, 3, owner)
    }

    #[test]
    fn a_consumer_reads_the_struct_and_deletes_it_on_another_thread() {
        let drops = Arc::new(AtomicUsize::new(0));
        let exported = array(&drops, false).to_dlpack_versioned(READ_ONLY);
        let address = exported.into_raw().as_ptr().expose_provenance();
        assert_eq!(
            drops.load(Ordering::SeqCst),
            0,
            "the struct keeps the owner"
        );
        std::thread::spawn(move || {
            let managed =
                std::ptr::with_exposed_provenance_mut::<DLManagedTensorVersioned>(address);
            // SAFETY: into_raw handed this struct over, and it is deleted below and only there.
            let read = unsafe { &*managed };
            assert_eq!(read.version, DLPackVersion { major: 1, minor: 0 });
            assert_eq!(read.flags, READ_ONLY);
            let tensor = read.dl_tensor;
            assert_eq!(tensor.data as usize, 0x7f00_0100);
            assert_eq!((tensor.device.device_type, tensor.device.device_id), (2, 3));
            let bool8 = DLDataType {
                code: 6,
                bits: 8,
                lanes: 1,
            };
            assert_eq!((tensor.dtype, tensor.byte_offset), (bool8, 0));
            let list = |first: *mut i64| {
                // SAFETY: both lists have ndim entries and live as long as the struct.
                unsafe { std::slice::from_raw_parts(first, tensor.ndim as usize) }.to_vec()
            };
            assert_eq!(list(tensor.shape), [2, 5, 7]);
            assert_eq!(list(tensor.strides), [35, 7, 1]);
            let deleter = read.deleter.unwrap();
            // SAFETY: the struct is ours, and not read any more.
            unsafe { deleter(managed) };
        })
        .join()
        .unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_nobody_takes_is_let_go_of_once() {
        let drops = Arc::new(AtomicUsize::new(0));
        let array = array(&drops, false);
        let (first, second) = (array.to_dlpack(), array.to_dlpack_versioned(0));
        drop(array);
        drop(first);
        assert_eq!(drops.load(Ordering::SeqCst), 0, "the other struct is there");
        drop(second);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn no_panic_gets_out_of_a_deleter_and_null_is_nothing() {
        let drops = Arc::new(AtomicUsize::new(0));
        let managed = array(&drops, true).to_dlpack().into_raw();
        // SAFETY: into_raw handed the struct over, and it is not read.
        unsafe { (managed.as_ref().deleter.unwrap())(managed.as_ptr()) };
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        // SAFETY: null is allowed.
        unsafe { delete::<DLManagedTensorVersioned>(std::ptr::null_mut()) };
    }

    #[test]
    fn an_array_without_values_has_no_address() {
        let none = DeviceArray::new(0x100, vec![0, 4], Element::F32, 0, Arc::new(()));
        let exported = none.to_dlpack();
        // SAFETY: the struct is there until `exported` is dropped.
        let tensor = unsafe { (*exported.as_ptr()).dl_tensor };
        assert!(tensor.data.is_null());
        assert_eq!(tensor.ndim, 2);
    }

    #[test]
    fn element_types_have_the_headers_codes() {
        let pairs = [
            (Element::Bool, 6, 8),
            (Element::U8, 1, 8),
            (Element::U32, 1, 32),
            (Element::I32, 0, 32),
            (Element::I64, 0, 64),
            (Element::F16, 2, 16),
            (Element::BF16, 4, 16),
            (Element::F32, 2, 32),
        ];
        for (element, code, bits) in pairs {
            assert_eq!(
                data_type(element),
                DLDataType {
                    code,
                    bits,
                    lanes: 1
                }
            );
        }
    }
}
