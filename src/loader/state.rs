//! Where a run stands, as small JSON, and whether it belongs to another run.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::LoaderError;
use super::options::LoaderOptions;
use super::steps::{Cursor, Steps, Tail};
use crate::sampler::{Sampler, Weights};

const FORMAT: &str = "pastebank loader state";
const VERSION: u64 = 1;

/// Where a run stands: all that is needed to go on with the very same samples.
///
/// It holds no pixels, no threads and no ranks. A run goes on from it with any number of threads,
/// any prefetch and any number of ranks and batch size: a state is always at the boundary of a step.
/// Only for recipes that change over the run it holds the samples of a step and the epochs, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    format: String,
    version: u64,
    /// What the samples depend on besides their place: packs, recipe, seed and so on.
    run: Map<String, Value>,
    /// Weights of categories that hold from here on.
    category_weights: Vec<(i64, f64)>,
    /// XXH3-64 of the weights of cutouts that hold from here on, where there are any.
    cutout_weights: Option<String>,
    tail: Tail,
    pub(super) cursor: Cursor,
    /// Samples composed so far by all that went before, and how many of them were drawn again.
    pub(super) composed: u64,
    pub(super) replaced: u64,
}

impl LoaderState {
    pub(super) fn new(sampler: &Sampler, steps: &Steps, cursor: Cursor) -> LoaderState {
        let weights = sampler.weights();
        LoaderState {
            format: FORMAT.to_owned(),
            version: VERSION,
            run: identity(sampler, steps),
            category_weights: weights.categories.clone().into_iter().collect(),
            cutout_weights: weights.cutouts_fingerprint(),
            tail: steps.tail,
            cursor,
            composed: 0,
            replaced: 0,
        }
    }

    /// Steps before this state, over all epochs.
    pub fn step(&self) -> u64 {
        self.cursor.step
    }

    /// The epoch that the next step belongs to, from 0; one past the last at the end of a run.
    pub fn epoch(&self) -> u64 {
        self.cursor.epoch
    }

    /// The state as JSON.
    pub fn to_json(&self) -> String {
        // Maps with string keys, numbers and strings: nothing that JSON lacks.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads a state.
    ///
    /// # Errors
    /// [`LoaderError::State`] if it is no state of this form and version.
    pub fn from_json(text: &[u8]) -> Result<LoaderState, LoaderError> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let state: LoaderState = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| refused(error.path().to_string(), error.inner()))?;
        if state.format != FORMAT || state.version != VERSION {
            let found = format!("{:?} version {}", state.format, state.version);
            let problem = format!("{found}; {FORMAT:?} version {VERSION} was expected");
            return Err(refused("format", problem));
        }
        Ok(state)
    }

    /// Makes the sampler of a run that goes on from here, or refuses.
    pub(crate) fn prepare(
        &self,
        sampler: &mut Sampler,
        options: &LoaderOptions,
    ) -> Result<(), LoaderError> {
        self.check(sampler, &options.steps(sampler))?;
        sampler.set_weights(self.weights(sampler.weights()))?;
        Ok(())
    }

    /// Refuses a state of another run, naming what differs. Weights of categories are the state's
    /// own; weights of cutouts are too many to be in it, so the sampler must have them.
    pub(super) fn check(&self, sampler: &Sampler, steps: &Steps) -> Result<(), LoaderError> {
        let run = identity(sampler, steps);
        for key in run.keys().chain(self.run.keys()) {
            let (saved, now) = (self.run.get(key), run.get(key));
            if saved != now {
                let (field, problem) = difference(key, saved, now);
                return Err(refused(field, problem));
            }
        }
        if self.tail != steps.tail {
            let problem = format!("{:?} was saved, this run has {:?}", self.tail, steps.tail);
            return Err(refused("tail", problem));
        }
        let weights = sampler.weights().cutouts_fingerprint();
        if self.cutout_weights != weights {
            let say = |hash: &Option<String>| match hash {
                None => "none".to_owned(),
                Some(hash) => format!("those of sum {hash}"),
            };
            let problem = format!(
                "{} held when it was saved, this run has {}; set the same ones before resuming",
                say(&self.cutout_weights),
                say(&weights)
            );
            return Err(refused("cutout_weights", problem));
        }
        if self.cursor.position > steps.epoch_length {
            let problem = format!(
                "{}; an epoch has {} samples",
                self.cursor.position, steps.epoch_length
            );
            return Err(refused("cursor.position", problem));
        }
        Ok(())
    }

    /// The weights that held when the state was saved, over the cutouts' weights of this run.
    pub(super) fn weights(&self, now: &Weights) -> Weights {
        Weights {
            categories: self.category_weights.iter().copied().collect(),
            cutouts: now.cutouts.clone(),
        }
    }
}

fn refused(field: impl Into<String>, problem: impl ToString) -> LoaderError {
    LoaderError::State {
        field: field.into(),
        problem: problem.to_string(),
    }
}

/// What the run's samples depend on besides their place. A recipe that changes over the run makes
/// something else of the same epoch and place where steps are longer or epochs more.
fn identity(sampler: &Sampler, steps: &Steps) -> Map<String, Value> {
    let mut identity = sampler.identity();
    if sampler.recipe().is_scheduled() {
        let schedule = json!({"epochs": steps.epochs, "samples_of_a_step": steps.stride()});
        identity.insert("schedule".to_owned(), schedule);
    }
    identity
}

/// The innermost field at which two values differ, with both.
fn difference(field: &str, saved: Option<&Value>, now: Option<&Value>) -> (String, String) {
    if let (Some(Value::Object(saved)), Some(Value::Object(now))) = (saved, now) {
        let keys = now.keys().chain(saved.keys());
        for key in keys {
            if saved.get(key) != now.get(key) {
                return difference(&format!("{field}.{key}"), saved.get(key), now.get(key));
            }
        }
    }
    let say = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    let problem = format!("{} was saved, this run has {}", say(saved), say(now));
    (field.to_owned(), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_down_to_the_field() {
        let saved = json!({"bank": {"count": [0, 20], "flip": 0.5}, "name": "a"});
        let now = json!({"bank": {"count": [0, 5], "flip": 0.5}, "name": "a"});
        let (field, problem) = difference("recipe", Some(&saved), Some(&now));
        assert_eq!(field, "recipe.bank.count");
        assert_eq!(problem, "[0,20] was saved, this run has [0,5]");
        let (field, problem) = difference("seed", None, Some(&json!(3)));
        assert_eq!(
            (&field[..], &problem[..]),
            ("seed", "nothing was saved, this run has 3")
        );
    }

    #[test]
    fn what_is_no_state_is_refused() {
        for text in ["", "{", "[]", "{\"format\": 3}", "null"] {
            assert!(LoaderState::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }
}
