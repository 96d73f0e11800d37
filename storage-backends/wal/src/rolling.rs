use crate::{Lsn, Member};

/// How a log goes from one segment to the next, step by step. Pure: who drives it freezes the log, chooses members, asks the
/// quorum, and tells what came of it.
///
/// ```text
///   Steady ─ ailing ─> Freezing ─ frozen ─> Frozen ─ chosen ─> Asking ─ opened ─> Steady, in the next segment
///                                             ^│                  │
///                                             └┘ too few members  └─ refused ─> Over
/// ```
///
/// Once the quorum may have been asked, the question never changes: it may have taken effect. While its outcome is unknown, who
/// drives this asks the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolling {
    segment: u64,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Steady,
    Freezing { without: Vec<Member> },
    Frozen { end: Lsn, without: Vec<Member> },
    Asking { members: Vec<Member> },
    Over,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollEvent {
    /// The segment should do without these members; none of them if others came back and should be in.
    Wanted(Vec<Member>),
    /// The log is frozen here.
    Frozen(Lsn),
    /// Members for the next segment were looked for; `None`: too few are there.
    Chosen(Option<Vec<Member>>),
    /// The quorum closed the segment and opened this one.
    Opened(u64),
    /// The quorum refused: others decide this segment's end.
    Refused(String),
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollStep {
    /// Nothing before the next event.
    Wait,
    /// Freeze the log.
    Freeze,
    /// Choose members, these not among them; again a little later if there are too few.
    Choose {
        /// Who is not wanted.
        without: Vec<Member>,
    },
    /// Ask the quorum to close the segment and to open the next one, until it is known what came of it.
    Ask {
        /// The segment that ends.
        segment: u64,
        /// Where.
        end: Lsn,
        /// Who mirrors the next one.
        members: Vec<Member>,
    },
    /// Let the log go on.
    Resume {
        /// The next segment.
        segment: u64,
        /// Its mirrors.
        members: Vec<Member>,
    },
    /// End the log: nothing may be acknowledged any more.
    Fence {
        /// What the quorum said.
        reason: String,
    },
}

impl Rolling {
    /// A log that writes `segment`.
    pub fn new(segment: u64) -> Self {
        Self { segment, phase: Phase::Steady }
    }

    /// The segment that is written, or that was last.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Takes in what happened. An event that does not fit the phase comes late, and changes nothing.
    pub fn on(&mut self, event: RollEvent) -> RollStep {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let (phase, step) = match (phase, event) {
            (Phase::Steady, RollEvent::Wanted(without)) => (Phase::Freezing { without }, RollStep::Freeze),
            (Phase::Freezing { mut without }, RollEvent::Wanted(more)) => {
                add(&mut without, more);
                (Phase::Freezing { without }, RollStep::Wait)
            }
            (Phase::Freezing { without }, RollEvent::Frozen(end)) => {
                (Phase::Frozen { end, without: without.clone() }, RollStep::Choose { without })
            }
            (Phase::Frozen { end, mut without }, RollEvent::Wanted(more)) => {
                add(&mut without, more);
                (Phase::Frozen { end, without: without.clone() }, RollStep::Choose { without })
            }
            (Phase::Frozen { end, without }, RollEvent::Chosen(None)) => {
                (Phase::Frozen { end, without: without.clone() }, RollStep::Choose { without })
            }
            (Phase::Frozen { end, .. }, RollEvent::Chosen(Some(members))) => self.ask(end, members),
            (Phase::Asking { members }, RollEvent::Opened(segment)) => {
                self.segment = segment;
                (Phase::Steady, RollStep::Resume { segment, members })
            }
            (Phase::Asking { .. }, RollEvent::Refused(reason)) => (Phase::Over, RollStep::Fence { reason }),
            (phase, _) => (phase, RollStep::Wait),
        };
        self.phase = phase;
        step
    }

    fn ask(&self, end: Lsn, members: Vec<Member>) -> (Phase, RollStep) {
        let step = RollStep::Ask { segment: self.segment, end, members: members.clone() };
        (Phase::Asking { members }, step)
    }
}

fn add(without: &mut Vec<Member>, more: Vec<Member>) {
    without.extend(more);
    without.sort_unstable();
    without.dedup();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(node: u32) -> Member {
        Member { node, disk: 0 }
    }

    #[test]
    fn a_roll_leaves_out_everybody_who_ails_before_the_question() {
        let mut rolling = Rolling::new(7);
        assert_eq!(rolling.on(RollEvent::Wanted(vec![member(2)])), RollStep::Freeze);
        assert_eq!(rolling.on(RollEvent::Wanted(vec![member(1)])), RollStep::Wait);
        let without = vec![member(1), member(2)];
        assert_eq!(rolling.on(RollEvent::Frozen(Lsn(5))), RollStep::Choose { without: without.clone() });
        assert_eq!(rolling.on(RollEvent::Chosen(None)), RollStep::Choose { without });
        let members = vec![member(3)];
        let ask = RollStep::Ask { segment: 7, end: Lsn(5), members: members.clone() };
        assert_eq!(rolling.on(RollEvent::Chosen(Some(members.clone()))), ask);
        assert_eq!(rolling.on(RollEvent::Wanted(vec![member(3)])), RollStep::Wait);
        assert_eq!(rolling.on(RollEvent::Opened(9)), RollStep::Resume { segment: 9, members });
        assert_eq!(rolling.segment(), 9);
    }

    fn event() -> impl Strategy<Value = RollEvent> {
        let members = || prop::collection::vec((0..4_u32).prop_map(member), 0..3);
        prop_oneof![
            members().prop_map(RollEvent::Wanted),
            (0..9_u64).prop_map(|end| RollEvent::Frozen(Lsn(end))),
            prop::option::of(members()).prop_map(RollEvent::Chosen),
            (0..99_u64).prop_map(RollEvent::Opened),
            Just(RollEvent::Refused("fenced".to_owned())),
        ]
    }

    proptest! {
        /// Events in any order, also such as no driver sends.
        #[test]
        fn a_question_never_changes_and_nothing_goes_on_without_an_answer(
            events in prop::collection::vec(event(), 0..60),
        ) {
            let mut rolling = Rolling::new(0);
            let mut asked: Option<RollStep> = None;
            let mut over = false;
            for event in events {
                let opened = matches!(event, RollEvent::Opened(_));
                match rolling.on(event) {
                    _ if over => prop_assert_eq!(&rolling.phase, &Phase::Over),
                    step @ RollStep::Ask { .. } => {
                        prop_assert!(asked.as_ref().is_none_or(|before| *before == step));
                        asked = Some(step);
                    }
                    RollStep::Resume { members: resumed, .. } => {
                        prop_assert!(opened);
                        let Some(RollStep::Ask { members, .. }) = asked.take() else {
                            return Err(TestCaseError::fail("resumed without a question"));
                        };
                        prop_assert_eq!(resumed, members);
                    }
                    RollStep::Freeze | RollStep::Choose { .. } => prop_assert!(asked.is_none()),
                    RollStep::Fence { .. } => {
                        prop_assert!(asked.is_some());
                        over = true;
                    }
                    RollStep::Wait => {}
                }
            }
        }
    }
}
