//! The files of one model, wherever they are.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::hub::{Answer, HubFiles, HubId, HubSettings};
use super::{Weights, WeightsError};
use crate::build::models::licences;

/// Endings of files that hold tensors.
const WEIGHTS_ENDINGS: [&str; 4] = ["safetensors", "pth", "pt", "bin"];

/// The files of one model: a folder, a single file, or a hub id.
pub struct ModelFiles {
    model: String,
    source: Source,
}

enum Source {
    /// A folder, or one file of weights.
    Path(PathBuf),
    Hub(HubFiles),
}

impl ModelFiles {
    /// The files in a folder; or one file of weights that serves for any name of such a file, with
    /// all others beside it.
    pub fn at(model: &str, place: &Path) -> ModelFiles {
        ModelFiles {
            model: model.to_owned(),
            source: Source::Path(place.to_owned()),
        }
    }

    /// The files that a setting names: a path where there is one, else `owner/name@revision` on the
    /// hub, with the cache and the switches that the environment names.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] when it is neither.
    pub fn open(model: &str, source: &str) -> Result<ModelFiles, WeightsError> {
        ModelFiles::open_with(model, source, HubSettings::from_environment())
    }

    /// As [`ModelFiles::open`], with a cache of its own.
    ///
    /// # Errors
    /// [`WeightsError::Missing`].
    pub fn open_with(
        model: &str,
        source: &str,
        settings: HubSettings,
    ) -> Result<ModelFiles, WeightsError> {
        let path = Path::new(source);
        if path.exists() {
            return Ok(ModelFiles::at(model, path));
        }
        let id: HubId = source.parse().map_err(|problem| WeightsError::Missing {
            model: model.to_owned(),
            file: "a folder or a file".to_owned(),
            place: source.to_owned(),
            remedy: format!(
                "there is no such path, and {problem}; {}",
                remedy(model, &[])
            ),
        })?;
        if !id.is_pinned() {
            log::warn!(
                "{model}: {id} may change; a commit after the @ pins it: {}@<commit>",
                id.repository
            );
        }
        let source = Source::Hub(HubFiles { id, settings });
        Ok(ModelFiles {
            model: model.to_owned(),
            source,
        })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The first of `names` that is there; names may hold folders, such as `unet/config.json`.
    ///
    /// # Errors
    /// [`WeightsError::Missing`]; [`WeightsError::Download`] when the hub cannot be asked.
    pub fn find(&self, names: &[&str]) -> Result<PathBuf, WeightsError> {
        let found = self.look_for(names)?;
        found.ok_or_else(|| self.missing(names))
    }

    /// The first of `names` that is there, or none of them. A hub that cannot be asked is no answer:
    /// without the file the model would be another.
    ///
    /// # Errors
    /// [`WeightsError::Download`] when the hub cannot be asked.
    pub fn find_optional(&self, names: &[&str]) -> Result<Option<PathBuf>, WeightsError> {
        self.look_for(names)
    }

    /// The tensors of the first of `names` that is there, as one file or split into several with a
    /// table `{name}.index.json`. The table of split halves may be `x.safetensors.index.fp16.json`,
    /// as diffusers names that of `x.fp16.safetensors`.
    ///
    /// # Errors
    /// [`WeightsError`].
    pub fn weights(&self, names: &[&str]) -> Result<Weights, WeightsError> {
        for name in names {
            let mut forms = vec![(*name).to_owned(), format!("{name}.index.json")];
            if let Some(stem) = name.strip_suffix(".fp16.safetensors") {
                forms.push(format!("{stem}.safetensors.index.fp16.json"));
            }
            let forms: Vec<&str> = forms.iter().map(String::as_str).collect();
            let Some(path) = self.look_for(&forms)? else {
                continue;
            };
            return match path.extension().is_some_and(|ending| ending == "json") {
                true => Weights::open_all(&self.model, &self.shards(&path, name)?),
                false => Weights::open(&self.model, &path),
            };
        }
        Err(self.missing(names))
    }

    fn look_for(&self, names: &[&str]) -> Result<Option<PathBuf>, WeightsError> {
        for name in names {
            let found = match &self.source {
                Source::Path(place) => on_disk(place, name),
                Source::Hub(hub) => match hub.get(name) {
                    Ok(Answer::Found(path)) => Some(path),
                    Ok(Answer::Absent) => None,
                    Err(problem) => return Err(self.download_error(hub, name, problem)),
                },
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The files that a table of the split weights `name` names, all of them there.
    fn shards(&self, table: &Path, name: &str) -> Result<Vec<PathBuf>, WeightsError> {
        #[derive(Deserialize)]
        struct Table {
            weight_map: HashMap<String, String>,
        }
        let error = |problem: String| WeightsError::File {
            model: self.model.clone(),
            file: table.to_owned(),
            problem,
        };
        let text = fs::read(table).map_err(|source| error(source.to_string()))?;
        let read: Table = serde_json::from_slice(&text)
            .map_err(|source| error(format!("is not a table of split weights: {source}")))?;
        let shards: BTreeSet<&String> = read.weight_map.values().collect();
        if shards.is_empty() {
            return Err(error("names no files".into()));
        }
        // Shards lie beside their table, also in a folder of the repository.
        let folder = name.rsplit_once('/');
        let shards = shards.into_iter().map(|shard| {
            if Path::new(shard).components().count() != 1 || !is_plain(shard) {
                return Err(error(format!("names {shard:?}, which is not beside it")));
            }
            match (folder, &self.source) {
                (Some((folder, _)), Source::Hub(_)) => self.find(&[&format!("{folder}/{shard}")]),
                (None, Source::Hub(_)) => self.find(&[shard]),
                (_, Source::Path(_)) => {
                    let path = table.with_file_name(shard);
                    let found = path.is_file().then_some(path);
                    found.ok_or_else(|| self.missing(&[shard]))
                }
            }
        });
        shards.collect()
    }

    fn missing(&self, names: &[&str]) -> WeightsError {
        let (place, remedy) = match &self.source {
            Source::Path(place) => (place.display().to_string(), remedy(&self.model, names)),
            Source::Hub(hub) if hub.settings.offline => (
                format!("the cache of the hub for {} (offline)", hub.id),
                format!(
                    "unset HF_HUB_OFFLINE, or get it on another machine with `{}`",
                    command(&hub.id, names)
                ),
            ),
            Source::Hub(hub) => (
                format!("{} on the hub", hub.id),
                format!("is it the right repository? {}", remedy(&self.model, names)),
            ),
        };
        WeightsError::Missing {
            model: self.model.clone(),
            file: names.join(" or "),
            place,
            remedy,
        }
    }

    fn download_error(&self, hub: &HubFiles, name: &str, problem: String) -> WeightsError {
        WeightsError::Download {
            model: self.model.clone(),
            file: name.to_owned(),
            place: hub.id.to_string(),
            problem,
        }
    }
}

fn file_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, file)| file)
}

fn is_plain(shard: &str) -> bool {
    let mut components = Path::new(shard).components();
    components.all(|component| matches!(component, Component::Normal(_)))
}

fn is_weights(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| WEIGHTS_ENDINGS.contains(&ending))
}

fn on_disk(place: &Path, name: &str) -> Option<PathBuf> {
    let path = match place.is_file() {
        true if is_weights(Path::new(name)) => place.to_owned(),
        true => place.with_file_name(name),
        false => place.join(name),
    };
    path.is_file().then_some(path)
}

/// How to get a model's files, in words.
fn remedy(model: &str, names: &[&str]) -> String {
    let Some(offered) = licences::find(model) else {
        return "give the folder that holds it, the file itself, or owner/name@revision on the hub"
            .to_owned();
    };
    match offered.source.parse::<HubId>() {
        Ok(id) => format!("get it with `{}` and give that folder", command(&id, names)),
        Err(_) => format!("get it from {} and give the file", offered.source),
    }
}

/// The command that downloads files. The hub's own names lead, copies of them in other formats
/// follow: the first is asked for.
fn command(id: &HubId, names: &[&str]) -> String {
    let file = names
        .first()
        .map_or(String::new(), |name| format!(" {name}"));
    let folder = file_name(&id.repository);
    format!(
        "hf download {}{file} --revision {} --local-dir {folder}",
        id.repository, id.revision
    )
}

#[cfg(test)]
mod tests;
