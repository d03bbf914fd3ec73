//! Where a loader composes: what the ring and the worker threads ask of the CPU and of a GPU.
//!
//! A batch goes round: the loader's thread [begins](Compose::begin) it, its pieces go out with the
//! samples and come back ([`Compose::take`], [`Compose::put`]), worker threads
//! [compose](Compose::compose) into them, and the loader's thread [finishes](Compose::finish) it.
//! On the CPU a batch is finished when its samples are; on a GPU that is when copy and kernels are
//! enqueued, and the device may work on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::statistics::{DeviceFigures, StageTimes};
use crate::compose::{ComposeError, Encoded};

/// Where a [`Loader`](super::Loader) composes: [`Cpu`](super::Cpu) or, with the feature `cuda`, a
/// GPU. Nobody else can implement it.
pub trait Target: Compose {}

impl<T: Compose> Target for T {}

/// Why a piece or a batch could not be composed.
#[derive(Debug)]
pub enum Refusal {
    /// It never will be.
    Compose(ComposeError),
    /// Its memory is too small: the batch must be composed again in more.
    TooSmall,
}

impl<E: Into<ComposeError>> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal::Compose(error.into())
    }
}

/// Which batch of a step a memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The samples.
    Samples,
    /// Their unpasted twins.
    Twins,
}

/// What [`Target`] stands for. Functions without `self` are those of worker threads and of the
/// training loop's hands.
pub trait Compose: fmt::Debug + Send + Sized + 'static {
    /// A batch as the training loop gets it.
    type Batch: fmt::Debug + Send + 'static;
    /// A batch and what else its way round takes.
    type Memory: fmt::Debug + Send + 'static;
    /// One sample's part of it.
    type Piece: fmt::Debug + Send + 'static;
    /// One thread's scratch.
    type Scratch: fmt::Debug + Default;
    /// What all threads share.
    type Shared: fmt::Debug + Send + Sync + 'static;

    /// What the worker threads share.
    fn shared(&self) -> Arc<Self::Shared>;

    /// Memory for one more batch.
    fn memory(&mut self, role: Role) -> Result<Self::Memory, ComposeError>;

    /// Empties a memory that is free and makes room for `count` samples.
    fn begin(&mut self, memory: &mut Self::Memory, count: usize) -> Result<(), ComposeError>;

    /// Takes the piece of sample `number` out.
    fn take(memory: &mut Self::Memory, number: usize) -> Self::Piece;

    /// Puts it back.
    fn put(memory: &mut Self::Memory, number: usize, piece: Self::Piece);

    /// Composes the one sample of `encoded` into its piece. `ignored` says which layers' labels were
    /// dropped, `ticket` is the batch's number. Returns how many bytes of source pixels were read.
    fn compose(
        shared: &Self::Shared,
        scratch: &mut Self::Scratch,
        encoded: &Encoded<'_>,
        ignored: &[bool],
        ticket: u64,
        piece: &mut Self::Piece,
    ) -> Result<u64, Refusal>;

    /// The stage that [`Compose::compose`] counts as.
    fn stage(stages: &mut StageTimes) -> &mut Duration;

    /// Whether composing will read the pixels of a cutout at the mip level whose width and height
    /// `level` says.
    fn reads(
        _: &Self::Shared,
        _ticket: u64,
        _cutout: u64,
        _level: impl FnOnce() -> [u32; 2],
    ) -> bool {
        true
    }

    /// Makes a batch of the `count` pieces, which are all back.
    fn finish(&mut self, memory: &mut Self::Memory, count: usize) -> Result<(), Refusal>;

    /// The batch.
    fn batch(memory: &Self::Memory) -> &Self::Batch;

    /// Bytes of its images.
    fn bytes(batch: &Self::Batch) -> u64;

    /// The training loop has dropped the batch.
    fn let_go(_: &mut Self::Memory) {}

    /// Whether [`Compose::begin`] would not wait.
    fn is_free(_: &Self::Memory) -> Result<bool, ComposeError> {
        Ok(true)
    }

    /// Waits on this thread until it is free.
    fn wait_until_free(_: &Self::Memory) -> Result<(), ComposeError> {
        Ok(())
    }

    /// A batch was refused as too small: if this memory of it was, all that is begun from now on is
    /// larger. Returns whether it was.
    fn grow(&mut self, _: &Self::Memory) -> bool {
        false
    }

    /// Batches from `ticket` on come back unfinished, and none of them will be finished.
    fn forget_from(&mut self, _ticket: u64) {}

    /// What crossed the link to the device.
    fn figures(&self) -> Option<DeviceFigures> {
        None
    }

    /// The run is over, and all threads have ended.
    fn shut_down(&mut self) {}
}
