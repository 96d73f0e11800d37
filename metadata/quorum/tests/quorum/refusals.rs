//! Each way in which a directory cannot be used has its own error, which names the place and the remedy.

use std::fs;
use std::path::{Path, PathBuf};

use aquifer_quorum::{Formation, QuorumConfig, StartError, Storage};
use aquifer_types::{ClusterId, NodeId};

use crate::support::{Lab, set, single};

/// A directory that a cluster has used, with a snapshot.
async fn used(lab: &Lab) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let quorum = lab.start(single(dir.path())).await.unwrap();
    quorum.propose(set("a", "1")).await.unwrap().1.unwrap();
    quorum.begin_snapshot().await;
    crate::support::until("a snapshot", || quorum.status().snapshot.is_some()).await;
    quorum.shutdown().await;
    dir
}

async fn error_of(lab: &Lab, config: QuorumConfig) -> StartError {
    match lab.start(config).await {
        Ok(_) => panic!("started"),
        Err(error) => error,
    }
}

fn snapshot_in(dir: &Path) -> PathBuf {
    let mut paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|extension| extension == "aqfsnap")).expect("a snapshot")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused_and_works_once_it_is_free() {
    let (lab, dir) = (Lab::new(), tempfile::tempdir().unwrap());
    let first = lab.start(single(dir.path())).await.unwrap();
    let error = error_of(&lab, single(dir.path())).await;
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    first.shutdown().await;
    lab.start(single(dir.path())).await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_is_refused() {
    let lab = Lab::new();
    let dir = used(&lab).await;
    let mut config = single(dir.path());
    let other = ClusterId(lab.random.uuid());
    config.cluster_id = Some(other);
    let error = error_of(&lab, config).await;
    assert!(matches!(error, StartError::WrongCluster { expected, .. } if expected == other), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_in_the_snapshot_is_refused_even_without_the_identity_file() {
    let lab = Lab::new();
    let dir = used(&lab).await;
    fs::remove_file(dir.path().join("identity.json")).unwrap();
    let mut config = single(dir.path());
    config.cluster_id = Some(ClusterId(lab.random.uuid()));
    let error = error_of(&lab, config).await;
    assert!(matches!(error, StartError::WrongCluster { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_nodes_directory_is_refused() {
    let lab = Lab::new();
    let dir = used(&lab).await;
    let error = error_of(&lab, QuorumConfig::single(NodeId(2), dir.path())).await;
    assert!(matches!(error, StartError::WrongNode { found: NodeId(1), expected: NodeId(2), .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_later_release_are_refused() {
    let lab = Lab::new();
    let dir = used(&lab).await;
    let identity = dir.path().join("identity.json");
    let good = fs::read(&identity).unwrap();
    fs::write(&identity, r#"{"format": 7, "what": "else"}"#).unwrap();
    let error = error_of(&lab, single(dir.path())).await;
    assert!(matches!(error, StartError::LaterFormat { found: 7, supported: 1, .. }), "{error}");

    fs::write(&identity, good).unwrap();
    let snapshot = snapshot_in(dir.path());
    let mut bytes = fs::read(&snapshot).unwrap();
    bytes[11] = 9;
    fs::write(&snapshot, bytes).unwrap();
    let error = error_of(&lab, single(dir.path())).await;
    assert!(matches!(&error, StartError::LaterFormat { found: 9, path, .. } if *path == snapshot), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damaged_byte_of_a_snapshot_is_found() {
    let lab = Lab::new();
    let dir = used(&lab).await;
    let snapshot = snapshot_in(dir.path());
    let good = fs::read(&snapshot).unwrap();
    for at in (0..good.len()).filter(|at| !(8..12).contains(at)).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        fs::write(&snapshot, &bytes).unwrap();
        let error = error_of(&lab, single(dir.path())).await;
        assert!(
            matches!(&error, StartError::Damaged { path, .. } if *path == snapshot),
            "byte {at}: {error}"
        );
    }
    for length in [0, 10, good.len() / 2, good.len() - 1] {
        fs::write(&snapshot, &good[..length]).unwrap();
        let error = error_of(&lab, single(dir.path())).await;
        assert!(matches!(error, StartError::Damaged { .. }), "cut to {length}: {error}");
    }
    fs::write(&snapshot, good).unwrap();
    lab.start(single(dir.path())).await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_a_crash_left_unfinished_is_cleared_away() {
    let lab = Lab::new();
    let dir = used(&lab).await;
    fs::write(dir.path().join("snapshot.unfinished"), b"half").unwrap();
    lab.start(single(dir.path())).await.unwrap().shutdown().await;
    assert!(!dir.path().join("snapshot.unfinished").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_identity_is_refused() {
    let lab = Lab::new();
    let dir = used(&lab).await;
    fs::write(dir.path().join("identity.json"), "{").unwrap();
    let error = error_of(&lab, single(dir.path())).await;
    assert!(matches!(error, StartError::Damaged { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_a_directory_is_refused() {
    let lab = Lab::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = error_of(&lab, single(&file.path().join("below"))).await;
    assert!(matches!(error, StartError::Io { action: "create", .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_formation_without_the_member_itself_is_refused() {
    let (lab, dir) = (Lab::new(), tempfile::tempdir().unwrap());
    let formation = Formation::Bootstrap([(NodeId(2), String::new())].into());
    let config = QuorumConfig::new(NodeId(1), Storage::Directory(dir.path().to_owned()), formation);
    let error = error_of(&lab, config).await;
    assert!(matches!(error, StartError::Formation(_)), "{error}");
}
