//! The stage `generate`: images made from text.

use image::{DynamicImage, ImageFormat, RgbImage};
use rayon::prelude::*;
use twox_hash::XxHash3_64;

use super::batches::in_batches;
use super::error::BuildError;
use super::images::GENERATE_STAGE;
use super::models::{Generator, Request};
use super::rows::{SourceKind, SourceRow};
use super::sources::look;
use super::stage::{self, Item, Outcome, StageOptions, StageReport};
use crate::resume::{Progress, Settings};

/// One image that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// `generate/CATEGORY/INDEX`.
    pub key: String,
    /// Id of its category.
    pub category: i64,
    /// Texts and seed.
    pub request: Request,
}

impl Task {
    /// Image `index` of a category.
    pub fn new(category: i64, index: u64, request: Request) -> Task {
        Task {
            key: format!("generate/{category}/{index:06}"),
            category,
            request,
        }
    }
}

impl Item for Task {
    fn key(&self) -> &str {
        &self.key
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// Makes every image of `tasks`; the model is loaded only if there is one left to make.
///
/// # Errors
/// [`BuildError`].
pub fn generate(
    tasks: Vec<Task>,
    load: impl FnOnce() -> Result<Box<dyn Generator>, BuildError>,
    settings: &Settings,
    options: &StageOptions,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<StageReport, BuildError> {
    let mut batch_size = options.batch_size.get();
    stage::run(
        GENERATE_STAGE,
        settings,
        options,
        tasks,
        load,
        |task| Ok(task.request.clone()),
        |generator, tasks, requests| {
            let make = |requests: &[Request]| generator.generate(requests);
            let images = in_batches(&requests, &mut batch_size, make)?;
            let made = tasks.par_iter().zip(images);
            Ok(made.map(|(task, image)| line(task, image)).collect())
        },
        progress,
    )
}

fn line(task: &Task, image: RgbImage) -> Outcome<SourceRow> {
    let size = image.dimensions().into();
    let image = DynamicImage::from(image);
    let mut png = std::io::Cursor::new(Vec::new());
    image
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| format!("it cannot be encoded: {error}"))?;
    let png = png.into_inner();
    let row = SourceRow {
        key: task.key.clone(),
        category: task.category,
        kind: SourceKind::Generated,
        size,
        xxh3: XxHash3_64::oneshot(&png),
        look: look(&image),
        prompt: Some(task.request.prompt.clone()),
        seed: Some(task.request.seed),
        path: None,
        source: None,
        licence: None,
    };
    Ok((row, Some(png)))
}
