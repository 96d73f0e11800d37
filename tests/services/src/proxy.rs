use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_runtime::{OnEnd, TaskGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest head of a request.
const MAX_HEAD: usize = 64 << 10;

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers this status and S3 code itself.
    Answer(u16, &'static str),
    /// Never answers; the request goes nowhere.
    Hang,
    /// Passes it on, and answers so much later.
    Delay(Duration),
    /// Passes it on, and cuts the answer off after so many bytes of its body.
    Truncate(usize),
    /// Passes it on, and inverts the byte at this place of the answer's body, if there is one.
    Damage(usize),
    /// Passes it on, and closes the connection instead of answering.
    LoseReply,
    /// Closes the connection; the request goes nowhere.
    LoseRequest,
}

/// Which requests meet a fault.
#[derive(Debug)]
struct Rule {
    method: &'static str,
    target: &'static str,
    fault: Fault,
    often: Often,
}

#[derive(Debug)]
enum Often {
    /// So many more.
    Times(usize),
    /// One of so many; and how many have passed since.
    OneOf(usize, usize),
}

impl Often {
    /// Whether the request that came now is one of them.
    fn is_due(&mut self) -> bool {
        match self {
            Self::Times(left) => *left > 0,
            Self::OneOf(many, passed) => {
                *passed += 1;
                *passed >= *many
            }
        }
    }
}

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<Rule>,
    met: usize,
}

/// An HTTP proxy on loopback that misbehaves on demand. One request per connection. Drop it to stop it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    rules: Arc<Mutex<Rules>>,
    tasks: TaskGroup,
}

impl Proxy {
    /// Starts one that passes everything on to this port of loopback.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let rules = Arc::<Mutex<Rules>>::default();
        let tasks = TaskGroup::new();
        let (own_rules, own_tasks) = (Arc::clone(&rules), tasks.clone());
        tasks.spawn("proxy", OnEnd::Continue, async move {
            loop {
                let (client, _) = tokio::select! {
                    () = own_tasks.stopping().cancelled() => return Ok::<(), io::Error>(()),
                    accepted = listener.accept() => accepted?,
                };
                let (rules, stopping) = (Arc::clone(&own_rules), own_tasks.stopping().clone());
                own_tasks.spawn("proxy connection", OnEnd::Continue, async move {
                    tokio::select! {
                        () = stopping.cancelled() => Ok(()),
                        served = serve(client, upstream, &rules) => served,
                    }
                });
            }
        });
        Self { port, rules, tasks }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next `times` requests with this method (any, if it is empty) whose target contains `target` meet `fault`.
    pub fn inject(&self, times: usize, method: &'static str, target: &'static str, fault: Fault) {
        if times > 0 {
            locked(&self.rules).rules.push(Rule { method, target, fault, often: Often::Times(times) });
        }
    }

    /// From now on one of `many` such requests meets `fault`.
    pub fn inject_one_of(&self, many: usize, method: &'static str, target: &'static str, fault: Fault) {
        locked(&self.rules).rules.push(Rule { method, target, fault, often: Often::OneOf(many.max(1), 0) });
    }

    /// Forgets what was injected; how many of the counted ones no request has met.
    pub fn heal(&self) -> usize {
        let rules = std::mem::take(&mut locked(&self.rules).rules);
        let left = rules.iter().map(|rule| match rule.often {
            Often::Times(left) => left,
            Often::OneOf(..) => 0,
        });
        left.sum()
    }

    /// How many requests have met a fault.
    pub fn met(&self) -> usize {
        locked(&self.rules).met
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

fn locked(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rules {
    /// The fault that this request meets.
    fn meet(&mut self, method: &str, target: &str) -> Option<Fault> {
        let due = self.rules.iter_mut().position(|rule| {
            let asked = rule.method.is_empty() || rule.method == method;
            asked && target.contains(rule.target) && rule.often.is_due()
        })?;
        let due = &mut self.rules[due];
        match &mut due.often {
            Often::Times(left) => *left -= 1,
            Often::OneOf(_, passed) => *passed = 0,
        }
        self.met += 1;
        Some(due.fault)
    }
}

async fn serve(mut client: TcpStream, upstream: u16, rules: &Mutex<Rules>) -> io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let fault = locked(rules).meet(method, target);
    match fault {
        None => {
            let answer = forward(upstream, &head, &body).await?;
            client.write_all(&answer).await?;
        }
        Some(Fault::Answer(status, code)) => {
            let page = format!("<Error><Code>{code}</Code><Message>from the proxy</Message></Error>");
            let length = page.len();
            let answer =
                format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{page}");
            client.write_all(answer.as_bytes()).await?;
        }
        Some(Fault::Hang) => tokio::time::sleep(Duration::from_secs(600)).await,
        Some(Fault::Delay(delay)) => {
            let answer = forward(upstream, &head, &body).await?;
            tokio::time::sleep(delay).await;
            client.write_all(&answer).await?;
        }
        Some(Fault::Truncate(bytes)) => {
            let answer = forward(upstream, &head, &body).await?;
            let end = body_of(&answer) + bytes;
            client.write_all(&answer[..end.min(answer.len())]).await?;
        }
        Some(Fault::Damage(place)) => {
            let mut answer = forward(upstream, &head, &body).await?;
            let place = body_of(&answer) + place;
            if let Some(byte) = answer.get_mut(place) {
                *byte ^= 0xff;
            }
            client.write_all(&answer).await?;
        }
        Some(Fault::LoseReply) => drop(forward(upstream, &head, &body).await?),
        Some(Fault::LoseRequest) => {}
    }
    client.shutdown().await
}

async fn read_request(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = position(&bytes, b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > MAX_HEAD || client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, body))
}

/// The whole answer; the connection is closed behind it.
async fn forward(upstream: u16, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    server.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Where an answer's body begins.
fn body_of(answer: &[u8]) -> usize {
    position(answer, b"\r\n\r\n").map_or(0, |head| head + 4)
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(method: &'static str, fault: Fault, often: Often) -> Rule {
        Rule { method, target: "/data", fault, often }
    }

    #[test]
    fn faults_are_met_by_the_requests_they_are_for_and_as_often_as_asked() {
        let rules =
            vec![rule("PUT", Fault::Hang, Often::Times(1)), rule("", Fault::LoseReply, Often::OneOf(2, 0))];
        let mut rules = Rules { rules, met: 0 };
        assert_eq!(rules.meet("GET", "/other"), None);
        assert_eq!(rules.meet("PUT", "/data/1"), Some(Fault::Hang));
        assert_eq!(rules.meet("PUT", "/data/1"), None);
        assert_eq!(rules.meet("GET", "/data/1"), Some(Fault::LoseReply));
        assert_eq!(rules.met, 2);
    }
}
