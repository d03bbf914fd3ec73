//! Refusing settings of no use, by name.

use super::settings::{
    BankSettings, Categories, CopySettings, IgnoreSettings, RecipeSettings, Schedule,
};
use super::values::{BlendChoice, Use};
use crate::geometry::MAX_CANVAS_SIDE;
use crate::plan::Blend;
use crate::sampler::{Ground, SamplerError};

/// Most layers of a sample.
pub(super) const MAX_LAYERS: u64 = 65_534;
/// Scales of a scene: past these nothing but single pixels or a few would be seen.
const LEAST_SCALE: f64 = 0.001;
const MAX_SCALE: f64 = 100.0;

type Checked = Result<(), SamplerError>;

/// An error for `field` unless `fits`.
fn expect(fits: bool, field: &str, found: impl FnOnce() -> String, expected: &str) -> Checked {
    if fits {
        return Ok(());
    }
    let problem = format!("found {}, expected {expected}", found());
    Err(SamplerError::setting(field, problem))
}

fn probability(field: &str, value: f64) -> Checked {
    let fits = (0.0..=1.0).contains(&value);
    expect(fits, field, || value.to_string(), "a probability of 0..=1")
}

fn range(field: &str, found: [f64; 2], least: f64, greatest: f64) -> Checked {
    let fits = least <= found[0] && found[0] <= found[1] && found[1] <= greatest;
    let expected = format!("[least, greatest] within {least}..={greatest}, least first");
    expect(fits, field, || format!("{found:?}"), &expected)
}

fn numbers(field: &str, found: [u32; 2]) -> Checked {
    let fits = found[0] <= found[1] && u64::from(found[1]) <= MAX_LAYERS;
    let expected = "[least, greatest] within 0..=65534, least first";
    expect(fits, field, || format!("{found:?}"), expected)
}

/// Passes on what a nested value's own check says.
fn nested(field: &str, checked: Result<(), (&'static str, String)>) -> Checked {
    checked.map_err(|(inner, problem)| {
        SamplerError::setting(
            format!("{field}.{inner}"),
            format!("found {problem}, expected that range"),
        )
    })
}

impl RecipeSettings {
    /// Refuses settings of no use, whatever the packs.
    ///
    /// # Errors
    /// [`SamplerError::Setting`] names the first that is wrong, what it is and what was expected.
    pub fn check_settings(&self) -> Checked {
        probability("probability", self.probability)?;
        if let Use::Choice(share) = self.layers {
            probability("use", share)?;
        }
        let visible = self.keep.0.min_visible_permille;
        expect(
            visible <= 1000,
            "keep.min_visible_permille",
            || visible.to_string(),
            "thousandths in 0..=1000",
        )?;
        range("scene.scale", self.scene.scale, LEAST_SCALE, MAX_SCALE)?;
        probability("scene.flip", self.scene.flip)?;
        nested("scene.color", self.scene.color.check())?;
        self.bank.check()?;
        self.copy.check()?;
        // The greatest number of objects is clipped to the room that the bank's layers leave.
        let layers = u64::from(self.bank.count[1]) + u64::from(self.copy.objects[0]);
        let is_too_many = self.layers == Use::Both && layers > MAX_LAYERS;
        let found = || {
            format!(
                "{:?} with copy.objects {:?}",
                self.bank.count, self.copy.objects
            )
        };
        expect(
            !is_too_many,
            "bank.count",
            found,
            "at most 65534 layers in all",
        )?;
        probability("synthetic.probability", self.synthetic.probability)?;
        self.schedule.check()
    }

    /// Whether samples may have layers of the bank.
    pub(super) fn uses_bank(&self) -> bool {
        self.layers != Use::Copy && self.bank.count[1] > 0
    }

    /// Whether samples may have instances of a second scene.
    pub(super) fn uses_copy(&self) -> bool {
        self.layers != Use::Bank && self.copy.objects[1] > 0
    }

    /// Refuses packs that the recipe finds nothing in.
    pub(super) fn check_ground(&self, ground: &Ground) -> Checked {
        if self.uses_bank() && ground.bank.is_empty() {
            return Err(SamplerError::Empty { pack: "bank" });
        }
        let has_objects =
            || (0..ground.real_scenes()).any(|s| !ground.cutouts_of_scene(s).is_empty());
        if self.uses_copy() && !has_objects() {
            let problem = format!(
                "found {:?}, but no instance of the scenes has a cutout in the bank; a bank that \
                 was packed from the same annotations was expected",
                self.layers.to_string()
            );
            return Err(SamplerError::setting("use", problem));
        }
        Ok(())
    }
}

impl BankSettings {
    fn check(&self) -> Checked {
        numbers("bank.count", self.count)?;
        if let Categories::Weights(weights) = &self.categories {
            for (id, &weight) in &weights.0 {
                let field = format!("bank.categories.weights.{id}");
                let fits = weight.is_finite() && weight >= 0.0;
                expect(
                    fits,
                    &field,
                    || weight.to_string(),
                    "a finite number of at least 0",
                )?;
            }
        }
        let threshold = self.repeat_threshold;
        let fits = threshold > 0.0 && threshold <= 1.0;
        let found = || threshold.to_string();
        expect(
            fits,
            "bank.repeat_threshold",
            found,
            "a share above 0, at most 1",
        )?;
        if let Some(unmeasured) = self.unmeasured {
            range("bank.unmeasured", unmeasured, 0.0, 1.0)?;
        }
        self.check_form()?;
        nested("bank.placement", self.placement.check())?;
        probability("bank.match", self.matching)?;
        blends("bank.blend", &self.blend)?;
        nested("bank.color", self.color.check())?;
        self.ignore.check("bank.ignore")
    }

    /// Size, shape and rotation.
    fn check_form(&self) -> Checked {
        let greatest = f64::from(MAX_CANVAS_SIDE);
        let pixels = |field, value: f64, least: f64| {
            let fits = (least..=greatest).contains(&value);
            let expected = format!("pixels in {least}..={greatest}");
            expect(fits, field, || value.to_string(), &expected)
        };
        pixels("bank.min_side", self.min_side, 1.0)?;
        pixels("bank.reject_below", self.reject_below, 0.0)?;
        let fits = self.max_side > 0.0 && self.max_side <= 1.0;
        let found = || self.max_side.to_string();
        expect(fits, "bank.max_side", found, "a share above 0, at most 1")?;
        let fits = (0.0..1.0).contains(&self.aspect_jitter);
        let found = || self.aspect_jitter.to_string();
        expect(fits, "bank.aspect_jitter", found, "a share of 0..1")?;
        probability("bank.flip", self.flip)?;
        range("bank.angle", self.angle, -360.0, 360.0)
    }
}

impl CopySettings {
    fn check(&self) -> Checked {
        range("copy.scale", self.scale, LEAST_SCALE, MAX_SCALE)?;
        probability("copy.flip", self.flip)?;
        numbers("copy.objects", self.objects)?;
        probability("copy.match", self.matching)?;
        blends("copy.blend", &self.blend)?;
        nested("copy.color", self.color.check())?;
        self.ignore.check("copy.ignore")
    }
}

impl IgnoreSettings {
    fn check(&self, field: &str) -> Checked {
        probability(&format!("{field}.probability"), self.probability)
    }
}

impl Schedule {
    fn check(&self) -> Checked {
        for (number, step) in self.steps.iter().enumerate() {
            let field = format!("schedule.steps[{number}]");
            probability(&format!("{field}.probability"), step.probability)?;
            let before = number
                .checked_sub(1)
                .and_then(|before| self.steps.get(before));
            let ascends = before.is_none_or(|before| before.from < step.from);
            let found = || step.from.to_string();
            expect(
                ascends,
                &format!("{field}.from"),
                found,
                "a step after the one before",
            )?;
        }
        Ok(())
    }
}

/// Weights that something can be drawn by, and the limits of rule 9.
fn blends(field: &str, choices: &[BlendChoice]) -> Checked {
    for (number, choice) in choices.iter().enumerate() {
        let field = |name: &str| format!("{field}[{number}].{name}");
        let fits = choice.weight.is_finite() && choice.weight >= 0.0;
        let found = || choice.weight.to_string();
        expect(
            fits,
            &field("weight"),
            found,
            "a finite number of at least 0",
        )?;
        match choice.blend {
            Blend::Gaussian { sigma } => {
                let fits = (0.1..=10.0).contains(&sigma);
                expect(
                    fits,
                    &field("gaussian.sigma"),
                    || sigma.to_string(),
                    "0.1..=10",
                )?;
            }
            Blend::Box { radius } => {
                let fits = (1..=30).contains(&radius);
                expect(fits, &field("box.radius"), || radius.to_string(), "1..=30")?;
            }
            Blend::Hard | Blend::Soft => {}
        }
    }
    let sum: f64 = choices.iter().map(|choice| choice.weight).sum();
    let found = || format!("weights that sum to {sum}");
    expect(
        sum > 0.0 && sum.is_finite(),
        field,
        found,
        "a finite sum above 0",
    )
}
