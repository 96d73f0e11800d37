use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::backend::object::HttpFailure;
use crate::options::S3Options;

/// A connection that does not come up within this time will not.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Idle connections kept per host: more than parts and reads that are usually on their way.
const IDLE_CONNECTIONS: usize = 32;
/// How much of an error page is read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Speaks HTTP for `object_store`, and adds what that lacks: failures with their status and S3 code as
/// a type, and create-once for multi-part uploads.
#[derive(Clone, Debug)]
pub(crate) struct S3Http {
    client: reqwest::Client,
}

impl S3Http {
    /// Trusts the system's certificates and those of `options.ca_file`.
    pub(crate) fn new(options: &S3Options) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &options.ca_file {
            let bad = |reason: String| {
                format!("{}: {reason}; give a PEM file with the CA's certificate", file.display())
            };
            let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect)
                .map_err(|error| bad(error.to_string()))?;
            if certificates.is_empty() {
                return Err(bad("it has no certificate".to_owned()));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
        }
        // The provider is named rather than installed for the process: no global state.
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // One connection per transfer is faster than many streams in one.
            .http1_only()
            // A private store is not behind the proxy that the environment may name for the internet.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client })
    }
}

impl HttpConnector for S3Http {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for S3Http {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // CompleteMultipartUpload is made conditional as a put is, so that a streamed object is created
        // once too. The header need not be signed.
        if request.method() == "POST"
            && request.uri().query().is_some_and(|query| query.contains("uploadId="))
        {
            request.headers_mut().insert("if-none-match", object_store::HeaderValue::from_static("*"));
        }
        let response = self.client.call(request).await?;
        let status = response.status();
        if !(status.is_client_error() || status.is_server_error()) {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        // An error page that cannot be read takes nothing from the status.
        let page = body.bytes().await.unwrap_or_default();
        let page = String::from_utf8_lossy(&page[..page.len().min(MAX_ERROR_BYTES)]);
        let code = element(&page, "Code").unwrap_or_default();
        // These two `object_store` gives a type of its own.
        if status == 412 || (status == 404 && code != "NoSuchBucket") {
            return Ok(HttpResponse::from_parts(parts, Bytes::new().into()));
        }
        let message = element(&page, "Message").map_or_else(|| page.trim().to_owned(), str::to_owned);
        let failure = HttpFailure { status: status.as_u16(), code: code.to_owned(), message };
        Err(HttpError::new(HttpErrorKind::Unknown, failure))
    }
}

/// The text of the first `<name>` in `xml`. S3's error pages and listings are flat, and what we look
/// for has no entities in it.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let start = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let length = xml[start..].find(&format!("</{name}>"))?;
    Some(&xml[start..start + length])
}
