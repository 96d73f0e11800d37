use std::path::PathBuf;
use std::sync::Arc;

use aquifer_runtime::{Clock, Random};
use url::Url;

use crate::backend::{Backend, FileBackend, HdfsBackend, MemoryBackend, S3Backend};
use crate::error::OpenError;
use crate::metrics::Metrics;
use crate::options::StoreOptions;
use crate::store::Store;

/// Opens the store at `url`:
///
/// - `file:///path`: a directory, created if absent;
/// - `s3://bucket/prefix`: a bucket, see [`S3Options`](crate::S3Options);
/// - `hdfs://service/path` or `hdfs://host:port/path`, see [`HdfsOptions`](crate::HdfsOptions);
/// - `memory://`: this process's memory.
///
/// `file` needs the directory to be writable; the others are not contacted: see [`probe()`](crate::probe()).
/// `clock` tells the age of left-overs, `random` spreads retries and names staged files.
///
/// # Errors
/// The URL or an option is wrong, or the directory cannot be used.
pub async fn open(
    url: &str,
    options: &StoreOptions,
    clock: Clock,
    random: Random,
) -> Result<Store, OpenError> {
    let parsed = parse(url)?;
    let option = |(option, reason): (&'static str, String)| OpenError::Option {
        url: shown(&parsed).to_string(),
        option,
        reason,
    };
    let metrics = Arc::<Metrics>::default();
    let backend: Box<dyn Backend> = match parsed.scheme() {
        "memory" => Box::new(MemoryBackend::default()),
        "file" => Box::new(open_file(&parsed, random.clone()).await?),
        "s3" | "hdfs" if parsed.host_str().unwrap_or_default().is_empty() => {
            return Err(url_error(url, "it names no bucket or name service".to_owned()));
        }
        "s3" => Box::new(S3Backend::open(&parsed, &options.s3).map_err(option)?),
        "hdfs" => {
            let metrics = Arc::clone(&metrics);
            Box::new(HdfsBackend::open(&parsed, &options.hdfs, random.clone(), metrics).map_err(option)?)
        }
        scheme => return Err(url_error(url, format!("the scheme '{scheme}' is unknown"))),
    };
    Ok(Store::new(shown(&parsed), backend, metrics, options, clock, random))
}

fn parse(url: &str) -> Result<Url, OpenError> {
    let parsed = Url::parse(url).map_err(|error| url_error(url, error.to_string()))?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(url_error(url, "it has a '?' or '#'; options are given as store.*".to_owned()));
    }
    if parsed.password().is_some() {
        return Err(url_error(
            &shown(&parsed),
            "it has a password; give credentials as store.* options".to_owned(),
        ));
    }
    Ok(parsed)
}

/// The URL as logs and errors show it.
fn shown(url: &Url) -> Arc<str> {
    let mut url = url.clone();
    // Fails for URLs that cannot have credentials, which then need no hiding.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.as_str().trim_end_matches('/').into()
}

fn url_error(url: &str, reason: String) -> OpenError {
    OpenError::Url { url: url.to_owned(), reason }
}

async fn open_file(url: &Url, random: Random) -> Result<FileBackend, OpenError> {
    let path: PathBuf = url.to_file_path().map_err(|()| {
        url_error(url.as_str(), "a file URL has three slashes and an absolute path".to_owned())
    })?;
    let opened = tokio::task::spawn_blocking(move || FileBackend::open(&path, random)).await;
    let opened = opened.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    opened.map_err(|error| OpenError::Unusable {
        url: url.to_string(),
        reason: format!("{error}; the directory must be one that this user can create and write to"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open_default(url: &str) -> Result<Store, OpenError> {
        open(url, &StoreOptions::default(), Clock::system(), Random::seeded(1)).await
    }

    #[tokio::test]
    async fn a_bad_url_is_an_error_that_says_what_is_allowed() {
        for url in ["", "nonsense", "ftp://host/x", "file://host/x", "s3://user:secret@b/", "memory://?x=1"] {
            let error = open_default(url).await.expect_err(url).to_string();
            assert!(error.contains("use file:///path"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_created_is_named() {
        let error = open_default("file:///proc/nothing/here").await.expect_err("not creatable").to_string();
        assert!(error.contains("file:///proc/nothing/here"), "{error}");
    }
}
