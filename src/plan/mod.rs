//! Plans: what goes where, as plain data.
//!
//! A [`Plan`] is the specification's JSON: for each output sample one scene placement and its
//! layers in order, the last on top. It holds no randomness and refers to scenes and cutouts by
//! their index. [`CheckedPlan`] is a plan that was held against a bank and a scene pack.

mod check;
mod error;
mod json;

pub use check::{CheckedLayer, CheckedPlan, CheckedSample};
pub use error::PlanError;

use serde::{Deserialize, Serialize};

/// A batch of samples to compose.
///
/// ```
/// use pastebank::plan::Plan;
/// let plan = Plan::from_json(br#"{"canvas": [64, 48], "samples": [
///     {"scene": {"index": 0, "resized": [64, 48], "offset": [0, 0]}, "layers": []}]}"#)?;
/// assert_eq!(plan.pad, [114, 114, 114]);
/// # Ok::<(), pastebank::plan::PlanError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Plan {
    /// Width and height of every output image, 1..=8192.
    pub canvas: [u32; 2],
    /// Colour of the canvas where the scene is not.
    #[serde(default = "default_pad")]
    pub pad: [u8; 3],
    /// Which instances stay (rule 14).
    #[serde(default)]
    pub keep: Keep,
    /// One entry an output image.
    pub samples: Vec<SamplePlan>,
}

/// Rule 14: which instances stay after occlusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct Keep {
    /// Least visible area in pixels.
    pub min_area: u32,
    /// Least visible share of the area before occlusion, in thousandths.
    pub min_visible_permille: u32,
    /// Below `min_area` an instance stays all the same if no edge of its box has moved further
    /// than this many pixels.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::not_null"
    )]
    pub max_box_shift: Option<u32>,
}

/// One output image: a scene and the layers pasted onto it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct SamplePlan {
    /// The scene below.
    pub scene: ScenePlan,
    /// The cutouts on it, the last on top; at most 65,534.
    pub layers: Vec<LayerPlan>,
}

/// A scene placed on the canvas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct ScenePlan {
    /// Index in the scene pack.
    pub index: u64,
    /// Width and height to resize to, 1..=8192.
    pub resized: [u32; 2],
    /// Canvas position of the top left pixel, within ±65536.
    pub offset: [i32; 2],
    /// Mirrored left-right.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flip: bool,
    /// Colour matrix.
    #[serde(default, skip_serializing_if = "is_default")]
    pub color: ColorMatrix,
}

/// A cutout placed on the canvas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct LayerPlan {
    /// Index in the bank.
    pub cutout: u64,
    /// Width and height to resize to, 1..=8192.
    pub resized: [u32; 2],
    /// Canvas position of the top left pixel, within ±65536.
    pub offset: [i32; 2],
    /// Mirrored left-right.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flip: bool,
    /// Counter-clockwise rotation about the rectangle's centre, in degrees.
    #[serde(default, skip_serializing_if = "is_default")]
    pub angle: f64,
    /// How the layer's edge is blended.
    #[serde(default)]
    pub blend: Blend,
    /// Colour matrix.
    #[serde(default, skip_serializing_if = "is_default")]
    pub color: ColorMatrix,
}

/// Rule 9: where the weight of a layer over its background comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Blend {
    /// All or nothing, by the mask.
    #[default]
    Hard,
    /// The cutout's own alpha.
    Soft,
    /// The mask through a Gaussian.
    Gaussian {
        /// Standard deviation in pixels, 0.1..=10.
        sigma: f64,
    },
    /// The mask through a box filter.
    Box {
        /// Radius in pixels, 1..=30.
        radius: u32,
    },
}

/// Rule 6: three rows [m0, m1, m2, b] in 1024ths; |m| ≤ 8192 and |b| ≤ 2^20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColorMatrix(pub [[i32; 4]; 3]);

impl Default for ColorMatrix {
    /// The one that changes nothing.
    fn default() -> ColorMatrix {
        ColorMatrix([[1024, 0, 0, 0], [0, 1024, 0, 0], [0, 0, 1024, 0]])
    }
}

impl Default for Keep {
    /// Everything of which a pixel is visible.
    fn default() -> Keep {
        Keep {
            min_area: 1,
            min_visible_permille: 0,
            max_box_shift: None,
        }
    }
}

fn default_pad() -> [u8; 3] {
    [114, 114, 114]
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Plan {
    /// Reads the specification's JSON.
    ///
    /// # Errors
    /// [`PlanError`] names the sample, the layer and the field that is missing, unknown or of
    /// another type than expected.
    pub fn from_json(text: &[u8]) -> Result<Plan, PlanError> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let plan = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| PlanError::from_json(error.path(), error.inner()))?;
        deserializer
            .end()
            .map_err(|error| PlanError::new(None, None, "the end of the JSON", error))?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Plan::from_json(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_sample_layer_and_field() {
        let scene = r#"{"index": 0, "resized": [1, 1], "offset": [0, 0]}"#;
        let with_layer = |layer: &str| {
            error(&format!(
                r#"{{"canvas": [1, 1], "samples": [{{"scene": {scene}, "layers": [{layer}]}}]}}"#
            ))
        };
        let unknown = with_layer(
            r#"{"cutout": 0, "resized": [1, 1], "offset": [0, 0], "blend": {"gaussian": {"radius": 1}}}"#,
        );
        assert!(
            unknown.starts_with("sample 0, layer 0, `blend.gaussian"),
            "{unknown}"
        );
        let negative = with_layer(r#"{"cutout": -4, "resized": [1, 1], "offset": [0, 0]}"#);
        assert!(
            negative.starts_with("sample 0, layer 0, `cutout`"),
            "{negative}"
        );
        assert!(negative.contains("-4"), "{negative}");
        let missing = with_layer(r#"{"cutout": 4, "offset": [0, 0]}"#);
        assert!(missing.contains("missing field `resized`"), "{missing}");
        assert!(
            error(r#"{"canvas": [1, 1], "samples": [], "keeps": {}}"#).contains("unknown field")
        );
        assert!(error("{\"canvas\": [1, 1], \"samples\": []} x").contains("trailing"));
    }

    #[test]
    fn a_plan_survives_its_json() {
        let layer = LayerPlan {
            cutout: 7,
            resized: [3, 4],
            offset: [-5, 6],
            flip: true,
            angle: 0.1 + 0.2,
            blend: Blend::Gaussian { sigma: 2.0 / 3.0 },
            color: ColorMatrix([[1, 2, 3, 4]; 3]),
        };
        let plan = Plan {
            canvas: [8, 9],
            pad: [1, 2, 3],
            keep: Keep {
                max_box_shift: Some(10),
                ..Keep::default()
            },
            samples: vec![SamplePlan {
                scene: ScenePlan {
                    index: 1,
                    resized: [3, 4],
                    offset: [-5, 6],
                    flip: true,
                    color: ColorMatrix::default(),
                },
                layers: vec![layer],
            }],
        };
        let text = serde_json::to_vec(&plan).unwrap();
        assert_eq!(Plan::from_json(&text).unwrap(), plan);
    }
}
