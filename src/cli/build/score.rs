//! `pastebank build score`.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use image::{GrayImage, RgbImage};
use serde::Deserialize;
use serde_json::json;
use twox_hash::XxHash3_64;

use super::super::common::{Interrupted, Usage, catch_interrupts, goes_on, say};
use super::common::{Part, Work, below, content_hash, run_stage, settings, weights_below};
use super::model::{Chosen, Computing, batch_size};
use super::segment::images_in;
use crate::bank::Category;
use crate::build::device::Compute;
use crate::build::embeddings::{TextCache, read_text_table};
use crate::build::images::{Images, categories_of_state};
use crate::build::models::licences::Task;
use crate::build::models::registry::{image_embedder, text_embedder};
use crate::build::prompts::{Subject, Template};
use crate::build::references::{REFERENCES_STAGE, read_references};
use crate::build::score::{Scorer, Similarity, dot, embed, on_white_square, score};
use crate::build::segment::segmenters_of;
use crate::build::sources;
use crate::build::state::StageReader;
use crate::build::weights::ModelFiles;
use crate::pack::DEFAULT_MAX_PIXELS;
use crate::resume::Settings;

/// What scores speak of, unless told otherwise.
const SCORE_TEMPLATE: &str = "a photo of {name}";

/// Score every mask: how well the object fits its category's name, by CLIP; and, after
/// `references`, how alike it is to real ones.
///
/// With --input it stands alone: a JSON line for every image of a folder.
#[derive(Args)]
pub(in crate::cli) struct Score {
    /// Folder that holds what every stage has done.
    #[arg(long, value_name = "DIR", required_unless_present = "input")]
    state: Option<PathBuf>,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    scorer: ScoreSettings,
    #[command(flatten)]
    computing: Computing,
    /// Folder of images, without a state folder; what is transparent is shown on white.
    #[arg(
        long,
        value_name = "DIR",
        requires = "category",
        conflicts_with = "state"
    )]
    input: Option<PathBuf>,
    /// What is on the images of --input.
    #[arg(long, value_name = "NAME", requires = "input")]
    category: Option<String>,
}

/// `[score]` of a settings file.
#[derive(Args, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScoreSettings {
    /// Name of the model; `pastebank build models` lists them.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Its weights: a folder, a file, or a Hugging Face id with its revision (OWNER/NAME@REVISION);
    /// the authors' own id unless given.
    #[arg(long, value_name = "WEIGHTS")]
    weights: Option<String>,
    /// What a category's images are said to be, with {name}, {definition}, {synonym}.
    #[arg(long, value_name = "TEMPLATE")]
    prompt: Option<String>,
    /// Take the categories' text vectors from a .npy file, a row for each in order of the ids,
    /// instead of computing them.
    #[arg(long, value_name = "FILE")]
    text_embeddings: Option<PathBuf>,
    /// Whose masks to score [default: all that there are].
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    #[serde(default)]
    segmenters: Vec<String>,
    /// Masks at once; halved by itself when memory runs out.
    #[arg(long, value_name = "N")]
    batch: Option<NonZero<usize>>,
}

impl Score {
    pub fn run(self) -> Result<()> {
        catch_interrupts()?;
        if let (Some(input), Some(category)) = (&self.input, &self.category) {
            return self.score_folder(input, category);
        }
        let state = self
            .state
            .ok_or_else(|| Usage("--state is needed".to_owned()))?;
        let work = Work {
            state,
            part: self.part,
        };
        score_state(&work, &self.scorer, &self.computing)
    }

    fn score_folder(&self, input: &Path, category: &str) -> Result<()> {
        let images = images_in(input)?;
        let files = self.scorer.model().files(Task::Scorer, &self.computing)?;
        let compute = self.computing.open()?;
        let embedder = image_embedder(&self.scorer.model, &files, &compute)?;
        let subject = Subject::new(0, category, &serde_json::Map::new());
        let prompt = self.scorer.template()?.fill(&subject, 0)?;
        let texts = text_embedder(&self.scorer.model, &files, &compute)?;
        let texts = texts.embed_texts(&[&prompt])?.to_vec2::<f32>()?;
        let text = texts.first().context("the model gave no vector")?;
        for path in images {
            if !goes_on() {
                return Err(Interrupted("stopped".to_owned()).into());
            }
            let line = match sources::open(&path, category, DEFAULT_MAX_PIXELS) {
                Ok(picture) => {
                    let object = on_white(&picture.pixels, picture.alpha.as_ref());
                    let vectors = embed(&*embedder, &[object], &mut 1)?;
                    let vector = vectors.first().context("the model gave no vector")?;
                    json!({"image": path, "model": self.scorer.model, "prompt": prompt,
                        "score": 100.0 * dot(vector, text)})
                }
                Err(error) => json!({"image": path, "problem": error.to_string()}),
            };
            say(line)?;
        }
        Ok(())
    }
}

fn on_white(pixels: &RgbImage, alpha: Option<&GrayImage>) -> RgbImage {
    let opaque = || GrayImage::from_pixel(pixels.width(), pixels.height(), [255].into());
    match alpha {
        Some(alpha) => on_white_square(pixels, alpha),
        None => on_white_square(pixels, &opaque()),
    }
}

impl ScoreSettings {
    fn model(&self) -> Chosen<'_> {
        Chosen {
            name: &self.model,
            weights: self.weights.as_deref(),
        }
    }

    /// Relative paths of a settings file are below its folder.
    pub fn move_below(&mut self, folder: &Path) {
        weights_below(folder, &mut self.weights);
        below(folder, self.text_embeddings.as_mut());
    }

    fn template(&self) -> Result<Template> {
        Ok(self.prompt.as_deref().unwrap_or(SCORE_TEMPLATE).parse()?)
    }

    /// Finds what is wrong before any stage begins.
    pub fn check(&self, computing: &Computing) -> Result<()> {
        self.model().files(Task::Scorer, computing)?;
        self.template()?;
        match &self.text_embeddings {
            Some(file) => content_hash(file).map(drop),
            None => Ok(()),
        }
    }

    /// Of this model alone, and of this worker, so that no two write to one file.
    fn cache_file(&self, work: &Work) -> PathBuf {
        let model = format!(
            "{} {}",
            self.model,
            self.weights.as_deref().unwrap_or_default()
        );
        let model = XxHash3_64::oneshot(model.as_bytes());
        let name = format!("{model:016x}-{}.safetensors", work.part.shard.folder_name());
        work.state.join("texts").join(name)
    }

    /// A text's vector for each of the categories.
    fn texts(
        &self,
        files: &ModelFiles,
        compute: &Compute,
        categories: &[Category],
        work: &Work,
    ) -> Result<HashMap<i64, Vec<f32>>> {
        if let Some(file) = &self.text_embeddings {
            let mut ids: Vec<i64> = categories.iter().map(|category| category.id).collect();
            ids.sort_unstable();
            return Ok(read_text_table(file, &ids)?);
        }
        let template = self.template()?;
        let subjects = categories.iter();
        let subjects = subjects.map(|c| Subject::new(c.id, &c.name, &c.other));
        let mut prompts = Vec::new();
        for subject in subjects {
            prompts.push((subject.id, template.fill(&subject, 0)?));
        }
        let mut cache = TextCache::open(&self.cache_file(work))?;
        let texts: Vec<&str> = prompts.iter().map(|(_, prompt)| &prompt[..]).collect();
        let vectors = cache.embed(&texts, || text_embedder(&self.model, files, compute))?;
        Ok(prompts.iter().map(|(id, _)| *id).zip(vectors).collect())
    }
}

/// Runs the stage.
pub(super) fn score_state(
    work: &Work,
    chosen: &ScoreSettings,
    computing: &Computing,
) -> Result<()> {
    let images = Images::open(&work.state)?;
    let rows = images.distinct();
    let segmenters = match chosen.segmenters.is_empty() {
        true => segmenters_of(&work.state)?,
        false => chosen.segmenters.clone(),
    };
    if segmenters.is_empty() {
        let state = work.state.display();
        let problem = format!("{state} has no masks; `build segment` makes them");
        return Err(Usage(problem).into());
    }
    let files = chosen.model().files(Task::Scorer, computing)?;
    let compute = computing.open()?;
    let present: BTreeSet<i64> = rows.iter().map(|row| row.category).collect();
    let mut categories = categories_of_state(&work.state)?;
    if chosen.text_embeddings.is_none() {
        categories.retain(|category| present.contains(&category.id));
    }
    let reference = Reference::open(&work.state)?;
    let table = chosen.text_embeddings.as_deref().map(content_hash);
    let mut entries = chosen.model().settings().to_vec();
    entries.push(("prompt", json!(chosen.template()?.to_string())));
    entries.push(("text_embeddings", json!(table.transpose()?)));
    let references = reference.as_ref().map(|reference| &reference.settings);
    entries.push(("references", json!(references)));
    let (settings, options) = (
        settings(&entries),
        work.options(batch_size(chosen.batch, 16)),
    );
    let texts = chosen.texts(&files, &compute, &categories, work)?;
    let similarity = match &reference {
        Some(reference) => Some(reference.similarity(chosen, computing, &compute)?),
        None => None,
    };
    let load = || {
        Ok(Scorer {
            images: image_embedder(&chosen.model, &files, &compute)?,
            texts,
            similarity,
        })
    };
    run_stage("scores", |progress| {
        score(
            &images,
            &rows,
            &segmenters,
            load,
            &settings,
            &options,
            progress,
        )
    })
}

/// What real objects look like, and what model said so.
struct Reference {
    means: HashMap<i64, Vec<f32>>,
    settings: Settings,
}

impl Reference {
    fn open(state: &Path) -> Result<Option<Reference>> {
        let Some(means) = read_references(state)? else {
            return Ok(None);
        };
        type Row = crate::build::references::Reference;
        let reader = StageReader::<Row>::open(state, REFERENCES_STAGE)?;
        let settings = reader.map(|reader| reader.settings).unwrap_or_default();
        Ok(Some(Reference { means, settings }))
    }

    /// With the model that embedded them, unless it is the scorer itself.
    fn similarity(
        &self,
        chosen: &ScoreSettings,
        computing: &Computing,
        compute: &Compute,
    ) -> Result<Similarity> {
        let text = |key: &str| {
            let value = self.settings.get(key).and_then(|value| value.as_str());
            value.map(str::to_owned)
        };
        let (name, weights) = (text("model").unwrap_or_default(), text("weights"));
        let model = Chosen {
            name: &name,
            weights: weights.as_deref(),
        };
        let is_scorer = name == chosen.model && weights == chosen.weights;
        let images = match is_scorer {
            true => None,
            false => {
                let files = model.files(Task::Scorer, computing)?;
                Some(image_embedder(&name, &files, compute)?)
            }
        };
        Ok(Similarity {
            images,
            means: self.means.clone(),
        })
    }
}
