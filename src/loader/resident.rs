//! How much of the process's memory are pages of mapped files.

use std::fs::File;
use std::io::Read;

/// Resident bytes of mapped files, of this process as a whole; `None` where the system does not say
/// (it does on Linux). Allocates nothing.
pub(super) fn mapped_bytes() -> Option<u64> {
    let mut text = [0; 128];
    let length = File::open("/proc/self/statm").ok()?.read(&mut text).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    // Pages: all, resident, resident of files.
    let pages: u64 = text.split_ascii_whitespace().nth(2)?.parse().ok()?;
    Some(pages * page_size::get() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_says_how_much_is_mapped() {
        if cfg!(target_os = "linux") {
            // The test's own code is mapped from a file.
            let bytes = mapped_bytes().unwrap();
            assert!((1 << 16..1 << 40).contains(&bytes), "{bytes}");
        }
    }
}
