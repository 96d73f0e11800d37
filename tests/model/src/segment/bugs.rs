/// A rule that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A mirror takes a frame that is not the next one.
    TakesAnyFrame,
    /// A mirror acknowledges what it received and has not synced.
    AcknowledgesBeforeSync,
    /// The owner counts its own copy before its sync.
    CountsItselfBeforeSync,
    /// A seal is forgotten when its mirror restarts.
    ForgetsSeals,
    /// A recovery reads the end of a copy that is not sealed.
    ReadsUnsealed,
    /// A disk that was replaced says "empty".
    BlankAnswers,
    /// A copy with a bad frame in its middle answers with what lies before it.
    DamageAnswers,
    /// The end is closed without looking at who sealed last.
    ClosesUncompared,
    /// One trustworthy answer too few is enough.
    TooFewAnswers,
    /// The shortest answer tells the end.
    TakesShortest,
    /// Acknowledgements go on while the quorum is asked to close.
    RollsUnfrozen,
    /// A roll whose outcome is unknown counts as one that did not happen.
    ThawsOnUnknown,
}
