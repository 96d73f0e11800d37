//! Which brokers are taken for dead.

use std::collections::BTreeMap;

use aquifer_image::{Broker, FenceBroker, Image};
use aquifer_types::{BrokerEpoch, NodeId};

/// Whom the active controller has heard of, and when, in milliseconds of any clock that never jumps.
///
/// It begins anew with each controller that becomes active: every broker then has a whole session to be heard.
#[derive(Debug, Clone)]
pub struct Liveness {
    session_ms: u64,
    heard: BTreeMap<NodeId, (BrokerEpoch, u64)>,
    looked_ms: Option<u64>,
}

impl Liveness {
    /// Nobody was heard yet. A broker is taken for dead when nothing was heard of it for `session_ms`.
    pub fn new(session_ms: u64) -> Self {
        Self { session_ms, heard: BTreeMap::new(), looked_ms: None }
    }

    /// A heartbeat of a registration has arrived.
    pub fn heard(&mut self, node: NodeId, epoch: BrokerEpoch, now_ms: u64) {
        self.heard.insert(node, (epoch, now_ms));
    }

    /// Who is to be fenced now. A broker that was not heard of yet begins its session here.
    ///
    /// To be called several times in a session: if more than half of one has passed since the last time, this
    /// controller itself was away, and what it did not hear says nothing. All sessions begin again then.
    pub fn due(&mut self, image: &Image, now_ms: u64) -> Vec<FenceBroker> {
        let away = self.looked_ms.is_none_or(|looked| now_ms.saturating_sub(looked) > self.session_ms / 2);
        self.looked_ms = Some(now_ms);
        if away {
            self.heard.clear();
        }
        let mut due = Vec::new();
        for broker in image.brokers().filter(|broker| broker.is_live()) {
            let known = self.heard.get(&broker.node).filter(|(epoch, _)| *epoch == broker.epoch);
            match known {
                None => self.heard(broker.node, broker.epoch, now_ms),
                Some((_, at_ms)) if now_ms.saturating_sub(*at_ms) >= self.session_ms => {
                    due.push(fence(broker));
                }
                Some(_) => {}
            }
        }
        due
    }

    /// The process of `node` with this `instance` (the low half of its incarnation) has certainly ended: its
    /// connections broke, and nobody listens where it did or another process does.
    pub fn ended(image: &Image, node: NodeId, instance: u64) -> Option<FenceBroker> {
        let broker = image.broker(node).filter(|broker| broker.is_live())?;
        (broker.incarnation.as_u64_pair().1 == instance).then(|| fence(broker))
    }
}

fn fence(broker: &Broker) -> FenceBroker {
    FenceBroker { node: broker.node, broker_epoch: broker.epoch }
}

#[cfg(test)]
mod tests {
    use aquifer_image::{Bootstrap, Command, Endpoint, RegisterBroker, SecurityProtocol};
    use aquifer_types::ClusterId;
    use uuid::Uuid;

    use super::*;

    const SESSION_MS: u64 = 2_000;

    fn apply(image: &mut Image, command: impl Into<Command>) {
        image.apply(image.applied().next(), &command.into()).expect("the test's commands are valid");
    }

    fn register(image: &mut Image, node: u32, incarnation: u128) -> BrokerEpoch {
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            security: SecurityProtocol::Plaintext,
        };
        let (node, incarnation) = (NodeId(node), Uuid::from_u128(incarnation));
        apply(image, RegisterBroker { node, incarnation, endpoints: vec![endpoint], rack: None });
        image.broker_epoch(node).expect("just registered")
    }

    fn cluster() -> (Image, [BrokerEpoch; 2]) {
        let mut image = Image::new();
        apply(&mut image, Bootstrap { cluster_id: ClusterId(Uuid::from_u128(1)) });
        let epochs = [register(&mut image, 1, 11), register(&mut image, 2, 22)];
        (image, epochs)
    }

    /// Looks every 100 ms until `until`, while broker 1 is heard; who was to be fenced, and when.
    fn watch(
        liveness: &mut Liveness,
        image: &Image,
        epoch: BrokerEpoch,
        until: u64,
    ) -> Option<(u64, NodeId)> {
        for now in (0..=until).step_by(100) {
            liveness.heard(NodeId(1), epoch, now);
            if let Some(fence) = liveness.due(image, now).first() {
                return Some((now, fence.node));
            }
        }
        None
    }

    #[test]
    fn who_is_silent_for_a_session_is_fenced_and_who_is_heard_is_not() {
        let (image, [one, _]) = cluster();
        let mut liveness = Liveness::new(SESSION_MS);
        assert_eq!(watch(&mut liveness, &image, one, 10_000), Some((SESSION_MS, NodeId(2))));
    }

    #[test]
    fn a_fenced_broker_is_fenced_once() {
        let (mut image, [one, two]) = cluster();
        apply(&mut image, FenceBroker { node: NodeId(2), broker_epoch: two });
        let mut liveness = Liveness::new(SESSION_MS);
        assert_eq!(watch(&mut liveness, &image, one, 10_000), None);
    }

    #[test]
    fn a_new_registration_has_a_session_of_its_own() {
        let (mut image, [one, _]) = cluster();
        let mut liveness = Liveness::new(SESSION_MS);
        assert_eq!(watch(&mut liveness, &image, one, SESSION_MS - 100), None);
        let again = register(&mut image, 2, 23);
        liveness.heard(NodeId(1), one, SESSION_MS);
        assert_eq!(liveness.due(&image, SESSION_MS), [], "the silence was the earlier process's");
        // Heartbeats of the earlier one do not keep the new one alive.
        assert_ne!(again, one);
    }

    #[test]
    fn a_controller_that_was_away_fences_nobody_for_it() {
        let (image, [one, two]) = cluster();
        let mut liveness = Liveness::new(SESSION_MS);
        liveness.due(&image, 0);
        liveness.heard(NodeId(1), one, 100);
        liveness.heard(NodeId(2), two, 100);
        assert_eq!(liveness.due(&image, 60_000), []);
        assert_eq!(liveness.due(&image, 60_500), []);
    }

    #[test]
    fn a_process_that_certainly_ended_is_fenced_at_once_and_its_successor_is_not() {
        let (mut image, [_, two]) = cluster();
        let ended = Liveness::ended(&image, NodeId(2), 22);
        assert_eq!(ended, Some(FenceBroker { node: NodeId(2), broker_epoch: two }));
        register(&mut image, 2, 23);
        assert_eq!(Liveness::ended(&image, NodeId(2), 22), None);
    }
}
