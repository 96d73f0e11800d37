use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::error::ErrorKind;

/// What is done to a store, as metrics and errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A whole object created at once.
    PutNew,
    /// One part of a streaming upload.
    UploadPart,
    /// Start, end or abort of a streaming upload.
    Upload,
    /// A range, or a whole object, read.
    Get,
    /// Size and time of an object.
    Head,
    /// An object removed.
    Delete,
    /// One page of a listing.
    List,
    /// Left-overs of interrupted uploads found and removed.
    Sweep,
}

impl Operation {
    /// All operations, in the order of the metrics.
    pub const ALL: [Operation; 8] = [
        Operation::PutNew,
        Operation::UploadPart,
        Operation::Upload,
        Operation::Get,
        Operation::Head,
        Operation::Delete,
        Operation::List,
        Operation::Sweep,
    ];

    /// The operation as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Operation::PutNew => "put",
            Operation::UploadPart => "upload_part",
            Operation::Upload => "upload",
            Operation::Get => "get",
            Operation::Head => "head",
            Operation::Delete => "delete",
            Operation::List => "list",
            Operation::Sweep => "sweep",
        }
    }
}

/// Upper bounds of the latency buckets: 1 ms, doubling, to 65 s.
const BUCKETS: usize = 17;

#[derive(Debug, Default)]
struct OperationMetrics {
    attempts: AtomicU64,
    failures: [AtomicU64; ErrorKind::ALL.len()],
    bytes: AtomicU64,
    total_us: AtomicU64,
    /// The last one holds what took longer than every bound.
    buckets: [AtomicU64; BUCKETS + 1],
}

/// Counters of one store. Every attempt counts, so that retries show.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    operations: [OperationMetrics; Operation::ALL.len()],
    retries: AtomicU64,
    waits_ms: AtomicU64,
    reduced_writes: AtomicU64,
    swept: AtomicU64,
}

impl Metrics {
    /// One attempt ended after `took`; `result` is the bytes it carried or why it failed.
    pub(crate) fn attempt(&self, operation: Operation, took: Duration, result: Result<u64, ErrorKind>) {
        let metrics = &self.operations[operation as usize];
        metrics.attempts.fetch_add(1, Relaxed);
        match result {
            Ok(bytes) => metrics.bytes.fetch_add(bytes, Relaxed),
            Err(kind) => metrics.failures[kind as usize].fetch_add(1, Relaxed),
        };
        metrics.total_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        let bucket = (0..BUCKETS).find(|&i| took <= bound(i)).unwrap_or(BUCKETS);
        metrics.buckets[bucket].fetch_add(1, Relaxed);
    }

    pub(crate) fn retry(&self, wait: Duration) {
        self.retries.fetch_add(1, Relaxed);
        self.waits_ms.fetch_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// An object was written with fewer copies than configured.
    pub(crate) fn reduced_write(&self) {
        self.reduced_writes.fetch_add(1, Relaxed);
    }

    pub(crate) fn swept(&self, orphans: u64) {
        self.swept.fetch_add(orphans, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        StoreSnapshot {
            operations: Operation::ALL.map(|operation| {
                let metrics = &self.operations[operation as usize];
                OperationSnapshot {
                    operation,
                    attempts: metrics.attempts.load(Relaxed),
                    failures: ErrorKind::ALL
                        .map(|kind| (kind, metrics.failures[kind as usize].load(Relaxed))),
                    bytes: metrics.bytes.load(Relaxed),
                    latency: Histogram {
                        total_seconds: metrics.total_us.load(Relaxed) as f64 / 1e6,
                        buckets: metrics.cumulative(),
                    },
                }
            }),
            retries: self.retries.load(Relaxed),
            retry_wait_seconds: self.waits_ms.load(Relaxed) as f64 / 1e3,
            reduced_writes: self.reduced_writes.load(Relaxed),
            swept_orphans: self.swept.load(Relaxed),
            upload_bytes_in_flight: 0,
            download_bytes_in_flight: 0,
            credentials_end_ms: None,
        }
    }
}

impl OperationMetrics {
    fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = (0..BUCKETS).map(|i| bound(i).as_secs_f64()).chain([f64::INFINITY]);
        bounds
            .zip(&self.buckets)
            .scan(0, |sum, (bound, count)| {
                *sum += count.load(Relaxed);
                Some((bound, *sum))
            })
            .collect()
    }
}

fn bound(bucket: usize) -> Duration {
    Duration::from_millis(1 << bucket)
}

/// The counters of a store at one moment, all since it was opened.
#[derive(Clone, Debug)]
pub struct StoreSnapshot {
    /// One entry per operation.
    pub operations: [OperationSnapshot; Operation::ALL.len()],
    /// Attempts after the first one.
    pub retries: u64,
    /// Time spent waiting before them, seconds.
    pub retry_wait_seconds: f64,
    /// Objects written with fewer copies than configured, because DataNodes failed.
    pub reduced_writes: u64,
    /// Left-overs of interrupted uploads that were removed.
    pub swept_orphans: u64,
    /// Bytes of uploads on their way now.
    pub upload_bytes_in_flight: u64,
    /// Bytes of reads on their way now.
    pub download_bytes_in_flight: u64,
    /// When the Kerberos ticket of `store.hdfs.ticket.cache` ends, in ms since 1970; from then on every call fails.
    pub credentials_end_ms: Option<i64>,
}

/// Counters of one operation.
#[derive(Clone, Debug)]
pub struct OperationSnapshot {
    /// Which one.
    pub operation: Operation,
    /// Attempts, failed ones included.
    pub attempts: u64,
    /// Failed attempts by kind.
    pub failures: [(ErrorKind, u64); ErrorKind::ALL.len()],
    /// Payload bytes of successful attempts.
    pub bytes: u64,
    /// Time per attempt.
    pub latency: Histogram,
}

/// A histogram as Prometheus wants it.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Sum of all values, seconds.
    pub total_seconds: f64,
    /// Upper bound in seconds and how many values were at or below it; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_index_their_tables() {
        assert!(Operation::ALL.iter().enumerate().all(|(i, &operation)| operation as usize == i));
        assert!(ErrorKind::ALL.iter().enumerate().all(|(i, &kind)| kind as usize == i));
    }

    #[test]
    fn attempts_are_counted_by_outcome_and_latency() {
        let metrics = Metrics::default();
        metrics.attempt(Operation::Get, Duration::from_micros(500), Ok(10));
        metrics.attempt(Operation::Get, Duration::from_millis(3), Ok(5));
        metrics.attempt(Operation::Get, Duration::from_secs(100), Err(ErrorKind::Timeout));
        let snapshot = metrics.snapshot();
        let get = &snapshot.operations[Operation::Get as usize];
        assert_eq!((get.attempts, get.bytes), (3, 15));
        assert_eq!(get.failures[ErrorKind::Timeout as usize].1, 1);
        let counts: Vec<u64> = get.latency.buckets.iter().map(|&(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[2], counts[BUCKETS]), (1, 1, 2, 3));
    }
}
