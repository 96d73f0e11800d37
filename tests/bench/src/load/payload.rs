use aquifer_runtime::Random;

/// Records are cut from this much text, each from another place.
const TEXT_BYTES: usize = 2 << 20;
const SEED: u64 = 4_300;
/// Log lines, roughly: they shrink to a third under a fast compression.
const WORDS: [&str; 16] = [
    "order",
    "shipped",
    "from",
    "warehouse",
    "customer",
    "status",
    "pending",
    "accepted",
    "retry",
    "after",
    "timeout",
    "invoice",
    "region",
    "north",
    "checksum",
    "priority",
];

/// What records carry: text that compresses as logs do.
#[derive(Debug)]
pub(super) struct Payload {
    text: Vec<u8>,
    record_bytes: usize,
    next: usize,
}

impl Payload {
    pub(super) fn new(record_bytes: usize) -> Self {
        let random = Random::seeded(SEED);
        let mut text = Vec::with_capacity(TEXT_BYTES + record_bytes + 32);
        while text.len() < TEXT_BYTES + record_bytes {
            let word = WORDS[random.below(WORDS.len() as u64) as usize];
            text.extend_from_slice(word.as_bytes());
            text.extend_from_slice(format!("={:x} ", random.below(1 << 24)).as_bytes());
        }
        Self { text, record_bytes, next: 0 }
    }

    /// The payload of the next record.
    pub(super) fn next(&mut self) -> &[u8] {
        let from = self.next;
        self.next = (self.next + self.record_bytes) % TEXT_BYTES;
        &self.text[from..from + self.record_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_has_its_size_and_neighbours_differ() {
        for record_bytes in [1, 100, 1024, 100 << 10] {
            let mut payload = Payload::new(record_bytes);
            let first = payload.next().to_vec();
            assert_eq!(first.len(), record_bytes);
            assert!((0..10_000).all(|_| payload.next().len() == record_bytes));
            assert!(record_bytes == 1 || payload.next() != first);
        }
    }
}
