//! Memory of large requests, used again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquifer_runtime::CancellationToken;
use bytes::BytesMut;

/// Slabs come in multiples of this, so that little of one is empty.
const STEP: usize = 64 << 10;
/// The largest slab: a batch of 1 MiB with its request around it.
const LARGEST: usize = (1 << 20) + STEP;
/// How often slabs that lie idle are given back to the allocator.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);
/// How many of a size are looked at for a free one. They come back nearly in the order they were taken.
const LOOKED_AT: usize = 4;

/// Slabs that were handed out, oldest first, by size. Cheap to clone.
///
/// The records of a request live in its slab for as long as the log cache needs them. This side keeps a handle
/// of each, without bytes of its own; once all others are gone, the slab is used again. New memory would cost a
/// page fault and a zeroed page for every 4 KiB received, as much CPU time as receiving it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slabs(Arc<[Mutex<Shelf>; LARGEST / STEP]>);

#[derive(Debug, Default)]
struct Shelf {
    handed_out: VecDeque<BytesMut>,
    /// How many were used again since the last trim.
    reused: usize,
}

impl Slabs {
    /// An empty buffer with room for `size` bytes, if that is a size that is kept.
    pub(crate) fn take(&self, size: usize) -> Option<BytesMut> {
        let shelf = self.shelf(size)?;
        let room = size.next_multiple_of(STEP);
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let looked_at = shelf.handed_out.len().min(LOOKED_AT);
        let free = (0..looked_at).find(|at| shelf.handed_out[*at].try_reclaim(room));
        match free.and_then(|at| shelf.handed_out.remove(at)) {
            Some(slab) => {
                shelf.reused += 1;
                Some(slab)
            }
            None => Some(BytesMut::with_capacity(room)),
        }
    }

    /// Remembers the slab of `frame`, a buffer taken for `size` bytes and now full of them.
    pub(crate) fn hand_out(&self, frame: &mut BytesMut, size: usize) {
        if let Some(shelf) = self.shelf(size) {
            let handle = frame.split_off(frame.len());
            shelf.lock().unwrap_or_else(PoisonError::into_inner).handed_out.push_back(handle);
        }
    }

    fn shelf(&self, size: usize) -> Option<&Mutex<Shelf>> {
        self.0.get(size.div_ceil(STEP).checked_sub(1)?)
    }

    /// Drops handles of slabs that nobody else holds, but for as many as were used again since the last time.
    fn trim(&self) {
        for (shelf, room) in self.0.iter().zip((STEP..).step_by(STEP)) {
            let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
            let mut keep = std::mem::take(&mut shelf.reused);
            shelf.handed_out.retain_mut(|slab| {
                if !slab.try_reclaim(room) {
                    return true;
                }
                let kept = keep > 0;
                keep = keep.saturating_sub(1);
                kept
            });
        }
    }

    /// Gives idle memory back until `stopping`.
    pub(crate) async fn keep_trimmed(self, stopping: CancellationToken) -> Result<(), Infallible> {
        let mut ticks = tokio::time::interval(TRIM_INTERVAL);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            self.trim();
        }
        Ok(())
    }

    #[cfg(test)]
    fn handles(&self) -> usize {
        self.0.iter().map(|shelf| shelf.lock().expect("not poisoned").handed_out.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(slabs: &Slabs, size: usize) -> BytesMut {
        let mut frame = slabs.take(size).expect("a size that is kept");
        frame.resize(size, 7);
        slabs.hand_out(&mut frame, size);
        frame
    }

    #[test]
    fn a_slab_is_used_again_when_its_last_part_is_gone() {
        let slabs = Slabs::default();
        let mut first = filled(&slabs, 100_000);
        let address = first.as_ptr();
        let part = first.split_to(50_000).freeze();
        drop(first);
        assert_ne!(filled(&slabs, 100_000).as_ptr(), address, "a part of it is alive");
        drop(part);
        assert_eq!(filled(&slabs, 100_001).as_ptr(), address);
        assert_eq!(slabs.handles(), 2);
    }

    #[test]
    fn sizes_that_are_not_kept_are_left_to_the_allocator() {
        let slabs = Slabs::default();
        assert!(slabs.take(0).is_none() && slabs.take(LARGEST + 1).is_none());
        assert!(slabs.take(1).is_some() && slabs.take(LARGEST).is_some());
    }

    #[test]
    fn idle_slabs_are_given_back_and_others_stay() {
        let slabs = Slabs::default();
        let alive = filled(&slabs, 100_000);
        drop([filled(&slabs, 100_000), filled(&slabs, 1_000_000)]);
        slabs.trim();
        assert_eq!(slabs.handles(), 1);
        drop(alive);
        // Used again in the last interval: kept for the next.
        drop(filled(&slabs, 100_000));
        slabs.trim();
        assert_eq!(slabs.handles(), 1);
        slabs.trim();
        assert_eq!(slabs.handles(), 0);
    }
}
