//! A process's side of a [`SimulatedStore`].

use std::collections::BTreeMap;
use std::future::pending;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::time::sleep_until;

use super::{Backend, Orphan, Page, Read, Session};
use crate::error::{ErrorKind, Failure};
use crate::simulated::{Fate, SimulatedStore, Write};
use crate::store::ObjectInfo;

/// Objects in one page of a listing, as with S3.
const PAGE: usize = 1000;

/// The store as one process reaches it.
#[derive(Debug)]
pub(crate) struct SimulatedBackend {
    store: SimulatedStore,
    process: u64,
}

impl SimulatedBackend {
    pub(crate) fn new(store: SimulatedStore, process: u64) -> Self {
        Self { store, process }
    }

    /// A request that only reads: waits as long as the answer takes.
    async fn ask(&self) -> Result<(), Failure> {
        match self.store.request(self.process) {
            Fate::Refused => Err(Failure::none(ErrorKind::Unavailable, "simulated refusal")),
            Fate::Silent => pending().await,
            Fate::Arrives { at, answered } => {
                sleep_until(at).await;
                if answered { Ok(()) } else { pending().await }
            }
        }
    }

    async fn write(&self, write: Write) -> Result<(), Failure> {
        match self.store.request(self.process) {
            Fate::Refused => Err(Failure::none(ErrorKind::Unavailable, "simulated refusal")),
            Fate::Silent => pending().await,
            Fate::Arrives { at, answered } => {
                // From here on it happens, whether or not somebody waits for it.
                let result = self.store.issue(at, write);
                sleep_until(at).await;
                self.store.settle();
                if !answered || self.store.is_dead(self.process) {
                    return pending().await;
                }
                result.lock().unwrap_or_else(PoisonError::into_inner).take().expect("its time has come")
            }
        }
    }
}

fn not_found(key: &str) -> Failure {
    Failure::none(ErrorKind::NotFound, format!("no object {key}"))
}

#[async_trait]
impl Backend for SimulatedBackend {
    async fn put_new(&self, key: &str, parts: &[Bytes], _attempt: u32) -> Result<(), Failure> {
        let mut bytes = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        self.write(Write::Put { key: key.to_owned(), bytes: bytes.freeze() }).await
    }

    async fn begin(&self, key: &str, _attempt: u32) -> Result<Arc<dyn Session>, Failure> {
        self.ask().await?;
        let backend = Self::new(self.store.clone(), self.process);
        Ok(Arc::new(SimulatedSession { backend, key: key.to_owned(), parts: Mutex::default() }))
    }

    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Read, Failure> {
        self.ask().await?;
        let (bytes, _) = self.store.object(key).ok_or_else(|| not_found(key))?;
        let object_size = bytes.len() as u64;
        let range = range.unwrap_or(0..object_size);
        let (start, end) = (range.start.min(object_size) as usize, range.end.min(object_size) as usize);
        Ok(Read { bytes: bytes.slice(start..end), object_size })
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, Failure> {
        self.ask().await?;
        let (bytes, modified_ms) = self.store.object(key).ok_or_else(|| not_found(key))?;
        Ok(ObjectInfo { key: key.to_owned(), size: bytes.len() as u64, modified_ms })
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.write(Write::Delete { key: key.to_owned() }).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Failure> {
        self.ask().await?;
        let mut objects = self.store.list(prefix, after);
        let more = objects.len() > PAGE;
        objects.truncate(PAGE);
        Ok(Page { objects, more })
    }

    async fn orphans(&self, _key: Option<&str>, _before_ms: i64) -> Result<Vec<Orphan>, Failure> {
        self.ask().await.map(|()| Vec::new())
    }

    async fn remove_orphan(&self, _orphan: &Orphan) -> Result<(), Failure> {
        self.ask().await
    }
}

/// Parts are kept by the process and sent with the last word.
#[derive(Debug)]
struct SimulatedSession {
    backend: SimulatedBackend,
    key: String,
    parts: Mutex<BTreeMap<u32, Vec<Bytes>>>,
}

#[async_trait]
impl Session for SimulatedSession {
    fn parallel(&self) -> usize {
        2
    }

    async fn part(&self, index: u32, pieces: &[Bytes]) -> Result<(), Failure> {
        self.backend.ask().await?;
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(index, pieces.to_vec());
        Ok(())
    }

    async fn complete(&self) -> Result<(), Failure> {
        let parts: Vec<Bytes> =
            self.parts.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect();
        self.backend.put_new(&self.key, &parts, 0).await
    }

    async fn abort(&self) -> Result<(), Failure> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}
