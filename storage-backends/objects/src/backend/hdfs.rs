mod failure;
mod ticket;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aquifer_runtime::Random;
use async_trait::async_trait;
use bytes::Bytes;
use hdfs_native::client::FileStatus;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use tracing::warn;
use url::Url;

use super::{Backend, Orphan, Page, Read, Session};
use crate::error::{ErrorKind, Failure};
use crate::key::STAGING;
use crate::metrics::Metrics;
use crate::options::HdfsOptions;
use crate::store::ObjectInfo;
use failure::failure;

/// The NameNode's default lower limit of a block size, and the step in which we size blocks.
const MIB: u64 = 1 << 20;
/// Block size of an upload whose length is not known.
const STREAM_BLOCK: u64 = 1 << 30;
/// Attempts with the full number of copies before a write becomes more modest.
const FULL_ATTEMPTS: u32 = 2;
/// Then this many attempts with one copy less, before the least number is tried.
const REDUCED_ATTEMPTS: u32 = 3;

/// A directory in HDFS. A file is written and closed below `.uploads/`, under a name that is new for
/// each attempt, and renamed to its place, which fails if that exists. So nobody ever reads an open file,
/// a failed pipeline leaves nothing under the key, and all left-overs are in one directory.
#[derive(Debug)]
pub(crate) struct HdfsBackend {
    files: Arc<Files>,
    random: Random,
    ticket_cache: Option<String>,
}

/// What the backend and its uploads share.
#[derive(Debug)]
struct Files {
    client: Client,
    /// The directory, without a slash at the end; empty for the root.
    root: String,
    replication: Option<u32>,
    least_replication: u32,
    block_size: Option<u64>,
    metrics: Arc<Metrics>,
    /// Streams that failed since one succeeded with all copies. A stream cannot be repeated, so the next one
    /// begins as modestly as a further attempt would.
    failed_streams: AtomicU32,
}

impl HdfsBackend {
    /// Does not contact the cluster. An error names the option that is wrong.
    pub(crate) fn open(
        url: &Url,
        options: &HdfsOptions,
        random: Random,
        metrics: Arc<Metrics>,
    ) -> Result<Self, (&'static str, String)> {
        let authority = url.authority().rsplit('@').next().unwrap_or_default();
        let mut builder = ClientBuilder::new()
            .with_url(format!("hdfs://{authority}"))
            .with_config(settings(authority, options));
        if let Some(directory) = &options.config_dir {
            builder = builder.with_config_dir(directory.to_string_lossy());
        }
        if let Some(user) = &options.user {
            builder = builder.with_user(user);
        }
        if let Some(principal) = &options.principal {
            builder = builder.with_kerberos_principal(principal);
        }
        if let Some(keytab) = &options.keytab {
            builder = builder.with_kerberos_keytab(keytab.to_string_lossy());
        }
        if let Some(cache) = &options.ticket_cache {
            builder = builder.with_kerberos_cache(cache);
        }
        let client = builder.build().map_err(|error| ("hdfs", failure(&error).detail))?;
        let files = Files {
            client,
            root: url.path().trim_end_matches('/').to_owned(),
            replication: options.replication,
            least_replication: options.least_replication.unwrap_or(1).max(1),
            block_size: options.block_size,
            metrics,
            failed_streams: AtomicU32::new(0),
        };
        Ok(Self { files: Arc::new(files), random, ticket_cache: options.ticket_cache.clone() })
    }

    fn staged(&self, key: &str) -> String {
        format!("{}/{}@{:016x}", self.files.staging(), key.replace('/', "@"), self.random.next_u64())
    }
}

/// The client's settings: ours first, the user's win.
fn settings(service: &str, options: &HdfsOptions) -> Vec<(String, String)> {
    let mut settings = vec![
        // A pipeline that loses a DataNode and finds no other goes on with those it has.
        ("dfs.client.block.write.replace-datanode-on-failure.best-effort".to_owned(), "true".to_owned()),
    ];
    if let Some(replication) = options.replication {
        settings.push(("dfs.replication".to_owned(), replication.to_string()));
    }
    if !options.namenodes.is_empty() {
        let names: Vec<String> = (1..=options.namenodes.len()).map(|i| format!("nn{i}")).collect();
        settings.push(("dfs.nameservices".to_owned(), service.to_owned()));
        settings.push((format!("dfs.ha.namenodes.{service}"), names.join(",")));
        for (name, address) in names.iter().zip(&options.namenodes) {
            settings.push((format!("dfs.namenode.rpc-address.{service}.{name}"), address.clone()));
        }
        settings.push((
            format!("dfs.client.failover.proxy.provider.{service}"),
            "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider".to_owned(),
        ));
    }
    settings.extend(options.settings.iter().cloned());
    settings
}

impl Files {
    fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }

    fn staging(&self) -> String {
        format!("{}/{STAGING}", self.root)
    }

    fn own(&self, path: &str) -> Option<String> {
        path.strip_prefix(&self.root)?.strip_prefix('/').map(str::to_owned)
    }

    /// How many copies the `attempt`th try asks for; None is the cluster's default. A DataNode that is
    /// dead but not yet known to be fails every pipeline that includes it: fewer copies miss it sooner.
    fn copies(&self, attempt: u32) -> Option<u32> {
        // Without a configured number HDFS's own default is the best guess to go down from.
        const DEFAULT_COPIES: u32 = 3;
        let full = self.replication.unwrap_or(DEFAULT_COPIES);
        match attempt {
            0..FULL_ATTEMPTS => self.replication,
            _ if attempt < FULL_ATTEMPTS + REDUCED_ATTEMPTS => Some((full - 1).max(self.least_replication)),
            _ => Some(self.least_replication.min(full)),
        }
    }

    async fn create(&self, staged: &str, attempt: u32, block_size: u64) -> Result<FileWriter, HdfsError> {
        let mut options = WriteOptions::default().block_size(block_size);
        if let Some(copies) = self.copies(attempt) {
            options = options.replication(copies);
        }
        self.client.create(staged, options).await
    }

    /// Gives the closed file its name, unless that is taken.
    async fn publish(&self, staged: &str, key: &str, attempt: u32) -> Result<(), Failure> {
        let path = self.path(key);
        match self.client.rename(staged, &path, false).await {
            Ok(()) => {}
            // HDFS does not create the directories of a rename's target; we do when they turn out to be missing.
            Err(error) if failure(&error).kind == ErrorKind::NotFound => {
                let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
                self.client.mkdirs(directory, 0o755, true).await.map_err(|error| failure(&error))?;
                self.client.rename(staged, &path, false).await.map_err(|error| failure(&error))?;
            }
            Err(error) => return Err(failure(&error)),
        }
        if attempt >= FULL_ATTEMPTS {
            self.restore_copies(&path, attempt).await;
        }
        Ok(())
    }

    /// Asks for the full number of copies again; the NameNode makes them when it has the DataNodes.
    async fn restore_copies(&self, path: &str, attempt: u32) {
        self.metrics.reduced_write();
        let full = match self.replication {
            Some(full) => full,
            // The staging directory holds no file of the default replication to ask; HDFS's own default.
            None => self.copies(FULL_ATTEMPTS).map_or(1, |reduced| reduced + 1),
        };
        let written = self.copies(attempt);
        match self.client.set_replication(path, full).await {
            Ok(_) => warn!(
                path,
                ?written,
                full,
                "written with fewer copies because DataNodes failed; asked for all"
            ),
            Err(error) => warn!(
                path,
                ?written,
                full,
                error = failure(&error).detail,
                "written with fewer copies because DataNodes failed; ask for all: hdfs dfs -setrep",
            ),
        }
    }

    async fn remove(&self, path: &str) -> Result<(), Failure> {
        match self.client.delete(path, false).await.map_err(|error| failure(&error)) {
            Err(failure) if failure.kind != ErrorKind::NotFound => Err(failure),
            _ => Ok(()),
        }
    }

    async fn files_below(&self, directory: &str) -> Result<Vec<FileStatus>, Failure> {
        match self.client.list_status(directory, true).await {
            Ok(statuses) => Ok(statuses.into_iter().filter(|status| !status.isdir).collect()),
            Err(error) => match failure(&error) {
                absent if absent.kind == ErrorKind::NotFound => Ok(Vec::new()),
                failure => Err(failure.of_read()),
            },
        }
    }
}

/// The smallest block that holds `bytes`, so that the NameNode is asked for one block only.
fn one_block(bytes: u64) -> u64 {
    bytes.next_multiple_of(MIB).max(MIB)
}

fn info(key: String, status: &FileStatus) -> ObjectInfo {
    ObjectInfo {
        key,
        size: status.length as u64,
        modified_ms: i64::try_from(status.modification_time).unwrap_or(i64::MAX),
    }
}

/// Nothing is visible under the key before the rename, so whatever failed earlier had no effect.
fn before_rename(error: &HdfsError) -> Failure {
    let mut failure = failure(error).of_read();
    if failure.kind == ErrorKind::NotFound || failure.kind == ErrorKind::AlreadyExists {
        // Of the staged file, not of the key: somebody swept it, or the lease was lost.
        failure.kind = ErrorKind::Unavailable;
    }
    failure
}

#[async_trait]
impl Backend for HdfsBackend {
    async fn put_new(&self, key: &str, parts: &[Bytes], attempt: u32) -> Result<(), Failure> {
        let (files, staged) = (&self.files, self.staged(key));
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let write = async {
            // A taken key is cheaper to find before the data is sent than after.
            match files.client.get_file_info(&files.path(key)).await {
                Ok(_) => return Ok(false),
                Err(HdfsError::FileNotFound(_)) => {}
                Err(error) => return Err(error),
            }
            let block_size = files.block_size.unwrap_or_else(|| one_block(bytes));
            let mut writer = files.create(&staged, attempt, block_size).await?;
            for part in parts {
                Box::pin(writer.write_bytes(part.clone())).await?;
            }
            Box::pin(writer.close()).await?;
            Ok(true)
        };
        let written = match write.await.map_err(|error| before_rename(&error)) {
            Ok(true) => files.publish(&staged, key, attempt).await,
            Ok(false) => return Err(Failure::none(ErrorKind::AlreadyExists, "")),
            Err(failure) => Err(failure),
        };
        if let Err(error) = &written
            && error.effect == crate::Effect::None
        {
            // Tidy at once if that is easy; the sweep finds it otherwise.
            let _ = files.remove(&staged).await;
        }
        written
    }

    async fn begin(&self, key: &str, attempt: u32) -> Result<Arc<dyn Session>, Failure> {
        let (files, staged) = (Arc::clone(&self.files), self.staged(key));
        let attempt = attempt.max(files.failed_streams.load(Ordering::Relaxed));
        let block_size = files.block_size.unwrap_or(STREAM_BLOCK);
        let writer =
            files.create(&staged, attempt, block_size).await.map_err(|error| before_rename(&error))?;
        Ok(Arc::new(HdfsSession {
            files,
            staged,
            key: key.to_owned(),
            attempt,
            writer: Mutex::new(Some(writer)),
            closed: AtomicBool::new(false),
        }))
    }

    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Read, Failure> {
        let reader =
            self.files.client.read(&self.files.path(key)).await.map_err(|error| failure(&error).of_read())?;
        let object_size = reader.file_length() as u64;
        let range = range.unwrap_or(0..object_size);
        // The client panics on a range past the end.
        if range.end > object_size {
            return Ok(Read { bytes: Bytes::new(), object_size });
        }
        let too_large = |_| Failure::none(ErrorKind::Invalid, "the range does not fit into memory");
        let start = usize::try_from(range.start).map_err(too_large)?;
        let length = usize::try_from(range.end - range.start).map_err(too_large)?;
        let bytes = reader.read_range(start, length).await.map_err(|error| failure(&error).of_read())?;
        Ok(Read { bytes, object_size })
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, Failure> {
        match self.files.client.get_file_info(&self.files.path(key)).await {
            Ok(status) if status.isdir => Err(Failure::none(ErrorKind::NotFound, "it is a directory")),
            Ok(status) => Ok(info(key.to_owned(), &status)),
            Err(error) => Err(failure(&error).of_read()),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.files.remove(&self.files.path(key)).await
    }

    async fn list(&self, prefix: &str, _after: Option<&str>) -> Result<Page, Failure> {
        let directory = if prefix.is_empty() { self.files.root.clone() } else { self.files.path(prefix) };
        let directory = if directory.is_empty() { "/" } else { &directory };
        let statuses = self.files.files_below(directory).await?;
        let keys = statuses.iter().filter_map(|status| Some((self.files.own(&status.path)?, status)));
        let objects = keys
            .filter(|(key, _)| crate::key::check(key).is_ok())
            .map(|(key, status)| info(key, status))
            .collect();
        Ok(Page { objects, more: false })
    }

    async fn orphans(&self, key: Option<&str>, before_ms: i64) -> Result<Vec<Orphan>, Failure> {
        let statuses = self.files.files_below(&self.files.staging()).await?;
        let old = statuses.into_iter().filter(|status| info(String::new(), status).modified_ms < before_ms);
        Ok(old
            .filter_map(|status| {
                let name = status.path.rsplit_once('/')?.1;
                let staged_for = name.rsplit_once('@')?.0.replace('@', "/");
                Some(Orphan { key: staged_for, handle: status.path })
            })
            .filter(|orphan| key.is_none_or(|key| orphan.key == key))
            .collect())
    }

    async fn remove_orphan(&self, orphan: &Orphan) -> Result<(), Failure> {
        self.files.remove(&orphan.handle).await
    }

    fn credentials_end_ms(&self) -> Option<i64> {
        ticket::end_ms(self.ticket_cache.as_deref()?)
    }
}

struct HdfsSession {
    files: Arc<Files>,
    staged: String,
    key: String,
    attempt: u32,
    /// Taken while a part is written; it stays away if that fails or is given up, because a writer that
    /// lost its pipeline cannot be trusted with another byte.
    writer: Mutex<Option<FileWriter>>,
    closed: AtomicBool,
}

impl HdfsSession {
    fn take(&self) -> Option<FileWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for HdfsSession {
    /// A stream that ends before its file is closed has failed: by an error, or by a call that never
    /// returned and was given up.
    fn drop(&mut self) {
        if !*self.closed.get_mut() {
            // More than the last step has no meaning.
            let more = |failed: u32| (failed < FULL_ATTEMPTS + REDUCED_ATTEMPTS).then_some(failed + 1);
            let _ = self.files.failed_streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

impl std::fmt::Debug for HdfsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HdfsSession").field("staged", &self.staged).finish_non_exhaustive()
    }
}

#[async_trait]
impl Session for HdfsSession {
    fn parallel(&self) -> usize {
        1
    }

    async fn part(&self, _index: u32, pieces: &[Bytes]) -> Result<(), Failure> {
        let mut writer =
            self.take().ok_or_else(|| Failure::none(ErrorKind::Invalid, "this upload has failed before"))?;
        for piece in pieces {
            Box::pin(writer.write_bytes(piece.clone())).await.map_err(|error| before_rename(&error))?;
        }
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }

    async fn complete(&self) -> Result<(), Failure> {
        if let Some(mut writer) = self.take() {
            Box::pin(writer.close()).await.map_err(|error| before_rename(&error))?;
            self.closed.store(true, Ordering::Release);
            // One step back towards all copies; from there a stream has two failures again.
            let less = |failed: u32| failed.checked_sub(1);
            let _ = self.files.failed_streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        // On a second attempt only the rename may be missing. A file whose close failed or was given up is
        // not published: it may be short, and no attempt can bring back what was streamed.
        if !self.closed.load(Ordering::Acquire) {
            return Err(Failure::none(
                ErrorKind::Invalid,
                "the file could not be closed: start the upload again",
            ));
        }
        self.files.publish(&self.staged, &self.key, self.attempt).await
    }

    async fn abort(&self) -> Result<(), Failure> {
        drop(self.take());
        self.files.remove(&self.staged).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_gets_one_block() {
        assert_eq!(one_block(0), MIB);
        assert_eq!(one_block(MIB), MIB);
        assert_eq!(one_block(MIB + 1), 2 * MIB);
    }

    #[test]
    fn a_name_service_is_described_by_its_namenodes() {
        let options = HdfsOptions { namenodes: vec!["a:1".into(), "b:2".into()], ..HdfsOptions::default() };
        let settings = settings("ns", &options);
        let has = |key: &str, value: &str| settings.iter().any(|(k, v)| k == key && v == value);
        assert!(has("dfs.ha.namenodes.ns", "nn1,nn2"));
        assert!(has("dfs.namenode.rpc-address.ns.nn2", "b:2"));
    }
}
