//! aquifer-client
