/// A rule that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A roll closes a segment by one entry and opens the next by another.
    RollsInTwoEntries,
    /// The next segment begins at the end of what was written, not where the one before was closed.
    ResumesAtLogEnd,
    /// Consumers see what is on the owner's disk alone.
    ShowsUncommitted,
    /// A process that came back serves before what the earlier one left is ended.
    ServesBeforeItsTail,
    /// A commit need not continue the stream.
    OffloadsUncompared,
    /// The commit of a fenced process, or of one that another took the place of, is taken.
    OffloadsUnderAnOldEpoch,
    /// The WAL is trimmed once the object is in the store.
    TrimsAfterPut,
    /// The WAL is trimmed below the high watermark: mirrors have it.
    TrimsBelowHighWatermark,
    /// Fencing a broker gives its partitions away.
    LeadsOnceFenced,
    /// A takeover names the newest segment that was left, and not all.
    TakesOverNewestOnly,
    /// A hand-over is not compared with the committed end.
    HandsOverUncompared,
    /// Producers are admitted again although a hand-over may still take effect.
    ResumesWhileUnsettled,
    /// A takeover moves partitions although their owner came back meanwhile.
    MovesFromTheLiving,
}
