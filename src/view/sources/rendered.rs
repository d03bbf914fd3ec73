//! Pictures of a folder that `pastebank render` wrote: `{k}.png` and `annotations.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{SourceError, origin, read_json, unknown};
use crate::annotations::problems::{Problem, ProblemKind, Problems};
use crate::annotations::segmentation;
use crate::pack::DEFAULT_MAX_PIXELS;
use crate::pack::decode::photograph;
use crate::render::ANNOTATIONS_FILE;
use crate::view::gallery::{Instance, Origin, Picture, Reduction, Source};

/// The pictures of a rendered plan, in the plan's order.
#[derive(Debug)]
pub struct RenderedPictures {
    folder: PathBuf,
    names: BTreeMap<i64, String>,
    samples: Vec<Sample>,
    wanted: BTreeSet<i64>,
    position: usize,
    problems: Problems,
}

#[derive(Deserialize)]
struct Annotations {
    samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    instances: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    category_id: i64,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Box<RawValue>,
    #[serde(default = "unknown", rename = "source", deserialize_with = "origin")]
    origin: Origin,
}

impl RenderedPictures {
    /// The folder's pictures from number `first` on. The files hold no category names: they are
    /// given, or the ids are shown.
    ///
    /// # Errors
    /// [`SourceError`] if there is no `annotations.json` of the specification's form.
    pub fn open(
        folder: &Path,
        names: BTreeMap<i64, String>,
        first: u64,
    ) -> Result<RenderedPictures, SourceError> {
        let annotations: Annotations = read_json(&folder.join(ANNOTATIONS_FILE))?;
        Ok(RenderedPictures {
            folder: folder.to_owned(),
            names,
            samples: annotations.samples,
            wanted: BTreeSet::new(),
            position: usize::try_from(first).unwrap_or(usize::MAX),
            problems: Problems::default(),
        })
    }

    fn picture(
        &self,
        number: usize,
        sample: &Sample,
        longest: u32,
        problems: &mut Problems,
    ) -> Picture {
        let title = format!("{number}.png");
        let photograph = photograph(&self.folder.join(&title), None, DEFAULT_MAX_PIXELS);
        let photograph = match photograph {
            Ok(photograph) => photograph,
            Err(problem) => {
                let picture = Picture::missing(title, problem.to_string());
                problems.add(problem);
                return picture;
            }
        };
        let size = [photograph.size.width(), photograph.size.height()];
        let reduction = Reduction::new(size, longest);
        let mut instances: Vec<Instance> = Vec::new();
        for (position, entry) in sample.instances.iter().enumerate() {
            let report = |kind: ProblemKind, text: String| {
                let text = format!("instance {position} of {title}: {text}");
                problems.add(Problem::new(kind, text));
            };
            let mask = segmentation::mask(entry.segmentation.get(), size, report);
            let instance = mask.and_then(|mask| {
                reduction.instance(entry.category_id, entry.origin, &mask, instances.len())
            });
            instances.extend(instance.map(|instance| Instance {
                crowd: entry.iscrowd == 1,
                ..instance
            }));
        }
        let image = RgbImage::from_raw(size[0], size[1], photograph.pixels);
        Picture {
            title,
            size,
            image: reduction.image(image.unwrap_or_default()),
            // The file lists what pasting has left of the scene, no more.
            before: None,
            instances,
            problem: None,
        }
    }
}

impl Source for RenderedPictures {
    fn title(&self) -> String {
        self.folder.display().to_string()
    }

    fn names(&self) -> &BTreeMap<i64, String> {
        &self.names
    }

    fn total(&self) -> Option<u64> {
        Some(self.samples.len() as u64)
    }

    fn choose(&mut self, categories: BTreeSet<i64>) {
        self.wanted = categories;
    }

    fn next(&mut self, longest: u32) -> Option<Picture> {
        let mut problems = std::mem::take(&mut self.problems);
        let wanted = |entry: &Entry| self.wanted.contains(&entry.category_id);
        let mut picture = None;
        while let Some(sample) = self.samples.get(self.position) {
            self.position += 1;
            if self.wanted.is_empty() || sample.instances.iter().any(wanted) {
                picture = Some(self.picture(self.position - 1, sample, longest, &mut problems));
                break;
            }
        }
        self.problems = problems;
        let mut picture = picture?;
        picture.keep_categories(&self.wanted);
        Some(picture)
    }

    fn problems(&self) -> &Problems {
        &self.problems
    }
}
