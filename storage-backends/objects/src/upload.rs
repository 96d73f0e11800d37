use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::attempt::{Call, Repeat};
use crate::backend::Session;
use crate::error::{Effect, ErrorKind, Failure, StoreError};
use crate::key;
use crate::metrics::Operation;
use crate::store::Store;

/// A streaming upload: [`write`](Self::write) as much as you like, then [`finish`](Self::finish) or
/// [`abort`](Self::abort). Holds a few parts in memory, never the object.
///
/// The object appears whole at the end, and only if its key is still free. After any error the upload is
/// dead: abort it and start again. An upload that is dropped leaves parts behind for
/// [`Store::sweep`] and [`Store::discard`].
#[derive(Debug)]
pub struct Upload {
    store: Store,
    key: String,
    session: Arc<dyn Session>,
    /// Bytes for the next part; fewer than a part's.
    pending: Vec<Bytes>,
    pending_bytes: usize,
    in_flight: FuturesUnordered<BoxFuture<'static, Result<(), StoreError>>>,
    next_part: u32,
    size: u64,
    checksum: u32,
    dead: bool,
}

impl Upload {
    pub(crate) async fn begin(store: Store, key: &str) -> Result<Self, StoreError> {
        let call = Call { operation: Operation::Upload, key, bytes: 0, repeat: Repeat::Idempotent };
        store.checked(call, key::check(key))?;
        let inner = &store.inner;
        let session = inner.attempts.run(call, |before| inner.backend.begin(key, before.attempts)).await?;
        Ok(Self {
            session,
            key: key.to_owned(),
            pending: Vec::new(),
            pending_bytes: 0,
            in_flight: FuturesUnordered::new(),
            next_part: 0,
            size: 0,
            checksum: 0,
            dead: false,
            store,
        })
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes `bytes` over, and waits while enough parts are on their way.
    ///
    /// # Errors
    /// The upload has failed; nothing is visible under its key.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.alive()?;
        self.size += bytes.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, &bytes);
        let part_bytes = self.store.inner.part_bytes;
        while self.pending_bytes + bytes.len() >= part_bytes {
            let piece = bytes.split_to(part_bytes - self.pending_bytes);
            self.pending.push(piece);
            self.pending_bytes = part_bytes;
            self.send_part().await?;
        }
        if !bytes.is_empty() {
            self.pending_bytes += bytes.len();
            self.pending.push(bytes);
        }
        Ok(())
    }

    /// Sends the rest and makes the object appear; durable when it returns.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if the key was taken meanwhile. With [`Effect::Unknown`] the object may
    /// be there, whole.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        self.alive()?;
        if self.pending_bytes > 0 || self.next_part == 0 {
            self.send_part().await?;
        }
        self.settle(0).await?;
        let call = self.call(Operation::Upload, Repeat::Idempotent);
        let finished = self
            .store
            .inner
            .attempts
            .run(call, |before| {
                let complete = self.session.complete();
                async move {
                    complete.await.map_err(|failure| {
                        // Gone or taken: perhaps by ourselves, in an attempt whose answer got lost.
                        let ours = matches!(failure.kind, ErrorKind::AlreadyExists | ErrorKind::NotFound);
                        if ours && before.unknown {
                            Failure { effect: Effect::Unknown, ..failure }
                        } else {
                            failure
                        }
                    })
                }
            })
            .await;
        let finished = match finished {
            Err(error) if error.effect == Effect::Unknown => {
                self.store.resolve(error, self.size, self.checksum).await
            }
            result => result,
        };
        if let Err(StoreError { effect: Effect::None, .. }) = &finished {
            // Certainly not ours: what was uploaded is of no use. If it stays, a sweep finds it.
            let _ = self.store.inner.attempts.run(call, |_| self.session.abort()).await;
        }
        finished
    }

    /// Removes what was uploaded.
    ///
    /// # Errors
    /// Parts may be left for [`Store::discard`].
    pub async fn abort(mut self) -> Result<(), StoreError> {
        self.in_flight = FuturesUnordered::new();
        let call = self.call(Operation::Upload, Repeat::Idempotent);
        self.store.inner.attempts.run(call, |_| self.session.abort()).await
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        let parallel = self.session.parallel();
        self.settle(parallel - 1).await?;
        let pieces = mem::take(&mut self.pending);
        let bytes = mem::take(&mut self.pending_bytes) as u64;
        let index = self.next_part;
        self.next_part += 1;
        let (session, store, key) = (Arc::clone(&self.session), self.store.clone(), self.key.clone());
        let claim = store.inner.uploads.claim(bytes).await;
        let repeat = if parallel > 1 { Repeat::Idempotent } else { Repeat::Never };
        self.in_flight.push(Box::pin(async move {
            let _claim = claim;
            let call = Call { operation: Operation::UploadPart, key: &key, bytes, repeat };
            store.inner.attempts.run(call, |_| session.part(index, &pieces)).await
        }));
        Ok(())
    }

    /// Waits until at most `left` parts are on their way.
    async fn settle(&mut self, left: usize) -> Result<(), StoreError> {
        while self.in_flight.len() > left {
            if let Some(Err(error)) = self.in_flight.next().await {
                self.dead = true;
                // A part is never visible, whatever became of it.
                return Err(StoreError { effect: Effect::None, ..error });
            }
        }
        Ok(())
    }

    fn alive(&self) -> Result<(), StoreError> {
        let failure =
            Failure::none(ErrorKind::Invalid, "this upload has failed before: abort it and start again");
        let call = self.call(Operation::Upload, Repeat::Never);
        self.store.checked(call, if self.dead { Err(failure) } else { Ok(()) })
    }

    fn call(&self, operation: Operation, repeat: Repeat) -> Call<'_> {
        Call { operation, key: &self.key, bytes: 0, repeat }
    }
}
