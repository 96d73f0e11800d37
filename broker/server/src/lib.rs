//! aquifer-server
