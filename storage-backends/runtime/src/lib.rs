//! aquifer-runtime
