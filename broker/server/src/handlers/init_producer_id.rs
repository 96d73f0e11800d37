//! InitProducerId for idempotent producers. Transactional ones are refused until transactions are built.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use aquifer_image::{AllocateProducerIds, Outcome};
use aquifer_types::ProducerId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{self, InitProducerIdRequest, InitProducerIdResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, invalid};
use crate::server::Context;
use aquifer_guard::shapes;

/// Version 6 (KIP-939) is not stable in Kafka.
pub(crate) const API: Api =
    Api { key: 22, advertised: 0..=5, served_from: 0, shape: &shapes::INIT_PRODUCER_ID, handle };

/// Ids that are asked of the quorum at once, as in Kafka.
const BLOCK: u32 = 1_000;

/// Producer ids that the quorum handed to this broker and that are not used yet.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds(Mutex<VecDeque<Range<i64>>>);

impl ProducerIds {
    fn take(&self) -> Option<i64> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let block = blocks.front_mut()?;
        let id = block.next();
        if block.is_empty() {
            blocks.pop_front();
        }
        id
    }

    fn add(&self, ProducerId(first): ProducerId, count: u32) {
        let block = first..first.saturating_add(i64::from(count));
        if !block.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(block);
        }
    }

    /// The next id, from a new block if need be. Two callers may ask for a block each; both are used.
    async fn next(&self, context: &Context) -> Result<i64, Failure> {
        loop {
            if let Some(id) = self.take() {
                return Ok(id);
            }
            let node = context.config.node;
            let broker_epoch = context.image().broker_epoch(node).ok_or_else(|| {
                Failure::new(Code::CoordinatorLoadInProgress, "This broker is not registered yet.")
            })?;
            let command = AllocateProducerIds { node, broker_epoch, count: BLOCK };
            let outcome = context.services.metadata.propose(command).await.map_err(|error| {
                // What idempotent producers retry.
                Failure::new(Code::CoordinatorLoadInProgress, error.to_string())
            })?;
            if let Outcome::ProducerIds { first, count } = outcome {
                self.add(first, count);
            }
        }
    }
}

fn handle(call: Call) -> Answer {
    call.later(|call, request: InitProducerIdRequest| async move {
        match init(&call, &request).await {
            Ok(id) => InitProducerIdResponse::default()
                .with_producer_id(messages::ProducerId(id))
                .with_producer_epoch(0),
            Err(failure) => InitProducerIdResponse::default()
                .with_error_code(failure.code)
                .with_producer_id(messages::ProducerId(-1))
                .with_producer_epoch(-1),
        }
    })
}

async fn init(call: &Call, request: &InitProducerIdRequest) -> Result<i64, Failure> {
    match request.transactional_id.as_deref() {
        None => {}
        Some(id) if id.is_empty() => return Err(invalid("An empty transactional id.")),
        Some(_) => {
            return Err(Failure::new(Code::TransactionalIdAuthorizationFailed, super::NO_TRANSACTIONS));
        }
    }
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return Err(invalid("Producer id and epoch must be given both or not at all."));
    }
    call.context.producer_ids.next(&call.context).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_every_block_is_given_once() {
        let ids = ProducerIds::default();
        assert_eq!(ids.take(), None);
        ids.add(ProducerId(10), 2);
        ids.add(ProducerId(30), 0);
        ids.add(ProducerId(20), 1);
        assert_eq!([ids.take(), ids.take(), ids.take(), ids.take()], [Some(10), Some(11), Some(20), None]);
    }
}
