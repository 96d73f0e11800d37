use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

/// What a producer was told, and what a reader found.
#[derive(Debug, Default)]
pub struct History {
    /// Records sent; number N went to partition N modulo the partitions.
    sent: u64,
    acknowledged: BTreeMap<Place, u64>,
    /// Acknowledgements of a place that had one already.
    repeated: Vec<Place>,
    /// Acknowledgements that named no place.
    implied: usize,
    failed: BTreeSet<u64>,
    partitions: BTreeMap<i32, Found>,
}

/// A partition and an offset.
type Place = (i32, i64);

/// What a reader found in a partition.
#[derive(Debug, Default)]
struct Found {
    begin: i64,
    end: i64,
    /// Offset and number, as they came.
    records: Vec<(i64, u64)>,
}

/// What must hold.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Each record once and in order.
    pub idempotent: bool,
    /// What may be gone from the log's begin.
    pub kept: Kept,
}

/// What retention leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Everything.
    All,
    /// What lies from the log's begin on, wherever that is.
    Tail,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A record was acknowledged and is not there.
    Lost {
        /// Where it was.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// Its number.
        number: u64,
    },
    /// Another record stands where one was acknowledged.
    Replaced {
        /// Where it was.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// The acknowledged number.
        number: u64,
        /// What is there.
        found: u64,
    },
    /// Two records were acknowledged at one place.
    AcknowledgedTwice {
        /// Where.
        partition: i32,
        /// At which offset.
        offset: i64,
    },
    /// An offset does not follow the one before.
    Hole {
        /// Where.
        partition: i32,
        /// The offset that was expected.
        expected: i64,
        /// The one that came.
        found: i64,
    },
    /// The log does not begin where it did.
    BeginMoved {
        /// Where.
        partition: i32,
        /// Its begin.
        begin: i64,
    },
    /// A record is there twice or out of order.
    Disorder {
        /// Where.
        partition: i32,
        /// At which offset.
        offset: i64,
        /// The number that was expected.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// A record was sent, did not fail, and is not there.
    Missing {
        /// Where.
        partition: i32,
        /// Its number.
        number: u64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl History {
    /// From what a producer and a reader wrote down; see `scripts/produce.py` and `scripts/read.py`.
    ///
    /// # Panics
    /// If one of the files cannot be read.
    #[must_use]
    pub fn from_files(produced: &Path, found: &Path) -> Self {
        let mut history = Self::default();
        for path in [produced, found] {
            let text = fs::read_to_string(path)
                .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
            // A producer that was killed leaves half a line.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().for_each(|line| history.add(line));
        }
        history
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split(' ');
        let fact = words.next().unwrap_or_default();
        let numbers: Vec<i64> = words.map(|word| word.parse().expect("a history has numbers")).collect();
        let count = |number: i64| u64::try_from(number).expect("numbers of records are not negative");
        let partition = |number: i64| i32::try_from(number).expect("a partition is small");
        match (fact, &numbers[..]) {
            ("a", &[at, offset, number]) => {
                let place = (partition(at), offset);
                if self.acknowledged.insert(place, count(number)).is_some() {
                    self.repeated.push(place);
                }
            }
            // Where it is, nobody was told; of an idempotent producer's records each must be there that did not fail.
            ("i", &[_, _]) => self.implied += 1,
            ("f", &[_, number]) => drop(self.failed.insert(count(number))),
            ("s", &[sent]) => self.sent = count(sent),
            ("b", &[at, offset]) => self.found(partition(at)).begin = offset,
            ("r", &[at, offset, number]) => self.found(partition(at)).records.push((offset, count(number))),
            ("e", &[at, offset]) => self.found(partition(at)).end = offset,
            _ => panic!("not a line of a history: '{line}'"),
        }
    }

    fn found(&mut self, partition: i32) -> &mut Found {
        self.partitions.entry(partition).or_default()
    }

    /// How many records were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len() + self.implied
    }

    /// How many records failed at the producer.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed.len()
    }

    /// How many records were found.
    #[must_use]
    pub fn found_records(&self) -> usize {
        self.partitions.values().map(|found| found.records.len()).sum()
    }

    /// Everything that must not be; the first few of each partition.
    #[must_use]
    pub fn losses(&self, expected: Expected) -> Vec<Loss> {
        let twice =
            self.repeated.iter().map(|&(partition, offset)| Loss::AcknowledgedTwice { partition, offset });
        let mut losses: Vec<Loss> = twice.collect();
        let partitions = self.partitions.len() as u64;
        for (&partition, found) in &self.partitions {
            losses.extend(holes(partition, found, expected.kept).take(3));
            losses.extend(self.losses_of(partition, found).take(3));
            if expected.idempotent {
                losses.extend(self.disorder(partition, found, partitions).into_iter().take(3));
            }
        }
        losses
    }

    /// Checks that nothing is lost.
    ///
    /// # Panics
    /// If something is.
    pub fn check(&self, expected: Expected) {
        let losses = self.losses(expected);
        let shown: Vec<String> = losses.iter().take(10).map(Loss::to_string).collect();
        assert!(
            losses.is_empty(),
            "{} sent, {} acknowledged, {} failed, {} found: {}",
            self.sent,
            self.acknowledged(),
            self.failed(),
            self.found_records(),
            shown.join("; ")
        );
        assert!(self.acknowledged() > 0, "nothing was acknowledged: the history shows nothing");
    }

    /// Acknowledged records that are not where they were acknowledged.
    fn losses_of<'a>(&'a self, partition: i32, found: &'a Found) -> impl Iterator<Item = Loss> + 'a {
        let there: BTreeMap<i64, u64> = found.records.iter().copied().collect();
        let acknowledged = self.acknowledged.range((partition, found.begin)..(partition + 1, i64::MIN));
        acknowledged.filter_map(move |(&(_, offset), &number)| match there.get(&offset) {
            None => Some(Loss::Lost { partition, offset, number }),
            Some(&found) if found != number => Some(Loss::Replaced { partition, offset, number, found }),
            Some(_) => None,
        })
    }

    /// Where an idempotent producer's records are not each once and in order.
    fn disorder(&self, partition: i32, found: &Found, partitions: u64) -> Vec<Loss> {
        let at = u64::try_from(partition).expect("partitions are not negative");
        let first =
            if found.begin == 0 { at } else { found.records.first().map_or(at, |(_, number)| *number) };
        let numbers = (first..).step_by(usize::try_from(partitions).expect("a few partitions"));
        let mut wanted = numbers.take_while(|number| *number < self.sent).peekable();
        let mut losses = Vec::new();
        for &(offset, number) in &found.records {
            // A failed record may be there or not, but not out of its place.
            while wanted.peek().is_some_and(|wanted| *wanted < number && self.failed.contains(wanted)) {
                wanted.next();
            }
            match wanted.next() {
                Some(expected) if expected == number => {}
                expected => {
                    let expected = expected.unwrap_or(self.sent);
                    losses.push(Loss::Disorder { partition, offset, expected, found: number });
                    return losses;
                }
            }
        }
        let missing = wanted.filter(|number| !self.failed.contains(number));
        losses.extend(missing.map(|number| Loss::Missing { partition, number }));
        losses
    }
}

/// Offsets that do not follow each other from begin to end.
fn holes(partition: i32, found: &Found, kept: Kept) -> impl Iterator<Item = Loss> + '_ {
    let moved = kept == Kept::All && found.begin != 0;
    let moved = moved.then_some(Loss::BeginMoved { partition, begin: found.begin });
    let offsets = found.records.iter().map(|(offset, _)| *offset).chain([found.end]);
    let holes = offsets.zip(found.begin..).filter(|(found, expected)| found != expected);
    moved.into_iter().chain(holes.map(move |(found, expected)| Loss::Hole { partition, expected, found }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Expected = Expected { idempotent: true, kept: Kept::All };
    const PLAIN: Expected = Expected { idempotent: false, kept: Kept::All };

    fn history(lines: &[&str]) -> History {
        let mut history = History::default();
        lines.iter().for_each(|line| history.add(line));
        history
    }

    const SOUND: [&str; 8] = ["s 3", "a 0 0 0", "a 0 1 1", "b 0 0", "r 0 0 0", "r 0 1 1", "r 0 2 2", "e 0 3"];

    fn changed(from: &str, to: &[&'static str]) -> History {
        let lines = SOUND.iter().flat_map(|&line| if line == from { to.to_vec() } else { vec![line] });
        history(&lines.collect::<Vec<_>>())
    }

    #[test]
    fn a_sound_history_has_no_losses() {
        assert_eq!(changed("", &[]).losses(ONCE), []);
    }

    #[test]
    fn a_lost_tail_is_found() {
        let lost = history(&["s 2", "a 0 0 0", "a 0 1 1", "b 0 0", "r 0 0 0", "e 0 1"]);
        let loss = Loss::Lost { partition: 0, offset: 1, number: 1 };
        assert_eq!(lost.losses(PLAIN), std::slice::from_ref(&loss));
        assert_eq!(lost.losses(ONCE), [loss, Loss::Missing { partition: 0, number: 1 }]);
    }

    #[test]
    fn what_was_acknowledged_without_a_place_must_be_there_too() {
        assert_eq!(changed("a 0 1 1", &["i 0 1"]).losses(ONCE), []);
        let lost = history(&["s 2", "a 0 0 0", "i 0 1", "b 0 0", "r 0 0 0", "e 0 1"]);
        assert_eq!(lost.losses(ONCE), [Loss::Missing { partition: 0, number: 1 }]);
        assert_eq!(lost.acknowledged(), 2);
    }

    #[test]
    fn holes_and_a_begin_that_moved_are_found() {
        let hole = changed("r 0 2 2", &["r 0 3 2"]);
        assert!(hole.losses(PLAIN).contains(&Loss::Hole { partition: 0, expected: 2, found: 3 }));
        let begun = history(&["s 2", "a 0 1 1", "b 0 1", "r 0 1 1", "e 0 2"]);
        assert_eq!(begun.losses(ONCE), [Loss::BeginMoved { partition: 0, begin: 1 }]);
        assert_eq!(begun.losses(Expected { kept: Kept::Tail, ..ONCE }), []);
    }

    #[test]
    fn a_repeated_record_is_an_idempotent_producers_loss_only() {
        let twice = history(&["s 2", "a 0 0 0", "b 0 0", "r 0 0 0", "r 0 1 0", "r 0 2 1", "e 0 3"]);
        assert_eq!(twice.losses(PLAIN), []);
        assert_eq!(twice.losses(ONCE), [Loss::Disorder { partition: 0, offset: 1, expected: 1, found: 0 }]);
    }

    #[test]
    fn a_failed_record_may_be_there_or_not() {
        for there in [true, false] {
            let mut lines = vec!["s 3", "a 0 0 0", "f 0 1", "b 0 0", "r 0 0 0"];
            lines.extend(if there { vec!["r 0 1 1", "r 0 2 2", "e 0 3"] } else { vec!["r 0 1 2", "e 0 2"] });
            assert_eq!(history(&lines).losses(ONCE), []);
        }
    }

    #[test]
    fn another_record_and_a_place_acknowledged_twice_are_found() {
        let replaced = changed("r 0 1 1", &["r 0 1 7"]);
        let loss = Loss::Replaced { partition: 0, offset: 1, number: 1, found: 7 };
        assert!(replaced.losses(PLAIN).contains(&loss));
        let twice = changed("a 0 1 1", &["a 0 1 1", "a 0 1 2"]);
        assert!(twice.losses(PLAIN).contains(&Loss::AcknowledgedTwice { partition: 0, offset: 1 }));
    }
}
