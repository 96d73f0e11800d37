use std::collections::BTreeMap;

use super::copy::{Copy, Found, Seal};
use super::entry::{Entry, Frame};
use super::{MirrorStoreConfig, Refusal};
use crate::{Lsn, Recovered, Verdict};

/// All copies of a mirror, and what of its log they need. Pure: the log is told to it.
#[derive(Debug)]
pub(crate) struct Ledger {
    config: MirrorStoreConfig,
    copies: BTreeMap<u64, Copy>,
    /// What is needed of the log, by place, and what lies there.
    needed: BTreeMap<Lsn, Needed>,
    /// What lies before this is on its way to another place.
    carried: Lsn,
    /// The newest epoch that fenced each owner.
    fenced: BTreeMap<u32, u64>,
}

/// What lies at a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needed {
    /// A frame, by segment and number.
    Frame(u64, u64),
    /// A seal.
    Seal(u64),
}

impl Ledger {
    /// What a restart found. No copy goes on: their owners went on elsewhere.
    pub(crate) fn recover(config: MirrorStoreConfig, recovered: Recovered) -> Result<Self, String> {
        let mut ledger = Self {
            config,
            copies: BTreeMap::new(),
            needed: BTreeMap::new(),
            carried: Lsn(0),
            fenced: BTreeMap::new(),
        };
        // In any run of this mirror: a copy that was cut short then still is.
        let doubtful = recovered.segments.iter().any(|run| run.verdict == Verdict::DamagedLast);
        let mut found = BTreeMap::<u64, Found>::new();
        for (place, record) in recovered.segments.into_iter().flat_map(|segment| segment.records) {
            match Entry::read(place, record)? {
                Entry::Frame { segment, frame } => found.entry(segment).or_default().frame(place, frame),
                Entry::Seal { segment, owner, epoch } => {
                    let known = &mut found.entry(segment).or_default().seal;
                    if known.is_none_or(|(_, seal)| seal.epoch <= epoch) {
                        *known = Some((owner, Seal { epoch, place }));
                    }
                    ledger.fence(owner, epoch);
                }
            }
        }
        for (segment, found) in found {
            let mut copy = found.copy(doubtful);
            copy.trim();
            if let Some(damage) = &copy.damage {
                tracing::error!(segment, damage, "a mirrored copy is damaged: it abstains from recovery");
            }
            ledger.copies.insert(segment, copy);
        }
        ledger.index();
        Ok(ledger)
    }

    /// Builds the index of what is needed anew.
    fn index(&mut self) {
        self.needed.clear();
        for (&segment, copy) in &self.copies {
            if let Some(seal) = copy.seal {
                self.needed.insert(seal.place, Needed::Seal(segment));
            }
            for (sequence, place) in copy.frame_places() {
                self.needed.insert(place, Needed::Frame(segment, sequence));
            }
        }
    }

    fn fence(&mut self, owner: u32, epoch: u64) {
        let known = self.fenced.entry(owner).or_default();
        *known = epoch.max(*known);
    }

    /// Opens a copy for an owner that begins a segment. Its older ones take no more.
    pub(crate) fn begin(&mut self, owner: u32, segment: u64) -> Result<(), Refusal> {
        if let Some(&epoch) = self.fenced.get(&owner).filter(|epoch| **epoch > segment) {
            return Err(Refusal::Sealed { segment, epoch });
        }
        if self.copies.contains_key(&segment) {
            return Err(Refusal::NotOpen { segment });
        }
        for copy in self.copies.range_mut(..segment).map(|(_, copy)| copy) {
            copy.open &= copy.owner != owner;
        }
        let (window, limit) = (self.config.window_bytes(), self.config.grantable_bytes());
        let taken = self.granted_bytes();
        if taken + window > limit {
            return Err(Refusal::NoRoom { segment, owner, taken, limit });
        }
        let copy = Copy::new(owner, true, false);
        copy.grant(window);
        self.copies.insert(segment, copy);
        Ok(())
    }

    /// Bytes that copies hold or may come to hold.
    fn granted_bytes(&self) -> u64 {
        let window = self.config.window_bytes();
        let of = |copy: &Copy| copy.kept_bytes().max(if copy.open { window } else { 0 });
        self.copies.values().map(of).sum()
    }

    /// Takes a frame that was checked; `append` puts it into the log.
    pub(crate) fn accept(
        &mut self,
        segment: u64,
        frame: &Frame,
        append: impl FnOnce(Entry, &Copy) -> Result<Lsn, Refusal>,
    ) -> Result<(), Refusal> {
        let limit = self.config.window_bytes();
        let Some(copy) = self.copies.get_mut(&segment) else { return Err(Refusal::NotOpen { segment }) };
        if let Some(Seal { epoch, .. }) = copy.seal {
            return Err(Refusal::Sealed { segment, epoch });
        }
        if !copy.open {
            return Err(Refusal::NotOpen { segment });
        }
        let header = &frame.header;
        if header.sequence != copy.next {
            let (expected, found) = (copy.next, header.sequence);
            return Err(Refusal::NotNext { segment, expected, found });
        }
        let damaged = |reason: &str| Err(Refusal::Damaged { segment, reason: reason.to_owned() });
        if (header.segment, header.epoch) != (segment, segment) || header.identity.owner != copy.owner {
            return damaged("it belongs to another segment or owner");
        }
        if header.sequence > 0 && header.previous_checksum != copy.checksum {
            return damaged("it does not follow the frame before it");
        }
        let granted = copy.progress.borrow().granted_bytes;
        let taken = copy.received_bytes() + frame.bytes.len() as u64;
        if taken > granted {
            return Err(Refusal::NoRoom { segment, owner: copy.owner, taken, limit: granted });
        }
        let place = append(Entry::Frame { segment, frame: frame.clone() }, copy)?;
        copy.push(frame, place);
        self.needed.insert(place, Needed::Frame(segment, header.sequence));
        for place in copy.trim() {
            self.needed.remove(&place);
        }
        copy.grant(limit);
        Ok(())
    }

    /// Promises a segment to an epoch; `append` puts the promise into the log. Gives its place there: once that is durable,
    /// so is everything that the copy will ever hold.
    pub(crate) fn seal(
        &mut self,
        owner: u32,
        segment: u64,
        epoch: u64,
        append: impl FnOnce(Entry) -> Result<Lsn, Refusal>,
    ) -> Result<Lsn, Refusal> {
        let copy = self.copies.entry(segment).or_insert_with(|| Copy::new(owner, false, false));
        if let Some(Seal { epoch: promised, .. }) = copy.seal.filter(|seal| seal.epoch > epoch) {
            return Err(Refusal::OldEpoch { segment, promised, asked: epoch });
        }
        copy.open = false;
        // A recovery that has to wait asks again and again.
        if let Some(seal) = copy.seal.filter(|seal| seal.epoch == epoch) {
            return Ok(seal.place);
        }
        let place = append(Entry::Seal { segment, owner, epoch })?;
        if let Some(old) = copy.seal.replace(Seal { epoch, place }) {
            self.needed.remove(&old.place);
        }
        self.needed.insert(place, Needed::Seal(segment));
        self.fence(owner, epoch);
        Ok(place)
    }

    /// A sealed copy, unless it has to abstain.
    pub(crate) fn sealed(&self, segment: u64) -> Result<&Copy, Refusal> {
        match self.copies.get(&segment) {
            Some(Copy { damage: Some(reason), .. }) => {
                Err(Refusal::Abstains { segment, reason: reason.clone() })
            }
            Some(copy) if copy.seal.is_some() => Ok(copy),
            _ => Err(Refusal::Abstains { segment, reason: "it was not sealed".to_owned() }),
        }
    }

    /// The owner's link is gone, or it went on in another segment.
    pub(crate) fn close(&mut self, segment: u64) {
        if let Some(copy) = self.copies.get_mut(&segment) {
            copy.open = false;
        }
    }

    /// Forgets copies that nobody needs any more.
    pub(crate) fn retain(&mut self, mut needed: impl FnMut(u64) -> bool) {
        let gone: Vec<u64> = self.copies.keys().copied().filter(|segment| !needed(*segment)).collect();
        for segment in gone {
            let copy = self.copies.remove(&segment).expect("just listed");
            copy.places().for_each(|place| _ = self.needed.remove(&place));
        }
    }

    /// The first place of the log that is needed.
    pub(crate) fn floor(&self) -> Option<Lsn> {
        self.needed.keys().next().copied()
    }

    /// The oldest entry that is needed and not on its way to another place yet, and where it lies.
    pub(crate) fn carry(&mut self) -> Option<(Lsn, Entry)> {
        let (&place, &what) = self.needed.range(self.carried..).next()?;
        self.carried = Lsn(place.0 + 1);
        let (Needed::Frame(segment, _) | Needed::Seal(segment)) = what;
        let copy = self.copies.get(&segment).expect("what is needed belongs to a copy");
        let entry = match what {
            Needed::Seal(_) => {
                let seal = copy.seal.expect("a seal that is needed");
                Entry::Seal { segment, owner: copy.owner, epoch: seal.epoch }
            }
            Needed::Frame(_, sequence) => {
                let frame = copy.frame(sequence).expect("a frame that is needed");
                Entry::Frame { segment, frame: Frame::check(frame).expect("it was checked when it came") }
            }
        };
        Some((place, entry))
    }

    /// What lies at `place` could not be written again: it is tried another time.
    pub(crate) fn not_carried(&mut self, place: Lsn) {
        self.carried = place;
    }

    /// What lay at `from` is now durable at `to` as well.
    pub(crate) fn moved(&mut self, from: Lsn, to: Lsn) {
        let Some(what) = self.needed.remove(&from) else { return };
        let (Needed::Frame(segment, _) | Needed::Seal(segment)) = what;
        let Some(copy) = self.copies.get_mut(&segment) else { return };
        if copy.relocate(what, to) {
            self.needed.insert(to, what);
        }
    }

    /// How many copies there are.
    pub(crate) fn copies(&self) -> usize {
        self.copies.len()
    }

    pub(crate) fn copy(&self, segment: u64) -> Option<&Copy> {
        self.copies.get(&segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_that_is_asked_for_again_is_not_logged_again() {
        let found = Recovered::default();
        let mut ledger = Ledger::recover(MirrorStoreConfig::default(), found).expect("nothing is damaged");
        let mut logged = 0;
        let mut seal = |epoch| {
            ledger.seal(2, 10, epoch, |_| {
                logged += 1;
                Ok(Lsn(logged))
            })
        };
        // As a recovery does that waits for another copy.
        for _ in 0..3 {
            assert_eq!(seal(20).expect("promised"), Lsn(1), "its promise is durable once that place is");
        }
        assert_eq!(seal(21).expect("promised"), Lsn(2), "a newer recovery has a promise of its own");
        assert!(matches!(seal(20), Err(Refusal::OldEpoch { promised: 21, asked: 20, .. })));
        assert_eq!(logged, 2);
    }
}
