//! aquifer-stream
