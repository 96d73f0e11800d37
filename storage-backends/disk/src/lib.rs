//! aquifer-disk
