//! What verification found.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::bank::BankError;

/// How many problems of one shard are listed; the others are counted.
pub const PROBLEMS_PER_SHARD: usize = 1000;

/// What [`verify`](super::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Shards that the manifest lists.
    pub shards: u64,
    /// Rows of those that could be opened: all of them were looked at.
    pub rows: u64,
    /// Bytes of the shards, as the manifest has them.
    pub bytes: u64,
    /// What is wrong, by shard and row: of each shard at most [`PROBLEMS_PER_SHARD`].
    pub problems: Vec<Problem>,
    /// Problems that are no warnings, those that are not listed included.
    pub errors: u64,
    /// Warnings, those that are not listed included.
    pub warnings: u64,
}

/// One thing that is wrong with a pack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// The shard's file, or the manifest.
    pub shard: PathBuf,
    /// The row inside the shard, where one row is at fault.
    pub row: Option<u64>,
    /// The column, where one is at fault.
    pub column: Option<&'static str>,
    /// What was found and what was expected.
    pub problem: String,
    /// Whether the pack can be used as it is all the same.
    pub warning: bool,
}

impl VerifyReport {
    /// Whether nothing is wrong, warnings aside.
    pub fn is_sound(&self) -> bool {
        self.errors == 0
    }

    /// Problems that are counted but not listed.
    pub fn not_listed(&self) -> u64 {
        (self.errors + self.warnings).saturating_sub(self.problems.len() as u64)
    }

    pub(super) fn take(&mut self, problems: ProblemList) {
        self.problems.extend(problems.listed);
        self.errors += problems.errors;
        self.warnings += problems.warnings;
    }
}

impl Problem {
    pub(super) fn error(
        shard: &Path,
        row: Option<usize>,
        column: Option<&'static str>,
        problem: String,
    ) -> Problem {
        Problem {
            shard: shard.to_owned(),
            row: row.map(|row| row as u64),
            column,
            problem,
            warning: false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.warning {
            write!(formatter, "warning: ")?;
        }
        write!(formatter, "{}", self.shard.display())?;
        if let Some(row) = self.row {
            write!(formatter, ", row {row}")?;
        }
        if let Some(column) = self.column {
            write!(formatter, ", column `{column}`")?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

/// What opening `shard` said.
pub(super) fn problem_of(error: BankError, shard: &Path) -> Problem {
    match error {
        BankError::Column {
            row,
            column,
            problem,
            ..
        } => Problem {
            shard: shard.to_owned(),
            row,
            column: Some(column),
            problem,
            warning: false,
        },
        BankError::Shard { problem, .. } => Problem::error(shard, None, None, problem),
        BankError::Read { source, .. } => {
            Problem::error(shard, None, None, format!("cannot be read: {source}"))
        }
        other => Problem::error(shard, None, None, other.to_string()),
    }
}

/// Problems of one shard in row order: the first are kept, all are counted.
#[derive(Debug, Default)]
pub(super) struct ProblemList {
    listed: Vec<Problem>,
    errors: u64,
    warnings: u64,
}

impl ProblemList {
    /// Adds a problem of the last row so far or of one behind it.
    pub fn add(&mut self, problem: Problem) {
        *if problem.warning {
            &mut self.warnings
        } else {
            &mut self.errors
        } += 1;
        if self.listed.len() < PROBLEMS_PER_SHARD {
            self.listed.push(problem);
        }
    }

    /// Merges another list of the same shard by row. Each holds the first of its own problems, so
    /// what is kept are the first of both.
    pub fn merge(&mut self, other: ProblemList) {
        self.listed.extend(other.listed);
        self.listed.sort_by_key(|problem| problem.row);
        self.listed.truncate(PROBLEMS_PER_SHARD);
        self.errors += other.errors;
        self.warnings += other.warnings;
    }

    pub fn is_empty(&self) -> bool {
        self.errors + self.warnings == 0
    }
}
