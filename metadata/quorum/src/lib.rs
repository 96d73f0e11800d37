//! aquifer-quorum
