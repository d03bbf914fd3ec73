//! The images of a state folder, whichever stage they came from, and its categories.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::error::BuildError;
use super::picture::Picture;
use super::rows::{SourceKind, SourceRow};
use super::sources::{self, LoadError};
use super::stage::Trouble;
use super::state::{StageReader, StateError};
use crate::bank::Category;
use crate::bank::write::replace_file;
use crate::pack::DEFAULT_MAX_PIXELS;

/// The stage that takes images from a folder or a list.
pub const FOLDER_STAGE: &str = "folder";
/// The stage that makes images.
pub const GENERATE_STAGE: &str = "generate";
const CATEGORIES_FILE: &str = "categories.json";

/// The categories of a state folder.
///
/// # Errors
/// [`BuildError`] if there are none yet.
pub fn categories_of_state(state: &Path) -> Result<Vec<Category>, BuildError> {
    let path = state.join(CATEGORIES_FILE);
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => BuildError::File {
            path: path.clone(),
            problem: "is not there; begin with `pastebank build folder` or `build generate`".into(),
        },
        _ => StateError::io(&path)(error).into(),
    })?;
    serde_json::from_slice(&text).map_err(|error| BuildError::File {
        path,
        problem: format!("no list of categories: {error}"),
    })
}

/// Fixes the categories of a state folder, or holds those that are given against those that were
/// fixed before.
///
/// # Errors
/// [`BuildError`] if they differ.
pub fn fix_categories(state: &Path, categories: &[Category]) -> Result<(), BuildError> {
    let path = state.join(CATEGORIES_FILE);
    let io = |error| StateError::io(&path)(error);
    if path.is_file() {
        let before = categories_of_state(state)?;
        if before == categories {
            return Ok(());
        }
        let differs = |(a, b): &(&Category, &Category)| a != b;
        let first = before.iter().zip(categories).find(differs);
        let difference = match first {
            Some((a, b)) => {
                let text = |category| serde_json::to_string(category).unwrap_or_default();
                format!("{} was there, {} is given", text(a), text(b))
            }
            None => format!(
                "{} were there, {} are given",
                before.len(),
                categories.len()
            ),
        };
        return Err(BuildError::File {
            path,
            problem: format!("this state folder has other categories: {difference}"),
        });
    }
    std::fs::create_dir_all(state).map_err(StateError::io(state))?;
    let text = serde_json::to_vec_pretty(categories).map_err(|error| io(error.into()))?;
    Ok(replace_file(&path, &text)?)
}

/// All images that came in, in order of their keys.
pub struct Images {
    rows: Vec<SourceRow>,
    broken: Vec<(String, String)>,
    names: HashMap<i64, String>,
    generated: Option<StageReader<SourceRow>>,
    max_pixels: u64,
}

impl Images {
    /// Reads what the source stages of the state folder left.
    ///
    /// # Errors
    /// [`BuildError`] if no source stage has been begun, or one is not finished.
    pub fn open(state: &Path) -> Result<Images, BuildError> {
        let categories = categories_of_state(state)?;
        let folder = StageReader::<SourceRow>::open(state, FOLDER_STAGE)?;
        // What was not too large when it came in is not too large now.
        let settings = folder.as_ref().map(|folder| &folder.settings);
        let max_pixels = settings.and_then(|settings| settings.get("max_pixels")?.as_u64());
        let generated = StageReader::<SourceRow>::open(state, GENERATE_STAGE)?;
        if folder.is_none() && generated.is_none() {
            return Err(StateError::Unfinished {
                state: state.to_owned(),
                stage: FOLDER_STAGE.to_owned(),
                problem: "no images have come in; begin with `pastebank build folder` or \
                          `build generate`"
                    .to_owned(),
            }
            .into());
        }
        let (mut rows, mut broken) = (Vec::new(), Vec::new());
        for reader in [&folder, &generated].into_iter().flatten() {
            for (key, (line, _)) in &reader.items {
                match (&line.row, &line.problem) {
                    (Some(row), _) => rows.push(row.clone()),
                    (None, problem) => {
                        broken.push((key.clone(), problem.clone().unwrap_or_default()));
                    }
                }
            }
        }
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let spoken = |category: &Category| (category.id, category.name.replace('_', " "));
        Ok(Images {
            rows,
            broken,
            names: categories.iter().map(spoken).collect(),
            generated,
            max_pixels: max_pixels.unwrap_or(DEFAULT_MAX_PIXELS),
        })
    }

    /// All that could be opened, duplicates among them.
    pub fn rows(&self) -> &[SourceRow] {
        &self.rows
    }

    /// Keys of those that could not be opened, and why.
    pub fn broken(&self) -> &[(String, String)] {
        &self.broken
    }

    /// All but found images whose file has come before in the same category: no model needs to see
    /// these twice.
    pub fn distinct(&self) -> Vec<&SourceRow> {
        let mut seen = HashSet::new();
        let is_new = |row: &&SourceRow| {
            row.kind == SourceKind::Generated || seen.insert((row.category, row.xxh3))
        };
        self.rows.iter().filter(is_new).collect()
    }

    /// The category's name as people write it.
    pub fn spoken_name(&self, category: i64) -> &str {
        self.names.get(&category).map_or("", String::as_str)
    }

    /// Decodes an image.
    ///
    /// # Errors
    /// In words: it is gone, has changed, or cannot be decoded any more.
    pub(super) fn picture(&self, row: &SourceRow) -> Result<Picture, Trouble> {
        let name = self.spoken_name(row.category);
        let (path, file) = match (row.kind, &row.path) {
            (SourceKind::Folder, Some(path)) => {
                let path = Path::new(path);
                let file = sources::read_unchanged(path, row.xxh3);
                (path, file.map_err(trouble)?)
            }
            _ => {
                let reader = self.generated.as_ref();
                let blob = reader.map(|reader| reader.blob(&row.key)).transpose();
                let file = blob.map_err(|error| error.to_string())?.flatten();
                let file = file.ok_or_else(|| format!("{}: its image is not there", row.key))?;
                (Path::new(&row.key), file)
            }
        };
        let picture = sources::decode(path, &file, name, self.max_pixels);
        let picture = picture.map_err(|error| error.to_string())?;
        match <[u32; 2]>::from(picture.pixels.dimensions()) == row.size {
            true => Ok(picture),
            false => Err(format!("{}: its size has changed", row.key).into()),
        }
    }
}

/// A file that cannot be read was there when it was listed.
fn trouble(error: LoadError) -> Trouble {
    match error {
        LoadError::Unreadable(words) => Trouble::Surroundings(words),
        error => Trouble::Item(error.to_string()),
    }
}
