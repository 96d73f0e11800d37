//! aquifer-image
