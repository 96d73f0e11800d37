use std::fmt;

use allocation_counter::measure;

/// What was seen, for the report of a run.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Tally {
    /// Inputs in all.
    pub inputs: u64,
    /// Frames that passed the guard.
    pub passed: u64,
    /// Frames that the guard refused.
    pub refused: u64,
    /// Bodies that passed and were decoded.
    pub decoded: u64,
    /// Batches that were valid.
    pub batches: u64,
    /// Compressed inputs that were decompressed whole.
    pub decompressed: u64,
    /// The most that decoding took, as a multiple of the frame.
    pub frame_multiple: f64,
    /// The most that decoding took, as a share of what the guard allowed for.
    pub bound_share: f64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, passed, refused, decoded, batches, decompressed, frame_multiple, bound_share } =
            self;
        write!(
            f,
            "{inputs} inputs; frames: {passed} passed the guard, {refused} refused, {decoded} decoded, at most \
             {frame_multiple:.1} times the frame and {:.0} % of the bound; {batches} valid batches, {decompressed} \
             decompressed",
            bound_share * 100.0
        )
    }
}

/// Runs `work` and gives back what its allocations came to at their highest.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let mut done = None;
    let info = measure(|| done = Some(work()));
    (done.expect("measure runs what it is given"), usize::try_from(info.bytes_max).expect("64 bits"))
}
