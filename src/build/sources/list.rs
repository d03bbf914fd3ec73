//! A list of images: CSV or JSON lines with path, category, source and licence.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::folder::ids_by_name;
use super::{Found, SourceError};
use crate::bank::Category;

/// One row of a list.
#[derive(Deserialize)]
struct Row {
    path: String,
    category: Named,
    #[serde(default)]
    source: Option<String>,
    #[serde(default, alias = "license")]
    licence: Option<String>,
}

/// A category by name or by id.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Id(i64),
    Name(String),
}

/// All images of a list. A file that ends in `.jsonl` or `.ndjson` has an object in each line;
/// any other is CSV with a header. Columns are `path` (relative ones are below the list's folder),
/// `category` (name or id), and, where known, `source` and `licence`.
///
/// # Errors
/// [`SourceError`] names the row.
pub fn list_file(list: &Path, categories: &[Category]) -> Result<Vec<Found>, SourceError> {
    let error = |source| SourceError::Io {
        path: list.to_owned(),
        source,
    };
    let file = BufReader::new(File::open(list).map_err(error)?);
    let ending = list.extension().unwrap_or_default().to_string_lossy();
    let rows = match &ending.to_ascii_lowercase()[..] {
        "jsonl" | "ndjson" => json_rows(list, file)?,
        _ => csv_rows(list, file)?,
    };
    let ids = ids_by_name(categories);
    let folder = list.parent().unwrap_or(Path::new(""));
    let mut found = Vec::with_capacity(rows.len());
    let mut keys = HashSet::new();
    for (number, row) in rows {
        let name = match row.category {
            Named::Id(id) => id.to_string(),
            Named::Name(name) => name,
        };
        let problem = |problem| SourceError::Row {
            list: list.to_owned(),
            row: number,
            problem,
        };
        let &category = ids.get(name.trim()).ok_or_else(|| {
            let count = categories.len();
            problem(format!(
                "category {name:?} is neither the name nor the id of any of the {count} categories"
            ))
        })?;
        let key = format!("folder/{}", row.path);
        if !keys.insert(key.clone()) {
            return Err(problem(format!("path {:?} was listed before", row.path)));
        }
        let known = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        found.push(Found {
            key,
            path: folder.join(&row.path),
            category,
            source: known(row.source),
            licence: known(row.licence),
        });
    }
    Ok(found)
}

fn json_rows(list: &Path, file: impl BufRead) -> Result<Vec<(u64, Row)>, SourceError> {
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(file.lines()) {
        let problem = |problem| SourceError::Row {
            list: list.to_owned(),
            row: number,
            problem,
        };
        let line = line.map_err(|error| problem(error.to_string()))?;
        if !line.trim().is_empty() {
            let row = serde_json::from_str(&line).map_err(|error| problem(error.to_string()))?;
            rows.push((number, row));
        }
    }
    Ok(rows)
}

fn csv_rows(list: &Path, file: impl BufRead) -> Result<Vec<(u64, Row)>, SourceError> {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader = builder.trim(csv::Trim::Headers).from_reader(file);
    let mut rows = Vec::new();
    for (number, row) in (2..).zip(reader.deserialize()) {
        let row = row.map_err(|error| SourceError::Row {
            list: list.to_owned(),
            row: number,
            problem: error.to_string(),
        })?;
        rows.push((number, row));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;
    use std::fs;

    fn listed(name: &str, text: &str) -> Result<Vec<Found>, String> {
        let category = |id, name: &str| Category {
            id,
            name: name.into(),
            other: Map::new(),
        };
        let categories = [category(3, "tea_pot"), category(9, "cat")];
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join(name);
        fs::write(&list, text).unwrap();
        let found = list_file(&list, &categories);
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn lists_are_read_alike_from_csv_and_json_lines() {
        let csv = "path,category,source,licence\na.jpg,cat,https://x.org/1,CC0\nb/c.png,3,,\n\
                   d.png,tea pot,,\n";
        let lines = "{\"path\": \"a.jpg\", \"category\": \"cat\", \"source\": \"https://x.org/1\", \
                     \"license\": \"CC0\"}\n\n{\"path\": \"b/c.png\", \"category\": 3}\n\
                     {\"path\": \"d.png\", \"category\": \"tea_pot\"}\n";
        let parts = |found: Vec<Found>| -> Vec<_> {
            let parts = |found: Found| (found.key, found.category, found.source, found.licence);
            found.into_iter().map(parts).collect()
        };
        let of_csv = parts(listed("list.csv", csv).unwrap());
        assert_eq!(of_csv, parts(listed("list.jsonl", lines).unwrap()));
        assert_eq!(of_csv[0].0, "folder/a.jpg");
        assert_eq!(of_csv[0].2.as_deref(), Some("https://x.org/1"));
        assert_eq!(
            (of_csv[1].1, of_csv[2].1, of_csv[1].3.as_ref()),
            (3, 3, None)
        );
    }

    #[test]
    fn wrong_rows_are_told_by_their_number() {
        for (name, text, words) in [
            (
                "l.csv",
                "path,category\na.jpg,dog\n",
                "row 2: category \"dog\"",
            ),
            (
                "l.csv",
                "file,category\na.jpg,cat\n",
                "missing field `path`",
            ),
            (
                "l.csv",
                "path,category\na.jpg,cat\na.jpg,3\n",
                "row 3: path \"a.jpg\"",
            ),
            ("l.csv", "path,category\na.jpg\n", "row 2"),
            (
                "l.jsonl",
                "{\"path\": \"a\"}\n",
                "row 1: missing field `category`",
            ),
            ("l.jsonl", "\n[]\n", "row 2"),
        ] {
            let error = listed(name, text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
