//! The work of a verification in pieces, and the threads that take them.

use std::collections::HashSet;
use std::hash::Hasher;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use twox_hash::XxHash3_64;

use super::report::{Problem, ProblemList, problem_of};
use super::rows::{RowProblems, check_cutout, check_scene};
use crate::bank::BankError;
use crate::bank::cutouts::CutoutShard;
use crate::bank::manifest::{Kind, ShardEntry, shard_path};
use crate::bank::map::MappedFile;
use crate::bank::scenes::SceneShard;

/// About how many of a shard's bytes one piece of work covers.
const BYTES_PER_TASK: u64 = 4 << 20;
/// Bytes that are hashed between two looks at whether to go on.
const BYTES_PER_HASH: usize = 1 << 20;

/// A shard of the manifest, opened or not.
pub(super) struct ListedShard<'a> {
    path: PathBuf,
    entry: &'a ShardEntry,
    opened: Result<OpenedShard, Problem>,
}

enum OpenedShard {
    Cutouts(CutoutShard),
    Scenes(SceneShard),
}

impl<'a> ListedShard<'a> {
    pub fn open(kind: Kind, directory: &Path, entry: &'a ShardEntry) -> ListedShard<'a> {
        let path = shard_path(directory, entry);
        let opened = match kind {
            Kind::Cutouts => CutoutShard::open(&path, entry).map(OpenedShard::Cutouts),
            Kind::Scenes => SceneShard::open(&path, entry).map(OpenedShard::Scenes),
        };
        ListedShard {
            opened: opened.map_err(|error| problem_of(error, &path)),
            path,
            entry,
        }
    }

    /// Rows that can be looked at: none where the shard did not open.
    pub fn rows(&self) -> usize {
        match &self.opened {
            Ok(OpenedShard::Cutouts(cutouts)) => cutouts.shard.rows(),
            Ok(OpenedShard::Scenes(scenes)) => scenes.shard.rows(),
            Err(_) => 0,
        }
    }

    fn file(&self) -> Option<&MappedFile> {
        match &self.opened {
            Ok(OpenedShard::Cutouts(cutouts)) => Some(cutouts.shard.file()),
            Ok(OpenedShard::Scenes(scenes)) => Some(scenes.shard.file()),
            Err(_) => None,
        }
    }

    fn pixel_range(&self, row: usize) -> Option<Range<usize>> {
        match self.opened.as_ref().ok()? {
            OpenedShard::Cutouts(cutouts) => cutouts.pixel_range(row),
            OpenedShard::Scenes(scenes) => scenes.pixel_range(row),
        }
    }

    /// Ranges of pixels that begin inside another row's and are not the very same.
    fn overlaps(&self) -> ProblemList {
        let mut ranges: Vec<(usize, usize, usize)> = (0..self.rows())
            .filter_map(|row| Some((self.pixel_range(row)?, row)))
            .filter(|(range, _)| !range.is_empty())
            .map(|(range, row)| (range.start, range.end, row))
            .collect();
        ranges.sort_unstable();
        let mut found = Vec::new();
        // The range before that reaches furthest.
        let mut furthest: Option<(usize, usize, usize)> = None;
        for range @ (start, end, row) in ranges {
            let before =
                furthest.filter(|&(first, last, _)| start < last && (first, last) != (start, end));
            found.extend(before.map(|before| (row, start..end, before)));
            furthest =
                Some(furthest.map_or(range, |before| if end > before.1 { range } else { before }));
        }
        found.sort_unstable_by_key(|&(row, ..)| row);
        let mut problems = ProblemList::default();
        for (row, Range { start, end }, (first, last, other)) in found {
            let problem = format!(
                "bytes {start}..{end} of `pixels` overlap {first}..{last} of row {other}; rows may \
                 only share identical ranges"
            );
            problems.add(Problem::error(
                &self.path,
                Some(row),
                Some("offset"),
                problem,
            ));
        }
        problems
    }
}

/// One piece of work.
struct Task {
    shard: usize,
    work: Work,
    /// What progress counts for it.
    bytes: u64,
}

enum Work {
    Checksum,
    Overlaps,
    Rows(Range<usize>),
}

/// Everything in shard order: a shard's rows follow its checksum while its pages are in memory.
fn list_tasks(shards: &[ListedShard<'_>]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (index, shard) in shards.iter().enumerate() {
        let (rows, bytes) = (shard.rows(), shard.entry.bytes);
        let mut add = |work, bytes| {
            tasks.push(Task {
                shard: index,
                work,
                bytes,
            });
        };
        // Rows cost the most: progress counts them, and a shard without any by its checksum.
        add(Work::Checksum, if rows == 0 { bytes } else { 0 });
        add(Work::Overlaps, 0);
        let pieces = bytes.div_ceil(BYTES_PER_TASK).clamp(1, rows.max(1) as u64);
        let part = |whole: u64, piece: u64| {
            (u128::from(whole) * u128::from(piece) / u128::from(pieces)) as u64
        };
        for piece in (0..pieces).filter(|_| rows > 0) {
            let [first, end] = [piece, piece + 1].map(|piece| part(rows as u64, piece) as usize);
            let covered = part(bytes, piece + 1) - part(bytes, piece);
            add(Work::Rows(first..end), covered);
        }
    }
    tasks
}

/// A verification under way.
pub(super) struct Run<'a> {
    shards: &'a [ListedShard<'a>],
    categories: &'a HashSet<i64>,
    tasks: Vec<Task>,
    next: AtomicUsize,
    progress: &'a (dyn Fn(u64) -> bool + Sync),
    bytes_done: Mutex<u64>,
    stopped: AtomicBool,
}

impl<'a> Run<'a> {
    pub fn new(
        shards: &'a [ListedShard<'a>],
        categories: &'a HashSet<i64>,
        progress: &'a (dyn Fn(u64) -> bool + Sync),
    ) -> Run<'a> {
        Run {
            tasks: list_tasks(shards),
            shards,
            categories,
            next: AtomicUsize::new(0),
            progress,
            bytes_done: Mutex::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Does all tasks and returns each shard's problems.
    pub fn all(&self, threads: usize) -> Result<Vec<ProblemList>, BankError> {
        let threads = threads.min(self.tasks.len());
        let mut found: Vec<(usize, ProblemList)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.work())).collect();
            workers
                .into_iter()
                .flat_map(|worker| {
                    worker
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        if self.stopped.load(Ordering::Relaxed) {
            return Err(BankError::Stopped);
        }
        // Tasks are in shard and row order, whoever did them.
        found.sort_by_key(|&(task, _)| task);
        let mut lists: Vec<ProblemList> = Vec::new();
        for shard in self.shards {
            let mut list = ProblemList::default();
            if let Err(problem) = &shard.opened {
                list.add(problem.clone());
            }
            lists.push(list);
        }
        for (task, list) in found {
            lists[self.tasks[task].shard].merge(list);
        }
        Ok(lists)
    }

    /// One thread's share: the next task until there is none.
    fn work(&self) -> Vec<(usize, ProblemList)> {
        let mut found = Vec::new();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = self.tasks.get(index) else {
                return found;
            };
            let shard = &self.shards[task.shard];
            let problems = match &task.work {
                Work::Checksum => self.checksum(shard),
                Work::Overlaps => shard.overlaps(),
                Work::Rows(rows) => self.rows(shard, rows.clone()),
            };
            if !problems.is_empty() {
                found.push((index, problems));
            }
            if !self.advance(task.bytes) {
                return found;
            }
        }
    }

    /// Counts bytes and asks whether to go on.
    fn advance(&self, bytes: u64) -> bool {
        let mut done = self
            .bytes_done
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *done = done.saturating_add(bytes);
        if !(self.progress)(*done) {
            self.stopped.store(true, Ordering::Relaxed);
        }
        !self.stopped.load(Ordering::Relaxed)
    }

    fn checksum(&self, shard: &ListedShard<'_>) -> ProblemList {
        let mut problems = ProblemList::default();
        let problem = match shard.file() {
            Some(file) => self.compare_checksum(shard, file),
            // A file that cannot be mapped or has another length was reported at opening.
            None => match MappedFile::open(&shard.path) {
                Ok(file) if file.bytes().len() as u64 == shard.entry.bytes => {
                    self.compare_checksum(shard, &file)
                }
                _ => None,
            },
        };
        if let Some(problem) = problem {
            problems.add(Problem::error(&shard.path, None, None, problem));
        }
        problems
    }

    fn compare_checksum(&self, shard: &ListedShard<'_>, file: &MappedFile) -> Option<String> {
        let mut hasher = XxHash3_64::new();
        for piece in file.bytes().chunks(BYTES_PER_HASH) {
            if !self.advance(0) {
                return None;
            }
            if let Err(error) = file.check_length() {
                return Some(problem_of(error, &shard.path).problem);
            }
            hasher.write(piece);
        }
        let found = format!("{:016x}", hasher.finish());
        let expected = &shard.entry.xxh3;
        (!found.eq_ignore_ascii_case(expected))
            .then(|| format!("the file's XXH3-64 is {found}; the manifest says {expected}"))
    }

    fn rows(&self, shard: &ListedShard<'_>, rows: Range<usize>) -> ProblemList {
        let mut problems = ProblemList::default();
        let Ok(opened) = &shard.opened else {
            return problems;
        };
        if let Some(Err(error)) = shard.file().map(MappedFile::check_length) {
            problems.add(problem_of(error, &shard.path));
            return problems;
        }
        for row in rows {
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
            let mut found = RowProblems::new(&shard.path, row, self.categories, &mut problems);
            match opened {
                OpenedShard::Cutouts(cutouts) => {
                    check_cutout(cutouts.get(row), &mut found);
                    found.provenance(cutouts.provenance(row).err());
                }
                OpenedShard::Scenes(scenes) => check_scene(scenes.get(row), &mut found),
            }
        }
        problems
    }
}
