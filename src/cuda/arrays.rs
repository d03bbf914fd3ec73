//! A batch's outputs as arrays for other libraries: where they are, their shapes and element types.
//!
//! ```no_run
//! use std::sync::Arc;
//! use pastebank::cuda::{CudaBatch, interop::HandOverError};
//!
//! /// Images and boxes as DLPack tensors for the consumer's stream, as `__dlpack__(stream=…)` gives it.
//! fn tensors(batch: Arc<CudaBatch>, stream: Option<i64>) -> Result<(), HandOverError> {
//!     // SAFETY: the consumer says which stream it reads on, and keeps it until it lets go.
//!     unsafe { batch.hand_over(stream) }?;
//!     let image = batch.image(batch.clone()).to_dlpack_versioned(0);
//!     let boxes = batch.boxes(batch.clone())?.to_dlpack_versioned(0);
//!     // A Python binding puts these into capsules; whoever takes one calls its deleter.
//!     println!("{:?} {:?}", image.into_raw(), boxes.into_raw());
//!     Ok(())
//! }
//! ```
//!
//! `owner` is an `Arc` of whatever keeps the batch: of the batch itself, or of the
//! [`LoadedBatch`](crate::loader::LoadedBatch) that it came in. The memory goes back into the ring
//! when the last one is dropped, and is written again only when the streams that were handed the batch
//! are done with it.

use std::sync::{MutexGuard, PoisonError};

use super::batch::{CudaBatch, grow_with_slack};
use super::driver::{Kernel, RawStream};
use super::error::CudaError;
use super::interop::{DeviceArray, Element, HandOverError, Owner, consumer_stream};
use super::layout::{EXPAND_CHUNK_WORDS, ExpandParameters};
use super::memory::{DeviceMemory, Event};
use crate::compose::Layout;

/// Masks as bytes, made when somebody asks.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    memory: Option<DeviceMemory>,
    /// They are there once this is done.
    done: Option<Event>,
    /// They were made for what the batch holds now.
    is_made: bool,
}

impl Expanded {
    /// The batch holds something else from now on.
    pub fn forget(&mut self) {
        self.is_made = false;
    }
}

/// Threads of a block of the kernel `expand`.
const THREADS: u32 = 256;

impl CudaBatch {
    /// The stream handshake of DLPack and of the Python array API (`__dlpack__`): as
    /// [`CudaBatch::wait_on`] for the stream that a consumer names by those rules
    /// ([`consumer_stream`]). It is called on the consumer's thread.
    ///
    /// A consumer that gives -1 wants no synchronisation: it waits by itself before it reads, and before
    /// it lets go of the batch until it has read everything, since nobody else knows when that is.
    ///
    /// # Errors
    /// [`HandOverError`] for a number that names no stream, and if the driver refuses.
    ///
    /// # Safety
    /// A number above 2 is the address of a stream, as [`RawStream::from_handle`] wants it: a live one
    /// of this device, until the batch is dropped.
    pub unsafe fn hand_over(&self, stream: Option<i64>) -> Result<(), HandOverError> {
        // SAFETY: the caller's promise.
        if let Some(stream) = unsafe { consumer_stream(stream) }? {
            self.wait_on(stream)?;
        }
        Ok(())
    }

    /// The images: `[batch, 3, height, width]`, or `[batch, height, width, 3]` in [`Layout::Hwc`]. None,
    /// an empty array, once a tensor has taken them over.
    pub fn image(&self, owner: Owner) -> DeviceArray {
        let [width, height] = self.sides();
        let address = self.image_address();
        let batch = address.map_or(0, |_| self.len() as i64);
        let shape = match self.spec().layout {
            Layout::Chw => vec![batch, 3, height, width],
            Layout::Hwc => vec![batch, height, width, 3],
        };
        let element = self.spec().element.into();
        self.array(address.unwrap_or(0), shape, element, owner)
    }

    /// Visible masks as bits: u32 `[n, height, words]`, bit x % 32 of word x / 32 being pixel x; `None`
    /// if the output has no masks.
    ///
    /// # Errors
    /// Those of [`CudaBatch::first_instances`], for the number of instances.
    pub fn mask_bits(&self, owner: Owner) -> Result<Option<DeviceArray>, CudaError> {
        if !self.has_masks() {
            return Ok(None);
        }
        let [_, height] = self.sides();
        let count = self.instance_count()? as i64;
        let words = (self.mask_words() / height.unsigned_abs() as usize) as i64;
        let (address, shape) = (self.addresses().masks, vec![count, height, words]);
        Ok(Some(self.array(address, shape, Element::U32, owner)))
    }

    /// Visible masks as bytes of 0 and 1: `[n, height, width]` of `element`, [`Element::Bool`] or
    /// [`Element::U8`]; `None` if the output has no masks. They are made from the bits on `stream`,
    /// eight times as many bytes, when they are first asked for; that stream need not be handed the
    /// batch before.
    ///
    /// # Errors
    /// Those of [`CudaBatch::first_instances`]; [`CudaError::Memory`] if there is no memory for them.
    pub fn masks(
        &self,
        stream: RawStream,
        element: Element,
        owner: Owner,
    ) -> Result<Option<DeviceArray>, CudaError> {
        if !self.has_masks() {
            return Ok(None);
        }
        let [width, height] = self.sides();
        let count = self.instance_count()?;
        let address = self.expand(stream, count)?;
        let shape = vec![count as i64, height, width];
        let element = match element {
            Element::Bool => Element::Bool,
            _ => Element::U8,
        };
        Ok(Some(self.array(address, shape, element, owner)))
    }

    /// Makes the masks' bytes on that stream, once; returns where they are.
    fn expand(&self, stream: RawStream, count: usize) -> Result<u64, CudaError> {
        let mut expanded = self.expanded();
        self.wait_on(stream)?;
        let bytes = count.saturating_mul(self.canvas().pixels());
        if !expanded.is_made && bytes > 0 {
            // Nobody reads the old memory any more: the consumers of the round before were waited for
            // before this round's first kernel, and that is done, since the counts are here.
            grow_with_slack(self.gpu(), &mut expanded.memory, "masks as bytes", bytes)?;
            let address = expanded.memory.as_ref().map_or(0, DeviceMemory::address);
            self.launch_expand(stream, count, address)?;
            if expanded.done.is_none() {
                expanded.done = Some(self.gpu().event(false)?);
            }
            if let Some(done) = &expanded.done {
                done.record(stream)?;
            }
            expanded.is_made = true;
        }
        if let Some(done) = expanded.done.as_ref().filter(|_| expanded.is_made) {
            done.hold_up(stream)?;
        }
        Ok(expanded.memory.as_ref().map_or(0, DeviceMemory::address))
    }

    fn launch_expand(&self, stream: RawStream, count: usize, bytes: u64) -> Result<(), CudaError> {
        let addresses = self.addresses();
        let chunks = self.mask_words().div_ceil(EXPAND_CHUNK_WORDS as usize);
        let parameters = ExpandParameters {
            masks: addresses.masks,
            bytes,
            canvas: addresses.canvas,
            words: addresses.words,
            count: addresses.candidates.min(count as u32),
        };
        let blocks = count.saturating_mul(chunks);
        let Some(blocks) = u32::try_from(blocks)
            .ok()
            .filter(|&blocks| blocks < 1 << 31)
        else {
            return Err(CudaError::TooLarge { blocks });
        };
        let parameters = bytemuck::bytes_of(&parameters);
        // SAFETY: they are of the struct that `expand` takes; masks and bytes are this batch's, which
        // keeps them until the streams that it was handed to are done, and this is one of them.
        let launched = unsafe {
            let driver = self.gpu().driver();
            driver.launch(stream, Kernel::Expand, blocks, THREADS, parameters)
        };
        launched.map_err(|error| self.gpu().failed(Kernel::Expand.name(), error))
    }

    fn expanded(&self) -> MutexGuard<'_, Expanded> {
        self.expanded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sides(&self) -> [i64; 2] {
        [self.canvas().width(), self.canvas().height()].map(i64::from)
    }

    fn array(&self, pointer: u64, shape: Vec<i64>, element: Element, owner: Owner) -> DeviceArray {
        let device = self.gpu().driver().ordinal();
        DeviceArray::new(pointer, shape, element, device, owner)
    }

    /// One value an instance.
    fn column(
        &self,
        pointer: u64,
        element: Element,
        owner: Owner,
    ) -> Result<DeviceArray, CudaError> {
        let shape = vec![self.instance_count()? as i64];
        Ok(self.array(pointer, shape, element, owner))
    }
}

/// Methods that differ in a field, its element type and its words alone.
macro_rules! columns {
    ($($(#[$docs:meta])* $name:ident: $element:ident;)*) => {
        /// The arrays of all instances, those of the first sample first; [`CudaBatch::first_instances`]
        /// says where each sample's begin. Each fails as that does.
        impl CudaBatch {
            $(
                $(#[$docs])*
                ///
                /// # Errors
                /// Those of [`CudaBatch::first_instances`], for the number of instances.
                pub fn $name(&self, owner: Owner) -> Result<DeviceArray, CudaError> {
                    self.column(self.addresses().$name, Element::$element, owner)
                }
            )*
        }
    };
}

columns! {
    /// Category ids: i64 `[n]`.
    labels: I64;
    /// Visible pixels: u32 `[n]`.
    areas: U32;
    /// Pixels on the canvas before occlusion: u32 `[n]`.
    full_areas: U32;
    /// Visible shares, 0..=1: f32 `[n]`.
    visible_fractions: F32;
    /// COCO's crowd flags: u8 `[n]`.
    iscrowd: U8;
    /// 1 where the label was dropped, so that no loss should count the instance: u8 `[n]`.
    ignored: U8;
    /// 1 for instances pasted from the bank, 0 for those of the scene: u8 `[n]`.
    is_pasted: U8;
    /// Index of the cutout for pasted instances, annotation id for the others: i64 `[n]`.
    source_ids: I64;
    /// Number of the layer for pasted instances, -1 for the others: i32 `[n]`.
    layers: I32;
}

impl CudaBatch {
    /// Visible boxes as x0, y0, x1, y1 in pixels, half open: f32 `[n, 4]`.
    ///
    /// # Errors
    /// Those of [`CudaBatch::first_instances`], for the number of instances.
    pub fn boxes(&self, owner: Owner) -> Result<DeviceArray, CudaError> {
        let shape = vec![self.instance_count()? as i64, 4];
        Ok(self.array(self.addresses().boxes, shape, Element::F32, owner))
    }
}
