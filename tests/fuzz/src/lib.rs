//! Bytes from nowhere against all that reads them: the frame guard, the decoders behind it, record batches, the codecs.
//!
//! ```text
//!   seed, number ──> a valid input, structure and all ──> mutated, or not ──> what reads it ──> bounds, equality
//! ```
//!
//! Inputs are generated, valid ones first, because bytes without structure never get past the first length. Each is a
//! function of (seed, number), so that a finding is one command to replay. A panic is a finding; so is an allocation over
//! the bound, and a disagreement between the guard and the decoder about where a request ends.
//!
//! It does not know: sockets, handlers. Way in: [`run::Run`].

pub mod batches;
pub mod codecs;
pub mod decoders;
pub mod frames;
pub mod measure;
pub mod mutate;
/// Runs of inputs by number.
pub mod run;
/// What a run saw.
pub mod tally;
/// Valid requests.
pub mod writer;
