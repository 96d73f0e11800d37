//! aquifer-objects
