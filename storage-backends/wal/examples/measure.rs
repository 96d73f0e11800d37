//! Measures the log on a directory: `cargo run --release -p aquifer-wal --example measure -- DIR [io_uring|threads] [SECONDS]`.
//!
//! The directory should be empty or from an earlier run; use the disk that the node would use. It writes at most 1 GiB of files.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aquifer_disk::{DiskOptions, Engine};
use aquifer_runtime::TaskGroup;
use aquifer_wal::{Identity, Lsn, Record, Wal, WalConfig};
use bytes::Bytes;
use tokio::time::Instant;

/// Appended and not durable yet, at most, where throughput is measured.
const OUTSTANDING: usize = 16;
/// Kept before trimming, as a node would until its upload.
const KEPT: u64 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(directory) = arguments.next() else {
        println!("usage: measure DIR [io_uring|threads] [SECONDS]");
        std::process::exit(2);
    };
    let engine = arguments.next().map_or(Ok(Engine::Uring), |name| name.parse()).expect("an engine");
    let seconds = arguments.next().map_or(3, |text| text.parse().expect("a number of seconds"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure(
        Path::new(&directory),
        engine,
        Duration::from_secs(seconds),
    ));
}

async fn measure(directory: &Path, engine: Engine, time: Duration) {
    let before = Instant::now();
    let disk = aquifer_disk::open(directory, &DiskOptions { engine }).await.expect("the disk opens");
    println!("{}", disk.info());
    println!("probed in {:?}", before.elapsed());
    let before = Instant::now();
    let identity = Identity { cluster: 1, disk: 1, owner: 1 };
    let config = WalConfig { zeroing_bytes_per_second: 4 << 30, ..WalConfig::default() };
    let mut opened = aquifer_wal::open(config, disk.clone(), identity).await.expect("the log opens");
    let recovered = std::mem::take(&mut opened.recovered);
    let newest = recovered.segments.last().map_or(0, |segment| segment.id);
    let tasks = TaskGroup::new();
    let wal: Wal<()> =
        opened.start(newest + 1, |tags: &mut Vec<()>| tags.clear(), &tasks).await.expect("starts");
    println!("ready in {:?}", before.elapsed());
    let before = Instant::now();
    while disk.list().await.expect("listed").iter().any(|file| file.name.ends_with(".zeroing")) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("all files zeroed after {:?} more", before.elapsed());
    wal.trim(wal.usage().committed);

    for bytes in [1 << 20, 256 << 10, 64 << 10, 16 << 10] {
        throughput(&wal, bytes, time).await;
    }
    for writers in [1, 4, 16, 64, 256] {
        commits(&wal, writers, 4 << 10, time).await;
    }
    wal.close().await.expect("closes");
    tasks.shutdown(Duration::from_secs(10)).await.expect("ends");
    println!("CPU seconds of this process: {:.2}", cpu_seconds());
}

fn record(bytes: usize) -> Record {
    let payload: Vec<u8> = (0..bytes).map(|at| (at * 31 + at / 255) as u8).collect();
    Record { stream: 1, first_offset: 0, end_offset: 1, payload: Bytes::from(payload) }
}

/// Appends as fast as the log takes it, with a bounded number of records on the way.
async fn throughput(wal: &Wal<()>, bytes: usize, time: Duration) {
    let record = record(bytes);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let outstanding = OUTSTANDING.max((4 << 20) / bytes) as u64;
    let mut count = 0_u64;
    while start.elapsed() < time {
        let lsn = wal.append(record.clone(), ()).expect("appended");
        count += 1;
        if count > outstanding {
            let durable = Lsn(lsn.0 - outstanding);
            wal.committed(durable).await.expect("durable");
            if count.is_multiple_of(KEPT) {
                wal.trim(durable);
            }
        }
    }
    let end = wal.usage().appended;
    wal.committed(Lsn(end.0 - 1)).await.expect("durable");
    wal.trim(end);
    let gigabytes = (count * bytes as u64) as f64 / 1e9;
    println!(
        "{:>4} KiB records, {outstanding} on the way: {:.2} GB/s, {:.2} CPU-s per GB",
        bytes >> 10,
        gigabytes / start.elapsed().as_secs_f64(),
        (cpu_seconds() - cpu) / gigabytes
    );
}

/// Writers that each append one record and wait for it.
async fn commits(wal: &Wal<()>, writers: usize, bytes: usize, time: Duration) {
    let record = record(bytes);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let times: Arc<std::sync::Mutex<Vec<Duration>>> = Arc::default();
    let tasks = TaskGroup::new();
    for _ in 0..writers {
        let (wal, record, times) = (wal.clone(), record.clone(), times.clone());
        tasks.spawn("measuring", aquifer_runtime::OnEnd::Continue, async move {
            let mut own = Vec::new();
            while start.elapsed() < time {
                let before = Instant::now();
                let lsn = wal.append(record.clone(), ()).map_err(|error| error.to_string())?;
                wal.committed(lsn).await.map_err(|error| error.to_string())?;
                own.push(before.elapsed());
                if lsn.0.is_multiple_of(KEPT) {
                    wal.trim(lsn);
                }
            }
            times.lock().expect("whole").append(&mut own);
            Ok::<_, String>(())
        });
    }
    tasks.shutdown(time + Duration::from_secs(60)).await.expect("ends");
    let mut times = std::mem::take(&mut *times.lock().expect("whole"));
    times.sort_unstable();
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{:>4} writers of 4 KiB: {:>7.0} commits/s, p50 {:?}, p99 {:?}, {:.1} CPU-us per commit",
        writers,
        times.len() as f64 / start.elapsed().as_secs_f64(),
        percentile(50),
        percentile(99),
        (cpu_seconds() - cpu) * 1e6 / times.len() as f64,
    );
}

/// User and system time of this process, from `/proc/self/stat`.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}
