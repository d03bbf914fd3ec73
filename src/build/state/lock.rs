//! One worker a shard.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::StateError;

const LOCK_FILE: &str = "lock";

/// Holds a shard for this process. The system lets go of it when the process ends, however it ends,
/// so a dead worker holds nothing.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the shard in `folder`.
    ///
    /// # Errors
    /// [`StateError::Locked`] while another process, on this machine or on one that shares the file
    /// system, holds it.
    pub fn take(folder: &Path) -> Result<Lock, StateError> {
        let path = folder.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(StateError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Locked {
                    folder: folder.to_owned(),
                    holder: name_in(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(StateError::Io { path, source }),
        }
        let name = format!("process {} on {}\n", std::process::id(), machine());
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(name.as_bytes())
        };
        write(&mut file).map_err(StateError::io(&path))?;
        Ok(Lock { _file: file })
    }

    /// Who holds the shard in `folder`, if anybody does.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn holder(folder: &Path) -> Result<Option<String>, StateError> {
        let path = folder.join(LOCK_FILE);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(name_in(&mut file))),
            Err(TryLockError::Error(source)) => Err(StateError::Io { path, source }),
        }
    }
}

/// The name that a holder has written. One that has not written it yet is no less a holder.
fn name_in(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    match holder.trim() {
        "" => "another process".to_owned(),
        name => name.to_owned(),
    }
}

/// The machine's name as far as it can be known without asking the network.
fn machine() -> String {
    let of_system = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = of_system.or_else(|_| std::env::var("HOSTNAME").or(std::env::var("COMPUTERNAME")));
    name.map_or_else(|_| "this machine".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_worker_is_refused_until_the_first_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        let process = format!("process {} on", std::process::id());
        assert!(error.contains(&process), "{error}");
        drop(first);
        assert!(Lock::take(folder.path()).is_ok());
    }
}
