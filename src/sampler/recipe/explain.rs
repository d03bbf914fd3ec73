//! What a recipe does, in words and numbers for given packs.

use std::fmt::{Display, Write};

use super::RecipeSettings;
use super::settings::{Categories, IgnoreSettings, Region, Reject};
use super::values::{BlendChoice, SizeSource, Use};
use crate::plan::{Blend, Keep};
use crate::sampler::Ground;
use crate::sampler::colour::ColorJitter;
use crate::sampler::placement::PlacementMode;

/// Lines of a heading and a sentence.
struct Lines(String);

impl Lines {
    fn add(&mut self, heading: &str, text: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{heading:<11} {text}");
    }
}

impl RecipeSettings {
    /// Says in words and numbers what the recipe does with these packs on this canvas, a line a
    /// subject.
    pub fn explain(&self, ground: &Ground) -> String {
        let mut lines = Lines(String::new());
        lines.add(
            "recipe",
            format_args!("{:?}, on a canvas of {}", self.name, ground.canvas),
        );
        lines.add("packs", packs(ground));
        lines.add(
            "scene",
            format_args!(
                "{}; colour {}; pad {:?}",
                jitter(self.scene.scale, self.scene.flip),
                color(&self.scene.color),
                self.pad
            ),
        );
        lines.add("layers", self.layers_in_words(ground));
        if self.uses_bank() {
            self.explain_bank(ground, &mut lines);
        }
        if self.uses_copy() {
            self.explain_copy(ground, &mut lines);
        }
        lines.add("synthetic", self.synthetic_in_words(ground));
        lines.add("schedule", self.schedule_in_words());
        lines.add("keep", keep(&self.keep.0));
        lines.0
    }

    /// At most so many layers a sample has on average at the recipe's own probability, of the bank
    /// and of second scenes: before boxes are rejected or drawn anew, and as if no crop took any
    /// instance of a second scene off the canvas.
    pub fn expected_layers(&self, ground: &Ground) -> [f64; 2] {
        let [bank, copy] = match self.layers {
            Use::Bank => [1.0, 0.0],
            Use::Copy => [0.0, 1.0],
            Use::Both => [1.0, 1.0],
            Use::Choice(share) => [1.0 - share, share],
        };
        let middle = |[least, greatest]: [u32; 2]| (f64::from(least) + f64::from(greatest)) / 2.0;
        let of_second = || {
            let scenes = ground.real_scenes();
            let of_scene = |scene| {
                let there = ground.cutouts_of_scene(scene).len() as u32;
                middle(self.copy.objects.map(|limit| limit.min(there)))
            };
            (0..scenes).map(of_scene).sum::<f64>() / scenes.max(1) as f64
        };
        let of_second = if self.uses_copy() { of_second() } else { 0.0 };
        [bank * middle(self.bank.count), copy * of_second].map(|count| count * self.probability)
    }

    fn layers_in_words(&self, ground: &Ground) -> String {
        let [bank, copy] = self.expected_layers(ground);
        let what = match self.layers {
            Use::Bank => "cutouts of the bank".to_owned(),
            Use::Copy => "instances of a second scene".to_owned(),
            Use::Both => "cutouts of the bank, then instances of a second scene on top".to_owned(),
            Use::Choice(share) => format!(
                "with probability {share} instances of a second scene, else cutouts of the bank"
            ),
        };
        format!(
            "with probability {}: {what}; on average {bank:.2} of the bank and {copy:.2} of second \
             scenes a sample, before rejects and crops",
            self.probability
        )
    }

    fn explain_bank(&self, ground: &Ground, lines: &mut Lines) {
        let bank = &self.bank;
        let [least, greatest] = bank.count;
        lines.add(
            "bank",
            format_args!(
                "{least} to {greatest} layers; {}",
                self.categories_in_words(ground)
            ),
        );
        lines.add("  size", self.sizes_in_words(ground));
        let [from, to] = bank.angle;
        lines.add(
            "  form",
            format_args!(
                "aspect ±{:.0} %, mirrored with probability {}, rotated by {from} to {to} degrees",
                100.0 * bank.aspect_jitter,
                bank.flip
            ),
        );
        let region = match bank.relative_to {
            Region::Canvas => "canvas",
            Region::Scene => "scene, which sizes and places are measured by too",
        };
        let reject = match bank.reject {
            Reject::Drop => "left out",
            Reject::Redraw => "drawn anew, at most ten times",
        };
        lines.add(
            "  reject",
            format_args!(
                "boxes narrower or lower than {} px, or as wide or high as the {region}: {reject}",
                bank.reject_below
            ),
        );
        lines.add("  place", placement(&bank.placement));
        explain_look(lines, &bank.blend, &bank.color, bank.matching);
        lines.add("  labels", ignore(&bank.ignore));
    }

    fn explain_copy(&self, ground: &Ground, lines: &mut Lines) {
        let copy = &self.copy;
        let [least, greatest] = copy.objects;
        let scenes = ground.real_scenes();
        let with = (0..scenes).filter(|&scene| !ground.cutouts_of_scene(scene).is_empty());
        lines.add("copy", format_args!(
            "a uniform second scene, {}; {least} to {greatest} of its objects, but not more than \
             its crop leaves; {} of {scenes} scenes have objects in the bank",
            jitter(copy.scale, copy.flip),
            with.count()
        ));
        explain_look(lines, &copy.blend, &copy.color, copy.matching);
        lines.add("  labels", ignore(&copy.ignore));
    }

    fn categories_in_words(&self, ground: &Ground) -> String {
        let count = ground.categories().len();
        let parts = match ground.parts().len() {
            0 => String::new(),
            parts => format!("one of {parts} banks by weight, then "),
        };
        let weighted = match ground.weights().is_default() {
            true => "",
            false => ", times the weights that are set",
        };
        let how = match &self.bank.categories {
            Categories::Uniform => format!("each of {count} categories alike"),
            Categories::ByInstance => {
                let cutouts = ground.bank.len();
                format!("each of {cutouts} cutouts alike, of {count} categories")
            }
            Categories::RepeatFactor => {
                let threshold = self.bank.repeat_threshold;
                let factors = ground.category_repeat_factors(threshold);
                let greatest = factors.values().copied().fold(1.0, f64::max);
                let repeated = factors.values().filter(|&&factor| factor > 1.0).count();
                format!(
                    "{count} categories by repeat factor at {threshold}: {repeated} of those in \
                     scenes above 1, the greatest {greatest:.2}"
                )
            }
            Categories::Present => format!(
                "the categories of the scene's visible instances alike, each of {count} if it has none"
            ),
            Categories::Weights(weights) => {
                let known = weights
                    .0
                    .iter()
                    .filter(|(id, weight)| **weight > 0.0 && !ground.rows_of(**id).is_empty());
                format!("{} of {count} categories, by given weights", known.count())
            }
        };
        format!("{parts}{how}{weighted}")
    }

    fn sizes_in_words(&self, ground: &Ground) -> String {
        let bank = &self.bank;
        let measured = |category| match &bank.sizes {
            SizeSource::Packs => ground.measured_size(category),
            SizeSource::Table(table) => table.of(category),
        };
        let side = (ground.canvas.pixels() as f64).sqrt();
        let mut means: Vec<f64> = ground
            .categories()
            .filter_map(measured)
            .map(|size| bank.clipped(size.mean * side, ground.canvas))
            .collect();
        means.sort_by(f64::total_cmp);
        let source = match &bank.sizes {
            SizeSource::Packs => "the packs' statistics",
            SizeSource::Table(_) => "the given table",
        };
        let [least, greatest] = [0.0, f64::MAX].map(|side| bank.clipped(side, ground.canvas));
        let others = match bank.unmeasured {
            Some([from, to]) => format!("uniform from {:.0} to {:.0} px", from * side, to * side),
            None => format!(
                "those of all together, {:.0} px",
                ground.sizes_of_all().mean * side
            ),
        };
        let of_measured = match means.as_slice() {
            [] => String::new(),
            [first, .., last] | [first @ last] => format!(
                ", means from {first:.0} to {last:.0} px, median {:.0} px",
                means[means.len() / 2]
            ),
        };
        format!(
            "normal by {source} for {} of {} categories{of_measured}; others {others}; sides of \
             {least:.0} to {greatest:.0} px",
            means.len(),
            ground.categories().len()
        )
    }

    fn synthetic_in_words(&self, ground: &Ground) -> String {
        let scenes = ground.synthetic_scenes();
        let count = scenes.end - scenes.start;
        match self.synthetic.probability {
            0.0 => "never a whole synthetic scene".to_owned(),
            share if count == 0 => format!("with probability {share}, but there are none"),
            share => format!("with probability {share} one of {count} whole synthetic scenes"),
        }
    }

    fn schedule_in_words(&self) -> String {
        let schedule = &self.schedule;
        let mut words = match schedule.steps.is_empty() {
            true => "the same probability at every step".to_owned(),
            false => format!("probability {} at first", self.probability),
        };
        for step in &schedule.steps {
            let how = if schedule.linear {
                "straight to"
            } else {
                "then"
            };
            let _ = write!(
                words,
                ", {how} {} from step {}",
                step.probability, step.from
            );
        }
        if schedule.without_last_epochs > 0 {
            let _ = write!(
                words,
                "; nothing in the last {} epochs",
                schedule.without_last_epochs
            );
        }
        words
    }
}

fn packs(ground: &Ground) -> String {
    let synthetic = ground.synthetic_scenes();
    format!(
        "{} scenes and {} synthetic ones, {} cutouts of {} categories",
        ground.real_scenes(),
        synthetic.end - synthetic.start,
        ground.bank.len(),
        ground.categories().len()
    )
}

fn jitter([least, greatest]: [f64; 2], flip: f64) -> String {
    format!(
        "scaled to {least} to {greatest} times the size that fits, cropped or padded, mirrored \
         with probability {flip}"
    )
}

fn explain_look(lines: &mut Lines, blend: &[BlendChoice], jitter: &ColorJitter, matching: f64) {
    let sum: f64 = blend.iter().map(|choice| choice.weight).sum();
    let one = |choice: &BlendChoice| {
        let name = match choice.blend {
            Blend::Hard => "hard".to_owned(),
            Blend::Soft => "soft (the cutout's alpha)".to_owned(),
            Blend::Gaussian { sigma } => format!("Gaussian of {sigma} px"),
            Blend::Box { radius } => format!("box of radius {radius} px"),
        };
        format!("{name} ({:.0} %)", 100.0 * choice.weight / sum)
    };
    let choices: Vec<String> = blend.iter().map(one).collect();
    lines.add("  blend", choices.join(", "));
    let matched = match matching {
        0.0 => "not matched to the scene".to_owned(),
        strength => format!("matched to the scene under it at strength {strength}"),
    };
    lines.add("  colour", format_args!("{}; {matched}", color(jitter)));
}

fn color(jitter: &ColorJitter) -> String {
    let amounts = [
        ("brightness", jitter.brightness),
        ("contrast", jitter.contrast),
        ("saturation", jitter.saturation),
        ("hue", jitter.hue),
    ];
    let used: Vec<String> = amounts
        .into_iter()
        .filter(|(_, amount)| *amount > 0.0)
        .map(|(name, amount)| format!("{name} ±{amount}"))
        .collect();
    match used.is_empty() || jitter.probability == 0.0 {
        true => "as it is".to_owned(),
        false => format!(
            "{} with probability {}",
            used.join(", "),
            jitter.probability
        ),
    }
}

fn placement(mode: &PlacementMode) -> String {
    match mode {
        PlacementMode::Uniform => "centres uniform over the canvas".to_owned(),
        PlacementMode::Inside => "uniform, boxes inside the canvas".to_owned(),
        PlacementMode::Overlap { most, attempts } => format!(
            "inside the canvas, sharing at most {most} of any box, left out after {attempts} attempts"
        ),
        PlacementMode::Grid { columns, rows } => format!("in a grid of {columns} by {rows} cells"),
    }
}

fn ignore(settings: &IgnoreSettings) -> String {
    let mut words = match settings.probability {
        0.0 => "kept".to_owned(),
        probability => format!("dropped with probability {probability}"),
    };
    if !settings.categories.is_empty() {
        let _ = write!(
            words,
            "; always dropped for categories {:?}",
            settings.categories
        );
    }
    if settings.not_exhaustive {
        words += "; dropped where the scene is not exhaustively labelled for the category";
    }
    words
}

fn keep(keep: &Keep) -> String {
    let mut words = format!("instances of at least {} visible px", keep.min_area);
    if let Some(shift) = keep.max_box_shift {
        let _ = write!(words, ", or whose box moved by at most {shift} px");
    }
    if keep.min_visible_permille > 0 {
        let share = f64::from(keep.min_visible_permille) / 10.0;
        let _ = write!(words, "; at least {share} % visible");
    }
    words
}
