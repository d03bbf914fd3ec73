//! The four things that can be looked at, each as a [`Source`](super::gallery::Source) of pictures:
//! a data set, a folder of composed or rendered pictures, a plan, a recipe.

#[cfg(feature = "pack")]
mod dataset;
#[cfg(feature = "pack")]
mod rendered;
mod samples;

#[cfg(feature = "pack")]
pub use dataset::DataSetPictures;
#[cfg(feature = "pack")]
pub use rendered::RenderedPictures;
pub use samples::{DrawnSample, SamplePictures};

#[cfg(feature = "pack")]
use std::collections::BTreeMap;

#[cfg(feature = "pack")]
use serde::de::{Deserialize, Deserializer, IgnoredAny};

#[cfg(feature = "pack")]
use super::gallery::Origin;

/// Something that cannot be looked at at all.
#[cfg(feature = "pack")]
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The annotation file cannot be read.
    #[error(transparent)]
    DataSet(#[from] crate::annotations::coco::DataSetError),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is no JSON of the form that was expected.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: std::path::PathBuf,
        /// What was found where, by line and column.
        source: serde_json::Error,
    },
}

/// Reads JSON from a file.
#[cfg(feature = "pack")]
fn read_json<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<T, SourceError> {
    let file = std::fs::File::open(path).map_err(|source| SourceError::Read {
        path: path.to_owned(),
        source,
    })?;
    let reader = std::io::BufReader::with_capacity(1 << 20, file);
    serde_json::from_reader(reader).map_err(|source| SourceError::Json {
        path: path.to_owned(),
        source,
    })
}

/// The `source` of an annotation, of which only the keys are read; other files may have anything
/// there.
#[cfg(feature = "pack")]
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum SourceEntry {
    Keys(BTreeMap<String, IgnoredAny>),
    Other(IgnoredAny),
}

/// Reads where an instance comes from, by the `source` that `compose` and `render` write: pasted
/// ones name their cutout, those of the scene only an annotation.
#[cfg(feature = "pack")]
fn origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Origin, D::Error> {
    Ok(match SourceEntry::deserialize(deserializer)? {
        SourceEntry::Keys(keys) if keys.contains_key("cutout") => Origin::Pasted,
        SourceEntry::Keys(keys) if keys.contains_key("annotation") => Origin::Scene,
        SourceEntry::Keys(_) | SourceEntry::Other(_) => Origin::Unknown,
    })
}

/// The origin of what has no `source`.
#[cfg(feature = "pack")]
fn unknown() -> Origin {
    Origin::Unknown
}

#[cfg(all(test, feature = "pack"))]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cutout_is_pasted_though_it_names_its_annotation_too() {
        let pasted = json!({"cutout": 5, "image": 1, "annotation": 2, "layer": 0});
        assert_eq!(origin(pasted).unwrap(), Origin::Pasted);
        assert_eq!(origin(json!({"annotation": 7})).unwrap(), Origin::Scene);
        for other in [json!(null), json!({}), json!("cutout"), json!([1])] {
            assert_eq!(origin(other).unwrap(), Origin::Unknown);
        }
    }
}
