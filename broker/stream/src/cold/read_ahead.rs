//! Which readers of a stream go on where they were, and how far ahead of them to read. Pure.

/// The ranged read of a reader that was never seen before.
pub(crate) const NARROWEST_WINDOW: u64 = 1 << 20;
/// The ranged read of a reader that goes on and on.
pub(crate) const WIDEST_WINDOW: u64 = 4 << 20;
/// Readers of one stream that are told apart; of more, those that paused longest are taken for new.
const CURSORS: usize = 8;

/// The readers of a stream's objects, most recent last.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    cursors: Vec<Cursor>,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Where the reader will go on if it reads in sequence.
    next: u64,
    window: u64,
}

impl ReadAhead {
    /// How many bytes to fetch for a read at `offset`, and whether its reader goes on from an earlier read.
    pub(crate) fn window(&self, offset: u64) -> (u64, bool) {
        match self.cursors.iter().find(|cursor| cursor.next == offset) {
            Some(cursor) => (cursor.window, true),
            None => (NARROWEST_WINDOW, false),
        }
    }

    /// A read at `offset` gave everything before `next`.
    pub(crate) fn note(&mut self, offset: u64, next: u64, widest: u64) {
        let known = self.cursors.iter().position(|cursor| cursor.next == offset);
        let window = match known {
            Some(at) => (self.cursors.remove(at).window * 2).min(widest),
            None => NARROWEST_WINDOW,
        };
        if self.cursors.len() == CURSORS {
            self.cursors.remove(0);
        }
        self.cursors.push(Cursor { next, window });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_while_a_reader_goes_on() {
        let mut readers = ReadAhead::default();
        assert_eq!(readers.window(0), (NARROWEST_WINDOW, false));
        for (offset, window) in [(0, 1 << 20), (10, 2 << 20), (20, 4 << 20), (30, 4 << 20)] {
            readers.note(offset, offset + 10, WIDEST_WINDOW);
            assert_eq!(readers.window(offset + 10), (window, true));
        }
    }

    #[test]
    fn readers_are_told_apart_and_the_idle_ones_forgotten() {
        let mut readers = ReadAhead::default();
        readers.note(0, 10, WIDEST_WINDOW);
        readers.note(10, 20, WIDEST_WINDOW);
        for reader in 1..CURSORS as u64 {
            readers.note(reader * 1000, reader * 1000 + 5, WIDEST_WINDOW);
        }
        assert_eq!(readers.window(20), (2 << 20, true));
        readers.note(90_000, 90_001, WIDEST_WINDOW);
        assert_eq!(readers.window(20), (NARROWEST_WINDOW, false));
    }
}
