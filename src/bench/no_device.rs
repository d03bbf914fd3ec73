//! Without the feature `cuda` there is no GPU to measure.

use super::{Bench, BenchError, Measurement, On, Told, Work};

/// There is none.
pub(super) enum Device {}

impl Device {
    pub fn new(
        on: &On,
        _: &mut Bench<'_>,
        _: &mut dyn FnMut(Told<'_>),
    ) -> Result<Option<Device>, BenchError> {
        match on {
            On::Cpu => Ok(None),
        }
    }

    pub fn measure(
        &mut self,
        _: &Bench<'_>,
        _: &Work<'_>,
        _: Measurement,
    ) -> Result<Vec<Measurement>, BenchError> {
        match *self {}
    }
}
