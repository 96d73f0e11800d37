//! An HTTP proxy on loopback that misbehaves on demand. One request per connection.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquifer_runtime::{OnEnd, TaskGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest head of a request.
const MAX_HEAD: usize = 64 << 10;

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Answers this status and S3 code itself.
    Answer(u16, &'static str),
    /// Never answers; the request goes nowhere.
    Hang,
    /// Passes it on, and cuts the answer off after so many bytes of its body.
    Truncate(usize),
    /// Passes it on, and closes the connection instead of answering.
    LoseReply,
    /// Closes the connection; the request goes nowhere.
    LoseRequest,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    method: &'static str,
    target: &'static str,
    fault: Fault,
}

/// Drop it to stop it.
pub(crate) struct Proxy {
    port: u16,
    rules: Arc<Mutex<VecDeque<Rule>>>,
    tasks: TaskGroup,
}

impl Proxy {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let rules = Arc::<Mutex<VecDeque<Rule>>>::default();
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

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next `times` requests with this method whose target contains `target` meet `fault`.
    pub(crate) fn inject(&self, times: usize, method: &'static str, target: &'static str, fault: Fault) {
        let mut rules = self.rules.lock().expect("no panic while it is held");
        rules.extend(std::iter::repeat_n(Rule { method, target, fault }, times));
    }

    /// Forgets what was injected; how many of it no request has met.
    pub(crate) fn heal(&self) -> usize {
        std::mem::take(&mut *self.rules.lock().expect("no panic while it is held")).len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

async fn serve(mut client: TcpStream, upstream: u16, rules: &Mutex<VecDeque<Rule>>) -> io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let fault = {
        let mut rules = rules.lock().expect("no panic while it is held");
        let found = rules.iter().position(|rule| rule.method == method && target.contains(rule.target));
        found.and_then(|index| rules.remove(index)).map(|rule| rule.fault)
    };
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
        Some(Fault::Truncate(bytes)) => {
            let answer = forward(upstream, &head, &body).await?;
            let end = position(&answer, b"\r\n\r\n").map_or(0, |head| head + 4) + bytes;
            client.write_all(&answer[..end.min(answer.len())]).await?;
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

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
