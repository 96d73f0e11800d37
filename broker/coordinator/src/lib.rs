//! aquifer-coordinator
