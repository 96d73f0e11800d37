//! Looking for batches by time: ranges in the image, blocks in the index, batches in the block, then the log cache.

use std::sync::Arc;

use aquifer_image::CommittedRange;

use super::Place;
use super::indexes::index;
use crate::format::IndexEntry;
use crate::stream::{Evicted, StreamInner};
use crate::{Batch, ReadError, TimeQuery};

/// How often a search begins again because what it had not looked at yet moved to objects.
const LOOKS: usize = 3;

impl StreamInner {
    pub(crate) async fn find(self: &Arc<Self>, query: TimeQuery) -> Result<Option<Batch>, ReadError> {
        for _ in 0..LOOKS {
            let found = match query {
                TimeQuery::AtOrAfter(timestamp_ms) => self.find_at_or_after(timestamp_ms).await?,
                TimeQuery::Largest => self.find_largest().await?,
            };
            if let Ok(found) = found {
                return Ok(found);
            }
        }
        Err(ReadError::Store {
            stream: self.data,
            reason: "the log moves to objects faster than it can be searched".to_owned(),
        })
    }

    async fn find_at_or_after(&self, timestamp_ms: i64) -> Result<Result<Option<Batch>, Evicted>, ReadError> {
        let image = self.shared.metadata.image();
        let start = self.start();
        let mut from = start;
        for range in image.ranges(self.data, start) {
            from = range.end;
            if range.max_timestamp_ms < timestamp_ms {
                continue;
            }
            let wanted = |newest: i64| newest >= timestamp_ms;
            let place = self.place(&image, range)?;
            if let Some(batch) = self.first_in(&place, start, wanted).await? {
                return Ok(Ok(Some(batch)));
            }
        }
        Ok(self
            .search_cache(from, |mut batches| batches.find(|b| b.max_timestamp_ms >= timestamp_ms).cloned()))
    }

    async fn find_largest(&self) -> Result<Result<Option<Batch>, Evicted>, ReadError> {
        let image = self.shared.metadata.image();
        let start = self.start();
        let ranges: Vec<CommittedRange> = image.ranges(self.data, start).collect();
        let from = ranges.last().map_or(start, |range| range.end);
        let in_cache =
            self.search_cache(from, |batches| first_largest(batches, |b| b.max_timestamp_ms).cloned());
        let mut best = match in_cache {
            Ok(found) => found,
            Err(evicted) => return Ok(Err(evicted)),
        };
        // Newest first, as later ranges mostly have later times; an equal time goes to the earlier batch.
        for range in ranges.into_iter().rev() {
            if best.as_ref().is_some_and(|best| range.max_timestamp_ms < best.max_timestamp_ms) {
                continue;
            }
            let place = self.place(&image, range)?;
            if let Some(found) = self.largest_in(&place, start).await?
                && best.as_ref().is_none_or(|best| found.max_timestamp_ms >= best.max_timestamp_ms)
            {
                best = Some(found);
            }
        }
        Ok(Ok(best))
    }

    fn place(&self, image: &aquifer_image::Image, range: CommittedRange) -> Result<Place, ReadError> {
        let hole =
            ReadError::Hole { stream: self.data, offset: range.first, start: self.start(), end: range.end };
        Place::of(image, range).ok_or(hole)
    }

    /// The first batch of a range with a wanted newest time, of those that end after `start`.
    async fn first_in(
        &self,
        place: &Place,
        start: u64,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<Option<Batch>, ReadError> {
        let index = index(&self.shared, place).await?;
        for number in index.blocks_of(self.data.get()) {
            let entry = &index.entries[number];
            if entry.end <= start || !wanted(entry.max_timestamp_ms) {
                continue;
            }
            let block = self.block_of(place, &index, number).await?;
            let mut live = block.batches.iter().filter(|batch| batch.end > start);
            if let Some(batch) = live.find(|batch| wanted(batch.max_timestamp_ms)) {
                return Ok(Some(batch.clone()));
            }
        }
        Ok(None)
    }

    /// The first of the newest batches of a range, of those that end after `start`.
    async fn largest_in(&self, place: &Place, start: u64) -> Result<Option<Batch>, ReadError> {
        let index = index(&self.shared, place).await?;
        let blocks = index.blocks_of(self.data.get());
        // The block that holds the start may have its newest batch before it: then it must be looked into.
        let mut best: Option<Batch> = None;
        let mut entries: Vec<(usize, &IndexEntry)> =
            blocks.map(|number| (number, &index.entries[number])).filter(|(_, e)| e.end > start).collect();
        entries.sort_by_key(|(number, entry)| (std::cmp::Reverse(entry.max_timestamp_ms), *number));
        for (number, entry) in entries {
            if best.as_ref().is_some_and(|best| entry.max_timestamp_ms < best.max_timestamp_ms) {
                break;
            }
            let block = self.block_of(place, &index, number).await?;
            let live = block.batches.iter().filter(|batch| batch.end > start);
            let newest = first_largest(live, |batch| batch.max_timestamp_ms);
            if let Some(newest) = newest {
                let key = |batch: &Batch| (batch.max_timestamp_ms, std::cmp::Reverse(batch.first));
                if best.as_ref().is_none_or(|best| key(newest) > key(best)) {
                    best = Some(newest.clone());
                }
            }
        }
        Ok(best)
    }
}

/// The first of those with the largest key. (`Iterator::max_by_key` gives the last.)
fn first_largest<'a>(
    batches: impl Iterator<Item = &'a Batch>,
    key: impl Fn(&Batch) -> i64,
) -> Option<&'a Batch> {
    batches.reduce(|best, next| if key(next) > key(best) { next } else { best })
}
