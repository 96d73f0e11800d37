use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, PutMode};

use super::{Backend, Orphan, Page, Read, Session, object};
use crate::error::Failure;
use crate::store::ObjectInfo;

/// Objects in this process's memory, gone with it. For tests and simulations.
#[derive(Debug, Default)]
pub(crate) struct MemoryBackend {
    objects: Arc<InMemory>,
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn put_new(&self, key: &str, parts: &[Bytes], _attempt: u32) -> Result<(), Failure> {
        put_new(&self.objects, key, parts).await
    }

    async fn begin(&self, key: &str, _attempt: u32) -> Result<Arc<dyn Session>, Failure> {
        let (objects, key) = (Arc::clone(&self.objects), key.to_owned());
        Ok(Arc::new(MemorySession { objects, key, parts: Mutex::default() }))
    }

    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Read, Failure> {
        object::read(&*self.objects, key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, Failure> {
        object::head(&*self.objects, key).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        object::delete(&*self.objects, key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Failure> {
        object::list(&*self.objects, prefix, after).await
    }

    async fn orphans(&self, _key: Option<&str>, _before_ms: i64) -> Result<Vec<Orphan>, Failure> {
        Ok(Vec::new())
    }

    async fn remove_orphan(&self, _orphan: &Orphan) -> Result<(), Failure> {
        Ok(())
    }
}

async fn put_new(objects: &InMemory, key: &str, parts: &[Bytes]) -> Result<(), Failure> {
    let put = objects.put_opts(&object::path(key), object::payload(parts), PutMode::Create.into()).await;
    put.map(drop).map_err(|error| object::failure(&error))
}

#[derive(Debug)]
struct MemorySession {
    objects: Arc<InMemory>,
    key: String,
    parts: Mutex<BTreeMap<u32, Vec<Bytes>>>,
}

#[async_trait]
impl Session for MemorySession {
    fn parallel(&self) -> usize {
        2
    }

    async fn part(&self, index: u32, pieces: &[Bytes]) -> Result<(), Failure> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(index, pieces.to_vec());
        Ok(())
    }

    async fn complete(&self) -> Result<(), Failure> {
        let parts: Vec<Bytes> =
            self.parts.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect();
        put_new(&self.objects, &self.key, &parts).await
    }

    async fn abort(&self) -> Result<(), Failure> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}
