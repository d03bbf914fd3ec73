//! Outputs for other libraries: where an array is on the device, what keeps it there, and which
//! stream may read it when.
//!
//! A batch's arrays are written by our stream, and used again for a later batch once they are let go
//! of. So whoever takes one says which stream reads it: that stream waits for ours at the beginning,
//! and at the end ours waits for that one ([`release_stream`]).

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::driver::RawStream;
use super::error::CudaError;
use crate::compose::ElementType;

/// What keeps an array's memory as it is: dropped when the last user lets go, on whichever thread.
pub type Owner = Arc<dyn Any + Send + Sync>;

/// Element type of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Bytes of 0 or 1.
    Bool,
    /// 8 bits.
    U8,
    /// 32 bits; mask words too.
    U32,
    /// 32 bits with a sign.
    I32,
    /// 64 bits with a sign.
    I64,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE single precision.
    F32,
}

impl Element {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Element::Bool | Element::U8 => 1,
            Element::F16 | Element::BF16 => 2,
            Element::U32 | Element::I32 | Element::F32 => 4,
            Element::I64 => 8,
        }
    }
}

impl From<ElementType> for Element {
    fn from(element: ElementType) -> Element {
        match element {
            ElementType::U8 => Element::U8,
            ElementType::F16 => Element::F16,
            ElementType::BF16 => Element::BF16,
            ElementType::F32 => Element::F32,
        }
    }
}

/// An array on a device: the last dimension is dense, each other one follows without gaps.
#[derive(Clone)]
pub struct DeviceArray {
    pointer: u64,
    shape: Vec<i64>,
    element: Element,
    device: i32,
    owner: Owner,
}

impl DeviceArray {
    /// The array at an address of the CUDA device of that number. `owner` keeps the memory: nobody
    /// frees it or writes to it for another purpose before that is dropped.
    pub fn new(
        pointer: u64,
        shape: Vec<i64>,
        element: Element,
        device: usize,
        owner: Owner,
    ) -> DeviceArray {
        DeviceArray {
            pointer,
            shape,
            element,
            // CUDA counts devices with this type.
            device: i32::try_from(device).unwrap_or(i32::MAX),
            owner,
        }
    }

    /// Its address on the device.
    pub fn pointer(&self) -> u64 {
        self.pointer
    }

    /// Its dimensions.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Its element type.
    pub fn element(&self) -> Element {
        self.element
    }

    /// The number of its CUDA device.
    pub fn device(&self) -> i32 {
        self.device
    }

    /// Values in it.
    pub fn len(&self) -> usize {
        let sides = self.shape.iter().map(|&side| usize::try_from(side));
        sides.fold(1, |length: usize, side| {
            length.saturating_mul(side.unwrap_or(0))
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.len().saturating_mul(self.element.bytes())
    }

    /// The distance in values from one to the next in each dimension.
    pub fn strides(&self) -> Vec<i64> {
        let mut strides = vec![1i64; self.shape.len()];
        for dimension in (1..strides.len()).rev() {
            let side = self.shape[dimension].max(1);
            strides[dimension - 1] = strides[dimension].saturating_mul(side);
        }
        strides
    }

    /// What keeps its memory.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl fmt::Debug for DeviceArray {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} {:?} at {:#x} of CUDA device {}",
            self.element, self.shape, self.pointer, self.device
        )
    }
}

/// An array that could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The consumer named no stream of CUDA's.
    #[error(
        "stream {stream}: 1 (the legacy default stream), 2 (the per-thread one), the address of a \
         stream, or -1 (no synchronisation) was expected; 0 could be either default stream"
    )]
    Stream {
        /// What it gave.
        stream: i64,
    },
    /// The consumer's stream could not be made to wait.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

/// The stream that a consumer names, by the rules for CUDA of the Python array API standard
/// (`__dlpack__`): `None` is the legacy default stream, as is 1; 2 is the per-thread default stream;
/// a number above 2 is a stream's address. -1 gives `None`: the consumer sees to it by itself that it
/// reads nothing too early.
///
/// # Errors
/// [`HandOverError::Stream`] for 0, which could mean either default stream, and for what is below -1.
///
/// # Safety
/// A number above 2 is the address of a stream, as [`RawStream::from_handle`] wants it.
pub unsafe fn consumer_stream(stream: Option<i64>) -> Result<Option<RawStream>, HandOverError> {
    match stream {
        None => Ok(Some(RawStream::LEGACY)),
        Some(-1) => Ok(None),
        Some(stream @ 1..) => {
            // SAFETY: it is such a stream's address, says the caller, or one of CUDA's own two.
            Ok(Some(unsafe {
                RawStream::from_handle(stream.unsigned_abs())
            }))
        }
        Some(stream) => Err(HandOverError::Stream { stream }),
    }
}

/// The stream whose work says when a consumer's is done, for an event that may be recorded on any
/// thread: where the consumer reads on its thread's default stream, that is the legacy one, which
/// waits for it.
pub fn release_stream(consumer: RawStream) -> RawStream {
    match consumer {
        RawStream::PER_THREAD => RawStream::LEGACY,
        stream => stream,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_read_as_the_standard_has_them() {
        // SAFETY: no stream is used, only named.
        let read = |stream| unsafe { consumer_stream(stream) }.map_err(|error| error.to_string());
        assert_eq!(read(None), Ok(Some(RawStream::LEGACY)));
        assert_eq!(read(Some(-1)), Ok(None));
        assert_eq!(read(Some(1)), Ok(Some(RawStream::LEGACY)));
        assert_eq!(read(Some(2)), Ok(Some(RawStream::PER_THREAD)));
        let address = 0x7f12_3456_7890;
        let stream = read(Some(address)).unwrap().unwrap();
        assert_eq!(stream.handle(), address as u64);
        for wrong in [0, -2, i64::MIN] {
            let message = read(Some(wrong)).unwrap_err();
            assert!(
                message.starts_with(&format!("stream {wrong}: ")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_threads_own_stream_is_waited_for_through_the_legacy_one() {
        assert_eq!(release_stream(RawStream::PER_THREAD), RawStream::LEGACY);
        // SAFETY: the stream is not used, only compared.
        let other = unsafe { RawStream::from_handle(0x7f00) };
        for stream in [RawStream::LEGACY, other] {
            assert_eq!(release_stream(stream), stream);
        }
    }

    #[test]
    fn lengths_and_strides_are_those_of_dense_arrays() {
        let array = |shape: &[i64], element| {
            DeviceArray::new(256, shape.to_vec(), element, 1, Arc::new(()))
        };
        let image = array(&[2, 3, 5, 7], Element::F16);
        assert_eq!((image.len(), image.bytes()), (210, 420));
        assert_eq!(image.strides(), [105, 35, 7, 1]);
        let none = array(&[0, 5, 7], Element::Bool);
        assert!(none.is_empty() && none.bytes() == 0);
        assert_eq!(none.strides(), [35, 7, 1]);
        assert_eq!(array(&[4], Element::I64).bytes(), 32);
    }
}
