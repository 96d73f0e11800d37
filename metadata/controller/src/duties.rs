//! What the controller has to do now.

use aquifer_image::{Command, ExpirePrepared, Image, RemoveObjects};
use aquifer_types::ObjectId;

/// Objects in one [`Duty::DeleteObjects`]: a few seconds' work for a slow store, so that a controller
/// that dies repeats little.
pub const MAX_DELETES_PER_ROUND: usize = 1_000;

/// What a site may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long a marked object stays readable, for readers that still hold an older image.
    pub removal_delay_ms: i64,
}

impl Default for Policy {
    /// Three minutes: longer than any read that began on the older image may take.
    fn default() -> Self {
        Self { removal_delay_ms: 180_000 }
    }
}

/// One thing to do. All may be done at once, repeated, or left for the next round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// Propose this command: some prepared objects were not committed in time.
    Propose(Command),
    /// Delete these objects from the store, then propose [`Duty::deleted`] for those that are gone.
    DeleteObjects(Vec<ObjectId>),
}

impl Duty {
    /// The command that records a deletion that was carried out.
    pub fn deleted(objects: Vec<ObjectId>) -> Command {
        RemoveObjects { objects }.into()
    }
}

/// What is due now, most urgent first. Costs what is due, not what exists.
pub fn due(image: &Image, policy: &Policy, now_ms: i64) -> Vec<Duty> {
    let mut duties = Vec::new();
    if image.prepared_until(now_ms).next().is_some() {
        duties.push(Duty::Propose(ExpirePrepared { now_ms }.into()));
    }
    let marked_before = now_ms.saturating_sub(policy.removal_delay_ms);
    let objects: Vec<ObjectId> = image.marked_until(marked_before).take(MAX_DELETES_PER_ROUND).collect();
    if !objects.is_empty() {
        duties.push(Duty::DeleteObjects(objects));
    }
    duties
}

/// When, if the image stays as it is, something is due next; `None` if nothing ever will be.
pub fn next_due_ms(image: &Image, policy: &Policy) -> Option<i64> {
    let expiry = image.first_deadline_ms();
    let removal = image.first_mark_ms().map(|at_ms| at_ms.saturating_add(policy.removal_delay_ms));
    [expiry, removal].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use aquifer_image::{
        Bootstrap, Endpoint, ObjectState, Outcome, PrepareObjects, RegisterBroker, SecurityProtocol,
    };
    use aquifer_types::{BrokerEpoch, ClusterId, NodeId};
    use uuid::Uuid;

    use super::*;

    const POLICY: Policy = Policy { removal_delay_ms: 100 };

    fn apply(image: &mut Image, command: impl Into<Command>) -> Outcome {
        image.apply(image.applied().next(), &command.into()).expect("the test's commands are valid")
    }

    /// Two objects, prepared at 1 000 with a time limit of 50.
    fn image_with_prepared_objects() -> Image {
        let mut image = Image::new();
        apply(&mut image, Bootstrap { cluster_id: ClusterId(Uuid::from_u128(1)) });
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            security: SecurityProtocol::Plaintext,
        };
        let (node, incarnation) = (NodeId(1), Uuid::from_u128(2));
        apply(&mut image, RegisterBroker { node, incarnation, endpoints: vec![endpoint], rack: None });
        let broker_epoch = BrokerEpoch::from(image.applied());
        let (now_ms, time_limit_ms) = (1_000, 50);
        apply(&mut image, PrepareObjects { node, broker_epoch, count: 2, now_ms, time_limit_ms });
        image
    }

    #[test]
    fn nothing_is_due_in_an_empty_image() {
        assert_eq!(due(&Image::new(), &POLICY, i64::MAX), []);
        assert_eq!(next_due_ms(&Image::new(), &POLICY), None);
    }

    #[test]
    fn an_object_that_was_never_committed_goes_all_the_way() {
        let mut image = image_with_prepared_objects();
        assert_eq!(next_due_ms(&image, &POLICY), Some(1_050));
        assert_eq!(due(&image, &POLICY, 1_049), []);

        let duties = due(&image, &POLICY, 1_050);
        let [Duty::Propose(command)] = duties.as_slice() else { panic!("{duties:?}") };
        assert_eq!(apply(&mut image, command.clone()), Outcome::PreparedExpired { count: 2 });

        assert_eq!(next_due_ms(&image, &POLICY), Some(1_150));
        assert_eq!(due(&image, &POLICY, 1_149), []);
        let duties = due(&image, &POLICY, 1_150);
        let [Duty::DeleteObjects(objects)] = duties.as_slice() else { panic!("{duties:?}") };
        assert_eq!(objects.len(), 2);

        // One of the two could be deleted: the other stays due.
        apply(&mut image, Duty::deleted(vec![objects[0]]));
        assert_eq!(image.object(objects[0]), None);
        assert!(matches!(image.object(objects[1]), Some(ObjectState::Marked { .. })));
        assert_eq!(due(&image, &POLICY, 1_150), [Duty::DeleteObjects(vec![objects[1]])]);
    }

    #[test]
    fn a_clock_that_went_back_deletes_nothing_early() {
        let mut image = image_with_prepared_objects();
        apply(&mut image, ExpirePrepared { now_ms: 1_050 });
        assert_eq!(due(&image, &POLICY, -5_000), []);
    }
}
