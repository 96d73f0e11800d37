//! Real stores under test: what each promises, what it does under faults, what the probe says of it.

mod conformance;
mod hdfs_faults;
mod hdfs_ha;
mod probe;
mod s3_faults;
mod simulated;
mod suite;
