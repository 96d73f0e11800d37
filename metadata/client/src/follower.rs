use std::sync::Arc;

use aquifer_image::Image;
use aquifer_quorum::{FeedChunk, FeedEnded};
use aquifer_runtime::CancellationToken;
use aquifer_types::LogIndex;
use tokio::sync::watch;

use crate::source::Source;

/// The one owner of a broker's image.
pub(crate) struct Follower {
    source: Source,
    image: Image,
    images: watch::Sender<Arc<Image>>,
}

impl Follower {
    pub(crate) fn new(source: Source) -> (Self, watch::Receiver<Arc<Image>>) {
        let image = Image::new();
        let (images, published) = watch::channel(Arc::new(image.clone()));
        (Self { source, image, images }, published)
    }

    /// Follows the feed until it ends or `stopping` is cancelled.
    pub(crate) async fn run(mut self, stopping: CancellationToken) -> Result<(), FeedEnded> {
        loop {
            let chunk = tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                chunk = self.source.pull(self.image.applied()) => chunk?,
            };
            self.apply(chunk);
            // One publication per chunk: readers see every entry's effect, not every entry.
            self.images.send_replace(Arc::new(self.image.clone()));
        }
    }

    fn apply(&mut self, chunk: FeedChunk) {
        match chunk {
            FeedChunk::Snapshot { index, image } => {
                self.image = *image;
                self.pass(index);
            }
            FeedChunk::Entries { entries, through } => {
                for (index, command) in entries {
                    // The verdict went to the proposer; here only the state counts.
                    let _ = self.image.apply(index, &command);
                }
                self.pass(through);
            }
        }
    }

    /// Raft's own entries carry no command, but the position moves over them.
    fn pass(&mut self, index: LogIndex) {
        if index > self.image.applied() {
            self.image.advance(index);
        }
    }
}
