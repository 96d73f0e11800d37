//! The command line's side of the admin socket.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::socket::{SocketError, connect};

/// How long an answer may take: longer than the node looks for the active controller.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("{0}; is the node running (any node of the cluster can be asked), and is this its user or root?")]
    Socket(#[from] SocketError),
    #[error("the node broke off: {0}; if it is stopping, ask another one")]
    Http(#[from] hyper::Error),
    #[error("the node did not answer within {ANSWER_LIMIT:?}; look at its log, or ask another one")]
    Silent,
    /// The node's own words.
    #[error("{0}")]
    Refused(String),
    #[error("the node answers what cannot be read: {0}; is it of the same release as this program?")]
    Malformed(String),
}

/// A way to ask the node that serves a socket.
pub(crate) struct AdminClient {
    socket: PathBuf,
}

impl AdminClient {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks once.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, AdminError> {
        let exchange = timeout(ANSWER_LIMIT, self.exchange(method, path)).await;
        let (status, body) = exchange.map_err(|_| AdminError::Silent)??;
        let value: Value =
            serde_json::from_slice(&body).map_err(|error| AdminError::Malformed(error.to_string()))?;
        if status != StatusCode::OK {
            let reason = value["error"].as_str().map_or_else(|| value.to_string(), str::to_owned);
            return Err(AdminError::Refused(reason));
        }
        serde_json::from_value(value).map_err(|error| AdminError::Malformed(error.to_string()))
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), AdminError> {
        let stream = connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| AdminError::Malformed(path.to_owned()))?;
        request.headers_mut().insert(HOST, "aquifer".parse().expect("a constant header value"));
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended?;
                answer.await
            }
        }
    }
}
