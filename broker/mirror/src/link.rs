use std::convert::Infallible;
use std::time::Duration;

use aquifer_peer::{Peers, StreamReceiver, StreamSender};
use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_types::{NodeId, SegmentId};
use aquifer_wal::{CopyOf, Member, Mirror, MirrorAcks};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::channels::{Copy, Said, WAL_MIRROR, encode};

/// How long a link may take to be made. Who takes longer than the owner's patience is left out if there are others. If there are none,
/// a lost packet (TCP sends the first one again after 1 s and after 3 s) or a busy machine must not cost another roll.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// The ways from an owner to its mirrors.
#[derive(Clone, Debug)]
pub struct Links {
    peers: Peers,
    tasks: TaskGroup,
}

/// One way. What is queued is bounded by what the member granted: the WAL's writer sends no more.
#[derive(Debug)]
struct Link {
    frames: mpsc::UnboundedSender<Bytes>,
}

impl Mirror for Link {
    fn send(&mut self, frame: Bytes) {
        // A link that ended has told why.
        let _ = self.frames.send(frame);
    }
}

impl Links {
    /// Links run as tasks of `tasks`, each until its segment or its connection ends.
    pub fn new(peers: Peers, tasks: TaskGroup) -> Self {
        Self { peers, tasks }
    }

    /// The way to `member`'s copy of a segment that this node begins to write. Does not wait.
    pub fn connect(&self, segment: SegmentId, member: Member, acks: MirrorAcks) -> Box<dyn Mirror> {
        let (frames, queue) = mpsc::unbounded_channel();
        let peers = self.peers.clone();
        let of = CopyOf { segment: segment.get(), owner: peers.node().get(), disk: member.disk };
        let stopping = self.tasks.stopping().clone();
        self.tasks.spawn("wal-link", OnEnd::Continue, async move {
            let linked = run(&peers, NodeId(member.node), of.into(), queue, &acks);
            tokio::select! {
                () = stopping.cancelled() => {}
                ended = linked => if let Err(reason) = ended {
                    acks.lost(reason);
                },
            }
            Ok::<_, Infallible>(())
        });
        Box::new(Link { frames })
    }
}

/// Carries frames until the owner drops the link.
async fn run(
    peers: &Peers,
    node: NodeId,
    copy: Copy,
    queue: mpsc::UnboundedReceiver<Bytes>,
    acks: &MirrorAcks,
) -> Result<(), String> {
    let opened = peers.open(node, &WAL_MIRROR, encode(&copy), OPEN_LIMIT).await;
    let (sender, receiver) = opened.map_err(|error| format!("no link: {error}"))?;
    tokio::select! {
        sent = send(sender, queue) => sent,
        reason = hear(receiver, acks) => Err(reason),
    }
}

async fn send(mut sender: StreamSender, mut queue: mpsc::UnboundedReceiver<Bytes>) -> Result<(), String> {
    while let Some(frame) = queue.recv().await {
        sender.send(&[frame]).await.map_err(|error| error.to_string())?;
    }
    // The segment is over. Whether the member hears of it in good order does not matter.
    let _ = sender.end().await;
    Ok(())
}

/// Tells what the member says, until it says nothing more; why.
async fn hear(mut receiver: StreamReceiver, acks: &MirrorAcks) -> String {
    loop {
        let said = match receiver.receive().await {
            Ok(Some(said)) => Said::decode(said),
            Ok(None) => return "it ended the link".to_owned(),
            Err(error) => return error.to_string(),
        };
        match said {
            Some(Said::Progress(progress)) => {
                acks.granted(progress.granted_bytes);
                acks.durable(progress.frames);
            }
            Some(Said::Refused(reason)) => return reason,
            None => return "it says what no mirror says".to_owned(),
        }
    }
}
