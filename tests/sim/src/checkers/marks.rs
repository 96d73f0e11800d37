use std::collections::BTreeMap;
use std::time::Duration;

use super::{Checker, Observation};

/// The high watermark and the start of a log never go back: who asks after somebody was told sees no less. An earlier leader
/// that does not know yet that it is one may show older ones, but nothing beyond what a later leader began with.
#[derive(Debug, Default)]
pub(crate) struct MarksNeverGoBack {
    /// By partition and leader epoch.
    marks: BTreeMap<(i32, i32), Marks>,
}

#[derive(Debug)]
struct Marks {
    /// The lowest high watermark that was seen.
    lowest: i64,
    /// What was told, and when; each time more than before.
    told: Vec<(Duration, i64, i64)>,
}

impl Marks {
    /// High watermark and log start that were told before `moment`.
    fn before(&self, moment: Duration) -> Option<(i64, i64)> {
        let count = self.told.partition_point(|(at, _, _)| *at < moment);
        let (_, high_watermark, log_start_offset) = self.told[..count].last()?;
        Some((*high_watermark, *log_start_offset))
    }

    fn tell(&mut self, at: Duration, high_watermark: i64, log_start_offset: i64) {
        self.lowest = self.lowest.min(high_watermark);
        let (_, high, start) = self.told.last().copied().unwrap_or((at, i64::MIN, i64::MIN));
        if high_watermark > high || log_start_offset > start {
            self.told.push((at, high.max(high_watermark), start.max(log_start_offset)));
        }
    }
}

impl Checker for MarksNeverGoBack {
    fn name(&self) -> &'static str {
        "marks never go back"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Read {
            partition, began, ended, high_watermark, log_start_offset, leader_epoch, ..
        } = *observation
        else {
            return Ok(());
        };
        let new = || Marks { lowest: high_watermark, told: Vec::new() };
        self.marks.entry((partition, leader_epoch)).or_insert_with(new).tell(
            ended,
            high_watermark,
            log_start_offset,
        );
        for (&(_, epoch), marks) in self.marks.range((partition, i32::MIN)..=(partition, leader_epoch)) {
            let Some((high, start)) = marks.before(began) else { continue };
            for (what, before, now) in
                [("high watermark", high, high_watermark), ("log start", start, log_start_offset)]
            {
                if before > now {
                    return Err(format!(
                        "partition {partition}: the {what} was {before} in leader epoch {epoch} and is {now} in {leader_epoch}"
                    ));
                }
            }
        }
        let later = self.marks.range((partition, leader_epoch + 1)..=(partition, i32::MAX)).next();
        match later {
            Some((&(_, epoch), marks)) if high_watermark > marks.lowest => Err(format!(
                "partition {partition}: leader epoch {epoch} began at or below {}, and {leader_epoch} shows {high_watermark}",
                marks.lowest
            )),
            _ => Ok(()),
        }
    }
}
