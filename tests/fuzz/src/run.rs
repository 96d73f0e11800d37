use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::tally::Tally;
use crate::{batches, codecs, frames};

/// Of so many inputs one is a batch, and one is for the codecs; the others are frames.
const ROUND: u64 = 8;

/// Inputs by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// What all of them are a function of.
    pub seed: u64,
    /// The first one.
    pub first: u64,
    /// How many.
    pub inputs: u64,
}

/// An input that something did not bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its number.
    pub number: u64,
    /// What was said.
    pub message: String,
}

impl Run {
    /// Feeds the inputs, and tells of each part of them how it went; ends at the first finding.
    ///
    /// # Errors
    /// The finding.
    pub fn feed(self, part: u64, mut told: impl FnMut(&Tally)) -> Result<Tally, Finding> {
        let mut tally = Tally::default();
        for number in self.first..self.first + self.inputs {
            let fed = catch_unwind(AssertUnwindSafe(|| feed(self.seed, number, &mut tally)));
            fed.map_err(|panic| Finding { number, message: message(panic.as_ref()) })?;
            tally.inputs += 1;
            if tally.inputs.is_multiple_of(part) {
                told(&tally);
            }
        }
        Ok(tally)
    }
}

/// Feeds one input.
fn feed(seed: u64, number: u64, tally: &mut Tally) {
    // Neighbouring seeds must not give neighbouring sequences: `seed_from_u64` mixes what it is given.
    let mut random = SmallRng::seed_from_u64(seed.rotate_left(32) ^ number);
    match number % ROUND {
        0 => {
            let (bytes, rules) = batches::batch(&mut random);
            batches::take(&bytes, &rules, tally);
        }
        1 => {
            let (compression, bytes) = codecs::packed(&mut random);
            codecs::take(compression, &bytes, tally);
        }
        _ => frames::take(&frames::frame(&mut random), tally),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
