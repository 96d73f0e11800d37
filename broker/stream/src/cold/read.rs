//! A read of a stream from its objects.

use std::sync::Arc;

use aquifer_image::CommittedRange;
use aquifer_runtime::OnEnd;
use aquifer_types::StreamId;
use bytes::Bytes;

use super::blocks::{block, cached_block};
use super::indexes::index;
use super::{Place, read_ahead};
use crate::format::{Block, ObjectIndex};
use crate::lock::lock;
use crate::stream::StreamInner;
use crate::{Batch, ReadError, ReadRequest};

/// How often a read looks again when the metadata moved under it.
const LOOKS: usize = 3;

impl StreamInner {
    /// Reads from objects; falls back to the log cache if the offset is there after all.
    pub(crate) async fn read_cold(self: &Arc<Self>, request: &ReadRequest) -> Result<Vec<Batch>, ReadError> {
        let mut last = None;
        for _ in 0..LOOKS {
            // What was evicted is in the image already: evicted is only what was committed, and seen here.
            let image = self.shared.metadata.image();
            let range = image.range_at(self.data, request.offset);
            let place = range.and_then(|range| Place::of(&image, range));
            let Some(place) = place else {
                let (start, end) =
                    image.stream(self.data).map_or((0, 0), |stream| (stream.start, stream.end));
                // A trim whose outcome we were not told took effect all the same.
                self.raise_start(start);
                if let Some(answer) = self.read_cached(request) {
                    return answer;
                }
                return Err(self.hole(request.offset, end));
            };
            match self.read_place(request, &place).await {
                // Deleted under us, as its records were trimmed or moved to another object: look again.
                Err(error @ ReadError::Missing { .. }) => last = Some(error),
                result => return result,
            }
            let image = self.shared.metadata.image();
            let moved = |range: CommittedRange| range.object != place.object;
            if !image.range_at(self.data, request.offset).is_none_or(moved) {
                break;
            }
            if let Some(trimmed) = image.stream(self.data).map(|stream| stream.start) {
                self.raise_start(trimmed);
            }
            if let Some(answer) = self.read_cached(request) {
                return answer;
            }
        }
        Err(last.unwrap_or_else(|| self.hole(request.offset, 0)))
    }

    fn hole(&self, offset: u64, end: u64) -> ReadError {
        ReadError::Hole { stream: self.data, offset, start: self.start(), end }
    }

    async fn read_place(
        self: &Arc<Self>,
        request: &ReadRequest,
        place: &Place,
    ) -> Result<Vec<Batch>, ReadError> {
        let shared = &self.shared;
        let (window, goes_on) = lock(&self.read_ahead).window(request.offset);
        let index = index(shared, place).await?;
        let Some(mut number) = index.block_at(self.data.get(), request.offset) else {
            let reason = format!("its index lacks offset {}", request.offset);
            return Err(place.damaged(None, reason));
        };
        let mut taker = Taker::new(request, self.committed_end());
        let mut current = block(shared, place, &index, number, window).await?;
        while taker.take(&current)
            && index.entries.get(number + 1).is_some_and(|e| e.stream == self.data.get())
        {
            number += 1;
            // Only what is here: the reader has something to go on with.
            match cached_block(shared, place.object, number) {
                Some(Ok(next)) => current = next,
                // Told to the reader when it gets there.
                Some(Err(_)) | None => break,
            }
        }
        let next = taker.taken.last().map_or(request.offset, |batch| batch.end);
        lock(&self.read_ahead).note(request.offset, next, shared.cold.widest_window);
        if goes_on {
            self.read_ahead(place, &index, next, window);
        }
        Ok(taker.taken)
    }

    /// Begins to fetch what a reader that reached `next` will want.
    fn read_ahead(self: &Arc<Self>, place: &Place, index: &Arc<ObjectIndex>, next: u64, window: u64) {
        let shared = &self.shared;
        let mut wanted = None;
        let mut ahead = 0;
        let mut offset = next;
        // The first block within the window that nobody has asked for.
        while let Some(number) = index.block_at(self.data.get(), offset) {
            if ahead >= window {
                return;
            }
            if !shared.cold.blocks.is_expected(place.object, number) {
                wanted = Some((*place, offset));
                break;
            }
            ahead += index.entries[number].size;
            offset = index.entries[number].end;
        }
        if wanted.is_none() {
            // The object ends within the window: go on with the one that follows.
            let image = shared.metadata.image();
            let following = image.range_at(self.data, place.end).and_then(|range| Place::of(&image, range));
            wanted = following.map(|following| (following, place.end));
        }
        let Some((place, offset)) = wanted else { return };
        let Ok(permit) = Arc::clone(&shared.cold.read_aheads).try_acquire_owned() else { return };
        let stream = Arc::clone(self);
        let window = window.max(read_ahead::NARROWEST_WINDOW);
        shared.tasks.spawn("read-ahead", OnEnd::Continue, async move {
            let stop = stream.shared.stop.clone();
            // Errors are for the reader, who will meet them again.
            let _ = stop.run_until_cancelled(stream.fetch_ahead(&place, offset, window)).await;
            drop(permit);
            Ok::<_, String>(())
        });
    }

    async fn fetch_ahead(&self, place: &Place, offset: u64, window: u64) -> Result<(), ReadError> {
        let index = index(&self.shared, place).await?;
        if let Some(number) = index.block_at(self.data.get(), offset)
            && !self.shared.cold.blocks.is_expected(place.object, number)
        {
            block(&self.shared, place, &index, number, window).await?;
        }
        Ok(())
    }

    /// The block that holds `offset` of a range.
    pub(super) async fn block_of(
        &self,
        place: &Place,
        index: &Arc<ObjectIndex>,
        number: usize,
    ) -> Result<Block, ReadError> {
        block(&self.shared, place, index, number, read_ahead::NARROWEST_WINDOW).await
    }

    /// The payload of the newest committed entry of the meta stream.
    pub(crate) async fn load_checkpoint(&self, meta: StreamId) -> Result<Option<Bytes>, ReadError> {
        let image = self.shared.metadata.image();
        let Some(range) = image.last_range(meta) else { return Ok(None) };
        let hole = ReadError::Hole { stream: meta, offset: range.first, start: range.first, end: range.end };
        let place = Place::of(&image, range).ok_or_else(|| hole.clone())?;
        let index = index(&self.shared, &place).await?;
        let number = index.block_at(meta.get(), range.end - 1).ok_or(hole)?;
        // Neighbours are other partitions' checkpoints, which a start will ask for next.
        let block = block(&self.shared, &place, &index, number, read_ahead::WIDEST_WINDOW).await?;
        Ok(block.batches.last().map(|batch| batch.payload.clone()))
    }
}

/// Takes batches as far as a request goes.
struct Taker<'a> {
    request: &'a ReadRequest,
    limit: u64,
    room: usize,
    taken: Vec<Batch>,
}

impl<'a> Taker<'a> {
    fn new(request: &'a ReadRequest, committed_end: u64) -> Self {
        let limit = request.limit.min(committed_end);
        Taker { request, limit, room: request.max_bytes, taken: Vec::new() }
    }

    /// Takes what fits of a block; whether there is room for more.
    fn take(&mut self, block: &Block) -> bool {
        let from = block.batches.partition_point(|batch| batch.end <= self.request.offset);
        for batch in &block.batches[from..] {
            let size = batch.payload.len();
            let forced = self.taken.is_empty() && self.request.min_one_batch;
            if batch.end > self.limit || (size > self.room && !forced) {
                return false;
            }
            self.room = self.room.saturating_sub(size);
            self.taken.push(batch.clone());
        }
        self.room > 0
    }
}
