//! Values of settings that are written in a form of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_64;

use crate::plan::{Blend, Keep};
use crate::sampler::RelativeSize;

/// The rule of X-Paste and mmdetection: 301 px, or a box that moved by at most 10 px.
pub const KEEP_XPASTE: Keep = Keep {
    min_area: 301,
    min_visible_permille: 0,
    max_box_shift: Some(10),
};

/// What layers are made of: `"bank"`, `"copy"`, `"both"` or `"p:<x>"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Use {
    /// Cutouts of the bank.
    Bank,
    /// Instances of a second scene.
    Copy,
    /// Cutouts of the bank, and instances of a second scene on top.
    Both,
    /// With this probability instances of a second scene, else cutouts of the bank: X-Paste's
    /// `USE_COPY_METHOD`.
    Choice(f64),
}

impl TryFrom<String> for Use {
    type Error = String;

    fn try_from(text: String) -> Result<Use, String> {
        let choice = || {
            let share: f64 = text.strip_prefix("p:")?.parse().ok()?;
            (0.0..=1.0).contains(&share).then_some(Use::Choice(share))
        };
        match text.as_str() {
            "bank" => Ok(Use::Bank),
            "copy" => Ok(Use::Copy),
            "both" => Ok(Use::Both),
            _ => choice().ok_or_else(|| {
                let expected = r#""bank", "copy", "both" or "p:<x>" with x in 0..=1"#;
                format!("found {text:?}, expected {expected}")
            }),
        }
    }
}

impl From<Use> for String {
    fn from(layers: Use) -> String {
        layers.to_string()
    }
}

impl fmt::Display for Use {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Bank => formatter.write_str("bank"),
            Use::Copy => formatter.write_str("copy"),
            Use::Both => formatter.write_str("both"),
            Use::Choice(share) => write!(formatter, "p:{share}"),
        }
    }
}

/// Which instances stay: `"strict"`, `"xpaste"` or a table of a plan's three numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeepRule(pub Keep);

impl Serialize for KeepRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == KEEP_XPASTE {
            serializer.serialize_str("xpaste")
        } else if self.0 == Keep::default() {
            serializer.serialize_str("strict")
        } else {
            Serialize::serialize(&self.0, serializer)
        }
    }
}

impl<'de> Deserialize<'de> for KeepRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeepRule, D::Error> {
        struct Rule;
        impl<'de> Visitor<'de> for Rule {
            type Value = KeepRule;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(
                    r#""strict", "xpaste" or a table of min_area, min_visible_permille and max_box_shift"#,
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<KeepRule, E> {
                match text {
                    "strict" => Ok(KeepRule(Keep::default())),
                    "xpaste" => Ok(KeepRule(KEEP_XPASTE)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeepRule, A::Error> {
                <Keep as Deserialize>::deserialize(MapAccessDeserializer::new(map)).map(KeepRule)
            }
        }
        deserializer.deserialize_any(Rule)
    }
}

/// One of the ways in which layers are blended: `{weight = 1, gaussian = {sigma = 2.0}}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BlendTable", into = "BlendTable")]
pub struct BlendChoice {
    /// How often it is drawn, relative to the others.
    pub weight: f64,
    /// The blend.
    pub blend: Blend,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlendTable {
    #[serde(default = "one")]
    weight: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gaussian: Option<Gaussian>,
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    box_filter: Option<BoxFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soft: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hard: Option<bool>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gaussian {
    sigma: f64,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoxFilter {
    radius: u32,
}

fn one() -> f64 {
    1.0
}

impl TryFrom<BlendTable> for BlendChoice {
    type Error = String;

    fn try_from(table: BlendTable) -> Result<BlendChoice, String> {
        let given = [
            table
                .gaussian
                .map(|Gaussian { sigma }| Blend::Gaussian { sigma }),
            table
                .box_filter
                .map(|BoxFilter { radius }| Blend::Box { radius }),
            (table.soft == Some(true)).then_some(Blend::Soft),
            (table.hard == Some(true)).then_some(Blend::Hard),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(blend), None) => Ok(BlendChoice {
                weight: table.weight,
                blend,
            }),
            (found, _) => {
                let found = found.map_or("none", |_| "more than one");
                let expected = "gaussian = {sigma = 2.0}, box = {radius = 2}, soft = true and \
                                hard = true";
                Err(format!("found {found}, expected one of {expected}"))
            }
        }
    }
}

impl From<BlendChoice> for BlendTable {
    fn from(choice: BlendChoice) -> BlendTable {
        let mut table = BlendTable {
            weight: choice.weight,
            ..BlendTable::default()
        };
        match choice.blend {
            Blend::Gaussian { sigma } => table.gaussian = Some(Gaussian { sigma }),
            Blend::Box { radius } => table.box_filter = Some(BoxFilter { radius }),
            Blend::Soft => table.soft = Some(true),
            Blend::Hard => table.hard = Some(true),
        }
        table
    }
}

/// Weights by category id; TOML's keys are strings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, f64>", into = "BTreeMap<String, f64>")]
pub struct CategoryWeights(pub BTreeMap<i64, f64>);

impl TryFrom<BTreeMap<String, f64>> for CategoryWeights {
    type Error = String;

    fn try_from(weights: BTreeMap<String, f64>) -> Result<CategoryWeights, String> {
        parse_ids(weights).map(CategoryWeights)
    }
}

impl From<CategoryWeights> for BTreeMap<String, f64> {
    fn from(weights: CategoryWeights) -> BTreeMap<String, f64> {
        let entry = |(id, weight): (i64, f64)| (id.to_string(), weight);
        weights.0.into_iter().map(entry).collect()
    }
}

fn parse_ids<T>(entries: BTreeMap<String, T>) -> Result<BTreeMap<i64, T>, String> {
    let parse = |(key, value): (String, T)| match key.parse() {
        Ok(id) => Ok((id, value)),
        Err(_) => Err(format!("found the key {key:?}, expected a category id")),
    };
    entries.into_iter().map(parse).collect()
}

/// Where the sizes of pasted objects come from: `"packs"`, or the path of X-Paste's table.
///
/// A category that the source lacks is drawn from [`BankSettings::unmeasured`], or where that is
/// not given from the packs' statistics of all categories together: a table says nothing of them.
///
/// [`BankSettings::unmeasured`]: super::BankSettings::unmeasured
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub enum SizeSource {
    /// The statistics in the packs' manifests, the scenes' first.
    #[default]
    Packs,
    /// A table that was read from a file, whose path counts from the working directory.
    Table(SizeTable),
}

impl TryFrom<PathBuf> for SizeSource {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<SizeSource, String> {
        if path == Path::new("packs") {
            return Ok(SizeSource::Packs);
        }
        SizeTable::read(&path).map(SizeSource::Table)
    }
}

impl From<SizeSource> for PathBuf {
    fn from(source: SizeSource) -> PathBuf {
        match source {
            SizeSource::Packs => PathBuf::from("packs"),
            SizeSource::Table(table) => table.path,
        }
    }
}

/// X-Paste's table of object sizes: `{"<category id>": [mean, standard deviation], …}` of
/// sqrt(box area / image area).
#[derive(Clone, Debug, PartialEq)]
pub struct SizeTable {
    path: PathBuf,
    sizes: BTreeMap<i64, [f64; 2]>,
    /// XXH3-64 of the file.
    pub(super) checksum: u64,
}

impl SizeTable {
    /// Reads the table at `path`.
    ///
    /// # Errors
    /// A text that names the file, what was found in it and what was expected.
    pub fn read(path: &Path) -> Result<SizeTable, String> {
        let problem = |problem: String| format!("size table {}: {problem}", path.display());
        let text = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
        let entries: BTreeMap<String, [f64; 2]> =
            serde_json::from_slice(&text).map_err(|error| {
                problem(format!(
                    "{error}; {{\"<category id>\": [mean, deviation], …}} was expected"
                ))
            })?;
        let sizes = parse_ids(entries).map_err(problem)?;
        let wrong = sizes.iter().find(|(_, size)| {
            let fits = |value: &f64| value.is_finite() && *value >= 0.0;
            !size.iter().all(fits)
        });
        if let Some((id, size)) = wrong {
            let expected = "finite numbers of at least 0 were expected";
            return Err(problem(format!("category {id} has {size:?}; {expected}")));
        }
        Ok(SizeTable {
            path: path.to_owned(),
            sizes,
            checksum: XxHash3_64::oneshot(&text),
        })
    }

    /// The category's size, where the table has one.
    pub fn of(&self, category: i64) -> Option<RelativeSize> {
        let &[mean, std] = self.sizes.get(&category)?;
        Some(RelativeSize { mean, std })
    }
}
