//! Models on the Hugging Face hub: their ids, their cache and their download.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

/// A repository of the hub, in one of its revisions: `owner/name@revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`.
    pub repository: String,
    /// A commit, a tag or a branch; a commit alone is sure to stay what it is.
    pub revision: String,
}

impl HubId {
    /// Whether the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        let hexadecimal = |byte: u8| byte.is_ascii_hexdigit();
        self.revision.len() == 40 && self.revision.bytes().all(hexadecimal)
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.repository, self.revision)
    }
}

impl FromStr for HubId {
    type Err = String;

    /// Reads `owner/name@revision`; without a revision it is `main`.
    fn from_str(text: &str) -> Result<HubId, String> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let parts: Vec<&str> = repository.split('/').collect();
        let named = parts.len() == 2 && parts.iter().all(|part| is_name(part));
        if !named || !revision.split('/').all(is_name) {
            return Err(format!(
                "{text:?} is not a hub id; owner/name@revision was expected"
            ));
        }
        Ok(HubId {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

/// Names become parts of paths: nothing in them may lead elsewhere.
fn is_name(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !part.is_empty() && part.bytes().all(allowed) && !part.bytes().all(|byte| byte == b'.')
}

/// Where the hub's files are kept, and whether it may be asked for more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSettings {
    /// The cache's folder, in the layout that all of the hub's tools share.
    pub cache: Option<PathBuf>,
    /// Look into the cache alone.
    pub offline: bool,
}

impl HubSettings {
    /// What the environment says: HF_HUB_CACHE or HF_HOME for the cache, HF_HUB_OFFLINE or
    /// TRANSFORMERS_OFFLINE for being offline. (HF_ENDPOINT and HF_TOKEN count at the download.)
    pub fn from_environment() -> HubSettings {
        HubSettings::from_variables(|name| std::env::var(name).ok(), std::env::home_dir())
    }

    /// The same from other variables.
    fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
    ) -> HubSettings {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let switched_on = |name| {
            let value = set(name).map(|value| value.to_ascii_uppercase());
            matches!(value.as_deref(), Some("1" | "TRUE" | "YES" | "ON"))
        };
        let cache = set("HF_HUB_CACHE").map(PathBuf::from);
        let in_home = set("HF_HOME").map(|home| Path::new(&home).join("hub"));
        HubSettings {
            cache: cache
                .or(in_home)
                .or_else(|| Some(home?.join(".cache/huggingface/hub"))),
            offline: switched_on("HF_HUB_OFFLINE") || switched_on("TRANSFORMERS_OFFLINE"),
        }
    }
}

/// What asking for a file came to.
pub(super) enum Answer {
    /// It is here.
    Found(PathBuf),
    /// The repository does not have it, or the cache does not and may not ask.
    Absent,
}

/// A repository's files.
pub(super) struct HubFiles {
    pub(super) id: HubId,
    pub(super) settings: HubSettings,
}

impl HubFiles {
    /// The file in the cache, or downloaded into it.
    ///
    /// # Errors
    /// What the hub or the network said, and what may be done.
    pub(super) fn get(&self, name: &str) -> Result<Answer, String> {
        if let Some(path) = self.cached(name) {
            return Ok(Answer::Found(path));
        }
        if self.settings.offline {
            return Ok(Answer::Absent);
        }
        let api = self.api().map_err(|error| error.to_string())?;
        let kind = RepoType::Model;
        let (repository, revision) = (self.id.repository.clone(), self.id.revision.clone());
        let repository = api.repo(Repo::with_revision(repository, kind, revision));
        match repository.get(name) {
            Ok(path) => Ok(Answer::Found(path)),
            Err(error) => self.explain(&error.to_string()),
        }
    }

    /// Looks as the hub's tools do: a branch's commit is in `refs`, and its files in `snapshots`.
    fn cached(&self, name: &str) -> Option<PathBuf> {
        let folder = format!("models--{}", self.id.repository.replace('/', "--"));
        let folder = self.settings.cache.as_ref()?.join(folder);
        let commit = fs::read_to_string(folder.join("refs").join(&self.id.revision));
        let commit = commit.unwrap_or_else(|_| self.id.revision.clone());
        let commit = commit.trim();
        let path = folder.join("snapshots").join(commit).join(name);
        (is_name(commit) && path.is_file()).then_some(path)
    }

    fn api(&self) -> Result<Api, ApiError> {
        let Some(cache) = &self.settings.cache else {
            let missing = "there is no folder for the cache; set HF_HOME";
            return Err(std::io::Error::other(missing).into());
        };
        // `ApiBuilder::from_env` panics where there is neither HF_HOME nor a home.
        let cache = Cache::new(cache.clone());
        let mut builder = ApiBuilder::from_cache(cache).with_retries(3);
        let set = |name| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        };
        if let Some(endpoint) = set("HF_ENDPOINT") {
            builder = builder.with_endpoint(endpoint.trim().trim_end_matches('/').to_owned());
        }
        if let Some(token) = set("HF_TOKEN") {
            builder = builder.with_token(Some(token.trim().to_owned()));
        }
        builder.build()
    }

    /// A file that is not there is no failure; all else is.
    fn explain(&self, error: &str) -> Result<Answer, String> {
        let status = |code: &str| error.contains(&format!("status: {code}"));
        if status("404") {
            return Ok(Answer::Absent);
        }
        let denied = status("401") || status("403");
        Err(match denied {
            true => format!(
                "{error}; the repository does not exist, or its licence must be accepted on \
                 https://huggingface.co/{} and HF_TOKEN set to a token of that account",
                self.id.repository
            ),
            false => {
                format!("{error}; is the network there? HF_HUB_OFFLINE=1 uses the cache alone")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_everything_else() {
        let id: HubId = "google/siglip-base@7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed"
            .parse()
            .unwrap();
        assert_eq!(id.repository, "google/siglip-base");
        assert!(id.is_pinned());
        let id: HubId = "owner/name@refs/pr/1".parse().unwrap();
        assert_eq!((id.revision.as_str(), id.is_pinned()), ("refs/pr/1", false));
        let id: HubId = "owner/name".parse().unwrap();
        assert_eq!(id.to_string(), "owner/name@main");
        for wrong in [
            "",
            "name",
            "/name",
            "owner/",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@",
            "a/b@../../x",
            "a/b@x/../y",
            "a b/c",
            "a/b@x@y",
            "C:\\x/y",
        ] {
            assert!(wrong.parse::<HubId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_environment_is_respected() {
        let read = |pairs: &[(&str, &str)]| {
            let find = |name: &str| {
                let pair = pairs.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            };
            let settings = HubSettings::from_variables(find, Some("/home/me".into()));
            (
                settings.cache.unwrap().display().to_string(),
                settings.offline,
            )
        };
        let home = "/home/me/.cache/huggingface/hub".to_owned();
        assert_eq!(read(&[]), (home.clone(), false));
        assert_eq!(
            read(&[("HF_HOME", ""), ("HF_HUB_OFFLINE", "0")]),
            (home.clone(), false)
        );
        assert_eq!(
            read(&[("HF_HOME", "/h"), ("HF_HUB_OFFLINE", "1")]),
            ("/h/hub".into(), true)
        );
        assert_eq!(
            read(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]),
            ("/c".into(), false)
        );
        assert_eq!(read(&[("TRANSFORMERS_OFFLINE", "true")]), (home, true));
        let nowhere = HubSettings::from_variables(|_| None, None);
        assert_eq!(nowhere.cache, None);
    }

    #[test]
    fn answers_of_the_hub_are_explained() {
        let files = HubFiles {
            id: "owner/name".parse().unwrap(),
            settings: HubSettings {
                cache: None,
                offline: false,
            },
        };
        assert!(matches!(
            files.explain("http status: 404"),
            Ok(Answer::Absent)
        ));
        let Err(denied) = files.explain("http status: 401") else {
            panic!("401 is a failure");
        };
        assert!(
            denied.contains("https://huggingface.co/owner/name"),
            "{denied}"
        );
        // A number that looks like one is not the answer's status.
        let timed_out = files.explain("https://host/404: timed out");
        assert!(timed_out.is_err_and(|told| told.contains("HF_HUB_OFFLINE")));
        assert!(
            files
                .explain("dns failed")
                .is_err_and(|told| told.contains("HF_HUB_OFFLINE"))
        );
        assert!(files.get("x").is_err_and(|told| told.contains("HF_HOME")));
    }
}
