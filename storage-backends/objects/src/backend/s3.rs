mod http;

use std::collections::BTreeMap;
use std::env;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredential, S3ConditionalPut};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody, HttpResponse};
use object_store::multipart::{MultipartStore, PartId};
use object_store::{HeaderValue, MultipartId, ObjectStore, PutMode, RetryConfig};
use url::Url;

use super::{Backend, Orphan, Page, Read, Session, object};
use crate::error::{ErrorKind, Failure};
use crate::options::S3Options;
use crate::store::ObjectInfo;
use http::{S3Http, element};

/// Parts of one upload on their way at once; measured, more are slower.
const PARALLEL_PARTS: usize = 4;

/// A bucket of any store that speaks S3.
pub(crate) struct S3Backend {
    bucket: Arc<AmazonS3>,
    /// Put before each key: empty, or ending in a slash.
    prefix: String,
    http: HttpClient,
    /// The bucket's own URL, for the one request `object_store` does not have.
    bucket_url: String,
    credential: AwsCredential,
    region: String,
}

impl S3Backend {
    /// Does not contact the store. An error names the option that is wrong.
    pub(crate) fn open(url: &Url, options: &S3Options) -> Result<Self, (&'static str, String)> {
        let bucket = url.host_str().unwrap_or_default();
        let prefix = match url.path().trim_matches('/') {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let key_id = credential("s3.access.key", options.access_key.clone(), "AWS_ACCESS_KEY_ID")?;
        let secret = options.secret_key.as_ref().map(|secret| secret.reveal().to_owned());
        let secret_key = credential("s3.secret.key", secret, "AWS_SECRET_ACCESS_KEY")?;
        let http = S3Http::new(options).map_err(|reason| ("s3.ca.file", reason))?;

        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&options.region)
            .with_access_key_id(&key_id)
            .with_secret_access_key(&secret_key)
            .with_allow_http(true)
            .with_virtual_hosted_style_request(!options.path_style)
            .with_unsigned_payload(options.unsigned_payload)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // A bulk delete answers 200 with errors inside; single ones have an outcome each.
            .with_disable_bulk_delete(true)
            // Retries are ours: on tokio's time, with our limits, and aware of create-once.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(http.clone());
        let bucket_url = match &options.endpoint {
            Some(endpoint) => {
                let endpoint = check_endpoint(endpoint).map_err(|reason| ("s3.endpoint", reason))?;
                // `object_store` wants the bucket in the endpoint if it is to be in the host name.
                let bucket_url = bucket_url(&endpoint, bucket, options.path_style);
                builder = builder.with_endpoint(if options.path_style {
                    endpoint.to_string()
                } else {
                    bucket_url.clone()
                });
                bucket_url
            }
            None => format!("https://{bucket}.s3.{}.amazonaws.com", options.region),
        };
        let bucket = builder.build().map_err(|error| ("url", error.to_string()))?;
        Ok(Self {
            bucket: Arc::new(bucket),
            prefix,
            http: HttpClient::new(http),
            bucket_url,
            credential: AwsCredential { key_id, secret_key, token: None },
            region: options.region.clone(),
        })
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Signs and sends a request that `object_store` does not have.
    async fn send(
        &self,
        mut request: HttpRequest,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<HttpResponse, Failure> {
        let invalid = |error: String| Failure::none(ErrorKind::Invalid, error);
        let url = format!("{}{path}", self.bucket_url);
        let mut url = Url::parse(&url).map_err(|error| invalid(format!("{url}: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        *request.uri_mut() = url.as_str().parse().map_err(|_| invalid(format!("{url} is not a URI")))?;
        AwsAuthorizer::new(&self.credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| object::failure(&error))?;
        self.http.execute(request).await.map_err(|error| object::http_error(&error))
    }

    async fn unfinished(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, Failure> {
        let request = HttpRequest::new(HttpRequestBody::empty());
        let response = self.send(request, "", &[("prefix", prefix), ("uploads", "")]).await?;
        let body = response.into_body().bytes().await.map_err(|error| object::http_error(&error))?;
        Ok(parse_uploads(&String::from_utf8_lossy(&body)))
    }

    fn own(&self, full: &str) -> Option<String> {
        full.strip_prefix(&self.prefix).map(str::to_owned)
    }
}

fn credential(
    option: &'static str,
    given: Option<String>,
    variable: &str,
) -> Result<String, (&'static str, String)> {
    given.or_else(|| env::var(variable).ok()).ok_or_else(|| {
        (option, format!("it is not set; set store.{option}, or {variable} in the environment"))
    })
}

fn check_endpoint(endpoint: &str) -> Result<Url, String> {
    match Url::parse(endpoint) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/" => Ok(url),
        Ok(_) => Err(format!("'{endpoint}' is not http://host:port or https://host:port")),
        Err(error) => Err(format!("'{endpoint}': {error}; give http://host:port or https://host:port")),
    }
}

fn bucket_url(endpoint: &Url, bucket: &str, path_style: bool) -> String {
    let authority = endpoint.authority();
    match path_style {
        true => format!("{}://{authority}/{bucket}", endpoint.scheme()),
        false => format!("{}://{bucket}.{authority}", endpoint.scheme()),
    }
}

impl std::fmt::Debug for S3Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Backend").field("bucket", &self.bucket_url).field("prefix", &self.prefix).finish()
    }
}

#[async_trait]
impl Backend for S3Backend {
    async fn put_new(&self, key: &str, parts: &[Bytes], _attempt: u32) -> Result<(), Failure> {
        let path = object::path(&self.full(key));
        let put = self.bucket.put_opts(&path, object::payload(parts), PutMode::Create.into());
        put.await.map(drop).map_err(|error| object::failure(&error))
    }

    async fn begin(&self, key: &str, _attempt: u32) -> Result<Arc<dyn Session>, Failure> {
        let path = object::path(&self.full(key));
        let id = self.bucket.create_multipart(&path).await.map_err(|error| object::failure(&error))?;
        Ok(Arc::new(S3Session { bucket: Arc::clone(&self.bucket), path, id, parts: Mutex::default() }))
    }

    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Read, Failure> {
        object::read(&*self.bucket, &self.full(key), range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, Failure> {
        object::head(&*self.bucket, &self.full(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        object::delete(&*self.bucket, &self.full(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Failure> {
        let after = after.map(|after| self.full(after));
        let page =
            object::list(&*self.bucket, self.full(prefix).trim_end_matches('/'), after.as_deref()).await?;
        let objects = page.objects.into_iter();
        let objects =
            objects.filter_map(|info| Some(ObjectInfo { key: self.own(&info.key)?, ..info })).collect();
        Ok(Page { objects, ..page })
    }

    /// The first thousand; the next sweep finds more. MinIO knows a key and the empty prefix, and nothing
    /// in between: what our own prefix does not show is looked for among all of the bucket.
    async fn orphans(&self, key: Option<&str>, before_ms: i64) -> Result<Vec<Orphan>, Failure> {
        let prefix = key.map_or_else(|| self.prefix.clone(), |key| self.full(key));
        let mut uploads = self.unfinished(&prefix).await?;
        if uploads.is_empty() && key.is_none() && !prefix.is_empty() {
            uploads = self.unfinished("").await?;
        }
        Ok(uploads
            .into_iter()
            .filter(|upload| upload.initiated_ms < before_ms)
            .filter_map(|upload| Some(Orphan { key: self.own(&upload.key)?, handle: upload.id }))
            .filter(|orphan| key.is_none_or(|key| orphan.key == key))
            .collect())
    }

    async fn remove_orphan(&self, orphan: &Orphan) -> Result<(), Failure> {
        abort(&self.bucket, &object::path(&self.full(&orphan.key)), &orphan.handle).await
    }

    async fn deletes_conditionally(&self, key: &str) -> Result<Option<bool>, Failure> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = "DELETE".parse().expect("a method");
        request
            .headers_mut()
            .insert("if-match", HeaderValue::from_static("\"0123456789abcdef0123456789abcdef\""));
        let refused = self.send(request, &format!("/{}", self.full(key)), &[]).await.is_err();
        Ok(Some(refused && self.head(key).await.is_ok()))
    }
}

async fn abort(bucket: &AmazonS3, path: &object_store::path::Path, id: &MultipartId) -> Result<(), Failure> {
    match bucket.abort_multipart(path, id).await.map_err(|error| object::failure(&error)) {
        Err(failure) if failure.kind != ErrorKind::NotFound => Err(failure),
        _ => Ok(()),
    }
}

#[derive(Debug, PartialEq)]
struct UnfinishedUpload {
    key: String,
    id: String,
    initiated_ms: i64,
}

fn parse_uploads(xml: &str) -> Vec<UnfinishedUpload> {
    let uploads = xml.split("<Upload>").skip(1);
    uploads
        .filter_map(|upload| {
            let initiated = humantime::parse_rfc3339(element(upload, "Initiated")?).ok()?;
            let since = initiated.duration_since(UNIX_EPOCH).ok()?;
            Some(UnfinishedUpload {
                key: element(upload, "Key")?.to_owned(),
                id: element(upload, "UploadId")?.to_owned(),
                initiated_ms: i64::try_from(since.as_millis()).ok()?,
            })
        })
        .collect()
}

#[derive(Debug)]
struct S3Session {
    bucket: Arc<AmazonS3>,
    path: object_store::path::Path,
    id: MultipartId,
    parts: Mutex<BTreeMap<u32, PartId>>,
}

#[async_trait]
impl Session for S3Session {
    fn parallel(&self) -> usize {
        PARALLEL_PARTS
    }

    async fn part(&self, index: u32, pieces: &[Bytes]) -> Result<(), Failure> {
        let part = object::payload(pieces);
        let part = self.bucket.put_part(&self.path, &self.id, index as usize, part).await;
        let part = part.map_err(|error| object::failure(&error))?;
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(index, part);
        Ok(())
    }

    async fn complete(&self) -> Result<(), Failure> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let completed = self.bucket.complete_multipart(&self.path, &self.id, parts).await;
        completed.map(drop).map_err(|error| object::failure(&error))
    }

    async fn abort(&self) -> Result<(), Failure> {
        abort(&self.bucket, &self.path, &self.id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_uploads_are_read_from_their_listing() {
        let xml = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><Bucket>b</Bucket>\
            <Upload><Key>p/a</Key><UploadId>id-1</UploadId><Initiated>1970-01-01T00:00:01.500Z</Initiated></Upload>\
            <Upload><Key>p/b</Key></Upload></ListMultipartUploadsResult>";
        let expected = UnfinishedUpload { key: "p/a".into(), id: "id-1".into(), initiated_ms: 1500 };
        assert_eq!(parse_uploads(xml), [expected]);
        assert_eq!(parse_uploads("<html>"), []);
    }

    #[test]
    fn the_bucket_is_in_the_path_or_in_the_host() {
        let endpoint = check_endpoint("http://minio:9000").expect("an endpoint");
        assert_eq!(bucket_url(&endpoint, "b", true), "http://minio:9000/b");
        assert_eq!(bucket_url(&endpoint, "b", false), "http://b.minio:9000");
        assert!(check_endpoint("minio:9000").is_err());
        assert!(check_endpoint("http://minio/b").is_err());
    }
}
