use std::fmt;
use std::time::Duration;

use aquifer_harness::Script;

/// For what a script is asked, interruptions included.
const LIMIT: Duration = Duration::from_secs(120);

/// A producer at a steady pace, which knows for how long acknowledgements stayed away.
#[derive(Debug)]
pub struct Steady(Script);

impl Steady {
    /// Makes a topic, fills each partition, and sends so many records a second to each; `None` if the clients are not
    /// installed.
    pub async fn start(
        bootstrap: &str,
        topic: &str,
        partitions: u32,
        per_second: u32,
        fill_mib: u32,
    ) -> Option<Self> {
        let numbers = [partitions, per_second, fill_mib].map(|number| number.to_string());
        let [partitions, per_second, fill_mib] = numbers.each_ref().map(String::as_str);
        let arguments = [bootstrap, topic, partitions, per_second, fill_mib];
        let mut script = Script::start("steady.py", &arguments).await?;
        script.expect("going", FILLED).await;
        Some(Self(script))
    }

    /// Waits until so many more were acknowledged in each partition.
    pub async fn flows(&mut self, records: u32) {
        self.0.tell(&format!("each {records}")).await;
        self.0.expect("flows", LIMIT).await;
    }

    /// Begins to measure anew.
    pub async fn mark(&mut self) {
        self.0.tell("mark").await;
        self.0.expect("marked", LIMIT).await;
    }

    /// The longest time between two acknowledgements since [`Self::mark`], for each partition.
    pub async fn gaps(&mut self) -> Vec<Duration> {
        self.numbers("gaps").await.into_iter().map(Duration::from_millis).collect()
    }

    /// Who leads each partition.
    ///
    /// # Panics
    /// If one has no leader.
    pub async fn leaders(&mut self) -> Vec<u16> {
        let leaders = self.numbers("leaders").await.into_iter();
        leaders.map(|node| u16::try_from(node).expect("a node's id")).collect()
    }

    async fn numbers(&mut self, word: &str) -> Vec<u64> {
        self.0.tell(word).await;
        let said = self.0.expect(word, LIMIT).await;
        said.split(' ').map(|number| number.parse().expect("a number")).collect()
    }

    /// Ends; each record must have been acknowledged. How many there were.
    ///
    /// # Panics
    /// If it says no number.
    pub async fn end(mut self) -> u64 {
        self.0.tell("enough").await;
        self.0.expect("ended", LIMIT).await.parse().expect("a number")
    }
}

/// For filling partitions.
const FILLED: Duration = Duration::from_secs(1_800);

/// How long something took, again and again.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort_unstable();
    }

    fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }
}

impl Extend<Duration> for Times {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, times: I) {
        times.into_iter().for_each(|time| self.add(time));
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, longest] = [50, 99, 100].map(|percent| self.percentile(percent).as_millis());
        write!(f, "p50 {half} ms, p99 {most} ms, at most {longest} ms ({} times)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_times_that_were_added() {
        let mut times = Times::default();
        assert_eq!(times.to_string(), "p50 0 ms, p99 0 ms, at most 0 ms (0 times)");
        times.extend((1..=100).rev().map(Duration::from_millis));
        assert_eq!(times.to_string(), "p50 51 ms, p99 100 ms, at most 100 ms (100 times)");
    }
}
