//! What holds a loader up, in a sentence.

use super::{Report, Spread, Stage};

/// A loader this close to its headspace, in hundredths, is held up by what is not composing.
const NEAR_HEADSPACE: f64 = 80.0;
/// A stage this close to what memory copies reach, in hundredths, is held up by memory.
const NEAR_MEMORY: f64 = 70.0;
/// A loader below this part of composing, in hundredths, loses it between its threads.
const MUCH_LOST: f64 = 85.0;
/// Threads this part of perfect scaling share something that is short.
const POOR_SCALING: f64 = 0.8;

impl Report {
    /// What holds the loader up.
    pub fn verdict(&self) -> String {
        let loader = &self.loader;
        if loader.headspace.loader_percent >= NEAR_HEADSPACE {
            return "all but composing: drawing, encoding and handing over batches is what the \
                    threads do"
                .to_owned();
        }
        if !self.device.is_empty() {
            return self.device_verdict();
        }
        let mut parts = vec![self.longest_stage()];
        if loader.percent_of_composing < MUCH_LOST {
            let idle = 100.0 * loader.waits.workers_for_work.share;
            parts.push(format!(
                "the loader loses {:.0} % of composing; its threads are idle {idle:.0} % of the time",
                100.0 - loader.percent_of_composing
            ));
        }
        let cores = self.composing.threads.min(self.machine.cores) as f64;
        if self.composing.scaling < POOR_SCALING * cores {
            parts.push(format!(
                "{} threads are only {:.1} times as fast as one, so they share what is short: \
                 memory, cores' halves or a busy machine",
                self.composing.threads, self.composing.scaling
            ));
        }
        parts.join("; ")
    }

    /// The host gathers for a GPU, the link carries, the GPU composes.
    fn device_verdict(&self) -> String {
        let loader = &self.loader;
        if loader.percent_of_composing >= MUCH_LOST {
            return "the GPU's kernels".to_owned();
        }
        let idle = loader.waits.workers_for_work.share;
        match idle > 0.5 {
            true => {
                "the link to the GPU, or too few batches ahead: the threads that gather are idle \
                     more than half of the time"
                    .to_owned()
            }
            false => format!(
                "the {} threads that gather; the GPU alone is {:.1} times as fast",
                loader.threads,
                100.0 / loader.percent_of_composing.max(f64::MIN_POSITIVE)
            ),
        }
    }

    fn longest_stage(&self) -> String {
        let share = |stage: &&Stage| stage.share;
        let longest = self
            .stages
            .iter()
            .max_by(|a, b| share(a).total_cmp(&share(b)));
        let Some(stage) = longest else {
            return "nothing that was measured".to_owned();
        };
        let why = match stage.name.as_str() {
            "decode" => "scenes packed raw need none",
            _ if self.composing.one_thread.percent_of_ceiling >= NEAR_MEMORY => {
                "memory is the limit"
            }
            _ => "arithmetic, not memory, is the limit",
        };
        format!(
            "`{}`, {:.0} % of composing, which moves its floor of bytes at {:.0} % of what a copy \
             reaches: {why}",
            stage.name,
            100.0 * stage.share,
            self.composing.one_thread.percent_of_ceiling
        )
    }

    /// How many of the medians are not steady. Stages are measured until their sum is.
    pub fn unsteady(&self) -> usize {
        let (composing, loader) = (&self.composing, &self.loader);
        let ceilings = self.ceilings.values().map(|ceiling| &ceiling.spread);
        let others: [&Spread; 5] = [
            &composing.one_thread.images_per_second,
            &composing.images_per_second,
            &loader.spread,
            &loader.headspace.images_per_second,
            &loader.first_batch_seconds,
        ];
        let device = self.device.iter().map(|measured| &measured.spread);
        let stages = self
            .stages
            .iter()
            .map(|stage| &stage.microseconds_per_image);
        let all = ceilings.chain(stages).chain(others).chain(device);
        all.filter(|spread| !spread.steady).count()
    }
}
