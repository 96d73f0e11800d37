//! The image through its public door: each file one subject.

mod brokers;
mod fixture;
mod format;
mod histories;
mod leaving;
mod moves;
mod objects;
mod retention;
mod scale;
mod segments;
mod takeover;
mod topics;
