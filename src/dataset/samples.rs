//! The samples of a data set, drawn by number: the one place that asks the sampler.

use serde_json::{Map, Value};
use twox_hash::XxHash3_64;

use crate::plan::{Plan, SamplePlan};
use crate::sampler::{Sample, Sampler};

/// Sample `number`, counted over all epochs; with `attempt` above 0 one over another scene in its
/// place.
pub(super) fn draw(sampler: &Sampler, number: u64, attempt: u32) -> Sample {
    let length = sampler.epoch_length();
    let mut sample = Sample::default();
    let (epoch, index) = (number / length, number % length);
    sampler.draw(epoch, index, number, None, attempt, &mut sample);
    sample
}

/// A plan of one sample.
pub(super) fn plan(sampler: &Sampler, sample: SamplePlan) -> Plan {
    Plan {
        samples: vec![sample],
        ..sampler.plan(0..0)
    }
}

/// All that decides the samples, each setting of the recipe by itself, and the weights if there
/// are any.
pub(super) fn settings(sampler: &Sampler) -> Map<String, Value> {
    let mut settings = Map::new();
    for (key, value) in sampler.identity() {
        flatten(&key, &value, &mut settings);
    }
    let weights = sampler.weights();
    if !weights.is_default() {
        // Keys of a JSON object are text, numbers as well.
        let categories = serde_json::to_value(&weights.categories).unwrap_or_default();
        flatten("weights.categories", &categories, &mut settings);
    }
    if let Some(cutouts) = &weights.cutouts {
        let bytes: Vec<u8> = cutouts.iter().flat_map(|w| w.to_le_bytes()).collect();
        let hash = format!("{:016x}", XxHash3_64::oneshot(&bytes));
        settings.insert("weights.cutouts_xxh3".to_owned(), hash.into());
    }
    settings
}

/// Objects by their keys, so that a difference is named by the setting it lies in.
fn flatten(name: &str, value: &Value, settings: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| flatten(&format!("{name}.{key}"), value, settings)),
        value => drop(settings.insert(name.to_owned(), value.clone())),
    }
}
