//! The aquifer binary.

fn main() {}
