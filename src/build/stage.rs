//! The part that all stages share: items prepared by many threads, worked on in batches, written
//! down batch by batch.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::BuildError;
use super::state::{Line, Log, Shard};
use crate::ordered::{self, Ended, threads_or_all};
use crate::panic_message;
use crate::resume::{Progress, Settings};

/// Bytes of decoded images that wait for the model at once.
const MEMORY_BUDGET: usize = 1 << 30;

/// Which part of a stage this process does, and how.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// The state folder.
    pub state: PathBuf,
    /// This worker's part.
    pub shard: Shard,
    /// Items worked on at once.
    pub batch_size: NonZero<usize>,
    /// Threads that read and decode; all the machine has where `None` is given.
    pub threads: Option<NonZero<usize>>,
    /// Throw away what the shard holds and begin anew.
    pub restart: bool,
    /// Try those again that failed before.
    pub retry_failed: bool,
}

impl StageOptions {
    /// One worker for the whole of the state folder `state`, one item at a time.
    pub fn new(state: impl Into<PathBuf>) -> StageOptions {
        StageOptions {
            state: state.into(),
            shard: Shard::WHOLE,
            batch_size: NonZero::<usize>::MIN,
            threads: None,
            restart: false,
            retry_failed: false,
        }
    }
}

/// What a run of a stage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageReport {
    /// Items of this shard.
    pub items: usize,
    /// Those that an earlier run had done.
    pub earlier: usize,
    /// Those of all runs of which nothing came.
    pub failed: usize,
}

/// What came of an item: a row with its bytes, or why there is none.
pub(super) type Outcome<R> = Result<(R, Option<Vec<u8>>), String>;

/// Why an item could not be prepared.
pub(super) enum Trouble {
    /// It is the item's own: noted, and the others go on.
    Item(String),
    /// A disk or a folder is away, which is no item's fault: the run ends, and nothing is noted.
    Surroundings(String),
}

impl From<String> for Trouble {
    fn from(problem: String) -> Trouble {
        Trouble::Item(problem)
    }
}

impl Trouble {
    pub fn into_words(self) -> String {
        match self {
            Trouble::Item(words) | Trouble::Surroundings(words) => words,
        }
    }
}

/// An item and what it takes to work on it.
pub(super) trait Item: Sync {
    /// What tells it from all others of the stage.
    fn key(&self) -> &str;
    /// Bytes that it is expected to take once prepared.
    fn bytes(&self) -> usize;
}

/// Opens the shard of `stage`, does those of `items` that belong to it and have no line yet, and
/// marks it complete. `load` is called once, if there is anything to do at all. `prepare` runs on many
/// threads; `work` gets whole batches in order, with those items only that could be prepared, and
/// answers for each.
#[expect(clippy::too_many_arguments)]
pub(super) fn run<I: Item, P: Send, R: Serialize + DeserializeOwned, M>(
    stage: &str,
    settings: &Settings,
    options: &StageOptions,
    items: Vec<I>,
    load: impl FnOnce() -> Result<M, BuildError>,
    prepare: impl Fn(&I) -> Result<P, Trouble> + Sync,
    mut work: impl FnMut(&M, &[&I], Vec<P>) -> Result<Vec<Outcome<R>>, BuildError>,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<StageReport, BuildError> {
    let mut log: Log<R> = Log::open(
        &options.state,
        stage,
        options.shard,
        settings,
        options.restart,
    )?;
    let mut items = items;
    items.retain(|item| options.shard.takes(item.key()));
    let total = items.len();
    let is_pending =
        |item: &I| !log.has(item.key()) || (options.retry_failed && log.has_problem(item.key()));
    let pending: Vec<&I> = items.iter().filter(|item| is_pending(item)).collect();
    let earlier = total - pending.len();
    let model = match pending.is_empty() {
        true => None,
        false => {
            let model = match load() {
                Ok(model) => model,
                Err(error) => {
                    log.leave_if_empty();
                    return Err(error);
                }
            };
            log.reopen()?;
            Some(model)
        }
    };
    let mut tell = |done: usize| {
        let goes_on = progress(Progress {
            first: earlier,
            done: earlier + done,
            total,
        });
        if goes_on {
            Ok(())
        } else {
            Err(BuildError::Stopped)
        }
    };
    tell(0)?;
    let plan = ordered::Plan {
        threads: threads_or_all(options.threads),
        budget: MEMORY_BUDGET,
        estimate: &|index| pending[index].bytes(),
    };
    let (mut batch, mut prepared_items) = (Vec::new(), Vec::new());
    let mut lines: Vec<(Line<R>, Option<Vec<u8>>)> = Vec::new();
    ordered::run(
        0..pending.len(),
        &plan,
        |index| prepared(&prepare, pending[index]),
        |index, prepared| {
            let item = pending[index];
            match prepared {
                Ok(prepared) => {
                    batch.push(item);
                    prepared_items.push(prepared);
                }
                Err(Trouble::Item(problem)) => lines.push(line_of(item.key(), Err(problem))),
                Err(Trouble::Surroundings(problem)) => return Err(BuildError::Away(problem)),
            }
            // Items that fail are cheap: many of them make one write.
            let is_full = batch.len().max(lines.len() / 64) >= options.batch_size.get();
            if !is_full && index + 1 < pending.len() {
                return Ok(());
            }
            if let Some(model) = model.as_ref().filter(|_| !batch.is_empty()) {
                let outcomes = work(model, &batch, std::mem::take(&mut prepared_items))?;
                check_count(stage, batch.len(), outcomes.len())?;
                let answered = batch.drain(..).zip(outcomes);
                lines.extend(answered.map(|(item, outcome)| line_of(item.key(), outcome)));
            }
            log.append(std::mem::take(&mut lines))?;
            tell(index + 1)
        },
    )
    .map_err(|ended| match ended {
        Ended::Consumer(error) => error,
        Ended::Panic(message) => BuildError::Internal(format!("{stage}: {message}")),
    })?;
    let failed = items
        .iter()
        .filter(|item| log.has_problem(item.key()))
        .count();
    log.complete()?;
    Ok(StageReport {
        items: total,
        earlier,
        failed,
    })
}

/// A decoder that panics is the item's trouble, not the end of the stage.
fn prepared<I, P>(prepare: &impl Fn(&I) -> Result<P, Trouble>, item: &I) -> Result<P, Trouble> {
    let caught = catch_unwind(AssertUnwindSafe(|| prepare(item)));
    caught.unwrap_or_else(|panic| {
        let words = format!("reading it panicked: {}", panic_message(&*panic));
        Err(Trouble::Item(words))
    })
}

/// An item without an answer would be taken for done.
fn check_count(stage: &str, items: usize, outcomes: usize) -> Result<(), BuildError> {
    match items == outcomes {
        true => Ok(()),
        false => Err(BuildError::Internal(format!(
            "{stage}: the model answered {outcomes} times to {items} items"
        ))),
    }
}

fn line_of<R>(key: &str, outcome: Outcome<R>) -> (Line<R>, Option<Vec<u8>>) {
    let key = key.to_owned();
    match outcome {
        Ok((row, blob)) => {
            let line = Line {
                key,
                row: Some(row),
                problem: None,
                blob: None,
            };
            (line, blob)
        }
        Err(problem) => {
            let line = Line {
                key,
                row: None,
                problem: Some(problem),
                blob: None,
            };
            (line, None)
        }
    }
}
