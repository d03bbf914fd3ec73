//! The probability of layers over a run.

use super::settings::RecipeSettings;
use crate::sampler::At;

impl RecipeSettings {
    /// The probability that a sample at `at` gets layers.
    pub fn probability_at(&self, at: &At) -> f64 {
        if self.is_over(at) {
            return 0.0;
        }
        let steps = &self.schedule.steps;
        let begun = steps.partition_point(|step| step.from <= at.step);
        let (from, now) = match begun.checked_sub(1).and_then(|last| steps.get(last)) {
            Some(step) => (step.from, step.probability),
            None => (0, self.probability),
        };
        match steps.get(begun) {
            Some(next) if self.schedule.linear => {
                let part = (at.step - from) as f64 / (next.from - from) as f64;
                now + part * (next.probability - now)
            }
            _ => now,
        }
    }

    /// Whether `at` lies in the last epochs, which go without pasting.
    pub(super) fn is_over(&self, at: &At) -> bool {
        at.epochs.is_some_and(|epochs| {
            at.epoch >= epochs.saturating_sub(self.schedule.without_last_epochs)
        })
    }
}
