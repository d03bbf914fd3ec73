//! UniPC of order 2 with B2(h), predicting images (arXiv 2302.04867): each step first corrects the
//! last one by what the network then predicted, then goes on.

use candle_core::{Result, Tensor};

use super::schedule::Levels;
use super::{Prediction, Scheduler, SchedulerConfig};

#[derive(Debug)]
pub(super) struct UniPc {
    levels: Levels,
    prediction: Prediction,
    /// Images predicted at the last step and the one before.
    images: [Option<Tensor>; 2],
    /// The sample that the last step started from, and the step's order.
    last: Option<(Tensor, usize)>,
}

/// What both halves share of a stretch of the way, from one noise level to the next.
struct Stretch {
    /// Factor of the sample.
    kept: f64,
    /// Factor of what is added of images; the paper's α B(h), negative.
    added: f64,
    /// The paper's h with its sign turned.
    negative_h: f64,
    /// Where the step before the stretch lies, in units of h from its start.
    before: Option<f64>,
}

impl UniPc {
    pub fn new(config: &SchedulerConfig, steps: usize) -> UniPc {
        UniPc {
            levels: Levels::of_solver(config, steps),
            prediction: config.prediction_type,
            images: [None, None],
            last: None,
        }
    }

    fn stretch(&self, from: usize) -> Result<Stretch> {
        let (start, end) = (self.levels.level(from)?, self.levels.level(from + 1)?);
        let negative_h = start.lambda - end.lambda;
        let before = from.checked_sub(1).map(|index| self.levels.level(index));
        let before = before.transpose()?;
        Ok(Stretch {
            kept: end.sigma / start.sigma,
            added: end.alpha * negative_h.exp_m1(),
            negative_h,
            before: before.map(|level| (start.lambda - level.lambda) / negative_h),
        })
    }

    /// The sample at `index` again, now that `image` has been predicted from it.
    fn correct(&self, image: &Tensor, index: usize, sample: &Tensor) -> Result<Tensor> {
        let (Some((last, order)), [Some(latest), earlier]) = (&self.last, &self.images) else {
            return Ok(sample.clone());
        };
        let Some(from) = index.checked_sub(1) else {
            return Ok(sample.clone());
        };
        let stretch = self.stretch(from)?;
        let change = (image - latest)?;
        let correction = match (earlier, stretch.before) {
            (Some(earlier), Some(before)) if *order == 2 => {
                let [old, new] = stretch.weights(before);
                (((earlier - latest)? * (old / before))? + (change * new)?)?
            }
            _ => (change * 0.5)?,
        };
        (last * stretch.kept)? - ((latest + correction)? * stretch.added)?
    }

    fn predict(&self, index: usize, sample: &Tensor, order: usize) -> Result<Tensor> {
        let stretch = self.stretch(index)?;
        let [Some(latest), earlier] = &self.images else {
            candle_core::bail!("nothing has been predicted");
        };
        let image = match (earlier, stretch.before) {
            (Some(earlier), Some(before)) if order == 2 => {
                (latest + ((earlier - latest)? * (0.5 / before))?)?
            }
            _ => latest.clone(),
        };
        (sample * stretch.kept)? - (image * stretch.added)?
    }
}

impl Stretch {
    /// Solves for the weights of the earlier and the new change: they add up to the first moment,
    /// and weighted by where they lie to the second.
    fn weights(&self, before: f64) -> [f64; 2] {
        let growth = self.negative_h.exp_m1();
        let first = growth / self.negative_h - 1.0;
        let second = first / self.negative_h - 0.5;
        let (first, second) = (first / growth, 2.0 * second / growth);
        let old = (first - second) / (1.0 - before);
        [old, first - old]
    }
}

impl Scheduler for UniPc {
    fn timesteps(&self) -> &[f64] {
        &self.levels.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        sample: &Tensor,
        _noise: Option<&Tensor>,
    ) -> Result<Tensor> {
        let now = self.levels.level(index)?;
        let (image, _) = now.predicted(self.prediction, sample, model_output)?;
        let sample = self.correct(&image, index, sample)?;
        self.images = [Some(image), self.images[0].take()];
        let left = self.levels.timesteps.len().saturating_sub(index);
        let order = 2.min(left).min(index + 1);
        let next = self.predict(index, &sample, order)?;
        self.last = Some((sample, order));
        Ok(next)
    }
}
