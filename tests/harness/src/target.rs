use std::env;

/// What the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The `aquifer` binary.
    Aquifer,
    /// Apache Kafka, to check the tests themselves.
    Kafka,
}

impl Target {
    /// The target that `AQUIFER_COMPAT_TARGET` names: `aquifer` (the default) or `kafka`.
    ///
    /// # Panics
    /// On any other name.
    #[must_use]
    pub fn chosen() -> Self {
        match env::var("AQUIFER_COMPAT_TARGET").as_deref() {
            Err(_) | Ok("" | "aquifer") => Self::Aquifer,
            Ok("kafka") => Self::Kafka,
            Ok(other) => panic!("AQUIFER_COMPAT_TARGET is '{other}', expected 'aquifer' or 'kafka'"),
        }
    }

    /// True for Apache Kafka. A test of what only Aquifer has returns early.
    #[must_use]
    pub fn is_kafka(self) -> bool {
        self == Self::Kafka
    }
}
