//! The part that packing, importing and storing share: sources prepared in parallel, written in order,
//! shard after shard.

use std::fs::File;
use std::num::NonZero;
use std::path::Path;

use crossbeam::channel::{self, Receiver, Sender};
use serde_json::Value;

use super::cut::CutoutRow;
use super::error::PackError;
use super::journal::{self, Journal, Start};
use super::{PackReport, Progress};
use crate::annotations::problems::{Problem, Problems};
use crate::bank::manifest::PACK_SETTINGS_KEY;
use crate::bank::write::{
    CutoutShardWriter, InstanceRow, SceneRow, SceneShardWriter, remove_temporaries, shard_file_name,
};
use crate::bank::{BankError, Category, Kind, Manifest, Provenance, ScenePixels, ShardEntry};
use crate::geometry::Size;
use crate::resume::Settings;
use crate::{ordered, panic_message};

/// Bytes of decoded pictures and cutouts under way at once.
const MEMORY_BUDGET: usize = 512 << 20;

/// Where the work comes from: photographs of a data set, transparent pictures, or chosen masks.
pub(crate) trait Sources: Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// Bytes that preparing source `index` is expected to take.
    fn estimate(&self, index: usize) -> usize;
    /// Decodes and cuts source `index`.
    fn prepare(&self, index: usize) -> Prepared;
    /// One more cutout of a prepared source that was too large to have all of them made at once.
    fn cut_later(&self, prepared: &Prepared, cutout: usize) -> Option<CutoutRow>;
}

/// One source, ready to be written.
#[derive(Default)]
pub(crate) struct Prepared {
    pub scene: Option<PreparedScene>,
    pub cutouts: Vec<CutoutRow>,
    /// How many more cutouts [`Sources::cut_later`] gives.
    pub later: usize,
    /// Category and sqrt(box area / image area) of every instance that is no crowd.
    pub sizes: Vec<(i64, f64)>,
    pub problems: Vec<Problem>,
    pub below_score: u64,
}

/// A scene, ready to be written.
pub(crate) struct PreparedScene {
    pub size: Size,
    pub image: i64,
    /// The RGB mip chain, or only its level 0 where `jpeg` is written instead.
    pub pixels: Vec<u8>,
    pub jpeg: Option<Vec<u8>>,
    pub instances: Vec<InstanceRow>,
    pub file_name: String,
    pub negative_categories: Vec<i64>,
    pub not_exhaustive_categories: Vec<i64>,
}

/// Where it goes and how.
pub(crate) struct Output<'a> {
    pub scenes: Option<&'a Path>,
    pub bank: Option<&'a Path>,
    pub categories: &'a [Category],
    /// Further keys of both manifests.
    pub other: serde_json::Map<String, Value>,
    pub settings: Settings,
    pub shard_bytes: u64,
    pub threads: NonZero<usize>,
    pub strict: bool,
    pub force: bool,
    /// Whether sizes are those of objects in photographs, and belong into the manifests.
    pub with_statistics: bool,
}

/// Prepares and writes all sources, or those that an interrupted run left.
pub(crate) fn run(
    sources: &dyn Sources,
    output: &Output<'_>,
    first_problems: &Problems,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<PackReport, PackError> {
    let folders: Vec<&Path> = [output.scenes, output.bank].into_iter().flatten().collect();
    let start = journal::start(&folders, &output.settings, output.force)?;
    let (journal, is_finished) = match start {
        Start::Finished(journal) => (*journal, true),
        Start::Continue(journal) => (*journal, false),
        Start::Fresh => {
            let mut journal = Journal::new(output.settings.clone());
            journal.problems = first_problems.clone();
            (journal, false)
        }
    };
    if let Some(problem) = journal.problems.first().filter(|_| output.strict) {
        return Err(PackError::Strict { problem });
    }
    if is_finished {
        return Ok(PackReport::new(&journal, true));
    }
    for folder in &folders {
        remove_temporaries(folder)?;
    }
    journal.write(&folders)?;
    let plan = ordered::Plan {
        threads: output.threads,
        budget: MEMORY_BUDGET,
        estimate: &|index| sources.estimate(index),
    };
    let (sender, receiver) = channel::bounded(1);
    let journal = std::thread::scope(|scope| {
        let state = journal.clone();
        let folders = &folders[..];
        let sealer = scope.spawn(move || seal(receiver, journal, folders));
        let writer = Writer::new(output, sources, state, sender);
        let written = writer.write_all(&plan, progress);
        // The writer is gone, so the sealer ends after what it was given. Its error comes first:
        // it is why the writer could go no further.
        let sealed = sealer.join().map_err(|panic| PackError::Panic {
            message: panic_message(&*panic),
        })?;
        let journal = sealed?;
        written?;
        Ok::<_, PackError>(journal)
    })?;
    // The bank's manifest first: with the scenes' the pack is whole.
    for (folder, kind, shards) in [
        (output.bank, Kind::Cutouts, &journal.bank_shards),
        (output.scenes, Kind::Scenes, &journal.scene_shards),
    ] {
        if let Some(folder) = folder {
            write_manifest(output, &journal, folder, kind, shards)?;
        }
    }
    Ok(PackReport::new(&journal, false))
}

/// Shards that have all their rows, and the state after them.
struct Full {
    scenes: Option<SceneShardWriter>,
    bank: Option<CutoutShardWriter>,
    state: Journal,
}

/// What the sealing thread is given.
enum Work {
    /// A shard in the making, to be synced as far as it is.
    Sync(File),
    /// Shards to be finished.
    Seal(Box<Full>),
}

/// Finishes shards (columns, sync, checksum, rename, journal) while the next ones are written, so
/// that waiting for the disk holds nobody up. Returns the journal after the last one.
fn seal(
    work: Receiver<Work>,
    mut journal: Journal,
    folders: &[&Path],
) -> Result<Journal, BankError> {
    for work in work {
        let full = match work {
            Work::Sync(file) => {
                // Only a head start: the sync that counts comes with sealing, and reports.
                let _ = file.sync_data();
                continue;
            }
            Work::Seal(full) => *full,
        };
        let scene_shards = std::mem::take(&mut journal.scene_shards);
        let bank_shards = std::mem::take(&mut journal.bank_shards);
        journal = Journal {
            scene_shards,
            bank_shards,
            ..full.state
        };
        if let Some(scenes) = full.scenes {
            journal.scene_shards.push(scenes.finish()?);
        }
        if let Some(bank) = full.bank {
            journal.bank_shards.push(bank.finish()?);
        }
        journal.write(folders)?;
    }
    Ok(journal)
}

fn note(problems: &mut Problems, new: &[Problem], strict: bool) -> Result<(), PackError> {
    for problem in new {
        if strict {
            return Err(PackError::Strict {
                problem: problem.clone(),
            });
        }
        problems.add(problem.clone());
    }
    Ok(())
}

/// Writes prepared sources in order. A scene shard and a bank shard end together, so that the
/// journal's one number says where both stand.
struct Writer<'a> {
    output: &'a Output<'a>,
    sources: &'a dyn Sources,
    first_source: usize,
    /// As of the last source, but for the shards, of which only the numbers are known here.
    state: Journal,
    scene_shards: usize,
    bank_shards: usize,
    scenes: Option<SceneShardWriter>,
    bank: Option<CutoutShardWriter>,
    sealer: Sender<Work>,
}

impl<'a> Writer<'a> {
    fn new(
        output: &'a Output<'a>,
        sources: &'a dyn Sources,
        state: Journal,
        sealer: Sender<Work>,
    ) -> Writer<'a> {
        Writer {
            output,
            sources,
            first_source: state.next_source,
            scene_shards: state.scene_shards.len(),
            bank_shards: state.bank_shards.len(),
            state,
            scenes: None,
            bank: None,
            sealer,
        }
    }

    fn write_all(
        mut self,
        plan: &ordered::Plan<'_>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), PackError> {
        let sources = self.sources;
        ordered::run(
            self.first_source..sources.count(),
            plan,
            |index| sources.prepare(index),
            |index, prepared| self.take(index, prepared, progress),
        )
        .map_err(|ended| match ended {
            ordered::Ended::Consumer(error) => error,
            ordered::Ended::Panic(message) => PackError::Panic { message },
        })?;
        self.finish_shards()
    }

    fn take(
        &mut self,
        index: usize,
        prepared: Prepared,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), PackError> {
        note(
            &mut self.state.problems,
            &prepared.problems,
            self.output.strict,
        )?;
        for &(category, size) in &prepared.sizes {
            self.state.sizes.add(category, size);
        }
        if let (Some(folder), Some(scene)) = (self.output.scenes, &prepared.scene) {
            self.write_scene(folder, scene)?;
        }
        if let Some(folder) = self.output.bank {
            self.write_cutouts(folder, &prepared)?;
        }
        self.state.counts.below_score += prepared.below_score;
        self.state.counts.sources += 1;
        self.state.next_source = index + 1;
        let scene_bytes = self.scenes.as_ref().map_or(0, SceneShardWriter::bytes);
        let bank_bytes = self.bank.as_ref().map_or(0, CutoutShardWriter::bytes);
        if scene_bytes.max(bank_bytes) >= self.output.shard_bytes {
            self.finish_shards()?;
        }
        self.start_syncing();
        let goes_on = progress(Progress {
            first: self.first_source,
            done: index + 1,
            total: self.sources.count(),
        });
        if goes_on {
            Ok(())
        } else {
            Err(PackError::Stopped)
        }
    }

    fn write_scene(&mut self, folder: &Path, scene: &PreparedScene) -> Result<(), BankError> {
        let number = self.scene_shards;
        let writer = match &mut self.scenes {
            Some(writer) => writer,
            empty => empty.insert(SceneShardWriter::create(
                &folder.join(shard_file_name(number)),
            )?),
        };
        writer.push(&SceneRow {
            size: scene.size,
            image: scene.image,
            pixels: match &scene.jpeg {
                Some(file) => ScenePixels::Jpeg(file),
                None => ScenePixels::Raw(&scene.pixels),
            },
            instances: &scene.instances,
            file_name: &scene.file_name,
            negative_categories: &scene.negative_categories,
            not_exhaustive_categories: &scene.not_exhaustive_categories,
        })?;
        let counts = &mut self.state.counts;
        counts.scenes += 1;
        counts.instances += scene.instances.len() as u64;
        let crowds = scene.instances.iter().filter(|i| i.iscrowd != 0);
        counts.crowds += crowds.count() as u64;
        Ok(())
    }

    fn write_cutouts(&mut self, folder: &Path, prepared: &Prepared) -> Result<(), BankError> {
        for cutout in &prepared.cutouts {
            self.write_cutout(folder, cutout)?;
        }
        for number in 0..prepared.later {
            if let Some(cutout) = self.sources.cut_later(prepared, number) {
                self.write_cutout(folder, &cutout)?;
            }
        }
        Ok(())
    }

    fn write_cutout(&mut self, folder: &Path, cutout: &CutoutRow) -> Result<(), BankError> {
        let number = self.bank_shards;
        let provenance = cutout.provenance.as_ref();
        let further = provenance.map_or(Vec::new(), |_| Provenance::columns());
        let writer = match &mut self.bank {
            Some(writer) => writer,
            empty => empty.insert(CutoutShardWriter::with_further(
                &folder.join(shard_file_name(number)),
                &further,
            )?),
        };
        let cells = cutout
            .provenance
            .as_ref()
            .map(|provenance| provenance.cells());
        let cells: Vec<&[u8]> = cells.iter().flatten().map(Vec::as_slice).collect();
        writer.push_with(&cutout.as_cutout(), &cells)?;
        self.state.counts.cutouts += 1;
        Ok(())
    }

    /// Has the shards in the making synced while they grow, if the sealer has nothing to do.
    fn start_syncing(&mut self) {
        let scenes = self.scenes.as_mut().and_then(SceneShardWriter::unsynced);
        let bank = self.bank.as_mut().and_then(CutoutShardWriter::unsynced);
        for file in scenes.into_iter().chain(bank) {
            // A busy sealer means that the disk is busy already.
            let _ = self.sealer.try_send(Work::Sync(file));
        }
    }

    fn finish_shards(&mut self) -> Result<(), PackError> {
        let full = Full {
            scenes: self.scenes.take(),
            bank: self.bank.take(),
            state: self.state.clone(),
        };
        self.scene_shards += usize::from(full.scenes.is_some());
        self.bank_shards += usize::from(full.bank.is_some());
        // The sealer hangs up only with an error of its own, which is reported in its place.
        let work = Work::Seal(Box::new(full));
        self.sealer.send(work).map_err(|_| PackError::Stopped)
    }
}

fn write_manifest(
    output: &Output<'_>,
    journal: &Journal,
    folder: &Path,
    kind: Kind,
    shards: &[ShardEntry],
) -> Result<(), BankError> {
    let mut manifest = Manifest::new(kind, shards.to_vec(), output.categories.to_vec());
    if output.with_statistics {
        manifest.statistics = journal.sizes.statistics();
    }
    manifest.other = output.other.clone();
    let settings = output.settings.clone().into_iter().collect();
    manifest
        .other
        .insert(PACK_SETTINGS_KEY.to_owned(), Value::Object(settings));
    manifest.write(folder)
}

impl PackReport {
    fn new(journal: &Journal, was_finished: bool) -> PackReport {
        let bytes = |shards: &[ShardEntry]| shards.iter().map(|shard| shard.bytes).sum();
        PackReport {
            counts: journal.counts,
            scene_bytes: bytes(&journal.scene_shards),
            bank_bytes: bytes(&journal.bank_shards),
            problems: journal.problems.clone(),
            was_finished,
        }
    }
}
