//! `--recipe`, `--set` and `--epoch-order`: what several commands share.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use super::common::{Usage, chain};
use crate::sampler::recipe::{BUILT_IN, RecipeError, RecipeSettings};
use crate::sampler::{Order, Recipe};

/// What is done with the scenes.
#[derive(Args, Clone)]
pub(super) struct RecipeFlags {
    /// simple-copy-paste, xpaste, xpaste-original (as X-Paste's code has it), both, p:<x> (with probability x instances of a second scene,
    /// else cutouts of the bank), or the path of a .toml file.
    #[arg(long, value_name = "NAME|FILE", default_value = "xpaste")]
    pub recipe: String,
    /// Change one setting of the recipe, such as bank.count=[1,5] or scene.flip=0; may be given
    /// several times. `plan --explain` lists the settings.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl RecipeFlags {
    /// The recipe with all single settings.
    pub fn recipe(&self) -> Result<Arc<dyn Recipe>> {
        Ok(Arc::new(self.settings()?))
    }

    /// As [`RecipeFlags::recipe`], before it is one of many kinds.
    pub fn settings(&self) -> Result<RecipeSettings> {
        let mut settings = self.named()?;
        for argument in &self.set {
            settings = settings.with(argument).map_err(usage)?;
        }
        Ok(settings)
    }

    fn named(&self) -> Result<RecipeSettings> {
        if let Some(settings) = RecipeSettings::built_in(&self.recipe) {
            return Ok(settings);
        }
        let path = Path::new(&self.recipe);
        let is_file = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        if is_file || path.is_file() {
            return Ok(RecipeSettings::from_file(path)?);
        }
        anyhow::bail!(Usage(format!(
            "--recipe {:?}: {} or a .toml file was expected, x in 0..=1",
            self.recipe,
            BUILT_IN.join(", ")
        )))
    }
}

fn usage(error: RecipeError) -> anyhow::Error {
    Usage(format!("--set: {}", chain(&error.into()))).into()
}

/// In which order an epoch goes through the scenes.
#[derive(Args, Clone, Copy)]
pub(super) struct OrderFlag {
    /// permutation (each scene once, shuffled), sequential, or repeat-factor:<t> (LVIS' repeat
    /// factor sampling; t is 0.001 unless given).
    #[arg(long, value_name = "ORDER", default_value = "permutation", value_parser = parse_order)]
    pub epoch_order: Order,
}

fn parse_order(text: &str) -> Result<Order, String> {
    let threshold = |text: &str| {
        let number = text.parse().ok();
        number.filter(|threshold| (0.0..=1.0).contains(threshold))
    };
    let order = match text.split_once(':') {
        None if text == "permutation" => Some(Order::Permutation),
        None if text == "sequential" => Some(Order::Sequential),
        None if text == "repeat-factor" => Some(Order::RepeatFactor { threshold: 0.001 }),
        Some(("repeat-factor", number)) => {
            threshold(number).map(|threshold| Order::RepeatFactor { threshold })
        }
        _ => None,
    };
    order.ok_or_else(|| {
        "permutation, sequential, repeat-factor or repeat-factor:<t> with t in 0..=1 was expected"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(recipe: &str, set: &[&str]) -> RecipeFlags {
        RecipeFlags {
            recipe: recipe.to_owned(),
            set: set.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn settings_are_changed_one_by_one() {
        let given = ["bank.count=[1, 5]", "use=both", "scene.flip=0"];
        let settings = flags("p:0.25", &given).settings().unwrap();
        assert_eq!(settings.bank.count, [1, 5]);
        assert_eq!(settings.layers, crate::sampler::recipe::Use::Both);
        assert_eq!(
            (settings.scene.flip, settings.name.as_str()),
            (0.0, "p:0.25")
        );
    }

    #[test]
    fn wrong_settings_and_names_are_wrong_usage() {
        let wrong = [
            ("xpaste", "bank.cuont=[1, 5]", "bank.cuont"),
            ("xpaste", "bank.count=[5, 1]", "bank.count"),
            ("xpaste", "bank.count=many", "bank.count"),
            ("xpaste", "probability=nan", "probability"),
            ("xpaste", "bank.count", "KEY=VALUE"),
            ("xpaste", "bank.count=[1", "bank.count"),
            ("xpaste", "name=1\nuse=\"copy\"", "name"),
            ("p:2", "", "p:<x>"),
            ("unheard-of", "", "simple-copy-paste"),
        ];
        for (recipe, set, expected) in wrong {
            let set: Vec<&str> = Some(set)
                .into_iter()
                .filter(|set| !set.is_empty())
                .collect();
            let error = flags(recipe, &set).settings().unwrap_err();
            assert!(error.is::<Usage>(), "{recipe} {set:?}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn orders_are_parsed_or_refused() {
        assert_eq!(parse_order("permutation"), Ok(Order::Permutation));
        let rare = Order::RepeatFactor { threshold: 0.01 };
        assert_eq!(parse_order("repeat-factor:0.01"), Ok(rare));
        for wrong in [
            "",
            "sequential:1",
            "repeat-factor:",
            "repeat-factor:nan",
            "repeat-factor:2",
        ] {
            assert!(parse_order(wrong).is_err(), "{wrong}");
        }
    }
}
