//! Where images come from: a folder per category, or a list.

mod folder;
mod list;
mod load;

use std::path::PathBuf;

#[cfg(feature = "cli")]
pub(crate) use folder::is_image;
pub use folder::{categories_of, list_folder};
pub use list::list_file;
pub(crate) use load::look;
pub use load::{LoadError, decode, inspect, open, read_unchanged};

/// An image that was found, not opened yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// `folder/` and the path below the input folder, or as the list has it.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// Id of its category.
    pub category: i64,
    /// Where the file is from, such as an address.
    pub source: Option<String>,
    /// The licence that the list gives.
    pub licence: Option<String>,
}

/// What is wrong with a folder or a list of images.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder that cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without what was expected in it.
    #[error("{}: {problem}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
    /// A row of a list.
    #[error("{}: row {row}: {problem}", list.display())]
    Row {
        /// The list.
        list: PathBuf,
        /// From 1; the header of a CSV file is row 1.
        row: u64,
        /// Field, value and what was expected.
        problem: String,
    },
}
