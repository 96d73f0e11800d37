//! What a partition needs of its topic's configs, parsed once per change.

use aquifer_image::retention::Retention;
use aquifer_record::{
    Compression, CreateTimeBounds, MAX_DECOMPRESSED_BYTES, Rules, TargetCompression, TimestampType,
};

use super::check::list_entries;
use super::definition::Definition;
use super::effective::ConfigSources;

/// The configs of a topic that its partitions act upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// For checking what is produced.
    pub rules: Rules,
    /// `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `cleanup.policy` has `delete`.
    pub delete: bool,
    /// `retention.ms` and `retention.bytes`.
    pub retention: Retention,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
}

impl TopicConfig {
    /// Reads what is in force. A value that does not parse (it was checked when it was set) counts as the default.
    pub fn new(sources: &ConfigSources<'_>) -> Self {
        let policy = text(sources, "cleanup.policy");
        let compact = list_entries(&policy).any(|entry| entry == "compact");
        let timestamp_type = match text(sources, "message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        };
        let rules = Rules {
            max_message_bytes: usize::try_from(number(sources, "max.message.bytes")).unwrap_or(0),
            compacted: compact,
            timestamp_type,
            create_time: CreateTimeBounds {
                before_max_ms: number(sources, "message.timestamp.before.max.ms"),
                after_max_ms: number(sources, "message.timestamp.after.max.ms"),
            },
            compression: target_compression(sources),
            decompress_limit: MAX_DECOMPRESSED_BYTES,
        };
        let limit = |value: i64| (value >= 0).then_some(value);
        let retention = Retention {
            ms: limit(number(sources, "retention.ms")),
            bytes: limit(number(sources, "retention.bytes")).map(i64::unsigned_abs),
        };
        let min_insync_replicas = i32::try_from(number(sources, "min.insync.replicas")).unwrap_or(1);
        let delete = list_entries(&policy).any(|entry| entry == "delete");
        Self { rules, compact, delete, retention, min_insync_replicas }
    }

    /// `cleanup.policy`, as a message to a user names it.
    pub fn cleanup_policy(&self) -> &'static str {
        match (self.compact, self.delete) {
            (true, true) => "compact,delete",
            (true, false) => "compact",
            (false, _) => "delete",
        }
    }
}

fn target_compression(sources: &ConfigSources<'_>) -> TargetCompression {
    let level = |name| i32::try_from(number(sources, name)).ok().filter(|level| *level != -1);
    match text(sources, "compression.type").as_str() {
        "uncompressed" => TargetCompression::Codec(Compression::None, None),
        "gzip" => TargetCompression::Codec(Compression::Gzip, level("compression.gzip.level")),
        "snappy" => TargetCompression::Codec(Compression::Snappy, None),
        "lz4" => TargetCompression::Codec(Compression::Lz4, level("compression.lz4.level")),
        "zstd" => TargetCompression::Codec(Compression::Zstd, level("compression.zstd.level")),
        _ => TargetCompression::Producer,
    }
}

fn text(sources: &ConfigSources<'_>, name: &str) -> String {
    sources.value(defined(name))
}

fn number(sources: &ConfigSources<'_>, name: &str) -> i64 {
    let definition = defined(name);
    let default = || definition.default.parse().expect("defaults parse; a test looks at all of them");
    sources.value(definition).parse().unwrap_or_else(|_| default())
}

fn defined(name: &str) -> &'static Definition {
    Definition::named(name)
        .expect("only names of the table are asked for; a test opens a topic with all of them")
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use aquifer_image::{Configs, Image};
    use aquifer_types::NodeId;

    fn parsed(options: &[(&str, &str)], own: &[(&str, &str)]) -> TopicConfig {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let image = Image::new();
        let options: BrokerOptions = owned(options).into_iter().collect();
        let own: Configs = owned(own).into_iter().collect();
        TopicConfig::new(&ConfigSources::new(&image, NodeId(1), &options, Some(&own)))
    }

    #[test]
    fn the_table_is_sorted_and_its_defaults_fit_their_own_bounds() {
        assert!(TOPIC_CONFIGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for definition in TOPIC_CONFIGS {
            assert_eq!(definition.check(definition.default), Ok(()), "{}", definition.name);
            assert_eq!(Definition::named(definition.name), Some(definition));
        }
    }

    #[test]
    fn a_topic_without_configs_has_kafkas_defaults() {
        let config = parsed(&[], &[]);
        assert_eq!(config.rules.max_message_bytes, 1_048_588);
        assert_eq!(config.rules.create_time.after_max_ms, 3_600_000);
        assert_eq!(config.retention, Retention { ms: Some(604_800_000), bytes: None });
        assert_eq!((config.compact, config.delete, config.min_insync_replicas), (false, true, 1));
        assert_eq!(config.rules.compression, TargetCompression::Producer);
    }

    #[test]
    fn the_topics_own_value_wins_over_the_brokers_and_units_are_converted() {
        let hours = [("log.retention.hours", "2")];
        assert_eq!(parsed(&hours, &[]).retention.ms, Some(7_200_000));
        let both = [("log.retention.hours", "2"), ("log.retention.minutes", "3")];
        assert_eq!(parsed(&both, &[]).retention.ms, Some(180_000));
        assert_eq!(parsed(&both, &[("retention.ms", "5")]).retention.ms, Some(5));
        assert_eq!(parsed(&[("log.retention.hours", "-1")], &[]).retention.ms, None);
    }

    #[test]
    fn describing_a_config_names_every_source() {
        let image = Image::new();
        let options: BrokerOptions = [("log.retention.hours".to_owned(), "2".to_owned())].into();
        let own: Configs = [("retention.ms".to_owned(), "5".to_owned())].into_iter().collect();
        let sources = ConfigSources::new(&image, NodeId(1), &options, Some(&own));
        let effective = sources.describe(Definition::named("retention.ms").unwrap());
        assert_eq!((effective.value.as_str(), effective.source), ("5", ConfigSource::Topic));
        let names: Vec<_> = effective.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_str())).collect();
        assert_eq!(names, [("retention.ms", "5"), ("log.retention.hours", "2")]);
    }

    #[test]
    fn bad_values_are_refused_with_what_would_fit() {
        let check = |name: &str, value: &str| {
            Definition::named(name).unwrap().check(value).map_err(|e| e.to_string())
        };
        for (name, value) in [
            ("retention.ms", "-2"),
            ("retention.ms", "a week"),
            ("cleanup.policy", "compress"),
            ("cleanup.policy", ""),
            ("compression.type", "none"),
            ("compression.gzip.level", "0"),
            ("compression.zstd.level", "23"),
            ("segment.bytes", "1000"),
            ("preallocate", "yes"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("max.message.bytes", "4294967296"),
            ("leader.replication.throttled.replicas", "1"),
        ] {
            let refused = check(name, value).unwrap_err();
            assert!(refused.contains(name) && refused.contains(value), "{refused}");
        }
        for (name, value) in
            [("cleanup.policy", "compact, delete"), ("leader.replication.throttled.replicas", "0:1,1:2")]
        {
            assert_eq!(check(name, value), Ok(()));
        }
        assert!(Definition::named("retention.msec").is_none());
    }

    #[test]
    fn configs_that_contradict_each_other_are_refused_together() {
        let check = |own: &[(&'static str, &'static str)]| {
            check_topic_configs(own.iter().copied(), |definition| definition.default.to_owned())
        };
        assert_eq!(check(&[("retention.ms", "1000"), ("max.message.bytes", "5")]), Ok(()));
        assert!(check(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]).is_err());
        assert!(check(&[("local.retention.ms", "604800001")]).is_err());
        assert!(matches!(check(&[("nonsense", "1")]), Err(InvalidConfig::Unknown { .. })));
    }
}
