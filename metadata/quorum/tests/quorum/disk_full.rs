//! A full disk, on a small file system of its own. Needs the right to mount one.

use std::fs;
use std::path::Path;
use std::process::Command;

use aquifer_quorum::{DISK_RESERVE_BYTES, ProposeError, StartError};

use crate::support::{Lab, get, set, single};

/// A tmpfs, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// `None`, and a line that says so, where mounting is not allowed.
    fn mount(megabytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("SKIPPED: this test mounts a tmpfs, which needs root");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_is_refused_at_the_start() {
    let Some(small) = Small::mount(4) else { return };
    let error = Lab::new().start(single(&small.path().join("metadata"))).await.unwrap_err();
    assert!(matches!(error, StartError::DiskFull { needed: DISK_RESERVE_BYTES, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_refuses_changes_until_there_is_room_again() {
    let Some(small) = Small::mount(64) else { return };
    let lab = Lab::new();
    let quorum = lab.start(single(&small.path().join("metadata"))).await.unwrap();
    quorum.propose(set("a", "1")).await.unwrap().1.unwrap();

    let filler = small.path().join("filler");
    fs::write(&filler, vec![0; 50 << 20]).unwrap();
    let error = quorum.propose(set("a", "2")).await.unwrap_err();
    assert!(matches!(error, ProposeError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("changes are refused until space is freed"), "{error}");
    assert!(quorum.status().free_bytes.unwrap() < DISK_RESERVE_BYTES);
    assert_eq!(get(&quorum, "a").as_deref(), Some("1"));

    fs::remove_file(&filler).unwrap();
    quorum.propose(set("a", "3")).await.unwrap().1.unwrap();
    assert_eq!(get(&quorum, "a").as_deref(), Some("3"));
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_filled_to_the_last_byte_costs_nothing_that_was_acknowledged() {
    let Some(small) = Small::mount(64) else { return };
    let lab = Lab::new();
    let dir = small.path().join("metadata");
    let quorum = lab.start(single(&dir)).await.unwrap();
    for n in 1..=200 {
        quorum.propose(set("a", &n.to_string())).await.unwrap().1.unwrap();
    }
    let filler = small.path().join("filler");
    // Ends with an error when nothing is left, which is what we want.
    let _ = fs::write(&filler, vec![0; 80 << 20]);
    assert!(quorum.propose(set("a", "x")).await.is_err());
    quorum.shutdown().await;
    let error = lab.start(single(&dir)).await.unwrap_err();
    assert!(matches!(error, StartError::DiskFull { .. }), "{error}");

    fs::remove_file(&filler).unwrap();
    let again = lab.start(single(&dir)).await.unwrap();
    assert_eq!(get(&again, "a").as_deref(), Some("200"));
    again.shutdown().await;
}
