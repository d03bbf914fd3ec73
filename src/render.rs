//! The conformance command as a library call: a plan becomes PNG images and one
//! `annotations.json`.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Serialize;

use crate::bank::write::replace_file;
use crate::bank::{BankError, CutoutBank, ScenePack};
use crate::compose::{
    Backend, Batch, ComposeError, Encoded, InstanceSource, Layout, MaskOutput, OutputSpec,
    SampleView,
};
use crate::plan::{CheckedPlan, Plan, PlanError};
use crate::{panic_message, png};

/// The name of the annotations file.
pub const ANNOTATIONS_FILE: &str = "annotations.json";

/// Rendering failed.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The plan does not fit the packs.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A sample could not be composed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] BankError),
    /// An image could not be encoded.
    #[error("cannot encode {}: {source}", path.display())]
    Encode {
        /// The image's file.
        path: PathBuf,
        /// The encoder's error.
        source: image::ImageError,
    },
    /// The caller's progress function asked to stop.
    #[error("stopped after {samples} samples")]
    Stopped {
        /// How many samples are finished.
        samples: usize,
    },
}

/// `annotations.json` as the specification has it.
#[derive(Debug, Serialize)]
struct Annotations {
    samples: Vec<SampleAnnotations>,
}

#[derive(Debug, Serialize)]
struct SampleAnnotations {
    instances: Vec<InstanceAnnotation>,
}

#[derive(Debug, Serialize)]
struct InstanceAnnotation {
    category_id: i64,
    bbox: [u32; 4],
    area: u32,
    full_area: u32,
    iscrowd: u8,
    segmentation: Segmentation,
    source: Source,
}

#[derive(Debug, Serialize)]
struct Segmentation {
    size: [u32; 2],
    counts: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Annotation(i64),
    Cutout(u64),
}

/// Composes every sample of `plan`, `at_once` of them at a time, and writes `{k}.png` (8-bit RGB) and
/// [`ANNOTATIONS_FILE`] into `directory`, which must exist. The annotations are written last.
/// `progress` is told how many samples are finished and answers whether to go on.
///
/// # Errors
/// [`RenderError`]; a wrong plan is refused before anything is written.
pub fn render(
    plan: &Plan,
    scenes: &ScenePack,
    bank: &CutoutBank,
    directory: &Path,
    backend: &mut dyn Backend,
    at_once: NonZero<usize>,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<(), RenderError> {
    let checked = CheckedPlan::new(plan, scenes, bank)?;
    let encoded = Encoded::new(&checked)?;
    // Run lengths need no memory per pixel and instance, whatever the plan's size.
    let mut batch = Batch::new(OutputSpec {
        layout: Layout::Hwc,
        masks: MaskOutput::Rle,
        ..OutputSpec::default()
    });
    let mut annotations = Vec::with_capacity(plan.samples.len());
    let samples: Vec<usize> = (0..plan.samples.len()).collect();
    for part in samples.chunks(at_once.get()) {
        backend.compose_samples(&encoded, part, &mut batch)?;
        write_part(&batch, part, directory, &mut annotations)?;
        if !progress(annotations.len()) {
            return Err(RenderError::Stopped {
                samples: annotations.len(),
            });
        }
    }
    let annotations = Annotations {
        samples: annotations,
    };
    let path = directory.join(ANNOTATIONS_FILE);
    let text = serde_json::to_vec(&annotations).map_err(|error| BankError::Write {
        path: path.clone(),
        source: error.into(),
    })?;
    Ok(replace_file(&path, &text)?)
}

/// Writes the images of a composed part and adds its annotations, on as many threads as the machine
/// has: encoding a PNG takes about as long as composing it.
fn write_part(
    batch: &Batch,
    part: &[usize],
    directory: &Path,
    annotations: &mut Vec<SampleAnnotations>,
) -> Result<(), RenderError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut written = Vec::new();
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(sample) = part.get(position) else {
                return Ok(written);
            };
            let path = directory.join(format!("{sample}.png"));
            write_png(batch, position, &path)?;
            let view = batch.sample(position);
            written.extend(view.map(|view| (position, annotate(batch, &view))));
        }
    };
    let mut written = thread::scope(|scope| {
        let others = threads.min(part.len()).saturating_sub(1);
        let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut all: Result<Vec<_>, RenderError> = work();
        for other in others {
            let of_other = other.join().unwrap_or_else(|panic| {
                let message = panic_message(&*panic);
                Err(ComposeError::Panic { message }.into())
            });
            all = all.and_then(|mut all| {
                all.extend(of_other?);
                Ok(all)
            });
        }
        all
    })?;
    written.sort_by_key(|&(position, _)| position);
    annotations.extend(written.into_iter().map(|(_, sample)| sample));
    Ok(())
}

fn write_png(batch: &Batch, position: usize, path: &Path) -> Result<(), RenderError> {
    let pixels = batch.pixels(position).unwrap_or_default();
    let file = png::encode(pixels, batch.canvas()).map_err(|source| RenderError::Encode {
        path: path.to_owned(),
        source,
    })?;
    Ok(replace_file(path, &file)?)
}

fn annotate(batch: &Batch, view: &SampleView<'_>) -> SampleAnnotations {
    let canvas = batch.canvas();
    let instance = |(index, rle): (usize, &crate::annotations::rle::Rle)| {
        let [x0, y0, x1, y1] = view.boxes[index].map(|edge| edge as u32);
        InstanceAnnotation {
            category_id: view.labels[index],
            bbox: [x0, y0, x1 - x0, y1 - y0],
            area: view.areas[index],
            full_area: view.full_areas[index],
            iscrowd: view.iscrowd[index],
            segmentation: Segmentation {
                size: [canvas.height(), canvas.width()],
                counts: rle.compressed(),
            },
            source: match view.sources[index] {
                InstanceSource::Annotation(id) => Source::Annotation(id),
                InstanceSource::Cutout(index) => Source::Cutout(index),
            },
        }
    };
    SampleAnnotations {
        instances: view.run_lengths.iter().enumerate().map(instance).collect(),
    }
}
