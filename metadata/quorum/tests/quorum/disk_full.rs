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
async fn a_member_whose_write_fails_stops_and_says_why_and_loses_nothing() {
    let Some(small) = Small::mount(64) else { return };
    let lab = Lab::new();
    let dir = small.path().join("metadata");
    let quorum = lab.start(single(&dir)).await.unwrap();
    quorum.propose(set("a", "1")).await.unwrap().1.unwrap();
    // A neighbour takes the whole reserve between the check and the write.
    let remount = |size: &str| {
        let done =
            Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(small.path()).status();
        assert!(done.unwrap().success());
    };
    let filler = small.path().join("filler");
    fs::write(&filler, vec![0; 44 << 20]).unwrap();
    let mut acked = 1;
    let failed = loop {
        // 16 MiB stay free for the check; what is written soon needs more than there is.
        let wide = "x".repeat(30_000);
        let names: Vec<String> = (0..60).map(|n| format!("name-{n}")).collect();
        let mut changes: Vec<_> = names.iter().map(|name| (name.clone(), Some(wide.clone()))).collect();
        changes.push(("a".to_owned(), Some((acked + 1).to_string())));
        let command =
            aquifer_image::AlterConfigs { resource: aquifer_image::ConfigResource::Broker(None), changes };
        match quorum.propose(aquifer_image::Command::from(command)).await {
            Ok((_, Ok(_))) => acked += 1,
            Ok((_, Err(rejection))) => panic!("{rejection}"),
            Err(error) => break error,
        }
        assert!(acked < 1_000, "never full");
    };
    assert!(!failed.to_string().is_empty());
    quorum.shutdown().await;
    drop(quorum);
    fs::remove_file(&filler).unwrap();
    remount("256m");
    let again = Lab::new().start(single(&dir)).await.unwrap();
    let found: i32 = get(&again, "a").unwrap().parse().unwrap();
    assert!(found >= acked, "acknowledged {acked}, found {found}");
    again.shutdown().await;
}
