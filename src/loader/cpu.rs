//! Composing on the worker threads themselves.

use std::sync::Arc;
use std::time::Duration;

use super::statistics::StageTimes;
use super::target::{Compose, Refusal, Role};
use crate::compose::batch::SampleSlot;
use crate::compose::cpu::SampleComposer;
use crate::compose::{Batch, ComposeError, Encoded, OutputSpec};
use crate::geometry::Size;

/// The CPU, as where a [`Loader`](super::Loader) composes.
#[derive(Debug)]
pub struct Cpu {
    output: OutputSpec,
    canvas: Size,
}

/// One sample's part of a batch.
#[derive(Debug, Default)]
pub struct CpuPiece(SampleSlot);

/// One thread's scratch.
#[derive(Debug, Default)]
pub struct CpuScratch(SampleComposer);

impl Cpu {
    pub(super) fn new(output: OutputSpec, canvas: Size) -> Cpu {
        Cpu { output, canvas }
    }
}

impl Compose for Cpu {
    type Batch = Batch;
    type Memory = Batch;
    type Piece = CpuPiece;
    type Scratch = CpuScratch;
    type Shared = OutputSpec;

    fn shared(&self) -> Arc<OutputSpec> {
        Arc::new(self.output)
    }

    fn memory(&mut self, _: Role) -> Result<Batch, ComposeError> {
        Ok(Batch::new(self.output))
    }

    fn begin(&mut self, memory: &mut Batch, count: usize) -> Result<(), ComposeError> {
        memory.begin(self.canvas, count)
    }

    fn take(memory: &mut Batch, number: usize) -> CpuPiece {
        CpuPiece(std::mem::take(&mut memory.slots_mut()[number]))
    }

    fn put(memory: &mut Batch, number: usize, piece: CpuPiece) {
        memory.slots_mut()[number] = piece.0;
    }

    fn compose(
        output: &OutputSpec,
        scratch: &mut CpuScratch,
        encoded: &Encoded<'_>,
        ignored: &[bool],
        _ticket: u64,
        CpuPiece(slot): &mut CpuPiece,
    ) -> Result<u64, Refusal> {
        slot.settled.clear();
        scratch.0.compose(encoded, 0, output, slot)?;
        for instance in &mut slot.settled {
            let layer = instance.layer.map(usize::from);
            let ignored = layer.and_then(|layer| ignored.get(layer));
            instance.ignored = u8::from(ignored.copied().unwrap_or(false));
        }
        Ok(encoded.read_bytes())
    }

    fn stage(stages: &mut StageTimes) -> &mut Duration {
        &mut stages.compose
    }

    fn finish(&mut self, memory: &mut Batch, count: usize) -> Result<(), Refusal> {
        memory.finish(count);
        Ok(())
    }

    fn batch(memory: &Batch) -> &Batch {
        memory
    }

    fn bytes(batch: &Batch) -> u64 {
        batch.image_bytes().len() as u64
    }
}
