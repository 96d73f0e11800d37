use crate::broker::System;

const BOTH: &str = "broker,controller";
const BROKER: &str = "broker";
const CONTROLLER: &str = "controller";

/// Of which nodes a system is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One broker.
    One,
    /// Three brokers that are the controllers too.
    Three,
    /// Five of them: enough to lose two, and to move a partition to a broker that has no copy of it.
    Five,
    /// Three controllers and three brokers: what happens to a controller happens to no broker.
    Apart,
}

impl Layout {
    /// In the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::One, Self::Three, Self::Five, Self::Apart];

    /// Its directory, and its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Three => "three",
            Self::Five => "five",
            Self::Apart => "apart",
        }
    }

    /// Kafka's `process.roles` of each node, which are numbered from 1.
    pub(crate) fn roles(self) -> &'static [&'static str] {
        match self {
            Self::One => &[BOTH],
            Self::Three => &[BOTH; 3],
            Self::Five => &[BOTH; 5],
            Self::Apart => &[CONTROLLER, CONTROLLER, CONTROLLER, BROKER, BROKER, BROKER],
        }
    }

    /// Size of each log of an Aquifer node; None: its default. Where nodes die there is little load, and five nodes write
    /// their logs full of zeros first.
    pub(crate) fn wal_size(self) -> Option<&'static str> {
        match self {
            Self::One | Self::Three => None,
            Self::Five | Self::Apart => Some("512MiB"),
        }
    }

    /// What is compared unless others are asked for: where nodes die, how often logs are flushed makes no difference.
    pub(crate) fn compared(self) -> &'static [System] {
        match self {
            Self::One => &[System::Aquifer, System::KafkaFsync, System::Kafka],
            Self::Three => &[System::AquiferMirror, System::KafkaRf3Fsync, System::KafkaRf3],
            Self::Five | Self::Apart => &[System::AquiferMirror, System::KafkaRf3],
        }
    }

    /// The system that has goals.
    pub fn ours(self) -> System {
        match self {
            Self::One => System::Aquifer,
            Self::Three | Self::Five | Self::Apart => System::AquiferMirror,
        }
    }

    /// Whether such a system can be made of these nodes.
    pub(crate) fn suits(self, system: System) -> bool {
        system.is_cluster() != (self == Self::One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_can_be_made() {
        for layout in Layout::ALL {
            assert!(layout.compared().contains(&layout.ours()));
            assert!(layout.compared().iter().all(|system| layout.suits(*system)), "{layout:?}");
        }
    }
}
