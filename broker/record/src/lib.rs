//! aquifer-record
