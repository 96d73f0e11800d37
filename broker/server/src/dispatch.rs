//! From a frame to its handler, through the one table of APIs.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::future::BoxFuture;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::connection::Peer;
use crate::handlers;
use crate::reply::{self, Reply, ReplyHeader};
use crate::server::Context;
use aquifer_guard::{self as guard, GuardError, HeaderError, Passed, Shape};

/// One API of the broker. ApiVersions is generated from the table of these.
pub(crate) struct Api {
    /// Kafka's API key.
    pub(crate) key: i16,
    /// What ApiVersions says.
    pub(crate) advertised: RangeInclusive<i16>,
    /// First version that is really answered; below it the connection is closed.
    pub(crate) served_from: i16,
    /// Layout of the request, for the guard.
    pub(crate) shape: &'static Shape,
    /// Starts the answer. Effects that need request order happen before it returns.
    pub(crate) handle: fn(Call) -> Answer,
}

/// What a handler says about its reply.
pub(crate) enum Answer {
    /// Here it is.
    Ready(Result<Reply, Refusal>),
    /// It cannot be taken up yet; the next request of the connection waits until it was.
    Held(BoxFuture<'static, Answer>),
    /// The next request of the connection waits for this one.
    Later(BoxFuture<'static, Result<Reply, Refusal>>),
    /// The effects of this request are ordered already; the next one may begin.
    Pipelined(BoxFuture<'static, Result<Reply, Refusal>>),
    /// This request has no reply (Produce with acks=0).
    Nothing,
    /// As `answer`, and nothing more is read from the connection for that long (KIP-219): the reply tells the client
    /// to pause, and one that does not listen is held all the same.
    Muted { answer: Box<Answer>, pause: Duration },
}

impl Answer {
    /// Mutes the connection after this answer.
    pub(crate) fn muted(self, pause: Duration) -> Self {
        if pause.is_zero() { self } else { Self::Muted { answer: Box::new(self), pause } }
    }

    /// The answer itself, and for how long the connection is muted.
    pub(crate) fn split(self) -> (Self, Duration) {
        match self {
            Self::Muted { answer, pause } => (*answer, pause),
            answer => (answer, Duration::ZERO),
        }
    }
}

/// Why a request closes its connection instead of being answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The header is malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The body is malformed.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The decoder found what the guard does not look at (a string that is not UTF-8, say).
    #[error("malformed {api} request version {version}: {reason}")]
    Decode {
        /// Kafka's name.
        api: &'static str,
        /// As sent.
        version: i16,
        /// The decoder's words.
        reason: String,
    },
    /// Not in the table.
    #[error("API key {0} is not served here; ApiVersions lists what is")]
    UnknownApi(i16),
    /// Not in the API's range.
    #[error("{api} version {version} is not served here; ApiVersions lists what is")]
    UnknownVersion {
        /// Kafka's name.
        api: &'static str,
        /// As sent.
        version: i16,
    },
    /// A bug of ours: an answer that cannot be encoded.
    #[error("a {api} response version {version} could not be encoded: {reason}")]
    Encode {
        /// Kafka's name.
        api: &'static str,
        /// As sent.
        version: i16,
        /// What the encoder says.
        reason: String,
    },
    /// The protocol says to close (an error of a Produce with acks=0).
    #[error("{0}")]
    Close(String),
}

/// One request with all that its handler needs.
pub(crate) struct Call {
    pub(crate) context: Arc<Context>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) api: &'static Api,
    pub(crate) version: i16,
    pub(crate) header: ReplyHeader,
    pub(crate) client_id: Option<StrBytes>,
    /// The body, checked by the guard.
    pub(crate) body: BytesMut,
    /// The body has an allocation of its own (see `Frame::alone`).
    pub(crate) alone: bool,
}

/// A request that passed the guard.
pub(crate) enum Admitted {
    Call {
        call: Call,
        passed: Passed,
    },
    /// ApiVersions in a version that we do not know: answered at once in version 0.
    UnknownApiVersions(ReplyHeader),
}

/// Checks a frame's header and body against the table.
pub(crate) fn admit(
    context: &Arc<Context>,
    peer: &Arc<Peer>,
    client_id: &mut ClientId,
    mut bytes: BytesMut,
    alone: bool,
) -> Result<Admitted, Refusal> {
    let (key, version, correlation_id) = guard::parse_prefix(&bytes)?;
    let api = find(key).ok_or(Refusal::UnknownApi(key))?;
    if !api.advertised.contains(&version) || version < api.served_from {
        // A client newer than us finds the common version by this answer.
        if key == handlers::api_versions::KEY {
            return Ok(Admitted::UnknownApiVersions(ReplyHeader { correlation_id, tagged: false }));
        }
        return Err(Refusal::UnknownVersion { api: api.shape.api, version });
    }
    let flexible = version >= api.shape.flexible_from;
    let header = guard::parse_header(&bytes, flexible)?;
    let client_id = client_id.same(header.client_id);
    let passed = guard::check(api.shape, version, &bytes[header.body..])?;
    let body = header.body;
    bytes.advance(body);
    // ApiVersions responses never have tags: a client reads them before it knows our versions.
    let tagged = flexible && key != handlers::api_versions::KEY;
    let header = ReplyHeader { correlation_id, tagged };
    let call = Call {
        context: context.clone(),
        peer: peer.clone(),
        api,
        version,
        header,
        client_id,
        body: bytes,
        alone,
    };
    Ok(Admitted::Call { call, passed })
}

/// The client id of a connection's last request: clients do not change it, so it is copied once.
#[derive(Debug, Default)]
pub(crate) struct ClientId(Option<StrBytes>);

impl ClientId {
    fn same(&mut self, id: Option<&str>) -> Option<StrBytes> {
        if self.0.as_deref() != id {
            self.0 = id.map(|id| StrBytes::from_string(id.to_owned()));
        }
        self.0.clone()
    }
}

fn find(key: i16) -> Option<&'static Api> {
    handlers::APIS.iter().find(|api| api.key == key).copied()
}

impl Admitted {
    /// Memory that decoding takes beside the frame.
    pub(crate) fn decoded_bytes(&self) -> usize {
        match self {
            Self::Call { passed, .. } => passed.decoded_bytes(),
            Self::UnknownApiVersions(_) => 0,
        }
    }

    /// Starts the answer.
    pub(crate) fn handle(self) -> Answer {
        match self {
            Self::Call { call, .. } => (call.api.handle)(call),
            Self::UnknownApiVersions(header) => handlers::api_versions::unsupported(header),
        }
    }
}

impl Call {
    /// Decodes the request; call it once.
    pub(crate) fn decode<M: Decodable>(&mut self) -> Result<M, Refusal> {
        let mut body = self.body.split().freeze();
        M::decode(&mut body, self.version).map_err(|error| Refusal::Decode {
            api: self.api.shape.api,
            version: self.version,
            reason: error.to_string(),
        })
    }

    /// Encodes the response.
    pub(crate) fn reply<M: Encodable>(&self, message: &M) -> Result<Reply, Refusal> {
        reply::encode(self.header, self.version, message).map_err(|reason| Refusal::Encode {
            api: self.api.shape.api,
            version: self.version,
            reason,
        })
    }

    /// Answers at once with a function of the request.
    pub(crate) fn now<Req, Resp>(mut self, answer: impl FnOnce(&Self, Req) -> Resp) -> Answer
    where
        Req: Decodable,
        Resp: Encodable,
    {
        Answer::Ready(self.decode().and_then(|request| {
            let response = answer(&self, request);
            self.reply(&response)
        }))
    }

    /// Answers when `answer` is done; the connection's next request waits for it.
    pub(crate) fn later<Req, Resp, F>(mut self, answer: impl FnOnce(Arc<Call>, Req) -> F) -> Answer
    where
        Req: Decodable,
        Resp: Encodable + Send,
        F: Future<Output = Resp> + Send + 'static,
    {
        let request = match self.decode() {
            Ok(request) => request,
            Err(refusal) => return Answer::Ready(Err(refusal)),
        };
        let call = Arc::new(self);
        let response = answer(call.clone(), request);
        Answer::Later(Box::pin(async move {
            let response = response.await;
            call.reply(&response)
        }))
    }
}

#[cfg(test)]
mod tests {
    use aquifer_guard::shapes::REQUESTS;

    use super::*;

    /// What is fuzzed is what is served.
    #[test]
    fn the_guards_list_of_requests_is_that_of_the_handlers() {
        let served = |api: &&Api| (api.key, api.served_from..=*api.advertised.end(), api.shape.api);
        let mut handled: Vec<_> = handlers::APIS.iter().copied().map(|api| served(&api)).collect();
        handled.sort_by_key(|(key, ..)| *key);
        let listed: Vec<_> =
            REQUESTS.iter().map(|request| (request.key, request.served.clone(), request.shape.api)).collect();
        assert_eq!(handled, listed, "keep REQUESTS of broker/guard/src/shapes/mod.rs as the handlers are");
    }
}
