//! aquifer-services
