//! What the samples of a data set depend on, and plans of single ones.

use serde_json::{Map, Value};

use crate::plan::{Plan, SamplePlan};
use crate::sampler::Sampler;

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
    if let Some(hash) = weights.cutouts_fingerprint() {
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
