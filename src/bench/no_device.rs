//! Without the feature `cuda` there is no GPU to measure.

use super::{Bench, BenchError, Composing, LoaderReport, Measurement, On, Told, Work};

/// There is none.
pub(super) enum Device {}

impl Device {
    pub fn new(on: &On, _: &mut Bench<'_>) -> Result<Option<Device>, BenchError> {
        match on {
            On::Cpu => Ok(None),
        }
    }

    pub fn measure(
        &mut self,
        _: &mut Bench<'_>,
        _: &Work<'_>,
        _: &Composing,
        _: &mut dyn FnMut(Told<'_>),
    ) -> Result<(Vec<Measurement>, LoaderReport), BenchError> {
        match *self {}
    }
}
