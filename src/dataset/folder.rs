//! What an output folder holds before a run, and what of it may be replaced.

use std::fs;
use std::path::Path;

use super::DatasetOptions;
use super::counts::DatasetReport;
use super::error::DatasetError;
use super::instances::{self, INSTANCES_FILE};
use super::journal::{self, JOURNAL_FILE, Journal};
use crate::bank::BankError;
use crate::bank::write::{is_temporary, remove_temporaries};
use crate::resume::{Settings, difference, file_names};

/// The name of the folder of the images.
pub(super) const IMAGES_FOLDER: &str = "images";
/// Digits of an image's name.
const NAME_DIGITS: usize = 12;

/// The name of sample `number`'s image.
pub(super) fn image_name(number: u64, ending: &str) -> String {
    format!("{number:0NAME_DIGITS$}.{ending}")
}

/// What an output folder allows.
#[derive(Debug)]
pub(super) enum Start {
    /// Nothing is there, or what was there is gone.
    Fresh,
    /// An unfinished data set of the same settings.
    Continue,
    /// The same data set, finished.
    Finished(Box<DatasetReport>),
}

/// Looks at the output folder (made if it is not there) and refuses one that holds anything but
/// this data set with all its images, unless `force` says that another composed data set in it may be replaced.
pub(super) fn start(options: &DatasetOptions, settings: &Settings) -> Result<Start, DatasetError> {
    let folder = options.folder.as_path();
    fs::create_dir_all(folder).map_err(|source| BankError::write(folder, source))?;
    let start = look(options, settings)?;
    let images = folder.join(IMAGES_FOLDER);
    fs::create_dir_all(&images).map_err(|source| BankError::write(&images, source))?;
    remove_temporaries(folder)?;
    remove_temporaries(&images)?;
    if let Start::Finished(_) = start {
        remove_journal(folder)?;
    }
    Ok(start)
}

fn look(options: &DatasetOptions, settings: &Settings) -> Result<Start, DatasetError> {
    let folder = options.folder.as_path();
    let found = match instances::made_with(&folder.join(INSTANCES_FILE)) {
        Some((settings, report)) => Some((settings, Some(report))),
        None => journal::settings(folder).map(|settings| (settings, None)),
    };
    let Some((found, report)) = found else {
        // Not even by force: a folder without journal or annotation file of ours is not ours.
        refuse_others(folder)?;
        return Ok(Start::Fresh);
    };
    if options.force {
        remove_former(folder)?;
        return Ok(Start::Fresh);
    }
    if let Some(reason) = difference(&found, settings) {
        let reason = format!("it holds a data set made with other settings: {reason}");
        return occupied(folder, reason);
    }
    let Some(report) = report else {
        return Ok(Start::Continue);
    };
    if let Some(reason) = loss(options, &report) {
        return occupied(folder, reason);
    }
    Ok(Start::Finished(Box::new(report)))
}

/// What a finished data set lacks of the images that its report counts.
fn loss(options: &DatasetOptions, report: &DatasetReport) -> Option<String> {
    let (mut missing, mut first, mut bytes) = (0u64, None, 0);
    for number in 0..report.images {
        let name = image_name(number, options.format.ending());
        match fs::metadata(options.folder.join(IMAGES_FOLDER).join(&name)) {
            Ok(file) if file.is_file() => bytes += file.len(),
            _ => {
                missing += 1;
                first.get_or_insert(name);
            }
        }
    }
    let of = format!(
        "its data set was finished, but of its {} images",
        report.images
    );
    match first {
        Some(first) => Some(format!(
            "{of} {missing} are missing, the first {IMAGES_FOLDER}/{first}"
        )),
        None if bytes != report.image_bytes => Some(format!(
            "{of} some were changed: they have {bytes} bytes, {} were written",
            report.image_bytes
        )),
        None => None,
    }
}

fn occupied<T>(folder: &Path, reason: String) -> Result<T, DatasetError> {
    Err(DatasetError::Occupied {
        folder: folder.to_owned(),
        reason,
    })
}

/// Refuses a folder without journal that holds anything.
fn refuse_others(folder: &Path) -> Result<(), DatasetError> {
    let mut names = file_names(folder)?;
    names.retain(|name| name != IMAGES_FOLDER);
    let images = image_names(folder)?;
    names.extend(images.iter().map(|name| format!("{IMAGES_FOLDER}/{name}")));
    let is_ours = |name: &&String| is_temporary(name.rsplit('/').next().unwrap_or(name));
    match names.iter().find(|name| !is_ours(name)) {
        Some(name) => occupied(
            folder,
            format!("it holds {name:?} and no composed data set"),
        ),
        None => Ok(()),
    }
}

/// What the folder of the images holds, if it is there.
fn image_names(folder: &Path) -> Result<Vec<String>, BankError> {
    let images = folder.join(IMAGES_FOLDER);
    if images.exists() {
        file_names(&images)
    } else {
        Ok(Vec::new())
    }
}

/// A run that ended between putting the annotation file in its place and removing the journal
/// leaves it behind.
fn remove_journal(folder: &Path) -> Result<(), BankError> {
    let path = folder.join(JOURNAL_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BankError::write(&path, error))
        }
        _ => Ok(()),
    }
}

/// Removes a former data set: the annotation file first, so that nothing half-removed loads. The
/// journal stays, without settings, until another is put in its place: it says that what is left is
/// ours, should this be interrupted.
fn remove_former(folder: &Path) -> Result<(), BankError> {
    Journal::create(folder, &Settings::new())?;
    let mut names = file_names(folder)?;
    names.retain(|name| name == INSTANCES_FILE);
    let images = image_names(folder)?;
    let images = images.iter().filter(|name| is_image_of_ours(name));
    names.extend(images.map(|name| format!("{IMAGES_FOLDER}/{name}")));
    for name in names {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(|source| BankError::write(&path, source))?;
    }
    Ok(())
}

fn is_image_of_ours(name: &str) -> bool {
    let stem = name.strip_suffix(".jpg").or(name.strip_suffix(".png"));
    stem.is_some_and(|stem| {
        stem.len() >= NAME_DIGITS && stem.bytes().all(|byte| byte.is_ascii_digit())
    })
}
