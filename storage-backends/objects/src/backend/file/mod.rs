mod direct;
mod staged;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;
use std::{fs, io, mem};

use aquifer_runtime::Random;
use async_trait::async_trait;
use bytes::Bytes;
use object_store::local::LocalFileSystem;

use self::staged::{Buffers, Sealed, Staged};
use super::{Backend, Orphan, Page, Read, Session, object};
use crate::error::{ErrorKind, Failure};
use crate::store::ObjectInfo;

/// Reads from this size on pass the page cache by.
const DIRECT_READ_BYTES: u64 = 128 << 10;

/// A directory. An object is written beside its place under a name with `#`, synced, linked to its own
/// name, which fails if that exists, and the directory is synced.
#[derive(Debug)]
pub(crate) struct FileBackend {
    /// Small reads and deletes; all else passes the page cache by, which it cannot.
    files: LocalFileSystem,
    root: PathBuf,
    random: Random,
    buffers: Arc<Buffers>,
}

impl FileBackend {
    /// Opens the directory, creating it if it is absent.
    pub(crate) fn open(root: &Path, random: Random) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let files = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?;
        Ok(Self { files, root, random, buffers: Arc::default() })
    }

    /// A temporary name for `key`, which is no valid key.
    fn staged(&self, key: &str) -> PathBuf {
        self.root.join(format!("{key}#{:016x}", self.random.next_u64()))
    }
}

#[async_trait]
impl Backend for FileBackend {
    async fn put_new(&self, key: &str, parts: &[Bytes], _attempt: u32) -> Result<(), Failure> {
        let (staged, name) = (self.staged(key), self.root.join(key));
        let (parts, buffers) = (parts.to_vec(), Arc::clone(&self.buffers));
        blocking(move || {
            let written = || {
                let mut file = Staged::create(staged.clone(), &buffers)?;
                file.write_all(&parts)?;
                file.seal(&buffers)?.publish(&name)
            };
            // What stays is swept; better is not to fill a full disk until then.
            written().inspect_err(|_| drop(fs::remove_file(&staged)))
        })
        .await
    }

    async fn begin(&self, key: &str, _attempt: u32) -> Result<Arc<dyn Session>, Failure> {
        let (staged, buffers) = (self.staged(key), Arc::clone(&self.buffers));
        let path = staged.clone();
        let file = blocking(move || Staged::create(path, &buffers)).await?;
        Ok(Arc::new(FileSession {
            staged,
            name: self.root.join(key),
            buffers: Arc::clone(&self.buffers),
            state: Mutex::new(State::Open(file)),
        }))
    }

    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Read, Failure> {
        match range {
            Some(range) if range.end - range.start >= DIRECT_READ_BYTES => {
                let path = self.root.join(key);
                let (bytes, object_size) = blocking(move || direct::read(&path, range)).await?;
                Ok(Read { bytes, object_size })
            }
            // Small ones are indexes: their neighbours are read soon.
            range => object::read(&self.files, key, range).await,
        }
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, Failure> {
        object::head(&self.files, key).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        object::delete(&self.files, key).await?;
        let directory = self.root.join(key).parent().map(Path::to_owned).unwrap_or_else(|| self.root.clone());
        blocking(move || match staged::sync_directory(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
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

/// `a/b#0123456789abcdef` is written for `a/b`. No key has a `#`.
fn is_staged(name: &str) -> bool {
    name.contains('#')
}

fn key_of_staged(handle: &str) -> String {
    handle.split('#').next().unwrap_or(handle).to_owned()
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
    staged: PathBuf,
    name: PathBuf,
    buffers: Arc<Buffers>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Open(Staged),
    /// Complete, and perhaps published.
    Sealed(Sealed),
    /// Something is under way, has failed, or was given up.
    Unusable,
}

impl FileSession {
    fn take(&self) -> State {
        mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Unusable)
    }

    fn put_back(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

fn failed_before() -> Failure {
    Failure::none(ErrorKind::Invalid, "this upload has failed before")
}

#[async_trait]
impl Session for FileSession {
    fn parallel(&self) -> usize {
        1
    }

    async fn part(&self, _index: u32, pieces: &[Bytes]) -> Result<(), Failure> {
        let State::Open(mut file) = self.take() else { return Err(failed_before()) };
        let pieces = pieces.to_vec();
        let file = blocking(move || file.write_all(&pieces).map(|()| file)).await?;
        self.put_back(State::Open(file));
        Ok(())
    }

    async fn complete(&self) -> Result<(), Failure> {
        let sealed = match self.take() {
            State::Open(file) => {
                let buffers = Arc::clone(&self.buffers);
                blocking(move || file.seal(&buffers)).await?
            }
            // A second attempt: only the last step may be missing.
            State::Sealed(sealed) => sealed,
            State::Unusable => return Err(failed_before()),
        };
        self.put_back(State::Sealed(sealed.clone()));
        let name = self.name.clone();
        blocking(move || sealed.publish(&name)).await
    }

    async fn abort(&self) -> Result<(), Failure> {
        drop(self.take());
        let staged = self.staged.clone();
        blocking(move || match fs::remove_file(staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }
}
