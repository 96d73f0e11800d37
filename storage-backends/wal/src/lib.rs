//! aquifer-wal
