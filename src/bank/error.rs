//! What can be wrong with a pack on disk.

use std::io;
use std::path::{Path, PathBuf};

/// A pack that cannot be opened, read or written: which file, row and column, and why.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// A file could not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder is no pack.
    #[error(
        "{} holds no manifest.json: it is no pack, or one that was not finished (the command that \
         makes it, given again, finishes it)",
        folder.display()
    )]
    NoManifest {
        /// The folder.
        folder: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The manifest does not say what it should.
    #[error("{}: `{field}`: {problem}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The key, as a path into the JSON.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A shard as a whole does not fit its manifest or its format.
    #[error("shard {}: {problem}", shard.display())]
    Shard {
        /// The shard's file.
        shard: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
    /// A column is missing, has another type or shape, or a row of it does not fit.
    #[error("shard {}{}, column `{column}`: {problem}", shard.display(), in_row(.row))]
    Column {
        /// The shard's file.
        shard: PathBuf,
        /// The row inside the shard, where one row is at fault.
        row: Option<u64>,
        /// The column.
        column: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// Rows were to be copied out of a shard that has columns this version cannot copy.
    #[error(
        "shard {}: its rows have to be copied, and its further columns would be lost: {columns}",
        shard.display()
    )]
    ExtraColumns {
        /// The shard's file.
        shard: PathBuf,
        /// The columns' names.
        columns: String,
    },
    /// The caller's progress function asked to stop.
    #[error("stopped before the end, as was asked")]
    Stopped,
}

fn in_row(row: &Option<u64>) -> String {
    row.map_or(String::new(), |row| format!(", row {row}"))
}

impl BankError {
    pub(crate) fn read(path: &Path, source: io::Error) -> BankError {
        BankError::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> BankError {
        BankError::Write {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn manifest(path: &Path, field: &str, problem: String) -> BankError {
        BankError::Manifest {
            path: path.to_owned(),
            field: field.to_owned(),
            problem,
        }
    }
}
