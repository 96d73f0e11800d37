use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::{AlignedBuf, BufferPool, DeviceFailure, DeviceInfo, DiskError};

/// One directory on one device, held by this process alone.
///
/// ```text
///   create ──> file of fixed length, reads as zeros ── write(position, blocks) ──> durable when the future resolves
///                                                   └─ read(position, length)
/// ```
///
/// Contract, kept by every engine and checked by one conformance suite:
///
/// - Names are plain file names. A created, renamed or removed file is so durably when the call returns.
/// - Positions and lengths are multiples of [`crate::BLOCK`]; anything else is a bug of the caller and panics.
/// - [`BlockFile::read`] and [`BlockFile::write`] start at the call, not at the first poll, and do not stop when the
///   future is dropped. They run at the same time and end in any order: who needs an order waits.
/// - A write is **durable** (through the device's cache) when its future resolves with `Ok`. Before that, and
///   after an error or a crash, each of its sectors may hold the old or the new bytes.
/// - The first failed or short write or sync kills the device: it and everything after it answers
///   [`DiskError::Dead`], for the life of the process. A failed read does not.
#[async_trait]
pub trait Disk: fmt::Debug + Send + Sync {
    /// What is known about the device, and how it is driven.
    fn info(&self) -> &DeviceInfo;

    /// Where the directory is, for messages.
    fn path(&self) -> PathBuf;

    /// Buffers that fit this disk.
    fn pool(&self) -> &BufferPool;

    /// The failure that ended the use of this device, if one did.
    fn failure(&self) -> Option<DeviceFailure>;

    /// All files but the engine's own, ordered by name.
    async fn list(&self) -> Result<Vec<FileEntry>, DiskError>;

    /// Bytes that the filesystem has left.
    async fn available(&self) -> Result<u64, DiskError>;

    /// A new file of `length` bytes, reserved on the device and reading as zeros.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] and [`DiskError::AlreadyExists`] leave nothing behind.
    async fn create(&self, name: &str, length: u64) -> Result<Arc<dyn BlockFile>, DiskError>;

    /// An existing file. Waits (bounded) for writes that a previous process left in flight.
    async fn open(&self, name: &str) -> Result<Arc<dyn BlockFile>, DiskError>;

    /// Gives a file another name, replacing a file of that name. An open handle stays valid.
    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file. An open handle stays valid until dropped.
    async fn remove(&self, name: &str) -> Result<(), DiskError>;
}

/// A file of fixed length, read and written in blocks. See [`Disk`] for the contract.
pub trait BlockFile: fmt::Debug + Send + Sync {
    /// Its length in bytes, a multiple of [`crate::BLOCK`].
    fn length(&self) -> u64;

    /// Where it is, for messages.
    fn path(&self) -> PathBuf;

    /// Reads exactly `length` bytes at `position`.
    fn read(&self, position: u64, length: usize) -> Pending<AlignedBuf>;

    /// Writes `blocks` at `position`, durably. The buffer may be shared (a mirror sends the same bytes).
    fn write(&self, position: u64, blocks: Arc<AlignedBuf>) -> Pending<()>;
}

/// A name in a [`Disk`]'s directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The plain file name.
    pub name: String,
    /// Length in bytes.
    pub length: u64,
}

/// An I/O under way. Dropping it neither stops nor undoes it.
pub struct Pending<T>(Inner<T>);

enum Inner<T> {
    Reply(oneshot::Receiver<Result<T, DiskError>>),
    Driven(Pin<Box<dyn Future<Output = Result<T, DiskError>> + Send>>),
}

impl<T> Pending<T> {
    /// A pending result and the hand that resolves it.
    pub(crate) fn new() -> (oneshot::Sender<Result<T, DiskError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(Inner::Reply(receiver)))
    }

    /// A result that `future` computes when polled.
    pub(crate) fn driven(future: impl Future<Output = Result<T, DiskError>> + Send + 'static) -> Self {
        Self(Inner::Driven(Box::pin(future)))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, DiskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Driven(future) => future.as_mut().poll(context),
            Inner::Reply(receiver) => Pin::new(receiver).poll(context).map(|reply| {
                // An engine answers every operation before its thread ends; only a panic in it does not.
                reply.unwrap_or_else(|_| {
                    Err(DeviceFailure::new("the I/O thread", "waiting for an answer", "the thread is gone")
                        .into())
                })
            }),
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

/// Both are whole blocks.
pub(crate) fn assert_aligned(position: u64, length: u64) {
    let block = crate::BLOCK as u64;
    assert!(
        position.is_multiple_of(block) && length.is_multiple_of(block) && length > 0,
        "{length} bytes at {position} are not whole blocks"
    );
}
