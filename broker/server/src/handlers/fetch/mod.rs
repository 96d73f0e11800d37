//! Fetch: records by reference, long polls, sessions.

mod read;
mod respond;

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::FetchRequest;
use tokio::time::{Instant, timeout_at};

use self::read::{Limits, Pass};
use crate::dispatch::{Answer, Api, Call, Refusal};
use crate::reply::Reply;
use crate::sessions::{SessionRequest, TopicKey, Wanted};
use aquifer_guard::shapes;

pub(crate) const API: Api = Api { key: 1, advertised: 4..=18, served_from: 4, shape: &shapes::FETCH, handle };

/// From here on requests have sessions.
const SESSIONS_FROM: i16 = 7;
/// From here on topics are named by id.
const IDS_FROM: i16 = 13;

/// A long poll waits this long at most, whatever the client asks for.
const MAX_WAIT: Duration = Duration::from_secs(300);

fn handle(mut call: Call) -> Answer {
    call.peer.fetching();
    let request = match call.decode::<FetchRequest>() {
        Ok(request) => request,
        Err(refusal) => return Answer::Ready(Err(refusal)),
    };
    let call = Arc::new(call);
    Answer::Later(Box::pin(async move { answer(&call, request).await }))
}

async fn answer(call: &Arc<Call>, request: FetchRequest) -> Result<Reply, Refusal> {
    let limits = Limits::new(&request, call.context.config.limits.fetch_max_bytes);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(MAX_WAIT);
    let session = session_request(call.version, request);
    let fetching = match call.context.sessions.begin(session) {
        Ok(fetching) => fetching,
        Err(code) => return respond::failed(call, code),
    };
    let deadline = Instant::now() + wait;
    loop {
        let pass = Pass::read(call, &fetching.wanted, limits).await;
        let enough = pass.bytes >= limits.min_bytes || pass.settled || fetching.wanted.is_empty();
        if enough || Instant::now() >= deadline {
            return respond::respond(call, &fetching, pass);
        }
        // The memory of this pass is given back before the wait.
        let poll = pass.into_poll(limits.min_bytes);
        if timeout_at(deadline, poll.ready()).await.is_err() {
            drop(poll);
            let pass = Pass::read(call, &fetching.wanted, limits).await;
            return respond::respond(call, &fetching, pass);
        }
    }
}

fn session_request(version: i16, request: FetchRequest) -> SessionRequest {
    let topic_ids = version >= IDS_FROM;
    let key = |name: kafka_protocol::messages::TopicName, id| {
        if topic_ids { TopicKey::Id(id) } else { TopicKey::Name(name.0) }
    };
    let mut wanted = Vec::new();
    for topic in request.topics {
        let topic_key = key(topic.topic, topic.topic_id);
        wanted.extend(topic.partitions.into_iter().map(|partition| Wanted {
            topic: topic_key.clone(),
            index: partition.partition,
            offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
        }));
    }
    let mut forgotten = Vec::new();
    for topic in request.forgotten_topics_data {
        let topic_key = key(topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.into_iter().map(|index| (topic_key.clone(), index)));
    }
    let epoch = if version < SESSIONS_FROM { -1 } else { request.session_epoch };
    SessionRequest { id: request.session_id, epoch, topic_ids, wanted, forgotten }
}
