//! A loader that has nothing to compose.

use std::sync::Arc;
use std::time::Duration;

use crate::compose::{Batch, ComposeError, Encoded};
use crate::loader::StageTimes;
use crate::loader::target::{Compose, Refusal, Role};

/// Where each batch is the same finished one: all that is left to a [`Loader`](crate::loader::Loader)
/// is drawing, checking, encoding, its queues and assembling.
#[derive(Debug)]
pub(super) struct Free(pub Arc<Batch>);

impl Compose for Free {
    type Batch = Batch;
    type Memory = Arc<Batch>;
    type Piece = ();
    type Scratch = ();
    type Shared = ();

    fn shared(&self) -> Arc<()> {
        Arc::new(())
    }

    fn memory(&mut self, _: Role) -> Result<Arc<Batch>, ComposeError> {
        Ok(Arc::clone(&self.0))
    }

    fn begin(&mut self, _: &mut Arc<Batch>, _: usize) -> Result<(), ComposeError> {
        Ok(())
    }

    fn take(_: &mut Arc<Batch>, _: usize) {}

    fn put(_: &mut Arc<Batch>, _: usize, (): ()) {}

    fn compose(
        (): &(),
        (): &mut (),
        encoded: &Encoded<'_>,
        _: &[bool],
        _: u64,
        (): &mut (),
    ) -> Result<u64, Refusal> {
        // What was encoded must have been, though nobody composes it.
        std::hint::black_box(encoded);
        Ok(0)
    }

    fn stage(stages: &mut StageTimes) -> &mut Duration {
        &mut stages.compose
    }

    fn finish(&mut self, _: &mut Arc<Batch>, _: usize) -> Result<(), Refusal> {
        Ok(())
    }

    fn batch(memory: &Arc<Batch>) -> &Batch {
        memory
    }

    fn bytes(batch: &Batch) -> u64 {
        batch.image_bytes().len() as u64
    }
}
