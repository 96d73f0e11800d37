//! The least Kafka client that the demo needs: one connection, one request at a time.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

/// A node on this machine answers in milliseconds; past this it hangs.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer that the demo's own requests can cause, with room.
const MOST_ANSWER_BYTES: usize = 64 << 20;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the connection to {address} failed: {source}")]
    Connection { address: String, source: std::io::Error },
    #[error("{address} did not answer within {} s", TIME_LIMIT.as_secs())]
    Timeout { address: String },
    #[error("{address} sent an answer that is no Kafka message: {reason}")]
    Malformed { address: String, reason: String },
}

/// One connection to a broker.
pub(crate) struct Client {
    address: String,
    stream: TcpStream,
    correlation: i32,
}

impl Client {
    /// Connects to `address`, `host:port`.
    pub(crate) async fn connect(address: &str) -> Result<Self, ClientError> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = timeout(TIME_LIMIT, connect)
            .await
            .map_err(|_| ClientError::Timeout { address: address.to_owned() })?
            .map_err(|source| ClientError::Connection { address: address.to_owned(), source })?;
        Ok(Self { address: address.to_owned(), stream, correlation: 0 })
    }

    /// Sends `request` in `version` and waits for its answer.
    pub(crate) async fn call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.correlation += 1;
        let malformed = |reason: String| ClientError::Malformed { address: self.address.clone(), reason };
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("aquifer-demo")));
        let mut frame = BytesMut::new();
        frame.put_u32(0);
        header
            .encode(&mut frame, R::header_version(version))
            .map_err(|error| malformed(error.to_string()))?;
        request.encode(&mut frame, version).map_err(|error| malformed(error.to_string()))?;
        let length = u32::try_from(frame.len() - 4).expect("the demo's requests are small");
        frame[..4].copy_from_slice(&length.to_be_bytes());

        let mut answer = timeout(TIME_LIMIT, exchange(&mut self.stream, &frame))
            .await
            .map_err(|_| ClientError::Timeout { address: self.address.clone() })?
            .map_err(|source| ClientError::Connection { address: self.address.clone(), source })?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(|error| malformed(error.to_string()))?;
        if header.correlation_id != self.correlation {
            return Err(malformed(format!(
                "answer {} to request {}",
                header.correlation_id, self.correlation
            )));
        }
        R::Response::decode(&mut answer, version).map_err(|error| malformed(error.to_string()))
    }
}

async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> std::io::Result<Bytes> {
    stream.write_all(frame).await?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = (&length[..]).get_u32() as usize;
    if length > MOST_ANSWER_BYTES {
        return Err(std::io::Error::other(format!("an answer of {length} bytes")));
    }
    let mut answer = BytesMut::zeroed(length);
    stream.read_exact(&mut answer).await?;
    Ok(answer.freeze())
}
