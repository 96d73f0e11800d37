use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::BlockDevice;

/// Asks sysfs about the block device under `directory`. `None` where there is none or sysfs is not mounted.
pub(crate) fn block_device(directory: &Path) -> Option<BlockDevice> {
    let device = fs::metadata(directory).ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let node = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    // A partition has no queue of its own; its disk is the directory above.
    let disk = if node.join("queue").is_dir() { node } else { node.parent()?.to_path_buf() };
    let queue = disk.join("queue");
    Some(BlockDevice {
        name: disk.file_name()?.to_string_lossy().into_owned(),
        sector: attribute(&queue, "logical_block_size")?.parse().ok()?,
        write_back: attribute(&queue, "write_cache")? == "write back",
        fua: attribute(&queue, "fua").is_some_and(|fua| fua == "1"),
        rotational: attribute(&queue, "rotational").is_some_and(|rotational| rotational == "1"),
    })
}

fn attribute(queue: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(queue.join(name)).ok()?.trim().to_owned())
}

/// Names the class of a disk, so that an operator sees at once when it is not the one that was bought.
pub(crate) fn class(device: Option<&BlockDevice>, commit_us: Option<u64>) -> &'static str {
    let rotational = device.is_some_and(|device| device.rotational);
    let write_back = device.is_some_and(|device| device.write_back);
    match commit_us {
        None => "not measured",
        // A flush that costs nothing although there is a cache to flush was not one.
        Some(0..15) if write_back => {
            "a device that may not flush its write cache: check it before trusting it"
        }
        Some(0..80) => "a disk with power-loss protection",
        Some(80..1_000) => "flash or a virtual disk behind a write cache",
        Some(1_000..4_000) if !rotational => "consumer flash, or a busy disk: commits are slow",
        Some(_) if rotational => "a spinning disk: commits are slow",
        Some(_) => "a slow or very busy disk: commits are slow",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_follows_what_was_measured() {
        let nvme = |write_back| BlockDevice {
            name: "nvme0n1".to_owned(),
            sector: 512,
            write_back,
            fua: true,
            rotational: false,
        };
        assert_eq!(class(Some(&nvme(false)), Some(14)), "a disk with power-loss protection");
        assert!(class(Some(&nvme(true)), Some(5)).contains("check it"));
        assert!(class(None, Some(9_000)).contains("slow"));
    }
}
