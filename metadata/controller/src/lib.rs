//! aquifer-controller
