use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::count_again;
use crate::BenchError;
use crate::figures::{Figures, Metric};
use crate::load::{Partition, Sight, Steady, Topic, Watch, reassign};
use crate::scenario::Event;
use crate::station::{Settings, Station};

const PARTITIONS: i32 = 6;
/// Acknowledgements of each partition after which an interruption is over.
const OVER: u64 = 50;
/// And then so long, should there be another.
const AFTER: Duration = Duration::from_secs(1);
/// Nodes that died come back after this even if producers could not go on without them, as with Kafka when two of three
/// copies are gone.
const DEAD_AT_MOST: Duration = Duration::from_secs(30);
const MOVE_LIMIT: Duration = Duration::from_secs(600);
const MOVE_LOOK: Duration = Duration::from_millis(10);
const MS: f64 = 1e3;

/// What all rounds found.
#[derive(Default)]
struct Rounds {
    /// The longest gap of a partition that the event touched.
    touched: Vec<Duration>,
    /// And of the others.
    others: Vec<Duration>,
    moved: Vec<Duration>,
}

/// For how long a producer at a steady pace waited; none of its records may fail, and all must be there.
pub(super) fn measure(
    station: &mut Station,
    name: &str,
    event: Event,
    settings: &Settings,
) -> Result<Figures, BenchError> {
    let topic = match event {
        Event::Death { .. } => station.topic(name, PARTITIONS)?,
        Event::Move { bytes } => station.filled(name, bytes)?,
    };
    let (before, watch) = (topic.records()?, topic.watch()?);
    let steady = Steady::open(&topic)?;
    let (rounds, sent) = thread::scope(|scope| {
        let sender = scope.spawn(|| steady.run());
        let rounds = all_rounds(
            station,
            event,
            &Scene { topic: &topic, watch: &watch, steady: &steady },
            settings.rounds,
        );
        steady.stop();
        let sent = sender.join().expect("a sender does not panic");
        Ok::<_, BenchError>((rounds?, sent?))
    })?;
    let counted = count_again(&topic, before + sent)?;
    topic.delete(station.runtime())?;
    Ok(rounds.figures().with(Metric::Counted, counted))
}

/// What is looked at, and by what.
struct Scene<'a> {
    topic: &'a Topic,
    watch: &'a Watch,
    steady: &'a Steady,
}

fn all_rounds(
    station: &mut Station,
    event: Event,
    scene: &Scene<'_>,
    count: usize,
) -> Result<Rounds, BenchError> {
    let mut rounds = Rounds::default();
    for _ in 0..count {
        station.until_whole(Some(scene.watch))?;
        scene.steady.flow(OVER)?;
        let sight = scene.watch.look()?;
        match event {
            Event::Death { leaders, quorum, silent } => {
                let leads = station.broker.quorum_leader().ok_or_else(|| {
                    BenchError::Wrong(format!("nobody leads the metadata quorum of {}", station.system))
                })?;
                let gone = dying(&sight, leads, leaders, quorum);
                let gaps = death(station, scene, &gone, silent)?;
                rounds.add(&sight, &gaps, |leader| leaders == 0 || gone.contains(&leader));
            }
            Event::Move { .. } => {
                let (moved, gaps) = moving(station, scene, &sight)?;
                rounds.moved.push(moved);
                rounds.add(&sight, &gaps, |_| true);
            }
        }
    }
    Ok(rounds)
}

/// The nodes that die: of those that lead partitions the first that do not lead the quorum, as many as are wanted.
fn dying(sight: &Sight, quorum_leader: usize, leaders: usize, quorum: bool) -> Vec<usize> {
    let mut nodes: Vec<usize> = quorum.then_some(quorum_leader).into_iter().collect();
    for leader in sight.partitions.iter().map(Partition::leading_node).filter(|node| *node != quorum_leader) {
        if nodes.len() < leaders && !nodes.contains(&leader) {
            nodes.push(leader);
        }
    }
    nodes
}

fn death(
    station: &mut Station,
    scene: &Scene<'_>,
    gone: &[usize],
    silent: bool,
) -> Result<Vec<Duration>, BenchError> {
    let broker = &mut station.broker;
    scene.steady.mark();
    for &node in gone {
        if silent { broker.freeze(node)? } else { broker.kill(node) }
    }
    let goes_on = scene.steady.flows(OVER, DEAD_AT_MOST);
    if goes_on {
        station.pause(AFTER);
    }
    let gaps = scene.steady.gaps();
    let broker = &mut station.broker;
    gone.iter().for_each(|node| broker.kill(*node));
    broker.launch()?;
    if goes_on {
        return Ok(gaps);
    }
    scene.steady.flow(OVER)?;
    Ok(scene.steady.gaps())
}

fn moving(
    station: &Station,
    scene: &Scene<'_>,
    sight: &Sight,
) -> Result<(Duration, Vec<Duration>), BenchError> {
    let topic = scene.topic;
    let wanted = destination(sight).ok_or_else(|| {
        BenchError::Wrong(format!("every broker has a copy of {}: nowhere to move it", topic.name))
    })?;
    scene.steady.mark();
    let begun = Instant::now();
    station.runtime().block_on(reassign(topic, &wanted))?;
    while !is_at(&scene.watch.look()?.partitions[0], &wanted) {
        if begun.elapsed() > MOVE_LIMIT {
            let name = &topic.name;
            return Err(BenchError::Wrong(format!("{name} is not at {wanted:?} after {MOVE_LIMIT:?}")));
        }
        station.pause(MOVE_LOOK);
    }
    let moved = begun.elapsed();
    scene.steady.flow(OVER)?;
    station.pause(AFTER);
    Ok((moved, scene.steady.gaps()))
}

/// In place of its leader a broker that has no copy leads the partition: the next by number.
fn destination(sight: &Sight) -> Option<Vec<i32>> {
    let Partition { leader, replicas, .. } = &sight.partitions[0];
    let free = || sight.brokers.iter().filter(|broker| !replicas.contains(broker));
    let next = free().find(|broker| *broker > leader).or_else(|| free().next())?;
    let stay = replicas.iter().filter(|replica| *replica != leader);
    Some([next].into_iter().chain(stay).copied().collect())
}

/// Old copies are gone too: until then Kafka shows them beside the new ones.
fn is_at(partition: &Partition, wanted: &[i32]) -> bool {
    let all_wanted = partition.replicas.iter().all(|replica| wanted.contains(replica));
    partition.leader == wanted[0] && partition.replicas.len() == wanted.len() && all_wanted
}

impl Rounds {
    /// One more, of the partitions that `sight` shows.
    fn add(&mut self, sight: &Sight, gaps: &[Duration], touched: impl Fn(usize) -> bool) {
        let longest = |was_touched: bool| {
            let led = sight.partitions.iter().map(Partition::leading_node).zip(gaps);
            led.filter(|(leader, _)| touched(*leader) == was_touched).map(|(_, gap)| *gap).max()
        };
        self.touched.extend(longest(true));
        self.others.extend(longest(false));
    }

    fn figures(mut self) -> Figures {
        let kinds = [
            (&mut self.touched, Metric::GapP50, Metric::GapP99),
            (&mut self.others, Metric::OthersGapP50, Metric::OthersGapP99),
            (&mut self.moved, Metric::MovedP50, Metric::MovedP99),
        ];
        let mut figures = Figures::default();
        for (spans, half, most) in kinds {
            spans.sort_unstable();
            for (metric, percent) in [(half, 50), (most, 99)] {
                if let Some(span) = percentile(spans, percent) {
                    figures = figures.with(metric, span.as_secs_f64() * MS);
                }
            }
        }
        figures
    }
}

/// Of spans in ascending order; none of none.
fn percentile(spans: &[Duration], percent: usize) -> Option<Duration> {
    spans.get((spans.len() * percent / 100).min(spans.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(brokers: i32, partitions: &[(i32, &[i32])]) -> Sight {
        let partitions = partitions.iter().map(|(leader, replicas)| Partition::of(*leader, replicas));
        Sight { brokers: (1..=brokers).collect(), partitions: partitions.collect() }
    }

    #[test]
    fn who_leads_the_quorum_dies_only_when_it_is_meant() {
        let sight = sight(5, &[(2, &[2, 3, 4]), (1, &[1, 2, 3]), (2, &[2, 1, 5]), (4, &[4, 5, 1])]);
        assert_eq!(dying(&sight, 2, 1, false), [1]);
        assert_eq!(dying(&sight, 2, 2, false), [1, 4]);
        assert_eq!(dying(&sight, 2, 1, true), [2]);
        assert_eq!(dying(&sight, 3, 0, true), [3]);
        assert!(dying(&sight, 3, 0, false).is_empty());
    }

    #[test]
    fn a_partition_moves_to_a_broker_without_a_copy() {
        assert_eq!(destination(&sight(5, &[(2, &[2, 3, 4])])), Some(vec![5, 3, 4]));
        assert_eq!(destination(&sight(5, &[(5, &[5, 3, 4])])), Some(vec![1, 3, 4]));
        assert_eq!(destination(&sight(3, &[(1, &[1, 2, 3])])), None);
        assert!(is_at(&Partition::of(5, &[3, 4, 5]), &[5, 3, 4]));
        assert!(!is_at(&Partition::of(2, &[3, 4, 5]), &[5, 3, 4]));
        assert!(!is_at(&Partition::of(5, &[5, 3, 4, 2]), &[5, 3, 4]));
    }

    #[test]
    fn gaps_are_told_apart_by_who_led() {
        let sight = sight(5, &[(1, &[1]), (2, &[2]), (1, &[1])]);
        let gaps = [10, 30, 20].map(Duration::from_millis);
        let mut rounds = Rounds::default();
        rounds.add(&sight, &gaps, |leader| leader == 1);
        let figures = rounds.figures();
        assert_eq!(figures.get(Metric::GapP50), Some(20.0));
        assert_eq!(figures.get(Metric::OthersGapP99), Some(30.0));
        assert_eq!(figures.get(Metric::MovedP50), None);
    }

    #[test]
    fn percentiles_of_a_hundred_rounds() {
        let spans: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&spans, 50), Some(Duration::from_millis(51)));
        assert_eq!(percentile(&spans, 99), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&[], 99), None);
    }
}
