//! The mirrored WAL as two models that a checker walks through all their states. Tests only.
//!
//! ```text
//!   segment   one segment: an owner, its copies, crashes, lost and rotten disks, a roll, two recoveries at once
//!             P D F V E N: the end that is decided covers everything that was acknowledged
//!                │ assumed of each segment in
//!                v
//!   chain     segments one after the other, objects, trims, takeovers and hand-overs of one partition
//!             C H O T L: what was acknowledged stays readable, in order, through all leaders
//! ```
//!
//! The invariants are those of `docs/durability.md`. A model's *bug* switches one rule of the code off; for each there is a test
//! that the checker then finds the invariant broken that the rule is for. Without a bug all invariants hold.
//!
//! They do not know: bytes, checksums, offsets that differ from LSNs, time. What the checker cannot tell from a longer wait
//! (patience, retention, credits) is left out.

pub mod chain;
pub mod check;
pub mod segment;
