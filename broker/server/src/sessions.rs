//! Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches and what it told it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aquifer_runtime::Random;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Duration, Instant};
use uuid::Uuid;

/// A session that was not used for this long gives way to a new one when all slots are taken
/// (`min.incremental.fetch.session.eviction.ms`).
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// A topic as the request's version names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    /// Up to version 12.
    Name(StrBytes),
    /// From version 13 on.
    Id(Uuid),
}

/// What a consumer wants of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) index: i32,
    pub(crate) offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) current_leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}

/// What an answer told about a partition; an incremental answer leaves it out while it stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
}

/// The session fields of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionRequest {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    /// The request names topics by id.
    pub(crate) topic_ids: bool,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) forgotten: Vec<(TopicKey, i32)>,
}

/// How a request is to be answered.
#[derive(Clone, Debug)]
pub(crate) struct Fetching {
    /// 0 without a session.
    pub(crate) session: i32,
    /// Leave out partitions of which there is nothing new.
    pub(crate) incremental: bool,
    /// In the order in which they are served.
    pub(crate) wanted: Vec<Wanted>,
}

/// All sessions of the server. A full house serves further consumers without a session.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots: usize,
    random: Random,
    sessions: Mutex<HashMap<i32, Arc<Mutex<Session>>>>,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    topic_ids: bool,
    used: Instant,
    /// By turn: whoever got records goes to the end, so that none starves.
    turns: BTreeMap<u64, (Wanted, Option<Told>)>,
    by_key: HashMap<(TopicKey, i32), u64>,
    next_turn: u64,
}

const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

impl FetchSessions {
    pub(crate) fn new(slots: usize, random: Random) -> Self {
        Self { slots, random, sessions: Mutex::default() }
    }

    /// Takes up a request: what to fetch, and under which session.
    pub(crate) fn begin(&self, request: SessionRequest) -> Result<Fetching, Code> {
        match request.epoch {
            FINAL_EPOCH => {
                self.close(request.id);
                Ok(Fetching { session: 0, incremental: false, wanted: request.wanted })
            }
            INITIAL_EPOCH => {
                self.close(request.id);
                let session = self.open(&request).unwrap_or(0);
                Ok(Fetching { session, incremental: false, wanted: request.wanted })
            }
            _ => self.go_on(request),
        }
    }

    /// Notes what an answer tells; `told` also says which partitions had records. Says which of them are
    /// worth telling in an incremental answer.
    pub(crate) fn tell(&self, session: i32, told: &[Telling<'_>]) -> Vec<bool> {
        let Some(session) = self.lock().get(&session).cloned() else { return vec![true; told.len()] };
        let mut session = lock(&session);
        told.iter().map(|telling| session.tell(telling)).collect()
    }

    /// Open sessions.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Arc<Mutex<Session>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, id: i32) {
        if id != 0 {
            self.lock().remove(&id);
        }
    }

    fn open(&self, request: &SessionRequest) -> Option<i32> {
        if request.wanted.is_empty() {
            return None;
        }
        let mut sessions = self.lock();
        if sessions.len() >= self.slots {
            let oldest = sessions.iter().map(|(id, session)| (lock(session).used, *id)).min()?;
            if oldest.0.elapsed() < EVICTABLE_AFTER {
                return None;
            }
            sessions.remove(&oldest.1);
        }
        let id = loop {
            // Positive, and hard to guess: another client must not meet it by chance.
            let id = (self.random.next_u64() & 0x7fff_ffff) as i32;
            if id != 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: 1,
            topic_ids: request.topic_ids,
            used: Instant::now(),
            turns: BTreeMap::new(),
            by_key: HashMap::new(),
            next_turn: 0,
        };
        for wanted in &request.wanted {
            session.want(wanted.clone());
        }
        sessions.insert(id, Arc::new(Mutex::new(session)));
        Some(id)
    }

    fn go_on(&self, request: SessionRequest) -> Result<Fetching, Code> {
        let id = request.id;
        let session = self.lock().get(&id).cloned().ok_or(Code::FetchSessionIdNotFound)?;
        let mut session = lock(&session);
        if session.epoch != request.epoch {
            return Err(Code::InvalidFetchSessionEpoch);
        }
        if session.topic_ids != request.topic_ids {
            return Err(Code::FetchSessionTopicIdError);
        }
        session.epoch = if request.epoch == i32::MAX { 1 } else { request.epoch + 1 };
        session.used = Instant::now();
        for wanted in request.wanted {
            session.want(wanted);
        }
        for key in request.forgotten {
            session.forget(&key);
        }
        let wanted = session.turns.values().map(|(wanted, _)| wanted.clone()).collect();
        if session.turns.is_empty() {
            drop(session);
            self.close(id);
            return Ok(Fetching { session: 0, incremental: false, wanted });
        }
        Ok(Fetching { session: id, incremental: true, wanted })
    }
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is about to be told about a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling<'a> {
    pub(crate) topic: &'a TopicKey,
    pub(crate) index: i32,
    /// `None` for an error, which is always told and makes the next success new.
    pub(crate) told: Option<Told>,
    pub(crate) has_records: bool,
    /// Something else that must be told, a diverging epoch say.
    pub(crate) urgent: bool,
}

impl Session {
    fn want(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.index);
        if let Some(turn) = self.by_key.get(&key) {
            if let Some(entry) = self.turns.get_mut(turn) {
                entry.0 = wanted;
            }
            return;
        }
        self.by_key.insert(key, self.next_turn);
        self.turns.insert(self.next_turn, (wanted, None));
        self.next_turn += 1;
    }

    fn forget(&mut self, key: &(TopicKey, i32)) {
        if let Some(turn) = self.by_key.remove(key) {
            self.turns.remove(&turn);
        }
    }

    fn tell(&mut self, telling: &Telling<'_>) -> bool {
        let Some(turn) = self.by_key.get_mut(&(telling.topic.clone(), telling.index)) else { return true };
        let Some((wanted, before)) = self.turns.remove(turn) else { return true };
        let new = telling.has_records || telling.urgent || telling.told.is_none() || before != telling.told;
        if telling.has_records {
            *turn = self.next_turn;
            self.next_turn += 1;
        }
        self.turns.insert(*turn, (wanted, telling.told));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(slots: usize) -> FetchSessions {
        FetchSessions::new(slots, Random::seeded(1))
    }

    fn wanted(index: i32, offset: i64) -> Wanted {
        let topic = TopicKey::Name(StrBytes::from_static_str("t"));
        Wanted { topic, index, offset, max_bytes: 100, current_leader_epoch: -1, last_fetched_epoch: -1 }
    }

    fn request(id: i32, epoch: i32, indexes: &[i32]) -> SessionRequest {
        let wanted = indexes.iter().map(|index| wanted(*index, 0)).collect();
        SessionRequest { id, epoch, wanted, ..SessionRequest::default() }
    }

    fn indexes(fetching: &Fetching) -> Vec<i32> {
        fetching.wanted.iter().map(|wanted| wanted.index).collect()
    }

    fn told(high_watermark: i64) -> Option<Told> {
        Some(Told { high_watermark, log_start_offset: 0 })
    }

    fn tell(sessions: &FetchSessions, id: i32, index: i32, told: Option<Told>, has_records: bool) -> bool {
        let topic = &TopicKey::Name(StrBytes::from_static_str("t"));
        sessions.tell(id, &[Telling { topic, index, told, has_records, urgent: false }])[0]
    }

    #[tokio::test]
    async fn a_session_remembers_adds_and_forgets_partitions() {
        let sessions = sessions(10);
        let opened = sessions.begin(request(0, 0, &[1, 2])).expect("opens");
        assert!(!opened.incremental && opened.session > 0);
        let id = opened.session;
        let again = sessions.begin(request(id, 1, &[3])).expect("goes on");
        assert_eq!((again.incremental, indexes(&again)), (true, vec![1, 2, 3]));
        let mut forgetting = request(id, 2, &[]);
        forgetting.forgotten = vec![(TopicKey::Name(StrBytes::from_static_str("t")), 2)];
        assert_eq!(indexes(&sessions.begin(forgetting).expect("goes on")), [1, 3]);
    }

    #[tokio::test]
    async fn wrong_sessions_and_epochs_are_refused_by_their_codes() {
        let sessions = sessions(10);
        let id = sessions.begin(request(0, 0, &[1])).expect("opens").session;
        assert_eq!(
            sessions.begin(request(id ^ 1, 1, &[])).expect_err("unknown"),
            Code::FetchSessionIdNotFound
        );
        assert_eq!(sessions.begin(request(id, 5, &[])).expect_err("epoch"), Code::InvalidFetchSessionEpoch);
        let by_id = SessionRequest { topic_ids: true, ..request(id, 1, &[]) };
        assert_eq!(sessions.begin(by_id).expect_err("ids"), Code::FetchSessionTopicIdError);
        let closed = sessions.begin(request(id, -1, &[1])).expect("closes");
        assert_eq!((closed.session, sessions.len()), (0, 0));
    }

    #[tokio::test]
    async fn only_news_is_told_and_records_go_round() {
        let sessions = sessions(10);
        let id = sessions.begin(request(0, 0, &[1, 2])).expect("opens").session;
        assert!(tell(&sessions, id, 1, told(5), false));
        assert!(!tell(&sessions, id, 1, told(5), false));
        assert!(tell(&sessions, id, 1, told(6), false));
        assert!(tell(&sessions, id, 1, None, false), "an error is told");
        assert!(tell(&sessions, id, 1, told(6), false), "and so is its end");
        assert!(tell(&sessions, id, 1, told(6), true));
        assert_eq!(indexes(&sessions.begin(request(id, 1, &[])).expect("goes on")), [2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_house_serves_without_a_session_until_one_is_old() {
        let sessions = sessions(1);
        let first = sessions.begin(request(0, 0, &[1])).expect("opens").session;
        assert_eq!(sessions.begin(request(0, 0, &[1])).expect("serves").session, 0);
        tokio::time::advance(EVICTABLE_AFTER).await;
        let second = sessions.begin(request(0, 0, &[1])).expect("opens").session;
        assert!(second != 0 && second != first);
        assert_eq!(sessions.len(), 1);
    }
}
