//! aquifer-compat
