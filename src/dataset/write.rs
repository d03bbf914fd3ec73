//! Composing, encoding and writing on many threads, recorded in order.

use std::fs;
use std::path::PathBuf;

use crossbeam::queue::SegQueue;
use serde_json::json;
use twox_hash::XxHash3_64;

use super::annotate::Annotator;
use super::composer::Composer;
use super::counts::{Counts, DatasetReport};
use super::error::DatasetError;
use super::folder::{self, IMAGES_FOLDER, Start, image_name};
use super::instances::{self, INSTANCES_FILE};
use super::journal::{Journal, Line};
use super::record::Record;
use super::samples;
use super::{DatasetOptions, ImageFormat};
use crate::bank::write::replace_file;
use crate::bank::{BankError, Manifest};
use crate::compose::{ComposeError, MaskOutput};
use crate::ordered::{self, threads_or_all};
use crate::resume::{Progress, Settings};
use crate::sampler::Sampler;

/// Composes a data set and writes it to a folder. `progress` is told of every sample that is done
/// and answers whether to go on. The bytes of all files depend on `sampler` and `options` alone,
/// not on the number of threads nor on interruptions.
///
/// # Errors
/// [`DatasetError`]. Finished samples stay, and the same call continues after them.
pub fn write(
    sampler: &Sampler,
    options: &DatasetOptions,
    mut progress: impl FnMut(Progress) -> bool,
) -> Result<DatasetReport, DatasetError> {
    options.check()?;
    let settings = settings(sampler, options);
    let mut counts = Counts::default();
    let journal = match folder::start(options, &settings)? {
        Start::Finished(report) => {
            return Ok(DatasetReport {
                was_finished: true,
                ..*report
            });
        }
        Start::Fresh => Journal::create(&options.folder, &settings)?,
        Start::Continue => resume(options, &mut counts)?,
    };
    // A run that ended for it has journalled the sample that was one too many.
    check_replaced(options, &counts)?;
    let mut run = Run {
        sampler,
        options,
        first: counts.report.images as usize,
        journal,
        counts,
    };
    run.write_samples(&mut progress)?;
    let Run {
        journal, counts, ..
    } = run;
    let path = options.folder.join(INSTANCES_FILE);
    let how = (options.style, threads_or_all(options.threads));
    instances::write(&path, &settings, sampler, how, &journal, &counts)?;
    journal.remove()?;
    Ok(counts.report)
}

/// What decides the data set.
fn settings(sampler: &Sampler, options: &DatasetOptions) -> Settings {
    // A manifest has the checksums of its shards, so its own stands for the whole pack.
    let hash = |manifest: &Manifest| {
        let text = serde_json::to_vec(manifest).unwrap_or_default();
        format!("{:016x}", XxHash3_64::oneshot(&text))
    };
    let (format, quality) = match options.format {
        ImageFormat::Jpeg { quality } => ("jpeg", Some(quality)),
        ImageFormat::Png => ("png", None),
    };
    let own = [
        // Another version may draw or encode in another way.
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        (
            "scenes_xxh3",
            json!(hash(sampler.ground().scenes.manifest())),
        ),
        ("bank_xxh3", json!(hash(sampler.ground().bank.manifest()))),
        ("count", json!(options.count)),
        ("format", json!(format)),
        ("quality", json!(quality)),
        ("annotations", json!(options.annotations)),
        ("style", json!(options.style)),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value));
    samples::settings(sampler).into_iter().chain(own).collect()
}

/// Opens the journal of an unfinished data set and adds up what it has, as far as the images are
/// there.
fn resume(options: &DatasetOptions, counts: &mut Counts) -> Result<Journal, BankError> {
    Journal::resume(&options.folder, |record| {
        let path = images_folder(options).join(&record.image.file_name);
        let is_there = fs::metadata(path).is_ok_and(|file| file.len() == record.bytes);
        let is_next = record.image.id == counts.report.images && record.image.id < options.count;
        if is_there && is_next {
            counts.add(record);
        }
        is_there && is_next
    })
}

/// Ends a run with more replaced samples than are allowed.
fn check_replaced(options: &DatasetOptions, counts: &Counts) -> Result<(), DatasetError> {
    let (replaced, allowed) = (counts.report.replaced, options.max_replaced);
    match &counts.last_replaced {
        Some(last) if replaced as f64 > allowed * options.count as f64 => {
            Err(DatasetError::TooManyReplaced {
                replaced,
                samples: options.count,
                allowed,
                last: last.clone(),
            })
        }
        _ => Ok(()),
    }
}

fn images_folder(options: &DatasetOptions) -> PathBuf {
    options.folder.join(IMAGES_FOLDER)
}

/// A run under way.
struct Run<'a> {
    sampler: &'a Sampler,
    options: &'a DatasetOptions,
    /// The first sample that is not in the journal.
    first: usize,
    journal: Journal,
    counts: Counts,
}

impl Run<'_> {
    fn write_samples(
        &mut self,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), DatasetError> {
        let (sampler, options) = (self.sampler, self.options);
        let plan = ordered::Plan {
            threads: threads_or_all(options.threads),
            // Records that wait for their turn are small; the window bounds their number.
            budget: usize::MAX,
            estimate: &|_| 0,
        };
        // A composer a thread: each takes one that is free and gives it back.
        let composers = SegQueue::new();
        let work = |number: usize| {
            let mut composer = composers
                .pop()
                .unwrap_or_else(|| Composer::new(MaskOutput::Rle));
            let record = write_sample(sampler, options, &mut composer, number as u64);
            composers.push(composer);
            record
        };
        ordered::run(
            self.first..options.count as usize,
            &plan,
            work,
            |number, record| self.take(number, record?, progress),
        )
        .map_err(|ended| match ended {
            ordered::Ended::Consumer(error) => error,
            ordered::Ended::Panic(message) => DatasetError::Panic { message },
        })
    }

    fn take(
        &mut self,
        number: usize,
        (record, line): (Record, Line),
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), DatasetError> {
        self.journal.append(&line)?;
        self.counts.add(&record);
        check_replaced(self.options, &self.counts)?;
        let done = number + 1;
        let goes_on = progress(Progress {
            first: self.first,
            done,
            total: self.options.count as usize,
        });
        if goes_on {
            Ok(())
        } else {
            Err(DatasetError::Stopped { samples: done })
        }
    }
}

/// Composes a sample, writes its image and makes its line of the journal; all but appending that.
fn write_sample(
    sampler: &Sampler,
    options: &DatasetOptions,
    composer: &mut Composer,
    number: u64,
) -> Result<(Record, Line), DatasetError> {
    let composed = composer.compose_drawn(sampler, number)?;
    let batch = composer.batch();
    let file_name = image_name(number, options.format.ending());
    let pixels = batch.pixels(0).unwrap_or_default();
    let file = options.format.encode(pixels, batch.canvas());
    let file = file.map_err(|source| DatasetError::Encode {
        file_name: file_name.clone(),
        source,
    })?;
    replace_file(&images_folder(options).join(&file_name), &file)?;
    let view = batch.sample(0).ok_or(ComposeError::NoSample {
        sample: 0,
        count: batch.len(),
    })?;
    let annotator = Annotator {
        sampler,
        annotations: options.annotations,
        style: options.style,
    };
    let file = (file_name, file.len() as u64);
    let record = annotator.record(number, composed, &view, file);
    let line = Line::new(&options.folder, &record)?;
    Ok((record, line))
}
