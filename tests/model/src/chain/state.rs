use super::RECOVERERS;

/// Who leads the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leader {
    /// The broker whose segments these are.
    Owner,
    /// Another one.
    Heir,
}

/// What the metadata knows of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meta {
    /// Its owner writes.
    Open,
    /// The entry of this number fenced the owner, or registered it anew.
    Sealing(u8),
    /// It ends here.
    Closed(u8),
    /// Ended by a takeover, and offloaded.
    Gone,
}

/// A segment, in the metadata and on disks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// The registration of the process that writes it.
    pub epoch: u8,
    /// Its state in the metadata.
    pub meta: Meta,
    /// It continues the one before it, from this LSN on.
    pub continues: Option<u8>,
    /// History: where a roll closed it.
    pub rolled_at: Option<u8>,
    /// The LSN of the first record in it.
    pub first: Option<u8>,
    /// The records that its owner wrote into it.
    pub written: Vec<u8>,
    /// How many of these each copy holds; the first one is the owner's own.
    pub held: [u8; super::COPIES],
    /// Copies that take no more.
    pub sealed: [bool; super::COPIES],
}

impl Segment {
    /// A segment that was just opened.
    pub fn opened(epoch: u8, continues: Option<u8>) -> Self {
        let (held, sealed) = ([0; super::COPIES], [false; super::COPIES]);
        let (first, rolled_at) = (None, None);
        Self { epoch, meta: Meta::Open, continues, rolled_at, first, written: Vec::new(), held, sealed }
    }

    /// The record at an LSN, if this many records of the segment count.
    pub fn record(&self, lsn: u8, records: u8) -> Option<u8> {
        let place = lsn.checked_sub(self.first?)?;
        self.written.get(usize::from(place)).copied().filter(|_| place < records)
    }
}

/// An object and what it takes to commit it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// The process that uploads it.
    pub epoch: u8,
    /// The first offset of its range.
    pub first: u8,
    /// Its records.
    pub records: Vec<u8>,
}

/// A committed range: what an invariant looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The first offset.
    pub first: u8,
    /// The offset after the last.
    pub end: u8,
    /// Whether its committer had the epoch that was current.
    pub current: bool,
}

/// What a recoverer found and asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tail {
    /// Segments, the seals that they were found under, and their ends.
    pub ends: Vec<(usize, Option<u8>, u8)>,
    /// What continues the stream.
    pub object: Object,
    /// Whether the partition gets another leader.
    pub to_heir: bool,
}

/// What the owner asks for when it gives the partition away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandOver {
    /// The process.
    pub epoch: u8,
    /// The move.
    pub asked: u8,
    /// Where the partition ends.
    pub end: u8,
}

/// The process that serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// It runs. It may be fenced and not know it.
    pub runs: bool,
    /// Its registration.
    pub epoch: u8,
    /// The segment that it writes; none before it serves.
    pub writes: Option<usize>,
    /// The stream as it has it.
    pub log: Vec<u8>,
    /// How many of these it acknowledged.
    pub high_watermark: u8,
    /// It asked for a roll that closes its segment here; it acknowledges nothing.
    pub rolling: Option<u8>,
    /// An object whose commit it asked for and knows nothing of.
    pub offloading: Option<Object>,
    /// Everything before is trimmed.
    pub trimmed: u8,
    /// It admits producers.
    pub admits: bool,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The number of the last entry that fenced or registered; epochs and seals are such numbers.
    pub entry: u8,
    /// The owner's registration is fenced.
    pub fenced: bool,
    /// The owner's registration.
    pub epoch: u8,
    /// All segments that ever were.
    pub segments: Vec<Segment>,
    /// The stream's committed records.
    pub committed: Vec<u8>,
    /// History: the committed ranges.
    pub ranges: Vec<Range>,
    /// Who leads.
    pub leader: Leader,
    /// History: the committed end when the leader changed.
    pub led_from: Option<u8>,
    /// The number of the move that an operator asks for; 0: none.
    pub moving: u8,
    /// A HandOver that may take effect: for which move, and where the owner says that the partition ends.
    pub handing_over: Option<HandOver>,
    /// The process of the owner.
    pub owner: Owner,
    /// History: what the owner's producers and consumers saw.
    pub seen: Vec<u8>,
    /// History: somebody saw another record at an offset than others before.
    pub contradicted: bool,
    /// Records sent so far.
    pub sent: u8,
    /// Rolls so far.
    pub rolls: u8,
    /// Fences so far.
    pub fences: u8,
    /// Restarts so far.
    pub restarts: u8,
    /// Moves asked for so far.
    pub moves: u8,
    /// What recoverers ask for.
    pub found: [Option<Tail>; RECOVERERS],
}

impl Chain {
    /// The owner has just registered.
    pub fn registered() -> Self {
        let owner = Owner {
            runs: true,
            epoch: 1,
            writes: None,
            log: Vec::new(),
            high_watermark: 0,
            rolling: None,
            offloading: None,
            trimmed: 0,
            admits: true,
        };
        Self {
            entry: 1,
            fenced: false,
            epoch: 1,
            segments: Vec::new(),
            committed: Vec::new(),
            ranges: Vec::new(),
            leader: Leader::Owner,
            led_from: None,
            moving: 0,
            handing_over: None,
            owner,
            seen: Vec::new(),
            contradicted: false,
            sent: 0,
            rolls: 0,
            fences: 0,
            restarts: 0,
            moves: 0,
            found: [None, None],
        }
    }

    /// The stream's committed end.
    pub fn end(&self) -> u8 {
        self.committed.len() as u8
    }

    /// Segments that only a takeover can end: those of processes of the owner that are dead or fenced.
    pub fn left(&self) -> impl Iterator<Item = usize> {
        let present = (!self.fenced).then_some(self.epoch);
        let left = move |segment: &Segment| segment.meta != Meta::Gone && Some(segment.epoch) != present;
        self.segments.iter().enumerate().filter(move |(_, segment)| left(segment)).map(|(at, _)| at)
    }
}
