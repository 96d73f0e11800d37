//! aquifer-types
