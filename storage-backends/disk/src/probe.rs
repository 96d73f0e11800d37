use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::directory::{Directory, PROBE, RawFile};
use crate::mailbox::{Mailbox, Operation};
use crate::uring::Ring;
use crate::{BLOCK, BlockDevice, BufferPool, DiskError, SyncStrategy};

/// Blocks of the probe's file, written one after the other.
const BLOCKS: u64 = 16;
/// How long all the writes of a probe may take; a node must be ready in under a second.
const BUDGET: Duration = Duration::from_millis(30);
/// Rounds at least, however slow the disk, and at most.
const ROUNDS: std::ops::Range<usize> = 3..40;
/// A strategy that was not expected to win must be better by this many percent.
const CONVINCING_PERCENT: u64 = 10;

/// What a probe found.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) strategy: SyncStrategy,
    /// Median time of a durable 4 KiB write with it.
    pub(crate) commit_us: u64,
}

/// Creates the probe's file, written with zeros once, as the log's files are.
fn create(directory: &Directory, pool: &BufferPool) -> Result<Arc<RawFile>, DiskError> {
    let path = directory.path.join(PROBE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(DiskError::io(path, "removing", &error));
        }
        _ => {}
    }
    let file = directory.create(PROBE, BLOCKS * BLOCK as u64)?;
    let zeros = pool.zeros(BLOCKS as usize * BLOCK);
    let written = file.file.write_all_at(&zeros, 0).and_then(|()| file.file.sync_all());
    written.map_err(|error| directory.refused(&path, "writing", &error))?;
    Ok(Arc::new(file))
}

fn remove(directory: &Directory) {
    // Left behind it costs 64 KiB, and the next start removes it.
    let _ = directory.remove(PROBE);
}

/// Measures both ways of a durable write on a ring, in turns, and chooses one.
pub(crate) fn ring(
    ring: &mut Ring,
    mailbox: &Mailbox,
    directory: &Directory,
    pool: &BufferPool,
    device: Option<&BlockDevice>,
) -> Result<Measured, DiskError> {
    let file = create(directory, pool)?;
    let mut times = [Vec::new(), Vec::new()];
    let strategies = [SyncStrategy::Dsync, SyncStrategy::LinkedSync];
    let start = now();
    for round in 0..ROUNDS.end {
        if round >= ROUNDS.start && now() - start > BUDGET {
            break;
        }
        for (strategy, times) in strategies.into_iter().zip(&mut times) {
            let before = now();
            let (reply, mut answer) = oneshot::channel();
            let position = (round as u64 % BLOCKS) * BLOCK as u64;
            let blocks = Arc::new(pool.zeros(BLOCK));
            ring.start(Operation::Write { file: file.clone(), position, blocks, reply }, strategy);
            while !ring.idle() {
                ring.turn(mailbox).map_err(|error| DiskError::io(&file.path, "io_uring_enter", &error))?;
            }
            answer.try_recv().expect("an idle ring has answered everything")?;
            times.push(now() - before);
        }
    }
    remove(directory);
    let [dsync_us, linked_us] = times.map(median_us);
    let strategy = choose(device, dsync_us, linked_us);
    tracing::debug!(dsync_us, linked_us, %strategy, "probed the disk");
    Ok(Measured { strategy, commit_us: if strategy == SyncStrategy::Dsync { dsync_us } else { linked_us } })
}

/// Measures plain writes, each with its own `fdatasync`.
pub(crate) fn threads(directory: &Directory, pool: &BufferPool) -> Result<Measured, DiskError> {
    let file = create(directory, pool)?;
    let block = pool.zeros(BLOCK);
    let mut times = Vec::new();
    let start = now();
    for round in 0..ROUNDS.end {
        if round >= ROUNDS.start && now() - start > BUDGET {
            break;
        }
        let before = now();
        let written = file.file.write_all_at(&block, (round as u64 % BLOCKS) * BLOCK as u64);
        written
            .and_then(|()| file.file.sync_data())
            .map_err(|error| DiskError::io(&file.path, "writing", &error))?;
        times.push(now() - before);
    }
    remove(directory);
    Ok(Measured { strategy: SyncStrategy::BatchedSync, commit_us: median_us(times) })
}

/// The faster one; with little between them the one that stays fast when the processors are busy: a flush must follow
/// anyway on a device with a cache and without FUA, and there the linked sync was seen to win.
fn choose(device: Option<&BlockDevice>, dsync_us: u64, linked_us: u64) -> SyncStrategy {
    let flushes = device.is_some_and(|device| device.write_back && !device.fua);
    let convincing = |better: u64, worse: u64| better * (100 + CONVINCING_PERCENT) < worse * 100;
    match flushes {
        true if convincing(dsync_us, linked_us) => SyncStrategy::Dsync,
        true => SyncStrategy::LinkedSync,
        false if convincing(linked_us, dsync_us) => SyncStrategy::LinkedSync,
        false => SyncStrategy::Dsync,
    }
}

fn median_us(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

#[expect(clippy::disallowed_methods, reason = "measures a real device, whatever a test did to tokio's clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_must_be_convincing_to_win_against_the_expected_one() {
        let device =
            |fua| BlockDevice { name: "d".to_owned(), sector: 512, write_back: true, fua, rotational: false };
        assert_eq!(choose(Some(&device(false)), 95, 100), SyncStrategy::LinkedSync);
        assert_eq!(choose(Some(&device(false)), 50, 100), SyncStrategy::Dsync);
        assert_eq!(choose(Some(&device(true)), 100, 95), SyncStrategy::Dsync);
        assert_eq!(choose(None, 100, 50), SyncStrategy::LinkedSync);
    }
}
