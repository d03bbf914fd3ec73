//! Prompts: what a generator is asked for, image by image, and with which seed.
//!
//! A template is text with placeholders: `{name}` is the category's name, `{definition}` and
//! `{synonym}` are what LVIS says of it. Underscores in names are written as spaces, as X-Paste does
//! (arXiv 2212.03863, `a photo of a single {name}`); DiverGen (arXiv 2405.10185) adds the
//! definition. `{{` and `}}` stand for the braces themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};
use twox_hash::XxHash3_64;

/// X-Paste's template.
pub const XPASTE_TEMPLATE: &str = "a photo of a single {name}";
/// DiverGen's template.
pub const DIVERGEN_TEMPLATE: &str =
    "a photo of a single {name}, {definition}, in a white background";

/// What is wrong with a template, a list of prompts, or what is to be said of a category.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A placeholder that stands for nothing.
    #[error(
        "prompt template {template:?}: unknown placeholder {{{placeholder}}}; {{name}}, \
         {{definition}} and {{synonym}} are known, and {{{{ and }}}} stand for braces"
    )]
    Placeholder {
        /// The whole template.
        template: String,
        /// What stood between the braces.
        placeholder: String,
    },
    /// Text that is no template.
    #[error("prompt template {template:?}: {problem}")]
    Template {
        /// The whole template.
        template: String,
        /// What was found and what was expected.
        problem: &'static str,
    },
    /// A category of which nothing is known that a template asks for.
    #[error("category {category:?} has no {missing}, which prompt template {template:?} asks for")]
    Unsaid {
        /// The category's name.
        category: String,
        /// `definition` or `synonym`.
        missing: &'static str,
        /// The whole template.
        template: String,
    },
    /// A category that the lists leave out.
    #[error("{}: no prompts for category {category:?}", file.display())]
    NoPrompts {
        /// The file of prompts.
        file: PathBuf,
        /// The category's name.
        category: String,
    },
    /// A file of prompts that cannot be read or is none.
    #[error("{}: {problem}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
}

/// A category, as far as prompts speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The category's id.
    pub id: i64,
    /// Its name, as the data set writes it.
    pub name: String,
    /// What it is, in a few words.
    pub definition: Option<String>,
    /// Other names of it.
    pub synonyms: Vec<String>,
}

impl Subject {
    /// A category by its id, its name and all else that COCO or LVIS say of it: `def` and
    /// `synonyms` are taken where they are text.
    pub fn new(id: i64, name: &str, other: &Map<String, Value>) -> Subject {
        let definition = other.get("def").and_then(Value::as_str);
        let synonyms = other.get("synonyms").and_then(Value::as_array);
        let synonyms = synonyms.into_iter().flatten().filter_map(Value::as_str);
        Subject {
            id,
            name: name.to_owned(),
            definition: definition
                .filter(|text| !text.trim().is_empty())
                .map(str::to_owned),
            synonyms: synonyms.map(str::to_owned).collect(),
        }
    }

    /// The name as it is written for people: spaces, no underscores.
    pub fn spoken_name(&self) -> String {
        spoken(&self.name)
    }
}

/// A data set's name as it is written for people.
fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name,
    Definition,
    Synonym,
}

/// A prompt with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
}

impl FromStr for Template {
    type Err = PromptError;

    fn from_str(source: &str) -> Result<Template, PromptError> {
        let problem = |problem| PromptError::Template {
            template: source.to_owned(),
            problem,
        };
        if source.trim().is_empty() {
            return Err(problem("it is empty; text was expected"));
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(brace);
            text.push_str(before);
            if after.starts_with("{{") || after.starts_with("}}") {
                text.push_str(&after[..1]);
                rest = &after[2..];
                continue;
            }
            let inside = after.strip_prefix('{');
            let inside = inside.ok_or_else(|| problem("a closing brace without an opening one"))?;
            let inside = inside.split_once('}');
            let (placeholder, remainder) =
                inside.ok_or_else(|| problem("an opening brace without a closing one"))?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece(source, placeholder)?);
            rest = remainder;
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Template {
            source: source.to_owned(),
            pieces,
        })
    }
}

fn piece(template: &str, placeholder: &str) -> Result<Piece, PromptError> {
    match placeholder {
        "name" => Ok(Piece::Name),
        "definition" => Ok(Piece::Definition),
        "synonym" => Ok(Piece::Synonym),
        _ => Err(PromptError::Placeholder {
            template: template.to_owned(),
            placeholder: placeholder.to_owned(),
        }),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)
    }
}

impl Template {
    /// The prompt for a category; of several synonyms the one at `turn`, counted around.
    ///
    /// # Errors
    /// [`PromptError::Unsaid`] names the category that has no definition or synonym.
    pub fn fill(&self, subject: &Subject, turn: u64) -> Result<String, PromptError> {
        let unsaid = |missing| PromptError::Unsaid {
            category: subject.name.clone(),
            missing,
            template: self.source.clone(),
        };
        let mut prompt = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => prompt.push_str(text),
                Piece::Name => prompt.push_str(&subject.spoken_name()),
                Piece::Definition => {
                    let definition = subject.definition.as_deref();
                    prompt.push_str(definition.ok_or_else(|| unsaid("definition"))?);
                }
                Piece::Synonym => {
                    let synonym = around(&subject.synonyms, turn);
                    prompt.push_str(&spoken(synonym.ok_or_else(|| unsaid("synonym"))?));
                }
            }
        }
        Ok(prompt)
    }
}

/// The item at `turn`, counted around; `None` of none.
fn around<T>(items: &[T], turn: u64) -> Option<&T> {
    let length = u64::try_from(items.len())
        .ok()
        .filter(|&length| length > 0)?;
    items.get(usize::try_from(turn % length).ok()?)
}

/// The prompts of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompts {
    /// The same templates for every category.
    Templates(Vec<Template>),
    /// A list for each category, by its name.
    PerCategory {
        /// Where they are from.
        file: PathBuf,
        /// Templates by category; underscores and spaces in names are alike.
        lists: BTreeMap<String, Vec<Template>>,
    },
}

impl Prompts {
    /// One template for all.
    ///
    /// # Errors
    /// [`PromptError`] of the template.
    pub fn template(text: &str) -> Result<Prompts, PromptError> {
        Ok(Prompts::Templates(vec![text.parse()?]))
    }

    /// Reads a file: JSON (`.json`, an object of lists `{"category": ["prompt", …]}`) or else
    /// templates, one a line, empty lines and lines that begin with `#` left out.
    ///
    /// # Errors
    /// [`PromptError`] names the file, or the template that is none.
    pub fn open(file: &Path) -> Result<Prompts, PromptError> {
        let error = |problem: String| PromptError::File {
            file: file.to_owned(),
            problem,
        };
        let text = fs::read_to_string(file).map_err(|source| error(source.to_string()))?;
        if file.extension().is_some_and(|ending| ending == "json") {
            return Prompts::per_category(file, &text);
        }
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let templates: Vec<Template> = lines.map(str::parse).collect::<Result<_, _>>()?;
        if templates.is_empty() {
            return Err(error("no templates; one a line was expected".to_owned()));
        }
        Ok(Prompts::Templates(templates))
    }

    fn per_category(file: &Path, text: &str) -> Result<Prompts, PromptError> {
        let error = |problem: String| PromptError::File {
            file: file.to_owned(),
            problem,
        };
        let read: BTreeMap<String, Vec<String>> = serde_json::from_str(text).map_err(|source| {
            error(format!(
                "{source}; an object of lists was expected, {{\"category\": [\"prompt\", …]}}"
            ))
        })?;
        let mut lists = BTreeMap::new();
        for (category, prompts) in read {
            let templates: Vec<Template> = prompts
                .iter()
                .map(|prompt| prompt.parse())
                .collect::<Result<_, _>>()?;
            if templates.is_empty() {
                return Err(error(format!("the list of category {category:?} is empty")));
            }
            if lists.insert(spoken(&category), templates).is_some() {
                return Err(error(format!("category {category:?} has two lists")));
            }
        }
        Ok(Prompts::PerCategory {
            file: file.to_owned(),
            lists,
        })
    }

    /// The prompt of a category's image at `index`: the templates take turns, and with each round
    /// of them the synonyms do, so that every pair comes.
    ///
    /// # Errors
    /// [`PromptError::NoPrompts`] and [`PromptError::Unsaid`] name the category.
    pub fn prompt(&self, subject: &Subject, index: u64) -> Result<String, PromptError> {
        let (templates, file) = match self {
            Prompts::Templates(templates) => (Some(templates), Path::new("prompts")),
            Prompts::PerCategory { file, lists } => {
                (lists.get(&subject.spoken_name()), file.as_path())
            }
        };
        let templates = templates.map(Vec::as_slice).unwrap_or_default();
        let template = around(templates, index).ok_or_else(|| PromptError::NoPrompts {
            file: file.to_owned(),
            category: subject.name.clone(),
        })?;
        template.fill(subject, index / templates.len().max(1) as u64)
    }

    /// Holds the prompts against all categories before any image is made.
    ///
    /// # Errors
    /// Those of [`Prompts::prompt`], for any template.
    pub fn check<'a>(
        &self,
        subjects: impl IntoIterator<Item = &'a Subject>,
    ) -> Result<(), PromptError> {
        for subject in subjects {
            let templates = match self {
                Prompts::Templates(templates) => templates.len(),
                Prompts::PerCategory { lists, .. } => {
                    lists.get(&subject.spoken_name()).map_or(0, Vec::len)
                }
            };
            for index in 0..templates.max(1) as u64 {
                self.prompt(subject, index)?;
            }
        }
        Ok(())
    }
}

/// The seed of one image: XXH3-64 (its own seed 0) of the run's seed, the category's id and the
/// image's index, 8 bytes each, little-endian.
///
/// A seed depends on nothing else, so that any image can be made again by itself, and more images
/// or categories change none that were there.
pub fn image_seed(seed: u64, category: i64, index: u64) -> u64 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&category.to_le_bytes());
    bytes[16..].copy_from_slice(&index.to_le_bytes());
    XxHash3_64::oneshot(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn aerosol_can() -> Subject {
        let other = json!({
            "def": "a dispenser that holds a substance under pressure",
            "synonyms": ["aerosol_can", "spray_can"],
            "frequency": "c",
        });
        Subject::new(2, "aerosol_can", other.as_object().unwrap())
    }

    fn bare(name: &str) -> Subject {
        Subject::new(1, name, &Map::new())
    }

    #[test]
    fn placeholders_are_filled_and_underscores_become_spaces() {
        let prompts = Prompts::template(XPASTE_TEMPLATE).unwrap();
        let prompt = prompts.prompt(&aerosol_can(), 5).unwrap();
        assert_eq!(prompt, "a photo of a single aerosol can");
        let prompts = Prompts::template(DIVERGEN_TEMPLATE).unwrap();
        assert_eq!(
            prompts.prompt(&aerosol_can(), 0).unwrap(),
            "a photo of a single aerosol can, a dispenser that holds a substance under pressure, \
             in a white background"
        );
        let braces: Template = "{{{name}}} {synonym}".parse().unwrap();
        assert_eq!(
            braces.fill(&aerosol_can(), 1).unwrap(),
            "{aerosol can} spray can"
        );
    }

    #[test]
    fn templates_and_synonyms_take_turns_so_that_every_pair_comes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts.txt");
        fs::write(&file, "# two\na {synonym}\n\n  the {synonym}\n").unwrap();
        let prompts = Prompts::open(&file).unwrap();
        let made: Vec<_> = (0..5)
            .map(|index| prompts.prompt(&aerosol_can(), index).unwrap())
            .collect();
        let expected = [
            "a aerosol can",
            "the aerosol can",
            "a spray can",
            "the spray can",
            "a aerosol can",
        ];
        assert_eq!(made, expected);
    }

    #[test]
    fn lists_per_category_are_found_by_either_way_of_writing_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts.json");
        let text = r#"{"aerosol can": ["red {name}", "blue one"], "dining_table": ["a table"]}"#;
        fs::write(&file, text).unwrap();
        let prompts = Prompts::open(&file).unwrap();
        assert_eq!(
            prompts.prompt(&aerosol_can(), 2).unwrap(),
            "red aerosol can"
        );
        assert_eq!(prompts.prompt(&aerosol_can(), 3).unwrap(), "blue one");
        assert_eq!(prompts.prompt(&bare("dining_table"), 9).unwrap(), "a table");
        let error = prompts
            .check(&[bare("dining_table"), bare("cat")])
            .unwrap_err();
        let PromptError::NoPrompts { category, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(category, "cat");
    }

    #[test]
    fn errors_name_template_placeholder_and_category() {
        let message = |text: &str| Prompts::template(text).unwrap_err().to_string();
        assert_eq!(
            message("a {nmae} b"),
            "prompt template \"a {nmae} b\": unknown placeholder {nmae}; {name}, {definition} and \
             {synonym} are known, and {{ and }} stand for braces"
        );
        assert!(message("a {name").contains("without a closing one"));
        assert!(message("a name}").contains("without an opening one"));
        assert!(message(" ").contains("empty"));
        let prompts = Prompts::template("{name}, {definition}").unwrap();
        assert_eq!(
            prompts
                .check(&[aerosol_can(), bare("cat")])
                .unwrap_err()
                .to_string(),
            "category \"cat\" has no definition, which prompt template \"{name}, {definition}\" \
             asks for"
        );
        let synonym = Prompts::template("{synonym}").unwrap();
        let error = synonym.prompt(&bare("cat"), 0).unwrap_err().to_string();
        assert!(error.contains("no synonym"), "{error}");
    }

    #[test]
    fn files_that_are_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            Prompts::open(&file).unwrap_err().to_string()
        };
        assert!(refused("empty.txt", "# nothing\n").contains("empty.txt: no templates"));
        assert!(refused("no.json", "[1]").contains("an object of lists was expected"));
        assert!(refused("hollow.json", r#"{"cat": []}"#).contains("\"cat\" is empty"));
        let twice = r#"{"spray_can": ["a"], "spray can": ["b"]}"#;
        assert!(refused("twice.json", twice).contains("two lists"));
        let absent = Prompts::open(&folder.path().join("absent.txt")).unwrap_err();
        assert!(absent.to_string().contains("absent.txt"));
    }

    /// By python's `xxhash.xxh3_64_intdigest(struct.pack("<QqQ", seed, category, index))`.
    #[test]
    fn seeds_are_the_documented_hash() {
        assert_eq!(image_seed(0, 1, 0), 0xb7ae_726b_74ed_6f2e);
        assert_eq!(image_seed(0, 1, 1), 0x1136_f540_c31e_ede4);
        assert_eq!(image_seed(7, 1203, 99), 0x708a_5b43_75b1_f226);
        assert_eq!(image_seed(u64::MAX, -5, 1 << 40), 0xb7a8_d615_1bcf_18cc);
        for index in 0..100 {
            let mut bytes = Vec::new();
            bytes.extend(3u64.to_le_bytes());
            bytes.extend(17i64.to_le_bytes());
            bytes.extend(u64::to_le_bytes(index));
            let expected = xxhash_rust::xxh3::xxh3_64(&bytes);
            assert_eq!(image_seed(3, 17, index), expected);
        }
    }
}
