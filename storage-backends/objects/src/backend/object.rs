//! What the backends over `object_store` share: translation of its types and errors.

use std::error::Error as StdError;
use std::io;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, PutPayload};

use super::{Page, Read};
use crate::error::{ErrorKind, Failure};
use crate::store::ObjectInfo;

/// Keys per page of a listing: what S3 returns at once.
const PAGE: usize = 1000;

pub(crate) fn path(key: &str) -> Path {
    Path::from(key)
}

pub(crate) fn payload(parts: &[Bytes]) -> PutPayload {
    parts.iter().cloned().collect()
}

pub(crate) fn info(meta: ObjectMeta) -> ObjectInfo {
    ObjectInfo {
        key: meta.location.as_ref().to_owned(),
        size: meta.size,
        modified_ms: meta.last_modified.timestamp_millis(),
    }
}

/// An HTTP answer that is not a success, as our connector hands it through `object_store`, which would
/// otherwise keep the status to itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub(crate) struct HttpFailure {
    pub(crate) status: u16,
    /// S3's error code, such as `SlowDown`.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Translates an error; its effect is what a write's would be.
pub(crate) fn failure(error: &object_store::Error) -> Failure {
    use object_store::Error;
    let detail = deepest(error);
    match error {
        Error::NotFound { .. } => Failure::none(ErrorKind::NotFound, detail),
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => {
            Failure::none(ErrorKind::AlreadyExists, "")
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Failure::none(ErrorKind::Denied, detail)
        }
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => Failure::none(ErrorKind::Invalid, detail),
        _ => find::<HttpFailure>(error)
            .map(http_failure)
            .or_else(|| find::<HttpError>(error).map(|http| transport_failure(http, &detail)))
            .or_else(|| find::<io::Error>(error).map(|io| io_failure(io, &detail)))
            .unwrap_or_else(|| Failure::unknown(ErrorKind::Unavailable, detail)),
    }
}

/// Translates an error of a request that did not go through `object_store`.
pub(crate) fn http_error(error: &HttpError) -> Failure {
    match find::<HttpFailure>(error) {
        Some(http) => http_failure(http),
        None => transport_failure(error, &deepest(error)),
    }
}

fn http_failure(http: &HttpFailure) -> Failure {
    match (http.status, http.code.as_str()) {
        // A store that says "slow down" has refused; AWS uses 503 for nothing else.
        (429, _) | (503, _) | (_, "SlowDown" | "SlowDownRead" | "SlowDownWrite") => {
            Failure::none(ErrorKind::Throttled, http.to_string())
        }
        (507, _) | (_, "XMinioStorageFull" | "QuotaExceeded" | "XMinioAdminBucketQuotaExceeded") => {
            Failure::none(ErrorKind::Full, http.to_string())
        }
        (401 | 403, _) => Failure::none(ErrorKind::Denied, http.to_string()),
        (416, _) => Failure::none(ErrorKind::Truncated, http.to_string()),
        // 409 under a conditional request: another one for this key is on its way. The next try will see.
        (408 | 409 | 425, _) => Failure::unknown(ErrorKind::Unavailable, http.to_string()),
        (400..500, _) => Failure::none(ErrorKind::Invalid, http.to_string()),
        _ => Failure::unknown(ErrorKind::Unavailable, http.to_string()),
    }
}

fn transport_failure(http: &HttpError, detail: &str) -> Failure {
    match http.kind() {
        HttpErrorKind::Connect if is_untrusted(http) => Failure::none(ErrorKind::Untrusted, detail),
        HttpErrorKind::Connect => Failure::none(ErrorKind::Unavailable, format!("cannot connect: {detail}")),
        HttpErrorKind::Timeout => Failure::unknown(ErrorKind::Timeout, detail),
        _ => Failure::unknown(ErrorKind::Unavailable, detail),
    }
}

/// Whether the handshake failed for the peer's certificate, which no retry mends.
fn is_untrusted(error: &HttpError) -> bool {
    let mut io_errors = chain(error).filter_map(|error| error.downcast_ref::<io::Error>());
    io_errors.any(|error| matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(_))))
}

/// The handshake's error, which lies in one or more I/O errors that do not name it as their source.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| tls_error(inner.downcast_ref::<io::Error>()?))
}

/// A failure of the local file system.
pub(crate) fn io_failure(error: &io::Error, detail: &str) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::none(ErrorKind::NotFound, detail),
        io::ErrorKind::AlreadyExists => Failure::none(ErrorKind::AlreadyExists, ""),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Failure::none(ErrorKind::Denied, detail)
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Failure::none(ErrorKind::Full, detail)
        }
        _ => Failure::unknown(ErrorKind::Unavailable, detail),
    }
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

/// The innermost error says what happened; the outer ones repeat it with our own key and URL.
fn deepest(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Reads a range or everything.
pub(crate) async fn read(
    store: &dyn ObjectStore,
    key: &str,
    range: Option<std::ops::Range<u64>>,
) -> Result<Read, Failure> {
    let options = GetOptions { range: range.clone().map(GetRange::Bounded), ..GetOptions::default() };
    let result = match store.get_opts(&path(key), options).await {
        Ok(result) => result,
        // A range that starts past the end is a 416, or a generic error whose source is private: look.
        Err(error) => {
            let failure = failure(&error);
            if let (Some(range), ErrorKind::Unavailable | ErrorKind::Truncated) = (range, failure.kind) {
                let size = head(store, key).await?.size;
                if range.end > size {
                    return Ok(Read { bytes: Bytes::new(), object_size: size });
                }
            }
            return Err(failure);
        }
    };
    let object_size = result.meta.size;
    // A file is read by one call on a blocking thread; the stream would take one per 8 KiB.
    let bytes = result.bytes().await.map_err(|error| failure(&error))?;
    Ok(Read { bytes, object_size })
}

pub(crate) async fn head(store: &dyn ObjectStore, key: &str) -> Result<ObjectInfo, Failure> {
    let options = GetOptions { head: true, ..GetOptions::default() };
    store.get_opts(&path(key), options).await.map(|result| info(result.meta)).map_err(|error| failure(&error))
}

pub(crate) async fn delete(store: &dyn ObjectStore, key: &str) -> Result<(), Failure> {
    let location = path(key);
    let mut results = store.delete_stream(futures::stream::iter([Ok(location)]).boxed());
    match results.next().await {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(error)) => match failure(&error) {
            absent if absent.kind == ErrorKind::NotFound => Ok(()),
            failure => Err(failure),
        },
    }
}

pub(crate) async fn list(
    store: &dyn ObjectStore,
    prefix: &str,
    after: Option<&str>,
) -> Result<Page, Failure> {
    let prefix = (!prefix.is_empty()).then(|| path(prefix));
    let objects = match after {
        Some(after) => store.list_with_offset(prefix.as_ref(), &path(after)),
        None => store.list(prefix.as_ref()),
    };
    let objects: Vec<_> =
        objects.take(PAGE).map_ok(info).try_collect().await.map_err(|error| failure(&error))?;
    let more = objects.len() == PAGE;
    Ok(Page { objects, more })
}
