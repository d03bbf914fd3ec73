//! Weights that a user gives to categories and cutouts, also while a run goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::SamplerError;

/// What multiplies the recipe's probabilities. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// By category id: multiplies the category's probability; 1 where a category is absent.
    pub categories: BTreeMap<i64, f64>,
    /// One a cutout of the bank: multiplies its probability within its category. Without it all
    /// cutouts of a category are as likely.
    pub cutouts: Option<Arc<[f32]>>,
}

impl Weights {
    /// Whether every weight is 1 since none was given.
    pub fn is_default(&self) -> bool {
        self.categories.is_empty() && self.cutouts.is_none()
    }

    /// XXH3-64 of the weights of cutouts as 16 hexadecimal digits, where there are any: it stands for
    /// them in what is saved of a run, which they are too many for.
    pub fn cutouts_fingerprint(&self) -> Option<String> {
        let weights = self.cutouts.as_deref()?;
        let hash = XxHash3_64::oneshot(bytemuck::cast_slice(weights));
        Some(format!("{hash:016x}"))
    }

    /// The weight of a category.
    pub fn of(&self, category: i64) -> f64 {
        self.categories.get(&category).copied().unwrap_or(1.0)
    }

    /// Refuses weights that are no finite numbers of at least 0, and a list of another length than
    /// the bank's.
    pub(super) fn check(&self, cutouts: usize) -> Result<(), SamplerError> {
        for (category, &weight) in &self.categories {
            if !(weight.is_finite() && weight >= 0.0) {
                let what = format!("weight of category {category}");
                return Err(SamplerError::value(what, number_problem(weight)));
            }
        }
        let Some(weights) = &self.cutouts else {
            return Ok(());
        };
        if weights.len() != cutouts {
            let problem = format!("{} weights; the bank has {cutouts} cutouts", weights.len());
            return Err(SamplerError::value("weights of cutouts", problem));
        }
        let wrong = |weight: &&f32| !(weight.is_finite() && **weight >= 0.0);
        match weights.iter().enumerate().find(|(_, weight)| wrong(weight)) {
            None => Ok(()),
            Some((row, &weight)) => Err(SamplerError::value(
                format!("weight of cutout {row}"),
                number_problem(weight.into()),
            )),
        }
    }
}

fn number_problem(weight: f64) -> String {
    format!("{weight}; a finite number of at least 0 was expected")
}
