//! aquifer-partition
