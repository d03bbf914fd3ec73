//! Recipes as TOML, and single settings on top.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::RecipeSettings;
use crate::sampler::SamplerError;

/// A recipe that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is no TOML of this form.
    #[error("recipe {file}, line {line}, `{field}`: {problem}")]
    Toml {
        /// The file, or what else the text is called.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The setting with the tables that it lies in; `.` for the text as a whole.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A setting has a value of no use.
    #[error("recipe {file}")]
    Setting {
        /// The file, or what else the text is called.
        file: String,
        /// Which setting.
        source: SamplerError,
    },
    /// A single setting that was given as KEY=VALUE.
    #[error("setting {argument:?}, `{field}`: {problem}")]
    Set {
        /// What was given.
        argument: String,
        /// The setting.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A recipe that TOML cannot hold.
    #[error("the recipe cannot be written as TOML")]
    Write(#[from] toml::ser::Error),
}

impl RecipeSettings {
    /// Reads the recipe in a file.
    ///
    /// # Errors
    /// [`RecipeError`] names the file, the line and the setting, what was found and what was
    /// expected.
    pub fn from_file(path: &Path) -> Result<RecipeSettings, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Read {
            path: path.to_owned(),
            source,
        })?;
        RecipeSettings::from_toml(&text, &path.display().to_string())
    }

    /// Reads a recipe that comes from `file`, a name for errors.
    ///
    /// # Errors
    /// As [`RecipeSettings::from_file`].
    pub fn from_toml(text: &str, file: &str) -> Result<RecipeSettings, RecipeError> {
        let error = |field: String, error: &toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().get(..start).unwrap_or_default();
            RecipeError::Toml {
                file: file.to_owned(),
                line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
                field,
                problem: error.message().to_owned(),
            }
        };
        let deserializer =
            toml::Deserializer::parse(text).map_err(|source| error(".".to_owned(), &source))?;
        let settings: RecipeSettings = serde_path_to_error::deserialize(deserializer)
            .map_err(|source| error(source.path().to_string(), source.inner()))?;
        settings
            .check_settings()
            .map_err(|source| RecipeError::Setting {
                file: file.to_owned(),
                source,
            })?;
        Ok(settings)
    }

    /// The recipe as TOML, every setting written out.
    ///
    /// # Errors
    /// [`RecipeError::Write`] for a number past 2^63 - 1.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        Ok(toml::to_string(self)?)
    }

    /// The recipe with one setting changed: `bank.count=[1, 5]`, a key with the tables it lies in
    /// and a TOML value. Text needs no quotes where it is no other value.
    ///
    /// # Errors
    /// [`RecipeError::Set`] names the setting, what was found and what was expected.
    pub fn with(&self, argument: &str) -> Result<RecipeSettings, RecipeError> {
        let error = |field: &str, problem: String| RecipeError::Set {
            argument: argument.to_owned(),
            field: field.to_owned(),
            problem,
        };
        let (key, value) = argument
            .split_once('=')
            .ok_or_else(|| error(argument, "KEY=VALUE was expected".to_owned()))?;
        let key = key.trim();
        let value = parse_value(value.trim()).map_err(|problem| error(key, problem))?;
        let mut table = Table::try_from(self)?;
        insert(&mut table, key, value);
        let mut unread = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(Value::Table(table), &mut unread);
        let read = RecipeSettings::deserialize(deserializer);
        let settings = read.map_err(|source| {
            let field = unread.path().to_string();
            error(&field, source.message().to_owned())
        })?;
        settings.check_settings().map_err(|source| match source {
            SamplerError::Setting { field, problem } => error(&field, problem),
            other => error(key, other.to_string()),
        })?;
        Ok(settings)
    }
}

/// A TOML value; a text without quotes where it is none.
fn parse_value(text: &str) -> Result<Value, String> {
    let parsed: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    let is_word = |letter: char| letter.is_alphanumeric() || "-_.:/\\ ".contains(letter);
    match parsed {
        Ok(mut table) if table.len() == 1 => table
            .remove("value")
            .ok_or_else(|| format!("found {text:?}, expected a TOML value")),
        Err(_) if !text.is_empty() && text.chars().all(is_word) => {
            Ok(Value::String(text.to_owned()))
        }
        Ok(_) => Err(format!("found {text:?}, expected one TOML value")),
        Err(error) => Err(format!(
            "found {text:?}, expected a TOML value: {}",
            error.message()
        )),
    }
}

/// Sets the value at a dotted key, making tables on the way.
fn insert(table: &mut Table, key: &str, value: Value) {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let inner = table
        .entry(first)
        .or_insert_with(|| Value::Table(Table::new()));
    if !inner.is_table() {
        *inner = Value::Table(Table::new());
    }
    if let Value::Table(inner) = inner {
        insert(inner, rest, value);
    }
}
