use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Topic;
use crate::BenchError;

/// For the answer: the move itself goes on behind it.
const LIMIT: Duration = Duration::from_secs(60);
/// AlterPartitionReassignments (KIP-455), which librdkafka does not have. Its version 0 is flexible (KIP-482): lengths are
/// one more than they say, and every structure ends with its number of tagged fields.
const KEY: i16 = 45;
const NO_TAGS: u8 = 0;
const LONGEST_ANSWER: usize = 64 << 10;

/// Asks for other replicas of partition 0, the preferred leader first, as `kafka-reassign-partitions.sh --execute` does.
pub(crate) async fn reassign(topic: &Topic, replicas: &[i32]) -> Result<(), BenchError> {
    let address = topic.bootstrap.split(',').next().unwrap_or_default();
    let answer = timeout(LIMIT, ask(address, &request(&topic.name, replicas))).await;
    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let answer = answer.map_err(BenchError::io(format!("ask {address} to move {}", topic.name)))?;
    match refusal(&answer) {
        Some(0) => Ok(()),
        Some(code) => Err(BenchError::Wrong(format!("the move of {} was refused: error {code}", topic.name))),
        None => Err(BenchError::Wrong(format!("{address} answered {answer:?} to a move of {}", topic.name))),
    }
}

async fn ask(address: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let length = stream.read_u32().await? as usize;
    if length > LONGEST_ANSWER {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn request(topic: &str, replicas: &[i32]) -> Vec<u8> {
    let compact = |length: usize| u8::try_from(length + 1).expect("names and lists here are short");
    let mut bytes = Vec::new();
    bytes.extend(KEY.to_be_bytes());
    // Version 0, correlation id 0, no client id.
    bytes.extend([0, 0, 0, 0, 0, 0, 0xff, 0xff, NO_TAGS]);
    bytes.extend((LIMIT.as_millis() as i32).to_be_bytes());
    bytes.extend([compact(1), compact(topic.len())]);
    bytes.extend(topic.as_bytes());
    bytes.extend([compact(1), 0, 0, 0, 0, compact(replicas.len())]);
    bytes.extend(replicas.iter().flat_map(|node| node.to_be_bytes()));
    // Of the partition, the topic and the request.
    bytes.extend([NO_TAGS; 3]);
    let length = (bytes.len() as u32).to_be_bytes();
    [&length[..], &bytes].concat()
}

/// The first error code that is not 0, of the whole or of its one partition; None if this is no such answer.
fn refusal(answer: &[u8]) -> Option<i16> {
    // Correlation id, tags, throttle time.
    let (code, rest) = take_code(answer.get(9..)?)?;
    if code != 0 {
        return Some(code);
    }
    let rest = skip_text(rest)?;
    // One topic, its name; one partition, its index.
    let rest = skip_text(rest.get(1..)?)?;
    take_code(rest.get(5..)?).map(|(code, _)| code)
}

fn take_code(bytes: &[u8]) -> Option<(i16, &[u8])> {
    let (code, rest) = bytes.split_first_chunk()?;
    Some((i16::from_be_bytes(*code), rest))
}

/// Behind a compact string, which may be none.
fn skip_text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first()?;
    rest.get(usize::from(length.saturating_sub(1))..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_wherever_it_stands() {
        let head = [0, 0, 0, 0, NO_TAGS, 0, 0, 0, 0];
        let answer = |rest: &[u8]| [&head[..], rest].concat();
        let done = [0, 0, 0, 2, 2, b't', 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(refusal(&answer(&done)), Some(0));
        let mut partition = done;
        partition[12] = 39;
        assert_eq!(refusal(&answer(&partition)), Some(39));
        assert_eq!(refusal(&answer(&[0, 41, 0, 1, 0])), Some(41));
        assert_eq!(refusal(&head), None);
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let bytes = request("moves", &[4, 2, 3]);
        assert_eq!(bytes[..4], (bytes.len() as u32 - 4).to_be_bytes());
        assert!(bytes.ends_with(&[0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]));
    }
}
