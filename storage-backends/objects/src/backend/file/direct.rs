//! Files past the page cache.
//!
//! What a store writes is read again from the caches above it or not for long, and a page cache that fills with it
//! costs more CPU time than all else that an upload does: memory that was idle has to be found, cleared or
//! reclaimed for every byte. Its write-back also comes when it likes and stalls the WAL beside it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use bytes::Bytes;

/// Unit of direct I/O, in memory and in the file: what every common device and file system can take.
pub(super) const ALIGNMENT: usize = 4096;

/// The flag's value is not the same everywhere.
#[cfg(target_arch = "x86_64")]
const O_DIRECT: i32 = 0o40000;
#[cfg(target_arch = "aarch64")]
const O_DIRECT: i32 = 0o200000;

/// What `open` answers where a file system has no direct I/O.
const EINVAL: i32 = 22;

/// Opens `path` past the page cache; through it where the file system has no other way (`tmpfs` of old kernels).
pub(super) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    match options.clone().custom_flags(O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(EINVAL) => match options.open(path) {
            // Created before its flag was refused: there is still nothing in it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(path)?;
                options.open(path)
            }
            opened => opened,
        },
        opened => opened,
    }
}

/// What a file holds of `range`, fewer bytes if it ends before, and the file's size.
pub(super) fn read(path: &Path, range: Range<u64>) -> io::Result<(Bytes, u64)> {
    let file = open(OpenOptions::new().read(true), path)?;
    let size = file.metadata()?.len();
    let range = range.start.min(size)..range.end.min(size);
    let unit = ALIGNMENT as u64;
    let first = range.start / unit * unit;
    let length = to_usize(range.end.next_multiple_of(unit) - first)?;
    let mut memory = vec![0; length + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let mut read = 0;
    while read < length {
        match file.read_at(&mut memory[start + read..start + length], first + read as u64) {
            // Where the file ends, a read is short and no further one may begin.
            Ok(more) if more > 0 && more % ALIGNMENT == 0 => read += more,
            Ok(more) => {
                read += more;
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let skipped = to_usize(range.start - first)?;
    let end = read.min(to_usize(range.end - first)?);
    Ok((Bytes::from(memory).slice(start + skipped.min(end)..start + end), size))
}

fn to_usize(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around the alignment, at the file's end and past it.
    #[test]
    fn a_range_is_read_wherever_it_lies() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let bounds = [0, 1, 4095, 4096, 4097, 8192, 19_999, 20_000, 20_001, 30_000];
        for start in bounds {
            for end in bounds.into_iter().filter(|end| *end > start) {
                let (read, size) = read(&path, start..end).unwrap();
                let expected = &bytes[(start as usize).min(20_000)..(end as usize).min(20_000)];
                assert!(read == expected, "{start}..{end}");
                assert_eq!(size, 20_000);
            }
        }
    }
}
