use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aquifer_runtime::{Clock, Random};
use bytes::Bytes;
use tracing::{info, warn};

use crate::attempt::{Attempts, Before, Call, Repeat};
use crate::backend::{Backend, Orphan};
use crate::error::{Effect, ErrorKind, Failure, StoreError};
use crate::metrics::{Metrics, Operation, StoreSnapshot};
use crate::options::StoreOptions;
use crate::pressure::ByteLimit;
use crate::upload::Upload;
use crate::{key, metrics};

/// How much is read at once to compare an object with what we wanted to write.
const COMPARE_BYTES: u64 = 8 << 20;

/// A store; cheap to clone. See [`open`](crate::open()).
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) attempts: Attempts,
    pub(crate) part_bytes: usize,
    pub(crate) uploads: ByteLimit,
    downloads: ByteLimit,
    pub(crate) clock: Clock,
}

/// What a store says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key, without the store's prefix.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified_ms: i64,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Left-overs that were removed.
    pub removed: u64,
    /// Left-overs that could not be removed; the next sweep will find them again.
    pub failed: u64,
}

impl Store {
    pub(crate) fn new(
        url: Arc<str>,
        backend: Box<dyn Backend>,
        metrics: Arc<Metrics>,
        options: &StoreOptions,
        clock: Clock,
        random: Random,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                backend,
                attempts: Attempts::new(url, options, random, metrics),
                part_bytes: options.part_bytes,
                uploads: ByteLimit::new(options.upload_bytes_in_flight),
                downloads: ByteLimit::new(options.download_bytes_in_flight),
                clock,
            }),
        }
    }

    /// The URL it was opened from, without credentials.
    pub fn url(&self) -> &str {
        &self.inner.attempts.store
    }

    /// Creates the object `key` of `parts` in sequence, or fails with [`ErrorKind::AlreadyExists`] if there
    /// is one. Atomic and durable: of racing callers one wins, and nobody sees a part of an object.
    ///
    /// A lost answer is resolved by looking: an object with our length and checksum is ours.
    ///
    /// # Errors
    /// With [`Effect::Unknown`] only if looking failed too: the object may exist, or appear later.
    pub async fn put_new(&self, key: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let call = Call { operation: Operation::PutNew, key, bytes, repeat: Repeat::Idempotent };
        self.checked(call, key::check(key))?;
        let _claim = self.inner.uploads.claim(bytes).await;
        let (inner, parts) = (&self.inner, &parts);
        let written = inner
            .attempts
            .run(call, |before: Before| async move {
                match inner.backend.put_new(key, parts, before.attempts).await {
                    // Perhaps it was ourselves, in an attempt whose answer got lost.
                    Err(failure) if failure.kind == ErrorKind::AlreadyExists && before.unknown => {
                        Err(Failure { effect: Effect::Unknown, ..failure })
                    }
                    result => result,
                }
            })
            .await;
        match written {
            Err(error) if error.effect == Effect::Unknown => {
                let checksum = parts.iter().fold(0, |sum, part| crc32c::crc32c_append(sum, part));
                self.resolve(error, bytes, checksum).await
            }
            result => result,
        }
    }

    /// Starts a streaming upload of the object `key`, of any length and in bounded memory. The object
    /// appears when it is finished.
    ///
    /// # Errors
    /// See [`Upload`].
    pub async fn upload(&self, key: &str) -> Result<Upload, StoreError> {
        Upload::begin(self.clone(), key).await
    }

    /// Reads exactly `range`.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] if the object ends before the range does; never fewer bytes.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = range.end.saturating_sub(range.start);
        let call = Call { operation: Operation::Get, key, bytes, repeat: Repeat::Read };
        self.checked(call, key::check(key))?;
        if bytes == 0 {
            let failure = Failure::none(ErrorKind::Invalid, format!("the range {range:?} is empty"));
            return self.checked(call, Err(failure)).map(|()| Bytes::new());
        }
        let _claim = self.inner.downloads.claim(bytes).await;
        let (inner, range) = (&self.inner, &range);
        inner
            .attempts
            .run(call, |_| async move {
                let read = inner.backend.read(key, Some(range.clone())).await?;
                whole(
                    read.bytes,
                    bytes,
                    (range.end > read.object_size)
                        .then(|| format!("it has {} bytes, asked for {range:?}", read.object_size)),
                )
            })
            .await
    }

    /// Reads a whole object; meant for small ones.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and whatever the store comes up with.
    pub async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        // The size is asked for first, so that the bytes are claimed before they arrive.
        let size = self.head(key).await?.size;
        if size == 0 {
            return Ok(Bytes::new());
        }
        self.get_range(key, 0..size).await
    }

    /// Size and time of an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and whatever the store comes up with.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.look(key, Repeat::Read).await
    }

    /// As [`head`](Self::head), in one attempt: for who wants to know soon whether the store answers.
    ///
    /// # Errors
    /// As [`head`](Self::head).
    pub async fn head_once(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.look(key, Repeat::Never).await
    }

    async fn look(&self, key: &str, repeat: Repeat) -> Result<ObjectInfo, StoreError> {
        let call = Call { operation: Operation::Head, key, bytes: 0, repeat };
        self.checked(call, key::check(key))?;
        let info = self.inner.attempts.run(call, |_| self.inner.backend.head(key)).await?;
        Ok(ObjectInfo { key: key.to_owned(), ..info })
    }

    /// Removes an object. That it was absent is success.
    ///
    /// # Errors
    /// The object may be there or gone; ask again.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let call = Call { operation: Operation::Delete, key, bytes: 0, repeat: Repeat::Idempotent };
        self.checked(call, key::check(key))?;
        self.inner.attempts.run(call, |_| self.inner.backend.delete(key)).await
    }

    /// All objects below `prefix`, by key in byte order. The prefix is of whole segments, `a/b` finds
    /// `a/b/c` but not `a/bc`; "" finds everything. About 100 bytes of memory per object.
    ///
    /// # Errors
    /// The whole listing fails if one of its pages does.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let call = Call { operation: Operation::List, key: prefix, bytes: 0, repeat: Repeat::Read };
        let bare = key::check_prefix(prefix);
        let bare = bare.map_err(|failure| self.inner.attempts.error(call, 0, failure))?;
        let mut objects = Vec::<ObjectInfo>::new();
        loop {
            let after = objects.last().map(|object| object.key.clone());
            let after = after.as_deref();
            let page = self.inner.attempts.run(call, |_| self.inner.backend.list(bare, after)).await?;
            objects.extend(page.objects);
            if !page.more {
                break;
            }
        }
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// Removes whatever an interrupted write of `key` may have left: the object itself, and parts or
    /// staged files that no listing shows. For an object that was announced and never committed.
    ///
    /// # Errors
    /// Something may be left; ask again.
    pub async fn discard(&self, key: &str) -> Result<(), StoreError> {
        self.delete(key).await?;
        let call = Call { operation: Operation::Sweep, key, bytes: 0, repeat: Repeat::Idempotent };
        let orphans =
            self.inner.attempts.run(call, |_| self.inner.backend.orphans(Some(key), i64::MAX)).await?;
        for orphan in &orphans {
            self.remove_orphan(orphan).await?;
        }
        Ok(())
    }

    /// Removes left-overs of uploads that began more than `older_than` ago, whoever began them, as far as
    /// the store can list them. No upload may take that long.
    ///
    /// # Errors
    /// If the left-overs could not be listed; those that cannot be removed are only counted.
    pub async fn sweep(&self, older_than: Duration) -> Result<Swept, StoreError> {
        let age_ms = i64::try_from(older_than.as_millis()).unwrap_or(i64::MAX);
        let before_ms = self.inner.clock.wall_ms().saturating_sub(age_ms);
        let call = Call { operation: Operation::Sweep, key: "", bytes: 0, repeat: Repeat::Idempotent };
        let orphans = self.inner.attempts.run(call, |_| self.inner.backend.orphans(None, before_ms)).await?;
        let mut swept = Swept::default();
        for orphan in &orphans {
            match self.remove_orphan(orphan).await {
                Ok(()) => swept.removed += 1,
                Err(error) => {
                    warn!(%error, "a left-over upload stays for now");
                    swept.failed += 1;
                }
            }
        }
        if swept != Swept::default() {
            info!(
                store = self.url(),
                removed = swept.removed,
                failed = swept.failed,
                "swept left-over uploads"
            );
        }
        Ok(swept)
    }

    /// Counters since the store was opened.
    pub fn metrics(&self) -> StoreSnapshot {
        metrics::StoreSnapshot {
            upload_bytes_in_flight: self.inner.uploads.in_flight(),
            download_bytes_in_flight: self.inner.downloads.in_flight(),
            credentials_end_ms: self.inner.backend.credentials_end_ms(),
            ..self.inner.attempts.metrics.snapshot()
        }
    }

    async fn remove_orphan(&self, orphan: &Orphan) -> Result<(), StoreError> {
        let call =
            Call { operation: Operation::Sweep, key: &orphan.key, bytes: 0, repeat: Repeat::Idempotent };
        self.inner.attempts.run(call, |_| self.inner.backend.remove_orphan(orphan)).await?;
        self.inner.attempts.metrics.swept(1);
        Ok(())
    }

    /// A write ended with an unknown effect: looks whether the object is there and is ours.
    pub(crate) async fn resolve(
        &self,
        error: StoreError,
        size: u64,
        checksum: u32,
    ) -> Result<(), StoreError> {
        match self.is_ours(&error.key, size, checksum).await {
            Ok(true) => {
                info!(key = error.key, store = self.url(), "the lost answer was a success");
                Ok(())
            }
            Ok(false) => Err(StoreError { kind: ErrorKind::AlreadyExists, effect: Effect::None, ..error }),
            // Not there, or cannot be known: the attempt may still be on its way.
            Err(_) => Err(error),
        }
    }

    async fn is_ours(&self, key: &str, size: u64, checksum: u32) -> Result<bool, StoreError> {
        if self.head(key).await?.size != size {
            return Ok(false);
        }
        let mut sum = 0;
        let mut start = 0;
        while start < size {
            let end = size.min(start + COMPARE_BYTES);
            sum = crc32c::crc32c_append(sum, &self.get_range(key, start..end).await?);
            start = end;
        }
        Ok(sum == checksum)
    }

    pub(crate) fn checked(&self, call: Call<'_>, check: Result<(), Failure>) -> Result<(), StoreError> {
        check.map_err(|failure| self.inner.attempts.error(call, 0, failure))
    }
}

/// A read that came back short: the object is too short, or the connection was cut and it can be repeated.
fn whole(bytes: Bytes, expected: u64, too_short: Option<String>) -> Result<Bytes, Failure> {
    if let Some(detail) = too_short {
        return Err(Failure::none(ErrorKind::Truncated, detail));
    }
    if bytes.len() as u64 == expected {
        return Ok(bytes);
    }
    let detail = format!("{} of {expected} bytes arrived", bytes.len());
    Err(Failure::none(ErrorKind::Unavailable, detail))
}
