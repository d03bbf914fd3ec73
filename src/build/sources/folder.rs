//! A folder whose folders are the categories.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Found, SourceError};
use crate::bank::Category;
use crate::pack::import::categories_named;

/// Endings of files that are taken for images.
const IMAGE_ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "tif", "tiff", "bmp"];

/// The categories that the folders in `input` stand for: ids are the folders' names where all of
/// these are numbers, else 1, 2, … in alphabetical order.
///
/// # Errors
/// [`SourceError`] if there are none.
pub fn categories_of(input: &Path) -> Result<Vec<Category>, SourceError> {
    let names = folders(input)?.into_iter().map(|(name, _)| name);
    Ok(categories_named(names.collect()))
}

/// All images below `input`, in the order of their keys: every folder in it is named by a category's
/// name or id, and may hold further folders.
///
/// # Errors
/// [`SourceError`] if a folder is no category's, or cannot be read.
pub fn list_folder(input: &Path, categories: &[Category]) -> Result<Vec<Found>, SourceError> {
    let by_name = ids_by_name(categories);
    let mut found = Vec::new();
    for (name, folder) in folders(input)? {
        let Some(&category) = by_name.get(&name) else {
            let count = categories.len();
            return Err(SourceError::Folder {
                problem: format!("is neither the name nor the id of any of the {count} categories"),
                folder,
            });
        };
        walk(&folder, &format!("folder/{name}"), category, &mut found)?;
    }
    Ok(found)
}

/// Ids by name and by themselves; names are also known with spaces for underscores.
pub(super) fn ids_by_name(categories: &[Category]) -> HashMap<String, i64> {
    let mut ids = HashMap::new();
    for category in categories {
        let spoken = category.name.replace('_', " ");
        for name in [spoken, category.id.to_string(), category.name.clone()] {
            ids.insert(name, category.id);
        }
    }
    ids
}

fn walk(
    folder: &Path,
    key: &str,
    category: i64,
    found: &mut Vec<Found>,
) -> Result<(), SourceError> {
    for (name, path) in entries(folder)? {
        let key = format!("{key}/{name}");
        if path.is_dir() {
            walk(&path, &key, category, found)?;
        } else if is_image(&path) {
            found.push(Found {
                key,
                path,
                category,
                source: None,
                licence: None,
            });
        }
    }
    Ok(())
}

/// Whether the name's ending is that of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    IMAGE_ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
}

fn folders(input: &Path) -> Result<Vec<(String, PathBuf)>, SourceError> {
    let mut folders = entries(input)?;
    folders.retain(|(_, path)| path.is_dir());
    if folders.is_empty() {
        return Err(SourceError::Folder {
            folder: input.to_owned(),
            problem: "holds no folders; one per category was expected, with images in it".into(),
        });
    }
    Ok(folders)
}

/// What a folder holds by name; what begins with a dot is left out.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, SourceError> {
    let error = |source| SourceError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn folders_are_categories_and_nested_ones_belong_to_them() {
        let input = tempfile::tempdir().unwrap();
        let path = |name: &str| input.path().join(name);
        fs::create_dir_all(path("tea pot/more")).unwrap();
        fs::create_dir_all(path("cat")).unwrap();
        for name in [
            "tea pot/b.JPG",
            "tea pot/more/a.png",
            "cat/.x.png",
            "cat/notes.txt",
        ] {
            fs::write(path(name), "").unwrap();
        }
        let categories = categories_of(input.path()).unwrap();
        let names: Vec<_> = categories.iter().map(|c| (c.id, &c.name[..])).collect();
        assert_eq!(names, [(1, "cat"), (2, "tea pot")]);
        let found = list_folder(input.path(), &categories).unwrap();
        let keys: Vec<_> = found.iter().map(|f| (&f.key[..], f.category)).collect();
        let expected = [
            ("folder/tea pot/b.JPG", 2),
            ("folder/tea pot/more/a.png", 2),
        ];
        assert_eq!(keys, expected);
        let other = Category {
            id: 7,
            name: "tea_pot".into(),
            other: Map::new(),
        };
        let error = list_folder(input.path(), &[other]).unwrap_err().to_string();
        assert!(error.contains("cat"), "{error}");
    }

    #[test]
    fn an_empty_folder_is_told() {
        let input = tempfile::tempdir().unwrap();
        let error = categories_of(input.path()).unwrap_err().to_string();
        assert!(error.contains("one per category"), "{error}");
        assert!(categories_of(&input.path().join("none")).is_err());
    }
}
