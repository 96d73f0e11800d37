//! The log on the real engines.

mod machine;

use std::path::Path;

use aquifer_disk::{DiskOptions, Engine};
use aquifer_runtime::TaskGroup;
use aquifer_wal::{Wal, WalConfig};
use machine::{IDENTITY, record, tags};

async fn goes_around_its_ring_and_comes_back(engine: Engine) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let config = WalConfig { capacity_bytes: 8 << 20, ..WalConfig::default() };
    let begin = async |path: &Path, segment: u64| {
        let disk = aquifer_disk::open(path, &DiskOptions { engine }).await.expect("the disk opens");
        let mut opened = aquifer_wal::open(config.clone(), disk, IDENTITY).await.expect("the log opens");
        let recovered = std::mem::take(&mut opened.recovered);
        let tasks = TaskGroup::new();
        let wal: Wal<u64> = opened.start(segment, |_: &mut Vec<u64>| {}, &tasks).await.expect("starts");
        (recovered, wal, tasks)
    };
    let (recovered, wal, tasks) = begin(directory.path(), 1).await;
    assert!(recovered.segments.is_empty());
    // Three times the capacity, several on the way at any time.
    for tag in 0..240 {
        let lsn = wal.append(record(tag, 100_000), tag).expect("appended");
        if tag % 8 == 7 {
            wal.committed(lsn).await.expect("durable");
            wal.trim(lsn);
        }
    }
    drop(wal);
    tasks.shutdown(std::time::Duration::from_secs(60)).await.expect("ends");
    let (recovered, wal, tasks) = begin(directory.path(), 2).await;
    assert_eq!(tags(&recovered), [239]);
    assert_eq!(recovered.segments[0].records[0].1, record(239, 100_000));
    wal.close().await.expect("closes");
    tasks.shutdown(std::time::Duration::from_secs(60)).await.expect("ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_io_uring_goes_around_its_ring_and_comes_back() {
    goes_around_its_ring_and_comes_back(Engine::Uring).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_threads_goes_around_its_ring_and_comes_back() {
    goes_around_its_ring_and_comes_back(Engine::Threads).await;
}
