use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;
use std::{fs, io};

use aquifer_runtime::Random;
use async_trait::async_trait;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode};

use super::{Backend, Orphan, Page, Read, Session, object};
use crate::error::{ErrorKind, Failure};
use crate::key::STAGING;
use crate::store::ObjectInfo;

/// A directory. An object is written beside its place under a name with `#`, synced, linked to its own
/// name, which fails if that exists, and the directory is synced; a streamed one is staged below
/// `.uploads/`.
#[derive(Debug)]
pub(crate) struct FileBackend {
    files: Arc<LocalFileSystem>,
    root: PathBuf,
    random: Random,
}

impl FileBackend {
    /// Opens the directory, creating it if it is absent.
    pub(crate) fn open(root: &Path, random: Random) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let files = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?.with_fsync(true);
        Ok(Self { files: Arc::new(files), root, random })
    }
}

#[async_trait]
impl Backend for FileBackend {
    async fn put_new(&self, key: &str, parts: &[Bytes], _attempt: u32) -> Result<(), Failure> {
        let put =
            self.files.put_opts(&object::path(key), object::payload(parts), PutMode::Create.into()).await;
        put.map(drop).map_err(|error| object::failure(&error))
    }

    async fn begin(&self, key: &str, _attempt: u32) -> Result<Arc<dyn Session>, Failure> {
        let staged = format!("{STAGING}/{}@{:016x}", key.replace('/', "@"), self.random.next_u64());
        let upload = self
            .files
            .put_multipart(&object::path(&staged))
            .await
            .map_err(|error| object::failure(&error))?;
        Ok(Arc::new(FileSession {
            files: Arc::clone(&self.files),
            staged,
            key: key.to_owned(),
            upload: Mutex::new(Some(upload)),
        }))
    }

    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Read, Failure> {
        object::read(&*self.files, key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, Failure> {
        object::head(&*self.files, key).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        object::delete(&*self.files, key).await?;
        let directory = self.root.join(key).parent().map(Path::to_owned).unwrap_or_else(|| self.root.clone());
        blocking(move || match fs::File::open(directory) {
            Ok(directory) => directory.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }

    async fn list(&self, prefix: &str, _after: Option<&str>) -> Result<Page, Failure> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        let objects = blocking(move || {
            let mut objects = Vec::new();
            walk(&root, &root.join(prefix), &mut |key, metadata| {
                if !is_staged(&key) {
                    objects.push(ObjectInfo {
                        key,
                        size: metadata.len(),
                        modified_ms: modified_ms(metadata),
                    });
                }
            })?;
            Ok(objects)
        })
        .await?;
        Ok(Page { objects, more: false })
    }

    async fn orphans(&self, key: Option<&str>, before_ms: i64) -> Result<Vec<Orphan>, Failure> {
        let (root, only) = (self.root.clone(), key.map(str::to_owned));
        blocking(move || {
            let mut orphans = Vec::new();
            walk(&root, &root, &mut |handle, metadata| {
                if is_staged(&handle) && modified_ms(metadata) < before_ms {
                    let key = key_of_staged(&handle);
                    if only.as_ref().is_none_or(|only| *only == key) {
                        orphans.push(Orphan { key, handle });
                    }
                }
            })?;
            Ok(orphans)
        })
        .await
    }

    async fn remove_orphan(&self, orphan: &Orphan) -> Result<(), Failure> {
        let path = self.root.join(&orphan.handle);
        blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }
}

/// The library stages `name` as `name#1`; we stage streams below `.uploads/`. Neither is a valid key.
fn is_staged(key: &str) -> bool {
    key.contains('#') || key.starts_with(STAGING)
}

/// `a/b#1` was for `a/b`; `.uploads/a@b@0123456789abcdef#1` too. Keys have no `@`.
fn key_of_staged(handle: &str) -> String {
    let name = handle.split('#').next().unwrap_or(handle);
    match name.strip_prefix(STAGING).and_then(|name| name.strip_prefix('/')) {
        Some(flat) => flat.rsplit_once('@').map_or(flat, |(key, _)| key).replace('@', "/"),
        None => name.to_owned(),
    }
}

fn modified_ms(metadata: &fs::Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Visits every file below `directory`; what vanishes meanwhile is skipped.
fn walk(root: &Path, directory: &Path, visit: &mut impl FnMut(String, &fs::Metadata)) -> io::Result<()> {
    let absent =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let entries = match fs::read_dir(directory) {
        Err(error) if absent(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if absent(&error) => continue,
            metadata => metadata?,
        };
        let path = entry.path();
        if metadata.is_dir() {
            walk(root, &path, visit)?;
        } else if let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            visit(key.to_owned(), &metadata);
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| object::io_failure(&error, &error.to_string())),
        Err(error) => Err(Failure::unknown(ErrorKind::Unavailable, error.to_string())),
    }
}

#[derive(Debug)]
struct FileSession {
    files: Arc<LocalFileSystem>,
    staged: String,
    key: String,
    /// Taken while a part is written; it stays away if that fails or is given up.
    upload: Mutex<Option<Box<dyn MultipartUpload>>>,
}

impl FileSession {
    fn take(&self) -> Option<Box<dyn MultipartUpload>> {
        self.upload.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Session for FileSession {
    fn parallel(&self) -> usize {
        1
    }

    async fn part(&self, _index: u32, bytes: Bytes) -> Result<(), Failure> {
        let mut upload =
            self.take().ok_or_else(|| Failure::none(ErrorKind::Invalid, "this upload has failed before"))?;
        upload.put_part(bytes.into()).await.map_err(|error| object::failure(&error))?;
        *self.upload.lock().unwrap_or_else(PoisonError::into_inner) = Some(upload);
        Ok(())
    }

    async fn complete(&self) -> Result<(), Failure> {
        // On a second attempt the staged file is complete, and only the last step may be missing.
        if let Some(mut upload) = self.take() {
            upload.complete().await.map_err(|error| object::failure(&error))?;
        }
        let (from, to) = (object::path(&self.staged), object::path(&self.key));
        self.files.rename_if_not_exists(&from, &to).await.map_err(|error| object::failure(&error))
    }

    async fn abort(&self) -> Result<(), Failure> {
        if let Some(mut upload) = self.take() {
            upload.abort().await.map_err(|error| object::failure(&error))?;
        }
        object::delete(&*self.files, &self.staged).await
    }
}
