//! The settings of a recipe, as a TOML file has them.

use serde::{Deserialize, Serialize};

use super::values::{BlendChoice, CategoryWeights, KEEP_XPASTE, KeepRule, SizeSource, Use};
use crate::plan::{Blend, Keep};
use crate::sampler::colour::ColorJitter;
use crate::sampler::placement::PlacementMode;

/// A recipe: large-scale jitter of the scene below, and cutouts of the bank or instances of a
/// second scene, or both, on top.
///
/// What a file leaves out has the value of [`RecipeSettings::default`], which is X-Paste's recipe
/// ([`RecipeSettings::xpaste`]).
///
/// ```
/// use pastebank::sampler::recipe::RecipeSettings;
/// let text = "name = \"mine\"\nprobability = 0.5\n[bank]\ncount = [1, 5]\n";
/// let recipe = RecipeSettings::from_toml(text, "mine.toml")?;
/// assert_eq!(recipe.bank.count, [1, 5]);
/// # Ok::<(), pastebank::sampler::recipe::RecipeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecipeSettings {
    /// What the recipe is called.
    pub name: String,
    /// What layers are made of.
    #[serde(rename = "use")]
    pub layers: Use,
    /// Probability that a sample gets layers at all.
    pub probability: f64,
    /// Colour of the canvas where the scene is not.
    pub pad: [u8; 3],
    /// Which instances stay.
    pub keep: KeepRule,
    /// The scene below.
    pub scene: SceneSettings,
    /// Layers of the bank.
    pub bank: BankSettings,
    /// Instances of a second scene.
    pub copy: CopySettings,
    /// Whole synthetic scenes.
    pub synthetic: SyntheticSettings,
    /// How the probability changes over a run.
    pub schedule: Schedule,
}

/// How a scene is brought onto the canvas: detectron2's large-scale jitter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SceneSettings {
    /// Range of the scale, 1 being the largest size that fits the canvas; larger scenes are
    /// cropped at random, smaller ones padded to the right and below.
    pub scale: [f64; 2],
    /// Probability of a mirror image.
    pub flip: f64,
    /// Random changes of colour.
    pub color: ColorJitter,
}

/// How cutouts of the bank are pasted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BankSettings {
    /// Least and greatest number of layers, both included.
    pub count: [u32; 2],
    /// How a layer's category is drawn.
    pub categories: Categories,
    /// For categories by repeat factor: those in fewer than this share of the scenes are drawn
    /// more often.
    pub repeat_threshold: f64,
    /// What sizes, limits, rejects and places are measured by.
    pub relative_to: Region,
    /// How the least and the greatest side are understood.
    pub limits: Limits,
    /// Where sizes come from.
    pub sizes: SizeSource,
    /// Range of sqrt(box area / area of `relative_to`) for categories without statistics; the statistics of
    /// all categories together where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<[f64; 2]>,
    /// Least side of a pasted box (the square root of its area), in pixels; see [`Limits`].
    pub min_side: f64,
    /// Greatest side of a pasted box, as a share of the shorter side of `relative_to`; see
    /// [`Limits`].
    pub max_side: f64,
    /// Greatest change of a cutout's aspect ratio: 0.2 is ±20 %.
    pub aspect_jitter: f64,
    /// Probability of a mirror image.
    pub flip: f64,
    /// Range of the rotation in degrees, counter-clockwise.
    pub angle: [f64; 2],
    /// What becomes of a box that is too small or fills the canvas.
    pub reject: Reject,
    /// Least width and height of a pasted box in pixels; as wide or as high as `relative_to` is
    /// too much.
    pub reject_below: f64,
    /// Where layers go.
    pub placement: PlacementMode,
    /// 0: colours stay; 1: brightness and contrast become those of the scene under the layer.
    #[serde(rename = "match")]
    pub matching: f64,
    /// How layers are blended, one of these by weight.
    pub blend: Vec<BlendChoice>,
    /// Random changes of colour, for each layer.
    pub color: ColorJitter,
    /// Which layers lose their label.
    pub ignore: IgnoreSettings,
}

/// How the category of a layer is drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Categories {
    /// All that have cutouts alike.
    #[default]
    Uniform,
    /// By LVIS' repeat factors over the scenes.
    RepeatFactor,
    /// By their number of cutouts.
    ByInstance,
    /// Those of the scene's instances that are on the canvas (crowds do not count) alike: all
    /// categories if there is no such instance, no layer if none of them has a cutout. X-Paste's
    /// `cats_random`.
    Present,
    /// By these weights; those that are not listed never.
    Weights(CategoryWeights),
}

/// What sizes, limits, rejects and places of the bank's layers are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Region {
    /// The whole canvas.
    #[default]
    Canvas,
    /// What the placed scene covers of it, as in X-Paste's code, which pads last. There a layer
    /// ends where the scene does; here it may reach over into the padding.
    Scene,
}

/// How `bank.min_side` and `bank.max_side` are understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limits {
    /// A side lies within `min_side` pixels and `max_side` times the region's shorter side.
    #[default]
    Side,
    /// X-Paste's code: for a region of W by H a side lies within `min_side`/H and `max_side` times
    /// sqrt(W·H), and the box's width and height are cut to whole pixels before it is rejected.
    Area,
}

/// What becomes of a layer whose box is too small or fills the canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reject {
    /// It is left out, as in X-Paste.
    #[default]
    Drop,
    /// It is drawn anew, cutout and size, at most ten times.
    Redraw,
}

/// Which pasted instances lose their label, since the data set does not label all of its kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IgnoreSettings {
    /// Probability for every pasted instance.
    pub probability: f64,
    /// Categories whose pasted instances always lose it.
    pub categories: Vec<i64>,
    /// Whether instances do of a category that is not exhaustively labelled in the scene below.
    pub not_exhaustive: bool,
}

/// How instances of a second scene are pasted: Simple Copy-Paste (arXiv 2012.07177).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CopySettings {
    /// Range of the second scene's scale, as for the first.
    pub scale: [f64; 2],
    /// Probability that the second scene is mirrored.
    pub flip: f64,
    /// Least and greatest number of its instances, both included and clipped to those that it has
    /// on the canvas once it is scaled and cropped.
    pub objects: [u32; 2],
    /// 0: colours stay; 1: brightness and contrast become those of the scene under the instance.
    #[serde(rename = "match")]
    pub matching: f64,
    /// How layers are blended, one of these by weight.
    pub blend: Vec<BlendChoice>,
    /// Random changes of colour, the same for all instances of the scene.
    pub color: ColorJitter,
    /// Which instances lose their label.
    pub ignore: IgnoreSettings,
}

/// Whole synthetic scenes among the real ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticSettings {
    /// Probability that a sample's scene is replaced by a uniform synthetic one.
    pub probability: f64,
}

/// How [`RecipeSettings::probability`] changes over a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// In this many last epochs nothing is pasted and no synthetic scene comes; without effect in
    /// a run that does not end.
    pub without_last_epochs: u64,
    /// Whether the probability goes on a straight line from one step to the next instead of
    /// staying until it.
    pub linear: bool,
    /// The probability from some steps on, ascending; before the first it is the recipe's.
    pub steps: Vec<ScheduleStep>,
}

/// A probability from a step on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleStep {
    /// The batch's number over all epochs.
    pub from: u64,
    /// The probability that a sample gets layers.
    pub probability: f64,
}

impl Default for RecipeSettings {
    fn default() -> RecipeSettings {
        RecipeSettings {
            name: "xpaste".to_owned(),
            layers: Use::Bank,
            probability: 1.0,
            pad: [114, 114, 114],
            keep: KeepRule(KEEP_XPASTE),
            scene: SceneSettings::default(),
            bank: BankSettings::default(),
            copy: CopySettings::default(),
            synthetic: SyntheticSettings::default(),
            schedule: Schedule::default(),
        }
    }
}

impl Default for SceneSettings {
    fn default() -> SceneSettings {
        SceneSettings {
            scale: [0.1, 2.0],
            flip: 0.5,
            color: ColorJitter::default(),
        }
    }
}

impl Default for BankSettings {
    fn default() -> BankSettings {
        BankSettings {
            count: [0, 20],
            categories: Categories::Uniform,
            repeat_threshold: 0.001,
            relative_to: Region::Canvas,
            limits: Limits::Side,
            sizes: SizeSource::Packs,
            unmeasured: None,
            min_side: 10.0,
            max_side: 0.5,
            aspect_jitter: 0.2,
            flip: 0.5,
            angle: [0.0, 0.0],
            reject: Reject::Drop,
            reject_below: 5.0,
            placement: PlacementMode::Uniform,
            matching: 0.0,
            blend: vec![gaussian()],
            color: ColorJitter::default(),
            ignore: IgnoreSettings::default(),
        }
    }
}

impl Default for CopySettings {
    fn default() -> CopySettings {
        CopySettings {
            scale: [0.1, 2.0],
            flip: 0.5,
            objects: [0, 100],
            matching: 0.0,
            blend: vec![gaussian()],
            color: ColorJitter::default(),
            ignore: IgnoreSettings::default(),
        }
    }
}

fn gaussian() -> BlendChoice {
    BlendChoice {
        weight: 1.0,
        blend: Blend::Gaussian { sigma: 2.0 },
    }
}

/// Names of the built-in recipes, and the form of those that have a number in their name.
pub const BUILT_IN: [&str; 5] = [
    "simple-copy-paste",
    "xpaste",
    "xpaste-original",
    "both",
    "p:<x>",
];

impl RecipeSettings {
    /// A built-in recipe by its name, one of [`BUILT_IN`]; `None` for any other.
    pub fn built_in(name: &str) -> Option<RecipeSettings> {
        match name {
            "simple-copy-paste" => Some(RecipeSettings::simple_copy_paste()),
            "xpaste" => Some(RecipeSettings::xpaste()),
            "xpaste-original" => Some(RecipeSettings::xpaste_original()),
            "both" => Some(RecipeSettings::both()),
            _ => match Use::try_from(name.to_owned()) {
                Ok(layers @ Use::Choice(_)) => Some(RecipeSettings {
                    name: name.to_owned(),
                    layers,
                    ..RecipeSettings::default()
                }),
                _ => None,
            },
        }
    }

    /// X-Paste (arXiv 2212.03863): 0 to 20 cutouts of uniformly drawn categories, each about as
    /// large as its category's objects are.
    ///
    /// It differs from X-Paste's published code, which is [`RecipeSettings::xpaste_original`]: up
    /// to 20 layers, not 19; sizes and places by the canvas, not by the scene before it is padded;
    /// sides of 10 px to half the canvas's shorter side; edges blended by a Gaussian, not hard.
    pub fn xpaste() -> RecipeSettings {
        RecipeSettings::default()
    }

    /// X-Paste's published code with its plain configuration, `Xpaste_R50.yaml` (`syn_copy`):
    /// layers of the bank alone. With `use = "both"` it is `Xpaste_copypaste_R50.yaml`.
    ///
    /// 0 to 19 layers (0 to 99 objects of a second scene), hard edges, sizes and places by the
    /// scene before it is padded, limits as [`Limits::Area`] says. Both configurations go through
    /// the scenes by repeat factor: that is the sampler's order, not the recipe's.
    ///
    /// Left out are options that its configurations leave off: layouts after a reference image,
    /// several second scenes, second scenes by category or repeat factor, rotated rare instances
    /// and InstaBoost would each need a kind of draw of their own; `RM_BG_PROB` (a scene without
    /// background), Poisson blending and `BLANK_RATIO` (a second scene resized by what was drawn)
    /// are nothing that a plan can say. The code also never pastes onto images without
    /// annotations, drops occluded instances after every layer instead of once, and cuts layers
    /// off at the scene's edge.
    pub fn xpaste_original() -> RecipeSettings {
        let hard = vec![BlendChoice {
            weight: 1.0,
            blend: Blend::Hard,
        }];
        let bank = BankSettings {
            count: [0, 19],
            relative_to: Region::Scene,
            limits: Limits::Area,
            blend: hard.clone(),
            ..BankSettings::default()
        };
        let copy = CopySettings {
            objects: [0, 99],
            blend: hard,
            ..CopySettings::default()
        };
        RecipeSettings {
            name: "xpaste-original".to_owned(),
            bank,
            copy,
            ..RecipeSettings::default()
        }
    }

    /// Simple Copy-Paste (arXiv 2012.07177): both scenes with large-scale jitter, and a uniform
    /// random number of the second one's instances at their places.
    pub fn simple_copy_paste() -> RecipeSettings {
        RecipeSettings {
            name: "simple-copy-paste".to_owned(),
            layers: Use::Copy,
            keep: KeepRule(Keep::default()),
            copy: CopySettings {
                // All that there are: the paper sets no limit.
                objects: [1, 65_534],
                // The paper found no difference between this and a Gaussian.
                blend: vec![BlendChoice {
                    weight: 1.0,
                    blend: Blend::Hard,
                }],
                ..CopySettings::default()
            },
            ..RecipeSettings::default()
        }
    }

    /// X-Paste's best: cutouts of the bank, and instances of a second scene on top.
    pub fn both() -> RecipeSettings {
        RecipeSettings {
            name: "both".to_owned(),
            layers: Use::Both,
            ..RecipeSettings::default()
        }
    }
}
