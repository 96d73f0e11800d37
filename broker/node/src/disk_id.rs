//! The ids of disks, so that a replaced or wiped one is not taken for the one before.

use std::path::{Path, PathBuf};
use std::{fs, io};

use aquifer_runtime::Random;
use aquifer_types::DiskId;

/// The file with a disk's id cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub(crate) struct DiskIdError {
    path: PathBuf,
    reason: String,
}

/// The id of the disk that holds `dir`: drawn once and kept there.
pub(crate) fn of(dir: &Path, random: &Random) -> Result<DiskId, DiskIdError> {
    let path = dir.join("disk.id");
    let failed = |reason: String| DiskIdError { path: path.clone(), reason };
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            failed(
                "it should hold the disk's id, 22 characters; restore it, or remove it together with the WAL"
                    .to_owned(),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = DiskId(random.uuid());
            let write = || {
                let staged = dir.join("disk.id.new");
                fs::write(&staged, format!("{id}\n"))?;
                fs::File::open(&staged)?.sync_all()?;
                fs::rename(&staged, &path)?;
                fs::File::open(dir)?.sync_all()
            };
            write().map_err(|error: io::Error| failed(error.to_string()))?;
            Ok(id)
        }
        Err(error) => Err(failed(error.to_string())),
    }
}
